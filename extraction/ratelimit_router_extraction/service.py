"""The embedded service: without a key, the same work goes through the real SDK to a simulation on this machine.

`[simulation]` in the configuration says how it behaves: limits that are the configured ones times `limits_factor`,
a latency with a spread, one outage. Its answers are found by rules, not by a model.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ratelimit_router.errors import ConfigError
from ratelimit_router.models import Key, Model
from ratelimit_router.toml_tables import Table
from ratelimit_router_providers.fake_service import FakeService, FaultRule, Latency, ServiceConfig

__all__ = [
    "Outage",
    "Simulation",
    "check_simulated",
    "counts_of",
    "key_variables",
    "needs_simulation",
    "redirected",
    "service_config",
    "serving",
    "simulation_of",
]

GEMINI = ("gemini", "gemini-legacy")
"""Providers that speak what the embedded service speaks."""

_USUAL_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A model (by its name in the configuration) that answers 503, from `after` to `after + lasts` seconds."""

    model: str
    after: float
    lasts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """How the embedded service behaves. `always`: use it even if there is a key.

    `limits_factor`: the service's limits as a share of the configured ones; 0.5 = configured twice too high. `leeway`:
    seconds by which the service's windows are lenient, as no two clocks see a request at the same instant.
    """

    always: bool = False
    limits_factor: float = 1.0
    latency: Latency = field(default_factory=lambda: Latency(median=0.4, spread=0.4))
    outage: Outage | None = None
    leeway: float = 0.0
    seed: int = 0


def simulation_of(table: Table, models: Sequence[str]) -> Simulation:
    """The settings in `[simulation]`. Raises ConfigError or Defect, with the key, for what cannot work."""
    table.only(("always", "limits_factor", "latency", "outage", "leeway", "seed"))
    usual = Simulation()
    always = table.values.get("always", False)
    if not isinstance(always, bool):
        table.refuse("must be true or false", "always")
    factor, leeway, seed = table.number("limits_factor"), table.seconds("leeway"), table.number("seed")
    if factor == 0:
        table.refuse("must be more than 0", "limits_factor")
    return Simulation(
        always=always,
        limits_factor=usual.limits_factor if factor is None else factor,
        latency=_latency(table.table("latency")) if "latency" in table.values else usual.latency,
        outage=_outage(table.table("outage"), models) if "outage" in table.values else None,
        leeway=leeway or 0.0,
        seed=int(seed or 0),
    )


def _latency(table: Table) -> Latency:
    table.only(("median", "spread"))
    return table.make(Latency, median=table.seconds("median") or 0.0, spread=table.number("spread") or 0.0)


def _outage(table: Table, models: Sequence[str]) -> Outage:
    table.only(("model", "after", "lasts"))
    model, lasts = table.text("model"), table.seconds("lasts")
    if model is None or model not in models:
        table.refuse(f"must be one of the models: {', '.join(models)}", "model")
    if not lasts:
        table.refuse("must be more than 0 seconds", "lasts")
    return Outage(model=model, after=table.seconds("after") or 0.0, lasts=lasts)


def key_variables(models: Sequence[Model]) -> set[str]:
    """The environment variables of which at least one must be set for any of the models to be called for real."""
    found: set[str] = set()
    for model in models:
        if isinstance(model.key, Key) and model.key.variable is not None:
            found.add(model.key.variable)
        elif model.key is None and model.provider in GEMINI:
            found.update(_USUAL_KEYS)
    return found


def needs_simulation(models: Sequence[Model], environ: Mapping[str, str] = os.environ) -> bool:
    """Whether no model could be called: all are Gemini's, and not one of their keys is there."""
    if any(model.provider not in GEMINI for model in models):
        return False
    variables = key_variables(models)
    return bool(variables) and not any(environ.get(variable, "").strip() for variable in variables)


def redirected(models: Sequence[Model], url: str) -> tuple[Model, ...]:
    """The models with the service's address and a key that is none; everything else stays as it is."""
    keys = list(dict.fromkeys(model.key for model in models))  # models that share a key go on sharing one
    return tuple(replace(model, base_url=url, key=f"simulation-{keys.index(model.key)}") for model in models)


def check_simulated(models: Sequence[Model], file: str | None = None) -> None:
    """Raises ConfigError for a model of a provider that the service does not speak for."""
    for model in models:
        if model.provider not in GEMINI:
            told = f"the embedded service speaks for {' and '.join(GEMINI)} only"
            raise ConfigError(told, key=f"models.{model.name}.provider", file=file)


def service_config(models: Sequence[Model], simulation: Simulation) -> ServiceConfig:
    """The service that the models describe, as the simulation bends it."""
    faults: dict[str, tuple[FaultRule, ...]] = {}
    if (outage := simulation.outage) is not None:
        ids = {model.name: model.id for model in models}
        rule = FaultRule(fault="unavailable", start=outage.after, end=outage.after + outage.lasts)
        faults[ids[outage.model]] = (rule,)
    return ServiceConfig.mirror(
        models,
        factor=simulation.limits_factor,
        latency=simulation.latency,
        faults=faults,
        seed=simulation.seed,
        leeway=simulation.leeway,
    )


@contextlib.contextmanager
def serving(models: Sequence[Model], simulation: Simulation) -> Iterator[FakeService]:
    """The running service, in a thread of its own until the block ends."""
    with FakeService.in_thread(service_config(models, simulation)) as service:
        yield service


def counts_of(service: FakeService) -> dict[str, Any]:
    """What the service itself counted: calls, those it admitted, and its answers of 429; whole and by model id."""
    summary = service.summary()
    models = {
        name: {"requests": model.requests, "admitted": model.admitted, "rejected": model.rejected}
        for name, model in summary.models.items()
    }
    whole = {"requests": summary.requests, "admitted": summary.admitted, "rejected": summary.rejected}
    return {**whole, "models": models}
