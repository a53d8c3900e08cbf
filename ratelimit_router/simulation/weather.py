"""Random scenarios in which anything goes: small, hostile, and the same for the same seed.

They are for tests of what must always hold, not for measuring: most have no sensible makespan, and some have calls
that no service will ever admit, though the router must think so.
"""

import math
from random import Random
from typing import Any, TypeVar, get_args

from ratelimit_router.limits import DAY, QUOTAS, Limit, Limits, Refill
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.simulation.mirror import mirror_account, mirror_service
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.scenario import (
    Account,
    Arrival,
    Change,
    Consumer,
    Distribution,
    Hint,
    Load,
    Network,
    Scenario,
    Service,
    Told,
    Trouble,
    TroubleKind,
)
from ratelimit_router.simulation.windows import WindowKind

__all__ = ["random_scenario"]

T = TypeVar("T")
NOON = 1_790_035_200.0 + 43_200.0
"""POSIX seconds; 5 o'clock in the morning in Los Angeles."""

SPAN = 300.0
"""Seconds in which most of what happens begins."""

HORIZON = 4 * DAY
"""Longer than three times the wait for the next day: some services tell that much."""

RESETS = ("00:00 America/Los_Angeles", "12:02 UTC", "14:04 Europe/Rome", "23:59 Asia/Tokyo")
MODELS = ("pro", "flash", "lite", "mini", "nano")
POOLS = ("account", "project")
TIERS = ("hot", "standard", "bulk", "archive")


def random_scenario(seed: int) -> Scenario:
    """The storm of that seed: 5 to 60 tasks, 1 to 5 models, and whatever may befall them."""
    rng = Random(f"weather/{seed}")  # a text: the same on every machine and version
    pools = tuple(Pool(name, _limits(rng)) for name in POOLS[: rng.choice((0, 0, 1, 2))])
    names = MODELS[: rng.randint(1, 5)]
    models = tuple(_model(rng, name, pools) for name in names)
    tiers = tuple(_tier(rng, name, names) for name in TIERS[: rng.randint(1, 4)])
    return Scenario(
        name=f"weather-{seed}",
        family="weather",
        seed=seed,
        models=models,
        pools=pools,
        tiers=tiers,
        fallback=rng.choice((None, None, *names)),
        services=tuple(_service(rng, model) for model in models),
        accounts=tuple(_account(rng, pool) for pool in pools),
        network=_network(rng),
        loads=tuple(_loads(rng, tiers)),
        start=NOON + rng.choice((0.0, rng.uniform(0, 600))),
        horizon=HORIZON,
        guard=rng.choice((0.0, 0.0, 0.1, 2.0)),
        slow_start=rng.choice((None, 1, 4, 64)),
    )


# -- what the router is told -------------------------------------------------------------------------------------------


def _model(rng: Random, name: str, pools: tuple[Pool, ...]) -> Model:
    return Model(name, limits=_limits(rng), pools=tuple(pool.name for pool in pools if rng.random() < 0.6))


def _limits(rng: Random) -> Limits:
    """Up to three quotas: tiny ones, large ones, and now and then none at all."""
    names = rng.sample(list(QUOTAS), rng.choice((0, 1, 1, 2, 3)))
    quotas: dict[str, Any] = {name: _limit(rng, name) for name in names}
    concurrency = rng.choice((None, None, 1, 2, 8))
    return Limits(**quotas, concurrency=concurrency, refill=rng.choice((None, "rolling", "continuous")))


def _limit(rng: Random, name: str) -> Limit | float:
    unit, period = QUOTAS[name]
    amount = _amount(rng, unit, period)
    kind = rng.choice(("plain", "plain", "rolling", "continuous", "calendar"))
    if kind == "plain":
        return amount
    refill: Refill = "rolling" if kind == "rolling" else "continuous" if kind == "continuous" else "calendar"
    per = rng.choice((None, None, "second", "minute", 7.5, 30.0)) if period < DAY else None
    if refill == "calendar" and period >= DAY:
        return Limit(amount, refill=refill, resets=rng.choice(RESETS))
    burst = rng.choice((None, 1.0, max(1.0, amount / 4), amount + 1)) if refill == "continuous" else None
    return Limit(amount, per, refill=refill, burst=burst)


def _amount(rng: Random, unit: str, period: float) -> float:
    if rng.random() < 0.04:
        return 0
    least, most = (1, 40) if unit == "requests" else (500, 40_000)
    return round(math.exp(rng.uniform(math.log(least), math.log(most * (5 if period >= DAY else 1)))))


def _tier(rng: Random, name: str, models: tuple[str, ...]) -> Tier:
    """A chain in an order of its own, with equals here and there."""
    names = rng.sample(models, rng.randint(1, len(models)))
    steps: list[list[str]] = []
    for model in names:
        if steps and rng.random() < 0.25:
            steps[-1].append(model)
        else:
            steps.append([model])
    return Tier(name, steps, patience=rng.choice((0.0, 0.0, 2.0, 30.0, math.inf)), weight=rng.choice((0.5, 1.0, 5.0)))


# -- what the services really do ---------------------------------------------------------------------------------------


def _service(rng: Random, model: Model) -> Service:
    truth: dict[str, Any] = {
        "latency": _latency(rng),
        "hint": rng.choice(get_args(Hint)),
        "tells": rng.choice(get_args(Told)),
        "charge_refused": rng.random() < 0.15,
        "gone_at": rng.uniform(0, SPAN) if rng.random() < 0.08 else None,
        "changes": _changes(rng),
        "troubles": tuple(_trouble(rng) for _ in range(rng.choice((0, 0, 1, 2)))),
        "consumers": _consumers(rng),
    }
    if rng.random() < 0.5:
        truth |= {"quotas": _rules(rng, model.limits), "concurrency": rng.choice((None, 1, 3))}
    return mirror_service(model, **truth)


def _account(rng: Random, pool: Pool) -> Account:
    truth: dict[str, Any] = {"changes": _changes(rng), "consumers": _consumers(rng)}
    if rng.random() < 0.4:
        truth["quotas"] = _rules(rng, pool.limits)
    return mirror_account(pool, **truth)


def _rules(rng: Random, limits: Limits) -> tuple[QuotaRule, ...]:
    """Another truth: half as much, twice as much, another window; and quotas of which the router knows nothing."""
    found = {
        quota.name: _bent(rng, QuotaRule.mirror(quota, rng.choice((0.5, 0.8, 1.0, 2.0)))) for quota in limits.quotas()
    }
    if rng.random() < 0.4:
        name = rng.choice(list(QUOTAS))
        found[name] = QuotaRule(name=name, amount=_amount(rng, *QUOTAS[name]))
    return tuple(found.values())


def _bent(rng: Random, rule: QuotaRule) -> QuotaRule:
    if rng.random() < 0.6:
        return rule
    window: WindowKind = rng.choice(("continuous", "rolling", "fixed", "day"))
    period = rng.choice((rule.period, 10.0, 60.0))
    return QuotaRule(name=rule.name, amount=rule.amount, window=window, period=period, resets=rng.choice(RESETS))


def _latency(rng: Random) -> Distribution:
    median = rng.choice((0.0, 0.2, 1.0, 8.0))
    return rng.choice(
        (
            Distribution(median=median),
            Distribution(median=median, sigma=0.6, most=60.0),
            Distribution(median=median, tail=1.2, least=0.1, most=60.0),
        )
    )


def _changes(rng: Random) -> tuple[Change, ...]:
    number = rng.choice((0, 0, 0, 1, 2))
    return tuple(Change(at=rng.uniform(0, SPAN), factor=rng.choice((0.0, 0.3, 0.7, 1.0, 2.0))) for _ in range(number))


def _trouble(rng: Random) -> Trouble:
    start = rng.choice((0.0, rng.uniform(0, SPAN)))
    return Trouble(
        kind=rng.choice((*get_args(TroubleKind)[:4] * 3, "key_refused")),
        start=start,
        end=start + rng.choice((1.0, 20.0, 120.0)),
        rate=rng.choice((0.1, 0.5, 1.0)),
        seconds=rng.choice((None, 0.0, 1.0, 15.0)),
    )


def _consumers(rng: Random) -> tuple[Consumer, ...]:
    if rng.random() < 0.75:
        return ()
    start, tokens = rng.uniform(0, SPAN), Distribution(median=rng.choice((0, 200, 3_000)), sigma=0.5)
    return (Consumer(rate=rng.choice((0.02, 0.2, 1.0)), start=start, end=start + 120.0, input_tokens=tokens),)


def _network(rng: Random) -> Network:
    return Network(
        latency=rng.choice((0.0, 0.02, 0.3)),
        jitter=rng.choice((0.0, 0.0, 0.05, 1.0)),
        clock_offset=rng.choice((0.0, 0.0, -0.2, 5.0)),
        clock_jitter=rng.choice((0.0, 0.0, 0.05)),
    )


# -- who asks for what -------------------------------------------------------------------------------------------------


def _loads(rng: Random, tiers: tuple[Tier, ...]) -> list[Load]:
    number = rng.randint(1, len(tiers) + 1)
    return [
        _load(rng, rng.choice(tiers).name, max(5 // number + 1, rng.randint(1, 60 // number))) for _ in range(number)
    ]


def _load(rng: Random, tier: str, tasks: int) -> Load:
    arrive: Arrival = rng.choice(get_args(Arrival))
    return Load(
        tier=tier,
        tasks=tasks,
        arrive=arrive,
        start=rng.choice((0.0, 0.0, rng.uniform(0, SPAN))),
        over=0.0 if arrive == "at once" else rng.uniform(1.0, SPAN),
        input_tokens=_tokens(rng),
        output_tokens=_tokens(rng),
        estimate=rng.choice((Distribution(median=1.0), Distribution(median=0.6, sigma=0.5), Distribution(median=3.0))),
        timeout=rng.choice((None, None, 0.0, 1.0, 30.0, 600.0)),
        patience=rng.choice((None, None, 0.0, 5.0, math.inf)),
        priority=rng.choice((0, 0, -1, 3)),
    )


def _tokens(rng: Random) -> Distribution:
    """Of requests; a few in a heavy tail are larger than any quota."""
    heavy = Distribution(median=1_000.0, tail=1.1, most=100_000.0)
    usual = Distribution(median=300.0, sigma=0.5)
    return rng.choice((Distribution(median=0.0), usual, usual, usual, heavy))
