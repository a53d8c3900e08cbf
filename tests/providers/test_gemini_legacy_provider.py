"""What google-generativeai does by itself, and must not: warn, configure the process, send again, lose an answer."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from typing import Any

import pytest
from aiohttp import web

from ratelimit_router import errors
from ratelimit_router.messages import Request, Usage
from ratelimit_router.models import Model
from ratelimit_router_providers.gemini_legacy import GeminiLegacyProvider
from ratelimit_router_providers.legacy_clients import load_sdk
from ratelimit_router_providers.legacy_stream import LegacyStream

ASK = Request(prompt="x")


def model_at(server: Any, **options: Any) -> Model:
    return Model("fast", id="flash", key="key", base_url=server.url, **options)


def test_loading_the_sdk_warns_nobody_and_hides_no_other_warning() -> None:
    """Its notice of the end of support reaches nobody, under -W error too; other warnings are as loud as before."""
    program = """
import warnings
from ratelimit_router_providers.legacy_clients import load_sdk
load_sdk()
try:
    warnings.warn("another", FutureWarning)
except FutureWarning:
    print("loud")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "loud\n"
    assert done.stderr == ""


def test_nothing_is_configured_for_the_whole_process(wire: Any) -> None:
    """The SDK's global key stays as it was: other code in the process keeps its own."""

    async def main() -> None:
        manager = sys.modules["google.generativeai.client"]._client_manager  # type: ignore[attr-defined]
        before = (manager.client_config["client_options"].api_key, dict(manager.clients))
        async with wire() as server, contextlib.aclosing(GeminiLegacyProvider()) as provider:
            await provider.generate(model_at(server), ASK)
        assert (manager.client_config["client_options"].api_key, manager.clients) == before

    load_sdk()
    asyncio.run(main())


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_nothing_is_sent_again(wire: Any, status: int) -> None:
    """Neither the SDK's retry on 503 nor google-auth's on 401 sends a second request."""

    async def main() -> None:
        async with (
            wire(wire.always(lambda: wire.reply({"error": {}}, status))) as server,
            contextlib.aclosing(GeminiLegacyProvider()) as provider,
        ):
            with pytest.raises(errors.ProviderError):
                await provider.generate(model_at(server), ASK)
            with pytest.raises(errors.ProviderError):
                _ = [chunk async for chunk in provider.stream(model_at(server), ASK)]
            assert len(server.sent) == 2

    asyncio.run(main())


def test_thinking_tokens_are_what_the_total_has_beyond_its_parts(wire: Any, body: Any) -> None:
    """The SDK does not know thoughtsTokenCount; the total tells."""
    usage = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 50,
        "totalTokenCount": 157,
        "cachedContentTokenCount": 40,
    }

    async def main() -> None:
        async with (
            wire(wire.always(lambda: wire.reply(body(usage=usage)))) as server,
            contextlib.aclosing(GeminiLegacyProvider()) as provider,
        ):
            reply = await provider.generate(model_at(server), ASK)
            assert reply.usage == Usage(input_tokens=100, output_tokens=57, cached_tokens=40)

    asyncio.run(main())


def test_a_schema_it_cannot_express_is_the_callers_fault(wire: Any) -> None:
    """It is refused before anything is sent."""

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(GeminiLegacyProvider()) as provider:
            request = Request(prompt="x", schema={"anyOf": [{"type": "string"}, {"type": "number"}]})
            with pytest.raises(errors.BadRequest, match="gemini-legacy cannot express"):
                await provider.generate(model_at(server), request)
            assert server.sent == []

    asyncio.run(main())


def test_safety_settings_and_tools_go_beside_the_config(wire: Any) -> None:
    """Options that are no generation config reach the request all the same."""
    options = {"safety_settings": {"HARASSMENT": "BLOCK_NONE"}, "stop_sequences": ["END"]}

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(GeminiLegacyProvider()) as provider:
            await provider.generate(model_at(server, options=options), ASK)
            (sent,) = server.sent
            assert sent.body["generationConfig"]["stopSequences"] == ["END"]
            assert len(sent.body["safetySettings"]) == 1

    asyncio.run(main())


class Pieces:
    """A stream that blocks in its second piece until it is let go."""

    def __init__(self) -> None:
        self.blocked, self.go, self.cancelled = threading.Event(), threading.Event(), threading.Event()
        self.sent = iter(["one"])

    def __next__(self) -> str:
        for piece in self.sent:
            return piece
        self.blocked.set()
        self.go.wait(30)
        return "late"

    def cancel(self) -> None:
        self.cancelled.set()


def test_a_stream_given_up_in_mid_read_is_closed_by_its_reader() -> None:
    """Closing does not wait for the thread that reads; that thread closes the response when it is done."""
    pieces = Pieces()

    async def main() -> None:
        stream = LegacyStream(lambda: pieces, timeout=30)
        assert await stream.next() == "one"
        reading = asyncio.create_task(stream.next())
        assert await asyncio.to_thread(pieces.blocked.wait, 30)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        stream.close()
        assert not pieces.cancelled.is_set()
        pieces.go.set()
        assert await asyncio.to_thread(pieces.cancelled.wait, 30)
        assert await stream.next() is None

    asyncio.run(main())


def test_a_stream_closed_between_two_pieces_is_closed_at_once() -> None:
    """No thread reads: the response is closed here and now; one that was never begun is never sent."""
    pieces, unsent = Pieces(), []

    async def main() -> None:
        stream = LegacyStream(lambda: pieces, timeout=30)
        assert await stream.next() == "one"
        stream.close()
        assert pieces.cancelled.is_set()
        never = LegacyStream(lambda: unsent.append("sent"), timeout=30)
        never.close()
        assert await never.next() is None
        assert unsent == []

    asyncio.run(main())


def test_an_error_in_mid_stream_is_seen(wire: Any, body: Any) -> None:
    """The SDK reads an error object as an empty piece; the provider reads it as what it is."""
    fault = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Please retry in 5s."}}

    async def main() -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await wire.stream(request, body("a", finish=None), fault)

        async with wire(answer) as server, contextlib.aclosing(GeminiLegacyProvider()) as provider:
            stream = provider.stream(model_at(server), ASK)
            assert (await anext(stream)).text == "a"
            with pytest.raises(errors.RateLimited) as caught:
                await anext(stream)
            assert caught.value.retry_after == 5.0

    asyncio.run(main())
