"""One connection to a server: commands are written as they come, and answered in their order.

Whoever asked may be cancelled: the answer is read all the same, so the connection is never out of step. A command
without an answer in time gives the connection up; nothing is ever sent twice from here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from hiredis import Reader, pack_command
from redis.exceptions import AuthenticationError, BusyLoadingError, InvalidResponse, RedisError, ResponseError

__all__ = ["Dropped", "Link", "Raw", "packed"]

packed = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", pack_command)
"""A command as it is sent."""
ANSWERS = (ResponseError, AuthenticationError, BusyLoadingError)
"""Errors that are an answer; after others the connection is of no use."""
NOTHING_YET = object()


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


class Link(asyncio.Protocol):
    """See the module. `raw`: connected already. Belongs to the event loop on which it was made.

    redis-py connects, and says who we are; then answers are taken from its transport as they come. If it does not let
    anybody have that, a task reads them, which takes a tenth of the time of an act more.
    """

    def __init__(self, raw: Raw, timeout: float):
        self._raw, self._timeout = raw, timeout
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()  # and since when
        self._gone: Dropped | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Future[Any] | None = None
        self._reading: asyncio.Task[None] | None = None  # or hanging up
        self._transport: asyncio.WriteTransport | None = None
        try:
            transport, parse_error = cast("Any", raw)._writer.transport, cast("Any", raw)._parser.parse_error
            self._answers = Reader(replyError=parse_error, protocolError=InvalidResponse, notEnoughData=NOTHING_YET)
            transport.set_protocol(self)
            self._transport = transport
        except AttributeError:
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
        self._waiting.append((answer, self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)
        try:
            if self._transport is not None:
                self._transport.write(packed(command))
            else:
                await self._raw.send_packed_command(packed(command), check_health=False)
            return await answer
        except RedisError as error:
            if answer.done():
                raise
            self._drop(Dropped(_brief(error)))  # it could not be written
            return await answer
        finally:
            if answer.done() and not answer.cancelled():
                answer.exception()  # nobody may have waited for it

    def _look(self) -> None:
        """Whether an answer is late, twice in a row: it may have been this process that had no time."""
        self._timer = None
        answer, since = next((one for one in self._waiting if not one[0].done()), (None, 0.0))
        if answer is None:
            return
        left = since + self._timeout - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        elif answer is self._late:
            self._drop(Dropped(f"no answer within {self._timeout:g} s", late=True))
        else:
            self._late = answer
            self._timer = self._loop.call_later(self._timeout / 10, self._look)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._answers.feed(data)
            while (answer := self._answers.gets()) is not NOTHING_YET:
                self._answered(answer)
        except (RedisError, IndexError) as error:
            self._drop(Dropped(_brief(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._drop(Dropped("connection lost" if exc is None else _brief(exc)))

    async def _read(self) -> None:
        try:
            while True:
                try:
                    self._answered(await self._raw.read_response(disconnect_on_error=False))
                except ANSWERS as error:
                    self._answered(error)
        except (RedisError, OSError, IndexError) as error:
            self._drop(Dropped(_brief(error)))
        finally:
            await self._raw.disconnect(nowait=True)

    def _answered(self, answer: Any) -> None:
        if isinstance(answer, RedisError) and not isinstance(answer, ANSWERS):
            raise answer
        waiting, _ = self._waiting.popleft()
        if not waiting.done():
            if isinstance(answer, RedisError):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)

    def _drop(self, why: Dropped) -> None:
        if self._gone is None:
            self._gone = why
            if self._reading is None:
                self._reading = self._loop.create_task(self._raw.disconnect(nowait=True))
            else:
                self._reading.cancel()
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            answer, _ = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(Dropped(why.detail, late=why.late))

    async def aclose(self) -> None:
        """Let go. Whoever still waits is told so."""
        self._drop(Dropped("closed"))
        if self._reading is not None:
            await asyncio.wait((self._reading,))


def _brief(error: BaseException) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
