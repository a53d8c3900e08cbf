"""The bodies with which Gemini says no, byte for byte as they are seen in the wild.

A 429 lists every quota in the way (QuotaFailure), a link (Help) and the wait (RetryInfo); the message repeats them in
prose. Some accounts get only the prose, some only a bare status: those are faults of their own.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from ratelimit_router.simulation.quota import Decision, Violation, hint_seconds
from ratelimit_router_providers.fake_service.config import FakeModel
from ratelimit_router_providers.fake_service.exchange import Refusal
from ratelimit_router_providers.fake_service.faults import Strike

__all__ = [
    "bad_request",
    "error",
    "for_decision",
    "for_strike",
    "internal",
    "model_not_found",
    "no_key",
    "overloaded",
    "too_long",
    "wrong_key",
]

_TYPE = "type.googleapis.com/google.rpc."
_METRIC = "generativelanguage.googleapis.com/"
_LIMITS_URL = "https://ai.google.dev/gemini-api/docs/rate-limits"
_EXCEEDED = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    f"head over to: {_LIMITS_URL}. To monitor your current usage, head to: https://ai.dev/usage?tab=rate-limit. "
)
_HTML = (
    "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
)

# quota: (metric of the free tier, metric of the paid tier, id without the tier)
_SPELLING = {
    "rpm": (
        "generate_content_{}_requests",
        "generate_requests_per_model",
        "GenerateRequestsPerMinutePerProjectPerModel",
    ),
    "rpd": (
        "generate_content_{}_requests",
        "generate_requests_per_model_per_day",
        "GenerateRequestsPerDayPerProjectPerModel",
    ),
    "input_tpm": ("generate_content_{}_input_token_count", "", "GenerateContentInputTokensPerModelPerMinute"),
    "input_tpd": ("generate_content_{}_input_token_count", "", "GenerateContentInputTokensPerModelPerDay"),
    "output_tpm": ("generate_content_{}_output_token_count", "", "GenerateContentOutputTokensPerModelPerMinute"),
    "tpm": ("generate_content_{}_token_count", "", "GenerateContentTokensPerModelPerMinute"),
    "tpd": ("generate_content_{}_token_count", "", "GenerateContentTokensPerModelPerDay"),
    "concurrency": ("generate_content_{}_concurrent_requests", "", "GenerateConcurrentRequestsPerProjectPerModel"),
}


def error(
    code: int, status: str, message: str, details: Sequence[dict[str, Any]] = (), *, hint: float | None = None
) -> Refusal:
    """Google's error object."""
    body: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        body["details"] = list(details)
    return Refusal(status=code, body=json.dumps({"error": body}, indent=2), hint=hint)


def for_decision(model: FakeModel, decision: Decision) -> Refusal:
    """The 429 for quotas that are really used up."""
    return quota_exceeded(model, decision.violations, hint_seconds(decision, model.hint))


def quota_exceeded(model: FakeModel, violations: Sequence[Violation], hint: float | None) -> Refusal:
    """RESOURCE_EXHAUSTED with every detail that Gemini gives."""
    message = _EXCEEDED + "".join(f"\n{_prose(model, violation)}" for violation in violations)
    details = [
        {"@type": _TYPE + "QuotaFailure", "violations": [_violation(model, violation) for violation in violations]},
        {"@type": _TYPE + "Help", "links": [{"description": "Learn more about Gemini API quotas", "url": _LIMITS_URL}]},
    ]
    if hint is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": duration(hint)})
        message += f"\nPlease retry in {prose_duration(hint)}."
    return error(429, "RESOURCE_EXHAUSTED", message, details, hint=hint)


def spelling(name: str, *, paid: bool) -> tuple[str, str]:
    """A quota's metric and id, as Gemini spells them for the tier of the account."""
    free_metric, paid_metric, quota_id = _SPELLING[name]
    if not paid:
        return _METRIC + free_metric.format("free_tier"), f"{quota_id}-FreeTier"
    if name in ("rpm", "rpd"):
        return _METRIC + paid_metric, quota_id
    paid_id = quota_id.replace("GenerateContent", "GenerateContentPaidTier")
    return _METRIC + free_metric.format("paid_tier"), paid_id


def duration(seconds: float) -> str:
    """A protobuf duration: up to nine fraction digits, rounded up so that the hint is never too early."""
    nanos = math.ceil(round(seconds * 1e9, 3))
    return f"{nanos // 1_000_000_000}.{nanos % 1_000_000_000:09d}".rstrip("0").rstrip(".") + "s"


def prose_duration(seconds: float) -> str:
    """The same wait as the message words it: `10h17m5.7s`."""
    minutes, left = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    rest = f"{left:.9f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + rest


def no_key() -> Refusal:
    """A call without a key."""
    return error(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other "
        "form of API consumer identity to call this API.",
    )


def wrong_key() -> Refusal:
    """Gemini's 400 for a key it does not know."""
    info = {
        "@type": _TYPE + "ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    message = "API key not valid. Please pass a valid API key."
    localized = {"@type": _TYPE + "LocalizedMessage", "locale": "en-US", "message": message}
    return error(400, "INVALID_ARGUMENT", message, [info, localized])


def bad_request(message: str) -> Refusal:
    """Gemini's 400 for a request that it cannot read."""
    return error(400, "INVALID_ARGUMENT", message)


def model_not_found(model_id: str, version: str) -> Refusal:
    """Gemini's 404 for a model."""
    return error(
        404,
        "NOT_FOUND",
        f"models/{model_id} is not found for API version {version}, or is not supported for generateContent. Call "
        "ListModels to see the list of available models and their supported methods.",
    )


def too_long(tokens: int, limit: int) -> Refusal:
    """Gemini's 400 for a prompt beyond the model's window."""
    message = f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit})."
    return error(400, "INVALID_ARGUMENT", message)


def for_strike(strike: Strike, model: FakeModel, version: str) -> Refusal:
    """What a fault at the front answers."""
    seconds = strike.seconds
    match strike.fault.name:
        case "internal":
            return internal()
        case "unavailable":
            return overloaded()
        case "html_502":
            return Refusal(status=502, body=_HTML, content_type="text/html")
        case "bad_key":
            return wrong_key()
        case "forbidden":
            return error(403, "PERMISSION_DENIED", "The caller does not have permission")
        case "prepay_depleted":
            message = "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing."
            return error(402, "FAILED_PRECONDITION", message)
        case "model_gone":
            return model_not_found(model.id, version)
        case "bad_request":
            return bad_request("Request contains an invalid argument.")
        case "minute_quota":
            return quota_exceeded(model, [_named(model, "rpm", 10, seconds)], seconds)
        case "day_quota" | "day_quota_short_hint":
            return quota_exceeded(model, [_named(model, "rpd", 250, seconds)], seconds)
        case "limit_zero":
            return quota_exceeded(model, _zeros(seconds), seconds)
        case "limit_zero_prose":
            whole = quota_exceeded(model, _zeros(seconds), seconds)
            message = json.loads(whole.body)["error"]["message"]
            return error(429, "RESOURCE_EXHAUSTED", message, hint=seconds)
        case "several_violations":
            found = [_named(model, name, amount, seconds) for name, amount in _SEVERAL]
            return quota_exceeded(model, found, seconds)
        case "prose_429":
            message = f"{_EXCEEDED}\nPlease retry in {prose_duration(seconds)}."
            return error(429, "RESOURCE_EXHAUSTED", message, hint=seconds)
        case "shared_capacity":
            return error(
                429,
                "RESOURCE_EXHAUSTED",
                "Resource exhausted. Please try again later. Please refer to "
                "https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
            )
        case _:
            return error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")


_SEVERAL = (("input_tpm", 250_000), ("rpd", 250), ("rpm", 10))


def internal() -> Refusal:
    """Gemini's 500."""
    return error(
        500,
        "INTERNAL",
        "An internal error has occurred. Please retry or report in "
        "https://developers.generativeai.google/guide/troubleshooting",
    )


def overloaded() -> Refusal:
    """Gemini's 503."""
    return error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


def _named(model: FakeModel, name: str, usual: float, wait: float) -> Violation:
    """A violation of the model's own quota of that name, or of a usual amount where it has none."""
    amount = next((rule.amount for rule in model.quotas if rule.name == name), usual)
    return Violation(name=name, amount=amount, wait=wait)


def _zeros(wait: float) -> list[Violation]:
    return [Violation(name=name, amount=0, wait=wait) for name in ("rpd", "rpm", "input_tpm")]


def _violation(model: FakeModel, violation: Violation) -> dict[str, Any]:
    metric, quota_id = spelling(violation.name, paid=model.paid)
    return {
        "quotaMetric": metric,
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global", "model": model.id},
        "quotaValue": f"{violation.amount:.0f}",
    }


def _prose(model: FakeModel, violation: Violation) -> str:
    metric, _ = spelling(violation.name, paid=model.paid)
    return f"* Quota exceeded for metric: {metric}, limit: {violation.amount:.0f}, model: {model.id}"
