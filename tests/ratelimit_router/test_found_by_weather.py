"""Defects of the router that random storms have found (`ratelimit-router soak`), each as the least that shows it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from ratelimit_router import (
    Limit,
    Limits,
    NoCapacity,
    RateLimited,
    Router,
    RouterClosed,
    RouterError,
    UnknownTier,
    Usage,
)
from ratelimit_router.bucket import CalendarBucket, make_bucket
from ratelimit_router.reasons import Reason


def meddler(router: list[Router], tier: str) -> Callable[[Any], None]:
    """An observer that asks for a model whenever it hears of a refusal."""

    def observe(event: Any) -> None:
        if type(event).__name__ == "Refused":
            with contextlib.suppress(RouterError):
                router[0].route_nowait(tier).cancel()

    return observe


def test_an_observer_may_use_the_router_while_a_tier_is_dismissed(virtual: Any, router: Any) -> None:
    """Everybody who waited for the tier ends with UnknownTier, and nobody stands in line any more."""

    async def main() -> None:
        made: list[Router] = []
        one = router(
            {"a": Limits(concurrency=1), "b": Limits(rpm=9)},
            {"hot": ["a"], "bulk": ["b"]},
            observers=[meddler(made, "bulk")],
        )
        made.append(one)
        one.route_nowait("hot")
        waiting = [asyncio.ensure_future(one.route("hot").__aenter__()) for _ in range(3)]
        await asyncio.sleep(0)
        models = [model for model in one._catalogue.models if model.name != "a"]
        one.reconfigure(models=models, tiers=[tier for tier in one._catalogue.tiers if tier.name == "bulk"])
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in ended] == [UnknownTier] * 3
        assert one._dispatcher.queue.length == 0

    virtual(main)


def test_an_observer_may_use_the_router_while_it_is_closed(virtual: Any, router: Any) -> None:
    """Every waiter ends with RouterClosed."""

    async def main() -> None:
        made: list[Router] = []
        one = router({"a": Limits(concurrency=1)}, observers=[meddler(made, "t")])
        made.append(one)
        one.route_nowait("t")
        waiting = [asyncio.ensure_future(one.route("t").__aenter__()) for _ in range(3)]
        await asyncio.sleep(0)
        await one.aclose()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in ended] == [RouterClosed] * 3

    virtual(main)


def test_a_guard_does_not_let_a_calendar_quota_out_twice(virtual: Any, router: Any) -> None:
    """What is spent between a reset and its guard is of the new period for the service, so it counts in that, too."""

    async def main() -> None:
        limits = Limits(rpm=Limit(4, per=60.0, refill="calendar"))
        one = router({"a": limits}, guard=1.0)
        to_reset = 40.0  # the router's wall clock starts 20 s after a whole minute
        await asyncio.sleep(to_reset + 0.5)
        for _ in range(4):
            one.route_nowait("t").settle()
        await asyncio.sleep(0.5)
        with pytest.raises(NoCapacity) as refused:
            one.route_nowait("t")
        assert refused.value.retry_at == pytest.approx(to_reset + 61.0)
        await asyncio.sleep(refused.value.retry_at - asyncio.get_running_loop().time())
        one.route_nowait("t").settle()

    virtual(main)


def test_a_guarded_calendar_bucket_forgets_what_is_long_gone() -> None:
    """Nobody looked for several periods: all is back, and what a late refund gives back is of a period that is over."""
    bucket = CalendarBucket("rpm", 0, 60.0, 4.0, lambda now: (now // 60.0 + 1) * 60.0, 0.0, guard=1.0)
    for _ in range(4):
        bucket.spend(1.0, 60.5)
    assert bucket.when(1.0, 60.5) == 121.0
    assert bucket.supply(60.5, 120.9) == 0.0
    assert bucket.level(600.0) == 4.0
    bucket.spend(4.0, 600.0)
    bucket.correct(-1.0, 60.5)
    assert bucket.level(600.5) == 0.0
    assert bucket.level(601.0) == 0.0
    assert bucket.level(661.0) == 4.0


def test_a_guarded_calendar_bucket_corrects_what_counts_in_both_periods() -> None:
    """A refund of a call that was made within the guard is given back in the new period, too."""
    bucket = CalendarBucket("rpm", 0, 60.0, 4.0, lambda now: (now // 60.0 + 1) * 60.0, 0.0, guard=1.0)
    bucket.spend_all([1.0, 2.0], [60.25, 60.5])
    bucket.correct(-1.0, 60.25)
    assert bucket.level(61.0) == 2.0
    bucket.correct(-2.0, 60.5)
    assert bucket.level(61.0) == 4.0


def test_a_refusal_does_not_move_earlier_calls_into_a_new_period(virtual: Any, router: Any) -> None:
    """It asks when a daily quota comes back; what was spent before the reset that has passed meanwhile stays there."""

    async def main() -> None:
        one = router({"a": Limits(rpd=Limit(10, refill="calendar", resets="00:00 UTC"))})
        until_midnight = 35_200.0
        await asyncio.sleep(until_midnight - 10.0)
        for _ in range(4):
            one.route_nowait("t").settle()
        lease = one.route_nowait("t")
        await asyncio.sleep(20.0)
        lease.fail(RateLimited(1.0, "rpd"))
        assert one.snapshot().models["a"].quotas["rpd"].remaining == 10

    virtual(main)


@pytest.mark.parametrize("refill", ["rolling", "calendar"])
def test_fractions_leave_nobody_waiting_for_what_they_round_to(refill: Any) -> None:
    """A capacity that was learned is no whole number: all of it is there again when all was given back."""
    (quota,) = Limits(output_tpm=Limit(112.62, refill=refill)).quotas()
    bucket = make_bucket(quota, 0.0, lambda now: (now // 60.0 + 1) * 60.0)
    for amount in (3_603.0, 899.0):
        bucket.spend(amount, 1.0)
        bucket.correct(-amount, 1.0)
    bucket.resize(5_631.0 * 0.02, 5_631.0 * 0.02, 1.0)
    assert bucket.when(bucket.capacity, 2.0) == 2.0
    assert bucket.level(2.0) <= bucket.capacity


def test_a_debt_of_a_rolling_quota_is_back_a_period_later() -> None:
    """As much can be spent until then as if there had been none."""
    (quota,) = Limits(rpm=Limit(64, refill="rolling")).quotas()
    bucket = make_bucket(quota, 0.0, lambda now: now)
    bucket.spend(65.0, 0.0)
    assert bucket.when(64.0, 0.0) == 60.0
    assert (bucket.supply(0.0, 59.0), bucket.supply(0.0, 60.0)) == (0.0, 64.0)


def test_a_debt_made_within_a_guard_is_over_one_period_later() -> None:
    """However large it is: the reset after the next brings everything back."""
    bucket = CalendarBucket("tpm", 3, 60.0, 100.0, lambda now: (now // 60.0 + 1) * 60.0, 0.0, guard=1.0)
    bucket.spend(1.0, 60.5)
    bucket.correct(6_000.0, 60.5)
    assert bucket.when(100.0, 60.5) == 121.0
    assert bucket.supply(60.5, 121.0) == 100.0
    assert bucket.level(61.0) == -5_901.0
    assert bucket.when(100.0, 61.0) == 121.0
    assert bucket.level(121.0) == 100.0


def test_what_costs_nothing_of_a_quota_of_zero_is_not_kept_waiting_by_it(virtual: Any, router: Any) -> None:
    """A model that grants no output tokens is free, and is said to be, for a call that has none."""

    async def main() -> None:
        one = router({"a": Limits(output_tpm=Limit(0, refill="continuous"), concurrency=1)})
        lease = one.route_nowait("t", tokens=5)
        waiting = asyncio.ensure_future(one.route("t", tokens=5, timeout=60.0).__aenter__())
        await asyncio.sleep(1.0)
        lease.settle()
        (await waiting).settle()

    virtual(main)


@pytest.mark.parametrize(("refill", "back"), [("rolling", 61.0), ("calendar", 40.0)])
def test_a_debt_with_a_quota_of_zero_is_over_when_it_has_come_back(
    virtual: Any, router: Any, refill: Any, back: float
) -> None:
    """A call that was said to cost nothing did cost something: the next one is told when that is forgotten."""

    async def main() -> None:
        one = router({"a": Limits(tpm=Limit(0, refill=refill))})
        await asyncio.sleep(1.0)
        one.route_nowait("t").settle(input_tokens=2_000)
        with pytest.raises(NoCapacity) as refused:
            one.route_nowait("t")
        assert refused.value.retry_at == pytest.approx(back)
        async with one.route("t"):
            assert asyncio.get_running_loop().time() == pytest.approx(back)

    virtual(main)


def test_a_quota_of_zero_with_a_burst_keeps_nobody_waiting_for_ever(virtual: Any, router: Any) -> None:
    """Nothing ever comes back of it, so nobody can be served by it, and everybody is told so at once."""

    async def main() -> None:
        one = router({"a": Limits(rpm=Limit(0, refill="continuous", burst=1.0))})
        with pytest.raises(NoCapacity) as refused:
            await asyncio.wait_for(one.route("t").__aenter__(), 3_600.0)
        assert refused.value.reasons[0].reason is Reason.NO_QUOTA

    virtual(main)


def test_nobody_is_told_to_come_back_at_once_for_a_model_that_is_kept_for_another(virtual: Any, router: Any) -> None:
    """A client that does as it is told would spin. (The other might be served by a model of which nothing is known.)"""

    async def main() -> None:
        one = router(
            {"a": Limits(concurrency=1), "b": Limits(tpm=1_000)},
            {"hot": ["a", "b"], "bulk": ["b"]},
        )
        leases = [one.route_nowait("hot"), one.route_nowait("bulk", tokens=500)]
        waiting = asyncio.ensure_future(one.route("hot", tokens=900).__aenter__())
        await asyncio.sleep(1.0)
        with pytest.raises(NoCapacity) as refused:
            one.route_nowait("bulk", tokens=50)
        assert refused.value.retry_at == 60.0
        assert one.eta("bulk", tokens=50) == 59.0
        for lease in (*leases, await waiting):
            lease.settle()

    virtual(main)


def test_nobody_is_told_to_come_back_at_once_who_has_to_stand_behind_another(virtual: Any, router: Any) -> None:
    """First come, first served: a model that is free for oneself is not for whoever is ahead."""

    async def main() -> None:
        one = router({"a": Limits(output_tpm=1_000), "b": Limits(output_tpm=100)})
        lease = one.route_nowait("t", tokens=Usage(output_tokens=900))
        waiting = asyncio.ensure_future(one.route("t", tokens=Usage(output_tokens=500)).__aenter__())
        await asyncio.sleep(1.0)
        with pytest.raises(NoCapacity) as refused:
            one.route_nowait("t", tokens=Usage(output_tokens=50))
        assert refused.value.retry_at == 60.0
        lease.settle()
        (await waiting).settle()

    virtual(main)


def test_nobody_is_told_to_come_back_at_once_for_a_model_that_the_plan_leaves_to_others(
    virtual: Any, router: Any
) -> None:
    """The next plan may let it go."""

    async def main() -> None:
        one = router({"a": Limits(rpm=1), "b": Limits(rpm=60)}, {"hot": ["a"], "any": ["a", "b"]})
        with one.batch({"hot": 1, "any": 5}):
            one.route_nowait("hot")
            for candidate in (candidate for step in one._line("any").steps for candidate in step):
                candidate.share = 0.0
            with pytest.raises(NoCapacity) as refused:
                one.route_nowait("any")
            assert refused.value.retry_at == 5.0

    virtual(main)


def test_what_a_lease_had_at_once_gives_back_goes_to_whoever_waits(virtual: Any, router: Any) -> None:
    """A call that was asked for without waiting, and used nothing in the end, frees its tokens at that instant."""

    async def main() -> None:
        one = router({"a": Limits(tpm=100)})
        lease = one.route_nowait("t", tokens=100)
        waiting = asyncio.ensure_future(one.route("t", tokens=100).__aenter__())
        await asyncio.sleep(1.0)
        lease.settle(input_tokens=0)
        (await waiting).settle()
        assert asyncio.get_running_loop().time() == 1.0

    virtual(main)
