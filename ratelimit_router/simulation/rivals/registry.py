"""Every policy by name: ours, and the others that it is measured against."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratelimit_router.simulation.lab import Client, Policy
from ratelimit_router.simulation.policies import OURS
from ratelimit_router.simulation.run import Run
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services

__all__ = ["POLICIES", "PolicyEntry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEntry:
    """One policy. `about`: a sentence for people. `ours`: whether this project answers for it.

    Playing a rival whose library is missing raises ImportError, which names the extra.
    """

    name: str
    about: str
    policy: Policy
    ours: bool = False


def _rival(name: str, about: str, module: str, client: str) -> PolicyEntry:
    """A rival is imported when it is played: some need a library that is not there without the extra."""

    def policy(scenario: Scenario, services: Services, tasks: Sequence[Task], run: Run) -> Client:
        made: Any = getattr(importlib.import_module(f"{__package__}.{module}"), client)
        found: Client = made(scenario, services)
        return found

    return PolicyEntry(name=name, about=about, policy=policy)


def _about(policy: Policy) -> str:
    return (inspect.getdoc(policy) or "").partition("\n")[0]


_ENTRIES = (
    *(PolicyEntry(name=name, about=_about(policy), policy=policy, ours=True) for name, policy in OURS.items()),
    _rival(
        "everyone-first",
        "Every task walks its chain from the best model and waits alone for the shortest hint.",
        "everyone_first",
        "EveryoneFirst",
    ),
    _rival(
        "shared-plan",
        "Batches of 10 with pauses, a stagger, models by task id, cooldowns shared by all.",
        "shared_plan",
        "SharedPlan",
    ),
    _rival(
        "tenacity",
        "Exponential backoff with full jitter in every task, on the next model each time.",
        "backoff",
        "Backoff",
    ),
    _rival(
        "aiolimiter", "One limiter for each model's configured rpm, the chain's models in turn.", "limiters", "Limiters"
    ),
)

POLICIES: Mapping[str, PolicyEntry] = {entry.name: entry for entry in _ENTRIES}
"""Ours first."""
