"""What is asked of the contestants: tasks, quotas and troubles, the same for all.

Four models of 60, 120, 240 and 480 requests a minute. Each answers after 50 to 200 ms.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from benchmarks.over_http.bound import Continuous, Fixed, Supply

__all__ = ["LEAST_LATENCY", "MINUTE", "MODELS", "SCENARIOS", "Scenario", "believed", "service_config"]

MODELS = {"tiny": 60, "small": 120, "medium": 240, "large": 480}
"""Requests a minute."""
LEAST_LATENCY, MOST_LATENCY = 0.05, 0.2
BURST_SECONDS = 5.0
"""A continuous bucket holds what comes back in so many seconds."""
MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One storm.

    `calls` come at once, or at random over `spread` seconds. `window`: how the quotas come back. `believed`: what the
    contestants think the limits are, as a multiple of the truth. `charged`: refused calls use quota, too. `headers`:
    what a 429 tells besides its body. `dark`: seconds from the start between which the largest model answers 503.
    `phase`: second of the minute at which it starts (None: any). `pictured`: every finishing time is kept.
    """

    name: str
    about: str
    calls: int = 400
    spread: float = 0.0
    window: str = "continuous"
    believed: float = 1.0
    charged: bool = False
    headers: str = "retry-after"
    dark: tuple[float, float] | None = None
    phase: float | None = None
    pictured: bool = False

    def arrivals(self, seed: int = 1) -> list[float]:
        """When each call is asked for, seconds from the start."""
        rng = Random(seed)
        return sorted(rng.uniform(0.0, self.spread) for _ in range(self.calls))

    def supplies(self) -> list[Supply]:
        """What each model can give, for the bound."""
        if self.window == "fixed":
            return [Fixed(rpm, MINUTE, MINUTE - (self.phase or 0.0)) for rpm in MODELS.values()]
        dark = {"large": self.dark}
        return [Continuous(rpm / MINUTE, burst_of(rpm), dark.get(model)) for model, rpm in MODELS.items()]


SCENARIOS = {
    one.name: one
    for one in (
        Scenario(name="plain", about="400 calls at once, limits right", pictured=True),
        Scenario(name="charged", about="rejected calls also use up quota", charged=True, pictured=True),
        Scenario(name="dark", about="the largest model answers 503 from second 5 to 17", dark=(5.0, 17.0)),
        Scenario(name="body-hint", about="the wait stands only in the body of a 429", headers="none"),
        Scenario(name="fixed", about="fixed windows, 1,000 calls", calls=1_000, window="fixed", phase=35.0),
        Scenario(name="arrivals", about="400 calls at random over 20 s", spread=20.0),
        Scenario(name="misconfigured", about="limits believed twice too high", believed=2.0),
    )
}


def burst_of(rpm: float) -> float:
    """The size of a continuous bucket."""
    return rpm * BURST_SECONDS / MINUTE


def believed(scenario: Scenario) -> list[dict[str, Any]]:
    """The models as a contestant is told of them, smallest first."""
    factor = scenario.believed
    return [{"id": model, "rpm": rpm * factor, "burst": burst_of(rpm) * factor} for model, rpm in MODELS.items()]


def service_config(scenario: Scenario, *, limited: bool = True) -> dict[str, Any]:
    """The service in the shape of its configuration file; without quotas if not `limited`."""
    return {"models": {model: _model(scenario, rpm if limited else None) for model, rpm in MODELS.items()}}


def _model(scenario: Scenario, rpm: int | None) -> dict[str, Any]:
    model: dict[str, Any] = {"latency": {"least": LEAST_LATENCY, "most": MOST_LATENCY}, "headers": scenario.headers}
    if rpm is None:
        return model
    quota: dict[str, Any] = {"amount": rpm, "window": scenario.window}
    if scenario.window == "continuous":
        quota["burst"] = burst_of(rpm)
    return {**model, "charge_refused": scenario.charged, "rpm": quota}
