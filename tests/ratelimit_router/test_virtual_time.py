"""The loop whose clock jumps."""

import asyncio
import time

import pytest

from ratelimit_router.simulation.virtual_time import Deadlock, VirtualTimeLoop, run


def test_days_pass_at_once() -> None:
    """Sleeping takes exactly as long as asked on the loop's clock, and nothing on the wall's."""

    async def main() -> float:
        await asyncio.sleep(30 * 86_400.0)
        return asyncio.get_running_loop().time()

    begun = time.monotonic()
    assert run(main(), start=5.0) == 30 * 86_400.0 + 5.0
    assert time.monotonic() - begun < 60


def test_timers_fire_in_order_and_exactly() -> None:
    """At their instant, not before, whatever fractions they are."""

    async def main() -> list[tuple[float, float]]:
        loop, fired = asyncio.get_running_loop(), []
        for when in (3.3, 0.1, 2.2, 0.1 + 1e-12, 7e8):
            loop.call_at(when, lambda when=when: fired.append((when, loop.time())))
        await asyncio.sleep(1e9)
        return fired

    fired = run(main())
    assert fired == [(when, when) for when in (0.1, 0.1 + 1e-12, 2.2, 3.3, 7e8)]


def test_work_without_timers_takes_no_time() -> None:
    """The clock moves only when nothing is ready."""

    async def main() -> float:
        for _ in range(1_000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run(main()) == 0.0


def test_a_program_that_would_hang_says_so() -> None:
    """Nothing ready, no timer: Deadlock instead of waiting for ever."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run(main())


def test_a_loop_starts_where_it_is_told() -> None:
    """`start` is the first reading of the clock."""
    loop = VirtualTimeLoop(start=12.5)
    try:
        assert loop.time() == 12.5
    finally:
        loop.close()
