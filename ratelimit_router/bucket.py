"""Token buckets: what may still be spent of one quota, and when more may be.

Three kinds differ only in how what was spent comes back (`continuous`, `rolling`, `calendar`; see `limits`). All obey
the same rules:

- `now` is told, in seconds on any scale; should it run backwards, a bucket only gets stricter.
- `fits` and `when` use the same arithmetic: a spend is refused just before the instant that `when` names, and fits
  exactly at it.
- A correction (refund or debt) names the instant of the spend that it corrects; what has come back already is left
  alone. Never more than `capacity` is there.

What they do badly: a rolling bucket remembers every spend of its last period (two list entries each).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol

from ratelimit_router.limits import Quota

__all__ = ["UNITS", "Bucket", "CalendarBucket", "Charge", "ContinuousBucket", "Cost", "RollingBucket", "make_bucket"]

UNITS = ("requests", "input", "output", "total")
"""The order of the amounts in a cost: `cost[bucket.unit]` is what a request costs this bucket."""

ROUNDING = 1e-9
"""Share of a capacity that nobody is kept waiting for: sums of fractions leave as much behind."""

Cost = tuple[float, float, float, float]
"""What one call costs: requests, input tokens, output tokens, total tokens."""


class Charge:
    """What one call costs, and when it was spent. `page`: where it was noted until the buckets are told."""

    __slots__ = ("at", "cost", "page")

    at: float
    cost: Cost
    page: "list[Charge]"


class Bucket(Protocol):
    """One quota of one model or pool."""

    name: str
    unit: int
    period: float
    capacity: float
    ceiling: float
    """What the capacity is known to be; `capacity` may be a more careful guess. A larger request never fits."""
    guard: float
    """Seconds by which everything is believed to come back late."""

    def fits(self, amount: float, now: float) -> bool:
        """Whether `amount` can be spent at `now`."""
        ...

    def when(self, amount: float, now: float) -> float:
        """The earliest instant at which `amount` fits; infinity if never.

        More than the capacity is answered too: the instant at which the last of it could be spent by requests that each
        fit, every one sent as early as possible.
        """
        ...

    def supply(self, now: float, until: float) -> float:
        """The most that can be spent from `now` to `until`, each token as early as possible: the inverse of `when`."""
        ...

    def spend(self, amount: float, at: float) -> None:
        """Take `amount` out, whether it fits or not. Spends are told in the order of their instants."""
        ...

    def spend_all(self, amounts: Sequence[float], instants: Sequence[float]) -> None:
        """Many spends at once, each amount at its instant."""
        ...

    def correct(self, delta: float, at: float) -> None:
        """Spend `delta` more (less, if negative) as of the spend made at `at`."""
        ...

    def level(self, now: float) -> float:
        """What is left at `now`; negative in debt."""
        ...

    def postpone(self, seconds: float) -> None:
        """Believe from now on that everything comes back so much later still."""
        ...

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """From now on `amount` a period, `capacity` at once; what was spent stays spent."""
        ...


class ContinuousBucket:
    """Refills evenly: `amount / period` a second, up to `capacity`.

    Kept as one timestamp, the instant at which the bucket will be full again (the generic cell rate algorithm, ITU-T
    I.371): refund and debt are one addition, and no reader can see more than the capacity.

    A refund must not give back what the refill would have brought anyway: had the refunded call never been made, the
    bucket would have run full earlier, and lost what came in then. What was missing when it was fullest since that call
    is the most that can be given back. `_marks` holds these minima: each spend that left the bucket emptier for good,
    oldest first, and what was missing just before it.
    """

    __slots__ = (
        "_full_at",
        "_interval",
        "_mark_instants",
        "_marks",
        "capacity",
        "ceiling",
        "guard",
        "name",
        "period",
        "spent",
        "unit",
    )

    def __init__(self, name: str, unit: int, amount: float, period: float, capacity: float, guard: float = 0.0):
        self.name, self.unit, self.period, self.capacity = name, unit, period, capacity
        self.ceiling = capacity if amount > 0 else 0.0
        self.guard = guard  # seconds by which tokens are believed to come back late
        self._interval = period / amount if amount > 0 else math.inf
        self._full_at = -math.inf
        self.spent = 0.0  # all that ever was
        self._marks: list[float] = []  # strictly rising
        self._mark_instants: list[float] = []

    def fits(self, amount: float, now: float) -> bool:
        """See `Bucket`."""
        return self.when(amount, now) <= now

    def when(self, amount: float, now: float) -> float:
        """See `Bucket`."""
        if math.isinf(self._interval) or self.capacity <= 0:
            return math.inf if amount > 0 else now
        slack = (self.capacity - amount) * self._interval  # exactly 0 for a whole bucket: no rounding at the edge
        if slack < 0:  # several requests in a row: the refill goes on while they are sent
            return max(self._full_at, now) - slack
        return max(self._full_at - slack + self.guard, now)

    def supply(self, now: float, until: float) -> float:
        """See `Bucket`."""
        if math.isinf(self._interval) or self.capacity <= 0:
            return 0.0
        full_at = max(self._full_at, now)
        if until < full_at:  # the last of what is missing comes back a guard late
            return max(self.capacity - (full_at - until + self.guard) / self._interval, 0.0)
        return self.capacity + (until - full_at) / self._interval

    def spend(self, amount: float, at: float) -> None:
        """See `Bucket`."""
        self.spend_all((amount,), (at,))

    def spend_all(self, amounts: Sequence[float], instants: Sequence[float]) -> None:
        """See `Bucket`."""
        full_at, interval, marks, marked = self._full_at, self._interval, self._marks, self._mark_instants
        refilled = None  # the latest spend of a full bucket: all that was spent before is back
        self.spent += sum(amounts)
        for amount, at in zip(amounts, instants, strict=True):
            if not amount:  # 0 x infinity is not a number
                continue
            if full_at <= at:
                refilled, full_at = at, at + amount * interval
                continue
            if refilled is not None:
                marks[:], marked[:], refilled = [0.0], [refilled], None
            missing = (full_at - at) / interval
            while marks and marks[-1] >= missing:
                marks.pop()
                marked.pop()
            if not marked or marked[-1] < at:  # of one instant only the first can matter
                marks.append(missing)
                marked.append(at)
            full_at += amount * interval
        if refilled is not None:
            marks[:], marked[:] = [0.0], [refilled]
        self._full_at = full_at

    def correct(self, delta: float, at: float) -> None:
        """See `Bucket`."""
        self.spent += delta
        if delta > 0:
            self._full_at = max(self._full_at, at) + delta * self._interval
        elif delta < 0 and self._full_at > -math.inf:
            self._full_at -= self._give_back(-delta, at) * self._interval

    def _give_back(self, amount: float, at: float) -> float:
        """The part of `amount`, spent at `at`, that has not come back by itself since."""
        marks = self._marks
        since = bisect_right(self._mark_instants, at)
        if since == len(marks):
            return amount
        amount = min(amount, marks[since])
        for index in range(since, len(marks)):
            marks[index] -= amount
        while since and marks[since - 1] >= marks[since]:
            since -= 1
            del marks[since], self._mark_instants[since]
        return amount

    def level(self, now: float) -> float:
        """See `Bucket`."""
        return self.capacity - self._missing(now - self.guard)

    def postpone(self, seconds: float) -> None:
        """See `Bucket`."""
        self.guard += seconds

    def restate(self, full_at: float, spent: float) -> None:
        """Others have spent, too: `spent` more than was told here, so that it will be full at that instant."""
        self._full_at = full_at
        self.spent += spent

    @property
    def full_since(self) -> float:
        """When it was full for the last time, and something was spent; minus infinity if it never was."""
        return self._mark_instants[0] if self._marks and self._marks[0] == 0.0 else -math.inf

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """See `Bucket`."""
        missing = self._missing(now)
        self._interval = self.period / amount if amount > 0 else math.inf
        self.capacity = capacity
        self._full_at = now + missing * self._interval if missing else -math.inf

    def _missing(self, now: float) -> float:
        if math.isinf(self._interval):
            return self.capacity
        return 0.0 if self._full_at <= now else (self._full_at - now) / self._interval


class RollingBucket:
    """Each token comes back exactly one period after it was spent."""

    __slots__ = (
        "_amounts",
        "_coming",
        "_first",
        "_instants",
        "_room",
        "capacity",
        "ceiling",
        "guard",
        "name",
        "period",
        "unit",
    )

    def __init__(self, name: str, unit: int, period: float, capacity: float, guard: float = 0.0):
        self.name, self.unit, self.period, self.capacity = name, unit, period + guard, capacity
        self.ceiling, self.guard = capacity, guard
        self._room = capacity
        self._instants: list[float] = []  # of every spend, oldest first
        self._amounts: list[float] = []
        self._first = 0  # where those begin that are not back yet
        self._coming: list[float] = []  # totals: what is back with each of them, as far as anybody had to look

    def fits(self, amount: float, now: float) -> bool:
        """See `Bucket`."""
        return amount <= self.level(now) + ROUNDING * self.capacity

    def when(self, amount: float, now: float) -> float:
        """See `Bucket`. Over many questions each spend is looked at about once; the rest is O(log n)."""
        if self.fits(amount, now):
            return now
        if self.capacity <= 0 and amount > 0:
            return math.inf
        # Sent as early as possible, the n-th token and the one a capacity further on are exactly one period apart.
        laps = max(math.ceil(amount / self.capacity) - 1, 0) if amount else 0
        missing = amount - laps * self.capacity - self._room - ROUNDING * self.capacity
        if missing <= 0 or self._first == len(self._amounts):
            return now + laps * self.period
        return max(self._instants[self._bringing(missing)] + self.period, now) + laps * self.period

    def supply(self, now: float, until: float) -> float:
        """See `Bucket`."""
        room = self.level(now)
        laps, rest = divmod(until - now, self.period)
        back = bisect_right(self._instants, now + rest - self.period, self._first)
        if back > self._first:
            self._add_up(back, math.inf)
            room += self._coming[back - 1] - (self._coming[self._first - 1] if self._first else 0.0)
        return laps * self.capacity + max(min(room, self.capacity), 0.0)

    def _bringing(self, missing: float) -> int:
        """The spend that brings the last of `missing` when it comes back."""
        totals, first = self._coming, self._first
        self._add_up(first, math.inf)
        enough = missing + (totals[first - 1] if first else 0.0)
        self._add_up(len(self._amounts), enough)
        return min(bisect_left(totals, enough, first), len(self._amounts) - 1)

    def _add_up(self, end: int, enough: float) -> None:
        """Go on with the totals, as far as `end` or until there is enough. Spends of one instant come back together."""
        totals, amounts, instants = self._coming, self._amounts, self._instants
        total = totals[-1] if totals else 0.0
        while len(totals) < end and total < enough:
            begin = len(totals)
            stop = bisect_right(instants, instants[begin], begin)
            total += sum(amounts[begin:stop])
            totals += [total] * (stop - begin)

    def spend(self, amount: float, at: float) -> None:
        """See `Bucket`."""
        self._instants.append(at)
        self._amounts.append(amount)
        self._room -= amount

    def spend_all(self, amounts: Sequence[float], instants: Sequence[float]) -> None:
        """See `Bucket`."""
        self._instants += instants
        self._amounts += amounts
        self._room -= sum(amounts)

    def correct(self, delta: float, at: float) -> None:
        """See `Bucket`. Spends of the same instant come back together, so it does not matter which of them it is."""
        index = bisect_left(self._instants, at, self._first)
        if index < len(self._instants) and self._instants[index] == at:
            self._amounts[index] += delta
            self._room -= delta
            del self._coming[index:]

    def level(self, now: float) -> float:
        """See `Bucket`."""
        first, end, period = self._first, len(self._instants), self.period
        while first < end and self._instants[first] + period <= now:
            self._room += self._amounts[first]
            first += 1
        if first == end:
            self._room = self.capacity  # no rounding is carried over from one idle spell to the next
        if first > 512 and first > end / 2:
            del self._instants[:first], self._amounts[:first]
            self._coming = []
            first = 0
        self._first = first
        return min(self._room, self.capacity)

    def restate(self, instants: Sequence[float], amounts: Sequence[float]) -> None:
        """Others have spent, too: these are all spends of the last period, oldest first."""
        self._instants, self._amounts, self._coming, self._first = list(instants), list(amounts), [], 0
        self._room = self.capacity - sum(amounts)

    def spent_since(self, instant: float) -> tuple[float, float]:
        """Everything that was spent after it, and when the first of that was; the bucket knows its last period."""
        first = bisect_right(self._instants, instant)
        return sum(self._amounts[first:]), self._instants[first] if first < len(self._instants) else instant

    def postpone(self, seconds: float) -> None:
        """See `Bucket`."""
        self.period += seconds
        self.guard += seconds

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """See `Bucket`."""
        self._room += capacity - self.capacity
        self.capacity = capacity


class CalendarBucket:
    """Everything from before a reset comes back: `next_reset(now)` is the first one after `now`.

    It is believed to come back a `guard` later (at most half a period). What is spent in between is of the old period
    for us, but of the new one for the service, so it counts in both.
    """

    __slots__ = (
        "_early",
        "_next_reset",
        "_opened",
        "_resets_at",
        "_room",
        "capacity",
        "ceiling",
        "guard",
        "name",
        "period",
        "unit",
    )

    def __init__(
        self,
        name: str,
        unit: int,
        period: float,
        capacity: float,
        next_reset: Callable[[float], float],
        now: float,
        guard: float = 0.0,
    ):
        self.name, self.unit, self.period, self.capacity = name, unit, period, capacity
        self.ceiling = capacity
        self._room = capacity
        self._next_reset, self.guard = next_reset, min(guard, period / 2)
        self._opened = now
        self._resets_at = next_reset(now) + self.guard
        self._early = 0.0  # of what the next reset brings: spent already, within the guard

    def fits(self, amount: float, now: float) -> bool:
        """See `Bucket`."""
        return amount <= self.level(now) + ROUNDING * self.capacity

    def when(self, amount: float, now: float) -> float:
        """See `Bucket`."""
        if self.fits(amount, now):
            return now
        if self.capacity <= 0:
            return math.inf if amount > 0 else self._resets_at
        missing = amount - self._coming
        if amount > self.capacity:  # several requests in a row: the first of them may go before the reset
            missing -= max(self._room, 0.0)
        return self._resets_at + max(math.ceil(missing / self.capacity), 0) * self.period

    def supply(self, now: float, until: float) -> float:
        """See `Bucket`."""
        room = self.level(now)
        if until < self._resets_at:
            return max(room, 0.0)
        resets = (until - self._resets_at) // self.period + 1
        return max(room, 0.0) + self._coming + (resets - 1) * self.capacity

    @property
    def _coming(self) -> float:
        """What the next reset brings; after that nothing is left of a debt."""
        return max(self.capacity - self._early, 0.0)

    def spend(self, amount: float, at: float) -> None:
        """See `Bucket`."""
        if at >= self._resets_at:
            self._turn(at)
        self._room -= amount
        if at >= self._resets_at - self.guard:
            self._early += amount

    def spend_all(self, amounts: Sequence[float], instants: Sequence[float]) -> None:
        """See `Bucket`."""
        if instants[-1] < self._resets_at - self.guard:
            self._room -= sum(amounts)
        else:
            for amount, at in zip(amounts, instants, strict=True):
                self.spend(amount, at)

    def correct(self, delta: float, at: float) -> None:
        """See `Bucket`."""
        if at >= self._opened:
            self._room = min(self._room - delta, self.capacity)
        if at >= self._resets_at - self.guard:
            self._early += delta

    def level(self, now: float) -> float:
        """See `Bucket`."""
        if now >= self._resets_at:
            self._turn(now)
        return self._room

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """See `Bucket`."""
        self._room = min(self._room + capacity - self.capacity, capacity)
        self.capacity = capacity

    def postpone(self, seconds: float) -> None:
        """See `Bucket`."""
        seconds = min(seconds, self.period / 2 - self.guard)
        self.guard += seconds
        self._resets_at += seconds

    def resets_at(self, now: float) -> float:
        """When everything comes back next."""
        self.level(now)
        return self._resets_at

    def _turn(self, now: float) -> None:
        opened, early = self._resets_at - self.guard, self._early
        following = self._next_reset(opened + self.period / 2)  # a reset counts once, also if clocks drift
        if following + self.guard <= now:  # nobody has looked for a while
            opened, early, following = self._resets_at, 0.0, self._next_reset(now - self.guard)
        self._opened, self._resets_at = opened, following + self.guard
        self._room, self._early = self.capacity - early, 0.0


def make_bucket(
    quota: Quota,
    now: float,
    next_reset: Callable[[float], float],
    *,
    name: str | None = None,
    guard: float = 0.0,
) -> Bucket:
    """A full bucket for `quota`; `name` where it is known by another than the quota's own (`account.rpd`).

    `guard`: seconds by which everything is believed to come back later than the quota says, so that a call that
    overtakes an earlier one on the way to the service does not arrive before its window.
    """
    name, unit = name or quota.name, UNITS.index(quota.unit)
    if quota.refill == "continuous":
        return ContinuousBucket(name, unit, quota.amount, quota.period, quota.capacity, guard)
    if quota.refill == "rolling":
        return RollingBucket(name, unit, quota.period, quota.capacity, guard)
    return CalendarBucket(name, unit, quota.period, quota.capacity, next_reset, now, guard)
