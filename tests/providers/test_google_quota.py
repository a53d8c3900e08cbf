"""Quota violations: names told by what an id contains, amounts told by value or prose, the worst one decides."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router_providers.google_quota import Violation, amount, quota_name, violations, worst

METRIC = "generativelanguage.googleapis.com/"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "rpm"),
        ("GenerateRequestsPerMinutePerProjectPerModel", "rpm"),
        ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "rpd"),
        ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "input_tpm"),
        ("GenerateContentPaidTierInputTokensPerModelPerMinute", "input_tpm"),
        ("GenerateContentInputTokensPerModelPerDay-FreeTier", "input_tpd"),
        ("GenerateContentOutputTokensPerModelPerMinute", "output_tpm"),
        ("GenerateContentTokensPerModelPerDay", "tpd"),
        ("GenerateContentTokensPerModelPerMinute", "tpm"),
        (f"GlobalGeneratePerMinute {METRIC}generate_content_free_tier_input_token_count", "input_tpm"),
        (f"SomethingNewPerDay-Tier3 {METRIC}generate_requests_per_model", "rpd"),
        ("Generate Content API requests per minute", "rpm"),
        ("GenerateConcurrentRequestsPerProjectPerModel-FreeTier", "concurrency"),
        ("OutputTokensPerDay", None),
        ("PerMinute", None),
        ("", None),
    ],
)
def test_quota_names_come_from_what_an_id_contains(text: str, expected: str | None) -> None:
    """Free, paid, regional and future spellings of one quota have one name; what we do not count has none."""
    assert quota_name(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("250000", 250_000.0),
        (15, 15.0),
        ("0", 0.0),
        (0, 0.0),
        ("nan", None),
        ("-1", None),
        (True, None),
        ("x", None),
        (None, None),
    ],
    ids=repr,
)
def test_amounts_are_sensible_numbers_or_none(value: object, expected: float | None) -> None:
    """quotaValue is a text in JSON; nonsense is no amount."""
    assert amount(value) == expected


def test_the_worst_violation_decides_in_any_order() -> None:
    """Zero before the day, the day before the minute, a named one before an unnamed one: whatever the order."""
    found = [
        Violation(quota="rpm", limit=10.0),
        Violation(quota="rpd", limit=250.0),
        Violation(quota="input_tpm", limit=0.0),
        Violation(quota=None, limit=3.0),
    ]
    for order in itertools.permutations(found):
        verdict, others = worst(order)
        assert verdict == found[2]
        assert others == (("rpd", 250.0), ("rpm", 10.0))
    assert worst(found[:2])[0] == found[1]
    assert worst([found[3], found[0]])[0] == found[0]
    assert worst([]) == (None, ())


def test_a_quota_named_twice_counts_once_with_its_smaller_limit() -> None:
    """The same quota for two models or locations is one quota of ours."""
    verdict, others = worst([Violation(quota="rpm", limit=20.0), Violation(quota="rpm", limit=10.0)])
    assert verdict == Violation(quota="rpm", limit=10.0)
    assert others == ()


def test_a_zero_that_protobuf_left_out_is_read_from_the_prose() -> None:
    """JSON leaves a quotaValue of 0 out; the message says `limit: 0`."""
    metric = METRIC + "generate_content_free_tier_requests"
    details = [
        {"violations": [{"quotaMetric": metric, "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
    ]
    message = f"* Quota exceeded for metric: {metric}, limit: 0, model: gemini-3.1-pro\nPlease retry in 36s."
    assert violations(details, message) == (Violation(quota="rpd", limit=0.0),)
    assert violations(details, "quota exceeded") == (Violation(quota="rpd", limit=None),)
    assert violations(details, message.replace("limit: 0", "limit: 50")) == (Violation(quota="rpd", limit=50.0),)


def test_prose_alone_can_name_a_quota() -> None:
    """Older answers name quota and limit only in the message."""
    message = (
        "Quota exceeded for quota metric 'Generate Content API requests per minute' and limit 'GenerateContent request "
        "limit per minute for a region' of service 'generativelanguage.googleapis.com'"
    )
    assert violations([], message) == (Violation(quota="rpm"),)


def test_prose_of_vertex_ai_can_name_a_quota() -> None:
    """Vertex AI names the quota's id in the first words of its message."""
    message = "Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project. Please"
    assert violations([], message) == (Violation(quota="rpm"),)
    assert violations([], "Quota exceeded for you.") == ()


def test_an_amount_without_a_quota_of_ours_is_dropped_unless_it_is_zero() -> None:
    """What limits something we do not count must not be taken for a limit of something we do; zero is zero."""
    sessions = {"quotaId": "OpenSessionsPerProjectPerModel", "quotaValue": "8"}
    assert violations([{"violations": [sessions]}], "") == (Violation(),)
    assert violations([{"violations": [{**sessions, "quotaValue": "0"}]}], "") == (Violation(limit=0.0),)
    assert violations([], f"Quota exceeded for metric: {METRIC}generate_requests, limit: 8") == (Violation(),)


def test_error_info_names_a_quota_too() -> None:
    """RATE_LIMIT_EXCEEDED has its quota in the metadata of ErrorInfo."""
    metadata = {
        "quota_limit": "GenerateContentRequestsPerMinutePerProjectPerRegion",
        "quota_limit_value": "5",
        "quota_metric": METRIC + "generate_content_requests",
    }
    assert violations([{"reason": "RATE_LIMIT_EXCEEDED", "metadata": metadata}], "") == (
        Violation(quota="rpm", limit=5.0),
    )


@given(st.text(max_size=200))
def test_any_text_has_a_known_name_or_none(text: str) -> None:
    """No id makes up a quota."""
    assert quota_name(text) in {None, "concurrency", "rpm", "tpm", "input_tpm", "output_tpm", "rpd", "tpd", "input_tpd"}
