"""A call that went well: whoever waits for the room that it makes has it at once; where it makes none, nobody looks."""

import asyncio
from typing import Any

import pytest

from ratelimit_router import Limits, Model, Pool
from ratelimit_router.queue import Queue

POOLED = [Model("a", pools=("p",)), Model("b", pools=("p",))]


@pytest.mark.parametrize(
    ("models", "options", "asked"),
    [
        ({"a": Limits(concurrency=2)}, {}, 2),
        ({"a": Limits(tpm=200)}, {}, 2),
        ({"a": None}, {"slow_start": 2}, 2),
        ({"a": Limits(rpm=1_000, concurrency=3)}, {"slow_start": 3}, 3),
        (POOLED, {"pools": [Pool("p", Limits(concurrency=2))]}, 2),
        (POOLED, {"pools": [Pool("p", Limits(tpm=200))]}, 2),
    ],
    ids=["concurrency", "refund", "ramp", "ramp and concurrency", "pool", "refund to a pool"],
)
def test_room_is_given_away_when_it_is_made(models: Any, options: Any, asked: int, router: Any, virtual: Any) -> None:
    """Not a moment later, whatever it was that kept others waiting."""

    async def main() -> None:
        r = router(models, **options)
        leases = [await r.route("t", tokens=100) for _ in range(asked)]
        waiting = asyncio.ensure_future(take(r.route("t", tokens=100)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        leases[1].settle(input_tokens=0)
        assert (await waiting).waited == 0.05

    virtual(main)


async def take(route: Any) -> Any:
    """What awaiting a route gives."""
    return await route


def test_nobody_looks_where_no_room_is_made(router: Any, virtual: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a slow start whose window is wide enough, answers bring nothing to those who wait for a quota."""
    looks, serve = [], Queue.serve

    def counted(self: Queue, *how: Any) -> float:
        looks.append(how[0])
        return serve(self, *how)

    async def main() -> None:
        r = router({"a": Limits(rpm=4, concurrency=8)}, slow_start=8)
        leases = [await r.route("t") for _ in range(4)]
        waiting = [asyncio.ensure_future(take(r.route("t"))) for _ in range(2)]
        await asyncio.sleep(0.05)
        monkeypatch.setattr(Queue, "serve", counted)
        for lease in leases:
            lease.settle()
        assert not looks
        assert [lease.waited for lease in await asyncio.gather(*waiting)] == [60.0, 60.0]

    virtual(main)
