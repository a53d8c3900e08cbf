"""Durations: every spelling that Google's answers use, and nothing else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router_providers.durations import LONGEST_HINT, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("34s", 34.0),
        ("3.214562890s", 3.21456289),
        ("373.8ms", 0.3738),
        ("10h17m5.7s", 37_025.7),
        ("9h54m", 35_640.0),
        ("1d2h", 93_600.0),
        ("12µs", 12e-6),
        ("7", 7.0),
        (" 7.5s ", 7.5),
        ({"seconds": 34, "nanos": 500_000_000}, 34.5),
        ({"seconds": "34"}, 34.0),
        ({"nanos": 1}, 1e-9),
        (5, 5.0),
        (0.25, 0.25),
    ],
)
def test_every_spelling_is_read(text: object, expected: float) -> None:
    """The spellings of protobuf, Go and plain numbers mean the same seconds."""
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    ["", "s", "soon", "12x", "1h garbage", "nan", math.nan, None, True, [], {}, {"seconds": []}, b"3s", "9" * 65 + "s"],
    ids=repr,
)
def test_what_is_no_duration_is_no_hint(text: object) -> None:
    """Malformed durations are None, not an error and not zero."""
    assert seconds(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-5s", 0.0), (-1, 0.0), ("inf", LONGEST_HINT), ("999999h", LONGEST_HINT), (10**400, None), (1e300, LONGEST_HINT)],
)
def test_absurd_durations_are_held_between_zero_and_a_week(text: object, expected: float | None) -> None:
    """A hint never opens a model in the past and never closes it for longer than any quota's period."""
    assert seconds(text) == expected


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda of: st.lists(of)))
def test_any_value_is_read_without_an_error(value: object) -> None:
    """Whatever stands where a duration should: None, or a number from 0 to 7 days."""
    found = seconds(value)
    assert found is None or 0 <= found <= LONGEST_HINT


@given(st.integers(0, 6 * 86_400), st.integers(0, 999_999_999))
def test_protobuf_durations_keep_their_nanoseconds(whole: int, nanos: int) -> None:
    """Nine fraction digits are read to the microsecond at least."""
    assert seconds(f"{whole}.{nanos:09d}s") == pytest.approx(whole + nanos * 1e-9, abs=1e-6)
