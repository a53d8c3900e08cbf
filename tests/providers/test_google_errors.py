"""Error bodies to outcomes: the bodies that are seen in the wild, and every other one without an exception."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.limits import QUOTAS
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router_providers.google_errors import outcome_of_body
from ratelimit_router_providers.http_error import HttpError, parse_body

RPC = "type.googleapis.com/google.rpc."
METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_"
DAY = {
    "quotaMetric": METRIC + "requests",
    "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    "quotaValue": "250",
}
MINUTE = {
    "quotaMetric": METRIC + "requests",
    "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
    "quotaValue": "10",
}
TOKENS = {
    "quotaMetric": METRIC + "input_token_count",
    "quotaId": "GenerateContentInputTokensPerModelPerMinute",
    "quotaValue": 250_000,
}


def body(code: int = 429, message: str = "", status: str = "RESOURCE_EXHAUSTED", details: Any = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details is not None:
        error["details"] = details
    return {"error": error}


def quota_failure(*found: dict[str, Any]) -> dict[str, Any]:
    return {"@type": RPC + "QuotaFailure", "violations": list(found)}


def retry_info(delay: object) -> dict[str, Any]:
    return {"@type": RPC + "RetryInfo", "retryDelay": delay}


def verdict(answer: object, code: int | None = 429) -> tuple[Kind, str | None, float | None, float | None]:
    found = outcome_of_body(code, answer)
    return found.kind, found.quota, found.limit, found.retry_after


def test_a_daily_quota_keeps_its_short_hint() -> None:
    """Gemini gives a hint of 36 s for a quota that is back at midnight: both facts are passed on."""
    answer = body(details=[quota_failure(DAY), retry_info("36s")])
    assert verdict(answer) == (Kind.RATE_LIMITED, "rpd", 250.0, 36.0)


def test_a_daily_quota_with_the_true_hint() -> None:
    """The same with a hint of hours in Go's spelling."""
    assert verdict(body(details=[retry_info("9h54m"), quota_failure(DAY)])) == (
        Kind.RATE_LIMITED,
        "rpd",
        250.0,
        35_640.0,
    )


def test_several_violations_come_down_to_the_worst() -> None:
    """The day's quota is the verdict, the others are told with their amounts."""
    found = outcome_of_body(429, body(details=[quota_failure(TOKENS, DAY, MINUTE), retry_info("20s")]))
    assert (found.quota, found.limit, found.retry_after) == ("rpd", 250.0, 20.0)
    assert found.others == (("input_tpm", 250_000.0), ("rpm", 10.0))


def test_a_limit_of_zero_is_told_as_zero() -> None:
    """No quota at all is the worst, whatever else is listed."""
    answer = body(details=[quota_failure(DAY, {**MINUTE, "quotaValue": "0"})])
    assert verdict(answer) == (Kind.RATE_LIMITED, "rpm", 0.0, None)


def test_a_hint_may_stand_in_the_prose_alone() -> None:
    """Without details, "Please retry in 10h17m5.7s." is the hint."""
    assert verdict(body(message="You exceeded your quota.\nPlease retry in 10h17m5.7s.")) == (
        Kind.RATE_LIMITED,
        None,
        None,
        pytest.approx(37_025.7),
    )


def test_a_hint_may_stand_in_the_error_info() -> None:
    """ErrorInfo.metadata.quotaResetDelay is a hint in milliseconds."""
    info = {"@type": RPC + "ErrorInfo", "metadata": {"quotaResetDelay": "373.8ms"}}
    assert verdict(body(details=[info]))[3] == pytest.approx(0.3738)


def test_a_retry_after_header_is_the_last_resort() -> None:
    """Gemini sends none, a proxy may; a hint of the body goes before it."""
    assert outcome_of_body(429, body(), header_hint="12").retry_after == 12.0
    assert outcome_of_body(429, body(details=[retry_info("3s")]), header_hint="12").retry_after == 3.0
    assert outcome_of_body(503, None, header_hint="Wed, 21 Oct 2026 07:28:00 GMT").retry_after is None


def test_a_bare_429_names_no_quota() -> None:
    """A rejection without details is a rejection; nothing is made up."""
    assert verdict(body(message="Resource has been exhausted (e.g. check quota).")) == (
        Kind.RATE_LIMITED,
        None,
        None,
        None,
    )


def test_the_word_billing_in_a_quota_message_is_not_about_money() -> None:
    """Every Gemini 429 says "check your plan and billing details"."""
    message = "You exceeded your current quota, please check your plan and billing details."
    assert verdict(body(message=message, details=[quota_failure(MINUTE)]))[0] is Kind.RATE_LIMITED


def test_shared_capacity_is_overload_and_teaches_nothing() -> None:
    """Vertex AI's "Resource exhausted" without a QuotaFailure is about everybody's capacity."""
    message = "Resource exhausted. Please try again later. Please refer to https://cloud.google.com/x for more details."
    assert verdict(body(message=message)) == (Kind.OVERLOADED, None, None, None)
    assert verdict(body(message=message, details=[quota_failure(MINUTE)]))[0] is Kind.RATE_LIMITED


KEY_INVALID = [{"@type": RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]


@pytest.mark.parametrize(
    ("code", "answer", "kind"),
    [
        (400, body(400, "API key not valid.", "INVALID_ARGUMENT", KEY_INVALID), Kind.AUTH),
        (400, body(400, "API key expired. Please renew the API key.", "INVALID_ARGUMENT"), Kind.AUTH),
        (400, body(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"), Kind.AUTH),
        (400, body(400, "Please enable billing on your project.", "FAILED_PRECONDITION"), Kind.BILLING),
        (400, body(400, "Request contains an invalid argument.", "INVALID_ARGUMENT"), Kind.BAD_REQUEST),
        (401, body(401, "", "UNAUTHENTICATED"), Kind.AUTH),
        (402, body(402, "Your prepayment credits are depleted.", "FAILED_PRECONDITION"), Kind.BILLING),
        (429, body(429, "Your prepayment credits are depleted."), Kind.BILLING),
        (429, body(429, "Your project has exceeded its monthly spending cap."), Kind.BILLING),
        (403, body(403, "", "PERMISSION_DENIED"), Kind.AUTH),
        (403, body(403, "", "PERMISSION_DENIED", [{"reason": "BILLING_DISABLED"}]), Kind.BILLING),
        (404, body(404, "models/x is not found", "NOT_FOUND"), Kind.MODEL_GONE),
        (408, None, Kind.TIMEOUT),
        (413, None, Kind.BAD_REQUEST),
        (500, body(500, "", "INTERNAL"), Kind.OVERLOADED),
        (502, None, Kind.OVERLOADED),
        (503, body(503, "The model is overloaded.", "UNAVAILABLE"), Kind.OVERLOADED),
        (504, body(504, "", "DEADLINE_EXCEEDED"), Kind.TIMEOUT),
        (529, None, Kind.OVERLOADED),
        (302, None, Kind.BAD_RESPONSE),
        (None, body(503, "", "UNAVAILABLE"), Kind.OVERLOADED),
        (200, body(429, ""), Kind.RATE_LIMITED),
        (None, [body(429, "")], Kind.RATE_LIMITED),
        (None, {"error": {"status": "RESOURCE_EXHAUSTED"}}, Kind.RATE_LIMITED),
        (None, {"error": {}}, Kind.BAD_RESPONSE),
        (None, None, Kind.BAD_RESPONSE),
    ],
)
def test_each_status_has_its_kind(code: int | None, answer: object, kind: Kind) -> None:
    """The table of docs/reference/gemini.md."""
    assert outcome_of_body(code, answer).kind is kind


def test_details_say_status_and_reason_and_nothing_of_the_message() -> None:
    """What a message or a strange status holds never gets out."""
    found = outcome_of_body(400, body(400, "secret prompt", "INVALID_ARGUMENT", KEY_INVALID))
    assert found.detail == "400 INVALID_ARGUMENT API_KEY_INVALID"
    assert outcome_of_body(400, body(400, "x", "the Secret prompt")).detail == "400"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda of: st.lists(of, max_size=4) | st.dictionaries(st.text(max_size=10), of, max_size=4),
    max_leaves=12,
)
TEXTS = st.sampled_from(
    [
        "Per Day",
        "GenerateRequestsPerDay",
        "InputTokensPerMinute",
        "limit: 0",
        "Please retry in 5h.",
        "retry in 1.2.3.4s",
        "0",
    ]
)
FIELDS = st.sampled_from(
    [
        "error",
        "code",
        "status",
        "message",
        "details",
        "violations",
        "quotaId",
        "quotaMetric",
        "quotaValue",
        "retryDelay",
        "metadata",
        "quotaResetDelay",
        "quota_limit",
        "quota_limit_value",
        "quota_metric",
        "reason",
        "seconds",
        "nanos",
    ]
)
BODIES = st.recursive(
    JSON | TEXTS,
    lambda of: st.lists(of, max_size=4) | st.dictionaries(FIELDS, of, max_size=6),
    max_leaves=25,
)


def check(found: Outcome) -> None:
    assert isinstance(found.kind, Kind)
    assert found.retry_after is None or 0 <= found.retry_after <= 7 * 86_400
    assert found.quota is None or found.quota in QUOTAS
    for limit in (found.limit, *(limit for _, limit in found.others)):
        assert limit is None or (math.isfinite(limit) and limit >= 0)
    assert {name for name, _ in found.others} <= set(QUOTAS)


@given(st.none() | st.integers(), BODIES)
def test_any_json_becomes_an_outcome(code: int | None, answer: object) -> None:
    """Whatever the body: an outcome with sensible numbers, never an exception."""
    check(outcome_of_body(code, answer))


@given(BODIES)
def test_any_detail_of_a_429_becomes_an_outcome(detail: object) -> None:
    """The same where the shape is right and only the details are strange."""
    check(outcome_of_body(429, body(details=[detail, quota_failure(DAY)])))


@given(st.integers(100, 599), st.binary(max_size=200), st.none() | st.text(max_size=20))
def test_any_bytes_become_an_outcome(status: int, content: bytes, header: str | None) -> None:
    """The same for bodies that are no JSON, no UTF-8, nothing."""
    check(HttpError.of(status, content, header).outcome)


def test_a_body_too_deep_to_parse_is_no_json() -> None:
    """Nesting beyond the parser's stack is not an error of ours."""
    assert parse_body(b"[" * 200_000) is None
    assert parse_body(b'{"a": 1}') == {"a": 1}
