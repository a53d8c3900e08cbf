"""A network that fails as it is told to, between a client and a server."""

import asyncio
import ssl
from contextlib import suppress

__all__ = ["Proxy"]


class Proxy:
    """Forwards to `port`. `latency`: seconds for each answer. `silent`: a black hole, for requests and answers alike.

    `lose`: so many answers are lost, and their connections with them, after the server has done what it was asked.
    `tls`: clients have to speak it.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.latency, self.silent, self.lose, self._tls = port, 0.0, False, 0, tls
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._server is not None
        return f"redis{'s' if self._tls else ''}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def reset(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
            self._writers.add(back)
            for source, target, answers in ((reader, back, False), (there, writer, True)):
                pipe = asyncio.create_task(self._pipe(source, target, answers))
                self._pipes.add(pipe)
            return
        writer.close()

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, answers: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if answers and self.lose:
                    self.lose -= 1
                    break
                if answers and self.latency:  # none waits for the one before it
                    asyncio.get_running_loop().call_later(self.latency, self._write, target, data)
                else:
                    self._write(target, data)
        target.transport.abort()

    def _write(self, target: asyncio.StreamWriter, data: bytes) -> None:
        if not self.silent and not target.transport.is_closing():
            target.write(data)
