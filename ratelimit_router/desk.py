"""Where one lane of a line asks a shared store: for whom, for which models, and when not again."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from ratelimit_router.account import Account
from ratelimit_router.queue import Lane, Line, Waiter
from ratelimit_router.selection import Candidate
from ratelimit_router.stores.shared_account import amounts, micros
from ratelimit_router.stores.terms import NOTHING, Answer, Ask, End, Grant, Offer, Terms

__all__ = ["Booking", "Desk", "room", "without"]


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
    """Where one lane asks. `until`: it need not ask for the same `asked` before. `again`: something came back for it.

    `stands`: the accounts in whose lists of those who wait it may be.
    `answer`: what the store said, or what went wrong, until somebody looks at it.
    """

    name: str
    line: Line
    lane: Lane
    depth: int
    asking: bool = False
    again: bool = False
    until: float = -math.inf
    stands: set[str] = field(default_factory=set)
    asked: frozenset[Candidate] = frozenset()
    booking: Booking | None = None
    leases: list[str] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    answer: Answer | Exception | None = None
    steps: tuple[tuple[Offer, ...], ...] = ()

    def content(self, head: Waiter) -> float:
        """Until when a lane need not ask for the same again."""
        if self.again:
            return -math.inf
        if self.booking is None:
            return self.until
        return self.booking.at if amounts(head.cost) == amounts(self.booking.waiter.cost) else -math.inf

    def open(self, now: float, *, planned: bool) -> tuple[list[list[Candidate]], float]:
        """The steps that the store is to be asked for, and when there may be more. `planned`: a plan holds."""
        steps, wake = [], math.inf
        for step in self.line.steps[: self.depth + 1]:
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

    def within(self, waiter: Waiter, now: float) -> int:
        """How far ahead a booking is of use."""
        last = waiter.lane == len(self.line.lanes) - 1
        patience = math.inf if last else max(waiter.patient_until - now, 0.0)
        return micros(min(max(waiter.deadline - now, 0.0), patience))

    def first(self, most: float, now: float) -> Iterator[Waiter]:
        """Those of a lane who ask together: nobody who waits elsewhere in line is to be served in between.

        The first asks in any case, even past its deadline.
        """
        others = [one for one in self.line.heads() if one.lane != self.depth]
        limit = min(((-one.priority, one.seq) for one in others), default=(math.inf, 0.0))
        for count, waiter in enumerate(self.lane):
            if count and (count >= most or (-waiter.priority, waiter.seq) > limit or waiter.deadline < now):
                return
            yield waiter

    def to_leave(self, ends: tuple[End, ...], lasts: int) -> Ask:
        """What tells the store that nobody waits here any more, without terms, which might be stale."""
        booked = (End(lease=self.booking.grant.lease, cost=NOTHING),) if self.booking else ()
        return Ask(
            line=self.name,
            steps=(tuple(Offer(accounts=(Terms(name=name),)) for name in sorted(self.stands)),),
            wants=(),
            lasts=lasts,
            ends=(*ends, *booked),
        )


def room(one: Candidate) -> float:
    """How many more calls ramps and plans let through here, at least the first."""
    ramps = [account.cooldown.room for account in (one.account, *one.account.pools)]
    return max(min(one.share, *ramps), 1)


def without(steps: list[list[Candidate]], booked: set[Account]) -> list[list[Candidate]]:
    """The candidates that draw on nothing that is booked."""
    left = [[one for one in step if booked.isdisjoint((one.account, *one.account.pools))] for step in steps]
    return [step for step in left if step]
