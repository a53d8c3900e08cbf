"""Watches one router at work, and says whenever it does what it must never do.

It keeps books of its own: of every lease, of everybody in line, of every quota as it is believed to be. What the router
decides is compared with these at once; between two decisions its counts, its timer and its cooldowns are. It does not
look at levels unless it is asked to, since the router remembers less once somebody has looked.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING

from ratelimit_router.account import Account
from ratelimit_router.bucket import Cost
from ratelimit_router.errors import NoCapacity, RequestTooLarge
from ratelimit_router.lease import Lease
from ratelimit_router.outcomes import Kind
from ratelimit_router.queue import Line, Waiter
from ratelimit_router.selection import Candidate
from ratelimit_router.simulation.audit.believed_account import BelievedAccount, with_pools
from ratelimit_router.simulation.audit.breach import Breach, Invariant
from ratelimit_router.simulation.audit.held import Held
from ratelimit_router.simulation.audit.spends import EPSILON
from ratelimit_router.simulation.audit.waiting import Waiting

if TYPE_CHECKING:
    from ratelimit_router.simulation.audit.watched import WatchedDispatcher

__all__ = ["Auditor"]

Found = Iterable[tuple[Invariant, str]]

REFUSED = frozenset(
    {Kind.RATE_LIMITED, Kind.OVERLOADED, Kind.AUTH, Kind.BILLING, Kind.MODEL_GONE, Kind.TIMEOUT, Kind.NOT_SENT}
)
"""What may begin an incident."""
ANSWERED = frozenset({Kind.BAD_REQUEST, Kind.BAD_RESPONSE})
MOST_BREACHES = 20
"""One leads to the next; nobody reads more."""
SPINS = 5
"""Firings of the timer at one instant that are still no spinning."""
NOTHING: Cost = (0, 0, 0, 0)


class Auditor:
    """`breaches`: what was wrong. `log`: every decision, a line each.

    `guard`: as for the Router. `lateness`: seconds that a timer may be late. `looks`: the chance that levels are looked
    at after a turn.
    """

    def __init__(
        self, *, guard: float = 0.0, lateness: float = 2 * EPSILON, looks: float = 0.0, rng: Random | None = None
    ):
        self.breaches: list[Breach] = []
        self.log: list[str] = []
        self._guard, self._lateness, self._looks, self._rng = guard, lateness, looks, rng or Random(0)
        self._accounts: dict[Account, BelievedAccount] = {}
        self._held: dict[Lease, Held] = {}
        self._waiting = Waiting(lateness)
        self._clocks: tuple[float, ...] = ()
        self._number = 0
        self._depth = 0
        self._latest = -math.inf  # when the latest turn ended
        self._withheld: set[Candidate] = set()
        self._rejected: Held | None = None
        self._reconfigured = False
        self._firings: Counter[float] = Counter()
        self._core: WatchedDispatcher

    def watch(self, core: "WatchedDispatcher") -> None:
        """From now on, this one."""
        self._core = core
        self._look_around()

    # -- turns ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Somebody calls the router. Calls within calls are part of the first one."""
        if not self._depth:
            self._begin()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._end()

    def _begin(self) -> None:
        now = self._core.clock()
        self._set_clocks(now)
        if now > self._latest:
            self._heads(now - self._lateness, now, self._withheld)

    def _end(self) -> None:
        now = self._latest = self._core.clock()
        self._look_around()
        self._blame(self._waiting.look(self._core.queue, now, reconfigured=self._reconfigured), now)
        self._rejected, self._reconfigured = None, False
        self._timers(now)
        self._heads(now - self._lateness, now)
        for account in self._accounts.values():
            self._blame(account.counts(), now)
        if self._rng.random() < self._looks:
            self.look_closely()

    def _set_clocks(self, now: float) -> None:
        ahead = self._core.wall_clock() - now
        if not self._clocks or abs(self._clocks[-1] - ahead) > 1e-3:
            self._clocks = (*self._clocks, ahead)

    def _look_around(self) -> None:
        """Take over what the router believes by now."""
        now = self._core.clock()
        if not self._clocks:
            self._set_clocks(now)
        for account in dict.fromkeys((*self._accounts, *self._core.pools.values(), *self._core.accounts.values())):
            self._believed(account, now)  # also those that are gone from the configuration: calls on them may go on

    def _believed(self, account: Account, now: float) -> BelievedAccount:
        found = self._accounts.get(account)
        if found is None:
            found = self._accounts[account] = BelievedAccount(account, now, self._guard, lambda: self._clocks)
        found.believe(now, self._rejected)
        self._blame(found.door.look(self._rejected, now, reconfigured=self._reconfigured), now)
        return found

    def _blame(self, found: Found, at: float) -> None:
        for invariant, what in found:
            if len(self.breaches) < MOST_BREACHES:
                self.breaches.append(Breach(invariant=invariant, at=at, what=what))

    def note(self, what: str) -> None:
        """A line of the log."""
        self.log.append(f"{self._core.clock()!r} {what}")

    # -- what the router does ------------------------------------------------------------------------------------------

    def stands(self, waiter: Waiter, lane: int) -> None:
        """Somebody stands in that lane now."""
        self._waiting.stands(waiter, lane)

    def gone(self, waiter: Waiter) -> None:
        """Somebody went away."""
        self._waiting.gone(waiter)

    def serves(self, waiter: Waiter, candidate: Candidate, now: float) -> None:
        """Somebody in line is about to be granted a lease."""
        ends = self._core.queue.plan_ends
        found = self._waiting.serves(waiter, candidate, now, lambda one, free: self._must(one, free, now), ends)
        self._blame(found, now)
        self._waiting.gone(waiter)

    def overtakes(self, tier: str, now: float) -> None:
        """Somebody got a lease without standing in line."""
        if any(waiter.line.name for waiter in self._waiting):
            self._blame([(Invariant.ORDER, f"a newcomer to {tier} overtakes those in line")], now)

    def grants(self, lease: Lease, candidate: Candidate, cost: Cost, now: float) -> None:
        """A lease is about to be granted, or has just been; our own books do not know of it yet."""
        account = candidate.account
        held = Held(number=self._number, lease=lease, at=now, cost=cost, accounts=tuple(with_pools(account)))
        self._number += 1
        for each in held.accounts:
            believed = self._believed(each, now)
            self._blame(believed.obstacles(cost, now), now)
            self._blame(believed.door.passed(held, now), now)
            believed.start(held)
        self._held[lease] = held
        self.note(f"{candidate.tier} gets {account.name}, {candidate.depth}, as lease {held.number}, for {cost}")

    def holds(self, lease: Lease) -> bool:
        """Whether it is known to be held."""
        return lease in self._held

    def ends(self, lease: Lease, how: str, actual: Cost | None, *, kind: Kind | None = None) -> Held | None:
        """A lease is about to end: it used that (None: what it was charged). None if we know of no such lease."""
        now, held = self._core.clock(), self._held.pop(lease, None)
        if held is None:
            self._blame([(Invariant.ENDS_ONCE, "a lease ends that is not held")], now)
            return None
        settled = kind is None and actual != NOTHING
        held.over, held.answered = True, settled or kind in ANSWERED
        actual = held.cost if actual is None else actual
        for each in held.accounts:
            believed = self._believed(each, now)
            believed.end(held, actual, now)
            if held.answered:
                believed.door.answers(held)
        if settled:
            self._accounts[held.accounts[0]].used(actual)
        self._rejected = held if kind in REFUSED else self._rejected
        self.note(f"lease {held.number} {how} {actual}")
        return held

    def charged(self, lease: Lease, expected: Cost) -> None:
        """A lease is over: what it is charged with."""
        if lease.cost != expected:
            what = f"a lease on {lease.candidate.account.name} is charged {lease.cost}, and has used {expected}"
            self._blame([(Invariant.CHARGES, what)], self._core.clock())

    def drains(self, account: Account, quota: str, remaining: float) -> None:
        """The service is about to be believed that no more is left of a quota."""
        now = self._core.clock()
        if (believed := self._believed(account, now).quotas.get(quota)) is not None:
            believed.drain_to(remaining, now)

    def reconfigures(self) -> None:
        """The configuration is about to change."""
        self._reconfigured = True
        self.note("reconfigured")

    def fires(self) -> None:
        """The timer has gone off."""
        now = asyncio.get_running_loop().time()
        if now not in self._firings:
            self._firings.clear()
        self._firings[now] += 1
        if self._firings[now] == SPINS + 1:
            self._blame([(Invariant.TIMER, f"the timer fires more than {SPINS} times at one instant")], now)

    # -- what the router says ------------------------------------------------------------------------------------------

    def refuses(self, error: Exception, line: Line, cost: Cost, *, alone: bool) -> None:
        """Somebody is about to be turned away. `alone`: nobody is in line."""
        now = self._core.clock()
        self._look_around()
        self.note(f"{line.name} refuses {cost}: {type(error).__name__} {getattr(error, 'retry_at', '')!r}")
        if isinstance(error, RequestTooLarge):
            if any(not self._too_large(one.account, cost) for one in _all(line)):
                self._blame([(Invariant.LATE, f"{line.name} calls a request too large that fits")], now)
        elif isinstance(error, NoCapacity):
            if error.retry_at <= now < self._core._timer_at and type(error) is NoCapacity:
                self._blame([(Invariant.EARLY, f"{line.name} is refused {cost}, and told to come back at once")], now)
            if alone:
                self.advertises(line, cost, error.retry_at)

    def gives_up(self, line: Line, cost: Cost, deadline: float) -> None:
        """Somebody who would be alone is told that waiting until the deadline would be in vain."""
        self._look_around()
        self._in_vain(line, cost, deadline, self._core.clock())

    def advertises(self, line: Line, cost: Cost, at: float) -> None:
        """Somebody who would be alone is told that a model will be free then."""
        now = self._core.clock()
        self._look_around()
        if line.steered:
            return
        if at < math.inf and not any(self._may(one.account, cost, at) for one in _all(line)):
            self._blame([(Invariant.EARLY, f"{line.name} advertises {at!r} for {cost}, when nothing is free")], now)
        self._in_vain(line, cost, at - 2 * EPSILON, now)

    def _in_vain(self, line: Line, cost: Cost, until: float, now: float) -> None:
        """Nothing must be free before that."""
        until = min(until, now + 8 * 86_400.0)
        for one in _all(line):
            if until >= now and one.share > 0 and self._free(one.account, cost, until):
                what = f"{line.name} is told to wait beyond {until!r} with {cost}, but {one.model.name} is free by then"
                self._blame([(Invariant.LATE, what)], now)

    # -- what is free --------------------------------------------------------------------------------------------------

    def _may(self, account: Account, cost: Cost, now: float) -> bool:
        """Whether quotas and cooldowns could let a call through then."""
        parts = [self._accounts[each] for each in with_pools(account)]
        return all(part.may(cost, now) and part.door.may_open_by(now) for part in parts)

    def _free(self, account: Account, cost: Cost, now: float) -> bool:
        """Whether a call has to be let through then, as far as the model and its pools decide."""
        parts = [self._accounts[each] for each in with_pools(account)]
        return all(part.has_slot() and part.door.must_be_open(now) and part.must(cost, now) for part in parts)

    def _too_large(self, account: Account, cost: Cost) -> bool:
        parts = [self._accounts[each] for each in with_pools(account)]
        return any(cost[quota.unit] > quota.ceiling for part in parts for quota in part.quotas.values())

    def _must(self, waiter: Waiter, one: Candidate, now: float) -> bool:
        """Whether somebody in line has to get that model."""
        if one.share <= 0 or not self._free(one.account, waiter.cost, now):
            return False
        return not self._kept(waiter, one.account, now)

    def _kept(self, waiter: Waiter, account: Account, now: float) -> bool:
        """Whether it is kept for somebody else, who cannot be served yet."""
        kept = self._core.queue.reserved.intersection(with_pools(account))
        for line in self._core.queue.lines if kept else ():
            for head in line.heads():
                reach = (one.account for step in line.steps[: head.lane + 1] for one in step)
                if head is not waiter and any(
                    kept.intersection(with_pools(each)) and not self._free(each, head.cost, now) for each in reach
                ):
                    return True
        return False

    # -- between turns -------------------------------------------------------------------------------------------------

    def _heads(self, at: float, now: float, withheld: Collection[Candidate] = ()) -> None:
        """Nobody waits for a model that was free at `at` already. `withheld`: those that a plan kept from them."""
        self._withheld = set()
        for line in self._core.queue.lines:
            for head in line.heads():
                for one in (one for step in line.steps[: head.lane + 1] for one in step):
                    if one.share <= 0:
                        self._withheld.add(one)
                    if head in self._waiting and one not in withheld and self._must(head, one, at):
                        what = f"a request of {line.name} ({head.cost}) waits, though {one.model.name} is free"
                        self._blame([(Invariant.LATE, what)], now)

    def _timers(self, now: float) -> None:
        """At most one; none when nobody waits; and somebody who waits in earnest has one, or a call to wait for."""
        core = self._core
        handles = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        timers = [one for one in handles if not one.cancelled() and getattr(one._callback, "__self__", None) is core]
        if len(timers) > 1:
            self._blame([(Invariant.TIMER, f"{len(timers)} timers are set")], now)
        if timers and not core.queue.length:
            self._blame([(Invariant.TIMER, "a timer is set, and nobody waits")], now)
        if core._timer is None and not self._held and any(True for _ in self._waiting):
            self._blame([(Invariant.DEADLOCK, "somebody waits, no timer is set and no call is under way")], now)
        if core.quiet and (core.queue.length or core.herald.heard or core.closed or core.guide):
            self._blame([(Invariant.ORDER, "newcomers may overtake: the router takes itself for quiet")], now)

    # -- when asked to -------------------------------------------------------------------------------------------------

    def look_closely(self) -> None:
        """Look at every level, too."""
        now = self._core.clock()
        for account in (*self._core.pools.values(), *self._core.accounts.values()):
            self._blame(self._believed(account, now).levels(now), now)

    def finish(self) -> None:
        """All is done: nothing may be left."""
        now, queue = self._core.clock(), self._core.queue
        left = [f"lease {held.number} on {held.accounts[0].name} is held" for held in self._held.values()]
        if queue.length or queue.lines or queue.next_alarm() < math.inf:
            left.append(f"{queue.length} in line, an alarm at {queue.next_alarm():g}")
        for account in self._accounts:
            if account.in_flight or account.cooldown._unanswered:
                left.append(
                    f"{account.name}: {account.in_flight} in flight, {len(account.cooldown._unanswered)} unanswered"
                )
            if account.granted != account.settled + account.failed:
                left.append(f"{account.name}: {account.granted} leases, {account.settled + account.failed} ended")
        self._blame([(Invariant.LEFT_OVER, what) for what in left], now)
        self.look_closely()
        self._timers(now)


def _all(line: Line) -> Iterator[Candidate]:
    return (one for step in line.steps for one in step)
