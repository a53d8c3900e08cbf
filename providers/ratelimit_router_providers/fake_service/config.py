"""What the fake service is told to be: models, their quotas, their latency, and what goes wrong with them.

All amounts are those of the service, not of the router: a test that wants a router whose limits are twice too high
mirrors the router's models with a factor of 0.5.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal, get_args

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import RefillDefaults
from ratelimit_router.models import Model
from ratelimit_router.simulation.checks import check_count, check_number
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router_providers.fake_service.faults import FaultRule

__all__ = ["GEMINI_REFILL", "FakeModel", "Headers", "Hint", "Latency", "QuotaRule", "ServiceConfig"]

Hint = Literal["right", "truncated", "short", "missing"]
"""What a 429 tells about the wait: the truth, whole seconds rounded down, a third of the truth, or nothing."""

Headers = Literal["all", "retry-after", "none"]
"""What the headers of OpenAI's 429 tell: the wait and the quota, the wait, or nothing (the body still tells both)."""

GEMINI_REFILL = RefillDefaults(minute="rolling", day="calendar")
"""How a router's limits are mirrored where they do not name their refill themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from request to answer.

    Log-normal: `median`, and `spread` (sigma: 0 is none, 0.5 a wide one). Or uniform: from `least` to `most`.
    """

    median: float = 0.0
    spread: float = 0.0
    least: float = 0.0
    most: float | None = None

    def __post_init__(self) -> None:
        check_number(self.median, "median")
        check_number(self.spread, "spread")
        check_number(self.least, "least")
        if self.most is not None:
            check_number(self.most, "most")
            if self.most < self.least:
                raise ConfigError(f"must be at least `least` ({self.least:g}), not {self.most:g}", key="most")
        if self.median and (self.least or self.most is not None):
            raise ConfigError("a latency has a median and a spread, or least and most, not both", key="median")
        if self.least and self.most is None:
            raise ConfigError("is missing: a uniform latency has both ends", key="most")

    def sample(self, rng: Random) -> float:
        """One draw."""
        if self.most is not None:
            return rng.uniform(self.least, self.most)
        return self.median * math.exp(self.spread * rng.gauss(0.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """One model of the service.

    `quotas` hold for each key by itself (a key stands for a project). `concurrency`: calls in flight. `hint`: what its
    429s tell about the wait. `headers`: where OpenAI's tell it. `charge_refused`: a refused call uses quota too.
    `paid`: Gemini's quota ids are spelt as for a paid account. `input_token_limit`: a longer prompt is a 400, and is
    charged.
    """

    id: str
    quotas: tuple[QuotaRule, ...] = ()
    concurrency: int | None = None
    latency: Latency = field(default_factory=Latency)
    faults: tuple[FaultRule, ...] = ()
    hint: Hint = "right"
    headers: Headers = "all"
    charge_refused: bool = False
    paid: bool = False
    input_token_limit: int = 1_048_576

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.id.removeprefix("models/"))
        if not self.id or "/" in self.id or ":" in self.id:
            raise ConfigError("a model needs an id without '/' and ':'", key=self.id or None)
        names = [rule.name for rule in self.quotas]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError("this quota is given twice", key=name)
        if self.concurrency is not None:
            check_count(self.concurrency, "concurrency")
        check_count(self.input_token_limit, "input_token_limit")
        if self.hint not in get_args(Hint):
            raise ConfigError(f"must be one of {', '.join(get_args(Hint))}, not {self.hint!r}", key="hint")
        if self.headers not in get_args(Headers):
            raise ConfigError(f"must be one of {', '.join(get_args(Headers))}, not {self.headers!r}", key="headers")

    @classmethod
    def mirror(
        cls,
        model: Model,
        *,
        factor: float = 1.0,
        defaults: RefillDefaults = GEMINI_REFILL,
        latency: Latency | None = None,
        faults: tuple[FaultRule, ...] = (),
        hint: Hint = "right",
    ) -> "FakeModel":
        """The service that a router's model describes; with `factor` 0.5 the router believes in twice the truth.

        Pools are not mirrored: Gemini's quotas hold per model.
        """
        check_number(factor, "factor", above_zero=True)
        concurrency = model.limits.concurrency
        return cls(
            id=model.id,
            quotas=tuple(QuotaRule.mirror(quota, factor) for quota in model.limits.quotas(defaults)),
            concurrency=None if concurrency is None else max(1, math.floor(concurrency * factor)),
            latency=latency or Latency(),
            faults=faults,
            hint=hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """The whole service.

    `seed`: latency, faults by rate and retry jitter repeat with it. `faults` hold for every model, after its own.
    `invalid_keys` are answered as wrong; any other key that is not empty is right. `leeway`: seconds by which rolling
    and continuous windows are lenient, for the network's jitter between a client's clock and this one. `journal`: how
    many records are kept.
    """

    models: Mapping[str, FakeModel]
    seed: int = 0
    faults: tuple[FaultRule, ...] = ()
    invalid_keys: frozenset[str] = field(default=frozenset(), repr=False)
    leeway: float = 0.0
    journal: int = 100_000

    def __post_init__(self) -> None:
        if not self.models:
            raise ConfigError("the service needs at least one model", key="models")
        check_number(self.leeway, "leeway")
        check_count(self.journal, "journal")

    @classmethod
    def of(
        cls,
        *models: FakeModel,
        seed: int = 0,
        faults: tuple[FaultRule, ...] = (),
        invalid_keys: Iterable[str] = (),
        leeway: float = 0.0,
    ) -> "ServiceConfig":
        """A service of these models; raises ConfigError if two have one id."""
        by_id: dict[str, FakeModel] = {}
        for model in models:
            if model.id in by_id:
                raise ConfigError("two models have this id", key=f"models.{model.id}")
            by_id[model.id] = model
        return cls(models=by_id, seed=seed, faults=faults, invalid_keys=frozenset(invalid_keys), leeway=leeway)

    @classmethod
    def mirror(
        cls,
        models: Iterable[Model],
        *,
        factor: float = 1.0,
        defaults: RefillDefaults = GEMINI_REFILL,
        latency: Latency | None = None,
        faults: Mapping[str, tuple[FaultRule, ...]] | None = None,
        seed: int = 0,
        leeway: float = 0.0,
    ) -> "ServiceConfig":
        """The service that a router's models describe; of models that share an id (other keys) the first counts.

        `faults`: for each model id.
        """
        by_id: dict[str, FakeModel] = {}
        for model in models:
            fake = FakeModel.mirror(model, factor=factor, defaults=defaults, latency=latency)
            by_id.setdefault(fake.id, replace(fake, faults=(faults or {}).get(fake.id, ())))
        return cls(models=by_id, seed=seed, leeway=leeway)
