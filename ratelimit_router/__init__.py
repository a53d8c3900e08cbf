"""An embeddable quota scheduler for LLM calls.

In one atomic step it returns a leased model, or the exact instant at which one will be free.

Each name is imported when it is first asked for: nobody pays for what is not used.
"""

from typing import TYPE_CHECKING

from ratelimit_router.exports import lazily

if TYPE_CHECKING:
    from ratelimit_router import events
    from ratelimit_router.attempts import Attempt
    from ratelimit_router.batch import Batch
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
        StoreUnavailable,
        UnknownTier,
    )
    from ratelimit_router.lease import Lease
    from ratelimit_router.limits import Limit, Limits, RefillDefaults
    from ratelimit_router.messages import Chunk, Reply, Request, Usage
    from ratelimit_router.models import Key, Model, Pool, Tier
    from ratelimit_router.observers.prometheus import PrometheusMetrics
    from ratelimit_router.observers.structlog import StructlogObserver
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
    from ratelimit_router.stores.local import LocalStore
    from ratelimit_router.stores.memory import MemoryStore
    from ratelimit_router.stores.outage import ShareOnOutage
    from ratelimit_router.stores.redis import RedisStore
    from ratelimit_router.stores.shared import SharedStore
    from ratelimit_router.stores.sqlite import SqliteStore

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "AttemptsExhausted",
    "AuthError",
    "BadRequest",
    "BadResponse",
    "Batch",
    "BillingError",
    "Chunk",
    "ConfigError",
    "CooldownSnapshot",
    "Key",
    "Kind",
    "Lease",
    "Limit",
    "Limits",
    "LocalStore",
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
    "ShareOnOutage",
    "SharedStore",
    "Skipped",
    "SqliteStore",
    "StoreUnavailable",
    "Tier",
    "TierSnapshot",
    "UnknownTier",
    "Usage",
    "events",
]

_HOMES = {
    "attempts": ("Attempt",),
    "batch": ("Batch",),
    "errors": (
        "AttemptsExhausted",
        "AuthError",
        "BadRequest",
        "BadResponse",
        "BillingError",
        "ConfigError",
        "ModelGone",
        "NoCapacity",
        "NotSent",
        "Overloaded",
        "ProviderError",
        "ProviderTimeout",
        "QuotaExhausted",
        "RateLimited",
        "RequestTooLarge",
        "RouterClosed",
        "RouterError",
        "StoreUnavailable",
        "RouteTimeout",
        "UnknownTier",
    ),
    "events": ("events",),
    "lease": ("Lease",),
    "limits": ("Limit", "Limits", "RefillDefaults"),
    "messages": ("Chunk", "Reply", "Request", "Usage"),
    "models": ("Key", "Model", "Pool", "Tier"),
    "observers.prometheus": ("PrometheusMetrics",),
    "observers.structlog": ("StructlogObserver",),
    "outcomes": ("Kind", "Outcome"),
    "provider": ("Provider",),
    "reasons": ("Reason", "Skipped"),
    "router": ("Router",),
    "snapshot": (
        "CooldownSnapshot",
        "ModelSnapshot",
        "PoolSnapshot",
        "QuotaSnapshot",
        "RouterSnapshot",
        "TierSnapshot",
    ),
    "stores.local": ("LocalStore",),
    "stores.memory": ("MemoryStore",),
    "stores.outage": ("ShareOnOutage",),
    "stores.redis": ("RedisStore",),
    "stores.shared": ("SharedStore",),
    "stores.sqlite": ("SqliteStore",),
}
"""Which module defines what. What needs an extra is no part of `import *`."""


if TYPE_CHECKING:
    __all__ += ["PrometheusMetrics", "RedisStore", "StructlogObserver"]
else:  # unseen by type checkers, which would take any name for granted
    __getattr__, __dir__ = lazily(globals(), _HOMES)
