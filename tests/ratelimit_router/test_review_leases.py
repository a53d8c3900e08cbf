"""A lease is charged once and ends once, whatever way it is entered."""

import asyncio
from typing import Any

import pytest

from ratelimit_router import Limits, Model, Pool


def test_a_lease_that_is_held_already_is_entered_without_a_second_charge(router: Any, virtual: Any) -> None:
    """`async with` works on what route_nowait or an await has given, and charges nothing again."""

    async def main() -> None:
        r = router({"a": Limits(rpm=100, concurrency=1)})
        async with r.route_nowait("t"):
            assert r.snapshot().models["a"].in_flight == 1
        async with await r.route("t") as lease:
            assert lease.model.name == "a"
        seen = r.snapshot().models["a"]
        assert (seen.in_flight, seen.granted, seen.quotas["rpm"].remaining) == (0, 2, 98)

    virtual(main)


def test_a_lease_is_awaited_once(router: Any, virtual: Any) -> None:
    """A second await is a mistake of the caller's, and is told so; the lease itself goes on as before."""

    async def main() -> None:
        r = router({"a": Limits(rpm=100)})
        lease = r.route("t")
        await lease
        with pytest.raises(RuntimeError, match="once"):
            await lease
        assert r.snapshot().models["a"].in_flight == 1
        lease.settle()
        with pytest.raises(RuntimeError, match="once"):
            await lease
        with pytest.raises(RuntimeError, match="once"):
            async with lease:
                pass
        seen = r.snapshot().models["a"]
        assert (seen.in_flight, seen.quotas["rpm"].remaining) == (0, 99)

    virtual(main)


def test_a_lease_given_back_after_its_pool_was_taken_away_frees_the_pool(router: Any, virtual: Any) -> None:
    """What it drew from a pool is given back to that pool, although its model no longer belongs to it."""

    async def main() -> None:
        pool = Pool("p", Limits(concurrency=1))
        r = router([Model("a", pools=("p",)), Model("b", pools=("p",))], {"t": ["a"], "u": ["b"]}, pools=[pool])
        lease = await r.route("t")
        waiting = asyncio.ensure_future(r.call("u", lambda model: asyncio.sleep(0, model.name)))
        await asyncio.sleep(1)
        r.reconfigure(models=[Model("a"), Model("b", pools=("p",))])
        lease.settle()
        assert await waiting == "b"
        assert r.snapshot().pools["p"].in_flight == 0

    virtual(main)
