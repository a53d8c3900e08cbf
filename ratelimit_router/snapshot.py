"""A router at one instant, as frozen values: for status pages, tests and people."""

from collections.abc import Mapping
from dataclasses import dataclass

from ratelimit_router.reasons import Skipped

__all__ = ["CooldownSnapshot", "ModelSnapshot", "PoolSnapshot", "QuotaSnapshot", "RouterSnapshot", "TierSnapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSnapshot:
    """One bucket. `remaining` is negative in debt. `capacity`: as it is used now; `configured`: as the user said it."""

    capacity: float
    configured: float
    remaining: float
    period: float
    refill: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CooldownSnapshot:
    """A cooldown that is on. `left`: seconds, infinity until `reconfigure`. `reason`: the kind of rejection."""

    provenance: str
    until: float
    left: float
    reason: str
    quota: str | None
    strikes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnapshot:
    """One model. `state`: ready, slow_start, cooling, probing or closed. The counts are since the router was made.

    `rejections`: (kind, quota or "") -> count.
    """

    name: str
    state: str
    in_flight: int
    quotas: Mapping[str, QuotaSnapshot]
    cooldown: CooldownSnapshot | None
    granted: int
    settled: int
    rejected: int
    rejections: Mapping[tuple[str, str], int]
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """One pool: what its models share."""

    name: str
    state: str
    in_flight: int
    quotas: Mapping[str, QuotaSnapshot]
    cooldown: CooldownSnapshot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TierSnapshot:
    """One tier. `oldest_wait`: seconds that whoever is served next has waited so far.

    `blocked`: why each model cannot serve that request now; empty when nobody waits. `waits` (how many had to wait),
    `waited_seconds` and `waits_by_class` (counts up to each bound of `tally.WAIT_BUCKETS`, then the rest) tell of
    requests that were served; so does `granted`. `fallbacks`: (from model, to model, reason) -> count. `refusals`:
    error -> count.
    """

    name: str
    queued: int
    oldest_wait: float
    blocked: tuple[Skipped, ...]
    granted: int
    waits: int
    waited_seconds: float
    waits_by_class: tuple[int, ...]
    fallbacks: Mapping[tuple[str, str, str], int]
    refusals: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSnapshot:
    """Everything, at the instant `at` of the router's clock (seconds). `routes`: (tier, model, depth) -> leases."""

    at: float
    models: Mapping[str, ModelSnapshot]
    pools: Mapping[str, PoolSnapshot]
    tiers: Mapping[str, TierSnapshot]
    routes: Mapping[tuple[str, str, int], int]
