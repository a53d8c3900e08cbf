"""How much a quota lets through, the slow way: every spend in a list, every answer from all of them.

There are two readings of each quota, between which the router has to be. The lenient one counts a debt where its call
was, and what comes back a microsecond early: more than that must never be admitted. The sure one counts a debt when it
is known, and what comes back a microsecond late: as much as that must always be admitted.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ratelimit_router.limits import DAY, Quota
from ratelimit_router.simulation.windows import DayWindow, FixedWindow

__all__ = ["CARRIED", "EPSILON", "Clocks", "ContinuousSpends", "Spends", "make_spends"]

EPSILON = 1e-6
"""Seconds within which nobody is blamed for rounding."""

CARRIED = "carried over"
"""The key of what was spent before a quota became one of another kind."""

Clocks = Callable[[], tuple[float, ...]]
"""How far the wall clock is ahead of the router's: every value that it has had, the latest last."""


@dataclass(slots=True)
class Spend:
    """Something spent at `at`. `key`: who may still correct it. `rate`: the refill changed; nothing was spent."""

    at: float
    amount: float
    key: Hashable | None = None
    rate: float | None = None


class Spends(ABC):
    """What was spent of one quota. `sure`: which of the two readings this is."""

    def __init__(self, amount: float, period: float, capacity: float, *, sure: bool):
        self.period, self.capacity, self.sure = period, capacity, sure
        self.rate = amount / period
        self.slip = -EPSILON if sure else EPSILON
        self.memory = math.inf  # seconds after which a spend is of no interest
        self._spends: deque[Spend] = deque()
        self._open: dict[Hashable, Spend] = {}

    def spend(self, key: Hashable | None, amount: float, now: float) -> None:
        """`amount` more. `key`: who may correct it later, once."""
        while self._spends and self._spends[0].at < now - self.memory:
            self._spends.popleft()
        spend = Spend(now, amount, key)
        self._spends.append(spend)
        if key is not None:
            self._open[key] = spend

    def correct(self, key: Hashable, delta: float, now: float) -> None:
        """It was `delta` more (less, if negative) than what `key` has spent; nobody corrects that again.

        Who spent it before this quota was there may owe it something, but gets back no more than was carried over.
        """
        if (spend := self._open.pop(key, None)) is not None:
            spend.key = None
            if delta > 0 and self.sure:
                self.spend(None, delta, now)
            else:
                spend.amount += delta
        elif self.sure and delta > 0:
            self.spend(None, delta, now)
        elif not self.sure and delta < 0 and (carried := self._open.get(CARRIED)) is not None:
            carried.amount = max(carried.amount + delta, 0.0)

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """From now on `amount` a period, and `capacity` at once."""
        self.rate, self.capacity = amount / self.period, capacity

    def postpone(self, seconds: float) -> None:
        """What comes back by windows comes back so much later from now on. What refills evenly has none."""
        raise TypeError(f"{type(self).__name__} has no windows to postpone")

    @abstractmethod
    def left(self, now: float) -> float:
        """What can be spent at `now`."""


class RollingSpends(Spends):
    """Each comes back one period after it was spent."""

    def __init__(self, amount: float, period: float, capacity: float, *, sure: bool):
        super().__init__(amount, period, capacity, sure=sure)
        self.memory = period + 1.0

    def postpone(self, seconds: float) -> None:
        """See `Spends`."""
        self.period += seconds

    def left(self, now: float) -> float:
        """See `Spends`."""
        return self.capacity - sum(each.amount for each in self._spends if each.at + self.period > now + self.slip)


class ContinuousSpends(Spends):
    """An even refill, which a `guard` makes late for sure; the router gets on without while nobody looks."""

    def __init__(self, amount: float, period: float, capacity: float, *, sure: bool, guard: float = 0.0):
        super().__init__(amount, period, capacity, sure=sure)
        self._guard = guard if sure else 0.0
        self._begin = (-math.inf, 0.0, self.rate)  # at that instant so much was missing; the refill from then on

    def spend(self, key: Hashable | None, amount: float, now: float) -> None:
        """See `Spends`. What can change no more is folded into the beginning."""
        super().spend(key, amount, now)
        while (first := self._spends[0]).key is None or (first.key == CARRIED and first.at < now - self.period):
            self._begin = _after(self._begin, self._spends.popleft())
            if not self._spends:
                break

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """See `Spends`. What was spent of nothing at all is forgotten, or it is as if all had been."""
        if not self.rate:
            self._spends.clear()
            self._begin = (now, self._begin[1] + self.capacity if self.sure else 0.0, 0.0)
        super().resize(amount, capacity, now)
        self._spends.append(Spend(now, 0.0, None, self.rate))

    def left(self, now: float) -> float:
        """See `Spends`."""
        at, missing, rate = state = self._begin
        for spend in self._spends:
            at, missing, rate = state = _after(state, spend)
        if rate <= 0:
            return 0.0
        return self.capacity - max(missing - (now + self.slip - at - self._guard) * rate, 0.0)


def _after(state: tuple[float, float, float], spend: Spend) -> tuple[float, float, float]:
    """What is missing, and since when, once this was spent too."""
    at, missing, rate = state
    missing = max(missing - (spend.at - at) * rate, 0.0) if missing else 0.0
    if spend.rate is not None:
        return spend.at if missing else -math.inf, missing, spend.rate
    return spend.at, missing + spend.amount, rate


class CalendarSpends(Spends):
    """Everything from before a reset comes back, a `guard` after it."""

    def __init__(self, quota: Quota, capacity: float, now: float, *, sure: bool, guard: float, clocks: Clocks):
        super().__init__(quota.amount, quota.period, capacity, sure=sure)
        self._days = DayWindow(0.0, quota.resets) if quota.period >= DAY else FixedWindow(0.0, quota.period)
        self._guard, self._clocks, self._since = min(guard, quota.period / 2), clocks, now
        self.memory = 2.0 * quota.period + guard

    def postpone(self, seconds: float) -> None:
        """See `Spends`."""
        self._guard = min(self._guard + seconds, self.period / 2)

    def left(self, now: float) -> float:
        """See `Spends`."""
        clocks = self._clocks()
        if self.sure and len(clocks) > 1:
            return -math.inf  # the clock was set, and nothing is sure any more
        start = max(self._start(now + self.slip, ahead) for ahead in clocks)
        return self.capacity - sum(each.amount for each in self._spends if each.at >= start + self.slip)

    def _start(self, now: float, ahead: float) -> float:
        """The latest reset that counts. What came back before there was this quota does not count as sure."""
        reset = self._days.bounds(now - self._guard + ahead)[0] - ahead
        return -math.inf if self.sure and reset <= self._since + EPSILON else reset


def make_spends(quota: Quota, now: float, *, sure: bool, guard: float, clocks: Clocks) -> Spends:
    """Nothing is spent yet."""
    if quota.refill == "rolling":
        return RollingSpends(quota.amount, quota.period + guard, quota.capacity, sure=sure)
    if quota.refill == "continuous":
        return ContinuousSpends(quota.amount, quota.period, quota.capacity, sure=sure, guard=guard)
    return CalendarSpends(quota, quota.capacity, now, sure=sure, guard=guard, clocks=clocks)
