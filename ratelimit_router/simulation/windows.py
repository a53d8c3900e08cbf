"""How a quota that was spent comes back: four kinds of window, each told the time, none asking for it.

`continuous`  a bucket of `burst` (default: the amount) that refills evenly, amount / period a second.
`rolling`     what was spent counts for exactly one period.
`fixed`       periods aligned to the epoch (each minute by the clock); everything comes back at the next.
`day`         everything comes back at a time of day in a time zone.

This is the judge of the router's buckets, so it shares no arithmetic with them: it keeps plain lists and levels. Times
are POSIX seconds, where a float resolves about 0.2 microseconds: a wait of a microsecond or less counts as none. They
never decrease from one question to the next: what has come back once is forgotten.
"""

from abc import ABC, abstractmethod
from collections import deque
from datetime import datetime, timedelta
from math import floor, inf
from typing import Literal, Protocol

from ratelimit_router.resets import parse_reset

__all__ = [
    "TICK",
    "ContinuousWindow",
    "DayWindow",
    "FixedWindow",
    "RollingWindow",
    "Window",
    "WindowKind",
    "make_window",
]

WindowKind = Literal["continuous", "rolling", "fixed", "day"]
TICK = 1e-6


class Window(Protocol):
    """What one quota has left."""

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` fits, if nothing else is spent: 0.0 is now, infinity is never."""
        ...

    def spend(self, now: float, amount: float) -> None:
        """Use `amount`, whether it fits or not: what does not fit has to come back before anything else fits."""
        ...

    def left(self, now: float) -> float:
        """What could be spent now."""
        ...

    def resize(self, now: float, amount: float, burst: float | None, leeway: float = 0.0) -> None:
        """Change the limit from `now` on; what was spent stays spent."""
        ...


class ContinuousWindow:
    """A bucket that refills evenly."""

    def __init__(self, amount: float, period: float, burst: float | None = None, leeway: float = 0.0):
        self._period = period
        self._set(amount, burst, leeway)
        self._spent = 0.0  # how far below full
        self._at = -inf

    def resize(self, now: float, amount: float, burst: float | None, leeway: float = 0.0) -> None:
        self.spend(now, 0.0)  # what came back until now came at the old rate
        self._set(amount, burst, leeway)

    def _set(self, amount: float, burst: float | None, leeway: float) -> None:
        self._rate = amount / self._period
        self._size = (amount if burst is None else burst) + self._rate * leeway

    def _missing(self, now: float) -> float:
        if now <= self._at or not self._spent:
            return self._spent
        return max(0.0, self._spent - (now - self._at) * self._rate)

    def left(self, now: float) -> float:
        return self._size - self._missing(now)

    def wait(self, now: float, amount: float) -> float:
        if amount > self._size:
            return inf
        lacking = amount - self.left(now)
        if lacking <= self._rate * TICK:
            return 0.0
        return lacking / self._rate if self._rate else inf

    def spend(self, now: float, amount: float) -> None:
        self._spent = self._missing(now) + amount
        self._at = max(self._at, now)


class RollingWindow:
    """A list of what was spent when, and its sum."""

    def __init__(self, amount: float, period: float, leeway: float = 0.0):
        self._whole_period = period
        self._spent: deque[tuple[float, float]] = deque()
        self._used = 0.0
        self.resize(-inf, amount, None, leeway)

    def resize(self, now: float, amount: float, burst: float | None, leeway: float = 0.0) -> None:
        self._amount, self._period = amount, max(0.0, self._whole_period - leeway)

    def _forget(self, now: float) -> None:
        """Drop what has come back by now."""
        while self._spent and self._spent[0][0] + self._period <= now + TICK:
            self._used -= self._spent.popleft()[1]
        if not self._spent:
            self._used = 0.0  # fractions would leave their rounding behind

    def left(self, now: float) -> float:
        self._forget(now)
        return self._amount - self._used

    def wait(self, now: float, amount: float) -> float:
        left = self.left(now)
        if amount > self._amount:
            return inf
        if amount <= left:
            return 0.0
        for at, spent in self._spent:
            left += spent
            if amount <= left:
                return max(0.0, at + self._period - now)
        return inf

    def spend(self, now: float, amount: float) -> None:
        self._forget(now)
        at = max(now, self._spent[-1][0]) if self._spent else now
        self._spent.append((at, amount))
        self._used += amount


class ResetWindow(ABC):
    """Everything comes back at known instants; `bounds` of the two kinds below says which."""

    def __init__(self, amount: float):
        self._amount, self._used = amount, 0.0
        self._start = -inf

    @abstractmethod
    def bounds(self, now: float) -> tuple[float, float]:
        """The window that `now` lies in: its first instant, and that of the next."""

    def resize(self, now: float, amount: float, burst: float | None, leeway: float = 0.0) -> None:
        self._amount = amount

    def left(self, now: float) -> float:
        start, _ = self.bounds(now + TICK)
        return self._amount - (0.0 if start > self._start else self._used)

    def wait(self, now: float, amount: float) -> float:
        if amount > self._amount:
            return inf
        if amount <= self.left(now):
            return 0.0
        _, end = self.bounds(max(now + TICK, self._start))
        return end - now

    def spend(self, now: float, amount: float) -> None:
        start, _ = self.bounds(now + TICK)
        if start > self._start:
            self._start, self._used = start, 0.0
        self._used += amount


class FixedWindow(ResetWindow):
    """Windows of one period each, aligned to the epoch."""

    def __init__(self, amount: float, period: float):
        super().__init__(amount)
        self._period = period

    def bounds(self, now: float) -> tuple[float, float]:
        number = floor(now / self._period)
        return number * self._period, (number + 1) * self._period


class DayWindow(ResetWindow):
    """From one reset to the next, by the clock of a time zone: 23 to 25 hours."""

    def __init__(self, amount: float, resets: str):
        super().__init__(amount)
        self._time, self._zone = parse_reset(resets)
        self._bounds = inf, -inf  # of the last question: the next is mostly about the same day

    def bounds(self, now: float) -> tuple[float, float]:
        if not self._bounds[0] <= now < self._bounds[1]:
            self._bounds = self._find(now)
        return self._bounds

    def _find(self, now: float) -> tuple[float, float]:
        today = datetime.fromtimestamp(now, self._zone).date()
        days = (today + timedelta(days=offset) for offset in (-1, 0, 1, 2))
        resets = [datetime.combine(day, self._time, self._zone).timestamp() for day in days]
        return max(at for at in resets if at <= now), min(at for at in resets if at > now)


def make_window(
    kind: WindowKind, amount: float, period: float, *, burst: float | None = None, resets: str, leeway: float = 0.0
) -> Window:
    """The window of that kind; `leeway` seconds make the continuous and the rolling kind lenient."""
    if kind == "continuous":
        return ContinuousWindow(amount, period, burst, leeway)
    if kind == "rolling":
        return RollingWindow(amount, period, leeway)
    return FixedWindow(amount, period) if kind == "fixed" else DayWindow(amount, resets)
