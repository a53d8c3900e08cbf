"""The rows of the linear program: what calls use of a quota in an interval cannot be more than it supplies there.

The run is cut at a few instants into cells; a call is one of a model in a cell. A row speaks of the calls in some
neighbouring cells, and often of those tasks only that cannot be called before it opens, or whose latency is so long
that they cannot be called after it closes. Every row is true of every run, so any rows make a bound that is valid; more
of them make it tight.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from ratelimit_router.simulation.bound.crowd import Crowd
from ratelimit_router.simulation.bound.quotas import InFlight, Metered, Quotas, Span
from ratelimit_router.simulation.bound.stretches import Cells, Stretch, stretches
from ratelimit_router.simulation.bound.supply import SLACK, Floats, Supply
from ratelimit_router.simulation.bound.supply_windows import supply_from

__all__ = ["Row", "Rows"]

CAPS = (0.8, 0.95, 1.0)
"""Rows about overdrafts count the tokens of answers only up to what so large a share of the answers has."""

Limit = Callable[[float], float]
"""What a row allows, by the makespan. It never falls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`uses`: by model (its place), what a call for each task uses, in the cells of the stretch.

    `name`: of the quota.
    """

    name: str
    stretch: Stretch
    uses: dict[int, Floats]
    limit: Limit


class Rows:
    """Makes the rows for one set of cells. `back`: seconds that an answer travels; nobody asks beyond the `horizon`."""

    def __init__(self, quotas: Quotas, crowd: Crowd, cells: Cells, *, back: float, horizon: float):
        self._quotas, self._crowd, self._cells = quotas, crowd, cells
        self._back, self._horizon = back, horizon

    def all(self) -> list[Row]:
        """Every row."""
        return [
            *(row for quota in self._quotas.metered for row in self._metered(quota)),
            *(row for desk in self._quotas.in_flight for row in self._in_flight(desk)),
        ]

    def _metered(self, quota: Metered) -> Iterator[Row]:
        """What a quota supplies; and for each call that may overdraw it, as much more as answers are counted."""
        clock, supplies = self._quotas.clock.shows, dict[float, Supply]()
        caps = self._caps(quota)
        for stretch in stretches(self._crowd, self._cells, quota.models):
            opens = clock(stretch.opens)
            if opens not in supplies:
                supplies[opens] = supply_from(quota.course, opens, clock(self._horizon))
            for cap in caps if stretch.kind == "any" else caps[:2][-1:]:
                each = self._cost(quota, cap)
                uses = {model: tasks * each for model, tasks in stretch.tasks.items()}
                limit = self._supplied(quota, stretch, supplies[opens], cap)
                yield Row(name=quota.name, stretch=stretch, uses=uses, limit=limit)

    def _caps(self, quota: Metered) -> list[float]:
        """Up to how many tokens answers are counted."""
        answers = self._crowd.output[self._crowd.may[list(quota.models)].any(axis=0)]
        if quota.course.rule.unit not in ("output", "total") or not answers.any():
            return [0.0]
        return sorted({float(np.quantile(answers, share, method="higher")) for share in CAPS})

    def _cost(self, quota: Metered, cap: float) -> Floats:
        crowd, answers = self._crowd, np.minimum(self._crowd.output, cap)
        match quota.course.rule.unit:
            case "requests":
                return np.ones(crowd.size)
            case "input":
                return crowd.input
            case "output":
                return answers
            case "total":
                return crowd.input + answers

    def _supplied(self, quota: Metered, stretch: Stretch, supply: Supply, cap: float) -> Limit:
        clock, back, whole = self._quotas.clock.shows, self._back, quota.course.rule.unit == "requests"

        def limit(makespan: float) -> float:
            end = min(stretch.closes, makespan - back - stretch.tail)
            if end < stretch.opens - SLACK:
                return 0.0
            end = clock(end) + SLACK
            room = supply.until(end) + cap * supply.overdrafts(end)
            return floor(room + 1e-6) if whole else room

        return limit

    def _in_flight(self, desk: InFlight) -> Iterator[Row]:
        """The seconds that calls are in flight; and how many of the shortest can be so one after another."""
        for stretch in stretches(self._crowd, self._cells, desk.models):
            seconds = {model: tasks * self._crowd.latency[model] for model, tasks in stretch.tasks.items()}
            most = max(float(flying.max()) for flying in seconds.values())
            yield Row(name=desk.name, stretch=stretch, uses=seconds, limit=self._seconds(desk, stretch, most))
            if stretch.tail > SLACK:
                yield Row(name=desk.name, stretch=stretch, uses=stretch.tasks, limit=self._turns(desk, stretch))

    def _seconds(self, desk: InFlight, stretch: Stretch, most: float) -> Limit:
        """Calls that begin before a cell closes may go on for as long as the longest."""
        back = self._back

        def limit(makespan: float) -> float:
            end = min(stretch.closes + most, makespan - back)
            return desk.calls * (_light(desk.dark, stretch.opens, end, most) + SLACK)

        return limit

    def _turns(self, desk: InFlight, stretch: Stretch) -> Limit:
        back = self._back

        def limit(makespan: float) -> float:
            end = min(stretch.closes + stretch.tail, makespan - back)
            return desk.calls * floor(max(0.0, end - stretch.opens + SLACK) / (stretch.tail - SLACK / 2))

        return limit


def _light(dark: Sequence[Span], opens: float, end: float, most: float) -> float:
    """Seconds between the two in which calls can be in flight; in the dark only those go on that began before."""
    found = max(0.0, end - opens)
    for start, until in dark:
        inside = min(end, until) - max(opens, start)
        found -= max(0.0, inside - (most if start > opens else 0.0))
    return found
