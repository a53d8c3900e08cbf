"""Which model: the order of the chain, equals, patience, and why each earlier one was not chosen."""

import asyncio
import collections
import math
from typing import Any

import pytest

from ratelimit_router import ConfigError, Limit, Limits, Model, NoCapacity, RateLimited, RouteTimeout, Tier
from ratelimit_router import events as ev

ONE = Limits(rpm=1)


def test_the_first_free_step_wins(router: Any, virtual: Any) -> None:
    """In the chain's order, the fallback last; each lease says its depth and why the earlier ones were not chosen."""

    async def main() -> None:
        r = router({"a": ONE, "b": Limits(input_tpm=10), "c": None}, {"t": ["a", "b"]}, fallback="c")
        first, second = await r.route("t", tokens=5), await r.route("t", tokens=8)
        third = await r.route("t", tokens=8)
        assert [(one.model.name, one.depth) for one in (first, second, third)] == [("a", 0), ("b", 1), ("c", 2)]
        assert first.skipped == ()
        assert [(one.model, one.reason, one.quota, one.retry_at) for one in third.skipped] == [
            ("a", "quota", "rpm", 60.0),
            ("b", "quota", "input_tpm", 60.0),
        ]
        big = await r.route("t", tokens=11)
        assert [(one.model, one.reason) for one in big.skipped] == [("a", "quota"), ("b", "too_large")]

    virtual(main)


def test_a_fallback_in_the_chain_is_not_repeated(router: Any, virtual: Any) -> None:
    """It keeps the place that the tier gives it."""

    async def main() -> None:
        r = router({"a": ONE, "b": ONE}, {"t": ["b", "a"], "u": ["a"]}, fallback="b")
        assert [(await r.route("t")).depth for _ in range(2)] == [0, 1]
        with pytest.raises(NoCapacity) as caught:
            r.route_nowait("t")
        assert [one.model for one in caught.value.reasons] == ["b", "a"]

    virtual(main)


def test_among_equals_the_most_headroom_wins(router: Any, virtual: Any) -> None:
    """The least fraction used, not the most left; ties by the least recently chosen, from the first request on."""

    async def main() -> None:
        r = router({"a": Limits(rpm=4), "b": Limits(rpm=8), "c": Limits(rpm=4)}, {"t": [("a", "b", "c")]})
        order = "".join([(await r.route("t")).model.name for _ in range(16)])
        assert sorted(order[:3]) == ["a", "b", "c"]
        assert collections.Counter(order) == {"a": 4, "b": 8, "c": 4}
        assert collections.Counter(order[:8]) == {"a": 2, "b": 4, "c": 2}
        free = router({"x": None, "y": None}, {"t": [("x", "y")]})
        names = []
        for _ in range(6):
            async with free.route("t") as lease:
                names.append(lease.model.name)
            await asyncio.sleep(1)
        assert names == ["x", "y"] * 3 or names == ["y", "x"] * 3

    virtual(main)


def test_equals_share_calls_in_flight(router: Any, virtual: Any) -> None:
    """Concurrency counts as headroom, too."""

    async def main() -> None:
        r = router({"a": Limits(concurrency=2), "b": Limits(concurrency=4)}, {"t": [("a", "b")]})
        names = [(await r.route("t")).model.name for _ in range(6)]
        assert collections.Counter(names[:3]) == {"a": 1, "b": 2}
        assert collections.Counter(names) == {"a": 2, "b": 4}

    virtual(main)


def test_patience_of_zero_never_waits_for_a_better_one(router: Any, virtual: Any) -> None:
    """The next step is taken even if the first is free in a moment."""

    async def main() -> None:
        r = router({"a": Limits(rpm=Limit(1, per=0.001)), "b": None})
        await r.route("t")
        lease = await r.route("t")
        assert (lease.model.name, lease.waited) == ("b", 0.0)

    virtual(main)


def test_patience_of_infinity_never_falls(router: Any, virtual: Any) -> None:
    """Hours, if it must be; but not for ever behind a model that is gone for good."""

    async def main() -> None:
        r = router({"a": Limits(rpm=Limit(1, per="hour")), "b": None}, [Tier("t", ["a", "b"], patience=math.inf)])
        (await r.route("t")).settle()
        lease = await r.route("t")
        assert (lease.model.name, lease.waited) == ("a", 3_600.0)
        lease.fail(RateLimited(1.0, "rpd", 0))
        assert (await r.route("t")).model.name == "b"

    virtual(main)


def test_patience_looks_at_the_predicted_wait(router: Any, virtual: Any) -> None:
    """Those who can expect the first step in time wait for it; the tail falls at once instead of waiting in vain."""

    async def main() -> list[tuple[str, float]]:
        r = router({"a": Limits(rpm=Limit(1, per=2.0)), "b": None}, [Tier("t", ["a", "b"], patience=5)])

        async def ask() -> tuple[str, float]:
            lease = await r.route("t")
            return lease.model.name, lease.waited

        return await asyncio.gather(*(ask() for _ in range(6)))

    assert virtual(main) == [("a", 0.0), ("a", 2.0), ("a", 4.0), ("b", 0.0), ("b", 0.0), ("b", 0.0)]


def test_patience_of_a_call_is_stronger_than_the_tiers(router: Any, virtual: Any) -> None:
    """Either way."""

    async def main() -> None:
        r = router({"a": ONE, "b": None}, [Tier("t", ["a", "b"], patience=5)])
        await r.route("t")
        assert (await r.route("t", patience=60)).waited == 60.0
        assert (await r.route("t")).model.name == "b"
        await asyncio.sleep(58)
        assert (await r.route("t", patience=0)).model.name == "b"
        assert (await r.route("t")).waited == 2.0

    virtual(main)


def test_patience_counts_from_arrival(router: Any, virtual: Any) -> None:
    """A wait that turns out longer than predicted ends at the patience's end, not later."""

    async def main() -> None:
        r = router({"a": Limits(concurrency=1), "b": None}, [Tier("t", ["a", "b"], patience=5)])
        for _ in range(20):  # calls take a second, as far as is known
            async with r.route("t"):
                await asyncio.sleep(1)
        await r.route("t")
        lease = await r.route("t")
        assert (lease.model.name, lease.waited) == ("b", 5.0)

    virtual(main)


def test_a_cooldown_ends_the_patience_that_it_outlasts(router: Any, virtual: Any) -> None:
    """Whoever waits for the first step falls at once when that closes for longer than the patience."""

    async def main() -> None:
        r = router({"a": Limits(concurrency=1), "b": None}, [Tier("t", ["a", "b"], patience=30)])
        for _ in range(20):
            async with r.route("t"):
                await asyncio.sleep(10)
        held = await r.route("t")
        waiting = asyncio.ensure_future(r.route("t").__aenter__())
        await asyncio.sleep(3)
        held.fail(RateLimited(300.0))
        lease = await waiting
        assert (lease.model.name, lease.waited) == ("b", 3.0)

    virtual(main)


def test_a_chain_of_ones_own(router: Any, virtual: Any) -> None:
    """Steps and equals as in a tier, the fallback behind it; unknown and repeated models are refused."""

    async def main() -> None:
        r = router({"a": ONE, "b": ONE, "c": ONE, "d": ONE}, {"t": ["a"]}, fallback="d")
        leases = [await r.route(["c", ("a", "b")]) for _ in range(4)]
        names = [lease.model.name for lease in leases]
        assert (names[0], sorted(names[1:3]), names[3]) == ("c", ["a", "b"], "d")
        assert {lease.tier for lease in leases} == {"custom"}
        for wrong in (["nope"], [], ["a", "a"], [["a"], []], [5]):
            with pytest.raises(ConfigError, match="chain"):
                await r.route(wrong)
        for number in range(300):  # chains that nobody waits in are forgotten
            await r.route(["a", "b", "c", "d"][number % 4 :], timeout=0) if r.eta(["abcd"[number % 4]]) == 0 else None
        assert len(r._catalogue._custom) <= 130

    virtual(main)


def test_ten_tasks_four_models_all_at_once(router: Any, virtual: Any) -> None:
    """No two tasks wait on one model while another model of their chain is free."""

    async def main() -> None:
        models = {name: Limits(rpm=2, concurrency=2) for name in "abcd"}
        tiers = {"hot": ["a", "b", "c", "d"], "std": [("b", "c"), "d", "a"], "bulk": ["d", "c"]}
        r, started = router(models, tiers), []

        async def work(number: int) -> None:
            async with r.route(("hot", "std", "bulk")[number % 3]) as lease:
                started.append((asyncio.get_running_loop().time(), lease.model.name))
                for tier, state in r.snapshot().tiers.items():
                    assert not state.queued or r.eta(tier) > 0
                    assert all(one.reason != "reserved" and one.retry_at > 0 for one in state.blocked)
                await asyncio.sleep(20)

        await asyncio.gather(*map(work, range(10)))
        at_once = collections.Counter(name for at, name in started if at == 0)
        assert at_once == dict.fromkeys("abcd", 2)  # eight at once, as many as there can be
        assert sorted(at for at, _ in started) == [0.0] * 8 + [60.0] * 2
        assert len({name for at, name in started if at == 60.0}) == 2

    virtual(main)


def test_fallbacks_and_routes_are_counted(router: Any, virtual: Any) -> None:
    """From which model to which, and why; each lease at its depth; events say the same."""

    async def main() -> None:
        seen: list[Any] = []
        r = router({"a": ONE, "b": ONE}, observers=[seen.append])
        for _ in range(2):
            await r.route("t")
        with pytest.raises(RouteTimeout):
            await r.route("t", timeout=1)
        now = r.snapshot()
        assert now.tiers["t"].fallbacks == {("a", "b", "quota"): 1}
        assert now.tiers["t"].refusals == {"RouteTimeout": 1}
        assert now.routes == {("t", "a", 0): 1, ("t", "b", 1): 1}
        assert [(one.from_model, one.to_model, one.reason) for one in seen if isinstance(one, ev.FellBack)] == [
            ("a", "b", "quota")
        ]
        assert [one.error for one in seen if isinstance(one, ev.Refused)] == ["RouteTimeout"]

    virtual(main)


def test_an_observer_that_fails_stops_nobody(router: Any, virtual: Any, caplog: Any) -> None:
    """The error goes to the log; the lease is good; other observers are told."""

    async def main() -> None:
        seen: list[Any] = []

        def broken(event: Any) -> None:
            raise KeyError("observer")

        r = router({"a": None}, observers=[broken, seen.append])
        (await r.route("t")).settle()
        assert [type(one) for one in seen] == [ev.Routed, ev.Settled]

    virtual(main)
    assert "an observer failed on Routed" in caplog.text


def test_a_model_of_two_pools_needs_both(router: Any, virtual: Any) -> None:
    """The later of the two decides, and is named."""

    async def main() -> None:
        from ratelimit_router import Pool

        pools = [Pool("p", Limits(rpm=Limit(1, per=10))), Pool("q", Limits(rpm=Limit(1, per=25)))]
        r = router([Model("a", pools=("p", "q"))], pools=pools)
        (await r.route("t")).settle()
        with pytest.raises(NoCapacity) as caught:
            r.route_nowait("t")
        assert (caught.value.retry_at, caught.value.reasons[0].quota) == (25.0, "q.rpm")

    virtual(main)
