"""A router on a shared store: who asks it next, and what becomes of the answer.

    route -> line -> ask ── granted ──> Lease            one round trip; the first of a line ask for those behind, too
                      └─ booked for an instant ──> Lease at that instant, without asking again
                      └─ denied until an instant, or until the store says that something came back ──> ask again

- Only the first of each lane ask, and one ask a lane is on its way at a time. What the router itself knows (cooldowns,
  ramps, the plan of a batch) is heeded before anybody asks.
- Of lines that compete for models only the one whose turn it is may book, so weights hold.
- How it is told and asked in spite of failures: see `correspondence`. What others have met: see `hearsay`.

What it does badly: a router that waits in many lines, none of which share a model, has as many asks on their way.
"""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, repeat
from typing import cast

from ratelimit_router.account import Account
from ratelimit_router.cooldown import Incident
from ratelimit_router.correspondence import Correspondence
from ratelimit_router.desk import Booking, Desk, room, without
from ratelimit_router.errors import StoreUnavailable
from ratelimit_router.forecast import still_worth_waiting
from ratelimit_router.hearsay import Hearsay
from ratelimit_router.lease import Lease
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.queue import Lane, Line, Queue, Waiter
from ratelimit_router.selection import Candidate
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.shared_account import SharedAccount, amounts, micros
from ratelimit_router.stores.terms import (
    NEVER,
    NOTHING,
    Answer,
    Ask,
    Change,
    End,
    Grant,
    Offer,
    Record,
    Terms,
    Want,
    Why,
)

__all__ = ["Remote"]

TOGETHER = 32
"""So many of a lane ask together, when nobody else competes with them."""
LOOK_AGAIN = 5.0
"""Seconds after which somebody who waits for another's call to end asks again, though nobody said that one has: its
process may have died. No later than a third of the time that a lease is good for."""
LATE = 0.25
"""Seconds. A lease that is older when it arrives, since an answer was lost, counted too early: it is given back."""

_BY_TIME = frozenset({Why.QUOTA, Why.COOLING, Why.TOO_LARGE})
_ANSWERED = frozenset({Kind.BAD_REQUEST, Kind.BAD_RESPONSE})


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
        refuse: Callable[[Waiter, Exception], None],
        drain: Callable[[], None],
        learn: Callable[[Lease, Account, Outcome], None],
        closed: Callable[[Account, Incident], None],
    ):
        self._queue, self._clock = queue, clock
        self._hand_over, self._give_up, self._refuse, self._drain = hand_over, give_up, refuse, drain
        self._desks: dict[Lane, Desk] = {}
        self._late: list[Waiter] = []  # their deadline has passed, but they have asked before
        self._vain: list[Waiter] = []  # their deadline will have passed
        self._count = 0
        self._mail = Correspondence(
            store, clock, heard=self._changed, failed=drain, remembers=lambda: _longest(accounts())
        )
        self._hearsay = Hearsay(self._mail, clock, accounts=accounts, learn=learn, closed=closed, drain=drain)

    @property
    def failure(self) -> StoreUnavailable | None:
        """Why the store does not answer, if it does not."""
        return self._mail.failure

    # -- serving -------------------------------------------------------------------------------------------------------

    def serve(self, now: float) -> float:
        """Hand over what was granted, and have those ask whose turn it is. When to look again, as far as time decides.

        For `Queue.serve`, in its place.
        """
        for desk in list(self._desks.values()):
            if desk.answer is not None:
                answer, desk.answer = desk.answer, None
                if isinstance(answer, Answer):
                    self._take(desk, answer, now)
                else:
                    self._fail(desk, answer)
        for desk in sorted((one for one in self._desks.values() if one.booking), key=lambda one: one.booking.at):  # type: ignore[union-attr]
            self._mature(desk, now)
        wake = math.inf
        ahead: list[Line] = []
        for line in sorted(self._queue.lines, key=lambda line: (line.served, line.heads()[0].seq)):
            before = [other for other in ahead if line.competes(other)]
            for head in line.heads():
                desk = self._desk(line, head.lane)
                wake = min(wake, self._tend(desk, head, now, before), desk.booking.at if desk.booking else math.inf)
            ahead.append(line)
        self._forget_idle()
        return wake

    def _desk(self, line: Line, depth: int) -> Desk:
        lane = line.lanes[depth]
        if (desk := self._desks.get(lane)) is None:
            desk = self._desks[lane] = Desk(self._name(), line, lane, depth)
        return desk

    def _name(self) -> str:
        self._count += 1
        return f"{self._mail.name}/{self._count}"

    def _forget_idle(self) -> None:
        for lane, desk in list(self._desks.items()):
            if lane.head() is None and not desk.asking:
                self._release(desk)
                del self._desks[lane]

    def _tend(self, desk: Desk, head: Waiter, now: float, before: list[Line]) -> float:
        """Have a lane ask, if it is time. Lines that come `before` it book first; it may take what they do not."""
        if desk.asking:
            return math.inf
        candidates, wake = desk.open(now, planned=head.deadline >= self._queue.plan_ends)
        if candidates and before:
            others = [one for one in self._desks.values() if one.line in before]
            if any(one.asking for one in others):
                return math.inf  # their answer will be looked at here, too
            candidates = without(
                candidates, {account for one in others if one.booking for account in one.booking.accounts}
            )
        if not candidates:
            if desk.again:
                self._release(desk)  # it may not take what came back: others may
            if all(one.account.hopeless(head.cost) for step in desk.line.steps[: desk.depth + 1] for one in step):
                self._turn_away(desk, head)
                return now
            return wake
        asked = frozenset(one for step in candidates for one in step)
        if (until := desk.content(head)) > now and asked <= desk.asked:
            return min(wake, until)
        desk.asked = asked
        self._send(desk, head, candidates, now)
        return wake

    def _turn_away(self, desk: Desk, head: Waiter) -> None:
        last = len(desk.line.steps) - 1
        if desk.depth < last:
            self._queue.deepen(head, last)
        else:
            self._queue.remove(head)
            self._give_up(head)

    def overdue(self, due: Iterable[Waiter]) -> list[Waiter]:
        """Those of the waiters whose deadline has passed who are to be refused now: whoever asks awaits the answer."""
        late = [waiter for waiter in (*self._late, *due) if waiter.lane >= 0 and waiter not in self._vain]
        asking = [waiter for desk in self._desks.values() if desk.asking for waiter in desk.waiters]
        self._late = [] if self.failure else [waiter for waiter in late if waiter in asking]
        vain, self._vain = self._vain, []
        return [waiter for waiter in (*vain, *late) if waiter.lane >= 0 and waiter not in self._late]

    # -- asking --------------------------------------------------------------------------------------------------------

    def _send(self, desk: Desk, head: Waiter, steps: list[list[Candidate]], now: float) -> None:
        alone = not any(line is not desk.line and line.competes(desk.line) for line in self._queue.lines)
        most = min(TOGETHER, max(room(one) for step in steps for one in step)) if alone else 2
        waiters, wants = list(desk.first(most, now)), []
        for waiter in waiters:
            self._count += 1
            books = alone or waiter is head  # after the first it is another line's turn
            within = desk.within(waiter, now) if books else 0
            wants.append(Want(lease=f"{self._mail.name}-{self._count}", cost=amounts(waiter.cost), within=within))
        offers = tuple(tuple(Offer(accounts=self._terms(one)) for one in step) for step in steps)
        if offers != desk.steps:
            desk.steps = offers  # the same object as long as it is the same: a store may keep what it made of it
        names = {one.name for step in offers for offer in step for one in offer.accounts}
        ask = Ask(
            line=desk.name,
            steps=desk.steps,
            wants=tuple(wants),
            lasts=self._mail.lasts,
            instead=desk.booking.grant.lease if desk.booking else "",
            ends=self._mail.take_ends(),
            waits=not desk.stands.isdisjoint(names),
        )
        booked = desk.booking.grant.at if desk.booking else NEVER
        desk.asking, desk.again, desk.booking = True, False, None
        desk.leases = [want.lease for want in wants]
        desk.waiters, desk.candidates = waiters, [one for step in steps for one in step]
        self._mail.start(self._ask(desk, ask, booked))

    def _terms(self, one: Candidate) -> tuple[Terms, ...]:
        now = self._mail.store_now()
        return tuple(cast(SharedAccount, account).terms(now) for account in (one.account, *one.account.pools))

    async def _ask(self, desk: Desk, ask: Ask, booked: int) -> None:
        """`booked`: the instant of what was booked until now."""
        attempts = chain([ask], repeat(replace(ask, waits=True)))
        answer: Answer | Exception
        try:
            answer = await self._mail.insist(lambda: self._mail.store.admit(next(attempts)))
        except Exception as error:  # noqa: BLE001 -- it is for whoever asked: they would wait for ever
            answer = error
        desk.asking = False
        if not isinstance(answer, Answer) or answer.stale:
            doubtful = [ask.instead, *(want.lease for want in ask.wants)]  # an answer may have been lost before
            self._mail.put_back((*ask.ends, *(End(lease=lease, cost=NOTHING) for lease in doubtful if lease)))
        if isinstance(answer, Answer):
            self._mail.set_clock(answer.now)
            if booked <= answer.now:  # its time had come before the store was asked: it is charged, and nobody's
                self._mail.give_back(ask.instead)
            if answer.stale:
                for account in self._hearsay.accounts().values():
                    account.rebuild()
            if self._desks.get(desk.lane) is not desk:  # chains have changed meanwhile, or all is over
                for grant in answer.grants:
                    self._mail.give_back(grant.lease)
                desk.stands.update(name for offer in chain(*ask.steps) for name in (one.name for one in offer.accounts))
                self._release(desk)
                return
        desk.answer = answer
        self._drain()

    def _fail(self, desk: Desk, error: Exception) -> None:
        """The store cannot be used at all: whoever asked is told so."""
        desk.until = -math.inf
        for waiter in desk.waiters:
            if waiter.lane >= 0:
                self._queue.remove(waiter)
                self._refuse(waiter, error)

    def _take(self, desk: Desk, answer: Answer, now: float) -> None:
        """What the store said, in the order of the wants."""
        names = {one.name for step in desk.steps for offer in step for one in offer.accounts}
        denied = len(answer.denials) == len(desk.candidates)
        if denied:
            desk.stands |= names
        elif not answer.stale:
            desk.stands -= names
        candidates = desk.candidates
        earliest = math.inf
        for found, candidate in zip(answer.denials, candidates, strict=False):
            at = self._mail.local(found.at)
            if found.at > answer.now:
                cast(SharedAccount, candidate.account).deny(found, at)
            earliest = min(earliest, at)
        by_lease = dict(zip(desk.leases, desk.waiters, strict=True))
        for grant in answer.grants:
            waiter = by_lease[grant.lease]
            candidate = candidates[grant.offer]
            if grant.at > answer.now:
                desk.booking = Booking(grant, waiter, candidate, self._mail.local(grant.at))
            elif answer.now - grant.at > micros(LATE):
                self._mail.give_back(grant.lease)
            else:
                self._deliver(desk, grant, waiter, candidate, now)
        if desk.booking is not None or not denied or earliest <= now:
            desk.until = -math.inf
            return
        by_time = all(one.why is Why.QUOTA for one in answer.denials)
        latest = now + min(LOOK_AGAIN, self._mail.store.lease / 3)
        desk.until = earliest if by_time and earliest < math.inf else min(earliest, latest)
        if all(one.why in _BY_TIME for one in answer.denials):
            self._in_vain(desk, earliest, now)

    def _in_vain(self, desk: Desk, earliest: float, now: float) -> None:
        """Whoever could not be served, nor book: is it still worth the wait?"""
        if (head := desk.lane.head()) is None or head not in desk.waiters or earliest == math.inf:
            return
        if earliest > head.deadline:
            self._vain.append(head)
        elif (lane := still_worth_waiting(head, now)) != head.lane:
            self._queue.deepen(head, lane)

    def _mature(self, desk: Desk, now: float) -> None:
        """The instant for which a lane has booked has come: whoever is first takes it."""
        booking = desk.booking
        if booking is None or booking.at > now:
            return
        desk.booking = None
        head = desk.lane.head()
        # It may have been cancelled; it counted too early; the store may have lost it, and given it to somebody else.
        doubtful = desk.again or now > booking.at + LATE or self._mail.failure is not None
        if doubtful or head is None or amounts(head.cost) != amounts(booking.waiter.cost):
            self._mail.give_back(booking.grant.lease)
        else:
            self._deliver(desk, booking.grant, head, booking.candidate, now)

    def _deliver(self, desk: Desk, grant: Grant, waiter: Waiter, candidate: Candidate, now: float) -> None:
        accounts = (candidate.account, *candidate.account.pools)
        shut = any(account.opens_at(now) > now for account in accounts)
        if waiter.lane != desk.depth or shut:
            self._mail.give_back(grant.lease)  # it has left, or the model was closed meanwhile
            return
        self._queue.remove(waiter)
        waiter.line.served += waiter.line.stride
        cast(SharedAccount, candidate.account).denied = None
        lease = self._hand_over(waiter, candidate)
        if lease is None:
            self._mail.give_back(grant.lease)
            return
        record = Record(
            lease=grant.lease,
            line=desk.name,
            accounts=tuple(account.name for account in accounts),
            epochs=grant.epochs,
            at=grant.at,
            cost=amounts(waiter.cost),
            expires=grant.at + self._mail.lasts,
        )
        self._mail.hold(lease, record)
        known = zip(accounts, grant.epochs, strict=True)
        self._hearsay.look(one.name for one, epoch in known if epoch > cast(SharedAccount, one).known_epoch)

    def reconfigured(self) -> None:
        """Chains, models or limits have changed: everybody asks anew."""
        for desk in self._desks.values():
            if not desk.asking:  # otherwise it leaves when the answer is there
                self._release(desk)
        self._desks.clear()
        if self._mail.opened:
            names = tuple(self._hearsay.accounts())
            self._mail.start(self._mail.insist(lambda: self._mail.store.reopen(names)))

    def _release(self, desk: Desk) -> None:
        """Nobody waits here any more: others may have what was booked, and need not wait behind it."""
        if desk.stands or desk.booking:
            ask = self._to_leave(desk)
            self._mail.start(self._mail.insist(lambda: self._mail.store.admit(ask)))
        desk.booking, desk.stands, desk.again, desk.until = None, set(), False, -math.inf
        desk.name = self._name()  # should it ask before the store has heard that it left

    # -- after the call ------------------------------------------------------------------------------------------------

    def settled(self, lease: Lease) -> None:
        """A call went well."""
        self._mail.end(lease, End(lease="", cost=amounts(lease.cost)))
        self._hearsay.settled(lease)

    def refunded(self, lease: Lease) -> None:
        """No call was made."""
        self._mail.end(lease, End(lease="", cost=NOTHING))

    def failed(self, lease: Lease, outcome: Outcome) -> None:
        """A call failed, and the router has acted on it."""
        self._hearsay.failed(lease, outcome)
        if outcome.kind is Kind.NOT_SENT:
            self.refunded(lease)
        else:
            self._mail.end(lease, End(lease="", answered=outcome.kind in _ANSWERED))

    def _changed(self, change: Change) -> None:
        """The store tells of what another router has done."""
        if self._mail.closed:
            return
        if change.anew:
            self._mail.restate()
            for account in self._hearsay.accounts().values():
                account.forget_lessons()
        names = self._hearsay.accounts().keys()
        self._hearsay.look(names if change.anew else names & set(change.accounts))
        woken = [desk for desk in self._desks.values() if change.anew or desk.name in change.wake]
        for desk in woken:
            desk.again = True
        if woken:
            self._drain()

    async def aclose(self) -> None:
        """Leave every line, tell what has ended, and let go of the store."""
        leaving = [desk for desk in self._desks.values() if (desk.stands or desk.booking) and not desk.asking]
        self._desks.clear()
        await self._mail.aclose(
            lambda: [functools.partial(self._mail.store.admit, self._to_leave(one)) for one in leaving]
        )

    def _to_leave(self, desk: Desk) -> Ask:
        return desk.to_leave(self._mail.take_ends(), self._mail.lasts)


def _longest(accounts: Iterable[Account]) -> float:
    """Seconds for which what was spent counts, days apart."""
    periods = [meter.quota.period for account in accounts for meter in account.meters.values() if not meter.quota.daily]
    return max(periods, default=0.0)
