"""Plays random storms with an auditor at its side: one seed is one storm, one client's mood, and one verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ratelimit_router.simulation.audit import Auditor, Breach, Invariant
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.mood import random_mood
from ratelimit_router.simulation.run import Run
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services
from ratelimit_router.simulation.virtual_time import Deadlock
from ratelimit_router.simulation.weather import random_scenario
from ratelimit_router.simulation.weathered import Weathered

__all__ = ["POLICIES", "Verdict", "judge", "weather"]

POLICIES = ("greedy", "guided")
"""As they are known to `storm`; guided: a plan steers the first minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one storm. `trace`: all that happened, a line each. `unfinished`: tasks that only the end ended."""

    seed: int
    policy: str
    breaches: tuple[Breach, ...]
    trace: tuple[str, ...]
    tasks: int
    calls: int
    unfinished: int


def weather(seed: int, policy: str) -> Verdict:
    """The storm of that seed."""
    return judge(random_scenario(seed), policy)


def judge(scenario: Scenario, policy: str) -> Verdict:
    """Play this one. The client's mood is that of the scenario's seed."""
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
        unfinished=sum(task.ended > scenario.horizon for task in run.tasks),
    )
