"""One streamed answer of google-generativeai, read piece by piece in threads and closed without waiting for them."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from ratelimit_router_providers.threads import in_thread

__all__ = ["LegacyStream"]


class LegacyStream:
    """The SDK's pieces, one after the other. `start` sends the request; `timeout`: seconds of waiting, all in all.

    Closed while a thread reads, it is closed by that thread: to close it here would wait for the read.
    """

    def __init__(self, start: Callable[[], Any], timeout: float):
        self._start, self._left = start, timeout
        self._pieces: Any = None
        self._reading, self._closed = False, False
        self._lock = threading.Lock()

    async def next(self) -> Any:
        """The next piece, None at the end. Raises what the SDK raises, and TimeoutError."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._left):
                return await in_thread(self._read)
        finally:
            self._left -= loop.time() - began

    def close(self) -> None:
        """Close the HTTP response, now or as soon as the thread that reads it is done."""
        with self._lock:
            self._closed = True
            if self._reading or self._pieces is None:
                return
        self._pieces.cancel()

    def _read(self) -> Any:
        if not self._begin():
            return None
        try:
            if self._pieces is None:
                self._pieces = self._start()
            return next(self._pieces, None)
        finally:
            if (abandoned := self._end()) is not None:
                abandoned.cancel()

    def _begin(self) -> bool:
        """Whether it may be read: not once it is closed."""
        with self._lock:
            self._reading = not self._closed
            return self._reading

    def _end(self) -> Any:
        """The pieces, if they were closed meanwhile."""
        with self._lock:
            self._reading = False
            return self._pieces if self._closed else None
