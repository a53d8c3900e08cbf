"""From an error body of a Google service (google.rpc.Status as JSON) to an Outcome: no I/O, no SDK, never an error.

Anything may stand in a body, so nothing of it is trusted: what cannot be read is left out, hints are held between 0
and 7 days, and of its texts only upper-case status words and reasons ever reach a detail.
"""

import re
from collections.abc import Mapping, Sequence

from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router_providers.durations import seconds
from ratelimit_router_providers.google_quota import violations, worst

__all__ = ["outcome_of_body"]

_STATUS_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 503,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_KINDS = {
    401: Kind.AUTH,
    402: Kind.BILLING,
    403: Kind.AUTH,
    404: Kind.MODEL_GONE,
    408: Kind.TIMEOUT,
    409: Kind.OVERLOADED,
    425: Kind.OVERLOADED,
    429: Kind.RATE_LIMITED,
    499: Kind.TIMEOUT,
    504: Kind.TIMEOUT,
}
_KEY_REASONS = re.compile(r"API_?KEY|CONSUMER_|ACCESS_TOKEN|CREDENTIALS|SERVICE_DISABLED", re.ASCII)
_KEY_PROSE = re.compile(r"api key (not valid|not found|expired|is invalid)|location is not supported", re.IGNORECASE)
_BILLING_PROSE = re.compile(
    r"prepa(?:id|y\w*)\b.{0,60}\bdepleted|credits? (?:is|are) depleted|spending (?:cap|limit)|enable billing",
    re.IGNORECASE | re.DOTALL,
)
_SHARED_PROSE = re.compile(r"resource exhausted[.,]?\s+please try again later", re.IGNORECASE)
_RETRY_PROSE = re.compile(r"retry in\s+([\d.]+[a-zµ][\d.a-zµ]*)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z][A-Z0-9_]{1,59}", re.ASCII)
_PROSE_READ = 20_000


def outcome_of_body(code: int | None, body: object, *, header_hint: object = None) -> Outcome:
    """What an error answer means.

    `code`: the HTTP status, None or a success status if the error came inside of a stream (then the body's own code or
    status word counts). `body`: the parsed JSON, or anything else. `header_hint`: a Retry-After header's text, used
    where the body has no hint.
    """
    error = _error_of(body)
    details, message = _details(error), _text(error.get("message"))
    code = _code(code, error)
    reasons = [reason for detail in details if (reason := _word(detail.get("reason")))]
    told = " ".join(part for part in (str(code or ""), _word(error.get("status")), *reasons[:1]) if part)
    kind = _kind(code, reasons, message, quota_named=any("violations" in detail for detail in details))
    hint = _hint(details, message, header_hint) if kind in (Kind.RATE_LIMITED, Kind.OVERLOADED) else None
    if kind is not Kind.RATE_LIMITED:
        return Outcome(kind=kind, retry_after=hint, detail=told)
    verdict, others = worst(violations(details, message))
    if verdict is None:
        return Outcome(kind=kind, retry_after=hint, detail=told)
    return Outcome(kind=kind, retry_after=hint, quota=verdict.quota, limit=verdict.limit, others=others, detail=told)


def _kind(code: int | None, reasons: Sequence[str], message: str, *, quota_named: bool) -> Kind:
    if code is None or code < 400:
        return Kind.BAD_RESPONSE  # a redirect, or an error object without a code
    if code in (400, 402, 403, 429) and ("BILLING_DISABLED" in reasons or _BILLING_PROSE.search(message)):
        return Kind.BILLING
    if code == 400 and (any(map(_KEY_REASONS.search, reasons)) or _KEY_PROSE.search(message)):
        return Kind.AUTH
    if code == 429 and not quota_named and _SHARED_PROSE.search(message):
        return Kind.OVERLOADED  # Vertex AI: capacity shared by all customers, no quota of this account
    if (kind := _KINDS.get(code)) is not None:
        return kind
    return Kind.BAD_REQUEST if code < 500 else Kind.OVERLOADED


def _error_of(body: object) -> Mapping[str, object]:
    if isinstance(body, list) and body:  # a streamed error over REST comes as an array of one
        body = body[0]
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, Mapping) else body


def _details(error: Mapping[str, object]) -> list[Mapping[str, object]]:
    details = error.get("details")
    return [one for one in details if isinstance(one, Mapping)] if isinstance(details, list) else []


def _code(code: int | None, error: Mapping[str, object]) -> int | None:
    if code is not None and code >= 300:
        return code
    inner = error.get("code")
    if isinstance(inner, int) and 400 <= inner < 600:
        return inner
    return _STATUS_CODES.get(_word(error.get("status")))


def _hint(details: Sequence[Mapping[str, object]], message: str, header: object) -> float | None:
    delays = [hint for detail in details if (hint := seconds(detail.get("retryDelay"))) is not None]
    if delays:
        return max(delays)
    for detail in details:
        metadata = detail.get("metadata")
        if isinstance(metadata, Mapping) and (hint := seconds(metadata.get("quotaResetDelay"))) is not None:
            return hint
    prose = _RETRY_PROSE.search(message)
    if prose is not None and (hint := seconds(prose[1].rstrip("."))) is not None:
        return hint
    return seconds(header)


def _text(value: object) -> str:
    return value[:_PROSE_READ] if isinstance(value, str) else ""


def _word(value: object) -> str:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""
