"""Both real SDKs, unchanged, against the service: whole, streamed, structured, counted, listed, and refused."""

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from ratelimit_router_providers.fake_service import FakeModel, FakeService, QuotaRule, ServiceConfig

CONFIG = ServiceConfig.of(
    FakeModel(id="gemini-3.5-flash"), FakeModel(id="tight", quotas=(QuotaRule(name="rpm", amount=1),))
)
MODEL = "gemini-3.5-flash"
ARTICLE = "Extract.\n<article>\nErik Lind of Volvo spoke in Oslo on May 4, 2023: 3.5% more.\n</article>\n"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "entities": {
            "type": "array",
            "items": {"type": "object", "properties": {"type": {"type": "string"}, "text": {"type": "string"}}},
        }
    },
    "required": ["entities"],
}
ENTITIES = [
    {"type": "person", "text": "Erik Lind"},
    {"type": "organisation", "text": "Volvo"},
    {"type": "place", "text": "Oslo"},
    {"type": "date", "text": "May 4, 2023"},
    {"type": "amount", "text": "3.5%"},
]


def with_genai(use: Callable[[Any], Awaitable[None]], **headers: str) -> None:
    """Give a test the asynchronous half of google-genai."""

    async def main() -> None:
        async with FakeService(CONFIG) as service:
            retry = types.HttpRetryOptions(attempts=1)
            options = types.HttpOptions(
                base_url=service.url,
                timeout=10_000,
                retry_options=retry,
                headers=headers,
                async_client_args={"transport": httpx2.AsyncHTTPTransport()},  # else aiohttp, where it is installed
            )
            client = genai.Client(api_key="any", http_options=options)
            try:
                await use(client.aio.models)
            finally:
                await client.aio.aclose()
                client.close()

    asyncio.run(main())


def test_genai_gets_an_answer_that_says_it_is_simulated() -> None:
    """Text, usage that adds up, finish reason and model version; with the prefix `models/` too."""

    async def use(models: Any) -> None:
        for name in (MODEL, f"models/{MODEL}"):
            answer = await models.generate_content(model=name, contents="hello there")
            assert "simulated" in answer.text
            assert answer.model_version == f"{MODEL}-simulated"
            assert answer.candidates[0].finish_reason == types.FinishReason.STOP
            usage = answer.usage_metadata
            assert (usage.prompt_token_count, usage.total_token_count) == (3, 3 + usage.candidates_token_count)

    with_genai(use)


def test_genai_streams() -> None:
    """Four pieces make the text; the last has the usage and the finish reason."""

    async def use(models: Any) -> None:
        whole = await models.generate_content(model=MODEL, contents="hello there")
        stream = await models.generate_content_stream(model=MODEL, contents="hello there")
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.text for chunk in chunks) == whole.text
        assert [chunk.candidates[0].finish_reason for chunk in chunks[:-1]] == [None] * 3
        assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
        assert chunks[-1].usage_metadata == whole.usage_metadata

    with_genai(use)


def test_genai_gets_structured_output() -> None:
    """The entities of the article, as JSON of the schema; by both ways in which the SDK sends one."""

    async def use(models: Any) -> None:
        for schema in ({"response_schema": SCHEMA}, {"response_json_schema": SCHEMA}):
            config = types.GenerateContentConfig(response_mime_type="application/json", **schema)
            answer = await models.generate_content(model=MODEL, contents=ARTICLE, config=config)
            assert json.loads(answer.text) == {"entities": ENTITIES}

    with_genai(use)


def test_genai_counts_what_an_answer_will_charge() -> None:
    """countTokens and usage agree."""

    async def use(models: Any) -> None:
        counted = await models.count_tokens(model=MODEL, contents=ARTICLE)
        answer = await models.generate_content(model=MODEL, contents=ARTICLE)
        assert counted.total_tokens == answer.usage_metadata.prompt_token_count

    with_genai(use)


def test_genai_honours_a_cap_and_a_system_instruction() -> None:
    """Five tokens, MAX_TOKENS; the instruction counts as input."""

    async def use(models: Any) -> None:
        config = types.GenerateContentConfig(max_output_tokens=5, system_instruction="Be brief")
        answer = await models.generate_content(model=MODEL, contents="abcd", config=config)
        assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
        assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count) == (3, 5)

    with_genai(use)


def test_genai_lists_and_gets_models() -> None:
    """By name; an unknown one is a 404."""

    async def use(models: Any) -> None:
        assert [model.name async for model in await models.list()] == ["models/gemini-3.5-flash", "models/tight"]
        assert (await models.get(model="tight")).input_token_limit == 1_048_576
        with pytest.raises(errors.ClientError) as raised:
            await models.get(model="gone")
        assert raised.value.code == 404

    with_genai(use)


def test_genai_sees_a_breach_with_every_detail() -> None:
    """ClientError 429; violations and delay in `details`, for whole answers and for streams."""

    async def use(models: Any) -> None:
        async def stream() -> None:
            async for _ in await models.generate_content_stream(model="tight", contents="x"):
                raise AssertionError("a breach has no chunks")

        await models.generate_content(model="tight", contents="x")
        for call in (models.generate_content(model="tight", contents="x"), stream()):
            with pytest.raises(errors.ClientError) as raised:
                await call
            found = {item["@type"].rpartition(".")[2]: item for item in raised.value.details["error"]["details"]}
            assert raised.value.code == 429
            assert found["QuotaFailure"]["violations"][0]["quotaValue"] == "1"
            assert 0 < float(found["RetryInfo"]["retryDelay"].removesuffix("s")) <= 60

    with_genai(use)


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("internal", errors.ServerError, 500),
        ("unavailable", errors.ServerError, 503),
        ("html_502", errors.ServerError, 502),
        ("bad_key", errors.ClientError, 400),
        ("prepay_depleted", errors.ClientError, 402),
        ("model_gone", errors.ClientError, 404),
        ("bare_429", errors.ClientError, 429),
        ("malformed_json", json.JSONDecodeError, None),
    ],
)
def test_genai_raises_what_it_raises_for_the_real_service(fault: str, error: type[Exception], code: int | None) -> None:
    """The SDK's own class and code for each fault."""

    async def use(models: Any) -> None:
        with pytest.raises(error) as raised:
            await models.generate_content(model=MODEL, contents="x")
        assert getattr(raised.value, "code", None) == code

    with_genai(use, **{"x-fake-fault": fault})


def test_genai_sees_a_cut_stream_end_silently() -> None:
    """No error and no finish reason: the case that a provider has to notice."""

    async def use(models: Any) -> None:
        chunks = [chunk async for chunk in await models.generate_content_stream(model=MODEL, contents="x")]
        assert chunks
        assert all(chunk.candidates[0].finish_reason is None for chunk in chunks)

    with_genai(use, **{"x-fake-fault": "cut_stream"})


def test_genai_sees_a_blocked_prompt() -> None:
    """No candidates; the reason is in the feedback."""

    async def use(models: Any) -> None:
        answer = await models.generate_content(model=MODEL, contents="x")
        assert not answer.candidates
        assert answer.prompt_feedback.block_reason == types.BlockedReason.SAFETY

    with_genai(use, **{"x-fake-fault": "blocked"})


OPTIONS: dict[str, Any] = {"request_options": {"retry": None, "timeout": 10}}


@pytest.fixture(scope="module")
def legacy() -> ModuleType:
    """google-generativeai, which warns of its own end when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import google.generativeai as module
    return module


@pytest.fixture
def pointed(legacy: ModuleType) -> Iterator[FakeService]:
    """A service that the SDK has been pointed at, by its whole URL."""
    with FakeService.in_thread(CONFIG) as service:
        legacy.configure(api_key="any", transport="rest", client_options={"api_endpoint": service.url})
        yield service


@pytest.mark.usefixtures("pointed")
def test_legacy_gets_whole_and_streamed_answers(legacy: ModuleType) -> None:
    """The array of a stream without SSE makes the same text."""
    model = legacy.GenerativeModel(MODEL)
    whole = model.generate_content("hello", **OPTIONS)
    chunks = list(model.generate_content("hello", stream=True, **OPTIONS))
    assert "simulated" in whole.text
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert len(chunks) == 4
    assert whole.usage_metadata.total_token_count == chunks[-1].usage_metadata.total_token_count


@pytest.mark.usefixtures("pointed")
def test_legacy_gets_structured_output(legacy: ModuleType) -> None:
    """The same entities."""
    config = {"response_mime_type": "application/json", "response_schema": SCHEMA}
    answer = legacy.GenerativeModel(MODEL).generate_content(ARTICLE, generation_config=config, **OPTIONS)
    assert json.loads(answer.text) == {"entities": ENTITIES}


@pytest.mark.usefixtures("pointed")
def test_legacy_counts_and_lists(legacy: ModuleType) -> None:
    """countTokens and the list of models."""
    assert legacy.GenerativeModel(MODEL).count_tokens("hello there", **OPTIONS).total_tokens == 3
    names = [model.name for model in legacy.list_models(**OPTIONS)]
    assert names == ["models/gemini-3.5-flash", "models/tight"]


@pytest.mark.usefixtures("pointed")
def test_legacy_sees_a_breach(legacy: ModuleType) -> None:
    """TooManyRequests with details; in a stream the SDK hides it behind BadRequest, as it does for the real service."""
    from google.api_core.exceptions import BadRequest, TooManyRequests

    model = legacy.GenerativeModel("tight")
    model.generate_content("x", **OPTIONS)
    with pytest.raises(TooManyRequests) as raised:
        model.generate_content("x", **OPTIONS)
    assert raised.value.details[0]["violations"][0]["quotaValue"] == "1"
    with pytest.raises(BadRequest, match="streaming"):
        model.generate_content("x", stream=True, **OPTIONS)
