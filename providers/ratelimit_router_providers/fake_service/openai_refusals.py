"""The answers with which OpenAI says no.

A 429 names one quota, the worst, in its message, with the wait in prose. How much its headers tell depends on
`FakeModel.headers`: the wait (`retry-after` in whole seconds, rounded up, and `retry-after-ms`), and the state of the
quota (`x-ratelimit-*`).
"""

import json
import math
from collections.abc import Mapping

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
    "rate_limited",
    "too_long",
    "wrong_key",
]

# quota: (as the message words it, as the error's type)
_SPELLING = {
    "rpm": ("requests per min (RPM)", "requests"),
    "rpd": ("requests per day (RPD)", "requests"),
    "tpm": ("tokens per min (TPM)", "tokens"),
    "tpd": ("tokens per day (TPD)", "tokens"),
    "input_tpm": ("input tokens per min", "tokens"),
    "output_tpm": ("output tokens per min", "tokens"),
    "input_tpd": ("input tokens per day", "tokens"),
    "concurrency": ("concurrent requests", "requests"),
}
_HTML = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"


def error(
    status: int,
    message: str,
    kind: str | None,
    code: str | None = None,
    *,
    hint: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """OpenAI's error object."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Refusal(status=status, body=json.dumps(body, indent=4), hint=hint, headers=headers or {})


def for_decision(model: FakeModel, decision: Decision) -> Refusal:
    """The 429 for quotas that are really used up."""
    worst = max(decision.violations, key=lambda violation: violation.wait)
    return rate_limited(model, worst, hint_seconds(decision, model.hint))


def rate_limited(model: FakeModel, violation: Violation, hint: float | None) -> Refusal:
    """rate_limit_exceeded with every detail that the model's `headers` allow."""
    told, kind = _SPELLING[violation.name]
    limit = f"{violation.amount:.0f}"
    message = f"Rate limit reached for {model.id} on {told}: Limit {limit}, Used {limit}, Requested 1."
    if hint is not None:
        message += f" Please try again in {duration(hint)}."
    headers = {} if hint is None or model.headers == "none" else _retry_after(hint)
    if model.headers == "all":
        headers |= {f"x-ratelimit-limit-{kind}": limit, f"x-ratelimit-remaining-{kind}": "0"}
        headers |= {f"x-ratelimit-reset-{kind}": duration(violation.wait)} if math.isfinite(violation.wait) else {}
    return error(429, message, kind, "rate_limit_exceeded", hint=hint, headers=headers)


def duration(seconds: float) -> str:
    """A wait as OpenAI words it, never rounded down: `820ms`, `6.2s`, `10h17m5.7s`."""
    milliseconds = _milliseconds(seconds)
    if milliseconds < 1_000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1e3, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + shown


def _milliseconds(seconds: float) -> int:
    """Rounded up, but not for a float's last digits."""
    return math.ceil(round(seconds * 1e3, 3))


def _retry_after(hint: float) -> dict[str, str]:
    milliseconds = _milliseconds(hint)
    return {"retry-after": str(math.ceil(milliseconds / 1e3)), "retry-after-ms": str(milliseconds)}


def no_key() -> Refusal:
    """A call without a key."""
    return error(401, "You didn't provide an API key.", "invalid_request_error")


def wrong_key() -> Refusal:
    """A key that it does not know."""
    return error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")


def bad_request(message: str) -> Refusal:
    """The request's own fault."""
    return error(400, message, "invalid_request_error")


def model_not_found(model_id: str, version: str) -> Refusal:
    """No such model."""
    message = f"The model `{model_id}` does not exist or you do not have access to it."
    return error(404, message, "invalid_request_error", "model_not_found")


def too_long(tokens: int, limit: int) -> Refusal:
    """A prompt beyond the model's window."""
    message = (
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens} tokens."
    )
    return error(400, message, "invalid_request_error", "context_length_exceeded")


def internal() -> Refusal:
    """The service broke."""
    return error(500, "The server had an error while processing your request. Sorry about that!", "server_error")


def overloaded() -> Refusal:
    """The service is full."""
    return error(503, "The engine is currently overloaded, please try again later.", "server_error")


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
            return error(403, "You are not allowed to use this model.", "invalid_request_error")
        case "prepay_depleted":
            message = "You exceeded your current quota, please check your plan and billing details."
            return error(429, message, "insufficient_quota", "insufficient_quota")
        case "model_gone":
            return model_not_found(model.id, version)
        case "bad_request":
            return bad_request("Invalid value for a parameter of the request.")
        case "minute_quota":
            return rate_limited(model, _named(model, "rpm", 500, seconds), seconds)
        case "day_quota" | "day_quota_short_hint" | "several_violations":
            return rate_limited(model, _named(model, "rpd", 10_000, seconds), seconds)
        case "limit_zero" | "limit_zero_prose":
            return rate_limited(model, Violation(name="rpm", amount=0, wait=seconds), seconds)
        case "prose_429":
            message = f"Rate limit reached for {model.id}. Please try again in {duration(seconds)}."
            return error(429, message, "requests", "rate_limit_exceeded", hint=seconds)
        case "shared_capacity":
            return error(503, "Slow down: your rate of requests rose too quickly.", "server_error", "slow_down")
        case _:
            return error(429, "Too Many Requests", "requests", "rate_limit_exceeded")


def _named(model: FakeModel, name: str, usual: float, wait: float) -> Violation:
    """A violation of the model's own quota of that name, or of a usual amount where it has none."""
    amount = next((rule.amount for rule in model.quotas if rule.name == name), usual)
    return Violation(name=name, amount=amount, wait=wait)
