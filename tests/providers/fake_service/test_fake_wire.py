"""Every fault as bytes on the wire, asked for by header; and the refusals that nothing but the truth causes."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from ratelimit_router_providers.fake_service import FAULTS, FakeModel, FakeService, QuotaRule, ServiceConfig

PROMPT: dict[str, Any] = {"contents": [{"parts": [{"text": "hello there"}]}]}
QUOTAS = (QuotaRule(name="rpm", amount=1000), QuotaRule(name="rpd", amount=5000))
CONFIG = ServiceConfig.of(FakeModel(id="flash", quotas=QUOTAS), invalid_keys=["wrong"])


class Wire:
    """One client without any SDK."""

    def __init__(self, service: FakeService, session: aiohttp.ClientSession):
        self.service, self.session = service, session

    async def post(
        self,
        method: str = "generateContent",
        *,
        fault: str = "",
        key: str = "k",
        model: str = "flash",
        body: Any = PROMPT,
    ) -> tuple[int, str, str]:
        """Status, type and text of the answer."""
        headers = {"x-goog-api-key": key} | ({"x-fake-fault": fault} if fault else {})
        url = f"{self.service.url}/v1beta/models/{model}:{method}"
        async with self.session.post(url, json=body, headers=headers) as response:
            assert response.headers["x-simulated"] == "true"
            return response.status, response.content_type, await response.text()

    async def error(self, fault: str = "", **options: Any) -> dict[str, Any]:
        """Google's error object in the answer."""
        status, _, text = await self.post(fault=fault, **options)
        found: dict[str, Any] = json.loads(text)["error"]
        assert found["code"] == status
        return found


def on_wire(test: Callable[[Wire], Awaitable[None]], config: ServiceConfig = CONFIG, **options: Any) -> FakeService:
    """Run a test against a service of its own; the service, stopped, to look at."""

    async def main() -> FakeService:
        async with FakeService(config, **options) as service, aiohttp.ClientSession() as session:
            await test(Wire(service, session))
        return service

    return asyncio.run(main())


def details(error: dict[str, Any], kind: str) -> dict[str, Any]:
    """The detail of that type."""
    return next(item for item in error["details"] if item["@type"] == f"type.googleapis.com/google.rpc.{kind}")


STATUS = {
    "internal": (500, "INTERNAL"),
    "unavailable": (503, "UNAVAILABLE"),
    "bad_key": (400, "INVALID_ARGUMENT"),
    "forbidden": (403, "PERMISSION_DENIED"),
    "prepay_depleted": (402, "FAILED_PRECONDITION"),
    "model_gone": (404, "NOT_FOUND"),
    "bad_request": (400, "INVALID_ARGUMENT"),
    "minute_quota": (429, "RESOURCE_EXHAUSTED"),
    "day_quota": (429, "RESOURCE_EXHAUSTED"),
    "day_quota_short_hint": (429, "RESOURCE_EXHAUSTED"),
    "limit_zero": (429, "RESOURCE_EXHAUSTED"),
    "limit_zero_prose": (429, "RESOURCE_EXHAUSTED"),
    "several_violations": (429, "RESOURCE_EXHAUSTED"),
    "bare_429": (429, "RESOURCE_EXHAUSTED"),
    "prose_429": (429, "RESOURCE_EXHAUSTED"),
    "shared_capacity": (429, "RESOURCE_EXHAUSTED"),
    "too_long": (400, "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("fault", STATUS)
def test_an_error_has_its_status_and_googles_form(fault: str) -> None:
    """HTTP status, code in the body, and status in words; the journal names the fault."""

    async def check(wire: Wire) -> None:
        error = await wire.error(fault)
        assert (error["code"], error["status"]) == STATUS[fault]
        assert error["message"]

    service = on_wire(check)
    assert (service.journal[0].fault, service.journal[0].status) == (fault, STATUS[fault][0])


def test_every_fault_is_tested_here() -> None:
    """A fault that is added is tested, too."""
    others = {"html_502", "slow", "reset", "cut_body", "cut_stream", "malformed_json", "malformed_sse"}
    assert set(FAULTS) == set(STATUS) | others | {"empty", "error_in_stream", "blocked", "safety", "bad_answer"}


def test_a_fault_at_the_front_uses_no_quota_and_one_of_the_answer_does() -> None:
    """What the service says is left tells."""

    async def check(wire: Wire) -> None:
        for fault in FAULTS.values():
            before = wire.service.left().get("flash", {}).get("1", {"rpm": 1000})["rpm"]
            method = "streamGenerateContent" if fault.name == "cut_stream" else "generateContent"
            with contextlib.suppress(aiohttp.ClientError):
                await wire.post(method, fault=f"{fault.name}=0")
            after = wire.service.left().get("flash", {}).get("1", {"rpm": 1000})["rpm"]
            assert before - after == (fault.stage == "answer"), fault.name

    on_wire(check)


def test_a_wrong_key_is_a_400_with_error_info() -> None:
    """By the configuration as by the fault; no key at all is a 403."""

    async def check(wire: Wire) -> None:
        for error in (await wire.error("bad_key"), await wire.error(key="wrong")):
            assert details(error, "ErrorInfo")["reason"] == "API_KEY_INVALID"
        assert (await wire.error(key=""))["status"] == "PERMISSION_DENIED"

    service = on_wire(check)
    assert "wrong" not in repr(list(service.journal))


def test_an_unknown_model_is_a_404_that_names_it() -> None:
    """As Gemini words it."""

    async def check(wire: Wire) -> None:
        error = await wire.error(model="gone")
        assert error["code"] == 404
        assert error["message"].startswith("models/gone is not found for API version v1beta")

    on_wire(check)


def test_a_breach_is_answered_as_gemini_does() -> None:
    """QuotaFailure with metric, id, dimensions and value; Help; RetryInfo; and the same in prose."""
    model = FakeModel(id="flash", quotas=(QuotaRule(name="rpm", amount=1), QuotaRule(name="input_tpm", amount=4)))

    async def check(wire: Wire) -> None:
        await wire.post()
        error = await wire.error()
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert details(error, "QuotaFailure")["violations"] == [
            {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                "quotaDimensions": {"location": "global", "model": "flash"},
                "quotaValue": "1",
            },
            {
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count",
                "quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier",
                "quotaDimensions": {"location": "global", "model": "flash"},
                "quotaValue": "4",
            },
        ]
        assert details(error, "RetryInfo")["retryDelay"] == "60s"
        assert details(error, "Help")["links"][0]["url"].startswith("https://ai.google.dev/")
        assert "limit: 1, model: flash" in error["message"]
        assert error["message"].endswith("Please retry in 1m0s.")

    service = on_wire(check, ServiceConfig.of(model), clock=lambda: 1_700_000_000.0)
    assert [(record.status, record.refused) for record in service.journal] == [(200, ()), (429, ("rpm", "input_tpm"))]
    assert service.journal[1].hint == 60


@pytest.mark.parametrize(
    ("hint", "told"), [("right", "29.75s"), ("truncated", "29s"), ("short", "9.916666667s"), ("missing", None)]
)
def test_a_hint_is_as_the_model_is_told_to_give_it(hint: Any, told: str | None) -> None:
    """The truth, cut to seconds, a third of it, or none at all."""
    now = [1_700_000_000.0]

    async def check(wire: Wire) -> None:
        await wire.post()
        now[0] += 30.25
        error = await wire.error()
        found = [item for item in error["details"] if item["@type"].endswith("RetryInfo")]
        assert [item["retryDelay"] for item in found] == ([told] if told else [])

    model = FakeModel(id="flash", quotas=(QuotaRule(name="rpm", amount=1),), hint=hint)
    on_wire(check, ServiceConfig.of(model), clock=lambda: now[0])


def test_a_paid_account_spells_its_quotas_otherwise() -> None:
    """No FreeTier in the ids."""
    model = FakeModel(
        id="flash", quotas=(QuotaRule(name="rpm", amount=0), QuotaRule(name="input_tpm", amount=0)), paid=True
    )

    async def check(wire: Wire) -> None:
        violations = details(await wire.error(), "QuotaFailure")["violations"]
        assert [violation["quotaId"] for violation in violations] == [
            "GenerateRequestsPerMinutePerProjectPerModel",
            "GenerateContentPaidTierInputTokensPerModelPerMinute",
        ]

    on_wire(check, ServiceConfig.of(model))


@pytest.mark.parametrize(
    ("fault", "ids", "value", "delay"),
    [
        ("minute_quota", ["PerMinute"], "1000", "20s"),
        ("day_quota", ["PerDay"], "5000", "35640s"),
        ("day_quota_short_hint", ["PerDay"], "5000", "36s"),
        ("limit_zero", ["PerDay", "PerMinute", "InputTokensPerModelPerMinute"], "0", "36s"),
        ("several_violations", ["InputTokensPerModelPerMinute", "PerDay", "PerMinute"], "250000", "20s"),
        ("minute_quota=7.5", ["PerMinute"], "1000", "7.5s"),
    ],
)
def test_a_faked_breach_names_its_quotas_and_its_hint(fault: str, ids: list[str], value: str, delay: str) -> None:
    """Ids, amount and delay, in the order of the body."""

    async def check(wire: Wire) -> None:
        error = await wire.error(fault)
        violations = details(error, "QuotaFailure")["violations"]
        assert len(violations) == len(ids)
        assert all(part in violation["quotaId"] for part, violation in zip(ids, violations, strict=True))
        assert violations[0]["quotaValue"] == value
        assert details(error, "RetryInfo")["retryDelay"] == delay

    on_wire(check)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("bare_429", "Resource has been exhausted (e.g. check quota)."),
        ("prose_429", "Please retry in 10h17m5.7s."),
        ("limit_zero_prose", "limit: 0, model: flash"),
        ("shared_capacity", "Resource exhausted. Please try again later."),
    ],
)
def test_a_429_without_details_has_only_its_words(fault: str, words: str) -> None:
    """No QuotaFailure, no RetryInfo."""

    async def check(wire: Wire) -> None:
        error = await wire.error(fault)
        assert "details" not in error
        assert words in error["message"]

    on_wire(check)


def test_a_proxy_answers_in_html() -> None:
    """502 and a page."""

    async def check(wire: Wire) -> None:
        status, kind, text = await wire.post(fault="html_502")
        assert (status, kind) == (502, "text/html")
        assert text.startswith("<!DOCTYPE html>")

    on_wire(check)


def test_a_reset_shows_no_byte_of_the_answer() -> None:
    """The connection is gone before the status line; the journal has status 0."""

    async def check(wire: Wire) -> None:
        with pytest.raises(aiohttp.ClientConnectionError):
            await wire.post(fault="reset")

    assert on_wire(check).journal[0].status == 0


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse"])
def test_a_cut_body_breaks_the_promise_of_its_length(method: str) -> None:
    """Status 200, then the connection closes too early."""

    async def check(wire: Wire) -> None:
        with pytest.raises(aiohttp.ClientPayloadError):
            await wire.post(method, fault="cut_body")

    on_wire(check)


def test_a_cut_stream_ends_silently_without_a_finish_reason() -> None:
    """HTTP is content; only the finish reason is missing."""

    async def check(wire: Wire) -> None:
        status, _, text = await wire.post("streamGenerateContent?alt=sse", fault="cut_stream")
        assert status == 200
        assert text.startswith("data: {")
        assert "finishReason" not in text

    on_wire(check)


def test_malformed_answers_are_no_json() -> None:
    """Whole, and in a stream, where the first event is still right."""

    async def check(wire: Wire) -> None:
        status, kind, text = await wire.post(fault="malformed_json")
        assert (status, kind) == (200, "application/json")
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
        _, kind, text = await wire.post("streamGenerateContent?alt=sse", fault="malformed_sse")
        first, second = text.split("\r\n\r\n")[:2]
        assert kind == "text/event-stream"
        json.loads(first.removeprefix("data: "))
        with pytest.raises(json.JSONDecodeError):
            json.loads(second.removeprefix("data: "))

    on_wire(check)


def test_an_empty_answer_is_a_200_without_a_byte() -> None:
    """For a stream as for a whole answer."""

    async def check(wire: Wire) -> None:
        for method in ("generateContent", "streamGenerateContent?alt=sse"):
            status, _, text = await wire.post(method, fault="empty")
            assert (status, text) == (200, "")

    on_wire(check)


def test_an_error_in_mid_stream_follows_a_good_chunk() -> None:
    """Status 200, one event with text, one event with an error."""

    async def check(wire: Wire) -> None:
        status, _, text = await wire.post("streamGenerateContent?alt=sse", fault="error_in_stream")
        events = [json.loads(event.removeprefix("data: ")) for event in text.split("\r\n\r\n") if event]
        assert status == 200
        assert "candidates" in events[0]
        assert events[1]["error"]["status"] == "UNAVAILABLE"
        assert (await wire.error("error_in_stream"))["code"] == 500

    on_wire(check)


def test_blocked_and_stopped_answers_are_answers() -> None:
    """200: no candidates and a block reason, a finish reason SAFETY, or a text that is not what was asked for."""

    async def check(wire: Wire) -> None:
        blocked = json.loads((await wire.post(fault="blocked"))[2])
        assert blocked["promptFeedback"]["blockReason"] == "SAFETY"
        assert "candidates" not in blocked
        safety = json.loads((await wire.post(fault="safety"))[2])
        assert safety["candidates"][0]["finishReason"] == "SAFETY"
        bad = json.loads((await wire.post(fault="bad_answer"))[2])["candidates"][0]["content"]["parts"][0]["text"]
        with pytest.raises(json.JSONDecodeError):
            json.loads(bad)

    on_wire(check)


def test_a_slow_answer_is_right_but_late() -> None:
    """The service sleeps for what the fault says, on top of the model's latency."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def check(wire: Wire) -> None:
        assert (await wire.post(fault="slow=12.5"))[0] == 200
        assert (await wire.post(fault="slow"))[0] == 200

    on_wire(check, sleep=sleep)
    assert slept == [12.5, 30]


def test_a_prompt_that_is_too_long_is_refused_and_charged() -> None:
    """By the model's own limit."""
    model = FakeModel(id="flash", quotas=QUOTAS, input_token_limit=2)

    async def check(wire: Wire) -> None:
        error = await wire.error()
        assert error["message"].startswith("The input token count (3) exceeds the maximum number of tokens allowed (2)")
        assert wire.service.left()["flash"]["1"]["rpm"] == 999

    on_wire(check, ServiceConfig.of(model))


def test_a_stream_without_sse_is_an_array_and_so_is_its_error() -> None:
    """What google-generativeai reads over REST."""

    async def check(wire: Wire) -> None:
        _, kind, text = await wire.post("streamGenerateContent")
        pieces = json.loads(text)
        assert kind == "application/json"
        assert len(pieces) == 4
        assert [piece["candidates"][0].get("finishReason") for piece in pieces] == [None, None, None, "STOP"]
        assert json.loads((await wire.post("streamGenerateContent", fault="unavailable"))[2])[0]["error"]["code"] == 503

    on_wire(check)


def test_a_fault_that_does_not_exist_is_the_callers_mistake() -> None:
    """400, with the names that there are."""

    async def check(wire: Wire) -> None:
        assert "there are: internal" in (await wire.error("nonsense"))["message"]
        assert "seconds must be a number" in (await wire.error("slow=long"))["message"]

    on_wire(check)


def test_a_body_that_is_no_request_is_a_400() -> None:
    """And uses nothing."""

    async def check(wire: Wire) -> None:
        for body in ({}, [], "text"):
            assert (await wire.error(body=body))["status"] == "INVALID_ARGUMENT"
        assert wire.service.left() == {}

    on_wire(check)
