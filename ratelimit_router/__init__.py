"""An embeddable quota scheduler for LLM calls.

In one atomic step it returns a leased model, or the exact instant at which one will be free.
"""

from typing import TYPE_CHECKING, Any

from ratelimit_router import events
from ratelimit_router.attempts import Attempt
from ratelimit_router.errors import (
    AttemptsExhausted,
    AuthError,
    BadRequest,
    BadResponse,
    BillingError,
    ConfigError,
    ModelGone,
    NoCapacity,
    NotSent,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    RouterClosed,
    RouterError,
    RouteTimeout,
    UnknownTier,
)
from ratelimit_router.lease import Lease
from ratelimit_router.limits import Limit, Limits, RefillDefaults
from ratelimit_router.messages import Chunk, Reply, Request, Usage
from ratelimit_router.models import Key, Model, Pool, Tier
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.provider import Provider
from ratelimit_router.reasons import Reason, Skipped
from ratelimit_router.router import Router
from ratelimit_router.snapshot import (
    CooldownSnapshot,
    ModelSnapshot,
    PoolSnapshot,
    QuotaSnapshot,
    RouterSnapshot,
    TierSnapshot,
)
from ratelimit_router.stores.memory import MemoryStore

if TYPE_CHECKING:
    from ratelimit_router.observers.prometheus import PrometheusMetrics
    from ratelimit_router.observers.structlog import StructlogObserver

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "AttemptsExhausted",
    "AuthError",
    "BadRequest",
    "BadResponse",
    "BillingError",
    "Chunk",
    "ConfigError",
    "CooldownSnapshot",
    "Key",
    "Kind",
    "Lease",
    "Limit",
    "Limits",
    "MemoryStore",
    "Model",
    "ModelGone",
    "ModelSnapshot",
    "NoCapacity",
    "NotSent",
    "Outcome",
    "Overloaded",
    "Pool",
    "PoolSnapshot",
    "Provider",
    "ProviderError",
    "ProviderTimeout",
    "QuotaExhausted",
    "QuotaSnapshot",
    "RateLimited",
    "Reason",
    "RefillDefaults",
    "Reply",
    "Request",
    "RequestTooLarge",
    "RouteTimeout",
    "Router",
    "RouterClosed",
    "RouterError",
    "RouterSnapshot",
    "Skipped",
    "Tier",
    "TierSnapshot",
    "UnknownTier",
    "Usage",
    "events",
]

_IN_EXTRAS = {
    "PrometheusMetrics": "ratelimit_router.observers.prometheus",
    "StructlogObserver": "ratelimit_router.observers.structlog",
}


def __getattr__(name: str) -> Any:
    """What needs an extra is imported when it is first asked for."""
    if (module := _IN_EXTRAS.get(name)) is None:
        raise AttributeError(f"module 'ratelimit_router' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)


if TYPE_CHECKING:
    __all__ += ["PrometheusMetrics", "StructlogObserver"]
