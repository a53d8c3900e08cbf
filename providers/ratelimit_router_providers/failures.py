"""From an Outcome to the error that a provider raises, with a cause that tells the SDK's story without its secrets."""

from collections.abc import Callable

from ratelimit_router import errors
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router_providers.google_faults import call_outcome

__all__ = ["SdkError", "failed", "failure", "missing_sdk"]

_PLAIN: dict[Kind, Callable[[str], errors.ProviderError]] = {
    Kind.BILLING: errors.BillingError,
    Kind.AUTH: errors.AuthError,
    Kind.MODEL_GONE: errors.ModelGone,
    Kind.BAD_REQUEST: errors.BadRequest,
    Kind.TIMEOUT: errors.ProviderTimeout,
    Kind.NOT_SENT: errors.NotSent,
}


class SdkError(Exception):
    """Stands for an SDK's exception as the `__cause__` of ours: its class and status, and nothing else of it."""


def failure(outcome: Outcome, error: BaseException | None = None) -> errors.ProviderError:
    """The error to raise for an outcome. A kind that no service's answer can have becomes BadResponse.

    The SDK's `error` itself is not kept: its text, its attributes and the frames of its traceback hold URLs, headers,
    bodies and keys. Raise the result outside of the `except` block that caught it, so that nothing refers to it.
    """
    made = _make(outcome)
    if error is not None:
        status = f" {outcome.detail}" if outcome.detail and outcome.detail != type(error).__name__ else ""
        made.__cause__ = SdkError(f"{type(error).__module__}.{type(error).__qualname__}{status}")
    return made


def failed(error: Exception, *, value_error: Kind = Kind.BAD_RESPONSE) -> errors.RouterError:
    """The error to raise for whatever left a call: one of ours as it is, but free of the frames it came through.

    `value_error`: what a bare ValueError of the SDK means.
    """
    if isinstance(error, errors.RouterError):
        error.__context__ = None
        return error.with_traceback(None)
    return failure(call_outcome(error, value_error=value_error), error)


def missing_sdk(package: str, extra: str) -> errors.ConfigError:
    """The error for a provider whose SDK is not installed."""
    return errors.ConfigError(f"needs the package {package}: pip install 'ratelimit-router[{extra}]'", key="provider")


def _make(outcome: Outcome) -> errors.ProviderError:
    if outcome.kind is Kind.RATE_LIMITED:
        return errors.RateLimited(outcome.retry_after, outcome.quota, outcome.limit, others=outcome.others)
    told = outcome.detail
    if outcome.kind is Kind.OVERLOADED:
        return errors.Overloaded(outcome.retry_after, detail=_sentence(errors.Overloaded, told))
    cls = _PLAIN.get(outcome.kind, errors.BadResponse)
    return cls(_sentence(cls, told))


def _sentence(cls: Callable[..., errors.ProviderError], told: str) -> str:
    summary = str(getattr(cls, "summary", ""))
    return f"{summary} ({told})" if told else summary
