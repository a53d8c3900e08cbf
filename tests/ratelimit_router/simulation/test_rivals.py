"""Other policies: each does its work in calm weather, shows its vice in a storm, and knows no more than the router."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ratelimit_router import Limits, Model, Tier
from ratelimit_router.simulation.lab import Client, play
from ratelimit_router.simulation.measures import Measures, measure
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.simulation.run import Run
from ratelimit_router.simulation.scenario import Distribution, Load, Network, Scenario, Service, Task, Trouble
from ratelimit_router.simulation.services import Services

RIVALS = [name for name, entry in POLICIES.items() if not entry.ours]


def scenario(tasks: int, rpm: float, *, models: Sequence[str] = ("best", "rest"), **truth: Any) -> Scenario:
    """So many tasks at once for models of so many requests a minute. `truth`: of the first model's service."""
    services = [Service(name=name, quotas=(QuotaRule(name="rpm", amount=rpm),)) for name in models]
    services[0] = replace(services[0], **truth)
    return Scenario(
        name="small",
        models=tuple(Model(name, limits=Limits(rpm=rpm)) for name in models),
        tiers=(Tier("hot", list(models)),),
        services=tuple(services),
        loads=(Load(tier="hot", tasks=tasks, input_tokens=Distribution(median=100.0)),),
        horizon=3_600.0,
    )


def played(policy: str, storm: Scenario) -> tuple[Run, Measures]:
    run = play(storm, POLICIES[policy].policy, policy)
    return run, measure(run)


def test_the_registry_has_ours_first() -> None:
    """Ours and the four rivals, each under its own name and with a sentence about it."""
    assert RIVALS == ["everyone-first", "shared-plan", "tenacity", "aiolimiter"]
    assert [entry.ours for entry in POLICIES.values()] == [True] * (len(POLICIES) - 4) + [False] * 4
    assert all(entry.name == name and entry.about.endswith(".") for name, entry in POLICIES.items())


@pytest.mark.parametrize("policy", POLICIES)
def test_in_calm_weather_all_do_their_work(policy: str) -> None:
    """With quota enough for everybody nobody is refused, and every task is done by its first call."""
    _, found = played(policy, scenario(20, 60.0))
    assert (found.done, found.calls, found.rejections_per_task) == (20, 20, 0.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_in_a_storm_all_get_through(policy: str) -> None:
    """Refusals are waited out for as long as they last."""
    _, found = played(policy, scenario(40, 6.0))
    assert (found.done, found.failed, found.unfinished) == (40, 0, 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_repeats_itself(policy: str) -> None:
    """The same scenario and policy make the same trace."""
    storm = scenario(40, 6.0, latency=Distribution(median=1.0, sigma=0.5))
    assert [*played(policy, storm)[0].trace()] == [*played(policy, storm)[0].trace()]


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_looks_at_what_the_services_really_do(policy: str) -> None:
    """A policy that is shown other services than those it meets acts as if it had been shown the right ones."""
    storm = scenario(40, 6.0, hint="missing", quotas=(QuotaRule(name="rpm", amount=3.0),))
    lie = replace(storm, services=tuple(Service(name=model.name) for model in storm.models))

    def misled(_: Scenario, services: Services, tasks: Sequence[Task], run: Run) -> Client:
        return POLICIES[policy].policy(lie, services, tasks, run)

    assert [*play(storm, misled).trace()] == [*play(storm, POLICIES[policy].policy).trace()]


def test_everyone_first_breaks_the_best_model_and_the_order() -> None:
    """All ask the best model first, again and again; who gets through is chance."""
    run, found = played("everyone-first", replace(scenario(40, 6.0), network=Network(jitter=0.05)))
    assert found.rejections_per_task > 2
    assert found.fairness < 0.9
    assert {call.model for call in run.calls if call.sent == 0.0} == {"best"}


def test_everyone_first_waits_for_the_shortest_hint() -> None:
    """Refused by both models, the third task comes back after the minute that both told."""
    run, _ = played("everyone-first", scenario(3, 1.0))
    assert [call.model for call in run.calls if call.task == 2] == ["best", "rest", "best"]
    assert run.tasks[2].sent == pytest.approx(0.08 + 60.0)  # two round trips, then the hint


def test_the_shared_plan_pauses_although_nothing_is_in_the_way() -> None:
    """Twenty tasks are two batches: 0.5 s between launches, the next batch 10 s after the last answer."""
    run, found = played("shared-plan", scenario(20, 60.0))
    assert [task.sent for task in run.tasks[:10]] == [place / 2 for place in range(10)]
    assert run.tasks[10].sent == pytest.approx(4.5 + 1.04 + 10.0)
    assert found.wait_p99_seconds > 15


def test_the_shared_plan_closes_a_model_for_everybody() -> None:
    """After one refusal with a hint nobody asks that model before it ends; tasks spread over the models by their id."""
    run, _ = played("shared-plan", scenario(10, 60.0, quotas=(QuotaRule(name="rpm", amount=2.0),)))
    asked = [call.task for call in run.calls if call.model == "best"]
    assert asked == [0, 2, 4]
    assert [call.task for call in run.calls if call.result == "rate_limited"] == [4]


def test_tenacity_loses_the_order_of_arrival() -> None:
    """Who was unlucky early waits longest, whoever came first; quota is asked for many times over."""
    _, found = played("tenacity", scenario(60, 6.0))
    assert found.rejections_per_task > 3
    assert found.fairness < 0.75


def test_aiolimiter_bursts_into_a_rolling_minute() -> None:
    """Told the right limit, it sends a minute's worth at once, and then at the rate: the service refuses those."""
    _, found = played("aiolimiter", scenario(60, 20.0))
    assert 0.1 < found.rejections_per_task < 3
    assert found.done == 60


def test_aiolimiter_takes_the_models_in_turn() -> None:
    """A round robin has no first choice: half of the calls go to the second step."""
    _, found = played("aiolimiter", scenario(20, 60.0))
    assert found.first_choice_share == 0.5


def test_aiolimiter_does_not_sleep_until_tomorrow() -> None:
    """Told by one model to come back in hours, a task takes its next turn after a minute."""
    _, found = played("aiolimiter", scenario(20, 60.0, quotas=(QuotaRule(name="rpd", amount=1.0),)))
    assert found.done == 20
    assert 60 < found.wait_p99_seconds < 600


@pytest.mark.parametrize("policy", RIVALS)
def test_a_dead_model_is_left_alone(policy: str) -> None:
    """A task that learns that a model is gone asks the others."""
    run, found = played(policy, scenario(20, 60.0, gone_at=0.0))
    assert found.done == 20
    assert {call.result for call in run.calls} == {"ok", "model_gone"}


@pytest.mark.parametrize("policy", RIVALS)
def test_a_task_gives_up_after_five_failures(policy: str) -> None:
    """Answers that cannot be used are not asked for without end."""
    storm = scenario(2, 60.0, models=["only"], troubles=(Trouble(kind="garbled"),))
    _, found = played(policy, storm)
    assert (found.calls, found.errors, found.wasted_tokens) == (10, (("BadResponse", 2),), 1_000)


@pytest.mark.parametrize("policy", RIVALS)
def test_a_task_without_any_model_left_fails(policy: str) -> None:
    """When every model of the chain is gone, the last error says so."""
    _, found = played(policy, scenario(2, 60.0, models=["only"], gone_at=0.0))
    assert (found.calls, found.errors) == (2, (("ModelGone", 2),))


@pytest.mark.parametrize("policy", RIVALS)
def test_overload_is_waited_out(policy: str) -> None:
    """503 is a refusal, too: without a hint they come back after a while."""
    storm = scenario(4, 60.0, models=["only"], troubles=(Trouble(kind="overloaded", end=30.0),))
    run, found = played(policy, storm)
    assert found.done == 4
    assert sum(call.result == "overloaded" for call in run.calls) >= 4


@pytest.mark.parametrize(("policy", "library"), [("tenacity", "tenacity"), ("aiolimiter", "aiolimiter")])
def test_a_missing_library_names_its_extra(policy: str, library: str) -> None:
    """The registry loads without the extra; playing the rival says what to install."""
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from ratelimit_router.simulation.rivals.registry import POLICIES\n"
        f"try: POLICIES[{policy!r}].policy(None, None, None, None)\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"the policy {policy} needs the extra: pip install 'ratelimit-router[storm]'\n"
