"""Who waits, in the order in which they came, and whether they are served in it."""

import math
from collections.abc import Callable, Iterator
from typing import cast

from ratelimit_router.dispatch import Ticket
from ratelimit_router.queue import Line, Queue, Waiter
from ratelimit_router.selection import Candidate
from ratelimit_router.simulation.audit.breach import Invariant

__all__ = ["Waiting"]

Found = Iterator[tuple[Invariant, str]]

MustServe = Callable[[Waiter, Candidate], bool]
"""Whether a model would have to be given to a waiter, as far as the model decides."""

SPARE_TURNS = 4.0
"""Turns in a row, beyond twice what its weight says, that a line may have once it could not be served for a while."""


class Waiting:
    """Everybody in line, by arrival, each with the lane in which it was last seen."""

    def __init__(self, lateness: float) -> None:
        self._lateness = lateness
        self._lanes: dict[Waiter, int] = {}
        self._turns: dict[tuple[Line, Line], int] = {}

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in self._lanes if _waits(waiter))

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self._lanes and _waits(waiter)

    def stands(self, waiter: Waiter, lane: int) -> None:
        """Somebody came, or takes later steps, too."""
        self._lanes[waiter] = lane

    def gone(self, waiter: Waiter) -> None:
        """Somebody was served, or went away."""
        self._lanes.pop(waiter, None)

    # -- serving -------------------------------------------------------------------------------------------------------

    def serves(
        self, waiter: Waiter, candidate: Candidate, now: float, must: MustServe, plan_ends: float = -math.inf
    ) -> Found:
        """It is about to get that model. A plan keeps it from those who can wait until `plan_ends`."""
        line, lane = waiter.line.name, self._lanes.get(waiter)
        if lane is None:
            yield Invariant.WAITERS, f"a request of {line} is served that does not wait"
            return
        if now > waiter.deadline + self._lateness:
            yield Invariant.DEADLINE, f"a request of {line} is served {now - waiter.deadline:g} s past its deadline"
        if candidate.depth > lane:
            yield Invariant.ORDER, f"a request of {line} that waits for step {lane} gets step {candidate.depth}"
        for other in self:
            may = candidate.share > 0 or other.deadline < plan_ends
            if other is not waiter and may and self._goes_before(other, waiter, candidate):
                yield (
                    Invariant.ORDER,
                    f"a request of {line} overtakes an earlier one on the way to {candidate.model.name}",
                )
        yield from self._weigh(waiter.line, candidate, must)

    def _goes_before(self, other: Waiter, waiter: Waiter, candidate: Candidate) -> bool:
        """Whether the model should have gone to the other one."""
        if other.line is not waiter.line or (-other.priority, other.seq) > (-waiter.priority, waiter.seq):
            return False
        theirs, mine = self._lanes[other], self._lanes[waiter]
        if theirs == mine or theirs < candidate.depth:
            return theirs == mine
        smaller = all(one <= two for one, two in zip(other.cost, waiter.cost, strict=True))
        return smaller and other.line.lanes[theirs].head() is other

    def _weigh(self, line: Line, candidate: Candidate, must: MustServe) -> Found:
        """No line has many turns in a row at a model that another line is owed."""
        for other in {waiter.line: None for waiter in self if waiter.line is not line}:
            if not any(_could_have(head, candidate, must) for head in other.heads()):
                continue
            turns = self._turns[line, other] = self._turns.get((line, other), 0) + 1
            if turns > 2.0 * other.stride / line.stride + SPARE_TURNS:
                yield Invariant.WEIGHT, f"{line.name} has {turns} turns in a row while {other.name} could be served"
        for pair in [pair for pair in self._turns if pair[1] is line]:
            del self._turns[pair]

    # -- between turns -------------------------------------------------------------------------------------------------

    def look(self, queue: Queue, now: float, *, reconfigured: bool) -> Found:
        """Whether they all still stand in line, once each, and nobody else does."""
        if not self._lanes and not queue.length:
            return
        for waiter in [one for one in self._lanes if not _waits(one) or cast(Ticket, one).turn is None]:
            del self._lanes[waiter]  # served, refused, on its way out; or it only asked
        standing = [waiter for line in queue.lines for waiter in line]
        if len(set(standing)) < len(standing):
            yield Invariant.WAITERS, "somebody stands in line twice"
        if queue.length != len(standing) or any(not line.length for line in queue.lines):
            yield Invariant.WAITERS, f"{queue.length} are counted in line, but {len(standing)} stand there"
        there = set(standing)
        for waiter, lane in self._lanes.items():
            if waiter not in there:
                yield Invariant.WAITERS, f"a request of {waiter.line.name} is lost"
            elif now > waiter.deadline + self._lateness:
                yield Invariant.DEADLINE, f"a request of {waiter.line.name} waits past its deadline"
            elif waiter.lane < lane and not reconfigured:
                yield Invariant.ORDER, f"a request of {waiter.line.name} no longer takes the step that it took"
            self._lanes[waiter] = waiter.lane
        if len(standing) > len(self._lanes):
            for waiter in standing:
                if waiter not in self._lanes and not cast(Ticket, waiter).gone:
                    yield Invariant.WAITERS, f"somebody stands in line for {waiter.line.name} who does not wait"


def _waits(waiter: Waiter) -> bool:
    ticket = cast(Ticket, waiter)
    return ticket.lane >= 0 if ticket.turn is None else not ticket.turn.done()


def _could_have(head: Waiter, candidate: Candidate, must: MustServe) -> bool:
    reach = (one for step in head.line.steps[: head.lane + 1] for one in step)
    return _waits(head) and any(one.account is candidate.account and must(head, one) for one in reach)
