"""What every Gemini provider must do, whichever SDK stands behind it: against the fake service and on the wire."""

import asyncio
import contextlib
import io
import logging
import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ratelimit_router import errors
from ratelimit_router.limits import RefillDefaults
from ratelimit_router.messages import Chunk, Reply, Request, Usage
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Kind
from ratelimit_router.provider import Provider
from ratelimit_router_providers import gemini
from ratelimit_router_providers.fake_service.config import FakeModel, ServiceConfig
from ratelimit_router_providers.fake_service.faults import FAULTS
from ratelimit_router_providers.fake_service.server import FakeService
from ratelimit_router_providers.gemini import GeminiProvider
from ratelimit_router_providers.gemini_legacy import GeminiLegacyProvider

KEY, PROMPT, SYSTEM = "CANARY-KEY-7f3a", "CANARY-PROMPT-91bc about Angela Merkel in Paris", "CANARY-SYSTEM-55de"
PROVIDERS = [GeminiProvider, GeminiLegacyProvider]

# What each fault of the fake service comes to: (whole answer, streamed answer); None is a good answer.
KINDS: dict[str, tuple[Kind | None, Kind | None]] = {
    "internal": (Kind.OVERLOADED, Kind.OVERLOADED),
    "unavailable": (Kind.OVERLOADED, Kind.OVERLOADED),
    "html_502": (Kind.OVERLOADED, Kind.OVERLOADED),
    "bad_key": (Kind.AUTH, Kind.AUTH),
    "forbidden": (Kind.AUTH, Kind.AUTH),
    "prepay_depleted": (Kind.BILLING, Kind.BILLING),
    "model_gone": (Kind.MODEL_GONE, Kind.MODEL_GONE),
    "bad_request": (Kind.BAD_REQUEST, Kind.BAD_REQUEST),
    "minute_quota": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "day_quota": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "day_quota_short_hint": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "limit_zero": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "limit_zero_prose": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "several_violations": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "bare_429": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "prose_429": (Kind.RATE_LIMITED, Kind.RATE_LIMITED),
    "shared_capacity": (Kind.OVERLOADED, Kind.OVERLOADED),
    "slow": (Kind.TIMEOUT, Kind.TIMEOUT),
    "reset": (Kind.BAD_RESPONSE, Kind.BAD_RESPONSE),
    "cut_body": (Kind.BAD_RESPONSE, Kind.BAD_RESPONSE),
    "cut_stream": (Kind.BAD_RESPONSE, Kind.BAD_RESPONSE),
    "malformed_json": (Kind.BAD_RESPONSE, Kind.BAD_RESPONSE),
    "malformed_sse": (Kind.BAD_RESPONSE, Kind.BAD_RESPONSE),
    "empty": (Kind.BAD_RESPONSE, Kind.BAD_RESPONSE),
    "error_in_stream": (Kind.OVERLOADED, Kind.OVERLOADED),
    "blocked": (Kind.BAD_REQUEST, Kind.BAD_REQUEST),
    "safety": (None, None),
    "bad_answer": (None, None),
    "too_long": (Kind.BAD_REQUEST, Kind.BAD_REQUEST),
}
QUOTAS: dict[str, tuple[str | None, float | None]] = {
    "minute_quota": ("rpm", 10.0),
    "day_quota": ("rpd", 250.0),
    "day_quota_short_hint": ("rpd", 250.0),
    "limit_zero": ("rpd", 0.0),
    "limit_zero_prose": (None, 0.0),
    "several_violations": ("rpd", 250.0),
    "bare_429": (None, None),
    "prose_429": (None, None),
}
SERVICE = ServiceConfig.of(FakeModel(id="flash"), FakeModel(id="lite"))


@pytest.fixture(params=PROVIDERS, ids=["gemini", "gemini-legacy"])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


@contextlib.asynccontextmanager
async def served(make: Any, **options: Any) -> AsyncIterator[tuple[FakeService, Any, Model]]:
    provider = make(**options)
    async with FakeService(SERVICE) as service, contextlib.aclosing(provider):
        yield service, provider, Model("fast", "any", "flash", key=KEY, base_url=service.url)


async def whole(provider: Any, model: Model, request: Request) -> Reply:
    found = await provider.generate(model, request)
    assert isinstance(found, Reply)
    return found


async def pieces(provider: Any, model: Model, request: Request) -> list[Chunk]:
    return [chunk async for chunk in provider.stream(model, request)]


async def failure_of(call: Any) -> errors.ProviderError:
    with pytest.raises(errors.ProviderError) as caught:
        await call
    return caught.value


def test_it_is_a_provider_made_without_arguments(make: Any) -> None:
    """The entry point's call gives the protocol's shape, and the class tells how Gemini's quotas come back."""
    assert isinstance(make(), Provider)
    assert make.refill == RefillDefaults(minute="rolling", day="calendar", resets="00:00 America/Los_Angeles")


def test_a_whole_answer_comes_with_its_usage(make: Any) -> None:
    """Text, finish reason in lower case, tokens as the service counts them."""

    async def main() -> None:
        async with served(make) as (service, provider, model):
            reply = await whole(provider, model, Request(prompt=PROMPT))
            assert "simulated answer" in reply.text
            assert (reply.finish_reason, reply.model) == ("stop", model)
            record = service.journal[-1]
            assert reply.usage == Usage(record.input_tokens, record.output_tokens)
            assert record.input_tokens > 0
            assert record.output_tokens > 0
            assert reply.raw is not None

    asyncio.run(main())


def test_a_streamed_answer_comes_in_pieces_with_its_usage_at_the_end(make: Any) -> None:
    """The pieces make the whole text; the last usage that is told is the total; the last piece has the reason."""

    async def main() -> None:
        async with served(make) as (service, provider, model):
            expected = await whole(provider, model, Request(prompt=PROMPT))
            chunks = await pieces(provider, model, Request(prompt=PROMPT))
            assert len(chunks) > 1
            assert "".join(chunk.text for chunk in chunks) == expected.text
            assert [chunk.usage for chunk in chunks if chunk.usage][-1] == expected.usage
            assert chunks[-1].finish_reason == "stop"
            assert service.journal[-1].method == "streamGenerateContent"

    asyncio.run(main())


def test_every_fault_of_the_service_is_in_the_table() -> None:
    """A new fault of the fake service needs an entry here."""
    assert set(KINDS) == set(FAULTS)


@pytest.mark.parametrize("fault", sorted(KINDS))
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_each_fault_has_its_kind(make: Any, fault: str, streamed: bool) -> None:
    """What the provider raises for a fault, and what `classify` makes of it, is the table's kind, in one request."""

    async def main() -> None:
        async with served(make) as (service, provider, model):
            service.script({"faults": [{"fault": fault}]})
            request = Request(prompt=PROMPT, timeout=0.2 if fault == "slow" else 20)
            call = pieces(provider, model, request) if streamed else whole(provider, model, request)
            kind = KINDS[fault][streamed]
            if kind is None:
                await call
            else:
                error = await failure_of(call)
                outcome = provider.classify(error)
                assert outcome.kind is kind
                if kind is Kind.RATE_LIMITED:
                    assert (outcome.quota, outcome.limit) == QUOTAS[fault]
                    assert outcome.retry_after == (FAULTS[fault].seconds or None)
            if fault != "slow":
                assert service.summary().requests == 1

    asyncio.run(main())


def test_a_safety_stop_is_a_reply_with_its_reason(make: Any) -> None:
    """SAFETY cost its quota and would come again: no error."""

    async def main() -> None:
        async with served(make) as (service, provider, model):
            service.script({"faults": [{"fault": "safety"}]})
            assert (await whole(provider, model, Request(prompt=PROMPT))).finish_reason == "safety"

    asyncio.run(main())


def test_a_cap_on_the_answer_is_passed_on(make: Any) -> None:
    """max_output_tokens reaches the service; MAX_TOKENS is a reply."""

    async def main() -> None:
        async with served(make) as (_, provider, model):
            reply = await whole(provider, model, Request(prompt=PROMPT, max_output_tokens=2))
            assert (reply.finish_reason, reply.usage.output_tokens) == ("max_tokens", 2)

    asyncio.run(main())


def test_a_blocked_prompt_names_the_reason(make: Any) -> None:
    """The caller learns why, without the prompt."""

    async def main() -> None:
        async with served(make) as (service, provider, model):
            service.script({"faults": [{"fault": "blocked"}]})
            error = await failure_of(whole(provider, model, Request(prompt=PROMPT)))
            assert isinstance(error, errors.BadRequest)
            assert "safety" in error.detail

    asyncio.run(main())


def test_model_ids_may_have_their_prefix(make: Any) -> None:
    """`flash` and `models/flash` are the same model."""

    async def main() -> None:
        async with served(make) as (service, provider, model):
            await whole(provider, replace(model, id="models/flash"), Request(prompt=PROMPT))
            await whole(provider, model, Request(prompt=PROMPT))
            assert [record.model for record in service.journal] == ["flash", "flash"]

    asyncio.run(main())


def test_a_request_goes_over_the_wire_as_it_was_meant(make: Any, wire: Any) -> None:
    """System instruction, temperature, cap, schema and options arrive; the key is in a header and not in the URL."""
    schema = {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}}
    request = Request(
        prompt=PROMPT, system=SYSTEM, schema=schema, temperature=0.5, max_output_tokens=99, options={"top_k": 3}
    )

    async def main() -> None:
        provider = make()
        async with wire() as server, contextlib.aclosing(provider):
            model = Model("fast", id="flash", key=KEY, base_url=server.url, options={"top_p": 0.25, "top_k": 1})
            reply = await whole(provider, model, request)
            assert reply.usage == Usage(11, 7)
            (sent,) = server.sent
            assert sent.path.endswith("/models/flash:generateContent")
            assert sent.headers["x-goog-api-key"] == KEY
            assert KEY not in str((sent.path, sent.query, sent.body))
            config = sent.body["generationConfig"]
            assert (config["temperature"], config["maxOutputTokens"]) == (0.5, 99)
            assert (config["topP"], config["topK"]) == (0.25, 3)
            assert config["responseMimeType"] == "application/json"
            assert "names" in str(config.get("responseJsonSchema") or config.get("responseSchema"))
            assert SYSTEM in str(sent.body["systemInstruction"])
            assert sent.body["contents"] == [{"role": "user", "parts": [{"text": PROMPT}]}]

    asyncio.run(main())


def test_two_keys_live_side_by_side(make: Any, wire: Any) -> None:
    """Models with keys of their own are called at once, each with its own."""

    async def main() -> None:
        provider = make()
        async with wire() as server, contextlib.aclosing(provider):
            models = [Model(key, id=f"for-{key}", key=key, base_url=server.url) for key in ("one", "two")]
            await asyncio.gather(*(whole(provider, model, Request(prompt=PROMPT)) for model in models * 5))
            assert len(server.sent) == 10
            assert all(f"for-{sent.headers['x-goog-api-key']}:" in sent.path for sent in server.sent)

    asyncio.run(main())


def test_the_key_may_come_from_the_environment(make: Any, wire: Any, no_keys: None, monkeypatch: Any) -> None:
    """Without a key of its own a model uses GEMINI_API_KEY, and GOOGLE_API_KEY before it."""

    async def main() -> None:
        provider = make()
        async with wire() as server, contextlib.aclosing(provider):
            model = Model("fast", id="flash", base_url=server.url)
            with pytest.raises(errors.ConfigError, match=r"models\.fast\.key: no key: .*GEMINI_API_KEY"):
                await provider.generate(model, Request(prompt=PROMPT))
            with pytest.raises(errors.ConfigError):
                await pieces(provider, model, Request(prompt=PROMPT))
            monkeypatch.setenv("GEMINI_API_KEY", "second")
            await whole(provider, model, Request(prompt=PROMPT))
            monkeypatch.setenv("GOOGLE_API_KEY", "first")
            await whole(provider, model, Request(prompt=PROMPT))
            await whole(provider, replace(model, key=" third "), Request(prompt=PROMPT))
            assert [sent.headers["x-goog-api-key"] for sent in server.sent] == ["second", "first", "third"]

    asyncio.run(main())


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "typographic–dash"])
def test_a_key_that_no_header_can_hold_is_refused_unsent(make: Any, wire: Any, key: str) -> None:
    """It is wrong for every model, as a refused key is, and the message does not repeat it."""

    async def main() -> None:
        provider = make()
        async with wire() as server, contextlib.aclosing(provider):
            error = await failure_of(
                whole(provider, Model("fast", id="flash", key=key, base_url=server.url), Request(prompt=PROMPT))
            )
            assert isinstance(error, errors.AuthError)
            assert key not in str(error)
            assert server.sent == []

    asyncio.run(main())


def test_a_refused_connection_is_not_sent(make: Any) -> None:
    """Nobody listens: everything that was charged can be given back."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

    async def main() -> None:
        async with contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=url)
            assert isinstance(await failure_of(whole(provider, model, Request(prompt=PROMPT))), errors.NotSent)
            assert isinstance(await failure_of(pieces(provider, model, Request(prompt=PROMPT))), errors.NotSent)

    asyncio.run(main())


def test_a_redirect_is_not_followed(make: Any, wire: Any) -> None:
    """The key is not carried to another address."""

    async def main() -> None:
        async with wire() as other, contextlib.aclosing(make()) as provider:
            answer = wire.always(lambda: web.Response(status=307, headers={"Location": other.url + "/models"}))
            async with wire(answer) as server:
                model = Model("fast", id="flash", key=KEY, base_url=server.url)
                error = await failure_of(whole(provider, model, Request(prompt=PROMPT)))
                assert isinstance(error, errors.BadResponse)
                assert (len(server.sent), other.sent) == (1, [])

    asyncio.run(main())


def test_an_error_page_that_is_not_utf_8_keeps_its_status(make: Any, wire: Any) -> None:
    """A proxy's page in Latin-1 is an overload, not a bad answer."""
    page = wire.always(lambda: web.Response(status=503, body="<p>Zu viele Gäste</p>".encode("latin-1")))

    async def main() -> None:
        async with wire(page) as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            assert isinstance(await failure_of(whole(provider, model, Request(prompt=PROMPT))), errors.Overloaded)
            assert isinstance(await failure_of(pieces(provider, model, Request(prompt=PROMPT))), errors.Overloaded)

    asyncio.run(main())


ODD = [
    ({}, errors.BadResponse),
    ({"candidates": []}, errors.BadResponse),
    ({"candidates": [{"finishReason": "STOP"}]}, errors.BadResponse),
    ({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}, errors.BadResponse),
    ({"candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}]}, errors.BadResponse),
    ({"candidates": "none"}, errors.BadResponse),
    ([], errors.BadResponse),
    ("text", errors.BadResponse),
    ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, errors.BadRequest),
]


@pytest.mark.parametrize(("odd", "expected"), ODD, ids=[str(odd) for odd, _ in ODD])
def test_an_answer_without_content_is_no_reply(make: Any, wire: Any, odd: Any, expected: type[Exception]) -> None:
    """Status 200 is not enough: no candidate, nothing said, another shape altogether."""

    async def main() -> None:
        async with wire(wire.always(lambda: wire.reply(odd))) as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            error = await failure_of(whole(provider, model, Request(prompt=PROMPT)))
            assert type(error) is expected

    asyncio.run(main())


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "MAX_TOKENS", "PROHIBITED_CONTENT"])
def test_a_stop_without_text_is_a_reply_if_it_has_a_reason(make: Any, wire: Any, body: Any, reason: str) -> None:
    """A reason other than STOP explains the silence."""

    async def main() -> None:
        answer = body(None, finish=reason)
        async with wire(wire.always(lambda: wire.reply(answer))) as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            reply = await whole(provider, model, Request(prompt=PROMPT))
            assert (reply.text, reply.finish_reason) == ("", reason.lower())

    asyncio.run(main())


def test_an_answer_without_usage_is_estimated(make: Any, wire: Any, body: Any) -> None:
    """A call never counts as free because the service did not say what it cost."""

    async def main() -> None:
        answer = body("a few words", usage={})
        async with wire(wire.always(lambda: wire.reply(answer))) as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            reply = await whole(provider, model, Request(prompt=PROMPT))
            assert reply.usage.input_tokens == provider.estimate(Request(prompt=PROMPT)).input_tokens > 0
            assert reply.usage.output_tokens > 0

    asyncio.run(main())


def test_the_estimate_counts_every_text_that_is_sent(make: Any) -> None:
    """Prompt, system instruction and schema are input; the cap is the output."""
    provider = make()
    plain = provider.estimate(Request(prompt=PROMPT))
    rich = provider.estimate(Request(prompt=PROMPT, system=SYSTEM, schema={"type": "object"}, max_output_tokens=500))
    assert plain.input_tokens > 5
    assert plain.output_tokens == 0
    assert rich.input_tokens > plain.input_tokens + 5
    assert rich.output_tokens == 500


def test_three_hundred_calls_at_once_stand_in_no_queue(make: Any, wire: Any, body: Any) -> None:
    """The service answers when all 300 have arrived: with a hidden limit on connections or workers none would be."""
    everyone = 300

    async def main() -> None:
        arrived, all_here = 0, asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            nonlocal arrived
            arrived += 1
            if arrived == everyone:
                all_here.set()
            await all_here.wait()
            return wire.reply(body())

        async with wire(answer) as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            calls = (whole(provider, model, Request(prompt="x", timeout=50)) for _ in range(everyone))
            assert len(await asyncio.gather(*calls)) == everyone

    asyncio.run(main())


def test_a_stream_that_is_left_early_is_closed(make: Any, wire: Any, body: Any, in_time: Any) -> None:
    """Closing the iterator closes the HTTP response: the service sees the client go, and no socket is left."""

    async def main() -> None:
        gone = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                await wire.stream(request, body("one", finish=None), body("two", finish=None))
                await asyncio.Event().wait()  # until the client goes, which cancels this
                raise AssertionError
            except asyncio.CancelledError:
                gone.set()
                raise

        async with wire(answer) as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            stream = provider.stream(model, Request(prompt=PROMPT))
            assert (await in_time(anext(stream))).text == "one"
            await in_time(stream.aclose())
            await in_time(gone.wait())

    asyncio.run(main())


def test_a_call_that_is_cancelled_is_cancelled(make: Any, wire: Any, in_time: Any) -> None:
    """Cancellation is not turned into an error of ours, and does not wait for the answer."""

    async def main() -> None:
        arrived = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

        async with wire(answer) as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            task = asyncio.create_task(whole(provider, model, Request(prompt=PROMPT, timeout=1)))
            await in_time(arrived.wait())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_the_timeout_bounds_the_whole_answer_not_only_each_read(make: Any, wire: Any, body: Any) -> None:
    """A service that sends a byte now and then is late all the same."""

    async def main() -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = await wire.stream(request, body("one", finish=None))
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.01)  # the service drips; the test itself waits for nothing but the timeout

        async with wire(answer) as server, contextlib.aclosing(make(timeout=0.3)) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            for call in (whole, pieces):
                error = await failure_of(call(provider, model, Request(prompt=PROMPT)))
                assert isinstance(error, errors.ProviderTimeout)

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_refused(make: Any, timeout: float) -> None:
    """Zero would mean "no timeout" to an SDK; it is refused before anything is sent."""

    async def main() -> None:
        async with contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url="http://127.0.0.1:9")
            error = await failure_of(whole(provider, model, Request(prompt=PROMPT, timeout=timeout)))
            assert isinstance(error, errors.BadRequest)

    asyncio.run(main())


def test_options_that_do_not_fit_are_the_callers_fault(make: Any, wire: Any) -> None:
    """An unknown option, an empty prompt and a key of the provider's own are refused before anything is sent."""

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(make()) as provider:
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            for request in (
                Request(prompt=PROMPT, options={"no_such_option": 1}),
                Request(prompt=PROMPT, options={"http_options": {}, "request_options": {}}),
                Request(prompt=""),
            ):
                assert isinstance(await failure_of(whole(provider, model, request)), errors.BadRequest)
                assert isinstance(await failure_of(pieces(provider, model, request)), errors.BadRequest)
            assert server.sent == []

    asyncio.run(main())


def test_one_provider_serves_several_event_loops(make: Any, wire: Any) -> None:
    """Connections belong to the loop that opened them: a second `asyncio.run` opens its own."""
    provider = make()

    async def main() -> None:
        async with wire() as server, contextlib.aclosing(provider):
            model = Model("fast", id="flash", key=KEY, base_url=server.url)
            assert (await whole(provider, model, Request(prompt=PROMPT))).text == "hello"

    asyncio.run(main())
    asyncio.run(main())


def shown(error: BaseException) -> Iterator[str]:
    """Every way in which an error can be shown or carried off, its causes included."""
    for one in (error, error.__cause__, error.__context__):
        if one is not None:
            yield from (repr(one), str(one), repr(vars(one)), "".join(traceback.format_exception(one)))
    yield pickle.dumps(error).decode("latin-1")


def local_variables(error: BaseException) -> str:
    """What a crash reporter shows that prints the variables of each of our frames."""
    ours = str(Path(gemini.__file__).parent)
    frames = [at for at in traceback.walk_tb(error.__traceback__) if at[0].f_code.co_filename.startswith(ours)]
    assert frames
    return "".join(traceback.StackSummary.extract(iter(frames), capture_locals=True).format())


@pytest.mark.parametrize("fault", sorted(set(KINDS) - {"safety", "bad_answer"}))
def test_no_error_holds_key_or_prompt(make: Any, fault: str, caplog: Any) -> None:
    """Key, prompt and system instruction are in no text, attribute, cause, frame, pickle or log of any failure."""
    caplog.set_level(logging.INFO)

    async def main() -> None:
        async with served(make) as (service, provider, model):
            service.script({"faults": [{"fault": fault}]})
            request = Request(prompt=PROMPT, system=SYSTEM, timeout=0.2 if fault == "slow" else 20)
            for call in (whole, pieces):
                error = await failure_of(call(provider, model, request))
                told = "\n".join(shown(error))
                assert service.url not in told
                told += local_variables(error)
                assert "CANARY" not in told
                assert "Angela Merkel" not in told

    asyncio.run(main())
    assert "CANARY" not in caplog.text


def test_a_provider_that_was_used_does_not_show_its_keys(make: Any) -> None:
    """Whatever prints a provider's insides sees stars."""

    async def main() -> None:
        async with served(make) as (_, provider, model):
            await whole(provider, model, Request(prompt=PROMPT))
            insides = repr((vars(provider), vars(provider._clients)))
            assert "***" in insides
            assert "CANARY" not in insides

    asyncio.run(main())


def test_no_refusal_of_our_own_holds_key_or_prompt(make: Any, no_keys: None) -> None:
    """The same for what is refused before it is sent."""

    async def main() -> None:
        async with contextlib.aclosing(make()) as provider:
            good = Model("fast", id="flash", key=KEY, base_url="http://127.0.0.1:9")
            for model, request in (
                (replace(good, key=f"{KEY} {KEY}"), Request(prompt=PROMPT)),
                (good, Request(prompt=PROMPT, options={"no_such_option": PROMPT})),
                (good, Request(prompt=PROMPT, options={"temperature": PROMPT})),
                (good, Request(prompt=PROMPT, system=SYSTEM, timeout=-1)),
            ):
                error = await failure_of(whole(provider, model, request))
                assert "CANARY" not in "\n".join((*shown(error), local_variables(error)))

    asyncio.run(main())


def test_the_module_loads_without_its_sdk(make: Any) -> None:
    """The router reads `refill` without paying for an SDK; a call without it names the extra to install."""
    extra = "gemini-legacy" if make is GeminiLegacyProvider else "gemini"
    program = f"""
import asyncio, sys
sys.modules.update({{"google.genai": None, "google.generativeai": None}})
from {make.__module__} import {make.__name__} as make
from ratelimit_router.messages import Request
from ratelimit_router.models import Model
assert make.refill.day == "calendar"
assert not {{"httpx2", "aiohttp", "requests", "google.auth", "pydantic"}} & set(sys.modules), "an SDK was imported"
async def main():
    async for _ in make().stream(Model("m", key="k"), Request(prompt="x")): pass
try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.startswith("ConfigError provider: needs the package google-gen")
    assert f"pip install 'ratelimit-router[{extra}]'" in done.stdout


def test_an_answer_has_no_repr_that_shows_it(make: Any) -> None:
    """A reply can be logged without showing text, prompt or key."""

    async def main() -> None:
        async with served(make) as (_, provider, model):
            stream = io.StringIO()
            print(await whole(provider, model, Request(prompt=PROMPT)), file=stream)
            print(await pieces(provider, model, Request(prompt=PROMPT)), file=stream)
            assert "CANARY" not in stream.getvalue()
            assert "Merkel" not in stream.getvalue()

    asyncio.run(main())
