"""Who is refused at once, and what a refusal says about later."""

import asyncio
from typing import Any

import pytest

from ratelimit_router import Limit, Limits, RateLimited, RouteTimeout, Tier


def test_the_mean_duration_of_calls_refuses_nobody(router: Any, virtual: Any) -> None:
    """Calls took five minutes so far; this one ends after a second, and the waiter is served in time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        r = router({"a": Limits(concurrency=1)})
        for _ in range(48):
            lease = await r.route("t")
            await asyncio.sleep(300)
            lease.settle()
        lease = await r.route("t")
        loop.call_later(1, lease.settle)
        assert (await r.route("t", timeout=60)).waited == 1.0

    virtual(main)


@pytest.mark.parametrize("timeout", [60, None])
def test_the_weights_of_other_lines_refuse_nobody(timeout: float | None, router: Any, virtual: Any) -> None:
    """Two of a heavier line are ahead, and five times its share: yet the light one's turn comes before its deadline."""

    async def main() -> float:
        tiers = [Tier("heavy", ["a"], weight=5), Tier("light", ["a"])]
        r = router({"a": Limits(rpm=Limit(2, refill="continuous"))}, tiers)

        async def take(tier: str, **how: Any) -> float:
            lease = await r.route(tier, **how)
            lease.settle()
            return lease.waited

        for _ in range(2):
            await take("heavy")
        others = [asyncio.ensure_future(take("heavy")) for _ in range(3)]
        await asyncio.sleep(31)
        waited = await take("light", timeout=timeout)
        await asyncio.gather(*others)
        return waited

    assert virtual(main) == 59.0


@pytest.mark.parametrize(("timeout", "served"), [(60.0, True), (59.9, False), (0.0, False)])
def test_an_exact_bound_refuses_at_once(timeout: float, served: bool, router: Any, virtual: Any) -> None:
    """A minute until the quota is back: whoever waits exactly that long is served, whoever has less knows at once."""

    async def main() -> None:
        r = router({"a": Limits(rpm=1)})
        (await r.route("t")).settle()
        if served:
            assert (await r.route("t", timeout=timeout)).waited == 60.0
            return
        with pytest.raises(RouteTimeout) as refusal:
            await r.route("t", timeout=timeout)
        assert asyncio.get_running_loop().time() == 0.0
        assert refusal.value.retry_after == 60.0

    virtual(main)


def test_those_ahead_in_the_same_line_count(router: Any, virtual: Any) -> None:
    """One a minute and two in line before: the third would wait three minutes, and says so at once."""

    async def main() -> None:
        r = router({"a": Limits(rpm=1)})
        (await r.route("t")).settle()
        ahead = [asyncio.ensure_future(r.call("t", lambda model: asyncio.sleep(0))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RouteTimeout) as refusal:
            await r.route("t", timeout=179)
        assert refusal.value.retry_after == 180.0
        assert (await r.route("t", timeout=180)).waited == 180.0
        await asyncio.gather(*ahead)

    virtual(main)


def test_a_refusal_at_the_deadline_does_not_count_the_refused_one(router: Any, virtual: Any) -> None:
    """When it is told to try again is when a newcomer would be served."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        r = router({"a": Limits(rpm=1)})
        lease = await r.route("t")
        waiting = asyncio.ensure_future(r.route("t", timeout=60).__aenter__())
        await asyncio.sleep(59)
        lease.fail(RateLimited(11.0))
        with pytest.raises(RouteTimeout) as refusal:
            await waiting
        assert loop.time() == 60.0
        assert refusal.value.retry_at == pytest.approx(loop.time() + r.eta("t")) == pytest.approx(70.0)

    virtual(main)


def test_a_refused_one_behind_a_more_urgent_one(router: Any, virtual: Any) -> None:
    """Somebody of higher priority takes its turn: it is refused at its deadline with the instant after that."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        r = router({"a": Limits(rpm=1)})
        (await r.route("t")).settle()
        waiting = asyncio.ensure_future(r.route("t", timeout=61).__aenter__())
        await asyncio.sleep(1)
        urgent = asyncio.ensure_future(r.call("t", lambda model: asyncio.sleep(0), priority=5))
        with pytest.raises(RouteTimeout) as refusal:
            await waiting
        assert (loop.time(), refusal.value.retry_at) == (61.0, 120.0)
        await urgent

    virtual(main)


def test_asking_changes_no_bucket(router: Any, virtual: Any) -> None:
    """eta, a refusal and joining the line leave a cautious capacity as it is, also for a request beyond it."""

    async def main() -> None:
        seen: list[Any] = []
        r = router({"a": Limits(input_tpm=1000)}, observers=[seen.append])
        r.route_nowait("t", tokens=300).settle()
        r.route_nowait("t", tokens=10).fail(RateLimited(1.0))
        await asyncio.sleep(70)
        before = [(one.capacity, one.ceiling) for one in r._dispatcher.accounts["a"].buckets]
        assert len(before) == 2  # the quota, and the even pace that the rejection has led to
        assert r.eta("t", tokens=999) >= 0.0
        r.route_nowait("t", tokens=200).settle()
        with pytest.raises(RouteTimeout):
            await r.route("t", tokens=999, timeout=0)
        waiting = asyncio.ensure_future(r.route("t", tokens=999).__aenter__())
        await asyncio.sleep(0)
        assert "Waited" in [type(one).__name__ for one in seen]
        after = [(one.capacity, one.ceiling) for one in r._dispatcher.accounts["a"].buckets]
        for now, then in zip(after, before, strict=True):
            assert then[0] <= now[0] <= then[0] * 1.05  # grown back a little by the answer, not undone
            assert now[1] == then[1]
        await waiting

    virtual(main)
