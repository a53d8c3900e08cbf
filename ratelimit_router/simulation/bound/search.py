"""How the bound is found: from below, by prices.

The linear program for a time that is too short gives prices; by them every run takes some longer time; and again for
that, until all tasks can be served (then this is the least time of all) or the prices prove nothing more. Then once
more with finer cells, where it matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from ratelimit_router.simulation.bound.cells import finer, first_cells
from ratelimit_router.simulation.bound.crowd import Crowd, crowd_of, groups_of
from ratelimit_router.simulation.bound.program import Plan, Prices, Program
from ratelimit_router.simulation.bound.quotas import Quotas, quotas_of
from ratelimit_router.simulation.bound.rows import Rows
from ratelimit_router.simulation.bound.stretches import Cells
from ratelimit_router.simulation.bound.supply import Floats
from ratelimit_router.simulation.scenario import Scenario, Task

__all__ = ["Found", "Problem"]

STEPS = 30
"""Programs to solve at most for one set of cells; a few are enough."""

REFINEMENTS = 2

GAIN = 3e-4
"""Part of the makespan that is worth another refinement."""

UNSERVED = 2.0
"""What a task that is not served costs in first choices, when the most of these are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """No run is as short as `makespan`. `prices`: the proof, if it is not the last task's arrival and latency alone."""

    makespan: float
    plan: Plan | None = None
    prices: Prices | None = None


class Problem:
    """Some tasks of a scenario, at least one, and all that limits them."""

    def __init__(self, scenario: Scenario, tasks: Sequence[Task]):
        self._scenario = scenario
        self.quotas: Quotas = quotas_of(scenario)
        self.crowd: Crowd = crowd_of(scenario, self.quotas, tasks)
        self.latest = float(self.crowd.least.max())

    def least_makespan(self) -> Found:
        """The least time in which the fluid can be done; infinity beyond the scenario's horizon."""
        if not self.latest <= self._scenario.horizon:
            return Found(makespan=inf)
        cells = first_cells(self.crowd)
        found = self._climb(self._program(cells), self.latest)
        for _ in range(REFINEMENTS):
            if found.prices is None or found.makespan == inf:
                break
            better = finer(cells, self.crowd, self.quotas, found.prices, found.makespan)
            if better == cells:
                break
            cells, before = better, found
            found = self._climb(self._program(cells), before.makespan, before)
            if found.makespan < before.makespan * (1 + GAIN):
                break
        return found

    def end(self, found: Found) -> float:
        """Its makespan, or the horizon if that is nearer."""
        return min(found.makespan, self._scenario.horizon)

    def most_first_choices(self, makespan: float) -> float:
        """The largest share of first choices among runs of that length; 0.0 if it is too short for any."""
        if not makespan >= self.latest:
            return 0.0
        value = self.crowd.first.astype(float)
        cells, best = first_cells(self.crowd), 1.0
        for _ in range(1 + REFINEMENTS):
            plan = self._program(cells).best(makespan, value, UNSERVED)
            found = plan.prices.worth(makespan, value) / self.crowd.size
            better = finer(cells, self.crowd, self.quotas, plan.prices, makespan)
            done = better == cells or found > best * (1 - GAIN)
            best, cells = min(best, found), better
            if done:
                break
        return max(0.0, best)

    def _climb(self, program: Program, low: float, before: Found | None = None) -> Found:
        nothing = np.zeros(self.crowd.may.shape)
        at, prices = low, before.prices if before else None
        plan = program.best(at, nothing, 1.0)
        for _ in range(STEPS):
            if plan.unserved <= 1e-7 * self.crowd.size:
                break
            ends = plan.prices.end(low, self._scenario.horizon)
            if ends is None:
                return Found(makespan=inf, prices=plan.prices)
            if ends[1] <= low:
                break
            (low, at), prices = ends, plan.prices
            plan = program.best(at, nothing, 1.0)
        return Found(makespan=low, plan=plan, prices=prices)

    def _program(self, cells: Cells) -> Program:
        rows = Rows(self.quotas, self.crowd, cells, back=self._scenario.network.latency, horizon=self._scenario.horizon)
        knots = (*cells.knots[1:], *cells.arrivals)
        return Program(self.crowd, rows.all(), groups_of(self.crowd, sorted(knots), self._features(cells)), cells)

    def _features(self, cells: Cells) -> list[Floats]:
        """What can tell one task from another, where it matters."""
        crowd, units = self.crowd, {quota.course.rule.unit for quota in self.quotas.metered}
        flying = {model for desk in self.quotas.in_flight for model in desk.models}
        found = [crowd.latency[model] for model in range(len(crowd.latency)) if model in flying or cells.slow]
        if units & {"input", "total"}:
            found.append(crowd.input)
        if units & {"output", "total"}:
            found.append(crowd.output)
        return found
