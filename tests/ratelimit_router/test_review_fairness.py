"""Shares of lines that compete for a model, and only of those."""

import asyncio
import contextlib
from typing import Any

import pytest

from ratelimit_router import Limits, Overloaded, Tier


async def take(r: Any, tier: str) -> None:
    """One lease, settled at once."""
    (await r.route(tier)).settle()


def crowd(r: Any, **sizes: int) -> "list[asyncio.Task[None]]":
    """So many waiters in each tier."""
    return [asyncio.ensure_future(take(r, tier)) for tier, size in sizes.items() for _ in range(size)]


async def disperse(tasks: "list[asyncio.Task[None]]") -> None:
    """Cancel all of them."""
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


def granted(r: Any) -> dict[str, int]:
    """Leases so far, by tier."""
    return {name: tier.granted for name, tier in r.snapshot().tiers.items()}


@pytest.mark.parametrize("pace", [600, 6])
def test_a_line_that_shares_no_model_does_not_count(pace: int, router: Any, virtual: Any) -> None:
    """Tier b is served ten times as fast, or as slowly, by a model of its own; c joins a and gets the same as a."""

    async def main() -> None:
        r = router({"x": Limits(rpm=60), "y": Limits(rpm=pace)}, {"a": ["x"], "b": ["y"], "c": ["x"]})
        tasks = crowd(r, a=2_000, b=12_000)
        await asyncio.sleep(650)
        before = granted(r)
        tasks += crowd(r, c=300)
        await asyncio.sleep(300)
        after = granted(r)
        shares = {name: after[name] - before[name] for name in "ac"}
        assert shares == {"a": 150, "c": 150}
        await disperse(tasks)

    virtual(main)


def test_a_line_that_could_not_be_served_has_saved_up_one_turn_at_the_most(router: Any, virtual: Any) -> None:
    """x fails for ten minutes while y serves a thousand of b. Then only x is left, and a and b share it evenly."""

    async def main() -> None:
        limits = {"x": Limits(rpm=60), "y": Limits(rpm=600, rpd=1_000)}
        r = router(limits, {"a": ["x"], "b": ["x", "y"]})
        (await r.route(["x"])).fail(Overloaded(600.0))
        tasks = crowd(r, a=2_000, b=3_000)
        await asyncio.sleep(590)
        before = granted(r)
        assert before["b"] == 1_000
        await asyncio.sleep(370)
        shares = {name: granted(r)[name] - before[name] for name in "ab"}
        assert sum(shares.values()) >= 300
        assert abs(shares["a"] - shares["b"]) <= 2
        await disperse(tasks)

    virtual(main)


def test_weighted_shares(router: Any, virtual: Any) -> None:
    """5 : 3 : 2, also when the lines came at different times and one of them was empty for a while."""

    async def main() -> None:
        tiers = [Tier("a", ["x"], weight=5), Tier("b", ["x"], weight=3), Tier("c", ["x"], weight=2)]
        r = router({"x": Limits(rpm=100)}, tiers)
        tasks = crowd(r, a=5_000, b=3_000)
        await asyncio.sleep(1)  # the first hundred are free, and all of them go to a, who came first
        assert granted(r) == {"a": 100, "b": 0, "c": 0}
        await asyncio.sleep(599)
        before = granted(r)
        assert abs(before["a"] - 100 - 5 / 8 * 1_000) <= 2
        tasks += crowd(r, c=2_000)
        await asyncio.sleep(600)
        after = granted(r)
        for name, share in (("a", 500), ("b", 300), ("c", 200)):
            assert abs(after[name] - before[name] - share) <= 2
        await disperse(tasks)

    virtual(main)


def test_order_within_a_line_survives_everything_else(router: Any, virtual: Any) -> None:
    """First come, first served within a tier, while other tiers come and go."""

    async def main() -> None:
        r, order = router({"x": Limits(rpm=30), "y": Limits(rpm=20)}, {"a": ["x", "y"], "b": ["y"]}), []

        async def ask(number: int) -> None:
            await take(r, "a")
            order.append(number)

        tasks = [asyncio.ensure_future(ask(number)) for number in range(200)]
        await asyncio.sleep(10)
        others = crowd(r, b=50)
        await asyncio.sleep(70)
        await disperse(others)
        await asyncio.gather(*tasks)
        assert order == sorted(order)

    virtual(main)
