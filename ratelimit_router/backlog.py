"""What is still to be done and what is there to do it with, put as a problem for the planner."""

import math
from collections.abc import Iterable, Iterator
from functools import partial

from ratelimit_router.account import Account
from ratelimit_router.bucket import UNITS, Bucket, Cost
from ratelimit_router.planner import Option, Supply
from ratelimit_router.queue import Line
from ratelimit_router.selection import Candidate

__all__ = ["Problem", "Steered"]

UNKNOWN_HOLD = 1.0
"""Seconds that a call is taken to last while none has ended yet."""
LOWEST = -(2**62)
"""A priority that everybody in line comes before."""


class Steered:
    """One line while a batch is open: `ahead` calls are announced and not granted yet, of about `cost` each."""

    def __init__(self, line: Line, ahead: float, cost: Cost):
        self.line, self.ahead, self.cost = line, ahead, cost

    def demand(self) -> tuple[float, Cost]:
        """Calls to come, and the mean cost of one."""
        waiting = float(self.line.length)
        calls = max(self.ahead, waiting)
        if not waiting:
            return calls, self.cost
        sums = [lane.ahead(LOWEST) for lane in self.line.lanes]
        rest = calls - waiting
        mean = [(sum(one[unit] for one in sums) + rest * self.cost[unit]) / calls for unit in range(len(UNITS))]
        return calls, (mean[0], mean[1], mean[2], mean[3])


class Problem:
    """The backlog and the models, as the planner wants them."""

    def __init__(self, backlog: Iterable[tuple[Line, float, Cost]], now: float):
        self.demands: list[float] = []
        self.options: list[Option] = []
        self.candidates: list[Candidate] = []
        self.supplies: list[Supply] = []
        self._now = now
        self._places: dict[Account, list[tuple[int, int]]] = {}
        for line, calls, cost in backlog:
            self.demands.append(calls)
            for one in (one for step in line.steps for one in step):
                if not one.account.hopeless(cost):
                    self.candidates.append(one)
                    self.options.append(Option(len(self.demands) - 1, one.depth, tuple(self._uses(one.account, cost))))

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
