"""Headers as real services send them, and as nobody should."""

import email.utils
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.headers import LONGEST, HeaderFacts, QuotaFact, parse_headers

NOW = 1_790_000_000.0  # 2026-09-21T13:33:20Z


def test_openai() -> None:
    """Requests and tokens by the minute; the reset is a duration with or without minutes."""
    headers = {
        "x-ratelimit-limit-requests": "60",
        "X-RateLimit-Limit-Tokens": "150000",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert parse_headers(headers, NOW) == HeaderFacts(
        quotas=(
            QuotaFact(quota="rpm", limit=60, remaining=59, resets_in=1),
            QuotaFact(quota="tpm", limit=150_000, remaining=149_984, resets_in=360),
        )
    )


def test_groq_counts_requests_by_the_day() -> None:
    """The same names; the caller, who knows the service, says what they mean."""
    headers = {"retry-after": "2", "x-ratelimit-limit-requests": "14400", "x-ratelimit-reset-requests": "2m59.56s"}
    facts = parse_headers(headers, NOW, requests="rpd")
    assert facts.retry_after == 2
    assert facts.quotas == (QuotaFact(quota="rpd", limit=14_400, resets_in=pytest.approx(179.56)),)


def test_anthropic() -> None:
    """Four quotas; the reset is an instant, told apart by the caller's wall clock."""
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-09-21T14:13:30Z",
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "39000",
        "anthropic-ratelimit-output-tokens-reset": "2026-09-21T16:13:21.5+02:00",
        "anthropic-ratelimit-tokens-remaining": "47000",
        "retry-after": "10",
    }
    assert parse_headers(headers, NOW) == HeaderFacts(
        retry_after=10,
        quotas=(
            QuotaFact(quota="rpm", limit=50, remaining=0, resets_in=10),
            QuotaFact(quota="tpm", remaining=47_000),
            QuotaFact(quota="input_tpm", limit=40_000, remaining=39_000),
            QuotaFact(quota="output_tpm", resets_in=1.5),
        ),
    )


def test_ietf_draft() -> None:
    """A policy by the minute or the day has a name here, its level is found by the policy's name."""
    headers = [
        ("RateLimit-Policy", '"burst";q=100;w=60, "daily";q=1000;w=86400'),
        ("RateLimit-Policy", '"hourly";q=5;w=3600'),
        ("RateLimit", '"daily";r=700, "burst" ; r=50 ; t=30'),
    ]
    assert parse_headers(headers, NOW).quotas == (
        QuotaFact(quota="rpm", limit=100, remaining=50, resets_in=30),
        QuotaFact(quota="rpd", limit=1_000, remaining=700),
    )


def test_ietf_names_may_hold_separators() -> None:
    """A quoted name with a comma, a semicolon or an escaped quote in it is one name."""
    headers = {"ratelimit-policy": r'"a,b;c\"d";q=5;w=60', "ratelimit": r'"a,b;c\"d";r=1;t=2'}
    assert parse_headers(headers, NOW).quotas == (QuotaFact(quota="rpm", limit=5, remaining=1, resets_in=2),)


def test_ietf_units_other_than_requests() -> None:
    """Tokens count as tokens; units without a name here are left out."""
    headers = {"ratelimit-policy": '"t";q=5;w=60;qu="tokens", "b";q=9;w=60;qu="content-bytes"'}
    assert parse_headers(headers, NOW).quotas == (QuotaFact(quota="tpm", limit=5),)


def test_of_two_policies_of_a_kind_the_tighter_counts() -> None:
    """Per-user and per-account policies by the minute: what is left is the lesser."""
    headers = {"ratelimit-policy": '"a";q=9;w=60, "b";q=5;w=60', "ratelimit": '"a";r=8, "b";r=2'}
    assert parse_headers(headers, NOW).quotas == (QuotaFact(quota="rpm", limit=5, remaining=2),)


def test_of_two_policies_of_a_kind_the_one_with_a_level_counts() -> None:
    """A policy whose level is not told says less than one whose level is."""
    headers = {"ratelimit-policy": '"a";q=9;w=60, "b";q=5;w=60', "ratelimit": '"b";r=2'}
    assert parse_headers(headers, NOW).quotas == (QuotaFact(quota="rpm", limit=5, remaining=2),)


def test_retry_after_wins_over_the_drafts_t() -> None:
    """Only where no Retry-After is given does `t` of a spent policy stand in for it."""
    headers = {"ratelimit-policy": '"a";q=9;w=60', "ratelimit": '"a";r=0;t=40'}
    assert parse_headers(headers, NOW).retry_after == 40
    assert parse_headers(headers | {"retry-after": "3"}, NOW).retry_after == 3
    assert parse_headers({**headers, "ratelimit": '"a";r=1;t=40'}, NOW).retry_after is None


def test_a_service_own_headers_win_over_the_draft() -> None:
    """Where a response speaks both, the service's own names are the better documented ones."""
    headers = {"ratelimit-policy": '"a";q=9;w=60', "x-ratelimit-limit-requests": "60"}
    assert parse_headers(headers, NOW).quotas == (QuotaFact(quota="rpm", limit=60),)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "Mon, 21 Sep 2026 14:14:20 GMT"}, 60),
        ({"Retry-After": "Mon, 21 Sep 2026 14:14:20 -0000"}, 60),
        ({"Retry-After": "Monday, 21-Sep-26 14:14:20 GMT"}, 60),
        ({"Retry-After": email.utils.formatdate(NOW - 500, usegmt=True)}, 0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1),
        ({"retry-after": "99999999"}, 604_800),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1_000"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date, milliseconds first, never negative, never beyond a week, absent when malformed."""
    assert parse_headers(headers, NOW).retry_after == seconds


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("20ms", 0.02),
        ("1h2m3.5s", 3_723.5),
        ("1d", 86_400),
        ("500us", 0.0005),
        ("500µs", 0.0005),
        ("250ns", 0.00000025),
        ("30d", 604_800),
        ("12", 12),
        ("0", 0),
        (str(int(NOW) + 9), 9),
        ("2026-09-21T14:13:25Z", 5),
        ("2026-99-21T14:13:25Z", None),
        ("8h7m6s5", None),
        ("s", None),
    ],
)
def test_a_reset_is_a_duration_or_an_instant(reset: str, seconds: float | None) -> None:
    """All the ways in which services that use OpenAI's names write it."""
    headers = {"x-ratelimit-limit-requests": "1", "x-ratelimit-reset-requests": reset}
    assert parse_headers(headers, NOW).quotas[0].resets_in == (seconds if seconds is None else pytest.approx(seconds))


def test_a_malformed_field_does_not_spoil_the_others() -> None:
    """What can be read is read; a negative remainder means that nothing is left."""
    headers = {
        "x-ratelimit-limit-requests": "many",
        "x-ratelimit-remaining-requests": "-3",
        "x-ratelimit-remaining-tokens": "7",
    }
    assert parse_headers(headers, NOW).quotas == (
        QuotaFact(quota="rpm", remaining=0),
        QuotaFact(quota="tpm", remaining=7),
    )


NAMES = st.sampled_from(
    ["retry-after", "Retry-After-Ms", "RateLimit", "ratelimit-policy"]
    + [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]
    + [f"anthropic-ratelimit-{of}-{what}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]
)
WORDS = ["1", "0", "60", "86400", "-", ".", "s", "m", "ms", "h", "9" * 20, "²", "inf", "nan", " ", "a", "\x00", "\n"]
FIELD_PARTS = ['"', "\\", ";", ",", "=", ";q=5", ";w=60", ";r=0", ";t=3", ";qu="]
DATES = ["GMT", "Mon, ", "21 Sep 2026 ", "99999 ", "14:13:20", "+99:99", "2026-09-21T", "00:00:60Z"]
INSTANTS = ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"]
PIECES = st.sampled_from([*WORDS, *FIELD_PARTS, *DATES, *INSTANTS])
VALUES = st.lists(PIECES, max_size=8).map("".join) | st.text()
FIELDS = st.lists(st.tuples(NAMES | st.text(max_size=5), VALUES), max_size=8)


@given(FIELDS | FIELDS.map(dict), st.floats())
def test_nothing_raises_and_everything_is_within_bounds(headers: Any, now_wall: float) -> None:
    """Any text under any name, at any reading of the clock: times lie within a week, amounts are finite."""
    facts = parse_headers(headers, now_wall)
    times = [facts.retry_after, *(fact.resets_in for fact in facts.quotas)]
    amounts = [amount for fact in facts.quotas for amount in (fact.limit, fact.remaining)]
    assert all(time is None or 0 <= time <= LONGEST for time in times)
    assert all(amount is None or 0 <= amount < 1e19 for amount in amounts)
    assert len({fact.quota for fact in facts.quotas}) == len(facts.quotas)


JUNK = st.recursive(
    st.none() | st.integers() | st.binary() | st.text(), lambda inner: st.lists(inner) | st.tuples(inner, inner)
)


@given(st.lists(JUNK))
def test_what_is_no_pair_of_texts_is_left_out(headers: list[Any]) -> None:
    """Bytes are read as Latin-1 (as ASGI and h11 hand them out), everything else is passed over."""
    assert isinstance(parse_headers(headers, NOW), HeaderFacts)
    assert parse_headers([*headers, (b"Retry-After", b"7")][-1:], NOW).retry_after == 7


def test_a_huge_header_is_cut() -> None:
    """A megabyte of separators is looked at only at its beginning."""
    headers = {"ratelimit-policy": '"a";q=9;w=60,' + ';"' * 500_000}
    assert parse_headers(headers, NOW).quotas == (QuotaFact(quota="rpm", limit=9),)
