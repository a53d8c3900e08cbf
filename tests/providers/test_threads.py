"""Blocking calls in threads of their own."""

import asyncio
import contextvars
import threading
from collections.abc import Callable

import pytest

from ratelimit_router_providers.threads import in_thread


def test_results_and_exceptions_come_back() -> None:
    """The caller sees what the call returns or raises."""

    async def main() -> None:
        assert await in_thread(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await in_thread(lambda: next(iter(())))

    asyncio.run(main())


def test_no_call_waits_for_another() -> None:
    """A hundred calls that all wait for each other end: none of them stands in a queue for a worker."""
    barrier = threading.Barrier(100)

    async def main() -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*(in_thread(barrier.wait) for _ in range(100)))

    asyncio.run(main())


def test_a_call_that_was_given_up_runs_on_alone() -> None:
    """A cancelled caller goes at once; what the thread comes to later disturbs nobody, even after the loop's end."""
    done, ended = threading.Event(), threading.Event()

    def call(going: Callable[[], None]) -> None:
        going()
        done.wait(30)
        ended.set()

    async def main() -> None:
        loop, going = asyncio.get_running_loop(), asyncio.Event()
        task = asyncio.create_task(in_thread(lambda: call(lambda: loop.call_soon_threadsafe(going.set))))
        await going.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not ended.is_set()
    done.set()
    assert ended.wait(30)


def test_context_variables_are_carried_over() -> None:
    """The call sees the context of its caller."""
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    async def main() -> None:
        name.set("caller")
        assert await in_thread(name.get) == "caller"

    asyncio.run(main())
