"""Deterministic simulation: random storms, every fault, and an auditor who checks each decision of the real router.

What fails here prints the one command that plays it again; `make soak` plays other seeds, for longer.
"""

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from ratelimit_router.simulation.audit import Invariant
from ratelimit_router.simulation.soak import POLICIES, Policy, Verdict, judge, judge_again, shrink_failure, weather
from ratelimit_router.simulation.weather import random_scenario

GREEDY, GUIDED = range(1_000), range(300)
BATCH = 50

ONCE_BROKEN: list[tuple[int, Policy, str]] = [
    (93, "greedy", "the shortest way to a lease let more out than a guarded bucket would: the auditor's own mistake"),
    (99, "greedy", "a guard let a calendar quota out twice around its reset"),
    (116, "greedy", "a quota of zero output tokens kept calls waiting that have none"),
    (127, "greedy", "an observer served a line while it was dismissed: a waiter was lost, another one stood for ever"),
    (268, "greedy", "whoever was refused by the plan alone was told to come back at once"),
    (407, "greedy", "whoever stood behind another was told to come back at once"),
    (472, "greedy", "the same, for a model that was kept for another: a client that obeyed went round in circles"),
    (82, "guided", "a plan that is due at this very instant is no reason to wait"),
    (122, "guided", "nor is it a denial that changes something"),
    (131, "guided", "a call that was let in before an older refusal came back is a probe, too"),
]
"""Seeds that have found something, in the router or in its audit, and what."""


def unbroken(seed: int, policy: Policy) -> Verdict:
    """Play it: nothing may be wrong."""
    verdict = weather(seed, policy)
    assert not verdict.breaches, "\n".join([verdict.command, *map(str, verdict.breaches)])
    return verdict


def batches(seeds: range) -> list[range]:
    """Some at a time."""
    return [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]


@pytest.mark.parametrize("seeds", batches(GREEDY), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_every_invariant_holds_in_every_storm(seeds: range) -> None:
    """Whatever the configuration, the weather and the client's mood."""
    for seed in seeds:
        unbroken(seed, "greedy")


@pytest.mark.parametrize("seeds", batches(GUIDED), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_every_invariant_holds_under_a_plan(seeds: range) -> None:
    """The same, while a batch is open and closed."""
    for seed in seeds:
        unbroken(seed, "guided")


@pytest.mark.parametrize(("seed", "policy", "reason"), ONCE_BROKEN)
def test_what_once_was_broken_holds(seed: int, policy: Policy, reason: str) -> None:
    """Each of these has found something; they stay."""
    unbroken(seed, policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_storm_that_is_played_again_is_the_same_to_the_byte(policy: Policy) -> None:
    """Every call, every decision, every instant."""
    for seed in range(0, 120, 6):
        scenario = random_scenario(seed)
        assert judge_again(scenario, judge(scenario, policy)) == ()


def test_a_storm_is_the_same_in_every_process() -> None:
    """Whatever order its sets and dictionaries are in."""
    code = (
        "import hashlib; from ratelimit_router.simulation.soak import weather\n"
        "for seed in range(12): print(hashlib.sha256(repr(weather(seed, 'guided').trace).encode()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [sha256(repr(weather(seed, "guided").trace).encode()).hexdigest() for seed in range(12)]
    assert run.stdout.split() == here


def test_a_failure_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of the storm still breaks the same invariant, with fewer tasks and models."""
    from ratelimit_router.dispatch import Dispatcher

    monkeypatch.setattr(Dispatcher, "_set_timer", lambda self, wake, now: None)
    failed = next(found for found in (weather(seed, "greedy") for seed in range(50)) if found.breaches)
    scenario = random_scenario(failed.seed)
    smaller = shrink_failure(scenario, failed, plays=60)
    assert failed.breaches[0].invariant in judge(smaller, "greedy").invariants
    assert len(smaller.tasks()) < len(scenario.tasks())
    assert failed.command == f"ratelimit-router soak --seed {failed.seed} --seeds 1 --policy greedy"
    assert str(failed.breaches[0]).startswith(failed.breaches[0].invariant.value)
    assert Invariant.LATE.value.startswith("2.")
