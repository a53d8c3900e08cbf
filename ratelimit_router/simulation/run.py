"""What came of one scenario under one policy, as plain records: the same run always makes the same, to the byte."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ratelimit_router.simulation.scenario import Scenario

__all__ = ["OK", "Call", "Cooling", "Level", "Run", "TaskRecord"]

OK = "ok"
"""The result of a call that went well; otherwise it is the outcome's kind (see `outcomes.Kind`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call to a service, in seconds of the run: `judged` at the service, `sent` and `ended` at the client.

    `quota`, `hint`: what a 429 named, and the wait that it told. Tokens as used, nothing where nothing was charged.
    """

    task: int
    model: str
    depth: int
    sent: float
    judged: float
    ended: float
    result: str
    quota: str | None = None
    hint: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True, kw_only=True)
class TaskRecord:
    """One task. `sent`: when its last call was sent; `ended`: when it was over (infinity: never, within the horizon).

    `error`: the class of the error that it ended with, None if it is done. `model`, `depth`: of its last call.
    """

    number: int
    tier: str
    arrived: float
    sent: float = math.inf
    ended: float = math.inf
    error: str | None = None
    calls: int = 0
    model: str | None = None
    depth: int | None = None

    @property
    def done(self) -> bool:
        """Whether it got its answer."""
        return self.ended < math.inf and self.error is None

    @property
    def waited(self) -> float:
        """Seconds from its arrival until the call that went well was sent; infinity if none did."""
        return self.sent - self.arrived if self.done else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooling:
    """The client closed a model (or pool) at `at` until `until`."""

    model: str
    at: float
    until: float
    provenance: str
    reason: str
    quota: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What was left of one quota of a service or account at `at`, and its amount then."""

    owner: str
    quota: str
    at: float
    left: float
    amount: float


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything that happened. `levels` and `coolings` are noted only if somebody watched."""

    scenario: Scenario
    policy: str
    tasks: list[TaskRecord]
    calls: list[Call] = field(default_factory=list)
    coolings: list[Cooling] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)

    @property
    def makespan(self) -> float:
        """Seconds until the last task was over; the whole horizon if one never was."""
        last = max(task.ended for task in self.tasks)
        return last if last < math.inf else self.scenario.horizon

    def trace(self) -> Iterator[str]:
        """One JSON object a line: calls in the order of their ends, then tasks by number."""
        for call in self.calls:
            yield json.dumps(_finite(asdict(call)))
        for task in self.tasks:
            yield json.dumps(_finite(asdict(task)))


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity."""
    return {key: None if value == math.inf else value for key, value in values.items()}
