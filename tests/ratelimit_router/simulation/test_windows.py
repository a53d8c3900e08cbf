"""The four kinds of window, judged by plain lists of what was admitted when."""

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.windows import (
    TICK,
    ContinuousWindow,
    DayWindow,
    FixedWindow,
    RollingWindow,
    Window,
    make_window,
)

START = 1_700_000_000.0
LOS_ANGELES = "00:00 America/Los_Angeles"

gaps = st.floats(min_value=0, max_value=40, allow_nan=False)
costs = st.integers(min_value=1, max_value=6)
traffic = st.lists(st.tuples(gaps, costs), min_size=1, max_size=60)


def admitted(window: Window, calls: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """When each admitted call came, and what it used."""
    now, found = START, []
    for gap, cost in calls:
        now += gap
        if window.wait(now, cost) == 0:
            window.spend(now, cost)
            found.append((now, cost))
    return found


@given(traffic)
def test_a_rolling_window_never_admits_more_than_its_amount_in_any_period(calls: list[tuple[float, int]]) -> None:
    """Whatever the traffic: in the 60 seconds before each admission there is at most the amount."""
    found = admitted(RollingWindow(10, 60), calls)
    for end, _ in found:
        assert sum(cost for at, cost in found if end - 60 + 2 * TICK < at <= end) <= 10


@given(traffic)
def test_what_a_rolling_window_has_left_is_its_amount_less_what_was_spent_in_the_last_period(
    calls: list[tuple[float, int]],
) -> None:
    """The sum that it keeps is the sum of the list, overdrawn or not."""
    window, spent, now = RollingWindow(10, 60), [], START
    for gap, cost in calls:
        now += gap
        window.spend(now, cost)
        spent.append((now, cost))
        assert window.left(now) == 10 - sum(cost for at, cost in spent if at + 60 > now + TICK)


@given(traffic)
def test_a_continuous_window_never_admits_more_than_burst_and_refill(calls: list[tuple[float, int]]) -> None:
    """Between any two admissions: at most the burst and what has flowed in since."""
    found = admitted(ContinuousWindow(12, 60, burst=8), calls)
    for first, (start, _) in enumerate(found):
        for end, _ in found[first:]:
            used = sum(cost for at, cost in found if start <= at <= end)
            assert used <= 8 + (end - start + TICK) * 12 / 60 + 1e-6


@given(traffic)
def test_a_fixed_window_never_admits_more_than_its_amount_in_one_minute_of_the_clock(
    calls: list[tuple[float, int]],
) -> None:
    """Each aligned minute holds at most the amount."""
    used: dict[float, int] = {}
    for at, cost in admitted(FixedWindow(10, 60), calls):
        minute = (at + TICK) // 60
        used[minute] = used.get(minute, 0) + cost
    assert all(amount <= 10 for amount in used.values())


@given(traffic, st.sampled_from(["continuous", "rolling", "fixed", "day"]))
def test_a_wait_ends_exactly_when_the_amount_fits(calls: list[tuple[float, int]], kind: str) -> None:
    """Not a millisecond before the promised instant, and surely at it."""
    window = make_window(kind, 10, 60, resets=LOS_ANGELES)  # type: ignore[arg-type] -- drawn from the kinds
    now = START
    for gap, cost in calls:
        now += gap
        wait = window.wait(now, cost)
        if wait:
            assert wait < 2e-3 or window.wait(now + wait - 1e-3, cost) > 0
            assert window.wait(now + wait, cost) == 0
            now += wait
        window.spend(now, cost)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ContinuousWindow(10, 60),
        lambda: RollingWindow(10, 60),
        lambda: FixedWindow(10, 60),
        lambda: DayWindow(10, LOS_ANGELES),
    ],
    ids=["continuous", "rolling", "fixed", "day"],
)
def test_what_is_larger_than_the_window_never_fits(make: Callable[[], Window]) -> None:
    """The wait for more than the whole amount is infinite, on a fresh window too."""
    assert make().wait(START, 11) == float("inf")
    assert make().wait(START, 10) == 0


def test_a_continuous_window_without_a_burst_admits_twice_its_amount_in_its_first_minute() -> None:
    """The documented weakness of a bucket: the burst, and the refill of the minute besides."""
    window = ContinuousWindow(60, 60)
    assert len(admitted(window, [(0.5, 1)] * 118)) == 118


def test_a_fixed_window_admits_twice_its_amount_around_the_turn_of_the_minute() -> None:
    """What a rolling window forbids, a fixed one allows: the end of one minute and the start of the next."""
    turn = START - START % 60 + 60
    window = FixedWindow(10, 60)
    for now in (turn - 1.0, turn):
        assert window.wait(now, 10) == 0
        window.spend(now, 10)
    assert window.wait(turn + 1, 1) == pytest.approx(59)


@pytest.mark.parametrize(
    ("day", "hours"), [((2024, 7, 1), 24), ((2024, 3, 10), 23), ((2024, 11, 3), 25)], ids=["plain", "spring", "autumn"]
)
def test_a_day_lasts_from_midnight_to_midnight_in_its_zone(day: tuple[int, int, int], hours: int) -> None:
    """23 hours when the clocks go forward in California, 25 when they go back."""
    midnight = datetime(*day, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp()
    window = DayWindow(1, LOS_ANGELES)
    window.spend(midnight, 1)
    assert window.wait(midnight, 1) == hours * 3600
    assert window.wait(midnight + hours * 3600, 1) == 0


def test_an_overdrawn_window_owes_before_it_gives() -> None:
    """What was spent beyond the amount has to come back first."""
    window = ContinuousWindow(60, 60)
    window.spend(START, 90)
    assert window.wait(START, 1) == pytest.approx(31)
    assert window.left(START) == -30


def test_a_leeway_forgives_that_much_jitter_and_no_more() -> None:
    """A rolling window with a leeway of a tenth of a second lets a call in that much early."""
    window = RollingWindow(1, 60, leeway=0.1)
    window.spend(START, 1)
    assert window.wait(START + 59.8, 1) > 0
    assert window.wait(START + 59.9, 1) == 0
    bucket = ContinuousWindow(60, 60, burst=1, leeway=0.1)
    bucket.spend(START, 1)
    assert bucket.wait(START + 0.8, 1) > 0
    assert bucket.wait(START + 0.9, 1) == 0


def test_resizing_keeps_what_was_spent() -> None:
    """A limit that is lowered in mid-run counts the past."""
    for window in (ContinuousWindow(10, 60), RollingWindow(10, 60), FixedWindow(10, 60)):
        window.spend(START, 4)
        window.resize(START, 5, None)
        assert window.left(START) == 1


def test_what_came_back_before_a_change_came_at_the_old_rate() -> None:
    """Ten a minute for 30 s bring five back, whatever the limit is then."""
    for amount in (5, 60):
        window = ContinuousWindow(10, 60, burst=10)
        window.spend(START, 10)
        window.resize(START + 30, amount, 10)
        assert window.left(START + 30) == pytest.approx(5.0)
        assert window.left(START + 33) == pytest.approx(5.0 + 3 * amount / 60)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    """Time running backwards refills no bucket and empties no list."""
    for window in (ContinuousWindow(10, 60), RollingWindow(10, 60), FixedWindow(10, 60)):
        window.spend(START, 10)
        assert window.wait(START - 30, 1) > 0
        window.spend(START - 30, 1)
        assert window.wait(START, 1) > 0
        assert window.left(START) == -1


def test_a_reset_that_is_no_time_and_zone_is_refused() -> None:
    """The error names the key, and shows the form that is right; what a router takes, a service takes, too."""
    for text in ("midnight", "25:00 UTC", "00:00 Nowhere/City", "00:00"):
        with pytest.raises(ConfigError, match=r"resets: .*America/Los_Angeles"):
            QuotaRule(name="rpd", amount=1, resets=text)
    assert QuotaRule(name="rpd", amount=1, resets="9:00 Europe/Rome").window == "day"
