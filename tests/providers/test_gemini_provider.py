"""What google-genai does by itself, and must not: other requests, other clients, other queues, other keys."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import httpx2
import pytest
from aiohttp import web
from google import genai
from google.genai import types

from ratelimit_router import errors
from ratelimit_router.messages import Request, Usage
from ratelimit_router.models import Model
from ratelimit_router_providers.gemini import GeminiProvider
from ratelimit_router_providers.gemini_clients import Clients

ASK = Request(prompt="x")


def model_at(server: Any, **options: Any) -> Model:
    return Model("fast", id="flash", key="key", base_url=server.url, **options)


def test_aiohttp_is_not_used_although_it_is_there(wire: Any, monkeypatch: Any) -> None:
    """The SDK would prefer aiohttp; the provider pins it to httpx2, whole and streamed."""

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("aiohttp was used")

    monkeypatch.setattr(aiohttp.ClientSession, "_request", refuse)

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(GeminiProvider()) as provider:
            assert (await provider.generate(model_at(server), ASK)).text == "hello"
            chunks = [chunk async for chunk in provider.stream(model_at(server), ASK)]
            assert [chunk.text for chunk in chunks] == ["hello"]
            assert len(server.sent) == 2

    asyncio.run(main())


def test_a_limit_on_connections_is_ours_to_set(wire: Any, body: Any, in_time: Any) -> None:
    """`max_connections` reaches the pool: with 1, a second call is not on the wire before the first is over."""

    async def main() -> None:
        go = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            await go.wait()
            return wire.reply(body())

        async with wire(answer) as server, contextlib.aclosing(GeminiProvider(max_connections=1)) as provider:
            first, second = (asyncio.create_task(provider.generate(model_at(server), ASK)) for _ in range(2))
            late = asyncio.create_task(provider.generate(model_at(server), Request(prompt="x", timeout=0.2)))
            with pytest.raises(errors.ProviderError) as caught:
                await late
            assert isinstance(caught.value, errors.NotSent | errors.ProviderTimeout)
            assert len(server.sent) == 1
            go.set()
            await in_time(asyncio.gather(first, second))

    asyncio.run(main())


def test_no_function_is_called_and_no_continuation_followed(wire: Any, body: Any) -> None:
    """One call is one request, whatever tools are given and whatever the answer invites to."""
    called = []

    def weather(city: str) -> str:
        """The weather of a city."""
        called.append(city)
        return "fine"

    function_call = body(parts=[{"functionCall": {"name": "weather", "args": {"city": "Paris"}}}])
    more = body("half", finish="CONTINUATION")
    more["candidates"][0]["continuationToken"] = "bW9yZQ=="

    async def main() -> None:
        for answer in (function_call, more):
            async with (
                wire(wire.always(lambda answer=answer: wire.reply(answer))) as server,
                contextlib.aclosing(GeminiProvider()) as provider,
            ):
                request = Request(prompt="x", options={"tools": [weather]}, timeout=5)
                reply = await provider.generate(model_at(server), request)
                assert reply.text == ("" if answer is function_call else "half")
                _ = [chunk async for chunk in provider.stream(model_at(server), request)]
                assert len(server.sent) == 2
        assert called == []

    asyncio.run(main())


def test_thoughts_are_counted_but_not_shown(wire: Any, body: Any) -> None:
    """Thinking costs output tokens and is not part of the answer; cached tokens are part of the input."""
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 50,
        "totalTokenCount": 157,
    }
    answer = body(parts=[{"text": "hmm", "thought": True}, {"text": "he"}, {"text": "llo"}], usage=usage)

    async def main() -> None:
        async with (
            wire(wire.always(lambda: wire.reply(answer))) as server,
            contextlib.aclosing(GeminiProvider()) as provider,
        ):
            reply = await provider.generate(model_at(server), ASK)
            assert reply.text == "hello"
            assert reply.usage == Usage(input_tokens=100, output_tokens=57, cached_tokens=40)

    asyncio.run(main())


def test_the_last_usage_of_a_stream_counts_although_later_pieces_have_none(wire: Any, body: Any) -> None:
    """A piece without usage leaves the total as it was told before."""

    async def main() -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await wire.stream(request, body("a", finish=None), {}, body("b", usage={}))

        async with wire(answer) as server, contextlib.aclosing(GeminiProvider()) as provider:
            chunks = [chunk async for chunk in provider.stream(model_at(server), ASK)]
            assert [chunk.usage for chunk in chunks] == [Usage(11, 7), None, None]
            assert "".join(chunk.text for chunk in chunks) == "ab"

    asyncio.run(main())


def test_the_service_is_told_the_timeout_of_the_request(wire: Any) -> None:
    """60 seconds unless the request says otherwise."""

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(GeminiProvider()) as provider:
            await provider.generate(model_at(server), ASK)
            await provider.generate(model_at(server), Request(prompt="x", timeout=7))
            assert [sent.headers["x-server-timeout"] for sent in server.sent] == ["60", "7"]

    asyncio.run(main())


def test_connecting_has_a_shorter_timeout_of_its_own() -> None:
    """10 seconds by default, less for a request with less; reading keeps the whole time."""

    async def main() -> None:
        client = Clients(connect_timeout=10.0)
        for given, connect in ((60.0, 10.0), (3.0, 3.0)):
            request = httpx2.Request(
                "POST", "http://service/", extensions={"timeout": {"connect": given, "read": given}}
            )
            await client._bound_connect(request)
            assert request.extensions["timeout"] == {"connect": connect, "read": given}

    asyncio.run(main())


def test_the_environment_does_not_turn_it_into_vertex(wire: Any, monkeypatch: Any) -> None:
    """GOOGLE_GENAI_USE_VERTEXAI is meant for other clients of the process."""
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(GeminiProvider(api_version="v1beta")) as provider:
            await provider.generate(model_at(server), ASK)
            assert server.sent[0].path == "/v1beta/models/flash:generateContent"

    asyncio.run(main())


def test_a_client_of_ones_own_gets_our_transport_and_needs_no_key(wire: Any, no_keys: None) -> None:
    """A factory is handed options with our httpx2 client and without retries; it may bring other credentials."""
    seen: list[tuple[str, types.HttpOptions]] = []

    def factory(key: str, options: types.HttpOptions) -> genai.Client:
        seen.append((key, options))
        return genai.Client(api_key="from elsewhere", http_options=options)

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(GeminiProvider(client_factory=factory)) as provider:
            model = Model("fast", id="flash", base_url=server.url)
            await provider.generate(model, ASK)
            await provider.generate(model, ASK)
            assert server.sent[1].headers["x-goog-api-key"] == "from elsewhere"

    asyncio.run(main())
    ((key, options),) = seen
    assert key == ""
    assert isinstance(options.httpx_async_client, httpx2.AsyncClient)
    assert options.retry_options is not None
    assert options.retry_options.attempts == 1


def test_an_error_without_a_code_in_a_stream_is_a_bad_response(wire: Any, body: Any) -> None:
    """The SDK compares the missing code with numbers and fails; that failure is not the caller's."""

    async def main() -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await wire.stream(request, body("a", finish=None), {"error": {"message": "?"}})

        async with wire(answer) as server, contextlib.aclosing(GeminiProvider()) as provider:
            stream = provider.stream(model_at(server), ASK)
            assert (await anext(stream)).text == "a"
            with pytest.raises(errors.BadResponse):
                await anext(stream)

    asyncio.run(main())
