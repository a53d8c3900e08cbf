"""Services and accounts that are what the router was told: where a storm's truth begins before it departs from it."""

from typing import Any

from ratelimit_router.limits import ROLLING, Limits, RefillDefaults
from ratelimit_router.models import Model, Pool
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.scenario import Account, Service

__all__ = ["mirror_account", "mirror_rules", "mirror_service"]


def mirror_rules(limits: Limits, defaults: RefillDefaults = ROLLING, factor: float = 1.0) -> tuple[QuotaRule, ...]:
    """A rule for each limit, its amount times `factor`. Raises ConfigError for limits that cannot work."""
    return tuple(QuotaRule.mirror(quota, factor) for quota in limits.quotas(defaults))


def mirror_service(model: Model, defaults: RefillDefaults = ROLLING, **truth: Any) -> Service:
    """The service that a model's configuration describes; `truth`: the fields of Service in which it differs."""
    mirrored = {
        "quotas": mirror_rules(model.limits, defaults),
        "concurrency": model.limits.concurrency,
        "accounts": model.pools,
    }
    return Service(name=model.name, **(mirrored | truth))


def mirror_account(pool: Pool, defaults: RefillDefaults = ROLLING, **truth: Any) -> Account:
    """The account that a pool's configuration describes; `truth`: the fields of Account in which it differs."""
    mirrored = {"quotas": mirror_rules(pool.limits, defaults), "concurrency": pool.limits.concurrency}
    return Account(name=pool.name, **(mirrored | truth))
