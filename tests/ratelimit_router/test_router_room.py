"""A call that went well: whoever waits for the room that it makes has it at once; where it makes none, nobody looks."""

import asyncio
from typing import Any

import pytest

from ratelimit_router import Kind, Limits, Model, Outcome, Pool
from ratelimit_router.queue import Queue

POOLED = [Model("a", pools=("p",)), Model("b", pools=("p",))]


@pytest.mark.parametrize(
    ("models", "options", "used"),
    [
        ({"a": Limits(concurrency=2)}, {}, None),
        ({"a": Limits(tpm=200)}, {}, 0),
        ({"a": None}, {"slow_start": 2}, None),
        ({"a": Limits(rpm=1_000, concurrency=2)}, {"slow_start": 2}, None),
        (POOLED, {"pools": [Pool("p", Limits(concurrency=2))]}, None),
        (POOLED, {"pools": [Pool("p", Limits(tpm=200))]}, 0),
    ],
    ids=["concurrency", "refund", "ramp", "ramp and concurrency", "pool", "refund to a pool"],
)
def test_room_is_given_away_when_it_is_made(
    models: Any, options: Any, used: int | None, router: Any, virtual: Any
) -> None:
    """Not a moment later, whatever it was that kept others waiting."""

    async def main() -> None:
        r = router(models, **options)
        leases = [await r.route("t", tokens=100) for _ in range(2)]
        waiting = asyncio.ensure_future(take(r.route("t", tokens=100)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        leases[1].settle(input_tokens=used)
        assert (await waiting).waited == 0.05

    virtual(main)


async def take(route: Any) -> Any:
    """What awaiting a route gives."""
    return await route


@pytest.mark.parametrize("quota", ["rpm", "p.rpm"])
def test_a_probe_that_goes_well_makes_room(quota: str, router: Any, virtual: Any) -> None:
    """After a cooldown, of the model or of its pool, the next one goes as soon as the probe is answered."""

    async def main() -> None:
        limits = Limits(rpm=1_000)
        r = router([Model("a", limits=limits, pools=("p",))], pools=[Pool("p", limits)])
        outcome = Outcome(kind=Kind.RATE_LIMITED, quota=quota, retry_after=1.0)
        (await r.route("t")).fail(outcome)
        probe = await r.route("t")
        waiting = asyncio.ensure_future(take(r.route("t")))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        probe.settle()
        assert (probe.waited, (await waiting).waited) == (1.0, pytest.approx(0.05))

    virtual(main)


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
