"""Every family draws the storms that it promises, the same for the same seed."""

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import DAY, DEFAULT_RESET
from ratelimit_router.models import Model
from ratelimit_router.resets import next_reset
from ratelimit_router.simulation.families import FAMILIES, family
from ratelimit_router.simulation.families.room import mean, room
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.mirror import mirror_account, mirror_rules, mirror_service
from ratelimit_router.simulation.policies import greedy
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.scenario import Change, Consumer, Distribution, Scenario, Service, Trouble
from ratelimit_router.topology import check

SEEDS = range(25)
RIGHT = (
    *("plain", "token-bound", "day-bound", "concurrency-bound", "poisson", "heavy-tail"),
    *("skewed-tiers", "mixed-windows", "pooled"),
)
WRONG = {"misconfigured": (2.0, 2.0), "no-hint": (1.1, 2.1), "wrong-hint": (1.1, 2.1)}
names = pytest.mark.parametrize("name", FAMILIES)


@cache
def drawn(name: str) -> tuple[Scenario, ...]:
    """A family's storms of the first seeds."""
    return tuple(family(name, seed) for seed in SEEDS)


def believed(scenario: Scenario) -> Iterator[tuple[Model, Service]]:
    """Each model with its service."""
    return zip(scenario.models, scenario.services, strict=True)


@names
def test_the_same_seed_draws_the_same_storm(name: str) -> None:
    """Twice the same, tasks included; another seed is another storm."""
    assert family(name, 7) == family(name, 7)
    assert family(name, 7).tasks() == family(name, 7).tasks()
    assert len({(one.models, one.loads) for one in drawn(name)}) == len(SEEDS)


def test_a_storm_is_the_same_on_every_machine() -> None:
    """What is drawn for one seed is written down here: if it changes, so do all published figures."""
    scenario = family("plain", 1_000)
    assert [load.tasks for load in scenario.loads] == [733, 398, 335]


@names
def test_every_storm_makes_sense_and_is_of_the_promised_size(name: str) -> None:
    """Three to five models, two to four tiers, some hundred tasks; a router takes it."""
    for scenario in drawn(name):
        check(scenario.models, scenario.pools, scenario.tiers, scenario.fallback)
        assert 3 <= len(scenario.models) <= 5
        assert 2 <= len(scenario.tiers) <= 4
        assert 250 <= sum(load.tasks for load in scenario.loads) <= 2_200
        assert {load.tier for load in scenario.loads} == {tier.name for tier in scenario.tiers}
        assert (scenario.family, scenario.name) == (name, f"{name}-{scenario.seed}")
        assert scenario.about


@names
def test_every_model_is_of_use(name: str) -> None:
    """Each stands in some chain."""
    for scenario in drawn(name):
        used = {model for tier in scenario.tiers for step in tier.chain for model in step}
        assert used == {model.name for model in scenario.models}


@names
def test_a_storm_can_be_weathered(name: str) -> None:
    """The router brings every task home, long before the horizon."""
    run = play(family(name, 3), greedy)
    assert all(task.done for task in run.tasks)
    assert 5 * 60 < run.makespan < 60 * 60


@pytest.mark.parametrize("name", RIGHT)
def test_limits_are_right_unless_something_else_is_said(name: str) -> None:
    """The services enforce what the router was told."""
    for scenario in drawn(name):
        for model, service in believed(scenario):
            assert service == mirror_service(model, latency=service.latency)
        assert scenario.accounts == tuple(map(mirror_account, scenario.pools))


@pytest.mark.parametrize("name", WRONG)
def test_limits_are_wrong_by_the_promised_factor(name: str) -> None:
    """Each quota is believed to be so many times what it is."""
    low, high = WRONG[name]
    for scenario in drawn(name):
        for model, service in believed(scenario):
            for told, real in zip(mirror_rules(model.limits), service.quotas, strict=True):
                assert low <= told.amount / real.amount <= high


def test_tokens_are_short_when_token_bound() -> None:
    """The requests that the tokens of a model are enough for are fewer than it allows."""
    for scenario in drawn("token-bound"):
        sizes = [mean(scenario.loads[0].input_tokens), mean(scenario.loads[0].output_tokens)]
        for service in scenario.services:
            requests, tokens = service.quotas
            assert tokens.amount / tokens.cost(round(sizes[0]), round(sizes[1])) < requests.amount


def test_the_best_models_run_out_for_the_day() -> None:
    """Some quota of the day is less than the minutes would give, no tier hangs on one, and some seeds see the reset."""
    resets = []
    for scenario in drawn("day-bound"):
        poor = {service.name for service in scenario.services if any(rule.window == "day" for rule in service.quotas)}
        assert poor
        assert all({name for step in tier.chain for name in step} - poor for tier in scenario.tiers)
        resets.append(next_reset(DEFAULT_RESET, DAY, scenario.start) - scenario.start < 1_800)
    assert 0 < sum(resets) < len(resets)


def test_answers_set_the_pace_when_concurrency_bound() -> None:
    """Calls in flight end more slowly than requests by the minute would allow; what is slow is slow everywhere."""
    for scenario in drawn("concurrency-bound"):
        assert len({service.latency.sigma for service in scenario.services}) == 1
        for service in scenario.services:
            assert service.concurrency is not None
            assert service.concurrency * 60 / mean(service.latency) < service.quotas[0].amount


def test_arrivals_are_spread_when_poisson() -> None:
    """Over ten to twenty minutes, one at a time."""
    for scenario in drawn("poisson"):
        arrivals = [task.arrives for task in scenario.tasks()]
        assert 9 * 60 < arrivals[-1] - arrivals[0] <= 20 * 60
        assert len(set(arrivals)) == len(arrivals)


def test_windows_are_those_of_services_that_count() -> None:
    """Fixed or sliding minutes, jitter, and a guard that is larger than it."""
    kinds = set()
    for scenario in drawn("windows"):
        kinds |= {rule.window for service in scenario.services for rule in service.quotas}
        assert scenario.guard > scenario.network.jitter + abs(scenario.network.clock_offset)
    assert kinds == {"fixed", "rolling"}


@names
def test_what_befalls_services_is_what_the_family_says(name: str) -> None:
    """Consumers, changes, troubles, hints: only where they belong, and there in every seed."""
    for scenario in drawn(name):
        services = scenario.services
        assert any(service.consumers for service in services) == (name == "shared-key")
        assert any(service.changes for service in services) == (name == "shrinking")
        assert any(service.troubles for service in services) == (name == "outage")
        assert {service.hint for service in services} <= {
            "no-hint": {"missing"},
            "wrong-hint": {"short", "truncated", "long"},
        }.get(name, {"right"})
        assert any(service.latency.tail for service in services) == (name == "heavy-tail")
        assert bool(scenario.accounts) == (name == "pooled")


def test_the_low_tier_depends_on_few_models_when_skewed() -> None:
    """All of its models stand last in the chain of the middle tier, which has others."""
    for scenario in drawn("skewed-tiers"):
        _, middle, low = (tier.chain for tier in scenario.tiers)
        assert middle[-len(low) :] == low
        assert len(middle) > len(low)


def test_every_window_is_mixed() -> None:
    """Several kinds in one storm, and all of them over the seeds."""
    kinds = [{rule.window for one in scenario.services for rule in one.quotas} for scenario in drawn("mixed-windows")]
    assert all(len(each) >= 2 for each in kinds)
    assert set.union(*kinds) == {"continuous", "rolling", "fixed", "day"}


def test_an_unknown_family_is_refused() -> None:
    """With the nearest one that there is."""
    with pytest.raises(ConfigError, match="did you mean 'plain'"):
        family("plan", 0)


@pytest.mark.parametrize(
    ("rule", "requests"),
    [
        (QuotaRule(name="rpm", amount=10, window="continuous", burst=5), 105),
        (QuotaRule(name="rpm", amount=10, window="rolling"), 109.2),
        (QuotaRule(name="rpm", amount=10, window="fixed"), 109.2),
        (QuotaRule(name="rpd", amount=10, window="day"), 9.2),
        (QuotaRule(name="input_tpm", amount=100, window="continuous"), 110),
        (QuotaRule(name="output_tpm", amount=100), math.inf),
    ],
)
def test_room_is_what_a_quota_admits(rule: QuotaRule, requests: float) -> None:
    """In ten minutes, of requests with ten tokens to read and none to write."""
    service = Service(name="one", quotas=(rule,))
    assert room(service, start=0.0, seconds=600.0, input_tokens=10, output_tokens=0) == pytest.approx(requests)


@pytest.mark.parametrize(
    ("truth", "part"),
    [
        ({"changes": (Change(at=300, factor=0.5),)}, 0.75),
        ({"troubles": (Trouble(kind="overloaded", start=0, end=150),)}, 0.75),
        ({"consumers": (Consumer(rate=1 / 12, end=300),)}, 0.75),
        ({"concurrency": 1, "latency": Distribution(median=10.0)}, 60 / 109.2),
    ],
)
def test_room_shrinks_by_what_befalls_a_service(truth: dict[str, object], part: float) -> None:
    """Half of the quota for half of the time, an outage, others, and calls in flight."""
    service = Service(name="one", quotas=(QuotaRule(name="rpm", amount=10),), **truth)  # type: ignore[arg-type]
    found = room(service, start=0.0, seconds=600.0, input_tokens=10, output_tokens=0)
    assert found == pytest.approx(109.2 * part, rel=0.01)


def test_phases_follow_each_other() -> None:
    """Others take 10 to 40% of the requests by the minute, one phase at a time."""
    for scenario in drawn("shared-key"):
        for service in scenario.services:
            assert all(one.end <= other.start for one, other in pairwise(service.consumers))
            assert all(0.09 < one.rate * 60 / service.quotas[0].amount < 0.41 for one in service.consumers)
