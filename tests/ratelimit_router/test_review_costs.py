"""What long lines cost: operations are counted, not seconds."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from ratelimit_router import Limits, RateLimited, Tier, bucket, dispatch

SETTLED_CALLS = 16  # after so many the router has an idea of how long calls take


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """Lines of the router's own code that are run inside of the block, as the one entry of a list."""
    lines = [0]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if "ratelimit_router" not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        lines[0] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


async def disperse(tasks: "list[asyncio.Task[None]]") -> None:
    """Cancel all of them."""
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("late", [False, True])
def test_predicting_waits_looks_at_each_spend_a_few_times(
    late: bool, router: Any, virtual: Any, monkeypatch: Any
) -> None:
    """n waiters with a deadline behind n spends, arriving at once or one by one: some n looks, not n times n."""
    size, added = 400, [0]

    def count(amounts: Any) -> float:
        amounts = list(amounts)
        added[0] += len(amounts)
        return sum(amounts)

    monkeypatch.setattr(bucket, "sum", count, raising=False)

    async def main() -> None:
        r = router({"a": Limits(rpm=size)})
        for _ in range(size):
            r.route_nowait("t").settle()
            await asyncio.sleep(1 / 8)

        async def ask() -> None:
            (await r.route("t", timeout=1_000)).settle()

        tasks = []
        for _ in range(size):
            tasks.append(asyncio.ensure_future(ask()))
            await asyncio.sleep(1 / 64 if late else 0)
        await asyncio.gather(*tasks)

    virtual(main)
    assert size <= added[0] <= 8 * size


def waits_of(size: int, router: Any, virtual: Any) -> int:
    """Lines that are run for so many waiters with a deadline, from the first to the last."""

    async def main() -> int:
        r = router({"a": Limits(rpm=size)})
        for _ in range(size):
            r.route_nowait("t").settle()
            await asyncio.sleep(1 / 8)

        async def ask() -> None:
            (await r.route("t", timeout=1_000)).settle()

        with counted() as lines:
            await asyncio.gather(*(ask() for _ in range(size)))
        return lines[0]

    return virtual(main)


def patience_of(size: int, router: Any, virtual: Any) -> int:
    """Lines that are run when the patience of so many ends, and they fall in behind as many others."""

    async def main() -> int:
        r = router({"x": Limits(concurrency=1), "y": Limits(concurrency=1)}, [Tier("t", ["x", "y"])])
        for name in ("x", "y"):
            for _ in range(SETTLED_CALLS):
                lease = await r.route([name])
                await asyncio.sleep(0.0001)
                lease.settle()
        held = [r.route_nowait("t"), r.route_nowait("t")]

        async def ask(patience: float) -> None:
            await r.route("t", patience=patience)

        tasks = [asyncio.ensure_future(ask(patience)) for patience in (5, 0) for _ in range(size)]
        await asyncio.sleep(1)
        line = r._catalogue.lines["t"]
        assert [len(list(lane)) for lane in line.lanes] == [size, size]
        with counted() as lines:
            await asyncio.sleep(5)
        assert [len(list(lane)) for lane in line.lanes] == [0, 2 * size]
        await disperse(tasks)
        for lease in held:
            lease.settle()
        return lines[0]

    return virtual(main)


@pytest.mark.parametrize("costs", [waits_of, patience_of])
def test_twice_as_many_cost_twice_as_much(costs: Any, router: Any, virtual: Any) -> None:
    """Give or take a logarithm; not four times."""
    one, two = costs(150, router, virtual), costs(300, router, virtual)
    assert 1.5 * one < two < 2.6 * one


def test_one_incident_is_weighed_once_by_those_who_wait(router: Any, virtual: Any, monkeypatch: Any) -> None:
    """Many stale rejections with hints: each waiter looks at its chances again for the first of them only."""
    looks = []
    weigh = dispatch.still_worth_waiting
    monkeypatch.setattr(dispatch, "still_worth_waiting", lambda *what: (looks.append(1), weigh(*what))[1])

    async def main() -> None:
        r = router({"x": Limits(rpm=50), "y": Limits(rpm=1)}, [Tier("t", ["x", "y"], patience=1_000)])
        leases = [r.route_nowait("t") for _ in range(50)]
        tasks = [asyncio.ensure_future(r.call("t", lambda model: asyncio.sleep(0))) for _ in range(200)]
        await asyncio.sleep(0.125)
        assert r.snapshot().tiers["t"].queued == 200
        for lease in leases:
            await asyncio.sleep(0.001)
            lease.fail(RateLimited(10.0))
        await disperse(tasks)

    virtual(main)
    assert 100 <= len(looks) <= 200


def test_those_whose_deadlines_pass_together_are_refused_together(router: Any, virtual: Any) -> None:
    """One turn of the timer, whatever their number; and nothing is left of them."""

    async def main() -> None:
        r = router({"x": Limits(concurrency=1)})
        lease = await r.route("t")
        asked = [r.call("t", lambda model: asyncio.sleep(0), timeout=5) for _ in range(300)]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one).__name__ for one in told} == {"RouteTimeout"}
        assert asyncio.get_running_loop().time() == 5.0
        queue = r._dispatcher.queue
        assert (queue.length, queue.lines, queue.next_alarm()) == (0, {}, float("inf"))
        lease.settle()

    virtual(main)
