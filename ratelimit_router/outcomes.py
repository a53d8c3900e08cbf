"""What became of a call, in the router's terms: a provider classifies, the router acts on the result."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from ratelimit_router import errors

__all__ = ["Kind", "Outcome", "outcome_of"]


class Kind(StrEnum):
    """The router does one thing for each of these."""

    RATE_LIMITED = "rate_limited"
    """A quota of the account was hit: cool, learn, go on with the next model."""
    OVERLOADED = "overloaded"
    """The service is at its limit or broken: short backoff, nothing to learn, go on."""
    BILLING = "billing"
    """The account cannot pay: close every model of the key, go on."""
    AUTH = "auth"
    """The key is refused: close every model of the key, go on."""
    MODEL_GONE = "model_gone"
    """No such model: take it out, go on."""
    BAD_REQUEST = "bad_request"
    """The caller's fault: the model is healthy, the error goes to the caller."""
    BAD_RESPONSE = "bad_response"
    """An unusable answer: it cost its quota; another attempt may be made."""
    TIMEOUT = "timeout"
    """Sent, no answer in time: what it may have cost stays charged; another attempt may be made."""
    NOT_SENT = "not_sent"
    """Never reached the service: everything is given back; another attempt may be made."""
    CANCELLED = "cancelled"
    """The caller went away in the middle: what it may have cost stays charged."""
    UNKNOWN = "unknown"
    """Not the service's doing (an exception of the caller's own code): everything stays charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict on one failed call.

    `retry_after`: the service's hint, seconds. `quota`: the limit that was hit, of those in `limits.QUOTAS` or, for a
    pool's, `pool.quota`. `limit`: its true amount as the service states it (0: no quota at all). `others`: further
    limits that the same answer names, with their amounts. `detail`: a short text for people, without secrets.
    """

    kind: Kind
    retry_after: float | None = None
    quota: str | None = None
    limit: float | None = None
    others: tuple[tuple[str, float | None], ...] = ()
    detail: str = ""


_KINDS: dict[type[errors.ProviderError], Kind] = {
    errors.RateLimited: Kind.RATE_LIMITED,
    errors.Overloaded: Kind.OVERLOADED,
    errors.BillingError: Kind.BILLING,
    errors.AuthError: Kind.AUTH,
    errors.ModelGone: Kind.MODEL_GONE,
    errors.BadRequest: Kind.BAD_REQUEST,
    errors.BadResponse: Kind.BAD_RESPONSE,
    errors.ProviderTimeout: Kind.TIMEOUT,
    errors.NotSent: Kind.NOT_SENT,
}


def outcome_of(error: BaseException) -> Outcome:
    """The outcome of one of our own errors, or of a plain Python one, when no provider knows better."""
    for cls in type(error).__mro__:
        if (kind := _KINDS.get(cls)) is not None:
            return Outcome(
                kind=kind,
                retry_after=getattr(error, "retry_after", None),
                quota=getattr(error, "quota", None),
                limit=getattr(error, "limit", None),
                others=getattr(error, "others", ()),
                detail=str(error),
            )
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return Outcome(kind=Kind.CANCELLED)
    if isinstance(error, ConnectionRefusedError):
        return Outcome(kind=Kind.NOT_SENT, detail=type(error).__name__)
    if isinstance(error, TimeoutError):
        return Outcome(kind=Kind.TIMEOUT, detail=type(error).__name__)
    return Outcome(kind=Kind.UNKNOWN, detail=type(error).__name__)
