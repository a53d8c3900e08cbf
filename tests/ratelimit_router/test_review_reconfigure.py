"""Changes while somebody waits, changes that fail, and changes that change nothing."""

import asyncio
from typing import Any

import pytest

from ratelimit_router import ConfigError, Limit, Limits, Model, NoCapacity, Pool, RateLimited, Tier
from ratelimit_router.reasons import Reason


@pytest.mark.parametrize("how", ["reconfigure", "headers"])
def test_a_patient_waiter_whose_request_no_longer_fits_falls_to_the_next_step(
    how: str, router: Any, virtual: Any
) -> None:
    """Its model's limit shrinks below the request; the next model is free, so nobody is refused."""

    async def main() -> None:
        tiers = [Tier("t", ["x", "y"], patience=100)]
        r = router([Model("x", limits=Limits(tpm=1000, rpm=1)), Model("y")], tiers)
        lease = await r.route("t")
        waiting = asyncio.ensure_future(r.call("t", lambda model: asyncio.sleep(0, model.name), tokens=800))
        await asyncio.sleep(1)
        assert not waiting.done()
        if how == "headers":
            lease.observe({"x-ratelimit-limit-tokens": "500"})
        else:
            r.reconfigure(models=[Model("x", limits=Limits(tpm=500, rpm=1)), Model("y")])
        assert await waiting == "y"
        assert asyncio.get_running_loop().time() == 1.0

    virtual(main)


@pytest.mark.parametrize("refill", ["rolling", "continuous", "calendar"])
def test_a_quota_of_zero_admits_nothing_before_and_after(refill: Any, router: Any, virtual: Any) -> None:
    """Whatever else is reconfigured; and there is quota again once there is some."""

    async def main() -> None:
        def models(rpm: int) -> list[Model]:
            return [Model("a", limits=Limits(rpm=rpm, refill=refill)), Model("b")]

        r = router(models(0), {"t": ["a"]})
        for _ in range(2):
            with pytest.raises(NoCapacity) as refusal:
                r.route_nowait("t")
            assert [one.reason for one in refusal.value.reasons] == [Reason.NO_QUOTA]
            r.reconfigure(tiers=[Tier("t", ["a"], weight=2)])
        r.reconfigure(models=models(10))
        await asyncio.sleep(61)
        r.route_nowait("t").settle()
        r.reconfigure(models=models(0))
        with pytest.raises(NoCapacity) as refusal:
            await r.route("t")
        assert [one.reason for one in refusal.value.reasons] == [Reason.NO_QUOTA]
        r.reconfigure(models=models(10))
        await asyncio.sleep(1_000)
        r.reconfigure(models=models(0))  # while all of it is there
        with pytest.raises(NoCapacity):
            r.route_nowait("t")
        r.reconfigure(models=models(10))
        await asyncio.sleep(1_000)
        assert r.snapshot().models["a"].quotas["rpm"].remaining == 10

    virtual(main)


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": [Model("a", limits=Limits(rpm=99)), Model("b", limits=Limits(rpm=0.5))]},
        {"models": [Model("a", limits=Limits(rpm=99)), Model("b", limits=Limits(rpd=Limit(1, resets="25:00 UTC")))]},
        {"models": [Model("a", limits=Limits(rpm=99)), Model("b", pools=("q",))]},
        {"models": [Model("a", limits=Limits(rpm=99))]},
        {"tiers": [Tier("t", ["b"]), Tier("u", ["nobody"])]},
        {"pools": [Pool("p", Limits(rpm=0.25))]},
        {"fallback": "nobody"},
    ],
)
def test_a_reconfiguration_that_fails_changes_nothing(wrong: dict[str, Any], router: Any, virtual: Any) -> None:
    """Neither limits nor what was spent, nor who waits for what."""

    async def main() -> None:
        models = [Model("a", limits=Limits(rpm=10), pools=("p",)), Model("b", limits=Limits(rpm=10))]
        r = router(models, {"t": ["a"], "u": ["b"]}, pools=[Pool("p", Limits(rpm=20))])
        for tier in ("t", *["u"] * 10):
            r.route_nowait(tier).settle()
        waiting = asyncio.ensure_future(r.call("u", lambda model: asyncio.sleep(0, model.name)))
        await asyncio.sleep(1)
        before = r.snapshot()
        with pytest.raises(ConfigError):
            r.reconfigure(**wrong)
        assert r.snapshot() == before
        r.reconfigure()  # what it keeps is what there was before
        assert r.snapshot() == before
        assert await waiting == "b"
        assert asyncio.get_running_loop().time() == 60.0

    virtual(main)


def test_a_learned_limit_survives_a_change_of_something_else(router: Any, virtual: Any) -> None:
    """The same limits again are no news from the operator; other limits are, and are believed."""

    async def main() -> None:
        r = router({"a": Limits(rpm=100), "b": None}, {"t": ["a"]})
        r.route_nowait("t").fail(RateLimited(1.0, "rpm", 10))
        r.reconfigure(tiers=[Tier("t", ["a"], weight=2)])
        assert r.snapshot().models["a"].quotas["rpm"].capacity == 10
        r.reconfigure(models=[Model("a", limits=Limits(rpm=100)), Model("b")])
        assert r.snapshot().models["a"].quotas["rpm"].capacity == 10
        r.reconfigure(models=[Model("a", limits=Limits(rpm=80)), Model("b")])
        assert r.snapshot().models["a"].quotas["rpm"].capacity == 80

    virtual(main)


def test_a_quota_that_only_the_service_named_follows_it_upwards(router: Any, virtual: Any) -> None:
    """Nobody configured it, so the latest statement is all that is known; a configured one is never exceeded."""

    async def main() -> None:
        r = router({"a": None, "b": Limits(rpm=50)}, {"t": ["a"], "u": ["b"]})
        for tier, name, expected in (("t", "a", [5, 500, 20]), ("u", "b", [5, 50, 20])):
            for stated, capacity in zip([5, 500, 20], expected, strict=True):
                lease = await r.route(tier)
                lease.observe({"x-ratelimit-limit-requests": str(stated)})
                lease.settle()
                if tier == "t" or stated < 50:
                    assert r.snapshot().models[name].quotas["rpm"].capacity == capacity

    virtual(main)


@pytest.mark.parametrize("configured", [5, 3])
def test_a_quota_that_is_configured_after_the_service_named_it_is_the_operators(
    configured: int, router: Any, virtual: Any
) -> None:
    """From then on what the service says can only lower it."""

    async def main() -> None:
        r = router({"a": None})
        lease = await r.route("t")
        lease.observe({"x-ratelimit-limit-requests": "5"})
        lease.settle()
        r.reconfigure(models=[Model("a", limits=Limits(rpm=configured))])
        await asyncio.sleep(61)
        lease = await r.route("t")
        lease.observe({"x-ratelimit-limit-requests": "500"})
        lease.settle()
        assert r.snapshot().models["a"].quotas["rpm"].capacity == configured

    virtual(main)


@pytest.mark.parametrize("change", ["steps", "gone"])
def test_who_was_moved_before_its_patience_ended_stands_in_line_once(change: str, router: Any, virtual: Any) -> None:
    """x fails, so a patient waiter will take y as well; its patience ends; then its chain is changed or taken away."""

    async def main() -> None:
        tiers = [Tier("t", ["x", "y"], patience=20), Tier("u", ["z"])]
        r = router({"x": Limits(rpm=3), "y": Limits(rpm=1), "z": None}, tiers)
        (await r.route(["y"])).settle()
        for _ in range(2):
            (await r.route("t")).settle()
        lease = await r.route("t")
        await asyncio.sleep(50)
        waiting = [asyncio.ensure_future(r.route("t").__aenter__()) for _ in range(3)]
        await asyncio.sleep(1)
        lease.fail(RateLimited(500.0))
        await asyncio.sleep(40)  # one of the three was served by y, and the others have lost their patience
        assert r.snapshot().tiers["t"].queued == 2
        r.reconfigure(tiers=[Tier("t", ["x", "z"]), tiers[1]] if change == "steps" else tiers[1:])
        told = await asyncio.gather(*waiting, return_exceptions=True)
        last = "UnknownTier" if change == "gone" else "Lease"
        assert [type(one).__name__ for one in told] == ["Lease", last, last]
        for one in told:
            if not isinstance(one, Exception):
                one.settle()
        queue = r._dispatcher.queue
        assert (queue.length, queue.lines, queue._alarms, queue._stale) == (0, {}, [], 0)
        assert r.snapshot().models["z"].in_flight == 0

    virtual(main)


def test_waiters_of_a_pool_that_is_taken_away_go_at_once(router: Any, virtual: Any) -> None:
    """Nobody waits for what is no longer in the way."""

    async def main() -> None:
        r = router([Model("a", pools=("p",))], pools=[Pool("p", Limits(rpm=1))])
        await r.route("t")
        waiting = asyncio.ensure_future(r.call("t", lambda model: asyncio.sleep(0, model.name)))
        await asyncio.sleep(1)
        r.reconfigure(models=[Model("a")], pools=[])
        assert await waiting == "a"
        assert asyncio.get_running_loop().time() == 1.0

    virtual(main)
