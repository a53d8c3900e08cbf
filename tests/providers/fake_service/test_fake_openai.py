"""OpenAI's wire: what its clients send and read, and how it says no."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from ratelimit_router_providers.fake_service import FAULTS, FakeModel, FakeService, QuotaRule, ServiceConfig
from ratelimit_router_providers.fake_service.openai_refusals import duration

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello there"}]
CONFIG = ServiceConfig.of(FakeModel(id="gpt", quotas=(QuotaRule(name="rpm", amount=1000),)), invalid_keys=["wrong"])
START = 1_700_000_000.0


class Client:
    """What an SDK does on the wire."""

    def __init__(self, service: FakeService, session: aiohttp.ClientSession):
        self.service, self.session = service, session

    async def post(
        self, *, fault: str = "", key: str = "k", raw: bytes | None = None, **fields: Any
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers (in small letters) and text of the answer."""
        headers = {"authorization": f"Bearer {key}", **({"x-fake-fault": fault} if fault else {})}
        body = json.dumps({"model": "gpt", "messages": MESSAGES, **fields}).encode() if raw is None else raw
        url = f"{self.service.url}/v1/chat/completions"
        async with self.session.post(url, data=body, headers=headers) as response:
            assert response.headers["x-simulated"] == "true"
            told = {name.lower(): value for name, value in response.headers.items()}
            return response.status, told, await response.text()

    async def answer(self, **options: Any) -> dict[str, Any]:
        """The whole answer."""
        status, _, text = await self.post(**options)
        assert status == 200
        found: dict[str, Any] = json.loads(text)
        return found

    async def error(self, **options: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and OpenAI's error object."""
        status, headers, text = await self.post(**options)
        return status, headers, json.loads(text)["error"]

    async def events(self, **options: Any) -> list[str]:
        """The payloads of a stream."""
        _, headers, text = await self.post(stream=True, **options)
        assert headers["content-type"].startswith("text/event-stream")
        return [line.removeprefix("data: ") for line in text.splitlines() if line]


def on_wire(test: Callable[[Client], Awaitable[None]], config: ServiceConfig = CONFIG, **options: Any) -> FakeService:
    """Run a test against a service of its own; the service, stopped, to look at."""

    async def main() -> FakeService:
        async with FakeService(config, **options) as service, aiohttp.ClientSession() as session:
            await test(Client(service, session))
        return service

    return asyncio.run(main())


def test_an_answer_has_openais_form_and_says_that_it_is_simulated() -> None:
    """One choice, its finish reason, the usage, and a model that nobody takes for real."""

    async def check(client: Client) -> None:
        answer = await client.answer()
        assert (answer["object"], answer["model"]) == ("chat.completion", "gpt-simulated")
        (choice,) = answer["choices"]
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["role"] == "assistant"
        assert "no model has read it" in choice["message"]["content"]
        usage = answer["usage"]
        assert usage["prompt_tokens"] == 6  # a quarter of 21 characters
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    service = on_wire(check)
    assert (service.journal[0].method, service.journal[0].admitted) == ("chat.completions", True)
    assert service.summary().admitted == 1


@pytest.mark.parametrize("cap", ["max_tokens", "max_completion_tokens"])
def test_an_answer_longer_than_the_cap_ends_for_its_length(cap: str) -> None:
    """Either name of the cap."""

    async def check(client: Client) -> None:
        answer = await client.answer(**{cap: 3})
        assert answer["usage"]["completion_tokens"] == 3
        assert answer["choices"][0]["finish_reason"] == "length"

    on_wire(check)


def test_a_schema_gets_an_instance_and_content_may_come_in_parts() -> None:
    """`response_format` of type json_schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    parts = [{"role": "user", "content": [{"type": "text", "text": "a number"}, {"type": "image_url"}]}]

    async def check(client: Client) -> None:
        answer = await client.answer(response_format=form, messages=parts)
        assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["n"], int)
        assert answer["usage"]["prompt_tokens"] == 2
        answer = await client.answer(response_format={"type": "json_object"})
        assert json.loads(answer["choices"][0]["message"]["content"])["simulated"] is True

    on_wire(check)


def test_a_stream_ends_with_its_finish_reason_and_the_word_done() -> None:
    """Pieces that join to the whole answer; the usage only if it was asked for."""

    async def check(client: Client) -> None:
        whole = await client.answer()
        *plain, done = await client.events()
        assert done == "[DONE]"
        pieces = [json.loads(piece) for piece in plain]
        text = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
        assert text == whole["choices"][0]["message"]["content"]
        assert [piece["choices"][0]["finish_reason"] for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
        *_, usage, done = await client.events(stream_options={"include_usage": True})
        assert json.loads(usage)["usage"] == whole["usage"]
        assert json.loads(usage)["choices"] == []

    on_wire(check)


def test_a_stream_can_end_without_a_word_or_break_with_an_error() -> None:
    """Cut: no [DONE]. An error: an object in the stream that is no chunk."""

    async def check(client: Client) -> None:
        assert "[DONE]" not in await client.events(fault="cut_stream")
        *_, error, done = await client.events(fault="error_in_stream")
        assert json.loads(error)["error"]["type"] == "server_error"
        assert done == "[DONE]"

    on_wire(check)


STATUS = {
    "internal": (500, "server_error", None),
    "unavailable": (503, "server_error", None),
    "bad_key": (401, "invalid_request_error", "invalid_api_key"),
    "forbidden": (403, "invalid_request_error", None),
    "prepay_depleted": (429, "insufficient_quota", "insufficient_quota"),
    "model_gone": (404, "invalid_request_error", "model_not_found"),
    "bad_request": (400, "invalid_request_error", None),
    "minute_quota": (429, "requests", "rate_limit_exceeded"),
    "day_quota": (429, "requests", "rate_limit_exceeded"),
    "day_quota_short_hint": (429, "requests", "rate_limit_exceeded"),
    "limit_zero": (429, "requests", "rate_limit_exceeded"),
    "limit_zero_prose": (429, "requests", "rate_limit_exceeded"),
    "several_violations": (429, "requests", "rate_limit_exceeded"),
    "bare_429": (429, "requests", "rate_limit_exceeded"),
    "prose_429": (429, "requests", "rate_limit_exceeded"),
    "shared_capacity": (503, "server_error", "slow_down"),
    "error_in_stream": (500, "server_error", None),
    "too_long": (400, "invalid_request_error", "context_length_exceeded"),
}


@pytest.mark.parametrize("fault", STATUS)
def test_an_error_has_its_status_and_openais_form(fault: str) -> None:
    """HTTP status, type and code."""

    async def check(client: Client) -> None:
        status, _, error = await client.error(fault=fault)
        assert (status, error["type"], error["code"]) == STATUS[fault]
        assert error["message"]

    service = on_wire(check)
    assert (service.journal[0].fault, service.journal[0].status) == (fault, STATUS[fault][0])


def test_every_fault_at_the_front_has_its_words_here() -> None:
    """A fault that is added is worded for OpenAI, too; a proxy's page of HTML is the same everywhere."""
    front = {fault.name for fault in FAULTS.values() if fault.stage == "front"}
    assert front - set(STATUS) == {"html_502"}

    async def check(client: Client) -> None:
        status, headers, text = await client.post(fault="html_502")
        assert (status, headers["content-type"].partition(";")[0]) == (502, "text/html")
        assert "Bad Gateway" in text

    on_wire(check)


@pytest.mark.parametrize("fault", ["blocked", "safety"])
def test_a_filtered_answer_says_so_in_its_finish_reason(fault: str) -> None:
    """An answer with status 200, and charged."""

    async def check(client: Client) -> None:
        answer = await client.answer(fault=fault)
        assert answer["choices"][0]["finish_reason"] == "content_filter"

    assert on_wire(check).summary().admitted == 1


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"raw": b"no json"}, 404),  # no body, no model
        ({"model": "gone"}, 404),
        ({"messages": []}, 400),
        ({"messages": "hello"}, 400),
        ({"fault": "no such fault"}, 400),
        ({"key": "wrong"}, 401),
        ({"key": ""}, 401),
    ],
)
def test_what_is_wrong_with_the_request_is_refused_and_costs_nothing(options: dict[str, Any], status: int) -> None:
    """In OpenAI's words; the wrong key is not written down."""

    async def check(client: Client) -> None:
        found, _, error = await client.error(**options)
        assert (found, error["type"]) == (status, "invalid_request_error")
        assert client.service.left().get("gpt", {}).get("1", {"rpm": 1000})["rpm"] == 1000

    assert "wrong" not in repr(list(on_wire(check).journal))


RATE_HEADERS = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ("all", ["retry-after", "retry-after-ms", *RATE_HEADERS]),
        ("retry-after", ["retry-after", "retry-after-ms"]),
        ("none", []),
    ],
)
def test_a_breach_tells_the_wait_in_prose_and_in_the_headers_that_the_model_allows(
    headers: Any, told: list[str]
) -> None:
    """The limit, the wait to the millisecond, and in whole seconds rounded up."""
    now = [START]
    model = FakeModel(id="gpt", quotas=(QuotaRule(name="rpm", amount=1),), headers=headers)
    wanted = {
        "retry-after": "30",
        "retry-after-ms": "29750",
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "29.75s",
    }

    async def check(client: Client) -> None:
        await client.answer()
        now[0] += 30.25
        status, found, error = await client.error()
        assert (status, error["code"]) == (429, "rate_limit_exceeded")
        assert error["message"] == (
            "Rate limit reached for gpt on requests per min (RPM): Limit 1, Used 1, Requested 1. "
            "Please try again in 29.75s."
        )
        waits = {name: value for name, value in found.items() if name.startswith(("retry-", "x-ratelimit-"))}
        assert waits == {name: wanted[name] for name in told}
        now[0] += 29.75
        await client.answer()

    service = on_wire(check, ServiceConfig.of(model), clock=lambda: now[0])
    assert service.journal[1].refused == ("rpm",)


def test_a_breach_of_tokens_names_the_quota_that_takes_longest() -> None:
    """OpenAI names one quota a 429; the type says what it counts. Without a hint no wait is told anywhere."""
    quotas = (QuotaRule(name="rpm", amount=1, period=10), QuotaRule(name="tpm", amount=20))
    model = FakeModel(id="gpt", quotas=quotas, hint="missing")

    async def check(client: Client) -> None:
        await client.answer()
        _, headers, error = await client.error()
        assert error["type"] == "tokens"
        assert "on tokens per min (TPM): Limit 20" in error["message"]
        assert "try again" not in error["message"]
        assert headers["x-ratelimit-remaining-tokens"] == "0"
        assert "retry-after" not in headers

    service = on_wire(check, ServiceConfig.of(model), clock=lambda: START)
    assert service.journal[1].refused == ("rpm", "tpm")


def test_both_wires_draw_on_the_same_quota() -> None:
    """One key, one model, two formats: the second call is refused."""
    model = FakeModel(id="gpt", quotas=(QuotaRule(name="rpm", amount=1),))

    async def check(client: Client) -> None:
        await client.answer()
        url = f"{client.service.url}/v1beta/models/gpt:generateContent"
        body = {"contents": [{"parts": [{"text": "hello"}]}]}
        async with client.session.post(url, json=body, headers={"x-goog-api-key": "k"}) as response:
            assert response.status == 429

    on_wire(check, ServiceConfig.of(model))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0001, "1ms"),
        (0.82, "820ms"),
        (0.9996, "1s"),
        (1.0, "1s"),
        (6.2, "6.2s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (37_025.7, "10h17m5.7s"),
    ],
)
def test_a_wait_is_worded_as_openai_does_and_never_rounded_down(seconds: float, told: str) -> None:
    """Milliseconds below a second, then seconds with a fraction, minutes and hours."""
    assert duration(seconds) == told
