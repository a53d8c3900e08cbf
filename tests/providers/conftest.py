"""A wire to look at: a server on loopback that writes down what it is sent and answers what a test tells it to."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Sent:
    """One request as it came over the wire."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Wire:
    """`answer`: what each request is answered; by default a short regular answer."""

    answer: Answer | None = None
    sent: list[Sent] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read() or b"null")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.sent.append(Sent(request.path, dict(request.query), headers, body))
        return await self.answer(request) if self.answer else self.reply(reply_body())

    @staticmethod
    def reply(body: object, status: int = 200, **options: Any) -> web.Response:
        return web.json_response(body, status=status, **options)

    @staticmethod
    async def stream(request: web.Request, *pieces: object) -> web.StreamResponse:
        """The pieces as server-sent events, or as the array that google-generativeai reads, unclosed."""
        response = web.StreamResponse()
        sse = request.query.get("alt") == "sse"
        response.content_type = "text/event-stream" if sse else "application/json"
        response.charset = "utf-8"
        await response.prepare(request)
        for index, piece in enumerate(pieces):
            text = json.dumps(piece)
            await response.write((f"data: {text}\r\n\r\n" if sse else f"{'[' if not index else ','}{text}").encode())
        return response

    @staticmethod
    def always(response: Callable[[], web.StreamResponse]) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            return response()

        return answer


def reply_body(
    text: str | None = "hello", *, finish: str | None = "STOP", parts: list[Any] | None = None, usage: Any = None
) -> dict[str, Any]:
    """A generateContent answer."""
    shown = parts if parts is not None else [] if text is None else [{"text": text}]
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": shown}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    counts = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18} if usage is None else usage
    return {
        "candidates": [candidate],
        "modelVersion": "another-version",
        **({"usageMetadata": counts} if counts else {}),
    }


@pytest.fixture
def wire() -> type[Wire]:
    """The server's class: `async with wire(answer) as server`."""
    return Wire


@pytest.fixture
def body() -> Callable[..., dict[str, Any]]:
    """Makes bodies of answers."""
    return reply_body


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without keys."""
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def in_time() -> Callable[[Awaitable[Any]], Awaitable[Any]]:
    """Bounds what would hang if it failed."""
    return lambda awaitable: asyncio.wait_for(awaitable, 30)
