"""The fluid bound beside runs of the laboratory: no policy is better, in any family of storms."""

import math

import pytest

from ratelimit_router.simulation.bound import fluid_bound, frontier
from ratelimit_router.simulation.families import FAMILIES
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.policies import OURS

ROUNDING = 1e-3
"""Seconds by which services are lenient, a tick for each window of the run."""


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_run_is_better(family: str, seed: int) -> None:
    """Neither in its makespan, nor in its first choices for that makespan; and only what was done is counted."""
    scenario = FAMILIES[family].make(seed)
    run = play(scenario, OURS["greedy"])
    tasks = [task for task, record in zip(scenario.tasks(), run.tasks, strict=True) if record.done]
    ended = max(record.ended for record in run.tasks if record.done)
    found = fluid_bound(scenario, tasks)
    assert 0 < found.makespan <= ended + ROUNDING
    assert found.makespan >= ended / 2
    assert found.binding
    firsts = sum(record.depth == 0 for record in run.tasks if record.done) / len(tasks)
    assert firsts <= frontier(scenario, ended + ROUNDING, tasks) + 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_the_flow_serves_every_tier_whole(family: str) -> None:
    """The shares of each tier's models come to one, and only models of its chain have any."""
    scenario = FAMILIES[family].make(3)
    found = fluid_bound(scenario)
    chains = {tier.name: {name for step in tier.chain for name in step} for tier in scenario.tiers}
    assert found.makespan < math.inf
    for tier in {load.tier for load in scenario.loads}:
        shares = {model: share for (name, model), share in found.share.items() if name == tier}
        assert sum(shares.values()) == pytest.approx(1.0)
        assert set(shares) <= chains[tier] | {scenario.fallback}
