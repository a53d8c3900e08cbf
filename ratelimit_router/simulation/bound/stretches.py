"""Of which calls the rows of the linear program speak: some cells of the run, and the tasks that belong in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ratelimit_router.simulation.bound.crowd import Crowd
from ratelimit_router.simulation.bound.supply import Floats

__all__ = ["Cells", "Kind", "Stretch", "stretches"]

TAILS = (0.05, 0.25, 0.5, 0.75, 0.9, 0.99)
"""From which share of its latencies on a model has rows about slow answers."""

Kind = Literal["any", "late", "slow"]
"""Which tasks: any; those that are ready when the interval opens, or later; those whose answers take long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """`knots`: seconds of the run at which cells begin; the last ends with the run.

    `arrivals`: the tasks that are ready from then on have rows of their own; `slow`: those too whose answers take long.
    """

    knots: tuple[float, ...]
    arrivals: tuple[float, ...] = ()
    slow: bool = False

    def at(self, instant: float) -> int:
        """The cell of an instant."""
        return max(0, int(np.searchsorted(self.knots, instant, side="right")) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The cells from `first` to `last`, and when they open and close (infinity: with the run).

    `tasks`: by model, 1.0 for those that it speaks of, 0.0 for others. `tail`: seconds that the calls of these take at
    least.
    """

    first: int
    last: int
    opens: float
    closes: float
    kind: Kind
    tasks: dict[int, Floats]
    tail: float


def stretches(crowd: Crowd, cells: Cells, models: Sequence[int]) -> Iterator[Stretch]:
    """Of the calls of some models: every interval of cells, the tasks that come late, and those that take long."""
    whole = len(cells.knots) - 1
    may = {model: crowd.may[model].astype(float) for model in models if crowd.may[model].any()}
    if not may:
        return
    for first, opens in enumerate(cells.knots):
        for last, closes in enumerate((*cells.knots[1:], inf)):
            if first <= last:
                yield _stretch(crowd, first, last, opens, closes, "any", may)
    for arrival in cells.arrivals:
        late = {model: tasks * (crowd.ready >= arrival) for model, tasks in may.items()}
        yield from _chosen(crowd, cells.at(arrival), whole, arrival, "late", may, late)
    for share in TAILS if cells.slow else ():
        slow = {model: tasks * _slow(crowd.latency[model], tasks > 0, share) for model, tasks in may.items()}
        yield from _chosen(crowd, 0, whole, cells.knots[0], "slow", may, slow)


def _slow(latencies: Floats, among: NDArray[np.bool_], share: float) -> Floats:
    least = np.quantile(latencies[among], share, method="higher")
    return (latencies >= least).astype(float)


def _chosen(
    crowd: Crowd, first: int, last: int, opens: float, kind: Kind, may: dict[int, Floats], chosen: dict[int, Floats]
) -> Iterator[Stretch]:
    """That until the end of the run, unless it speaks of no task or of all."""
    chosen = {model: tasks for model, tasks in chosen.items() if tasks.any()}
    if chosen and any(may[model].sum() > tasks.sum() for model, tasks in chosen.items()):
        yield _stretch(crowd, first, last, opens, inf, kind, chosen)


def _stretch(
    crowd: Crowd, first: int, last: int, opens: float, closes: float, kind: Kind, tasks: dict[int, Floats]
) -> Stretch:
    tail = min(float(crowd.latency[model][chosen > 0].min()) for model, chosen in tasks.items())
    return Stretch(first=first, last=last, opens=opens, closes=closes, kind=kind, tasks=tasks, tail=tail)
