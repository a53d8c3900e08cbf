"""Plans: the least time in which a backlog can be started, and the best choices within it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from ratelimit_router.planner import Option, plan
from ratelimit_router.portions import portions


def a_minute(amount: float) -> object:
    """A rolling quota that is all there now: so much at once, and again every minute."""
    return lambda horizon: amount * (1 + horizon // 60)


def test_the_only_model_of_one_tier_is_left_to_it() -> None:
    """Greedy would let the first tier take both models: 40 calls on 10 a minute would take the second 3 minutes."""
    to_a, to_b = ((0, 1.0),), ((1, 1.0),)
    options = [Option(0, 0, to_a), Option(0, 1, to_b), Option(1, 0, to_b)]
    found = plan([40.0, 20.0], options, [a_minute(20), a_minute(10)])
    assert found is not None
    assert found.least == pytest.approx(60.0, abs=0.01)
    assert found.shares == pytest.approx((40.0, 0.0, 20.0))


def test_what_fits_at_once_takes_no_time() -> None:
    """And everybody gets the first choice."""
    options = [Option(0, 0, ((0, 1.0),)), Option(0, 1, ((1, 1.0),))]
    found = plan([5.0], options, [a_minute(5), a_minute(100)])
    assert found is not None
    assert (found.least, found.horizon, found.shares) == (0.0, 0.0, (5.0, 0.0))


def test_time_buys_first_choices() -> None:
    """Twice the time: twice as much of the scarce first choice."""
    options = [Option(0, 0, ((0, 1.0),)), Option(0, 1, ((1, 1.0),))]
    supplies = [lambda horizon: horizon, lambda horizon: 3 * horizon]
    tight, loose = plan([400.0], options, supplies), plan([400.0], options, supplies, lambda least: 2 * least)
    assert tight is not None
    assert loose is not None
    assert (tight.least, loose.horizon) == pytest.approx((100.0, 200.0), abs=0.01)
    assert tight.shares == pytest.approx((100.0, 300.0), abs=0.01)
    assert loose.shares == pytest.approx((200.0, 200.0), abs=0.01)


def test_the_first_step_counts_more_than_any_other() -> None:
    """One call more on the first step is worth any number of steps further down for another."""
    options = [Option(0, depth, ((depth, 1.0),)) for depth in range(3)]
    found = plan([30.0], options, [lambda horizon: 10.0, lambda horizon: 5.0, lambda horizon: 100.0])
    assert found is not None
    assert found.shares == pytest.approx((10.0, 5.0, 15.0))


def test_a_quota_that_is_shared_is_counted_once() -> None:
    """Two models that draw on one pool give together no more than it has."""
    options = [Option(0, 0, ((0, 1.0), (2, 1.0))), Option(0, 1, ((1, 1.0), (2, 1.0)))]
    found = plan([100.0], options, [a_minute(50), a_minute(50), lambda horizon: horizon])
    assert found is not None
    assert found.least == pytest.approx(100.0, abs=0.01)


def test_who_has_nothing_else_in_the_way_gets_no_more_than_its_part() -> None:
    """Model 0 gives 8 a minute, the pool 24: were 24 calls of the other let through first, 8 would be lost for good."""
    options = [Option(0, 0, ((0, 1.0), (1, 1.0))), Option(1, 0, ((1, 1.0),))]
    supplies = [a_minute(8), a_minute(24)]
    made = plan([80.0, 160.0], options, supplies)
    assert made is not None
    assert made.shares == pytest.approx((80.0, 160.0))
    assert portions(made, options, supplies, 5.0) == pytest.approx((8.0, 16.0))
    assert portions(made, options, supplies, 1e9) == pytest.approx((80.0, 160.0))


def test_whoever_is_first_may_take_its_whole_share_where_all_are_alike() -> None:
    """Two tiers on one model: weights and the order of arrival decide, not the plan."""
    options = [Option(0, 0, ((0, 1.0),)), Option(1, 0, ((0, 1.0),))]
    made = plan([80.0, 160.0], options, [a_minute(24)])
    assert made is not None
    assert portions(made, options, [a_minute(24)], 5.0) == pytest.approx((80.0, 160.0))


def test_what_takes_longer_than_a_week_is_not_planned() -> None:
    """Nobody can tell what will be in a week."""
    assert plan([10.0], [Option(0, 0, ((0, 1.0),))], [lambda horizon: 1.0]) is None


RATES = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=4)


@given(rates=RATES, demands=st.lists(st.integers(1, 200), min_size=1, max_size=3), data=st.data())
def test_the_horizon_is_the_least_at_which_nothing_is_left(
    rates: list[float], demands: list[int], data: object
) -> None:
    """As one linear program finds it, whose last variable is the horizon, where supplies are straight lines."""
    models = range(len(rates))
    chains = [data.draw(st.lists(st.sampled_from(models), min_size=1, unique=True)) for _ in demands]  # type: ignore[attr-defined]
    options = [Option(i, d, ((m, 1.0),)) for i, chain in enumerate(chains) for d, m in enumerate(chain)]
    found = plan(list(map(float, demands)), options, [lambda horizon, rate=rate: rate * horizon for rate in rates])
    used = [[float(one.uses[0][0] == m) for one in options] + [-rates[m]] for m in models]
    served = [[float(one.demand == i) for one in options] + [0.0] for i in range(len(demands))]
    least = linprog([0.0] * len(options) + [1.0], used, [0.0] * len(rates), served, list(map(float, demands))).fun
    assert found is not None
    assert found.least == pytest.approx(least, abs=0.01, rel=1e-4)
    for i, demand in enumerate(demands):
        shares = [share for one, share in zip(options, found.shares, strict=True) if one.demand == i]
        assert math.fsum(shares) == pytest.approx(demand, abs=0.05)
