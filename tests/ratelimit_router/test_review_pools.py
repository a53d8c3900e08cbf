"""Models that share a pool compete for it fairly, also when they share nothing else."""

import asyncio
from typing import Any

import pytest

from ratelimit_router import ConfigError, Limit, Limits, Model, Pool


@pytest.mark.parametrize("limit", [Limit(1000, refill="continuous"), Limit(1000)])
def test_a_large_request_gets_its_turn_from_a_shared_pool(limit: Limit, router: Any, virtual: Any) -> None:
    """A head that waits for the pool's tokens reserves them: small requests on another model do not eat them away."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        r = router(
            [Model("x", pools=("p",)), Model("y", pools=("p",))],
            {"big": ["x"], "small": ["y"]},
            pools=[Pool("p", Limits(tpm=limit))],
        )

        async def small() -> None:
            while loop.time() < 3_600:
                (await r.route("small", tokens=100)).settle()

        loops = [asyncio.ensure_future(small()) for _ in range(3)]
        await asyncio.sleep(1)
        expected = loop.time() + r.eta("big", tokens=900)
        (await r.route("big", tokens=900)).settle()
        assert loop.time() <= expected + 6.1  # at most one small request goes first: 100 tokens take 6 s
        await asyncio.gather(*loops)
        granted = r.snapshot().tiers["small"].granted
        assert granted * 100 + 900 >= 1000 * 58  # and the pool is used to the full all the same

    virtual(main)


def test_a_pool_that_is_free_is_not_kept_for_a_head_that_waits_for_its_own_model(router: Any, virtual: Any) -> None:
    """Only what a head really waits for is reserved."""

    async def main() -> None:
        r = router(
            [Model("x", limits=Limits(rpm=1), pools=("p",)), Model("y", pools=("p",))],
            {"big": ["x"], "small": ["y"]},
            pools=[Pool("p", Limits(tpm=1000))],
        )
        await r.route("big")
        waiting = asyncio.ensure_future(r.call("big", lambda model: asyncio.sleep(0), tokens=10))
        await asyncio.sleep(1)
        assert r.route_nowait("small", tokens=100).waited == 0.0
        await waiting

    virtual(main)


def test_a_pool_is_named_once() -> None:
    """Twice would charge it twice for every call."""
    with pytest.raises(ConfigError, match="pools"):
        Model("m", pools=("p", "p"))
