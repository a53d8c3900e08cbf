"""Why a candidate of a chain was not chosen: a closed vocabulary, so that programs can act on it."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Reason", "Skipped"]


class Reason(StrEnum):
    """Why one model could not be leased at one instant."""

    QUOTA = "quota"
    """A bucket of the model, or of a pool it draws on, holds too little."""
    CONCURRENCY = "concurrency"
    """As many calls are in flight as its concurrency limit allows."""
    COOLING = "cooling"
    """Closed after a rejection until `retry_at`."""
    PROBING = "probing"
    """Half open: a probe, or the ramp after it, has to succeed first."""
    SLOW_START = "slow_start"
    """A fresh model proves its limit with a growing window of unanswered calls."""
    RESERVED = "reserved"
    """Free, but an earlier waiter of another line is about to be served by it."""
    PREFERRED = "preferred"
    """Not looked at: an earlier step is expected to be free within the patience."""
    PLANNED = "planned"
    """Free, but the plan of a batch has another use for it."""
    TOO_LARGE = "too_large"
    """The request is larger than a bucket's whole capacity: it can never fit here."""
    NO_QUOTA = "no_quota"
    """The service grants this account a quota of zero for the model."""
    KEY_REFUSED = "key_refused"
    """The model's key is wrong, or has no money left."""
    GONE = "gone"
    """The service does not know the model (404)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """One candidate that was not chosen, and why.

    `retry_at` is the instant on the router's clock (seconds) at which this reason is expected to end: infinity when
    nothing but the operator can end it, or when it ends with an event (a lease that settles) rather than with time.
    `quota` names the limit in question (`rpm`, `input_tpm`, `account.rpd` for a pool's), where there is one.
    """

    model: str
    reason: Reason
    retry_at: float
    quota: str | None = None

    def __str__(self) -> str:
        return f"{self.model}: {self.reason}" + (f" ({self.quota})" if self.quota else "")
