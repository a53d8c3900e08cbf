"""One tree of errors; facts are attributes, messages say what to do next.

RouterError
├── ConfigError (ValueError)            a value that cannot work; names the file and the key
├── UnknownTier (LookupError)           no tier of that name
├── RouterClosed                        the router was closed while, or before, it was asked
├── StoreUnavailable                    the shared store does not answer, and nothing is spent unseen
├── RequestTooLarge                     larger than a bucket's capacity on every step of the chain
├── NoCapacity                          nothing is free: `retry_at`, `reasons`
│   ├── RouteTimeout (TimeoutError)     nothing is free before the caller's deadline
│   └── QuotaExhausted                  only daily quotas stand in the way: `resets_at`
├── AttemptsExhausted                   every attempt along the chain failed: `errors`
└── ProviderError                       what a call came to, in the router's terms
    ├── RateLimited                     a quota was hit (429)
    ├── Overloaded                      the service, not the account, is at its limit (500, 503, 529)
    ├── BillingError                    no money: every model of the key is closed
    ├── AuthError                       wrong key: every model of the key is closed
    ├── ModelGone                       no such model (404)
    ├── BadRequest                      the caller's request cannot be served as it is (400)
    ├── BadResponse                     the answer is unusable (cut, malformed, empty)
    ├── ProviderTimeout (TimeoutError)  sent, no answer in time
    └── NotSent                         never reached the service

None of them holds a key, a prompt or an answer; all of them pickle.
"""

import math
from typing import Any

from ratelimit_router.reasons import Skipped

__all__ = [
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
    "RouteTimeout",
    "RouterClosed",
    "RouterError",
    "StoreUnavailable",
    "UnknownTier",
]


def _rebuild(cls: type["RouterError"], args: tuple[Any, ...], facts: dict[str, Any]) -> "RouterError":
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(facts)
    return error


class RouterError(Exception):
    """The root: catch it to catch everything this library raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class ConfigError(RouterError, ValueError):
    """A value that cannot work. `file` and `key` say where it stands (`models.flash.limits.rpm`)."""

    def __init__(self, problem: str, *, key: str | None = None, file: str | None = None, line: int | None = None):
        self.problem, self.key, self.file, self.line = problem, key, file, line
        place = f"{file}:{line}" if file and line else file
        super().__init__(": ".join(part for part in (place, key, problem) if part))

    def at(self, *, key: str | None = None, file: str | None = None, line: int | None = None) -> "ConfigError":
        """The same problem with its place completed: `key` goes in front of what is there."""
        whole = ".".join(part for part in (key, self.key) if part) or None
        return ConfigError(self.problem, key=whole, file=self.file or file, line=self.line or line)


class UnknownTier(RouterError, LookupError):
    """No tier of that name; `known` lists those there are."""

    def __init__(self, tier: str, known: tuple[str, ...] = ()):
        self.tier, self.known = tier, known
        super().__init__(f"no tier named {tier!r}; there are: {', '.join(known) or 'none'}")


class RouterClosed(RouterError):
    """The router was closed: its waiters end with this, and nothing can be routed any more."""

    def __init__(self) -> None:
        super().__init__("the router is closed")


class StoreUnavailable(RouterError):
    """The shared store cannot be reached, or did not answer in time; what it was asked may have happened or not.

    `store`: which one, without a password. `detail`: what went wrong, in a few words.
    """

    def __init__(self, store: str, detail: str):
        self.store, self.detail = store, detail
        super().__init__(
            f"the store {store} is not available ({detail}): nothing is spent without it; start it, or see `outage`"
        )


class RequestTooLarge(RouterError):
    """The request fits no step of the chain, ever; `reasons` names the bucket that is too small on each."""

    def __init__(self, reasons: tuple[Skipped, ...] = ()):
        self.reasons = reasons
        super().__init__(f"larger than a whole bucket on every step ({_join(reasons)}): split the request")


class NoCapacity(RouterError):
    """No model of the chain is free.

    `retry_at`: the instant on the router's clock (seconds) at which one will be; infinity if none will by itself.
    `retry_after`: the same, as seconds from when the error was made. `reasons`: one for every candidate.
    """

    def __init__(self, retry_at: float = math.inf, reasons: tuple[Skipped, ...] = (), *, retry_after: float = math.inf):
        self.retry_at, self.reasons, self.retry_after = retry_at, reasons, retry_after
        when = "and none will be by itself" if math.isinf(retry_at) else f"the first will be in {retry_after:.3f} s"
        super().__init__(f"no model is free, {when} ({_join(reasons)})")


class RouteTimeout(NoCapacity, TimeoutError):
    """No model is free before the caller's deadline. Raised at once when that is known at once."""


class QuotaExhausted(NoCapacity):
    """Only daily quotas stand in the way. `resets_at`: when the first of them is back (POSIX seconds, wall clock)."""

    def __init__(
        self,
        retry_at: float = math.inf,
        reasons: tuple[Skipped, ...] = (),
        *,
        retry_after: float = math.inf,
        resets_at: float = math.inf,
    ):
        super().__init__(retry_at, reasons, retry_after=retry_after)
        self.resets_at = resets_at


class AttemptsExhausted(RouterError):
    """Every attempt failed. `errors`: (model name, error) of each, in order; the last is also the `__cause__`."""

    def __init__(self, errors: tuple[tuple[str, BaseException], ...] = ()):
        self.errors = errors
        told = "; ".join(f"{model}: {type(error).__name__}" for model, error in errors)
        super().__init__(f"all {len(errors)} attempts failed ({told})")


class ProviderError(RouterError):
    """What a call came to, in the router's terms. `detail` is a short text of ours: never an answer, a key or a URL."""

    summary = "the call failed"

    def __init__(self, detail: str = "", *, retry_after: float | None = None):
        self.detail, self.retry_after = detail, retry_after
        super().__init__(detail or self.summary)


class RateLimited(ProviderError):
    """A quota was hit.

    `retry_after`: the service's hint in seconds, if it gave one. `quota`: which limit (`rpm`, `input_tpm`, `rpd`, or
    `pool.rpd`), if it said so. `limit`: that limit's true amount, if it said so (0 = this account has none).
    `others`: further limits that the same answer names as breached, with their amounts.
    """

    def __init__(
        self,
        retry_after: float | None = None,
        quota: str | None = None,
        limit: float | None = None,
        *,
        others: tuple[tuple[str, float | None], ...] = (),
        detail: str = "",
    ):
        self.quota, self.limit, self.others = quota, limit, others
        told = f"rate limited on {quota or 'an unnamed quota'}" + (f" of {limit:g}" if limit is not None else "")
        super().__init__(detail or told, retry_after=retry_after)


class Overloaded(ProviderError):
    """Overloaded or broken (500, 502, 503, 529, shared capacity): the account's own limits are not in question."""

    summary = "the service is overloaded"

    def __init__(self, retry_after: float | None = None, *, detail: str = ""):
        super().__init__(detail, retry_after=retry_after)


class BillingError(ProviderError):
    """The account has no money or no plan for this: every model of the key is closed until `reconfigure`."""

    summary = "the account behind the key cannot pay: top it up, then reconfigure"


class AuthError(ProviderError):
    """The key is wrong or may not do this: every model of the key is closed until `reconfigure`."""

    summary = "the service refuses the key: correct it, then reconfigure"


class ModelGone(ProviderError):
    """The service does not know the model: it is taken out of every chain until `reconfigure`."""

    summary = "the service does not know this model"


class BadRequest(ProviderError):
    """The request itself cannot be served: no other attempt is made."""

    summary = "the service refuses the request itself"


class BadResponse(ProviderError):
    """An answer that cannot be used: cut, malformed, or empty. It has cost its quota."""

    summary = "the answer cannot be used"


class ProviderTimeout(ProviderError, TimeoutError):
    """Sent, and no answer in time: the quota it may have cost stays charged."""

    summary = "no answer in time"


class NotSent(ProviderError):
    """The request never reached the service: everything charged for it is given back."""

    summary = "the request was not sent"


def _join(reasons: tuple[Skipped, ...]) -> str:
    return "; ".join(map(str, reasons)) or "the chain is empty"
