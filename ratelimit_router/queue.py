"""Who waits, and in which order they are served. No await, no clock, no timer: `now` goes in, grants come out.

- One line a chain. Inside it first come, first served within a priority; across lines by weight (stride scheduling,
  Waldspurger and Weihl 1995), work-conserving: a line that can be served is, whatever its share.
- A line has a lane for each step that its waiters would still rather wait for: those in lane 0 take the first step
  only, those in the last lane take any. A waiter moves to deeper lanes only.
- A blocked head reserves the model that will serve it first, so that no later, smaller request drains it away.
- Leaving is O(1), arriving O(log p) for p priorities in use; nothing is left behind by a waiter that went away.

What it does badly: a head that waits for a large amount of tokens keeps its model idle until they are there.
"""

import heapq
import math
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator

from ratelimit_router.account import Account
from ratelimit_router.bucket import Cost
from ratelimit_router.models import Step
from ratelimit_router.selection import Candidate, Steps, is_reserved, pick

__all__ = ["Line", "Queue", "Waiter"]


class Waiter:
    """One request in line. `patient_until`: it would rather wait than fall to a deeper lane until then."""

    __slots__ = ("arrived", "cost", "deadline", "lane", "line", "patient_until", "priority", "seq")

    def __init__(
        self, line: "Line", cost: Cost, *, priority: int, arrived: float, patient_until: float, deadline: float
    ):
        self.line, self.cost, self.priority, self.arrived = line, cost, priority, arrived
        self.patient_until, self.deadline = patient_until, deadline
        self.lane = -1  # not in line
        self.seq = 0


class Row:
    """Waiters of one lane and one priority, by number. The numbers of newcomers rise, so most are just appended.

    Who left stays, marked by another lane in its record, until it is reached or half of the row is such.
    """

    __slots__ = ("_depth", "_movers", "_newcomers", "backlog", "length")

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._newcomers: deque[Waiter] = deque()
        self._movers: list[tuple[int, Waiter]] = []  # a heap: they have come from another lane, into the middle
        self.length = 0
        self.backlog = [0.0, 0.0, 0.0, 0.0]  # what those who wait will cost

    def add(self, waiter: Waiter) -> None:
        """Where its number belongs."""
        if self._newcomers and self._newcomers[-1].seq > waiter.seq:
            heapq.heappush(self._movers, (waiter.seq, waiter))
        else:
            self._newcomers.append(waiter)
        self._count(waiter.cost, 1)

    def remove(self, waiter: Waiter) -> None:
        """It has its mark already."""
        self._count(waiter.cost, -1)
        if len(self._newcomers) + len(self._movers) > 2 * self.length + 64:
            self._newcomers, self._movers = deque(self), []

    def _count(self, cost: Cost, sign: int) -> None:
        backlog = self.backlog
        self.length += sign
        backlog[0] += sign * cost[0]
        backlog[1] += sign * cost[1]
        backlog[2] += sign * cost[2]
        backlog[3] += sign * cost[3]

    def head(self) -> Waiter:
        """The first that is still there; somebody is."""
        newcomers, movers, depth = self._newcomers, self._movers, self._depth
        while newcomers and newcomers[0].lane != depth:
            newcomers.popleft()
        while movers and movers[0][1].lane != depth:
            heapq.heappop(movers)
        if movers and not (newcomers and newcomers[0].seq < movers[0][0]):
            return movers[0][1]
        return newcomers[0]

    def __iter__(self) -> Iterator[Waiter]:
        movers = [waiter for _, waiter in sorted(self._movers)]
        both = heapq.merge(self._newcomers, movers, key=lambda one: one.seq) if movers else self._newcomers
        return (waiter for waiter in both if waiter.lane == self._depth)


class Lane:
    """Waiters of one line with the same reach, by priority and then by arrival."""

    __slots__ = ("_depth", "_order", "_rows")

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._order: list[int] = []  # priorities in use, negated: the most urgent first
        self._rows: dict[int, Row] = {}

    def add(self, waiter: Waiter) -> None:
        """Where its number belongs."""
        key = -waiter.priority
        if (row := self._rows.get(key)) is None:
            insort(self._order, key)
            row = self._rows[key] = Row(self._depth)
        waiter.lane = self._depth
        row.add(waiter)

    def remove(self, waiter: Waiter) -> None:
        """Wherever it stands."""
        key = -waiter.priority
        waiter.lane = -1
        row = self._rows[key]
        row.remove(waiter)
        if not row.length:
            del self._rows[key]
            self._order.remove(key)

    def head(self) -> Waiter | None:
        """Whoever is served next."""
        return self._rows[self._order[0]].head() if self._order else None

    def ahead(self, priority: int) -> Cost:
        """What those will cost who are served before a newcomer of this priority."""
        rows = [row.backlog for key, row in self._rows.items() if key <= -priority]
        return (sum(r[0] for r in rows), sum(r[1] for r in rows), sum(r[2] for r in rows), sum(r[3] for r in rows))

    def __iter__(self) -> Iterator[Waiter]:
        for key in self._order:
            yield from self._rows[key]


class Line:
    """Everybody who waits for one chain."""

    __slots__ = (
        "accounts",
        "chain",
        "first",
        "lanes",
        "length",
        "name",
        "patience",
        "reach",
        "served",
        "steered",
        "steps",
        "stride",
    )

    def __init__(self, name: str, chain: tuple[Step, ...], steps: Steps, *, weight: float = 1.0, patience: float = 0.0):
        self.name = name
        self._take_steps(chain, steps)
        self.steered = False
        self.behave(patience=patience, weight=weight)
        self.served = 0.0  # virtual time: what it has been served, over its weight
        self.lanes = [Lane(depth) for depth in range(len(steps))]
        self.length = 0

    def _take_steps(self, chain: tuple[Step, ...], steps: Steps) -> None:
        self.chain, self.steps = chain, steps
        self.first = steps[0][0] if len(steps[0]) == 1 else None  # looked at before anything else, on the hot path
        models = [one.account for step in steps for one in step]
        self.accounts = frozenset(account for model in models for account in (model, *model.pools))

    def behave(self, *, patience: float, weight: float) -> None:
        """How long a better step is waited for, and the share when several lines wait for the same models."""
        self.patience = patience
        self.stride = 1.0 / weight
        self.steer(self.steered)

    def steer(self, steered: bool) -> None:
        """Whether a plan says who waits for which step, in place of patience."""
        self.steered = steered
        # The steps that a newcomer may take without a look at the forecast.
        self.reach = 0 if self.patience and not steered else -1

    def change_steps(self, chain: tuple[Step, ...], steps: Steps) -> None:
        """Another chain from now on. Everybody keeps the place in line; who would take any step still does."""
        waiters = sorted(self, key=lambda one: one.seq)
        was_last, last = len(self.lanes) - 1, len(steps) - 1
        self._take_steps(chain, steps)
        self.lanes = [Lane(depth) for depth in range(len(steps))]
        for waiter in waiters:
            self.lanes[last if waiter.lane == was_last else min(waiter.lane, last)].add(waiter)

    def competes(self, other: "Line") -> bool:
        """Whether some model or pool may serve both."""
        return not self.accounts.isdisjoint(other.accounts)

    def heads(self) -> list[Waiter]:
        """The first of every lane, in the order in which they are to be served."""
        heads = [head for lane in self.lanes if (head := lane.head()) is not None]
        if len(heads) > 1:
            heads.sort(key=lambda one: (-one.priority, one.seq))
        return heads

    def __iter__(self) -> Iterator[Waiter]:
        for lane in self.lanes:
            yield from lane


class Queue:
    """Every line, and the instants at which waiters have to be looked at again."""

    def __init__(self) -> None:
        self.lines: dict[Line, None] = {}  # those in which somebody waits
        self.reserved: set[Account] = set()
        self.length = 0
        self.plan_ends = -math.inf  # of the plan of a batch: whoever has to be served before that is not kept waiting
        self._alarms: list[tuple[float, int, Waiter]] = []
        self._stale = 0
        self._seq = 0

    def add(self, waiter: Waiter, lane: int) -> None:
        """Somebody arrives, and will take any step up to `lane`."""
        line = waiter.line
        if not line.length:
            # No credit for the time away, no debt from it: level with whoever is behind of those it competes with.
            line.served = min((other.served for other in self.lines if line.competes(other)), default=0.0)
            self.lines[line] = None
        self._seq += 1
        waiter.seq = self._seq
        line.lanes[lane].add(waiter)
        line.length += 1
        self.length += 1
        self._set_alarm(waiter)

    def is_head(self, waiter: Waiter) -> bool:
        """Whether it is the first of its lane."""
        return waiter.lane >= 0 and waiter.line.lanes[waiter.lane].head() is waiter

    def remove(self, waiter: Waiter) -> None:
        """Somebody leaves: served, refused or gone."""
        line = waiter.line
        self._stale += self._alarm_of(waiter) < math.inf
        line.lanes[waiter.lane].remove(waiter)
        line.length -= 1
        self.length -= 1
        if not line.length:
            del self.lines[line]
        if not self.length:
            self._alarms, self._stale = [], 0
        elif self._stale > 64 and self._stale > len(self._alarms) / 2:
            self._alarms = [alarm for alarm in self._alarms if alarm[2].lane >= 0]
            heapq.heapify(self._alarms)
            self._stale = 0

    def deepen(self, waiter: Waiter, lane: int) -> None:
        """Somebody is ready to take later steps, too. The place in line stays."""
        if lane == waiter.lane:
            return  # it was moved before its patience ended
        waiter.line.lanes[waiter.lane].remove(waiter)
        waiter.line.lanes[lane].add(waiter)

    def _alarm_of(self, waiter: Waiter) -> float:
        last = waiter.lane == len(waiter.line.lanes) - 1
        return waiter.deadline if last else min(waiter.deadline, waiter.patient_until)

    def _set_alarm(self, waiter: Waiter) -> None:
        if (instant := self._alarm_of(waiter)) < math.inf:
            heapq.heappush(self._alarms, (instant, waiter.seq, waiter))

    def due(self, now: float) -> Iterator[Waiter]:
        """Waiters whose deadline has passed. Those whose patience has ended are moved to the last lane on the way."""
        while self._alarms and self._alarms[0][0] <= now:
            _, _, waiter = heapq.heappop(self._alarms)
            if waiter.lane < 0:
                self._stale -= 1
            elif waiter.deadline <= now:
                yield waiter
            else:
                self.deepen(waiter, len(waiter.line.lanes) - 1)
                self._set_alarm(waiter)

    def next_alarm(self) -> float:
        """The first instant at which `due` has something to do."""
        while self._alarms and self._alarms[0][2].lane < 0:
            heapq.heappop(self._alarms)
            self._stale -= 1
        return self._alarms[0][0] if self._alarms else math.inf

    def serve(
        self, now: float, grant: Callable[[Waiter, Candidate], object], refuse: Callable[[Waiter], None]
    ) -> float:
        """Grant all that can be granted at `now`, in order, and refuse those whom nothing can serve any more.

        `grant` has to charge at once. Returns the next instant at which a head can be served, as far as time decides.
        """
        self.reserved.clear()
        wake = math.inf
        blocked: list[Line] = []
        order = [(line.served, line.heads()[0].seq, line) for line in self.lines]
        heapq.heapify(order)
        while order:
            line = order[0][2]
            served, instant = self._serve_line(line, now, grant, refuse)
            if not served:
                blocked.append(heapq.heappop(order)[2])
            elif line.length and len(order) > 1:
                heapq.heapreplace(order, (line.served, line.heads()[0].seq, line))
            elif not line.length:
                heapq.heappop(order)
            if served:
                for other in blocked:  # one that cannot be served saves up no more than one turn
                    if other.served < line.served - other.stride - line.stride and other.competes(line):
                        other.served = line.served - other.stride - line.stride
            wake = min(wake, instant)
        return wake

    def _serve_line(
        self, line: Line, now: float, grant: Callable[[Waiter, Candidate], object], refuse: Callable[[Waiter], None]
    ) -> tuple[bool, float]:
        """Serve one of a line. (Whether that could be done; else, when it can)"""
        wake, last = math.inf, len(line.lanes) - 1
        for head in line.heads():
            choice = pick(line.steps, head.cost, now, head.lane, self.reserved, head.deadline >= self.plan_ends)
            if choice is None:
                choice, instant, hope = self._wait_for(head, now)
                wake = min(wake, instant)
                if not hope and head.lane < last:
                    self.deepen(head, last)
                    return True, wake
                if not hope:
                    self.remove(head)
                    refuse(head)
                    return True, wake
                if choice is None:
                    continue
            line.served += line.stride
            self.remove(head)
            grant(head, choice)
            return True, wake
        return False, wake

    def _wait_for(self, head: Waiter, now: float) -> tuple[Candidate | None, float, bool]:
        """Reserve the model that will serve a blocked head first. (One that is free after all; when; is there hope)"""
        first, instant, hope = None, math.inf, False
        planned = head.deadline >= self.plan_ends
        for one in (one for step in head.line.steps[: head.lane + 1] for one in step):
            if (planned and one.share <= 0) or is_reserved(one.account, self.reserved):
                hope = True
                continue
            free_at = one.account.free_at(head.cost, now)
            if free_at <= now:
                return one, math.inf, True
            hope = hope or free_at < math.inf or not one.account.hopeless(head.cost)
            if free_at < instant:
                first, instant = one.account, free_at
        if first is not None:
            self.reserved.add(first)
            self.reserved.update(pool for pool in first.pools if not pool.fits(head.cost, now))
        return None, instant, hope
