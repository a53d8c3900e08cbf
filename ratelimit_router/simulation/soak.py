"""Plays random storms with an auditor at its side: one seed is one storm, one client's mood, and one verdict.

    seed ──> random_scenario, random_mood ──> Weathered plays it on the real router ──> what was wrong, and a trace

Every so many storms are played again: their traces have to be the same to the byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from ratelimit_router.limits import DAY
from ratelimit_router.simulation.audit import Auditor, Breach, Invariant
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.mood import random_mood
from ratelimit_router.simulation.run import Run
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services
from ratelimit_router.simulation.shrinking import shrink
from ratelimit_router.simulation.virtual_time import Deadlock
from ratelimit_router.simulation.weather import random_scenario
from ratelimit_router.simulation.weathered import AT_THE_END, Weathered

__all__ = ["POLICIES", "Policy", "Verdict", "judge", "judge_again", "shrink_failure", "weather"]

Policy = Literal["greedy", "guided"]
"""As they are known to `storm`; guided: a plan steers the first minutes."""

POLICIES: tuple[Policy, ...] = get_args(Policy)

LONGEST = 1.5 * DAY
"""Seconds. Every daily quota comes back once until then; what goes wrong for longer only repeats itself."""

MOST_PLAYS = 400
"""Storms that are played to make a failing one smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one storm. `trace`: all that happened, a line each. `unfinished`: tasks that only the end ended."""

    seed: int
    policy: Policy
    breaches: tuple[Breach, ...]
    trace: tuple[str, ...]
    tasks: int
    calls: int
    unfinished: int

    @property
    def invariants(self) -> frozenset[Invariant]:
        """Those that were broken."""
        return frozenset(breach.invariant for breach in self.breaches)

    @property
    def command(self) -> str:
        """What plays it again."""
        return f"ratelimit-router soak --seed {self.seed} --seeds 1 --policy {self.policy}"


def weather(seed: int, policy: Policy) -> Verdict:
    """Play the storm of that seed."""
    return judge(random_scenario(seed), policy)


def judge(scenario: Scenario, policy: Policy) -> Verdict:
    """Play this one. The client's mood is that of the scenario's seed."""
    scenario = replace(scenario, horizon=min(scenario.horizon, LONGEST))
    mood = random_mood(scenario.seed, guided=policy == "guided")
    chance = Random(f"{scenario.seed}/looks")
    auditor = Auditor(guard=scenario.guard, lateness=mood.lateness, looks=mood.looks, rng=chance)
    runs: list[Run] = []

    def client(scenario: Scenario, services: Services, tasks: Sequence[Task], run: Run) -> Weathered:
        runs.append(run)
        return Weathered(scenario, mood, services, tasks, auditor)

    try:
        play(scenario, client, policy)
    except Deadlock as deadlock:
        auditor.breaches.append(Breach(invariant=Invariant.DEADLOCK, at=scenario.horizon, what=str(deadlock)))
    run = runs[0]
    return Verdict(
        seed=scenario.seed,
        policy=policy,
        breaches=tuple(auditor.breaches),
        trace=(*run.trace(), *auditor.log),
        tasks=len(run.tasks),
        calls=len(run.calls),
        unfinished=sum(task.ended >= scenario.horizon - AT_THE_END for task in run.tasks),
    )


def judge_again(scenario: Scenario, first: Verdict) -> tuple[Breach, ...]:
    """Play it once more: what differs from the first time."""
    second = judge(scenario, first.policy)
    for number, (one, two) in enumerate(zip(first.trace, second.trace, strict=False)):
        if one != two:
            return (Breach(invariant=Invariant.REPLAY, at=0.0, what=f"line {number} was {one!r}, and then {two!r}"),)
    if len(first.trace) != len(second.trace):
        what = f"{len(first.trace)} lines, and then {len(second.trace)}"
        return (Breach(invariant=Invariant.REPLAY, at=0.0, what=what),)
    return ()


def shrink_failure(scenario: Scenario, failed: Verdict, plays: int = MOST_PLAYS) -> Scenario:
    """A smaller storm, with the same seed, in which the first invariant that was broken still is."""
    wanted = failed.breaches[0].invariant
    left = plays

    def fails(smaller: Scenario) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and wanted in judge(smaller, failed.policy).invariants

    return scenario if wanted is Invariant.REPLAY else shrink(scenario, fails)
