"""A router on a shared store: who asks it next, and what becomes of the answer.

    route -> line -> ask ── granted ──> Lease            one round trip; the first of a line ask for those behind, too
                      └─ booked for an instant ──> Lease at that instant, without asking again
                      └─ denied until an instant, or until the store says that something came back ──> ask again

- Only the first of each lane ask, and one ask a lane is on its way at a time. What the router itself knows (cooldowns,
  ramps, the plan of a batch) is heeded before anybody asks.
- Of lines that compete for models only the one whose turn it is may book, so weights hold.
- Ends of calls ride along with the next ask; without one they go by themselves, a moment later.
- Time is the store's. An instant of the store is believed to be as much later as the answer took to arrive.
- While the store does not answer nothing is granted. Each ask is repeated, with the same lease ids, until it is
  answered: a lease is charged once, however often it was asked for.

What it does badly: a router that waits in many lines, none of which share a model, has as many asks on their way.
"""

import asyncio
import json
import logging
import math
import os
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ratelimit_router.account import Account
from ratelimit_router.cooldown import ACCEPTED_AFTER, LOST_AFTER, Incident
from ratelimit_router.errors import StoreUnavailable
from ratelimit_router.lease import Lease
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.queue import Lane, Line, Queue, Waiter
from ratelimit_router.selection import Candidate
from ratelimit_router.stores.shared_account import MICRO, SharedAccount, amounts, micros
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.terms import (
    NEVER,
    NOTHING,
    Answer,
    Ask,
    Change,
    End,
    Grant,
    Lesson,
    Offer,
    Page,
    Record,
    Want,
    Why,
)
from ratelimit_router.stores.terms import Incident as Reported

__all__ = ["Remote"]

LASTS = 30.0
"""Seconds that a lease is good for: what a process that died had in flight is back then. It is renewed in time."""
RENEW_EVERY = LASTS / 3
TOGETHER = 32
"""So many of a lane ask together, when nobody else competes with them."""
SOON = 0.002
"""Seconds that the end of a call waits for an ask to ride along with."""
LOOK_AGAIN = 5.0
"""Seconds after which somebody who waits for another's call to end asks again, though nobody said that one has."""
REMEMBERED = 3600.0
"""Seconds for which what was spent can be restated to a store that has lost it."""
FIRST_RETRY, LAST_RETRY = 0.05, 2.0
"""Seconds between two attempts to reach the store: full jitter below a ceiling that doubles."""

_ANSWERED = frozenset({Kind.BAD_REQUEST, Kind.BAD_RESPONSE})

log = logging.getLogger("ratelimit_router")


@dataclass(slots=True)
class Booking:
    """A lease that is charged already, and may be used from `at` on."""

    grant: Grant
    waiter: Waiter
    candidate: Candidate
    at: float

    @property
    def accounts(self) -> tuple[Account, ...]:
        """What is booked."""
        return (self.candidate.account, *self.candidate.account.pools)


@dataclass(slots=True)
class Desk:
    """Where one lane asks. `until`: it need not ask the same question before. `again`: something came back for it.

    `waits`: the store knows that somebody does.
    """

    name: str
    line: Line
    lane: Lane
    depth: int
    asking: bool = False
    again: bool = False
    until: float = -math.inf
    waits: bool = False
    question: tuple[object, ...] = ()
    booking: Booking | None = None
    leases: list[str] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    answer: Answer | None = None
    steps: tuple[tuple[Offer, ...], ...] = ()


class Remote:
    """See above. `accounts`: all models and pools. `hand_over`: charge and wake; the lease, unless nobody wants it."""

    def __init__(
        self,
        store: SharedStore,
        queue: Queue,
        *,
        clock: Callable[[], float],
        accounts: Callable[[], Iterable[Account]],
        hand_over: Callable[[Waiter, Candidate], Lease | None],
        give_up: Callable[[Waiter], None],
        drain: Callable[[], None],
        learn: Callable[[Lease, SharedAccount, Outcome], None],
        heard: Callable[[SharedAccount, Incident], None],
    ):
        self.store, self._queue, self._clock = store, queue, clock
        self._name = os.urandom(6).hex()
        self._accounts, self._hand_over, self._give_up, self._drain = accounts, hand_over, give_up, drain
        self._learn, self._heard = learn, heard
        self._desks: dict[Lane, Desk] = {}
        self._held: dict[Lease, Record] = {}
        self._past: deque[Record] = deque()
        self._ends: list[End] = []
        self._flush: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._incidents: dict[str, Incident | None] = {}
        self._late: list[Waiter] = []  # their deadline has passed, but they have asked before
        self._count = 0
        self._ahead = 0.0  # seconds by which the store's clock is ahead of ours
        self._opening: asyncio.Task[None] | None = None
        self._rng = random.Random()
        self.failure: StoreUnavailable | None = None  # the latest, while the store does not answer
        self.closed = False

    # -- serving -------------------------------------------------------------------------------------------------------

    def serve(self, now: float) -> float:
        """Hand over what was granted, and have those ask whose turn it is. When to look again, as far as time decides.

        For `Queue.serve`, in its place.
        """
        for desk in list(self._desks.values()):
            if desk.answer is not None:
                answer, desk.answer = desk.answer, None
                self._take(desk, answer)
        for desk in sorted((one for one in self._desks.values() if one.booking), key=lambda one: one.booking.at):  # type: ignore[union-attr]
            self._mature(desk, now)
        wake, ahead = math.inf, []
        for line in sorted(self._queue.lines, key=lambda line: (line.served, line.heads()[0].seq)):
            before = [other for other in ahead if line.competes(other)]
            for head in line.heads():
                wake = min(wake, self._tend(self._desk(line, head.lane), head, now, before))
            ahead.append(line)
        self._forget_idle()
        return wake

    def _desk(self, line: Line, depth: int) -> Desk:
        lane = line.lanes[depth]
        if (desk := self._desks.get(lane)) is None:
            self._count += 1
            desk = self._desks[lane] = Desk(f"{self._name}/{self._count}", line, lane, depth)
        return desk

    def _forget_idle(self) -> None:
        for lane, desk in list(self._desks.items()):
            if lane.head() is None and not desk.asking:
                self._release(desk)
                del self._desks[lane]

    def _tend(self, desk: Desk, head: Waiter, now: float, before: list[Line]) -> float:
        """Have a lane ask, if it is time. Lines that come `before` it book first; it may take what they do not."""
        if desk.asking:
            return math.inf
        if desk.booking is not None and not desk.again:
            return desk.booking.at
        candidates, wake = self._open(desk, head, now)
        if candidates and before:
            others = [one for one in self._desks.values() if one.line in before]
            if any(one.asking for one in others):
                return math.inf  # their answer will be looked at here, too
            booked = {account for one in others if one.booking for account in one.booking.accounts}
            candidates = _without(candidates, booked)
            if not candidates:
                return math.inf
        if candidates:
            question = (not before, *(one for step in candidates for one in step))
            if desk.until > now and not desk.again and question == desk.question:
                return min(wake, desk.until)
            desk.question = question
            self._send(desk, head, candidates, may_book=not before)
        elif all(one.account.hopeless(head.cost) for step in desk.line.steps[: desk.depth + 1] for one in step):
            self._turn_away(desk, head)
            wake = now
        return wake

    def _open(self, desk: Desk, head: Waiter, now: float) -> tuple[list[list[Candidate]], float]:
        """The steps that the store is to be asked for, and when there may be more."""
        planned = head.deadline >= self._queue.plan_ends
        steps, wake = [], math.inf
        for step in desk.line.steps[: desk.depth + 1]:
            free = []
            for one in step:
                if planned and one.share <= 0:
                    continue
                opens = max(account.opens_at(now) for account in (one.account, *one.account.pools))
                if opens <= now:
                    free.append(one)
                wake = min(wake, opens) if opens > now else wake
            if free:
                steps.append(free)
        return steps, wake

    def _turn_away(self, desk: Desk, head: Waiter) -> None:
        last = len(desk.line.steps) - 1
        if desk.depth < last:
            self._queue.deepen(head, last)
        else:
            self._queue.remove(head)
            self._give_up(head)

    def overdue(self, due: Iterable[Waiter]) -> list[Waiter]:
        """Those of the waiters whose deadline has passed who are to be refused now: whoever asks awaits the answer."""
        late = [waiter for waiter in (*self._late, *due) if waiter.lane >= 0]
        asking = [waiter for desk in self._desks.values() if desk.asking for waiter in desk.waiters]
        self._late = [] if self.failure else [waiter for waiter in late if waiter in asking]
        return [waiter for waiter in late if waiter not in self._late]

    # -- asking --------------------------------------------------------------------------------------------------------

    def _send(self, desk: Desk, head: Waiter, steps: list[list[Candidate]], *, may_book: bool) -> None:
        waiters = list(self._first(desk, head))
        now, wants = self._clock(), []
        for waiter in waiters:
            self._count += 1
            within = micros(min(max(waiter.deadline - now, 0.0), self._patience(waiter, now))) if may_book else 0
            wants.append(Want(lease=f"{self._name}-{self._count}", cost=amounts(waiter.cost), within=within))
        offers = tuple(tuple(Offer(accounts=self._terms(one)) for one in step) for step in steps)
        if offers != desk.steps:
            desk.steps = offers  # the same object as long as it is the same: a store may keep what it made of it
        ask = Ask(
            line=desk.name,
            steps=desk.steps,
            wants=tuple(wants),
            lasts=micros(LASTS),
            instead=desk.booking.grant.lease if desk.booking else "",
            ends=self._take_ends(),
        )
        desk.asking, desk.again, desk.booking = True, False, None
        desk.leases = [want.lease for want in wants]
        desk.waiters, desk.candidates = waiters, [one for step in steps for one in step]
        self._start(self._ask(desk, ask))

    def _patience(self, waiter: Waiter, now: float) -> float:
        last = waiter.lane == len(waiter.line.lanes) - 1
        return math.inf if last else max(waiter.patient_until - now, 0.0)

    def _first(self, desk: Desk, head: Waiter) -> Iterator[Waiter]:
        """Those of a lane who ask together: nobody who waits elsewhere is to be served in between."""
        others = [one for one in desk.line.heads() if one.lane != desk.depth]
        limit = min(((-one.priority, one.seq) for one in others), default=(math.inf, 0.0))
        alone = not any(line is not desk.line and line.competes(desk.line) for line in self._queue.lines)
        most = TOGETHER if alone else 1
        for count, waiter in enumerate(desk.lane):
            if count and (count >= most or (-waiter.priority, waiter.seq) > limit):
                return
            yield waiter

    def _terms(self, one: Candidate) -> Any:
        now = self._store_now()
        return tuple(cast(SharedAccount, account).terms(now) for account in (one.account, *one.account.pools))

    def _store_now(self) -> int:
        return int((self._clock() + self._ahead) * MICRO)

    async def _ask(self, desk: Desk, ask: Ask) -> None:
        answer = await self._insist(lambda: self.store.admit(ask))
        if answer is None:
            return
        self._ahead = answer.now / MICRO - self._clock()
        desk.asking = False
        if self._desks.get(desk.lane) is not desk:  # chains have changed meanwhile
            for grant in answer.grants:
                self._give_back(grant.lease)
            return
        if answer.stale:
            for account in self._accounts():
                account.rebuild()
        desk.answer = answer
        self._drain()

    def _take(self, desk: Desk, answer: Answer) -> None:
        """What the store said, in the order of the wants."""
        desk.waits = len(answer.denials) == len(desk.candidates)
        candidates = desk.candidates
        denied = math.inf
        for found, candidate in zip(answer.denials, candidates, strict=False):
            at = self._local(found.at)
            if found.at > answer.now:
                cast(SharedAccount, candidate.account).deny(found, at)
            denied = min(denied, at)
        by_lease = dict(zip(desk.leases, desk.waiters, strict=True))
        for grant in answer.grants:
            waiter = by_lease[grant.lease]
            candidate = candidates[grant.offer]
            if grant.at > answer.now:
                desk.booking = Booking(grant, waiter, candidate, self._local(grant.at))
            else:
                self._deliver(desk, grant, waiter, candidate)
        if desk.booking is None and desk.waits and denied > self._clock():
            latest = self._clock() + LOOK_AGAIN
            desk.until = min(denied, latest) if any(one.why is not Why.QUOTA for one in answer.denials) else denied
            desk.until = min(desk.until, latest) if denied == math.inf else desk.until
        else:
            desk.until = -math.inf

    def _local(self, at: int) -> float:
        return math.inf if at >= NEVER else at / MICRO - self._ahead

    def _mature(self, desk: Desk, now: float) -> None:
        """The instant for which a lane has booked has come: whoever is first takes it."""
        booking = desk.booking
        if booking is None or booking.at > now:
            return
        desk.booking = None
        head = desk.lane.head()
        if head is None or amounts(head.cost) != amounts(booking.waiter.cost):
            self._give_back(booking.grant.lease)
        else:
            self._deliver(desk, booking.grant, head, booking.candidate)

    def _deliver(self, desk: Desk, grant: Grant, waiter: Waiter, candidate: Candidate) -> None:
        now = self._clock()
        accounts = (candidate.account, *candidate.account.pools)
        shut = any(account.opens_at(now) > now for account in accounts)
        if waiter.lane < 0 or shut:
            self._give_back(grant.lease)  # it has left, or the model was closed meanwhile
            return
        self._queue.remove(waiter)
        waiter.line.served += waiter.line.stride
        cast(SharedAccount, candidate.account).denied = None
        lease = self._hand_over(waiter, candidate)
        if lease is None:
            self._give_back(grant.lease)
            return
        self._held[lease] = Record(
            lease=grant.lease,
            line=desk.name,
            accounts=tuple(account.name for account in accounts),
            epochs=grant.epochs,
            at=grant.at,
            cost=amounts(waiter.cost),
            expires=grant.at + micros(LASTS),
        )
        for account, epoch in zip(accounts, grant.epochs, strict=True):
            if epoch > cast(SharedAccount, account).known_epoch:
                self._look((account.name,))

    def reconfigured(self) -> None:
        """Chains, models or limits have changed: everybody asks anew."""
        for desk in self._desks.values():
            self._release(desk)
        self._desks.clear()
        if self._opening is not None:
            names = tuple(account.name for account in self._accounts())
            self._start(self._tell(lambda: self.store.reopen(names)))

    def _release(self, desk: Desk) -> None:
        """Nobody waits here any more: others may have what was booked, and need not wait behind it."""
        if desk.waits:
            ask = self._to_leave(desk)
            self._start(self._tell(lambda: self.store.admit(ask)))
        desk.booking, desk.waits = None, False

    def _to_leave(self, desk: Desk) -> Ask:
        booked = desk.booking.grant.lease if desk.booking else ""
        return Ask(
            line=desk.name, steps=desk.steps, wants=(), lasts=micros(LASTS), instead=booked, ends=self._take_ends()
        )

    def _give_back(self, lease: str) -> None:
        self._ends.append(End(lease=lease, cost=NOTHING))
        self._flush_soon()

    # -- after the call ------------------------------------------------------------------------------------------------

    def settled(self, lease: Lease) -> None:
        """A call went well."""
        self._end(lease, End(lease="", cost=amounts(lease.cost)))
        self._teach(lease)

    def refunded(self, lease: Lease) -> None:
        """No call was made."""
        self._end(lease, End(lease="", cost=NOTHING))

    def failed(self, lease: Lease, outcome: Outcome) -> None:
        """A call failed, and the router has acted on it."""
        record = self._held.get(lease)
        if outcome.kind is Kind.NOT_SENT:
            self.refunded(lease)
        else:
            self._end(lease, End(lease="", answered=outcome.kind in _ANSWERED))
        for account in self._accounts():
            incident = account.cooldown.incident
            if incident is not None and incident is not self._incidents.get(account.name):
                self._incidents[account.name] = incident
                self._start(self._report(cast(SharedAccount, account), incident, lease, record, outcome))

    def _end(self, lease: Lease, end: End) -> None:
        if (record := self._held.pop(lease, None)) is None:
            return
        cost = record.cost if end.cost is None else end.cost
        self._ends.append(replace(end, lease=record.lease))
        if cost != NOTHING:
            record.cost, record.running, record.ended = cost, False, True
            self._past.append(record)
        horizon = self._store_now() - micros(REMEMBERED)
        while self._past and self._past[0].at < horizon:
            self._past.popleft()
        self._flush_soon()

    def _take_ends(self) -> tuple[End, ...]:
        ends, self._ends = tuple(self._ends), []
        return ends

    def _flush_soon(self) -> None:
        if self._flush is None and not self.closed:
            self._flush = asyncio.get_running_loop().call_later(SOON, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        if self._ends:
            ends = self._take_ends()
            self._start(self._tell(lambda: self.store.end(ends)))

    async def _tell(self, act: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        await self._insist(act)

    # -- cooldowns and lessons -----------------------------------------------------------------------------------------

    async def _report(
        self, account: SharedAccount, incident: Incident, lease: Lease, record: Record | None, outcome: Outcome
    ) -> None:
        epoch = account.known_epoch
        if record is not None and account.name in record.accounts:
            epoch = record.epochs[record.accounts.index(account.name)]
        limited = incident.reason is Kind.RATE_LIMITED
        note = {"kind": incident.reason.value, "quota": incident.quota, "hint": incident.provenance.value == "server"}
        found = Reported(
            account=account.name,
            epoch=epoch,
            lasts=micros(max(incident.until - self._clock(), 0.0)),
            extends=incident.provenance.value != "heuristic",
            verdict=micros(ACCEPTED_AFTER if limited else LOST_AFTER),
            silence=limited,
            note=json.dumps(note),
        )
        page = await self._insist(lambda: self.store.cool(found))
        if page is None:
            return
        first = page.epoch == epoch + 1
        account.known_epoch = max(account.known_epoch, page.epoch)
        account.mirror(page, self._ahead, self._clock())
        if limited and first:
            self._learn(lease, account, outcome)
            self._teach_account(account)
        self._adopt(account, page)

    def _teach(self, lease: Lease) -> None:
        for account in (lease.candidate.account, *lease.candidate.account.pools):
            if account.delicate:
                self._teach_account(cast(SharedAccount, account))

    def _teach_account(self, account: SharedAccount) -> None:
        for lesson in account.lessons(self._ahead):
            self._start(self._teach_one(account, lesson))

    async def _teach_one(self, account: SharedAccount, lesson: Lesson) -> None:
        stands = await self._insist(lambda: self.store.teach(lesson))
        if stands is not None and account.heed(stands, self._ahead, self._clock()):
            self._drain()

    def _adopt(self, account: SharedAccount, page: Page) -> None:
        """Others have met an incident, or learned something."""
        now = self._clock()
        account.known_epoch = max(account.known_epoch, page.epoch)
        until = self._local(page.until)
        if page.until and until > max(account.cooldown.until, now):
            facts = json.loads(page.note) if page.note else {"kind": Kind.RATE_LIMITED, "quota": None, "hint": False}
            outcome = Outcome(kind=Kind(facts["kind"]), quota=facts["quota"])
            incident = account.cooldown.hear(outcome, until, now, hinted=facts["hint"])
            if incident is not None:
                self._incidents[account.name] = incident
                account.rebuild()
                self._heard(account, incident)
        for lesson in page.lessons:
            account.heed(lesson, self._ahead, now)

    # -- what the store says by itself ---------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        """The store tells of what another router has done."""
        if self.closed:
            return
        if change.anew:
            records = [*self._past, *self._held.values()]
            self._start(self._tell(lambda: self.store.restate(records)))
        names = {account.name for account in self._accounts()}
        if changed := names if change.anew else names.intersection(change.accounts):
            self._look(tuple(sorted(changed)))
        woken = False
        for desk in self._desks.values():
            if change.anew or desk.name in change.wake:
                desk.again = woken = True
        if woken:
            self._drain()

    def _look(self, names: tuple[str, ...]) -> None:
        self._start(self._look_now(names))

    async def _look_now(self, names: tuple[str, ...]) -> None:
        pages = await self._insist(lambda: self.store.look(names))
        if pages is None:
            return
        accounts = {account.name: account for account in self._accounts()}
        for page in pages:
            if (account := accounts.get(page.name)) is not None:
                self._adopt(cast(SharedAccount, account), page)
        self._drain()

    # -- keeping in touch ----------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _insist(self, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Repeat an act until the store answers. None once the router is closed, and it does not."""
        ceiling = FIRST_RETRY
        while True:
            try:
                await self._opened()
                answer = await act()
            except StoreUnavailable as failure:
                if self.failure is None:
                    log.warning("%s", failure)
                self.failure = failure
                self._drain()
                if self.closed:
                    return None
                await asyncio.sleep(self._rng.uniform(0.0, ceiling))
                ceiling = min(2.0 * ceiling, LAST_RETRY)
            else:
                if self.failure is not None:
                    log.warning("the store %s answers again", self.failure.store)
                    self.failure = None
                return answer

    async def _opened(self) -> None:
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.get_running_loop().create_task(self.store.open(self._changed))
            self._opening.add_done_callback(lambda task: self._start(self._keep()) if not task.exception() else None)
        await asyncio.shield(self._opening)

    async def _keep(self) -> None:
        """Renew what is in flight, as long as there is a router."""
        while not self.closed:
            await asyncio.sleep(RENEW_EVERY)
            horizon = self._store_now() - micros(RENEW_EVERY)
            held = {record.lease: record for record in self._held.values() if record.at <= horizon}
            if held:
                lost = await self._insist(lambda held=held: self.store.renew(tuple(held), micros(LASTS)))
                if lost:
                    await self._insist(lambda lost=lost: self.store.restate([held[lease] for lease in lost]))

    async def aclose(self) -> None:
        """Give back what is booked, tell what has ended, and let go of the store."""
        leaving = [self._to_leave(desk) for desk in self._desks.values() if desk.waits]
        self.closed = True
        if self._flush is not None:
            self._flush.cancel()
        if self._opening is not None:
            for ask in leaving:
                await self._insist(lambda ask=ask: self.store.admit(ask))
            if ends := self._take_ends():
                await self._insist(lambda: self.store.end(ends))
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.store.aclose()


def _without(steps: list[list[Candidate]], booked: set[Account]) -> list[list[Candidate]]:
    """The candidates that draw on nothing that is booked."""
    left = [[one for one in step if booked.isdisjoint((one.account, *one.account.pools))] for step in steps]
    return [step for step in left if step]
