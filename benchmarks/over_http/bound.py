"""The fluid bound: no scheduler, however clever, can finish these calls sooner.

A supply says how many calls a model can admit at most between two instants. Of calls that arrive at a(1) <= a(2) <= ...
<= a(n), those from the k-th on can only be admitted after a(k), so in a schedule that ends its admissions at T

    n - k + 1  <=  sum over the models of most(a(k), T)        for every k, and T >= a(n).

The bound is the least T for which all of these hold (found by bisection: the right side grows with T), plus the least
latency of an answer. Calls count as a fluid: a model may admit a fraction of one, so the bound is a little too kind to
itself (under 0.1 s here), never too strict.

- A continuous bucket of size b that refills with r a second admits at most b + r (t - s) between s and t, however it
  was used before. Dark from d to e it admits nothing meanwhile, and what piles up is again at most b.
- A fixed window admits its whole amount in each window that the interval touches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Protocol

__all__ = ["Continuous", "Fixed", "Supply", "fluid_bound"]

PRECISION = 1e-6


class Supply(Protocol):
    """One model's quota."""

    def most(self, start: float, end: float) -> float:
        """Calls that can be admitted from `start` to `end` (seconds), at most."""
        ...


@dataclass(frozen=True, slots=True)
class Continuous:
    """A bucket of `burst` that refills with `rate` a second; `dark`: nothing is admitted from then until then."""

    rate: float
    burst: float
    dark: tuple[float, float] | None = None

    def most(self, start: float, end: float) -> float:
        """See `Supply`."""
        if end < start:
            return 0.0
        if self.dark is None or end <= self.dark[0] or start >= self.dark[1]:
            return self.burst + self.rate * (end - start)
        begins, ends = self.dark
        before = self.burst + self.rate * (begins - start) if start < begins else 0.0
        if end < ends:
            return before
        piled = self.rate * (ends - begins) if start < begins else self.burst
        return before + min(self.burst, piled) + self.rate * (end - ends)


@dataclass(frozen=True, slots=True)
class Fixed:
    """`amount` in every window of `period` seconds; the first ends at `first_end`."""

    amount: float
    period: float
    first_end: float

    def most(self, start: float, end: float) -> float:
        """See `Supply`."""
        if end < start:
            return 0.0
        return self.amount * (self._window(end) - self._window(start) + 1)

    def _window(self, instant: float) -> int:
        return floor((instant - self.first_end) / self.period) + 1


def fluid_bound(arrivals: Sequence[float], supplies: Sequence[Supply], latency: float) -> float:
    """Seconds from 0 until the last answer, at least; `latency`: what an answer takes at the least."""
    asked = sorted(arrivals)

    def possible(end: float) -> bool:
        left = len(asked)
        for number, start in enumerate(asked):
            if left - number > sum(supply.most(start, end) for supply in supplies) + PRECISION:
                return False
        return True

    low, high = asked[-1], asked[-1] + 1.0
    if possible(low):
        return low + latency
    while not possible(high):
        high = asked[-1] + 2 * (high - asked[-1])
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if possible(middle) else (middle, high)
    return high + latency
