"""Blocking calls beside the event loop, each in a thread of its own.

`asyncio.to_thread` has a handful of workers, so that the calls beyond them would wait in a queue that the router does
not see. A thread cannot be cancelled: who stops waiting leaves it running until the call's own timeout.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """The result of a blocking call, or the exception it raises. Cancelled, it leaves the call to itself."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def deliver(value: T | None, error: Exception | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)  # type: ignore[arg-type]  # without an error it is the call's own value
        else:
            result.set_exception(error)

    def run() -> None:
        value: T | None = None
        failed: Exception | None = None
        try:
            value = context.run(call)
        except StopIteration:
            failed = RuntimeError("a blocking call raised StopIteration")
        except Exception as error:  # noqa: BLE001 -- carried over to the one who waits
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(deliver, value, failed)

    threading.Thread(target=run, name="ratelimit-router-call", daemon=True).start()
    return await result
