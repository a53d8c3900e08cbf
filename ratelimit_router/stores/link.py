"""One connection to a server: commands are written as they come, and answered in their order.

Whoever asked may be cancelled: the answer is read all the same, so the connection is never out of step. A command
without an answer in time gives the connection up; nothing is ever sent twice from here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from hiredis import pack_command
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

__all__ = ["Dropped", "Link", "Raw", "packed"]

packed = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", pack_command)
"""A command as it is sent."""


class Raw(Protocol):
    """What is used of redis-py's connections."""

    async def connect(self) -> None:
        """Open it, and say who we are."""
        ...

    async def disconnect(self, nowait: bool = ...) -> None:
        """Close it."""
        ...

    async def send_packed_command(self, command: bytes, check_health: bool = ...) -> None:
        """Write."""
        ...

    async def read_response(
        self, disable_decoding: bool = ..., timeout: float | None = ..., *, disconnect_on_error: bool = ...
    ) -> Any:
        """Read."""
        ...


class Dropped(Exception):
    """The connection is gone. `late`: because there was no answer in time; the command may still be carried out."""

    def __init__(self, detail: str, *, late: bool = False):
        self.detail, self.late = detail, late
        super().__init__(detail)


class Link:
    """See the module. `raw`: connected already. Belongs to the event loop on which it was made."""

    def __init__(self, raw: Raw, timeout: float):
        self._raw, self._timeout = raw, timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._gone: Dropped | None = None
        self._reading = self._loop.create_task(self._read())

    @property
    def is_up(self) -> bool:
        """Whether it can be asked."""
        return self._gone is None

    async def ask(self, *command: str | bytes | int) -> Any:
        """Send a command and wait for its answer. Raises what the server answers, or Dropped."""
        if self._gone is not None:
            raise Dropped(self._gone.detail)
        answer = self._loop.create_future()
        self._waiting.append(answer)
        timer = self._loop.call_later(self._timeout, self._late, answer)
        try:
            await self._raw.send_packed_command(packed(command), check_health=False)
            return await answer
        except RedisError as error:
            if answer.done():
                raise
            self._drop(Dropped(_brief(error)))  # it could not be written
            return await answer
        finally:
            timer.cancel()
            if answer.done() and not answer.cancelled():
                answer.exception()  # nobody may have waited for it

    def _late(self, answer: "asyncio.Future[Any]") -> None:
        """Look once more: it may have been this process that had no time."""
        if not answer.done():
            self._loop.call_later(self._timeout / 10, self._too_late, answer)

    def _too_late(self, answer: "asyncio.Future[Any]") -> None:
        if not answer.done():
            self._drop(Dropped(f"no answer within {self._timeout:g} s", late=True))

    async def _read(self) -> None:
        try:
            while True:
                try:
                    answer = await self._raw.read_response(disconnect_on_error=False)
                except (ResponseError, AuthenticationError, BusyLoadingError) as error:
                    if not (waiting := self._waiting.popleft()).done():
                        waiting.set_exception(error)
                else:
                    if not (waiting := self._waiting.popleft()).done():
                        waiting.set_result(answer)
        except (RedisError, OSError, IndexError) as error:
            self._drop(Dropped(_brief(error)))
        finally:
            await self._raw.disconnect(nowait=True)

    def _drop(self, why: Dropped) -> None:
        if self._gone is None:
            self._gone = why
            self._reading.cancel()
        while self._waiting:
            if not (answer := self._waiting.popleft()).done():
                answer.set_exception(Dropped(why.detail, late=why.late))

    async def aclose(self) -> None:
        """Let go. Whoever still waits is told so."""
        self._drop(Dropped("closed"))
        await asyncio.wait((self._reading,))


def _brief(error: BaseException) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
