"""The tasks of a scenario as arrays, and groups of tasks that are alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ratelimit_router.models import Tier
from ratelimit_router.simulation.bound.quotas import Quotas
from ratelimit_router.simulation.bound.supply import Floats
from ratelimit_router.simulation.scenario import Scenario, Task

__all__ = ["Crowd", "crowd_of", "groups_of"]

GROUPS = 96
"""More groups make the linear program larger, and the prices that it finds no better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """One entry for each task; in tables one row for each model.

    `may`: whether the model can ever serve the task; `first`: and is of the first step of its chain. `ready`: seconds
    at which the task can be at a service; `least`: at which its answer can be back, from the best of its models.
    """

    tiers: tuple[str, ...]
    tier: NDArray[np.int64]
    ready: Floats
    input: Floats
    output: Floats
    latency: Floats
    may: NDArray[np.bool_]
    first: NDArray[np.bool_]
    least: Floats

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return len(self.tier)


def crowd_of(scenario: Scenario, quotas: Quotas, tasks: Sequence[Task]) -> Crowd:
    """The tasks, each with the latencies that it would meet."""
    drawn = scenario.latencies(scenario.tasks())
    numbers = [task.number for task in tasks]
    tiers = tuple(tier.name for tier in scenario.tiers)
    tier = np.array([tiers.index(task.tier) for task in tasks], dtype=np.int64)
    sizes = np.array([(task.arrives, task.input_tokens, task.output_tokens) for task in tasks], dtype=float).T
    latency = np.array([np.array(drawn[model])[numbers] for model in quotas.models])
    ready = sizes[0] + scenario.network.latency
    chains = np.array([[_uses(each, model, scenario) for each in scenario.tiers] for model in quotas.models])
    heads = np.array([[model in each.chain[0] for each in scenario.tiers] for model in quotas.models])
    may = chains[:, tier] & np.array([quotas.fits(model, sizes[1]) for model in range(len(quotas.models))])
    starts = np.array([quotas.opening(model, ready) for model in range(len(quotas.models))])
    least = np.where(may, starts + latency, inf).min(axis=0) + scenario.network.latency
    return Crowd(
        tiers=tiers,
        tier=tier,
        ready=ready,
        input=sizes[1],
        output=sizes[2],
        latency=latency,
        may=may,
        first=may & heads[:, tier],
        least=least,
    )


def _uses(tier: Tier, model: str, scenario: Scenario) -> bool:
    return model == scenario.fallback or any(model in step for step in tier.chain)


def groups_of(crowd: Crowd, knots: Sequence[float], features: Sequence[Floats]) -> NDArray[np.int64]:
    """A number for each task: those of a group share a tier, their models, and the stretch between two knots in which
    they get ready; and are split further, the most mixed group first, where their `features` differ most.
    """
    stretch = np.searchsorted(np.array(knots), crowd.ready, side="right")
    keys = np.column_stack([crowd.tier, stretch, crowd.may.T])
    group = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    table = np.array([feature / (feature.mean() or 1.0) for feature in features])
    mixed = {number: _mixture(table, np.flatnonzero(group == number)) for number in range(group.max() + 1)}
    while table.size and len(mixed) < GROUPS and max(value for value, *_ in mixed.values()) > 0:
        number = max(mixed, key=lambda one: mixed[one][0])
        _, feature, members = mixed[number]
        order = members[np.argsort(table[feature, members], kind="stable")]
        low, high = np.array_split(order, 2)
        group[high] = len(mixed)
        mixed[len(mixed)] = _mixture(table, high)
        mixed[number] = _mixture(table, low)
    return group


def _mixture(table: Floats, members: NDArray[np.intp]) -> tuple[float, int, NDArray[np.intp]]:
    """How mixed a group is, and the feature in which it is most so."""
    if not table.size or len(members) < 2:
        return 0.0, 0, members
    variances = table[:, members].var(axis=1)
    feature = int(variances.argmax())
    return float(variances[feature] * len(members)), feature, members
