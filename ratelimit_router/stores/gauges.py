"""How much of a shared quota is used, in whole microseconds: `bucket` again, for a state that lives in a store.

The limits come with each question, since every process has its own configuration and all of them share one state; so a
gauge holds what was spent, never what may be.
"""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from ratelimit_router.stores.terms import NEVER, Amounts, Ration

__all__ = ["Calendar", "Continuous", "Window"]

MARKS = 32
"""How many minima a continuous gauge remembers; with fewer, late refunds are smaller, never larger."""


@dataclass(slots=True)
class Window:
    """A rolling quota: what was spent in the last period, of every unit.

    `tail`: everything charged up to then is back. `next`: when the first was charged that is not. `seen`: when it was
    last asked for.
    """

    tail: int = 0
    next: int = NEVER
    seen: int = 0
    used: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def spend(self, cost: Amounts, at: int) -> None:
        """Something was charged at `at`."""
        self.next = min(self.next, at)
        for unit, amount in enumerate(cost):
            self.used[unit] += amount

    def correct(self, delta: Amounts, at: int) -> None:
        """What was charged at `at` was so much more."""
        if at > self.tail:
            self.next = min(self.next, at)
            for unit, amount in enumerate(delta):
                self.used[unit] += amount


@dataclass(slots=True)
class Continuous:
    """A quota that refills evenly, as the instant at which it will be full; see `bucket.ContinuousBucket`.

    `interval`: microseconds for one token, a fraction. `missing` was what it lacked (in time to refill) when it was
    fullest since each of `instants`: no refund of something older gives back more.
    """

    unit: int
    interval: float
    full_at: int
    instants: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)

    def when(self, amount: int, capacity: int, guard: int, now: int) -> int:
        """The earliest instant at which so much is there."""
        slack = math.floor((capacity - amount) * self.interval)
        return max(self.full_at - slack + guard, now)

    def refit(self, interval: float, now: int) -> None:
        """It refills at another rate from now on; what is missing stays missing."""
        if interval != self.interval:
            if self.full_at > now:
                self.full_at = now + math.ceil((self.full_at - now) / self.interval * interval)
            self.interval, self.instants, self.missing = interval, [now], [max(self.full_at - now, 0)]

    def spend(self, cost: Amounts, at: int) -> None:
        """Something was charged at `at`."""
        if not (amount := cost[self.unit]):
            return
        self._mark(at)
        self.full_at = max(self.full_at, at) + math.ceil(amount * self.interval)

    def _mark(self, at: int) -> None:
        """Note what is missing at that instant, which may lie before others that something is booked for."""
        instants, missing, lacked = self.instants, self.missing, max(self.full_at - at, 0)
        index = bisect_left(instants, at)
        if index < len(instants) and (instants[index] == at or missing[index] <= lacked):
            return
        while index and missing[index - 1] >= lacked:
            index -= 1
            del instants[index], missing[index]
        instants.insert(index, at)
        missing.insert(index, lacked)
        if len(missing) > MARKS:
            del instants[0], missing[1]

    def correct(self, delta: Amounts, at: int) -> None:
        """What was charged at `at` was so much more."""
        amount = delta[self.unit]
        if amount > 0:
            self.full_at = max(self.full_at, at) + math.ceil(amount * self.interval)
        elif amount < 0:
            self.full_at -= self._give_back(math.floor(-amount * self.interval), at)

    def _give_back(self, time: int, at: int) -> int:
        """The part of a refund that has not come back by itself since."""
        since = bisect_right(self.instants, at)
        if since == len(self.missing):
            return time
        time = min(time, self.missing[since])
        for index in range(since, len(self.missing)):
            self.missing[index] -= time
        while since and self.missing[since - 1] >= self.missing[since]:
            since -= 1
            del self.missing[since], self.instants[since]
        return time


@dataclass(slots=True)
class Calendar:
    """A quota that comes back at a reset: what was spent from `opens` to `closes`, and a guard longer.

    `early`: what was spent of it in that guard. The service counts that in its next window, so we count it in both.
    """

    unit: int
    opens: int
    closes: int
    guard: int
    used: int = 0
    early: int = 0

    def turn(self, ration: Ration, now: int) -> None:
        """The asker believes in another window: believe it as soon as this one, and its guard, are over."""
        self.guard = ration.guard
        if ration.closes > self.closes and now >= self.closes + self.guard:
            self.used = self.early if ration.opens == self.closes else 0
            self.opens, self.closes, self.early = ration.opens, ration.closes, 0

    def spend(self, cost: Amounts, at: int) -> None:
        """Something was charged at `at`."""
        self.used += cost[self.unit]
        if at >= self.closes:
            self.early += cost[self.unit]

    def correct(self, delta: Amounts, at: int) -> None:
        """What was charged at `at` was so much more."""
        if at >= self.opens:
            self.used = max(self.used + delta[self.unit], 0)
        if at >= self.closes:
            self.early = max(self.early + delta[self.unit], 0)
