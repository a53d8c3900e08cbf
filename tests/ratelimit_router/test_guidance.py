"""Batches: a plan steers the tiers of a batch, gives way to nobody else, and leaves nothing behind."""

import asyncio
import sys
from typing import Any

import pytest

from ratelimit_router import (
    BadRequest,
    ConfigError,
    Limits,
    Model,
    ModelGone,
    NoCapacity,
    Overloaded,
    Pool,
    Reason,
    RequestTooLarge,
    Router,
    Tier,
    UnknownTier,
    guidance,
)
from ratelimit_router.planner import plan

SCARCE = {"a": Limits(rpm=20), "b": Limits(rpm=10)}
CHAINS = {"any": ["a", "b"], "only": ["b"]}


async def ask(
    router: Router, tier: str, served: list[tuple[str, str, float]], error: Exception | None = None, **how: Any
) -> None:
    """One call, which takes a second, and ends with the error if there is one."""
    async for attempt in router.attempts(tier, **how):
        async with attempt as lease:
            await asyncio.sleep(1.0)
            if error is not None:
                raise error
            served.append((tier, lease.model.name, asyncio.get_running_loop().time()))


async def both(router: Router, calls: dict[str, int]) -> list[tuple[str, str, float]]:
    """All of them at once."""
    served: list[tuple[str, str, float]] = []
    await asyncio.gather(*(ask(router, tier, served) for tier, count in calls.items() for _ in range(count)))
    return served


def test_a_batch_leaves_a_tier_the_only_model_that_it_may_use(router: Any, virtual: Any) -> None:
    """40 calls may use both models, 20 only the smaller one: two minutes' quota is enough, if each keeps to its own."""

    async def main(guided: bool) -> float:
        r, calls = router(SCARCE, CHAINS), {"any": 40, "only": 20}
        if guided:
            with r.batch(calls):
                served = await both(r, calls)
        else:
            served = await both(r, calls)
        return max(at for _, _, at in served)

    assert virtual(lambda: main(guided=True)) == pytest.approx(61.0)
    assert virtual(lambda: main(guided=False)) == pytest.approx(121.0)


def test_calls_that_are_announced_count_before_they_are_made(router: Any, virtual: Any) -> None:
    """The first tier comes alone; the model that the others will need is kept for them."""

    async def main() -> list[tuple[str, str, float]]:
        r, served = router(SCARCE, CHAINS), []
        async with r.batch({"any": 40, "only": 20}):
            first = [asyncio.ensure_future(ask(r, "any", served)) for _ in range(40)]
            await asyncio.sleep(3.0)
            assert {model for _, model, _ in served} == {"a"}
            await asyncio.gather(*first, *(ask(r, "only", served) for _ in range(20)))
        return served

    assert max(at for _, _, at in virtual(main)) == pytest.approx(64.0)


def test_slack_gets_more_calls_their_first_choice(router: Any, virtual: Any) -> None:
    """With twice the time nobody has to fall back."""

    async def main(slack: float) -> tuple[int, float]:
        r = router({"a": Limits(rpm=20), "b": Limits(rpm=40)}, {"t": ["a", "b"]})
        with r.batch({"t": 120}, slack=slack):
            served = await both(r, {"t": 120})
        return sum(model == "a" for _, model, _ in served), max(at for _, _, at in served)

    assert virtual(lambda: main(0.0)) == (40, pytest.approx(61.0))
    first, ended = virtual(lambda: main(2.0))
    assert first == 80
    assert ended == pytest.approx(181.0)


def test_slack_is_a_share_of_the_least_time_as_it_is_known_now(router: Any, virtual: Any) -> None:
    """A larger quota in mid-run brings the end nearer: nobody waits for the first choice until the old one."""

    async def main() -> float:
        r, calls = router({"a": Limits(rpm=10), "b": Limits(rpm=10)}, {"t": ["a", "b"]}), {"t": 200}
        with r.batch(calls, slack=1.0):
            working = asyncio.ensure_future(both(r, calls))
            await asyncio.sleep(61.0)
            assert not working.done()
            r.reconfigure(models=[Model("a", limits=Limits(rpm=10)), Model("b", limits=Limits(rpm=500))])
            return max(at for _, _, at in await working)

    assert virtual(main) < 130.0


def test_what_the_plan_keeps_from_a_tier_is_said(router: Any, virtual: Any) -> None:
    """A free model that was passed over names the plan as the reason."""

    async def main() -> tuple[str, Reason]:
        r = router({"a": Limits(rpm=10), "b": Limits(rpm=10)}, {"up": ["b", "a"], "only": ["b"]})
        with r.batch({"up": 10, "only": 10}):
            lease = await r.route("up")
            return lease.model.name, lease.skipped[0].reason

    assert virtual(main) == ("a", Reason.PLANNED)


def test_a_pool_is_shared_so_that_no_model_is_left_over(router: Any, virtual: Any) -> None:
    """Model a gives 8 a minute; b could use the pool of 24 up alone, and then a could not catch up."""

    async def main() -> float:
        models = [Model("a", limits=Limits(rpm=8), pools=("all",)), Model("b", pools=("all",))]
        chains = [Tier("a", ["a"]), Tier("b", ["b"], weight=10)]
        r, calls = router(models, chains, pools=[Pool("all", Limits(rpm=24))]), {"a": 80, "b": 160}
        with r.batch(calls):
            served = await both(r, calls)
        return max(at for _, _, at in served)

    assert virtual(main) < 545.0


def test_other_tiers_are_not_steered(router: Any, virtual: Any) -> None:
    """Calls outside the batch take what is free, and its end sets everybody free."""

    async def main() -> None:
        r = router(SCARCE, CHAINS | {"other": ["b"]})
        with r.batch({"any": 40, "only": 20}):
            assert (await r.route("other")).model.name == "b"
        leases = [await r.route("any") for _ in range(29)]
        assert {lease.model.name for lease in leases} == {"a", "b"}

    virtual(main)


def test_a_plan_follows_what_happens(router: Any, virtual: Any) -> None:
    """The first choice goes down for a while: the plan moves on to the other model, and comes back."""

    async def main() -> list[tuple[str, str, float]]:
        r, served = router({"a": Limits(rpm=60), "b": Limits(rpm=60)}, {"t": ["a", "b"]}), []

        async def call() -> None:
            loop = asyncio.get_running_loop()
            async for attempt in r.attempts("t"):
                async with attempt as lease:
                    await asyncio.sleep(0.1)
                    if lease.model.name == "a" and loop.time() < 30:
                        raise Overloaded(retry_after=10)
                    served.append(("t", lease.model.name, loop.time()))

        with r.batch({"t": 180}):
            await asyncio.gather(*(call() for _ in range(180)))
        return served

    served = virtual(main)
    assert len(served) == 180
    assert max(at for _, _, at in served) < 125.0


def test_patience_gives_way_to_the_plan(router: Any, virtual: Any) -> None:
    """In a batch nobody waits for the first step for patience's sake alone."""

    async def main(guided: bool) -> float:
        r = router({"a": Limits(rpm=1), "b": Limits(rpm=30)}, [Tier("t", ["a", "b"], patience=600)])
        if guided:
            with r.batch({"t": 10}):
                served = await both(r, {"t": 10})
        else:
            served = await both(r, {"t": 10})
        return max(at for _, _, at in served)

    assert virtual(lambda: main(guided=True)) == pytest.approx(1.0)
    assert virtual(lambda: main(guided=False)) > 500


def test_a_batch_goes_on_when_the_router_is_reconfigured(router: Any, virtual: Any) -> None:
    """A tier that is taken away is steered no longer; a changed chain is planned anew."""

    async def main() -> None:
        r = router(SCARCE, CHAINS)
        with r.batch({"any": 40, "only": 20}):
            await r.route("any")
            r.reconfigure(tiers=[Tier("any", ["b", "a"])])
            assert (await r.route("any")).model.name in {"a", "b"}
        assert (await r.route("any")).model.name in {"a", "b"}

    virtual(main)


def test_calls_that_failed_for_good_are_not_planned_for(router: Any, virtual: Any) -> None:
    """All calls of `only` are refused as too large, so nobody needs `b` but `any`: 60 calls, 30 a minute."""

    async def main() -> float:
        r, served = router({"a": Limits(rpm=20), "b": Limits(rpm=10, tpm=1000)}, CHAINS), []
        with r.batch({"any": 60, "only": 40}):
            big = [ask(r, "only", served, tokens=5000) for _ in range(40)]
            assert all(isinstance(one, RequestTooLarge) for one in await asyncio.gather(*big, return_exceptions=True))
            await asyncio.gather(*(ask(r, "any", served, tokens=1) for _ in range(60)))
        return max(at for _, _, at in served)

    assert virtual(main) < 65.0


def test_a_bad_request_is_not_made_again(router: Any, virtual: Any) -> None:
    """Nothing is left of calls that ended as the caller's own error, nor of those that were made again in vain."""

    async def main() -> None:
        r, served = router(SCARCE, CHAINS), []
        with r.batch({"any": 60, "only": 20}) as batch:
            for error, ahead in ((BadRequest(), 10), (ModelGone(), 0)):
                calls = [ask(r, "only", served, error) for _ in range(10)]
                assert len(await asyncio.gather(*calls, return_exceptions=True)) == 10
                assert batch.ahead["only"] == ahead

    virtual(main)


def test_a_tier_without_any_model_left_does_not_end_the_plan_of_others(router: Any, virtual: Any) -> None:
    """`gone` can never be served: the others are still worth a plan."""

    async def main() -> float:
        r, served = router({"x": Limits(rpm=5), **SCARCE}, {"gone": ["x"], **CHAINS}), []
        with r.batch({"gone": 10, "any": 40, "only": 20}):
            gone = [ask(r, "gone", served, ModelGone()) for _ in range(10)]
            assert all(isinstance(one, NoCapacity) for one in await asyncio.gather(*gone, return_exceptions=True))
            await asyncio.gather(*(ask(r, t, served) for t, n in {"any": 40, "only": 20}.items() for _ in range(n)))
        return max(at for _, _, at in served)

    assert virtual(main) == pytest.approx(62.0)


def test_what_takes_more_than_a_week_is_left_out_of_the_plan(router: Any, virtual: Any) -> None:
    """`slow` takes a month; the others keep their plan, and `slow` takes what it can get."""

    async def main() -> list[tuple[str, str, float]]:
        r, served = router({"x": Limits(rpd=1), **SCARCE}, {"slow": ["x"], **CHAINS}), []
        with r.batch({"slow": 30, "any": 40, "only": 20}):
            slow = [asyncio.ensure_future(ask(r, "slow", served)) for _ in range(30)]
            await asyncio.gather(*(ask(r, t, served) for t, n in {"any": 40, "only": 20}.items() for _ in range(n)))
            for one in slow:
                one.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
        return served

    served = virtual(main)
    assert max(at for tier, _, at in served if tier != "slow") == pytest.approx(61.0)
    assert [tier for tier, _, _ in served].count("slow") == 1


def test_a_call_with_a_deadline_takes_what_is_free_before_it_fails(router: Any, virtual: Any) -> None:
    """The plan would have it wait for its first choice; it cannot wait so long."""

    async def main() -> str:
        r, served = router({"a": Limits(rpm=1), "b": Limits(rpm=5)}, {"t": ["a", "b"]}), []
        with r.batch({"t": 10}, slack=100.0):
            await ask(r, "t", served, timeout=5.0)
            await ask(r, "t", served, timeout=5.0)
        return served[-1][1]

    assert virtual(main) == "b"


def test_urgent_tiers_are_done_first_without_putting_off_the_end(router: Any, virtual: Any) -> None:
    """10 calls could wait ten minutes for their first choice, as bulk takes that long anyway; urgent, they do not."""

    async def main(urgent: list[str]) -> tuple[float, float]:
        models = {"a": Limits(rpm=1), "b": Limits(rpm=10)}
        r, calls = router(models, {"hot": ["a", "b"], "bulk": ["b"]}), {"bulk": 95, "hot": 10}
        with r.batch(calls, urgent=urgent):
            served = await both(r, calls)
        return max(at for tier, _, at in served if tier == "hot"), max(at for _, _, at in served)

    assert virtual(lambda: main([])) == pytest.approx((541.0, 541.0))
    hot, end = virtual(lambda: main(["hot"]))
    assert end == pytest.approx(541.0)
    assert hot < 250.0


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every plan."""
    made: list[int] = []

    def counted(*problem: Any) -> Any:
        made.append(1)
        return plan(*problem)

    monkeypatch.setattr(guidance, "plan", counted)
    return made


def test_a_plan_that_cannot_be_made_is_not_tried_every_few_seconds(router: Any, virtual: Any, plans: list[int]) -> None:
    """30 calls, two a day: no plan for a week; that does not change in five seconds."""

    async def main() -> None:
        r, served = router({"a": Limits(rpd=2)}, {"t": ["a"]}), []
        with r.batch({"t": 30}):
            tasks = [asyncio.ensure_future(ask(r, "t", served)) for _ in range(30)]
            await asyncio.sleep(3600)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    virtual(main)
    assert len(plans) < 40


def test_a_model_that_the_plan_keeps_idle_is_no_reason_for_another_plan(
    router: Any, virtual: Any, plans: list[int]
) -> None:
    """Slack keeps `b` free all along: a plan that does not change that is not asked for every second."""

    async def main() -> float:
        r, calls = router({"a": Limits(rpm=20), "b": Limits(rpm=40)}, {"t": ["a", "b"]}), {"t": 400}
        with r.batch(calls, slack=2.0):
            return max(at for _, _, at in await both(r, calls))

    assert len(plans) <= virtual(main) / guidance.EVERY * 1.5


def test_two_batches_each_count_their_own(router: Any, virtual: Any) -> None:
    """What one announced goes with it, and does not stay planned for under the other."""

    async def main() -> None:
        r, served = router(SCARCE, CHAINS), []
        with r.batch({"any": 40}) as first, r.batch({"only": 20, "any": 5}) as second:
            await ask(r, "any", served)
            assert (first.ahead["any"], second.ahead["any"]) == (39, 5)
            assert r.snapshot().tiers

    virtual(main)


def test_what_is_wrong_with_a_batch_is_said_at_once(router: Any, virtual: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown tiers, numbers that make no sense, and a solver that is not installed."""

    async def main() -> None:
        r = router(SCARCE, CHAINS)
        for calls, how, wanted in (
            ({"nope": 1}, {}, UnknownTier),
            ({"any": -1}, {}, ConfigError),
            ({"any": 1.5}, {}, ConfigError),
            ({"any": 1}, {"slack": -0.1}, ConfigError),
            ({"any": 1}, {"slack": float("nan")}, ConfigError),
            ({"any": 1}, {"tokens": {"only": 5}}, ConfigError),
        ):
            with pytest.raises(wanted):
                r.batch(calls, **how)
        monkeypatch.setitem(sys.modules, "scipy.optimize", None)
        with pytest.raises(ConfigError, match=r"ratelimit-router\[plan\]"):
            r.batch({"any": 1})

    virtual(main)
