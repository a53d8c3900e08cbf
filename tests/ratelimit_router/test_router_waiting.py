"""Waiting for a model: order, deadlines, cancellation, closing, and the one timer."""

import asyncio
import gc
import math
import random
from typing import Any

import pytest

from ratelimit_router import (
    Limit,
    Limits,
    Model,
    NoCapacity,
    QuotaExhausted,
    RequestTooLarge,
    Router,
    RouterClosed,
    RouteTimeout,
    Tier,
    UnknownTier,
)
from ratelimit_router.dispatch import _delay

ONE = {"a": Limits(rpm=1)}


async def later(coroutine: Any) -> "asyncio.Task[Any]":
    """A task that has begun to wait."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def take(route: Any) -> Any:
    """What awaiting a route gives."""
    return await route


def test_what_is_free_is_given_at_once(router: Any, virtual: Any) -> None:
    """No wait, no timer, no task switch."""

    async def main() -> None:
        r = router(ONE)
        lease = await r.route("t")
        assert (lease.model.name, lease.waited, lease.depth, lease.tier) == ("a", 0.0, 0, "t")

    virtual(main)


def test_first_come_first_served(router: Any, virtual: Any) -> None:
    """Waiters get their leases in the order in which they asked, one whenever one is back."""

    async def main() -> list[tuple[int, float]]:
        r, served = router({"a": Limits(rpm=2)}), []

        async def ask(number: int) -> None:
            async with r.route("t"):
                served.append((number, asyncio.get_running_loop().time()))

        await asyncio.gather(*map(ask, range(7)))
        return served

    assert virtual(main) == [(n, 60.0 * (n // 2)) for n in range(7)]


def test_priority_goes_first_within_a_tier(router: Any, virtual: Any) -> None:
    """A higher priority overtakes those who wait; equals keep their order."""

    async def main() -> list[str]:
        r, served = router(ONE), []
        (await r.route("t")).settle()

        async def ask(name: str, priority: int) -> None:
            async with r.route("t", priority=priority):
                served.append(name)

        await asyncio.gather(ask("low", -1), ask("mid 1", 0), ask("mid 2", 0), ask("high", 9))
        return served

    assert virtual(main) == ["high", "mid 1", "mid 2", "low"]


def test_weights_share_out_what_several_tiers_wait_for(router: Any, virtual: Any) -> None:
    """Of any stretch of grants each tier gets its weight's part, to within one."""

    async def main() -> list[str]:
        tiers = [Tier("hot", ["a"], weight=5), Tier("standard", ["a"], weight=3), Tier("bulk", ["a"], weight=2)]
        r, served = router({"a": Limits(rpm=1)}, tiers), []
        (await r.route("hot")).settle()

        async def ask(tier: str) -> None:
            async with r.route(tier):
                served.append(tier)

        await asyncio.gather(*(ask(tier) for _ in range(40) for tier in ("bulk", "standard", "hot")))
        return served

    served = virtual(main)
    for count in range(1, 60):
        for tier, part in (("hot", 0.5), ("standard", 0.3), ("bulk", 0.2)):
            assert abs(served[:count].count(tier) - part * count) <= 1.5
    assert sorted(set(served[-10:])) == ["bulk"]  # work-conserving: a tier that ran dry leaves its share to the others


def test_a_newcomer_never_overtakes_the_line(router: Any, virtual: Any) -> None:
    """What comes back while somebody waits is not taken by who asks in that instant, with or without waiting."""

    async def main() -> None:
        r = router({"a": Limits(concurrency=1)})
        held = await r.route("t")
        waiting = await later(take(r.route("t")))
        held.settle()  # the drain charges before it wakes
        with pytest.raises(NoCapacity):
            r.route_nowait("t")
        assert not waiting.done()
        (await waiting).settle()

    virtual(main)


def test_a_blocked_head_is_not_drained_away_by_smaller_requests(router: Any, virtual: Any) -> None:
    """A large request waits for its tokens; smaller ones of another tier do not take them in the meantime."""

    async def main() -> tuple[float, float]:
        r = router({"a": Limits(input_tpm=Limit(60, refill="continuous"))}, {"t": ["a"], "u": ["a"]})
        (await r.route("t", tokens=60)).settle()
        large = await later(take(r.route("t", tokens=60)))
        await asyncio.sleep(30)
        small = await later(take(r.route("u", tokens=10)))
        return (await large).waited, (await small).waited

    assert virtual(main) == (60.0, 40.0)


def test_a_blocked_head_keeps_only_the_model_it_waits_for(router: Any, virtual: Any) -> None:
    """Other tiers go on with the models that the head does not need."""

    async def main() -> str:
        r = router({"a": Limits(rpm=1), "b": Limits(rpm=1)}, {"t": ["a"], "u": ["a", "b"]})
        (await r.route("t")).settle()
        await later(take(r.route("t")))
        lease = await r.route("u")
        assert lease.waited == 0
        return lease.model.name

    assert virtual(main) == "b"


def test_the_deadline_is_told_at_once(router: Any, virtual: Any) -> None:
    """Who asks for what cannot be had in time learns it in the same instant, with an instant and a reason for each."""

    async def main() -> None:
        r = router({"a": Limits(rpm=1), "b": Limits(rpm=2)})
        for _ in range(3):
            (await r.route("t")).settle()
        await asyncio.sleep(10)
        with pytest.raises(RouteTimeout) as caught:
            await r.route("t", timeout=49.9)
        assert asyncio.get_running_loop().time() == 10.0
        assert (caught.value.retry_at, caught.value.retry_after) == (60.0, 50.0)
        assert [(one.model, one.reason, one.quota, one.retry_at) for one in caught.value.reasons] == [
            ("a", "quota", "rpm", 60.0),
            ("b", "quota", "rpm", 60.0),
        ]
        assert isinstance(caught.value, TimeoutError)

    virtual(main)


def test_what_is_free_exactly_at_the_deadline_is_in_time(router: Any, virtual: Any) -> None:
    """Whoever was let in to wait because it can be served at the deadline is served, not refused."""

    async def main() -> float:
        r = router(ONE)
        (await r.route("t")).settle()
        return (await r.route("t", timeout=60)).waited

    assert virtual(main) == 60.0


def test_those_ahead_count_for_the_deadline(router: Any, virtual: Any) -> None:
    """The third in line of a model with one request a minute cannot be served within two minutes."""

    async def main() -> None:
        r = router(ONE)
        (await r.route("t")).settle()
        for _ in range(2):
            await later(take(r.route("t")))
        with pytest.raises(RouteTimeout) as caught:
            await r.route("t", timeout=179)
        assert caught.value.retry_at == 180.0
        assert (await r.route("t", timeout=180)).waited == 180.0

    virtual(main)


def test_a_wait_that_turns_out_too_long_ends_at_its_deadline(router: Any, virtual: Any) -> None:
    """Where nobody can know beforehand (calls in flight), the deadline itself ends the wait."""

    async def main() -> None:
        r = router({"a": Limits(concurrency=1)})
        await r.route("t")
        with pytest.raises(RouteTimeout):
            await r.route("t", timeout=5)
        assert asyncio.get_running_loop().time() == 5.0
        assert r.snapshot().tiers["t"].queued == 0
        assert r.snapshot().tiers["t"].refusals == {"RouteTimeout": 1}

    virtual(main)


def test_a_timeout_of_zero_does_not_wait(router: Any, virtual: Any) -> None:
    """Free now, or refused now."""

    async def main() -> None:
        r = router(ONE)
        assert (await r.route("t", timeout=0)).waited == 0
        with pytest.raises(RouteTimeout):
            await r.route("t", timeout=0)
        assert asyncio.get_running_loop().time() == 0.0

    virtual(main)


@pytest.mark.parametrize("wish", [{"timeout": -1}, {"timeout": math.nan}, {"patience": -1}, {"patience": math.nan}])
def test_nonsense_is_refused(wish: dict[str, float], router: Any, virtual: Any) -> None:
    """Negative seconds and seconds that are no number."""

    async def main() -> None:
        r = router(ONE)
        (await r.route("t")).settle()
        with pytest.raises(ValueError, match=r"timeout|seconds"):
            await r.route("t", **wish)

    virtual(main)


@pytest.mark.parametrize("tokens", [-1, math.nan, math.inf, True, "9"])
def test_tokens_that_are_none_are_refused(tokens: Any, router: Any, virtual: Any) -> None:
    """They would poison a bucket for good."""

    async def main() -> None:
        r = router({"a": Limits(tpm=9)})
        with pytest.raises(ValueError, match="tokens"):
            await r.route("t", tokens=tokens)
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)


def test_a_request_that_can_never_fit_fails_at_once(router: Any, virtual: Any) -> None:
    """Larger than a bucket on every step: no wait, and the buckets are named."""

    async def main() -> None:
        r = router({"a": Limits(input_tpm=100), "b": Limits(tpm=200)})
        with pytest.raises(RequestTooLarge) as caught:
            await r.route("t", tokens=201)
        assert [(one.model, one.quota) for one in caught.value.reasons] == [("a", "input_tpm"), ("b", "tpm")]
        with pytest.raises(RequestTooLarge):
            r.route_nowait("t", tokens=201)
        assert (await r.route("t", tokens=200)).model.name == "b"
        assert math.isinf(r.eta("t", tokens=201))

    virtual(main)


def test_a_used_up_day_is_told_as_such(router: Any, virtual: Any) -> None:
    """QuotaExhausted says on the wall clock when the first daily quota is back."""

    async def main() -> None:
        r = router({"a": Limits(rpd=Limit(1, refill="calendar", resets="00:00 UTC"))})
        (await r.route("t")).settle()
        with pytest.raises(QuotaExhausted) as caught:
            await r.route("t", timeout=3_600)
        assert caught.value.resets_at == 1_790_000_000.0 + 35_200.0  # midnight UTC
        assert caught.value.retry_after == 35_200.0
        assert (await r.route("t", timeout=40_000)).waited == 35_200.0

    virtual(main)


def test_cancelled_in_line_nothing_was_charged(router: Any, virtual: Any) -> None:
    """The place in line goes to the next; no quota is missing."""

    async def main() -> None:
        r = router(ONE)
        (await r.route("t")).settle()
        first, second = await later(take(r.route("t"))), await later(take(r.route("t")))
        first.cancel()
        assert (await second).waited == 60.0
        state = r.snapshot()
        assert (state.models["a"].granted, state.tiers["t"].queued) == (2, 0)

    virtual(main)


def test_a_head_that_goes_away_frees_those_behind_it(router: Any, virtual: Any) -> None:
    """A large request gave up waiting: the small one behind it is served in the same instant."""

    async def main() -> None:
        r = router({"a": Limits(tpm=100)})
        (await r.route("t", tokens=60)).settle()
        large, small = await later(take(r.route("t", tokens=90))), await later(take(r.route("t", tokens=30)))
        await asyncio.sleep(5)
        assert not small.done()
        large.cancel()
        assert (await small).waited == 5.0

    virtual(main)


def test_granted_and_cancelled_before_use_is_refunded_once(router: Any, virtual: Any) -> None:
    """The grant and the cancellation meet in one turn of the loop: the quota goes to the next in line."""

    async def main() -> None:
        r = router({"a": Limits(rpm=2, concurrency=1, tpm=100)})
        held = await r.route("t", tokens=10)
        first, second = await later(take(r.route("t", tokens=20))), await later(take(r.route("t", tokens=30)))
        held.settle()
        first.cancel()  # it has been granted already
        lease = await second
        assert (first.cancelled(), lease.waited) == (True, 0.0)
        lease.settle()
        quotas = r.snapshot().models["a"].quotas
        assert (quotas["rpm"].remaining, quotas["tpm"].remaining) == (0, 60)

    virtual(main)


def test_cancelled_and_granted_in_one_turn_is_never_charged(router: Any, virtual: Any) -> None:
    """The other way round: the drain finds somebody who has just gone."""

    async def main() -> None:
        r = router({"a": Limits(rpm=2, concurrency=1)})
        held = await r.route("t")
        first, second = await later(take(r.route("t"))), await later(take(r.route("t")))
        first.cancel()
        held.settle()
        assert (await second).waited == 0.0
        assert r.snapshot().models["a"].granted == 2

    virtual(main)


def test_closing_ends_every_waiter(router: Any, virtual: Any) -> None:
    """Everybody in line gets RouterClosed; leases in flight may still settle; nothing can be asked any more."""

    async def main() -> None:
        r = router(ONE)
        held = await r.route("t")
        waiting = [await later(take(r.route("t"))) for _ in range(3)]
        await r.aclose()
        for task in waiting:
            with pytest.raises(RouterClosed):
                await task
        held.settle()
        for ask in (lambda: r.route_nowait("t"), lambda: r.eta("t")):
            with pytest.raises(RouterClosed):
                ask()
        with pytest.raises(RouterClosed):
            await r.route("t")

    virtual(main)


def test_closed_and_cancelled_in_one_turn_leaves_no_complaint(router: Any, virtual: Any) -> None:
    """Nothing is written to the log about a future whose error nobody fetched."""

    async def main() -> list[Any]:
        said: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        r = router(ONE)
        (await r.route("t")).settle()
        waiting = await later(take(r.route("t")))
        await r.aclose()
        waiting.cancel()
        await asyncio.sleep(1)
        assert waiting.cancelled()
        del waiting
        gc.collect()
        return said

    assert virtual(main) == []


def test_route_nowait_needs_no_loop() -> None:
    """A lease or NoCapacity, also in a program that has no event loop yet."""
    r = Router(models=[Model("a", limits=Limits(rpm=1))], tiers=[Tier("t", ["a"])])
    r.route_nowait("t").settle()
    with pytest.raises(NoCapacity) as caught:
        r.route_nowait("t")
    assert caught.value.retry_after == pytest.approx(60.0, abs=5)
    assert r.snapshot().tiers["t"].queued == 0


def test_eta(router: Any, virtual: Any) -> None:
    """0.0 now; the exact wait where quotas decide; longer with every one ahead."""

    async def main() -> None:
        r = router(ONE)
        assert r.eta("t") == 0.0
        (await r.route("t")).settle()
        await asyncio.sleep(20)
        assert r.eta("t") == 40.0
        await later(take(r.route("t")))
        assert r.eta("t") == 100.0

    virtual(main)


def test_an_unknown_tier(router: Any, virtual: Any) -> None:
    """Named with those there are, by every door."""

    async def main() -> None:
        r = router(ONE)
        for ask in (r.route_nowait, r.eta, r.attempts):
            with pytest.raises(UnknownTier, match="there are: t"):
                ask("nope")
        with pytest.raises(UnknownTier):
            await r.route("nope")

    virtual(main)


def test_who_waits_can_be_seen(router: Any, virtual: Any) -> None:
    """The snapshot tells how many wait, how long the oldest has waited, and why."""

    async def main() -> None:
        r = router(ONE)
        (await r.route("t")).settle()
        await later(take(r.route("t")))
        await later(take(r.route("t")))
        await asyncio.sleep(7)
        tier = r.snapshot().tiers["t"]
        assert (tier.queued, tier.oldest_wait) == (2, 7.0)
        assert [(one.reason, one.quota, one.retry_at) for one in tier.blocked] == [("quota", "rpm", 60.0)]

    virtual(main)


def test_delays_are_rounded_up() -> None:
    """A timer that is set for an instant never fires before it, whatever the floats."""
    rng = random.Random(0)
    for _ in range(20_000):
        now = rng.uniform(0, 10 ** rng.randint(0, 9))
        wake = now + rng.uniform(0, 10 ** rng.randint(-6, 5))
        assert now <= wake <= now + _delay(now, wake) <= math.nextafter(wake, math.inf)
