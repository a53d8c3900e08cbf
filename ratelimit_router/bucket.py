"""Token buckets: what may still be spent of one quota, and when more may be.

Three kinds differ only in how what was spent comes back (`continuous`, `rolling`, `calendar`; see `limits`). All obey
the same rules:

- `now` is told, in seconds on any scale that does not run backwards; should it do so anyway, a bucket only gets stricter.
- `fits` and `when` use the same arithmetic: a spend is refused just before the instant that `when` names, and fits
  exactly at it.
- `room` never claims more than there is. It may claim less until `fits` has looked at the clock, so `amount <= room` is
  a sufficient test that costs no call.
- A correction (refund or debt) names the charge that it corrects; what has come back already is left alone. Never more
  than `capacity` is there.

What they do badly: a rolling bucket remembers every charge of its last period.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ratelimit_router.limits import Quota

__all__ = ["UNITS", "Bucket", "CalendarBucket", "Charge", "ContinuousBucket", "Cost", "RollingBucket", "make_bucket"]

UNITS = ("requests", "input", "output", "total")
"""The order of the amounts in a cost: `cost[bucket.unit]` is what a request costs this bucket."""

Cost = tuple[float, float, float, float]
"""What one call costs: requests, input tokens, output tokens, total tokens."""


class Charge:
    """What was spent together, and when. One object serves every bucket that was charged; a lease is one."""

    __slots__ = ("at", "cost")

    at: float
    cost: Cost

    def __init__(self, at: float, cost: Cost):
        self.at, self.cost = at, cost


class Bucket(Protocol):
    """One quota of one model or pool."""

    name: str
    unit: int
    period: float
    capacity: float
    ceiling: float
    """What the capacity is known to be; `capacity` may be a more careful guess. A larger request never fits."""
    room: float

    def fits(self, amount: float, now: float) -> bool:
        """Whether `amount` can be spent at `now`."""
        ...

    def when(self, amount: float, now: float) -> float:
        """The earliest instant at which `amount` fits; infinity if never.

        More than the capacity is answered too: the instant at which the last of it could be spent by requests that each
        fit, every one sent as early as possible.
        """
        ...

    def spend(self, charge: Charge) -> None:
        """Take this bucket's part of a charge out, whether it fits or not."""
        ...

    def correct(self, charge: Charge, actual: Cost) -> None:
        """A charge turns out to have cost `actual`. To be asked before the charge itself is changed."""
        ...

    def level(self, now: float) -> float:
        """What is left at `now`; negative in debt."""
        ...

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """From now on `amount` a period, `capacity` at once; what was spent stays spent."""
        ...


class ContinuousBucket:
    """Refills evenly: `amount / period` a second, up to `capacity`.

    Kept as one timestamp, the instant at which the bucket will be full again (the generic cell rate algorithm, ITU-T
    I.371): refund and debt are one addition, and no reader can see more than the capacity.
    """

    __slots__ = ("_full_at", "_interval", "capacity", "ceiling", "name", "period", "room", "unit")

    def __init__(self, name: str, unit: int, amount: float, period: float, capacity: float):
        self.name, self.unit, self.period, self.capacity = name, unit, period, capacity
        self.ceiling = capacity
        self.room = -math.inf  # what is there depends on the clock: always ask
        self._interval = period / amount if amount > 0 else math.inf
        self._full_at = -math.inf

    def fits(self, amount: float, now: float) -> bool:
        """See `Bucket`."""
        return self.when(amount, now) <= now

    def when(self, amount: float, now: float) -> float:
        """See `Bucket`."""
        if math.isinf(self._interval) or self.capacity <= 0:
            return math.inf
        slack = (self.capacity - amount) * self._interval  # exactly 0 for a whole bucket: no rounding at the edge
        if slack < 0:  # several requests in a row: the refill goes on while they are sent
            return max(self._full_at, now) - slack
        return max(self._full_at - slack, now)

    def spend(self, charge: Charge) -> None:
        """See `Bucket`."""
        if amount := charge.cost[self.unit]:  # 0 x infinity is not a number
            self._full_at = max(self._full_at, charge.at) + amount * self._interval

    def correct(self, charge: Charge, actual: Cost) -> None:
        """See `Bucket`. Evenly refilled tokens have no date: what came back since the charge is clamped by the readers."""
        if delta := actual[self.unit] - charge.cost[self.unit]:
            self._full_at = max(self._full_at, charge.at) + delta * self._interval

    def level(self, now: float) -> float:
        """See `Bucket`."""
        return self.capacity - self._missing(now)

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """See `Bucket`."""
        missing = self._missing(now)
        self._interval = self.period / amount if amount > 0 else math.inf
        self.capacity = capacity
        self._full_at = now + missing * self._interval if missing else -math.inf

    def _missing(self, now: float) -> float:
        return 0.0 if self._full_at <= now else (self._full_at - now) / self._interval


class RollingBucket:
    """Each token comes back exactly one period after it was spent."""

    __slots__ = ("_gone", "_log", "capacity", "ceiling", "log", "name", "period", "room", "unit")

    def __init__(self, name: str, unit: int, period: float, capacity: float):
        self.name, self.unit, self.period, self.capacity = name, unit, period, capacity
        self.ceiling = capacity
        self.room = capacity
        self._log: deque[Charge] = deque()  # every charge that is not back yet
        self.log = self._log.append
        """Where charges go. Whoever appends one directly also takes its part out of `room`: that is all of `spend`."""
        self._gone = -math.inf  # charges up to this instant have come back

    def fits(self, amount: float, now: float) -> bool:
        """See `Bucket`."""
        self.expire(now)
        return amount <= self.room

    def when(self, amount: float, now: float) -> float:
        """See `Bucket`. Looks at as many charges as have to come back first."""
        if self.fits(amount, now):
            return now
        if self.capacity <= 0:
            return math.inf
        # Sent as early as possible, the n-th token and the one a capacity further on are exactly one period apart.
        laps = max(math.ceil(amount / self.capacity) - 1, 0)
        missing, instant = amount - laps * self.capacity - self.room, now
        for charge in self._log:
            if missing <= 0:
                break
            missing -= charge.cost[self.unit]
            instant = max(instant, charge.at + self.period)
        return instant + laps * self.period

    def spend(self, charge: Charge) -> None:
        """See `Bucket`."""
        self.log(charge)
        self.room -= charge.cost[self.unit]

    def correct(self, charge: Charge, actual: Cost) -> None:
        """See `Bucket`."""
        if charge.at > self._gone:
            self.room -= actual[self.unit] - charge.cost[self.unit]

    def level(self, now: float) -> float:
        """See `Bucket`."""
        self.expire(now)
        return self.room

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """See `Bucket`."""
        self.room += capacity - self.capacity
        self.capacity = capacity

    def expire(self, now: float) -> None:
        """Let come back what is due."""
        log, period, unit = self._log, self.period, self.unit
        while log and log[0].at + period <= now:
            charge = log.popleft()
            self.room += charge.cost[unit]
            self._gone = max(self._gone, charge.at)
        if not log:
            self.room = self.capacity  # no rounding is carried over from one idle spell to the next


class CalendarBucket:
    """Everything comes back at a reset: `next_reset(now)` is the first one after `now`."""

    __slots__ = ("_next_reset", "_opened", "_resets_at", "capacity", "ceiling", "name", "period", "room", "unit")

    def __init__(
        self, name: str, unit: int, period: float, capacity: float, next_reset: Callable[[float], float], now: float
    ):
        self.name, self.unit, self.period, self.capacity = name, unit, period, capacity
        self.ceiling = capacity
        self.room = capacity
        self._next_reset = next_reset
        self._opened = -math.inf
        self._resets_at = next_reset(now)

    def fits(self, amount: float, now: float) -> bool:
        """See `Bucket`."""
        return amount <= self.level(now)

    def when(self, amount: float, now: float) -> float:
        """See `Bucket`."""
        if self.fits(amount, now):
            return now
        if self.capacity <= 0:
            return math.inf
        laps = max(math.ceil((amount - max(self.room, 0.0)) / self.capacity) - 1, 0)
        return self._resets_at + laps * self.period

    def spend(self, charge: Charge) -> None:
        """See `Bucket`."""
        if charge.at >= self._resets_at:
            self._turn(charge.at)
        self.room -= charge.cost[self.unit]

    def correct(self, charge: Charge, actual: Cost) -> None:
        """See `Bucket`."""
        if charge.at >= self._opened:
            self.room -= actual[self.unit] - charge.cost[self.unit]

    def level(self, now: float) -> float:
        """See `Bucket`."""
        if now >= self._resets_at:
            self._turn(now)
        return self.room

    def resize(self, amount: float, capacity: float, now: float) -> None:
        """See `Bucket`."""
        self.room += capacity - self.capacity
        self.capacity = capacity

    def _turn(self, now: float) -> None:
        self._opened = self._resets_at
        self._resets_at = self._next_reset(now)
        self.room = self.capacity


def make_bucket(quota: Quota, now: float, next_reset: Callable[[float], float], *, name: str | None = None) -> Bucket:
    """A full bucket for `quota`; `name` where it is known by another than the quota's own (`account.rpd`)."""
    name, unit = name or quota.name, UNITS.index(quota.unit)
    if quota.refill == "continuous":
        return ContinuousBucket(name, unit, quota.amount, quota.period, quota.capacity)
    if quota.refill == "rolling":
        return RollingBucket(name, unit, quota.period, quota.capacity)
    return CalendarBucket(name, unit, quota.period, quota.capacity, next_reset, now)
