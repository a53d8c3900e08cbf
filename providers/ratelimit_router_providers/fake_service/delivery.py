"""Sends what was decided, in the forms of HTTP that the decision asks for, the broken ones included.

Three forms of a good answer: one JSON object; server-sent events (`alt=sse`); a JSON array that grows piece by piece
(a stream without `alt=sse`, which google-generativeai reads over REST).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ratelimit_router_providers.fake_service.desk import Ticket
from ratelimit_router_providers.fake_service.exchange import Refusal

__all__ = ["Form", "deliver"]

HEADERS = {"x-simulated": "true"}
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Form:
    """How the client wants the answer: whole, as events (the last says `done`, if the wire has it), or as an array."""

    stream: bool
    sse: bool
    done: str = ""

    @property
    def content_type(self) -> str:
        """Of a good answer."""
        return "text/event-stream" if self.stream and self.sse else "application/json"

    def frame(self, index: int, payload: str) -> bytes:
        """One piece of a stream."""
        if self.sse:
            return f"data: {payload}\r\n\r\n".encode()
        return f"{'[' if index == 0 else ','}{payload}\r\n".encode()

    @property
    def end(self) -> bytes:
        """What closes a stream."""
        if self.sse:
            return f"data: {self.done}\r\n\r\n".encode() if self.done else b""
        return b"]"


async def deliver(request: web.Request, ticket: Ticket, form: Form, sleep: Sleep) -> web.StreamResponse:
    """Answer the request as the ticket says."""
    fault = ticket.fault if ticket.refusal is None else None
    if ticket.refusal is None and (fault == "reset" or not form.stream):
        await sleep(ticket.delay)
    if ticket.refusal is not None:
        await sleep(ticket.delay)
        return _refuse(ticket.refusal, form)
    if fault == "reset":
        _hang_up(request)
        return web.Response()
    if fault == "empty":
        return web.Response(headers=HEADERS, content_type=form.content_type)
    if form.stream:
        return await _stream(request, ticket, form, sleep)
    return await _whole(request, ticket)


def _refuse(refusal: Refusal, form: Form) -> web.Response:
    wrapped = form.stream and not form.sse and refusal.content_type == "application/json"
    body = f"[{refusal.body}]" if wrapped else refusal.body
    return web.Response(
        status=refusal.status, text=body, content_type=refusal.content_type, headers={**HEADERS, **refusal.headers}
    )


async def _whole(request: web.Request, ticket: Ticket) -> web.StreamResponse:
    text = json.dumps(_body(ticket), ensure_ascii=False)
    match ticket.fault:
        case "error_in_stream":
            return _refuse(ticket.wire.refusals.internal(), Form(stream=False, sse=False))
        case "malformed_json" | "malformed_sse":
            text = text[: len(text) // 2]
        case "cut_body" | "cut_stream":
            return await _cut(request, text.encode())
    return web.Response(text=text, content_type="application/json", headers=HEADERS)


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={**HEADERS, "Content-Length": str(len(body))})
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    _close(request)
    return response


async def _stream(request: web.Request, ticket: Ticket, form: Form, sleep: Sleep) -> web.StreamResponse:
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = form.content_type
    frames = _frames(ticket, form)
    await sleep(ticket.delay / 2)
    await response.prepare(request)
    for index, frame in enumerate(frames):
        if index:
            await sleep(ticket.delay / 2 / (len(frames) - 1))
        await response.write(frame)
    if ticket.fault == "cut_body":
        _close(request)
    elif ticket.fault not in ("cut_stream", "malformed_json", "malformed_sse"):
        await response.write(form.end)
    return response


def _frames(ticket: Ticket, form: Form) -> Sequence[bytes]:
    payloads = [json.dumps(piece, ensure_ascii=False) for piece in _pieces(ticket)]
    match ticket.fault:
        case "cut_body":
            payloads = payloads[:1]
        case "cut_stream":
            payloads = payloads[:-1] or [payloads[0][:0]]
        case "malformed_json" | "malformed_sse":
            payloads = [payloads[0], payloads[-1][: len(payloads[-1]) // 2]]
        case "error_in_stream":
            payloads = [payloads[0], " ".join(ticket.wire.refusals.overloaded().body.split())]
    return [form.frame(index, payload) for index, payload in enumerate(payloads)]


def _pieces(ticket: Ticket) -> list[dict[str, Any]]:
    if ticket.body is not None or ticket.draft is None or ticket.model is None:
        return [_body(ticket)]
    return list(ticket.wire.talk.chunks(ticket.model, ticket.draft, ticket.response_id))


def _body(ticket: Ticket) -> dict[str, Any]:
    if ticket.body is not None:
        return ticket.body
    assert ticket.model is not None
    assert ticket.draft is not None
    return ticket.wire.talk.answer(ticket.model, ticket.draft, ticket.response_id)


def _hang_up(request: web.Request) -> None:
    """Reset the connection: the client sees an RST."""
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()


def _close(request: web.Request) -> None:
    """Close the connection after what was written, in the middle of the message."""
    if isinstance(request.transport, asyncio.Transport):
        request.transport.close()
