"""The asyncio-facing core: what selection, queue, buckets and cooldowns decide is done here, in code without `await`.

    route ── free ──> charge ──> Lease                                  (no await, no timer, no event unless observed)
        └─ busy ──> line ──> drain (on every event that may free something, and on the one timer) ──> charge ──> wake

All methods belong to one event loop. Cancellation, refusal, closing: each runs through the same few methods.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, cast

from ratelimit_router.account import Account
from ratelimit_router.after_call import AfterCall
from ratelimit_router.bucket import Cost
from ratelimit_router.clock import forwards
from ratelimit_router.cooldown import Incident
from ratelimit_router.errors import ConfigError, NoCapacity, QuotaExhausted, RequestTooLarge, RouterClosed, RouteTimeout
from ratelimit_router.forecast import bound, earliest, reach, still_worth_waiting
from ratelimit_router.herald import Herald
from ratelimit_router.lease import Chain, Lease, Wish, cost_of
from ratelimit_router.limits import DAY, QUOTAS
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Outcome
from ratelimit_router.queue import Line, Queue, Waiter
from ratelimit_router.reasons import Reason, Skipped
from ratelimit_router.selection import Candidate, hopeless, pick, reasons, skipped
from ratelimit_router.tally import Tally

if TYPE_CHECKING:
    from ratelimit_router.events import Observer
    from ratelimit_router.guidance import Guide
    from ratelimit_router.remote import Remote
    from ratelimit_router.stores.shared import SharedStore

__all__ = ["Dispatcher"]

EARLY = 1e-6
"""Seconds by which a timer may fire early and still count as on time: float rounding, not quota."""
MILLISECOND = 0.001


class Dispatcher:
    """One router's state and everything that changes it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        classify: Callable[[Model, BaseException], Outcome],
        observers: "Iterable[Observer]",
    ):
        self.clock, self.wall_clock, self._classify = forwards(clock), wall_clock, classify
        self.herald = Herald(observers)
        self._after = AfterCall(self.clock, self.herald, self._siblings)
        self.succeeded = self._after.succeeded  # a call went well on a model that is not just ready
        self.accounts: dict[str, Account] = {}
        self.pools: dict[str, Account] = {}
        self.models: dict[str, Model] = {}
        self.lines: dict[str, Line] = {}
        self.find_line: Callable[[Chain], Line]  # whoever keeps the lines; knows chains of one's own, too
        self.queue = Queue()
        self.guide: Guide | None = None  # once somebody has announced a batch
        self.remote: Remote | None = None  # if the state is kept in a shared store
        self.tally = Tally()
        self.closed = False
        self.quiet = not self.herald.heard
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._now = -math.inf  # of the drain under way
        self._draining = False

    # -- asking for a model --------------------------------------------------------------------------------------------

    def line(self, chain: Chain) -> Line:
        """The line of a tier or of a chain of one's own. Raises UnknownTier, and ConfigError for a wrong chain."""
        return self.find_line(chain)

    def admit(self, lease: Lease, line: Line, cost: Cost, reach: int, avoid: Collection[Account] = ()) -> bool:
        """Keep the promise right now, if nobody waits and a model is free in the steps up to `reach` (-1: all)."""
        if self.queue.length or self.closed or self.remote:
            return False
        now = self.clock()
        if self.guide:
            self.guide.steer(now)
        candidate = pick(line.steps, cost, now, reach, avoid)
        if candidate is None:
            return False
        self.herald.hold()
        if self.guide:
            self.guide.asked(line)
        self._grant(lease, candidate, line, cost, now, 0.0)
        self.herald.release()
        return True

    def admit_or_refuse(self, lease: Lease, line: Line, cost: Cost) -> None:
        """Keep the promise right now, in line with those who wait, or raise NoCapacity."""
        self._check_open()
        if self.remote:
            raise ConfigError("route_nowait() cannot wait for a shared store: await route(timeout=0)", key="store")
        now = self.clock()
        if not self.queue.length:  # as `admit` has found, nothing is free; and there may be no loop yet for a timer
            raise self._told(line, self._refusal(line, cost, 0, now, NoCapacity))
        ticket = Ticket(lease, line, cost, None, now=now)
        self.queue.add(ticket, len(line.steps) - 1)
        self.drain()
        if ticket.lane >= 0:
            self.queue.remove(ticket)
            ticket.error = self._refusal(line, cost, 0, now, NoCapacity)
            self.drain()  # it may have reserved a model
        if ticket.error is not None:
            raise self._told(line, ticket.error)

    def join(self, lease: Lease, line: Line, cost: Cost, wish: Wish, turn: "asyncio.Future[None]") -> Waiter:
        """Get in line. `turn` is done as soon as it is this request's turn: the promise is kept, or broken."""
        self._check_open()
        now = self.clock()
        timeout, patience, priority = wish
        if patience is None:
            patience = 0.0 if line.steered else line.patience
        if self.guide:
            self.guide.asked(line)
        deadline = math.inf if timeout is None else now + timeout
        if (refusal := self._in_vain(line, cost, priority, now, deadline)) is not None:
            raise self._told(line, refusal)
        ticket = Ticket(lease, line, cost, turn, now=now, patience=patience, deadline=deadline, priority=priority)
        self.queue.add(ticket, reach(self.queue, line, cost, priority, now, patience))
        if self.queue.is_head(ticket):
            self.drain()
        else:  # nobody is served any earlier for its sake; only its own deadline may be the next thing to happen
            self._set_timer(min(self._timer_at, self.queue.next_alarm()), now)
        if self.herald.heard and not turn.done():
            told = tuple(found for _, found in reasons(line.steps, cost, now, self.queue.reserved))
            self.herald.waited(line, told, now)
        return ticket

    def leave(self, waiter: Waiter) -> None:
        """Whoever waits was cancelled."""
        if waiter.lane >= 0:
            self.queue.remove(waiter)
            self.drain()
        else:
            self.refund(cast(Ticket, waiter).lease)  # granted, and cancelled before it could be used

    def eta(self, line: Line, cost: Cost) -> float:
        """Seconds until a newcomer would probably be served; 0.0 = at once."""
        self._check_open()
        now = self.clock()
        if not self.queue.length and pick(line.steps, cost, now) is not None:
            return 0.0
        return max(self._earliest(line, cost, 0, now) - now, 0.0)

    def _in_vain(self, line: Line, cost: Cost, priority: int, now: float, deadline: float) -> Exception | None:
        if all(one.account.hopeless(cost) for step in line.steps for one in step):
            return self._refusal(line, cost, priority, now, NoCapacity)
        if deadline < math.inf and bound(self.queue, line, cost, priority, now) > deadline:
            return self._refusal(line, cost, priority, now, RouteTimeout)
        return None

    def _refusal(self, line: Line, cost: Cost, priority: int, now: float, kind: type[NoCapacity]) -> Exception:
        found = tuple(one for _, one in reasons(line.steps, cost, now, self.queue.reserved))
        if all(one.reason is Reason.TOO_LARGE for one in found):
            return RequestTooLarge(found)
        retry_at = self._earliest(line, cost, priority, now)
        after = max(retry_at - now, 0.0)
        if math.isfinite(retry_at) and all(hopeless(one) or _is_daily(one) for one in found):
            return QuotaExhausted(retry_at, found, retry_after=after, resets_at=self.wall_clock() + after)
        return kind(retry_at, found, retry_after=after)

    def _earliest(self, line: Line, cost: Cost, priority: int, now: float) -> float:
        """When a newcomer will probably be served. Not now, while it stands behind others, or a plan is in its way."""
        found = earliest(self.queue, line, cost, priority, now)
        if found > now or self._draining:
            return found
        if self.queue.length:
            return self._timer_at
        return self.guide.due if self.guide else found

    def _told(self, line: Line, error: Exception) -> Exception:
        self.tally.of(line.name).refused(type(error).__name__)
        if self.herald.heard:
            self.herald.refused(line.name, error, self.clock())
        return error

    def _check_open(self) -> None:
        if self.closed:
            raise RouterClosed

    # -- granting ------------------------------------------------------------------------------------------------------

    def _grant(self, lease: Lease, candidate: Candidate, line: Line, cost: Cost, now: float, waited: float) -> None:
        """The candidate was found free at `now`. The herald is on hold: observers see the change when it is done."""
        passed: tuple[Skipped, ...] = ()
        if candidate.depth:
            passed = skipped(line.steps, candidate, cost, now, self.queue.reserved)
        candidate.account.start(lease, cost, now)
        lease.hold(candidate, waited, passed)
        candidate.share -= 1.0
        if candidate.depth:
            self._fell_back(line, candidate, passed, now)
        self.announce(lease)

    def announce(self, lease: Lease) -> None:
        """Tell of a new lease: the pools and ramps that it counts against, and the observers."""
        account, now = lease.candidate.account, lease.at
        if account.slots < 0:  # not just ready
            if account.pools:
                lease.shares = account.draw(lease.cost, now)
            for one in (account, *account.pools):
                cooldown = one.cooldown
                if not cooldown.ready:
                    if self.herald.heard and cooldown.probes_next:
                        self.herald.probed(one, now)
                    cooldown.granted(lease, now)
        if self.herald.heard:
            self.herald.routed(lease, now)

    def _fell_back(self, line: Line, candidate: Candidate, passed: tuple[Skipped, ...], now: float) -> None:
        first, to, reason = line.steps[0][0].model.name, candidate.model.name, passed[0].reason.value
        self.tally.of(line.name).fell_back(first, to, reason)
        if self.herald.heard:
            self.herald.fell_back(line.name, first, to, reason, now)

    def drain(self, at: float = -math.inf) -> None:
        """Serve everybody who can be served, then set the one timer to the next instant at which somebody can."""
        if self._draining:
            return
        if not self.queue.length and self._timer is None and not self.remote:
            self._be_quiet()
            return
        self._draining = True
        self.herald.hold()
        try:
            now = self._now = max(self.clock(), at)
            wake = self._serve(now)
            if self.guide and self.queue.length:
                wake = min(wake, self.guide.look_again(now))
            self._set_timer(min(wake, self.queue.next_alarm()), now)
        finally:
            self._draining = False
            self._be_quiet()
            self.herald.release()

    def _serve(self, now: float) -> float:
        if self.guide:
            self.guide.steer(now)
        due = list(self.queue.due(now))
        if self.remote:
            return self._serve_remote(self.remote, due, now)
        wake = self.queue.serve(now, self._hand_over, self._give_up)
        if late := [waiter for waiter in due if waiter.lane >= 0]:  # whoever is served at the deadline is in time
            for waiter in late:
                self.queue.remove(waiter)
                self._refuse(waiter, self._refusal(waiter.line, waiter.cost, waiter.priority, now, RouteTimeout))
            wake = self.queue.serve(now, self._hand_over, self._give_up)
        return wake

    def _serve_remote(self, remote: "Remote", due: list[Waiter], now: float) -> float:
        wake = remote.serve(now)
        if late := remote.overdue(due):
            for waiter in late:
                self.queue.remove(waiter)
                refusal = self._refusal(waiter.line, waiter.cost, waiter.priority, now, RouteTimeout)
                self._refuse(waiter, remote.failure or refusal)
            wake = remote.serve(now)
        return wake

    def _be_quiet(self) -> None:
        self.quiet = not (self.queue.length or self.herald.heard or self.closed or self.guide or self.remote)

    def _hand_over(self, waiter: Waiter, candidate: Candidate) -> Lease | None:
        ticket, now = cast(Ticket, waiter), self._now  # for which it was chosen; the clock may be a rounding behind
        if ticket.gone:
            return None  # cancelled in this very turn of the loop
        waited = now - ticket.arrived
        self._grant(ticket.lease, candidate, ticket.line, ticket.cost, now, waited)
        if ticket.turn is not None:
            if waited > 0:
                self.tally.of(ticket.line.name).waited(waited)
            ticket.turn.set_result(None)
        return ticket.lease

    def _give_up(self, waiter: Waiter) -> None:
        self._refuse(waiter, self._refusal(waiter.line, waiter.cost, waiter.priority, self._now, NoCapacity))

    def _refuse(self, waiter: Waiter, error: Exception) -> None:
        ticket = cast(Ticket, waiter)
        if ticket.turn is None:
            ticket.error = error
        elif not ticket.gone:
            ticket.turn.set_exception(self._told(ticket.line, error))

    def _set_timer(self, wake: float, now: float) -> None:
        if wake == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = wake
        if wake < math.inf:
            self._timer = asyncio.get_running_loop().call_later(_delay(now, wake), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, wake, self._timer_at = None, self._timer_at, math.inf
        early = wake - self.clock()
        if early > EARLY:  # some loops round down: go to sleep again for whole milliseconds instead of spinning
            self._timer_at = wake
            delay = math.ceil(early / MILLISECOND) * MILLISECOND
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)
        else:
            self.drain(at=wake)

    # -- after the call: see `after_call` ------------------------------------------------------------------------------

    def settled(self, lease: Lease, room: bool) -> None:
        """A call went well, and somebody waits or wants to know. `room`: see `AfterCall.succeeded`."""
        if self.remote:
            self.remote.settled(lease)
        if self.queue.length:
            account = lease.candidate.account
            room = room or account.in_flight + 1 >= account.concurrency or lease.cost != cost_of(lease.tokens)
            if room or self._timer_at <= self.clock():  # or the timer is late
                self.drain()
        if self.herald.heard:
            self.herald.settled(lease, self.clock())

    def refund(self, lease: Lease) -> None:
        """See `Lease.cancel`."""
        if lease.end():
            self._after.refund(lease)
            if self.remote:
                self.remote.refunded(lease)
            self.drain()

    def fail(self, lease: Lease, error: BaseException | Outcome) -> Outcome:
        """See `Lease.fail`."""
        outcome = error if isinstance(error, Outcome) else self._classify(lease.model, error)
        if lease.end():
            self.herald.hold()
            if self.guide:
                self.guide.failed(lease.tier, outcome.kind)
            if self._after.failed(lease, outcome):
                self._replan(self.clock())
            if self.remote:
                self.remote.failed(lease, outcome)
            self.drain()
            self.herald.release()
        return outcome

    def observe(self, lease: Lease, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """See `Lease.observe`."""
        self._after.observe(lease, headers, self.wall_clock())
        self.drain()

    def _replan(self, now: float) -> None:
        """Something closed: whoever would rather wait looks again at whether that is still worth it."""
        if self.guide:
            self.guide.stale()
        for line in self.queue.lines:
            for waiter in [one for lane in line.lanes[:-1] for one in lane]:
                if (lane := still_worth_waiting(waiter, now)) != waiter.lane:
                    self.queue.deepen(waiter, lane)

    def _siblings(self, model: Model) -> list[Account]:
        """The accounts of every model that has the same provider and key; a model without either is alone."""
        key = (model.provider, model.key)
        names = [name for name, one in self.models.items() if (one.provider, one.key) == key != (None, None)]
        return [self.accounts[name] for name in names]

    # -- batches -------------------------------------------------------------------------------------------------------

    def guided(self) -> "Guide":
        """What steers batches. Most routers never have one, so it is imported when it is asked for."""
        if self.guide is None:
            from ratelimit_router.guidance import Guide

            self.guide = Guide(self.find_line, self.queue, self.drain)
        return self.guide

    # -- a shared store ------------------------------------------------------------------------------------------------

    def share(self, store: "SharedStore") -> None:
        """Have the store decide from now on."""
        from ratelimit_router.remote import Remote

        self.remote = Remote(
            store,
            self.queue,
            clock=self.clock,
            accounts=lambda: [*self.accounts.values(), *self.pools.values()],
            hand_over=self._hand_over,
            give_up=self._give_up,
            refuse=self._refuse,
            drain=self.drain,
            learn=self._after.learn,
            closed=self._heard_of,
        )
        self.quiet = False

    def _heard_of(self, account: Account, incident: Incident) -> None:
        """Another router has met an incident."""
        now = self.clock()
        if self.herald.heard:
            self.herald.cooled(account, incident, now)
        self._replan(now)

    # -- the rest ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every waiter with RouterClosed."""
        self.closed = True
        self._be_quiet()
        self.dismiss(list(self.queue.lines), lambda line: RouterClosed())
        self._set_timer(math.inf, 0.0)

    def dismiss(self, lines: Iterable[Line], error: Callable[[Line], Exception]) -> None:
        """End everybody who waits in these lines, each with an error of its own, before observers hear of the first."""
        self.herald.hold()
        for waiter in [one for line in lines for one in line]:
            self.queue.remove(waiter)
            self._refuse(waiter, error(waiter.line))
        self.herald.release()


class Ticket(Waiter):
    """A waiter with its lease, and how it learns of it (`turn` None: it does not wait)."""

    __slots__ = ("error", "lease", "turn")

    def __init__(
        self,
        lease: Lease,
        line: Line,
        cost: Cost,
        turn: "asyncio.Future[None] | None",
        *,
        now: float,
        patience: float = 0.0,
        deadline: float = math.inf,
        priority: int = 0,
    ):
        until = now + patience if patience else now
        super().__init__(line, cost, priority=priority, arrived=now, patient_until=until, deadline=deadline)
        self.lease, self.turn = lease, turn
        self.error: Exception | None = None

    @property
    def gone(self) -> bool:
        """Nobody is there any more to take the lease."""
        return self.turn is not None and self.turn.done()


def _delay(now: float, wake: float) -> float:
    """Seconds from `now` to `wake`, rounded up."""
    delay = max(wake - now, 0.0)
    return delay if now + delay >= wake else math.nextafter(delay, math.inf)


def _is_daily(found: Skipped) -> bool:
    name = (found.quota or "").rpartition(".")[2]
    return name in QUOTAS and QUOTAS[name][1] >= DAY
