"""What one quota learns, as pure arithmetic: evidence and instants go in, shares come out."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.adaptive import (
    FULL,
    LEAST,
    LONGEST_HOLD,
    NEVER_TRUE,
    RATE_CUT,
    About,
    Evidence,
    Learned,
    cut,
    grow,
    take_limit,
)

HOW: dict[str, Any] = {"configured": 100.0, "period": 60.0, "least": 0.01, "most": 1.0}


def window(admitted: float, believed: float) -> Evidence:
    """So much was admitted in a window, of what was believed possible."""
    return Evidence(about=About.WINDOW, admitted=admitted, believed=believed)


EVIDENCE = st.builds(
    Evidence, about=st.sampled_from(About), admitted=st.floats(-10, 200), believed=st.floats(0, 200), few=st.booleans()
)


@given(steps=st.lists(st.tuples(st.floats(0, 500), EVIDENCE | st.none() | st.floats(1, 99))))
def test_never_above_the_configured_limit_and_never_given_up(
    steps: list[tuple[float, Evidence | float | None]],
) -> None:
    """Whatever is refused, stated and grown back: between the least share and all of it."""
    learned, now = FULL, 0.0
    for wait, what in steps:
        now += wait
        if isinstance(what, Evidence):
            learned = cut(learned, what, now)
        elif what is not None:
            learned = take_limit(learned, what, 100.0, now)
        else:
            learned = grow(learned, now, **HOW)
        assert LEAST * 1.0 <= learned.amount(100.0) <= 100.0
        assert LEAST <= learned.burst <= 1.0


def test_what_a_window_admitted_is_taken_for_its_limit() -> None:
    """At once and exactly: no blind cuts on the way."""
    assert cut(FULL, window(37, 100), 5.0).amount(100.0) == pytest.approx(37.0)


def test_a_few_calls_do_not_measure_a_rate() -> None:
    """They cut it by no more than `RATE_CUT`; many calls are believed."""
    few = Evidence(about=About.RATE, admitted=1.0, believed=10.0, few=True)
    assert cut(FULL, few, 5.0).rate == RATE_CUT
    assert cut(FULL, replace(few, few=False), 5.0).rate == pytest.approx(0.1)


def test_a_burst_that_was_too_large_casts_doubt_on_the_rate() -> None:
    """The burst becomes what was admitted; the rate as much smaller, but not by more than `RATE_CUT`."""
    found = cut(FULL, Evidence(about=About.BURST, admitted=20, believed=100), 5.0)
    assert (found.burst, found.rate) == (pytest.approx(0.2), RATE_CUT)
    mild = cut(FULL, Evidence(about=About.BURST, admitted=90, believed=100), 5.0)
    assert (mild.burst, mild.rate) == (pytest.approx(0.9), pytest.approx(0.9))


def test_a_refusal_that_tells_nothing_changes_no_limit() -> None:
    """It only puts off the next step up."""
    before = cut(FULL, window(50, 100), 0.0)
    after = cut(before, Evidence(about=About.RATE, admitted=0.0, believed=0.0), 30.0)
    assert after == replace(before, since=30.0)


def refusals(truth: float, until: float, learned: Learned = FULL, now: float = 0.0) -> tuple[Learned, list[float]]:
    """Look every ten seconds: more than the truth is refused, for what was admitted is the truth."""
    found = []
    while now < until:
        now += 10.0
        learned = grow(learned, now, **HOW)
        if learned.amount(100.0) > truth:
            found.append(now)
            learned = cut(learned, window(truth, learned.amount(100.0)), now)
    return learned, found


def test_a_limit_that_is_wrong_for_good_is_refused_ever_more_rarely() -> None:
    """Once to find out, once to make sure, and then no more than every `LONGEST_HOLD`."""
    _, found = refusals(50.0, 4 * 3_600.0)
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert found[0] == 10.0
    assert gaps == sorted(gaps)
    assert all(gap >= LONGEST_HOLD for gap in gaps[1:])


def test_a_drop_that_passes_is_made_good_in_minutes() -> None:
    """However often it was confirmed: a hold and some steps later all is as configured, without a refusal."""
    learned, _ = refusals(50.0, 3_600.0)
    learned, found = refusals(100.0, 3_600.0 + LONGEST_HOLD + 240.0, learned, 3_600.0)
    assert (learned.rate, found) == (1.0, [])


def test_the_first_step_up_is_the_smallest() -> None:
    """A call or a fiftieth, and only later more."""
    learned, steps = cut(FULL, window(50, 100), 0.0), []
    for now in range(0, 600, 10):
        grown = grow(learned, float(now), **HOW)
        if grown is not learned:
            steps.append(grown.rate - learned.rate)
            learned = grown
    assert steps[:3] == [pytest.approx(0.02), pytest.approx(0.06), pytest.approx(0.18)]


def test_the_burst_comes_back_last() -> None:
    """While the rate is being tried, an idle minute does not end in a burst that is untried, too."""
    learned = cut(FULL, Evidence(about=About.BURST, admitted=20, believed=100), 0.0)
    for now in range(0, 3_600, 10):
        learned = grow(learned, float(now), **HOW)
        assert learned.burst == pytest.approx(0.2) or learned.rate == 1.0
    assert (learned.rate, learned.burst) == (1.0, 1.0)


def test_a_stated_limit_is_tried_too_but_not_soon() -> None:
    """Services raise limits without a word; a statement is believed as much as two refusals."""
    learned = take_limit(FULL, 40.0, 100.0, 0.0)
    assert grow(learned, LONGEST_HOLD - 1.0, **HOW) is learned
    grown = grow(learned, LONGEST_HOLD, **HOW)
    assert (grown.named, grown.amount(100.0)) == (None, pytest.approx(42.0))


def test_growth_ends_where_the_operator_lets_it() -> None:
    """At what is configured, or as far above it as the stretch allows."""
    for most in (1.0, 1.5):
        learned = FULL
        for now in range(0, 3_600, 60):
            learned = grow(learned, float(now), **(HOW | {"most": most}))
        assert learned.rate == most


def test_what_was_never_true_is_tried_half_as_often() -> None:
    """Less went well before the first refusal than one period allows: no drop that could pass has been seen."""
    gaps = []
    for first in (False, True):
        learned, now = cut(FULL, replace(window(50, 100), first=first), 0.0), 0.0
        for _ in range(2):
            learned = cut(grow(learned, now + 3_600.0, **HOW), window(50, 52), now)
        while (grown := grow(learned, now, **HOW)) is learned:
            now += 10.0
        gaps.append(now)
        assert grown.unproven is first
    assert gaps == [LONGEST_HOLD, NEVER_TRUE * LONGEST_HOLD]


def test_what_was_admitted_once_may_have_dropped() -> None:
    """After a minute at what is configured a refusal is a drop, however it began."""
    learned = cut(FULL, replace(window(50, 100), first=True), 0.0)
    whole = replace(learned, rate=1.0, since=100.0)
    assert cut(whole, window(50, 100), 120.0).unproven
    assert not cut(whole, window(50, 100), 160.0).unproven
