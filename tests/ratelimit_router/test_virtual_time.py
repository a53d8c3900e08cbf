"""The loop whose clock jumps."""

import asyncio
import time

import pytest
from aiolimiter import AsyncLimiter

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


@pytest.mark.parametrize("start", [0.0, 1e6, 1e12])
def test_a_timer_that_is_set_for_now_lets_time_go_on(start: float) -> None:
    """Code that waits until the clock has moved sees it move, as it would in real time; by no more than it must."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()

        async def wait_for_progress() -> None:
            while loop.time() == begun:  # noqa: ASYNC110 -- busy waiting is what this is about
                await asyncio.sleep(1e-30)

        await asyncio.gather(wait_for_progress(), wait_for_progress())
        return loop.time() - begun

    assert 0.0 < run(main(), start=start) <= max(1e-8, start * 1e-15)


def test_a_timer_for_now_fires_now() -> None:
    """Once there is no need for time to go on: instants stay exact."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(10.0)
        fired = loop.create_future()
        loop.call_later(0.0, fired.set_result, None)
        await fired
        return loop.time()

    assert run(main()) == 10.0


@pytest.mark.parametrize(("rate", "period"), [(100.0, 60.0), (7.0, 3.0), (1.0, 0.1)])
def test_other_limiters_run_in_it(rate: float, period: float) -> None:
    """One that computes its delays from a level, and so rounds them, ends, and takes the time that it must."""

    async def main() -> float:
        limiter = AsyncLimiter(rate, period)
        await asyncio.gather(*(limiter.acquire() for _ in range(500)))
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx((500 - rate) * period / rate, abs=1e-5)


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set() -> None:
    """Whatever else is set between them: one timer more changes nothing for the others."""

    async def main(more: int) -> list[int]:
        loop, fired = asyncio.get_running_loop(), []
        for number in range(20):
            loop.call_at(5.0, fired.append, number)
            for _ in range(more):
                loop.call_at(3.0 + number % 3, lambda: None)
        cancelled = loop.call_at(5.0, fired.append, -1)
        cancelled.cancel()
        await asyncio.sleep(6.0)
        return fired

    assert run(main(0)) == run(main(1)) == run(main(7)) == list(range(20))
