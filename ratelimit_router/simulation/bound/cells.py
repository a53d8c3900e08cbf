"""Where the run is cut: at first nowhere, then where the prices of the program show that it matters.

Any cuts make a valid bound. A cut at an instant at which a quota comes back all at once keeps what it gave before apart
from what it gives then; it helps where a model is limited in several ways. A row for the tasks that arrive from an
instant on helps where they come too late for what the quotas could have given before.
"""

from collections.abc import Iterator

import numpy as np

from ratelimit_router.simulation.bound.crowd import Crowd
from ratelimit_router.simulation.bound.program import Prices
from ratelimit_router.simulation.bound.quotas import Metered, Quotas
from ratelimit_router.simulation.bound.stretches import Cells
from ratelimit_router.simulation.bound.supply import SLACK, Floats
from ratelimit_router.simulation.bound.supply_windows import supply_from

__all__ = ["finer", "first_cells"]

ARRIVALS = 8
"""Rows for late tasks, to begin with and in each place where it matters."""

FEW = 2
"""A quota that comes back so seldom in a run is always worth a cut."""

CUTS = 4


def first_cells(crowd: Crowd) -> Cells:
    """One cell, and some arrivals."""
    first = float(crowd.ready.min())
    arrivals = np.unique(crowd.ready)[1:]
    return Cells(knots=(first,), arrivals=_some(arrivals, ARRIVALS))


def finer(cells: Cells, crowd: Crowd, quotas: Quotas, prices: Prices, makespan: float) -> Cells:
    """Cells that are finer where these prices say so."""
    return Cells(
        knots=(cells.knots[0], *_cuts(quotas, prices, cells.knots[0], makespan)),
        arrivals=_closer(cells, crowd, prices),
        slow=True,
    )


def _closer(cells: Cells, crowd: Crowd, prices: Prices) -> tuple[float, ...]:
    """The arrivals whose rows have a price, and others around them."""
    ready, marks = np.unique(crowd.ready), [-np.inf, cells.knots[0], *cells.arrivals, np.inf]
    found = {row.stretch.opens for row in prices.rows if row.stretch.opens in cells.arrivals}
    for opens in tuple(found | {cells.knots[0]}):
        place = marks.index(opens)
        around = ready[(ready > marks[place - 1]) & (ready < marks[place + 1]) & (ready > cells.knots[0])]
        found.update(_some(around, ARRIVALS))
    return tuple(sorted(found))


def _some(instants: Floats, number: int) -> tuple[float, ...]:
    """So many of them, evenly; the first and the last are among them."""
    if len(instants) > number:
        instants = instants[np.linspace(0, len(instants) - 1, number).round().astype(int)]
    return tuple(instants.tolist())


def _cuts(quotas: Quotas, prices: Prices, first: float, makespan: float) -> list[float]:
    """Just before quotas come back, of models that are limited in several ways."""
    limits = [model for quota in quotas.metered for model in quota.models]
    limits += [model for desk in quotas.in_flight for model in desk.models]
    priced = {row.name for row in prices.rows}
    seldom, often = set(), set()
    for quota in quotas.metered:
        if max(limits.count(model) for model in quota.models) < 2:
            continue
        steps = [at for at in _steps(quotas, quota, first, makespan) if first < at < makespan]
        if len(steps) <= FEW:
            seldom.update(steps)
        elif quota.name in priced:
            often.add(steps[-1])
    return sorted([*sorted(seldom), *sorted(often, reverse=True)][:CUTS])


def _steps(quotas: Quotas, quota: Metered, first: float, makespan: float) -> Iterator[float]:
    """The instants of the run just before the quota comes back all at once."""
    if quota.course.rule.window == "continuous":
        return
    for step in supply_from(quota.course, quotas.clock.shows(first), makespan).at[1:]:
        early = step - 4 * SLACK
        yield early - quotas.clock.ahead(early - quotas.clock.ahead(early))
