"""One streamed answer of google-genai, whose HTTP response is closed when we say so.

The SDK stacks five generators and leaves closing them to the garbage collector; a stream that is dropped half-way
would keep its connection for an unknown while. So the response is picked up when it is opened, and closed here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

from ratelimit_router_providers.gemini_clients import opened_responses

if TYPE_CHECKING:
    import httpx2
    from google.genai.types import GenerateContentResponse

__all__ = ["GeminiStream"]


class GeminiStream:
    """The SDK's pieces, one after the other. `timeout`: seconds of waiting for them, all in all."""

    def __init__(self, start: "Awaitable[AsyncIterator[GenerateContentResponse]]", timeout: float):
        self._start, self._left = start, timeout
        self._pieces: AsyncIterator[GenerateContentResponse] | None = None
        self._opened: list[httpx2.Response] = []

    async def next(self) -> "GenerateContentResponse | None":
        """The next piece, None at the end. Raises what the SDK raises, and TimeoutError."""
        loop = asyncio.get_running_loop()
        began, token = loop.time(), opened_responses.set(self._opened)
        try:
            async with asyncio.timeout(self._left):
                if self._pieces is None:
                    self._pieces = await self._start
                return await anext(self._pieces, None)
        finally:
            opened_responses.reset(token)
            self._left -= loop.time() - began

    async def aclose(self) -> None:
        """Close the HTTP response, whether the stream is at its end or not."""
        if self._pieces is None and asyncio.iscoroutine(self._start):
            self._start.close()
        for response in self._opened:
            with contextlib.suppress(Exception):  # the answer is over: what closing comes to changes nothing
                await response.aclose()
        if (close := getattr(self._pieces, "aclose", None)) is not None:
            with contextlib.suppress(Exception):
                await close()
