"""One quota as time goes on, and how much of it a run could use at most between two instants.

Times are seconds by the service's clock since the start of the run. `supply_windows` makes the supplies.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ratelimit_router.simulation.quota import QuotaRule

__all__ = ["SLACK", "Course", "Floats", "Supply"]

Floats = NDArray[np.float64]

SLACK = 4e-6
"""Seconds by which services are lenient (see `windows.TICK`), with the rounding of POSIX seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """From a given instant on, what fits until an end: `value` at each instant of `at`, growing by `rate` a second.

    `windows`: the instants at which another call may begin to overdraw the quota by the tokens of its answer.
    """

    at: Sequence[float]
    value: Sequence[float]
    rate: Sequence[float]
    windows: Sequence[float]

    def until(self, end: float) -> float:
        """What can be used at most, not counting what the last calls of windows overdraw."""
        place = bisect_right(self.at, end) - 1
        return self.value[place] + self.rate[place] * (end - self.at[place]) if place >= 0 else 0.0

    def overdrafts(self, end: float) -> int:
        """How many calls may overdraw it at most."""
        return bisect_right(self.windows, end)


class Course:
    """One quota as time goes on.

    `origin`: POSIX seconds at which the run starts by the service's clock. `changes`: (instant, factor). `dark`: (from,
    until) in which nothing is admitted; apart, and by instant as all of these. `foreign`: (instant, use by others).
    """

    def __init__(
        self,
        rule: QuotaRule,
        *,
        origin: float = 0.0,
        changes: Sequence[tuple[float, float]] = (),
        dark: Sequence[tuple[float, float]] = (),
        foreign: Sequence[tuple[float, float]] = (),
    ):
        self.rule, self.origin, self.dark, self.foreign = rule, origin, dark, foreign
        self.period = rule.period or inf
        self.steady = not (changes or dark or foreign)
        self._change = np.array([at for at, _ in changes])
        self._factor = np.array([1.0, *(factor for _, factor in changes)])
        self._falls = np.array([at for span in dark for at in span])
        self._use_at = np.array([at for at, _ in foreign])
        self._used = np.cumsum([0.0, *(use for _, use in foreign)])

    @property
    def largest(self) -> float:
        """The most that one call may bring, ever."""
        return max(map(self.rule.holds, self._factor.tolist()))

    def turns(self) -> list[float]:
        """The instants at which it changes, or turns dark or light."""
        return [float(at) for at in (*self._change, *self._falls) if at < inf]

    def factor(self, at: Floats) -> Floats:
        """What its amounts are multiplied with; at a change the greater of the two."""
        before, after = (np.searchsorted(self._change, at + slack, side="right") for slack in (-SLACK, SLACK))
        found: Floats = np.maximum(self._factor[before], self._factor[after])
        return found

    def lit(self, at: Floats) -> NDArray[np.bool_]:
        """Whether calls are admitted."""
        found: NDArray[np.bool_] = np.searchsorted(self._falls, at, side="right") % 2 == 0
        return found

    def taken(self, start: Floats, end: Floats) -> Floats:
        """What others use between the two, without what they use at the very ends."""
        first = np.searchsorted(self._use_at, start + SLACK, side="right")
        last = np.maximum(first, np.searchsorted(self._use_at, end - SLACK, side="left"))
        found: Floats = self._used[last] - self._used[first]
        return found
