"""The lab: tasks arrive when they should, nothing outlives the horizon, and the same storm is the same to the byte."""

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from ratelimit_router import Limits, Model, Tier
from ratelimit_router.simulation.families import family
from ratelimit_router.simulation.lab import Policy, play
from ratelimit_router.simulation.policies import OURS, greedy
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.simulation.run import Run, TaskRecord
from ratelimit_router.simulation.scenario import Distribution, Load, Scenario, Service, Task
from ratelimit_router.simulation.services import Services

DIGEST = """
import hashlib, logging
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.simulation.weather import random_scenario
logging.getLogger("ratelimit_router").addHandler(logging.NullHandler())
for name, entry in POLICIES.items():
    for seed in (2, 4, 6):
        run = play(random_scenario(seed), entry.policy)
        print(name, seed, len(run.calls), hashlib.sha256("\\n".join(run.trace()).encode()).hexdigest())
"""


def scenario(*loads: Load, rpm: float = 60.0, **more: Any) -> Scenario:
    """Loads of one tier with one model that is as it was described; an answer takes a second."""
    return Scenario(
        name="small",
        models=(Model("m", limits=Limits(rpm=rpm)),),
        tiers=(Tier("t", ["m"]),),
        services=(Service(name="m", quotas=(QuotaRule(name="rpm", amount=rpm),)),),
        loads=loads,
        **more,
    )


class Scripted:
    """Does with each task what a test says, and notes what it was asked."""

    def __init__(self, script: Any):
        self.script, self.asked, self.closed = script, [], False

    async def perform(self, task: Task) -> None:
        self.asked.append((task.number, asyncio.get_running_loop().time()))
        await self.script(task)

    async def aclose(self) -> None:
        self.closed = True


def scripted(client: Scripted) -> Policy:
    def policy(_: Scenario, services: Services, tasks: Sequence[Task], run: Run) -> Scripted:
        return client

    return policy


def test_tasks_arrive_at_their_instants() -> None:
    """One after the other, exactly; waiting for one does not hold up the next."""

    async def slow(task: Task) -> None:
        await asyncio.sleep(100)

    client = Scripted(slow)
    loads = Load(tier="t", tasks=3, arrive="evenly", start=5.0, over=6.0), Load(tier="t", tasks=1, start=8.0)
    run = play(scenario(*loads), scripted(client), "mine")
    assert client.asked == [(0, 5.0), (1, 7.0), (2, 8.0), (3, 9.0)]
    assert [record.ended for record in run.tasks] == [105.0, 107.0, 108.0, 109.0]
    assert (run.policy, run.makespan, client.closed) == ("mine", 109.0, True)


def test_an_error_ends_its_task_alone() -> None:
    """Whatever it is: its class is noted, and the others go on."""

    async def odd_ones_fail(task: Task) -> None:
        await asyncio.sleep(1)
        if task.number % 2:
            raise ZeroDivisionError

    run = play(scenario(Load(tier="t", tasks=4)), scripted(Scripted(odd_ones_fail)))
    assert [record.error for record in run.tasks] == [None, "ZeroDivisionError", None, "ZeroDivisionError"]
    assert [record.done for record in run.tasks] == [True, False, True, False]
    assert run.makespan == 1.0


def test_the_horizon_ends_everything() -> None:
    """What is not done by then is never done, what would arrive later never asks; the client is closed all the same."""

    async def slow(task: Task) -> None:
        await asyncio.sleep(1.0 if task.number == 0 else 1_000.0)

    client = Scripted(slow)
    run = play(scenario(Load(tier="t", tasks=2), Load(tier="t", tasks=1, start=60.0), horizon=50.0), scripted(client))
    assert [record.ended for record in run.tasks] == [1.0, math.inf, math.inf]
    assert [record.error for record in run.tasks] == [None, None, None]
    assert (run.makespan, client.closed, len(client.asked)) == (50.0, True, 2)


def test_a_client_that_waits_for_nothing_ends_with_the_horizon() -> None:
    """It would hang for ever; the run does not."""

    async def hang(task: Task) -> None:
        await asyncio.get_running_loop().create_future()

    assert play(scenario(Load(tier="t", tasks=1)), scripted(Scripted(hang))).tasks[0].ended == math.inf


def test_the_record_of_a_task() -> None:
    """Arrival, the last call, its model and step, and the end; the call itself with its instants and tokens."""
    load = Load(
        tier="t", tasks=1, start=2.0, input_tokens=Distribution(median=10.0), output_tokens=Distribution(median=5.0)
    )
    run = play(scenario(load), greedy)
    assert run.tasks == [
        TaskRecord(number=0, tier="t", arrived=2.0, sent=2.0, ended=pytest.approx(3.04), calls=1, model="m", depth=0)
    ]
    [call] = run.calls
    assert (call.sent, call.judged, call.result, call.input_tokens, call.output_tokens) == (2.0, 2.02, "ok", 10, 5)


def test_the_real_router_uses_its_quota_exactly() -> None:
    """Ten a minute and 25 tasks: ten at once, ten after a minute, five after two; nobody is ever refused."""
    run = play(scenario(Load(tier="t", tasks=25), rpm=10.0, slow_start=None), greedy)
    assert [round(record.sent) for record in run.tasks] == [0] * 10 + [60] * 10 + [120] * 5
    assert {call.result for call in run.calls} == {"ok"}


def test_watching_changes_nothing() -> None:
    """Levels every five seconds from the start to the end, and the same trace as without."""
    storm = scenario(Load(tier="t", tasks=25), rpm=10.0)  # without jitter: many timers are due with the watcher's
    watched, unwatched = play(storm, greedy, watch=True), play(storm, greedy)
    assert [level.at for level in watched.levels] == [5.0 * number for number in range(25)]
    assert unwatched.levels == []
    assert [*watched.trace()] == [*unwatched.trace()]
    storm = family("misconfigured", 1000)
    assert [*play(storm, greedy, watch=True).trace()] == [*play(storm, greedy).trace()]


def test_the_client_notes_its_cooldowns() -> None:
    """Told twice the truth, the router is refused, and closes the model until the service's hint ends."""
    storm = scenario(Load(tier="t", tasks=20), rpm=10.0)
    service = Service(name="m", quotas=(QuotaRule(name="rpm", amount=5.0),))
    storm = Scenario(
        name="wrong", models=storm.models, tiers=storm.tiers, services=(service,), loads=storm.loads, slow_start=None
    )
    run = play(storm, greedy)
    assert run.coolings[0].model == "m"
    assert run.coolings[0].provenance == "server"
    assert run.coolings[0].until > 60.0


@pytest.mark.parametrize("policy", OURS)
def test_a_trace_repeats_itself(policy: str) -> None:
    """Twice in one process."""
    storm = scenario(Load(tier="t", tasks=50), rpm=10.0)
    assert [*play(storm, OURS[policy]).trace()] == [*play(storm, OURS[policy]).trace()]


def test_a_trace_is_the_same_in_every_process() -> None:
    """Every policy in random weather: two processes that hash texts differently make the same bytes."""
    digests = _digests("1")
    assert len(digests.splitlines()) == 3 * len(POLICIES)
    assert digests == _digests("2")


def _digests(hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
