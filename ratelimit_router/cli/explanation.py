"""What a configuration comes to once every default is filled in: plain data, for programs and for tables."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ratelimit_router.config import Config
from ratelimit_router.limits import QUOTAS, Limit, Limits, Quota, RefillDefaults
from ratelimit_router.models import Key, Model, Pool, Tier
from ratelimit_router.provider import refill_defaults
from ratelimit_router.toml_tables import did_you_mean

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`report` is ready for JSON; `notes` are remarks on what will not work although the file is right."""

    report: dict[str, Any]
    notes: tuple[str, ...]


def explain(config: Config, provider_class: Callable[[str], Any], installed: tuple[str, ...]) -> Explanation:
    """The whole configuration as plain data.

    `provider_class` finds a provider by name (None: not installed; it may raise), `installed` are the names there are.
    """
    providers = dict.fromkeys(model.provider for model in config.models if model.provider)
    notes: list[str] = []
    defaults = {name: _defaults(name, provider_class, installed, notes) for name in providers}
    report = {
        "file": config.file,
        "models": [_model(model, _of(model, defaults)) for model in config.models],
        "pools": [_pool(pool, config.models, defaults) for pool in config.pools],
        "tiers": [_tier(tier, config.fallback) for tier in config.tiers],
        "fallback": config.fallback,
        "store": config.store,
        "slow_start": config.slow_start,
        "tables": list(config.tables),
        "notes": notes,
    }
    notes += _unused(config)
    return Explanation(report=report, notes=tuple(notes))


def _defaults(
    name: str, provider_class: Callable[[str], Any], installed: tuple[str, ...], notes: list[str]
) -> RefillDefaults:
    """How the provider's quotas come back; rolling, with a note, if it cannot be asked."""
    try:
        found = provider_class(name)
    except ValueError as error:  # ConfigError: installed, and broken
        notes.append(f"provider {name!r}: {error}")
        return RefillDefaults()
    if found is None:
        notes.append(f"provider {name!r} is not installed; routing works without it{did_you_mean(name, installed)}")
    return refill_defaults(found)


def _unused(config: Config) -> Iterator[str]:
    """Models and pools that nothing draws on."""
    chained = {name for tier in config.tiers for step in tier.chain for name in step} | {config.fallback}
    for model in config.models:
        if model.name not in chained:
            yield f"model {model.name!r} is in no chain"
        if model.limits == Limits(refill=model.limits.refill) and not model.pools:
            yield f"model {model.name!r} has no limits: it is never waited for"
    drawn = {pool for model in config.models for pool in model.pools}
    for pool in config.pools:
        if pool.name not in drawn:
            yield f"no model draws on pool {pool.name!r}"


def _model(model: Model, defaults: RefillDefaults) -> dict[str, Any]:
    variable = model.key.variable if isinstance(model.key, Key) else None
    return {
        "name": model.name,
        "provider": model.provider,
        "id": model.id,
        "key": f"env:{variable}" if variable else None,
        "pools": list(model.pools),
        "base_url": model.base_url,
        "limits": _limits(model.limits, defaults),
    }


def _pool(pool: Pool, models: tuple[Model, ...], defaults: dict[str, RefillDefaults]) -> dict[str, Any]:
    """A pool's quotas come back as those of the first model that draws on it."""
    members = [model for model in models if pool.name in model.pools]
    refill = _of(members[0], defaults) if members else RefillDefaults()
    return {
        "name": pool.name,
        "models": [model.name for model in members],
        "limits": _limits(pool.limits, refill),
    }


def _of(model: Model, defaults: dict[str, RefillDefaults]) -> RefillDefaults:
    return defaults.get(model.provider or "", RefillDefaults())


def _limits(limits: Limits, defaults: RefillDefaults) -> list[dict[str, Any]]:
    found = [_quota(quota, limits) for quota in limits.quotas(defaults)]
    if limits.concurrency is not None:
        found.append({"quota": "concurrency", "amount": limits.concurrency, "refill": None})
    return found


def _quota(quota: Quota, limits: Limits) -> dict[str, Any]:
    own = getattr(limits, quota.name)
    told = (own.refill, own.burst, own.resets) if isinstance(own, Limit) else ()
    stated = limits.refill is not None or any(fact is not None for fact in told)
    found = {
        "quota": quota.name,
        "counts": QUOTAS[quota.name][0],
        "amount": quota.amount,
        "period": quota.period,
        "refill": quota.refill,
        "refill_from": "file" if stated else "default",
    }
    if quota.refill == "continuous":
        found["burst"] = quota.capacity
    if quota.refill == "calendar" and quota.daily:
        found["resets"] = quota.resets
    return found


def _tier(tier: Tier, fallback: str | None) -> dict[str, Any]:
    steps = [list(step) for step in tier.chain]
    adds = fallback is not None and not any(fallback in step for step in steps)
    return {
        "name": tier.name,
        "chain": steps + [[fallback]] * adds,
        "falls_back_to": fallback if adds else None,
        "patience": "inf" if math.isinf(tier.patience) else tier.patience,
        "weight": tier.weight,
    }
