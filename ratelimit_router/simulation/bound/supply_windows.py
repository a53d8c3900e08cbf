"""The most that each kind of window supplies between two instants, whoever schedules the calls.

What happened before the interval is forgotten, in favour of the run. Within it the best that can be done is known:

`continuous`    take what is there, always: nothing runs over then but what comes back while the service is dark.
`rolling`       take all at once, and again as soon as it is back: a call finds that no more than the amount was used in
                the period before it, so an interval holds as much as a chain of periods that each end with a call.
`fixed`, `day`  take all at the beginning of each window.

Others are charged whether they fit or not: what they use after the run's last call of a window takes nothing from it.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import floor, inf

import numpy as np

from ratelimit_router.simulation.bound.supply import Course, Floats, Supply
from ratelimit_router.simulation.windows import TICK, DayWindow, FixedWindow

__all__ = ["supply_from"]


def supply_from(course: Course, start: float, horizon: float) -> Supply:
    """What a quota supplies from `start` until any instant up to `horizon`."""
    match course.rule.window:
        case "continuous":
            return _continuous(course, start, horizon)
        case "rolling":
            return _rolling(course, start, horizon)
        case _:
            return _aligned(course, start, horizon)


def _continuous(course: Course, start: float, horizon: float) -> Supply:
    turns = sorted([(0.0, 0.0), (start, 0.0), *((at, 0.0) for at in course.turns()), *course.foreign])
    turns = [turn for turn in turns if turn[0] < horizon]
    instants = np.array([*(at for at, _ in turns), horizon])
    factors = course.factor((instants[1:] + instants[:-1]) / 2).tolist()
    lit = course.lit(instants).tolist()
    bucket = _Bucket()
    for (at, after), (_, use), factor, taking in zip(pairwise(instants.tolist()), turns, factors, lit, strict=False):
        bucket.missing += use
        rate = course.rule.amount * factor / course.period
        bucket.run(at, after - at, course.rule.holds(factor), rate, taking=taking and at >= start)
    windows = [start, *(end for _, end in course.dark if end > start)]
    return Supply(at=bucket.at, value=bucket.value, rate=bucket.rate, windows=windows)


class _Bucket:
    """A bucket that is emptied all the time, and the curve of what came out of it.

    `missing` of what it holds when full; more than its size is a debt, which others made.
    """

    def __init__(self) -> None:
        self.missing = self._out = 0.0
        self.at: list[float] = []
        self.value: list[float] = []
        self.rate: list[float] = []

    def run(self, at: float, seconds: float, size: float, rate: float, *, taking: bool) -> None:
        """So many seconds with that size and rate; `taking`: something may come out."""
        debt = (self.missing - size) / rate if rate else inf * (self.missing > size or -1)
        if not taking or debt >= seconds:
            self._note(at, 0.0)
            self.missing = max(0.0, self.missing - rate * seconds)
            return
        if debt > 0:
            self._note(at, 0.0)
            at, seconds, self.missing = at + debt, seconds - debt, size
        self._out += size - self.missing
        self.missing = size
        self._note(at, rate)
        self._out += rate * seconds

    def _note(self, at: float, rate: float) -> None:
        self.at.append(at)
        self.value.append(self._out)
        self.rate.append(rate)


def _rolling(course: Course, start: float, horizon: float) -> Supply:
    """The best chain until now is this period and the best chain until its beginning, or the best until just before.

    Both change only where something happens, or whole periods after that: at the same phases of every period.
    """
    period = course.period - 1.5 * TICK  # what was spent counts as back a tick before
    windows = np.array([start + period * number for number in range(max(0, floor((horizon - start) / period)) + 1)])
    if course.steady:
        return _steps(windows, _room(course, windows, windows).cumsum(), windows)
    marks = np.array([*course.turns(), *(at for at, _ in course.foreign)])
    phases = np.unique(np.append((marks - start) % period, 0.0))
    found, best = [], np.zeros(len(phases))
    for window in windows:
        room = _room(course, window + phases, window + phases - period)
        best = np.maximum.accumulate(np.maximum(room + best, best[-1]))
        found.append(best)
    return _steps(np.add.outer(windows, phases).ravel(), np.concatenate(found), windows)


def _aligned(course: Course, start: float, horizon: float) -> Supply:
    """Everything at the first instant of each window; more if the amount grows within it."""
    edges = np.array(list(_edges(course, start, horizon)))
    turns = [at for at in course.turns() if start < at <= horizon]
    marks = np.unique([start, *edges[1:], *turns])
    window = np.searchsorted(edges, marks + TICK / 2, side="right") - 1
    room = _room(course, marks, edges[window])
    best = np.zeros(len(edges))
    value = []
    for number, more in zip(window, room, strict=True):
        best[number] = max(best[number], more)
        value.append(best.sum())
    return _steps(marks, np.array(value), np.array([start, *edges[1:]]))


def _room(course: Course, at: Floats, since: Floats) -> Floats:
    """What a run may have used of a window since then, if it makes a call now; 0 if it cannot."""
    amount = course.rule.amount * course.factor(at)
    if course.rule.unit == "requests":
        amount = np.floor(amount + 1e-9)  # no window gives a part of one
    return np.where(course.lit(at), np.maximum(0.0, amount - course.taken(since, at)), 0.0)


def _steps(at: Floats, value: Floats, windows: Floats) -> Supply:
    kept = np.flatnonzero(np.diff(value, prepend=-1.0) > 0)
    return Supply(at=at[kept].tolist(), value=value[kept].tolist(), rate=[0.0] * len(kept), windows=windows.tolist())


def _edges(course: Course, start: float, horizon: float) -> Iterator[float]:
    """The beginnings of the windows from the one that `start` lies in."""
    rule = course.rule
    window = DayWindow(0.0, rule.resets) if rule.window == "day" else FixedWindow(0.0, course.period)
    first, last = window.bounds(course.origin + start + TICK / 2)
    while first - course.origin <= horizon:
        yield first - course.origin
        first, last = window.bounds(last)
