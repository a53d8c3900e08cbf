"""What is still to be done and what is there to do it with, put as a problem for the planner."""

import math
from collections.abc import Iterable, Iterator
from functools import partial

from ratelimit_router.account import Account
from ratelimit_router.bucket import UNITS, Bucket, Cost
from ratelimit_router.planner import Option, Supply
from ratelimit_router.queue import Line
from ratelimit_router.selection import Candidate

__all__ = ["Problem", "demand"]

UNKNOWN_HOLD = 1.0
"""Seconds that a call is taken to last while none has ended yet."""
LOWEST = -(2**62)
"""A priority that everybody in line comes before."""


def demand(line: Line, announced: Iterable[tuple[float, Cost]]) -> tuple[float, Cost]:
    """Calls to come of a line, those in it included, and the mean cost of one. `announced`: calls, cost of each."""
    parts = [(calls, [calls * each for each in cost]) for calls, cost in announced]
    parts += [(float(lane[0]), list(lane)) for lane in (lane.ahead(LOWEST) for lane in line.lanes)]
    calls = sum(count for count, _ in parts)
    if not calls:
        return 0.0, (1, 0, 0, 0)
    mean = [sum(sums[unit] for _, sums in parts) / calls for unit in range(len(UNITS))]
    return calls, (mean[0], mean[1], mean[2], mean[3])


class Problem:
    """The backlog and the models, as the planner wants them. `waiting`: how many of each demand are in line now."""

    def __init__(self, now: float):
        self.demands: list[float] = []
        self.waiting: list[float] = []
        self.urgent: set[int] = set()
        self.options: list[Option] = []
        self.candidates: list[Candidate] = []
        self.supplies: list[Supply] = []
        self._now = now
        self._places: dict[Account, list[tuple[int, int]]] = {}

    def add(self, line: Line, calls: float, cost: Cost, *, urgent: bool) -> None:
        """The calls of one line. Those that nothing can ever serve are no part of the problem."""
        candidates = [one for step in line.steps for one in step if not one.account.hopeless(cost)]
        if not calls or not candidates:
            return
        number = len(self.demands)
        self.demands.append(calls)
        self.waiting.append(line.length)
        if urgent:
            self.urgent.add(number)
        self.candidates += candidates
        self.options += [Option(number, one.depth, tuple(self._uses(one.account, cost))) for one in candidates]

    def _uses(self, model: Account, cost: Cost) -> list[tuple[int, float]]:
        places = [place for account in (model, *model.pools) for place in self._places_of(account)]
        return [(place, cost[unit]) for place, unit in places if cost[unit]]

    def _places_of(self, account: Account) -> list[tuple[int, int]]:
        """Where the supplies of an account stand, and what unit each counts."""
        if (places := self._places.get(account)) is None:
            places = self._places[account] = []
            for unit, supply in _supplies(account, self._now):
                places.append((len(self.supplies), unit))
                self.supplies.append(supply)
        return places


def _supplies(account: Account, now: float) -> Iterator[tuple[int, Supply]]:
    """Everything that an account can give from `now` on, with the unit that it counts."""
    account.tell()
    opens = account.opens_at(now)
    if math.isinf(opens):  # a probe is out, and nobody knows when it will be back
        opens = now + (account.hold or UNKNOWN_HOLD)
    for bucket in account.buckets:
        yield bucket.unit, partial(_bucket_supply, bucket, now, opens)
    if account.concurrency < math.inf:
        yield 0, partial(_slots_supply, account, now, opens)


def _bucket_supply(bucket: Bucket, now: float, opens: float, horizon: float) -> float:
    until = now + horizon
    if until < opens:
        return 0.0
    afresh = bucket.capacity * (1.0 + (until - opens) / bucket.period)  # what was not spent while closed is lost
    return min(bucket.supply(now, until), afresh) if opens > now else bucket.supply(now, until)


def _slots_supply(account: Account, now: float, opens: float, horizon: float) -> float:
    if now + horizon < opens:
        return 0.0
    free = max(account.concurrency - account.in_flight, 0.0)
    return free + account.concurrency * (now + horizon - opens) / (account.hold or UNKNOWN_HOLD)
