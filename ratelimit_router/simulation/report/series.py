"""What happened over time, from the records of a run: figures that change in steps, thinned to what an eye can see."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ratelimit_router.simulation.run import Call, Run

__all__ = ["Steps", "arrived", "done", "in_flight", "quota_levels", "steps", "thinned", "waiting"]

COLUMNS = 320
"""Of a picture: nobody sees more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A figure that keeps each value until the next instant, and the last one for good. It begins at 0 seconds."""

    times: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def peak(self) -> float:
        """The most that it ever is."""
        return max(self.values)


def steps(changes: Iterable[tuple[float, float]]) -> Steps:
    """From 0 on, the sum of all changes so far: (instant, difference). What changes at once is one step."""
    totals: dict[float, float] = {0.0: 0.0}
    for at, difference in changes:
        if at < math.inf:
            totals[at] = totals.get(at, 0.0) + difference
    times: list[float] = []
    values: list[float] = []
    value = 0.0
    for at in sorted(totals):
        value += totals[at]
        if not values or value != values[-1]:
            times.append(at)
            values.append(value)
    return Steps(times=tuple(times), values=tuple(values))


def in_flight(calls: Sequence[Call]) -> Steps:
    """Calls that are on their way or being answered."""
    return steps([*((call.sent, 1) for call in calls), *((call.ended, -1) for call in calls)])


def waiting(run: Run, tier: str) -> Steps:
    """Tasks of a tier that have arrived, are not over, and have no call in flight."""
    tasks = [task for task in run.tasks if task.tier == tier]
    numbers = {task.number for task in tasks}
    own = [call for call in run.calls if call.task in numbers]
    return steps(
        [
            *((task.arrived, 1) for task in tasks),
            *((call.sent, -1) for call in own),
            *((call.ended, 1) for call in own),
            *((task.ended, -1) for task in tasks),
        ]
    )


def arrived(run: Run) -> Steps:
    """Tasks that have arrived so far."""
    return steps((task.arrived, 1) for task in run.tasks)


def done(run: Run) -> Steps:
    """Tasks that have their answer so far."""
    return steps((task.ended, 1) for task in run.tasks if task.done)


def quota_levels(run: Run, owner: str) -> dict[str, Steps]:
    """By quota of a service or account, which share of it was left (from 0 to 1)."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for level in run.levels:
        if level.owner == owner:
            times, values = found.setdefault(level.quota, ([], []))
            times.append(level.at)
            values.append(min(max(level.left / level.amount, 0.0), 1.0) if level.amount else 0.0)
    return {quota: Steps(times=tuple(times), values=tuple(values)) for quota, (times, values) in found.items()}


def thinned(series: Steps, end: float, pick: Callable[[float, float], float] = max) -> Steps:
    """The same until `end` in columns of equal width, unless it has few steps. `pick`: which of a column's values."""
    if len(series.times) <= COLUMNS:
        return series
    times: list[float] = []
    values: list[float] = []
    width, before, last = end / COLUMNS, 0.0, -1
    for at, value in zip(series.times, series.values, strict=True):
        if (column := int(at / width)) >= COLUMNS:
            break
        if column == last:
            values[-1] = pick(values[-1], value)
        else:
            if last >= 0 and column > last + 1:  # nothing happened in between: it stayed as it was
                times.append((last + 1) * width)
                values.append(before)
            times.append(column * width)
            values.append(pick(before, value) if last >= 0 else value)
        before, last = value, column
    if values[-1] != before and last + 1 < COLUMNS:
        times.append((last + 1) * width)
        values.append(before)
    return Steps(times=tuple(times), values=tuple(values))
