"""Figures in words."""

import pytest

from ratelimit_router.simulation.report.words import clock, figure, over, percent, plain, span


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (59.6, "1:00"), (843, "14:03"), (4_443, "1:14:03")])
def test_an_instant_is_minutes_and_seconds(seconds: float, words: str) -> None:
    """Hours only where there are any."""
    assert clock(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (21.94, "21.9 s"), (59.96, "1:00"), (843, "14:03")])
def test_a_short_time_has_tenths(seconds: float, words: str) -> None:
    """From a minute on nobody needs them."""
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.0, "the least possible"),
        (1.018, "1.8% over the least possible"),
        (2.91, "2.9 times the least possible"),
        (0.97, "3.0% under the least possible"),
    ],
)
def test_a_ratio_says_how_far_from_the_least_possible(ratio: float, words: str) -> None:
    """Under it would be a wrong bound, and is not hidden."""
    assert over(ratio) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (0.0004, "< 0.001"), (0.0042, "0.004"), (0.042, "0.042"), (14.24, "14.2"), (1_316.2, "1,316")],
)
def test_a_figure_has_no_more_digits_than_one_reads(number: float, words: str) -> None:
    """And nothing is never said of a little."""
    assert figure(number) == words


@pytest.mark.parametrize(("share", "words"), [(0, "0%"), (1, "100%"), (0.52, "52%"), (0.996, "99.6%"), (0.004, "0.4%")])
def test_a_share_near_its_ends_has_a_digit_more(share: float, words: str) -> None:
    """99.6% is not all."""
    assert percent(share) == words


def test_a_name_is_one_line_and_not_too_long() -> None:
    """Whatever is in it."""
    assert plain("a\n\tb\x00  c") == "a b c"
    assert plain("x" * 50) == "x" * 35 + "…"
