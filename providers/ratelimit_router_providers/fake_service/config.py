"""What the fake service is told to be: models, their quotas, their latency, and what goes wrong with them.

All amounts are those of the service, not of the router: a test that wants a router whose limits are twice too high
mirrors the router's models with a factor of 0.5.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import DAY, DEFAULT_RESET, QUOTAS, Quota, RefillDefaults, Unit
from ratelimit_router.models import Model
from ratelimit_router_providers.fake_service.checks import check_count, check_number
from ratelimit_router_providers.fake_service.faults import FaultRule
from ratelimit_router_providers.fake_service.windows import WindowKind, parse_reset

__all__ = ["GEMINI_REFILL", "FakeModel", "Hint", "Latency", "QuotaRule", "ServiceConfig"]

Hint = Literal["right", "truncated", "short", "missing"]
"""What a 429 tells about the wait: the truth, whole seconds rounded down, a third of the truth, or nothing."""

GEMINI_REFILL = RefillDefaults(minute="rolling", day="calendar")
"""How a router's limits are mirrored where they do not name their refill themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRule:
    """One quota that is enforced: `amount` of what `name` counts (see `limits.QUOTAS`) in each `period` (seconds).

    `window`: how it comes back (`windows` has the kinds); default: rolling, or the day for a quota by the day.
    `burst`: bucket size of a continuous window. `resets`: time and zone of a day window.
    """

    name: str
    amount: float
    window: WindowKind | None = None
    period: float | None = None
    burst: float | None = None
    resets: str = DEFAULT_RESET

    def __post_init__(self) -> None:
        if self.name not in QUOTAS:
            raise ConfigError(f"no such quota; there are: {', '.join(QUOTAS)}, concurrency", key=self.name)
        check_number(self.amount, "amount")
        usual = QUOTAS[self.name][1]
        if self.period is None:
            object.__setattr__(self, "period", usual)
        check_number(self.period, "period", above_zero=True)
        if self.window is None:
            object.__setattr__(self, "window", "day" if self.period == DAY else "rolling")
        if self.window not in get_args(WindowKind):
            raise ConfigError(f"must be one of {', '.join(get_args(WindowKind))}, not {self.window!r}", key="window")
        if self.burst is not None:
            check_number(self.burst, "burst")
            if self.window != "continuous":
                raise ConfigError(f"only a continuous window has a burst, not a {self.window} one", key="burst")
        parse_reset(self.resets)

    @property
    def unit(self) -> Unit:
        """What it counts."""
        return QUOTAS[self.name][0]

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """What one request uses of it."""
        costs = {"requests": 1, "input": input_tokens, "output": output_tokens, "total": input_tokens + output_tokens}
        return costs[self.unit]

    @classmethod
    def mirror(cls, quota: Quota, factor: float = 1.0) -> "QuotaRule":
        """The rule that a router's quota describes, its amount times `factor` (whole requests, at least one)."""
        amount, burst = quota.amount * factor, quota.capacity * factor
        if quota.unit == "requests" and quota.amount > 0:
            amount, burst = float(max(1, math.floor(amount))), float(max(1, math.floor(burst)))
        window: WindowKind = "rolling" if quota.refill == "rolling" else "continuous"
        if quota.refill == "calendar":
            window = "day" if quota.period == DAY else "fixed"
        return cls(
            name=quota.name,
            amount=amount,
            window=window,
            period=quota.period,
            burst=burst if window == "continuous" else None,
            resets=quota.resets,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from request to answer, log-normal: `median`, and `spread` (sigma: 0 is none, 0.5 a wide one)."""

    median: float = 0.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.median, "median")
        check_number(self.spread, "spread")

    def sample(self, normal: float) -> float:
        """The latency for one draw from the standard normal distribution."""
        return self.median * math.exp(self.spread * normal)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """One model of the service.

    `quotas` hold for each key by itself (a key stands for a project). `concurrency`: calls in flight. `hint`: what its
    429s tell about the wait. `charge_refused`: a refused call uses quota too. `paid`: quota ids are spelt as for a paid
    account. `input_token_limit`: a longer prompt is a 400, and is charged.
    """

    id: str
    quotas: tuple[QuotaRule, ...] = ()
    concurrency: int | None = None
    latency: Latency = field(default_factory=Latency)
    faults: tuple[FaultRule, ...] = ()
    hint: Hint = "right"
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
