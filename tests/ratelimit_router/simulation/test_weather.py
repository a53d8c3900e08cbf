"""Random weather holds everything that can happen, and a failing scenario is shrunk to what its failure needs."""

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit_router.limits import Limit, Limits
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.mirror import mirror_account, mirror_service
from ratelimit_router.simulation.policies import greedy
from ratelimit_router.simulation.scenario import (
    Distribution,
    Hint,
    Load,
    Network,
    Scenario,
    Told,
    Trouble,
    TroubleKind,
)
from ratelimit_router.simulation.shrinking import shrink
from ratelimit_router.simulation.weather import random_scenario
from ratelimit_router.simulation.windows import WindowKind
from ratelimit_router.topology import check

MANY = [random_scenario(seed) for seed in range(300)]


@given(seed=st.integers(min_value=0))
def test_every_seed_is_a_scenario(seed: int) -> None:
    """One that a router takes, small, and twice the same."""
    scenario = random_scenario(seed)
    check(scenario.models, scenario.pools, scenario.tiers, scenario.fallback)
    assert 2 <= len(scenario.tasks()) <= 65
    assert 1 <= len(scenario.models) <= 5
    assert scenario == random_scenario(seed)


def test_everything_happens() -> None:
    """Over some hundred seeds: every window, hint, trouble and refill, and each rare thing."""
    services = [service for scenario in MANY for service in scenario.services]
    loads = [load for scenario in MANY for load in scenario.loads]
    rules = [rule for service in services for rule in service.quotas]
    assert {rule.window for rule in rules} == set(get_args(WindowKind))
    assert {service.hint for service in services} == set(get_args(Hint))
    assert {service.tells for service in services} == set(get_args(Told))
    assert {one.kind for service in services for one in service.troubles} == set(get_args(TroubleKind))
    assert any(rule.amount == 0 for rule in rules)
    assert any(service.gone_at is not None for service in services)
    assert any(service.charge_refused for service in services)
    assert any(service.consumers for service in services)
    assert any(service.changes for service in services)
    assert any(account.quotas for scenario in MANY for account in scenario.accounts)
    assert any(load.timeout is not None for load in loads)
    assert any(load.priority for load in loads)
    assert any(scenario.network.clock_offset < 0 for scenario in MANY)
    assert any(scenario.fallback for scenario in MANY)


def test_some_requests_are_larger_than_a_quota() -> None:
    """And can never be served, which the router has to say."""
    errors = Counter(task.error for scenario in MANY[:60] for task in play(scenario, greedy).tasks)
    assert errors["RequestTooLarge"]
    assert errors[None] > 500


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(min_value=0, max_value=10_000))
def test_weather_replays(seed: int) -> None:
    """The same seed gives the same calls, to the byte."""
    first, second = (list(play(random_scenario(seed), greedy).trace()) for _ in range(2))
    assert first == second


def crowded() -> Scenario:
    """More than any failure needs."""
    models = (
        Model("pro", limits=Limits(rpm=Limit(5, refill="continuous", burst=2), concurrency=2), pools=("account",)),
        Model("flash", limits=Limits(rpm=10)),
        Model("lite"),
    )
    pool = Pool("account", Limits(rpd=100))
    trouble = Trouble(kind="overloaded", start=10.25, end=20.75, seconds=2.0)
    tokens = Distribution(median=10.5, sigma=0.5)
    return Scenario(
        name="crowded",
        models=models,
        pools=(pool,),
        tiers=(Tier("hot", ["pro", ("flash", "lite")], patience=5, weight=2), Tier("bulk", ["flash"])),
        services=tuple(mirror_service(model, troubles=(trouble, trouble), hint="long") for model in models),
        accounts=(mirror_account(pool),),
        network=Network(jitter=0.05, clock_offset=0.2),
        loads=(
            Load(tier="hot", tasks=40, input_tokens=tokens, arrive="evenly", over=30.5, timeout=5.5, priority=2),
            Load(tier="bulk", tasks=5, start=2.5),
        ),
        fallback="lite",
        guard=0.5,
        slow_start=4,
    )


def test_shrinking_keeps_only_what_the_failure_needs() -> None:
    """A failure that needs a trouble of one model ends as one task, one model, one trouble."""

    def fails(scenario: Scenario) -> bool:
        return any(service.name == "flash" and service.troubles for service in scenario.services)

    scenario = shrink(crowded(), fails)
    assert scenario.models == (Model("flash"),)
    assert scenario.services == (mirror_service(Model("flash"), troubles=(Trouble(kind="overloaded"),)),)
    assert scenario.loads == (Load(tier=scenario.tiers[0].name, tasks=1),)
    assert (scenario.pools, scenario.accounts, scenario.fallback) == ((), (), None)
    assert (scenario.network, scenario.guard, scenario.slow_start) == (Network(), 0.0, 3)
    assert scenario.name == "crowded"


def test_shrinking_keeps_a_number_of_tasks_that_is_needed() -> None:
    """And no more than that."""
    scenario = shrink(crowded(), lambda one: len(one.tasks()) >= 7)
    assert len(scenario.tasks()) == 7


def test_shrinking_keeps_a_pool_that_is_needed() -> None:
    """With the model that draws on it; the others go."""
    scenario = shrink(
        crowded(), lambda one: any(model.pools for model in one.models if model.name in one.tiers[0].chain[0])
    )
    assert [(model.name, model.pools) for model in scenario.models] == [("pro", ("account",))]
    assert scenario.pools == (Pool("account"),)


def test_what_cannot_be_shrunk_stays() -> None:
    """If only the whole fails, the whole is given back."""
    whole = crowded()
    assert shrink(whole, lambda one: one == whole) == whole


@pytest.mark.parametrize("seed", range(5))
def test_whatever_shrinks_is_still_a_scenario(seed: int) -> None:
    """Every step on the way can be played; at its end there is one task on one model."""
    steps = []

    def fails(scenario: Scenario) -> bool:
        check(scenario.models, scenario.pools, scenario.tiers, scenario.fallback)
        steps.append(play(scenario, greedy))
        return True

    least = shrink(random_scenario(seed), fails)
    assert len(least.tasks()) == len(least.models) == len(least.tiers) == 1
    assert least.services == (mirror_service(Model(least.models[0].name)),)
    assert steps
