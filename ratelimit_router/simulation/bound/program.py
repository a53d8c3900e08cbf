"""The linear program over the rows, and what its prices prove.

The program is solved for groups of tasks that are alike, which is not exact. But it gives a price for each row, and any
prices prove a bound for the tasks themselves: all tasks together pay at least the sum of what each would pay for its
cheapest call, and at most what the rows allow at these prices. No run can end while the former is more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, hstack

from ratelimit_router.simulation.bound.crowd import Crowd
from ratelimit_router.simulation.bound.rows import Row
from ratelimit_router.simulation.bound.stretches import Cells
from ratelimit_router.simulation.bound.supply import Floats

__all__ = ["Plan", "Prices", "Program"]

EXACT = 1e-9
"""Part of a sum by which its rounding may be wrong."""

STEP = 1e-7
"""Seconds to which ends are found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """`rows` that have a price, their `prices`, and what each task would `pay`: by model, cell and task.

    What a task may not do costs infinitely much.
    """

    rows: tuple[Row, ...]
    prices: tuple[float, ...]
    pay: Floats

    def income(self, makespan: float) -> float:
        """What all calls together can pay at most in a run of so many seconds."""
        return sum(price * row.limit(makespan) for row, price in zip(self.rows, self.prices, strict=True))

    def end(self, low: float, high: float) -> tuple[float, float] | None:
        """Seconds that are too few for any run by these prices, and that are not; None: even `high` is too few."""
        least = float(self.pay.min(axis=(0, 1)).sum()) * (1.0 - EXACT)
        if self.income(high) < least:
            return None
        if self.income(low) >= least:
            return low, low
        while high - low > STEP:
            middle = (low + high) / 2
            low, high = (middle, high) if self.income(middle) < least else (low, middle)
        return low, high

    def worth(self, makespan: float, value: Floats) -> float:
        """The most that calls of such `value` (by model and task) can be worth together, all tasks served."""
        return self.income(makespan) + float((value[:, None, :] - self.pay).max(axis=(0, 1)).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The best that groups of tasks can do in a given time. `calls`: by tier and model. `unserved`: tasks."""

    calls: Floats
    unserved: float
    prices: Prices


class Program:
    """All rows over all groups."""

    def __init__(self, crowd: Crowd, rows: Sequence[Row], groups: NDArray[np.int64], cells: Cells):
        self._crowd, self._rows, self._group, self._knots = crowd, rows, groups, np.array(cells.knots)
        self._sizes = np.bincount(groups).astype(float)
        self._cell_of = np.maximum(0, np.searchsorted(self._knots, crowd.ready, side="right") - 1)
        self._members = np.unique(groups, return_index=True)[1]
        self._columns = self._find_columns()
        self._scales, self._matrix = self._find_matrix()

    def _find_columns(self) -> NDArray[np.int64]:
        """Group, model and cell of each column: all that a group may do."""
        found = [
            (group, model, cell)
            for group, member in enumerate(self._members)
            for model in np.flatnonzero(self._crowd.may[:, member])
            for cell in range(self._cell_of[member], len(self._knots))
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 3).T

    def _find_matrix(self) -> tuple[Floats, Any]:
        """What a call of each column uses of each row; scaled, so that the largest use is 1."""
        group, model, cell = self._columns
        matrix = np.zeros((len(self._rows), len(group)))
        for place, row in enumerate(self._rows):
            inside = (row.stretch.first <= cell) & (cell <= row.stretch.last)
            for number, uses in row.uses.items():
                mean = np.bincount(self._group, weights=uses) / self._sizes
                chosen = np.flatnonzero(inside & (model == number))
                matrix[place, chosen] = mean[group[chosen]]
        scales = matrix.max(axis=1, initial=0.0)
        scales[scales <= 0] = 1.0
        return scales, csr_array(matrix / scales[:, None])

    def best(self, makespan: float, value: Floats, unserved: float) -> Plan:
        """Serve tasks in so many seconds; `value`: of a call, by model and task; `unserved`: what each such costs."""
        (group, model, _), sizes = self._columns, self._sizes
        limits = np.array([row.limit(makespan) for row in self._rows])
        values = np.array([np.bincount(self._group, weights=each) / sizes for each in value])
        columns, left = len(group), np.arange(len(sizes))
        demand = (np.append(group, left), np.arange(columns + len(sizes)))
        idle = csr_array((len(self._rows), len(sizes)))
        served: Any = csr_array((np.ones(len(demand[0])), demand))  # sparse ones are unknown to the stubs of linprog
        used: Any = hstack([self._matrix, idle])
        solved = linprog(
            np.append(-values[model, group], np.full(len(sizes), unserved)),
            A_ub=used,
            b_ub=limits / self._scales,
            A_eq=served,
            b_eq=sizes,
            method="highs",
        )
        assert solved.x is not None, solved.message  # to serve nobody is always possible
        calls = np.zeros((len(self._crowd.tiers), len(value)))
        np.add.at(calls, (self._crowd.tier[self._members][group], model), solved.x[:columns])
        prices = np.maximum(0.0, -solved.ineqlin.marginals) / self._scales
        return Plan(calls=calls, unserved=float(solved.x[columns:].sum()), prices=self._prices(prices))

    def _prices(self, prices: Floats) -> Prices:
        crowd = self._crowd
        pay = np.where(crowd.may[:, None, :], 0.0, np.inf) * np.ones((1, len(self._knots), 1))
        pay[:, np.arange(len(self._knots))[:, None] < self._cell_of] = np.inf
        priced = [(row, float(price)) for row, price in zip(self._rows, prices, strict=True) if price > 0]
        for row, price in priced:
            for model, uses in row.uses.items():
                pay[model, row.stretch.first : row.stretch.last + 1] += price * uses
        return Prices(rows=tuple(row for row, _ in priced), prices=tuple(price for _, price in priced), pay=pay)
