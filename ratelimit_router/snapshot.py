"""A router at one instant, as frozen values: for status pages, tests and people."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    """A cooldown that is on. `left`: seconds, infinity until `reconfigure`. `reason`: the kind of rejection behind it."""

    provenance: str
    until: float
    left: float
    reason: str
    quota: str | None
    strikes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnapshot:
    """One model. `state`: ready, slow_start, cooling, probing or closed. The counts are since the router was made."""

    name: str
    state: str
    in_flight: int
    quotas: Mapping[str, QuotaSnapshot]
    cooldown: CooldownSnapshot | None
    granted: int
    settled: int
    rejected: int
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
    """One tier. `oldest_wait`: seconds that the first in line has waited. `waited_seconds`: of all that were granted."""

    name: str
    queued: int
    oldest_wait: float
    granted: int
    waited: int
    waited_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSnapshot:
    """Everything, at the instant `at` of the router's clock (seconds)."""

    at: float
    models: Mapping[str, ModelSnapshot]
    pools: Mapping[str, PoolSnapshot]
    tiers: Mapping[str, TierSnapshot]
