"""The service as a whole: scripts, rates, keys, concurrency, the journal, and who may reach it."""

import asyncio
import json
import logging
import urllib.request
from collections.abc import Callable
from random import Random
from typing import Any

import aiohttp
import pytest

from ratelimit_router.errors import ConfigError
from ratelimit_router_providers.fake_service import (
    FakeModel,
    FakeService,
    FaultRule,
    Latency,
    QuotaRule,
    ServiceConfig,
)

PROMPT = {"contents": [{"parts": [{"text": "a secret prompt"}]}]}


async def ask(session: aiohttp.ClientSession, url: str, *, model: str = "flash", key: str = "k") -> int:
    """The status of one call."""
    headers = {"x-goog-api-key": key}
    async with session.post(f"{url}/v1/models/{model}:generateContent", json=PROMPT, headers=headers) as response:
        await response.read()
        return response.status


def statuses(model: FakeModel, times: int, clock: Callable[[], float] | None = None) -> list[int]:
    """What so many calls, one after the other, are answered."""

    async def main() -> list[int]:
        async with FakeService(ServiceConfig.of(model), clock=clock) as service, aiohttp.ClientSession() as session:
            return [await ask(session, service.url) for _ in range(times)]

    return asyncio.run(main())


def test_a_script_by_count_strikes_the_nth_requests() -> None:
    """The second and the fourth, no others."""
    rule = FaultRule(fault="internal", requests=(2, 4))
    assert statuses(FakeModel(id="flash", faults=(rule,)), 5) == [200, 500, 200, 500, 200]


def test_an_outage_begins_and_ends_by_the_clock() -> None:
    """503 from second 4 until second 7."""
    now = [1_700_000_000.0]

    async def main() -> list[int]:
        model = FakeModel(id="flash", faults=(FaultRule(fault="unavailable", start=4, end=7),))
        found = []
        config = ServiceConfig.of(model)
        async with FakeService(config, clock=lambda: now[0]) as service, aiohttp.ClientSession() as session:
            for _ in range(8):
                found.append(await ask(session, service.url))
                now[0] += 1
        return found

    assert asyncio.run(main()) == [200, 200, 200, 200, 503, 503, 503, 200]


def test_a_rate_repeats_with_its_seed() -> None:
    """About a third of the calls fail, the same ones each time."""
    model = FakeModel(id="flash", faults=(FaultRule(fault="unavailable", rate=0.33),))
    first, second = statuses(model, 60), statuses(model, 60)
    assert first == second
    assert 10 <= first.count(503) <= 30


def test_windows_open_again_when_the_clock_moves_on() -> None:
    """Two a minute: the third waits for the first to be a minute old."""
    times = iter([0.0, 0.0, 10.0, 20.0, 60.0, 61.0])
    last = [1_700_000_000.0]

    def clock() -> float:
        return last[0]

    async def main() -> list[int]:
        model = FakeModel(id="flash", quotas=(QuotaRule(name="rpm", amount=2),))
        found = []
        async with FakeService(ServiceConfig.of(model), clock=clock) as service, aiohttp.ClientSession() as session:
            for at in times:
                last[0] = 1_700_000_000.0 + at
                found.append(await ask(session, service.url))
        return found

    assert asyncio.run(main()) == [200, 200, 429, 429, 200, 200]


def test_each_key_has_quotas_of_its_own_and_none_is_written_down() -> None:
    """A key stands for a project; the journal knows keys by number."""

    async def main() -> FakeService:
        model = FakeModel(id="flash", quotas=(QuotaRule(name="rpm", amount=1),))
        async with FakeService(ServiceConfig.of(model)) as service, aiohttp.ClientSession() as session:
            for key in ("first-key", "first-key", "second-key"):
                await ask(session, service.url, key=key)
        return service

    service = asyncio.run(main())
    assert [(record.key, record.status) for record in service.journal] == [(1, 200), (1, 429), (2, 200)]
    assert "first-key" not in repr(list(service.journal)) + repr(service.summary())


def test_concurrency_counts_calls_in_flight() -> None:
    """Three at once where two are allowed: one is refused while two wait, and later ones pass."""

    async def main() -> tuple[list[int], FakeService]:
        started, go = asyncio.Event(), asyncio.Event()
        sleeping = 0

        async def sleep(seconds: float) -> None:
            nonlocal sleeping
            if not seconds:
                return
            sleeping += 1
            if sleeping == 2:
                started.set()
            await go.wait()

        model = FakeModel(id="flash", concurrency=2, latency=Latency(median=1.0))
        async with FakeService(ServiceConfig.of(model), sleep=sleep) as service, aiohttp.ClientSession() as session:
            running = [asyncio.create_task(ask(session, service.url)) for _ in range(2)]
            await started.wait()
            refused = await ask(session, service.url)
            go.set()
            return [*await asyncio.gather(*running), refused, await ask(session, service.url)], service

    found, service = asyncio.run(main())
    assert found == [200, 200, 429, 200]
    assert service.summary().models["flash"].peak_in_flight == 2
    assert service.summary().models["flash"].refused == {"concurrency": 1}


def test_a_client_that_goes_away_is_no_longer_in_flight() -> None:
    """A cancelled call frees its place, and the journal has it with status 499."""

    async def main() -> FakeService:
        waiting, left = asyncio.Event(), asyncio.Event()

        async def sleep(seconds: float) -> None:
            if seconds:
                waiting.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    left.set()

        model = FakeModel(id="flash", concurrency=1, faults=(FaultRule(fault="slow", requests=(1,), seconds=600),))
        async with FakeService(ServiceConfig.of(model), sleep=sleep) as service, aiohttp.ClientSession() as session:
            task = asyncio.create_task(ask(session, service.url))
            await waiting.wait()
            task.cancel()
            await left.wait()
            assert await ask(session, service.url) == 200
        return service

    assert [record.status for record in asyncio.run(main()).journal] == [499, 200]


def test_latency_has_its_median_and_repeats_with_its_seed() -> None:
    """Half of many answers are faster than the median, half slower."""

    async def main(seed: int) -> list[float]:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        config = ServiceConfig.of(FakeModel(id="flash", latency=Latency(median=0.5, spread=0.4)), seed=seed)
        async with FakeService(config, sleep=sleep) as service, aiohttp.ClientSession() as session:
            for _ in range(60):
                await ask(session, service.url)
        return slept

    once = asyncio.run(main(1))
    assert once == asyncio.run(main(1)) != asyncio.run(main(2))
    assert 15 <= sum(seconds < 0.5 for seconds in once) <= 45
    assert min(once) > 0


def test_an_even_latency_stays_between_its_ends() -> None:
    """Each draw, and both halves are drawn from."""
    draws = [Latency(least=0.05, most=0.2).sample(Random(seed)) for seed in range(200)]
    assert all(0.05 <= draw <= 0.2 for draw in draws)
    assert 0.11 < sum(draws) / 200 < 0.14


def test_the_journal_and_the_summary_are_served_as_json() -> None:
    """With counts that agree, and neither prompt nor answer."""

    async def main() -> tuple[str, str, str]:
        model = FakeModel(id="flash", quotas=(QuotaRule(name="rpm", amount=2),))
        async with FakeService(ServiceConfig.of(model)) as service, aiohttp.ClientSession() as session:
            for _ in range(3):
                await ask(session, service.url)
            found = []
            for path in ("/_fake/journal", "/_fake/summary", "/"):
                async with session.get(service.url + path) as response:
                    found.append(await response.text())
        return found[0], found[1], found[2]

    journal, summary, about = asyncio.run(main())
    records = json.loads(journal)["records"]
    assert [record["admitted"] for record in records] == [True, True, False]
    assert records[2]["refused"] == ["rpm"]
    told = json.loads(summary)
    assert (told["requests"], told["admitted"], told["rejected"]) == (3, 2, 1)
    assert told["models"]["flash"]["refused"] == {"rpm": 1}
    assert told["left"] == {"flash": {"1": {"rpm": 0}}}
    assert "secret" not in journal + summary
    assert "simulation" in about


def test_a_script_in_mid_run_changes_limits_and_faults() -> None:
    """What was spent stays spent; a wrong script changes nothing and says why."""

    async def main() -> list[Any]:
        model = FakeModel(id="flash", quotas=(QuotaRule(name="rpm", amount=2),))
        async with FakeService(ServiceConfig.of(model)) as service, aiohttp.ClientSession() as session:
            found: list[Any] = [await ask(session, service.url) for _ in range(3)]
            scripts: list[Any] = [
                {"models": {"flash": {"rpm": 3}}, "faults": []},
                {"models": {"flash": {"rpm": -1}}},
                [],
                {"models": {"new": {}}, "faults": [{"fault": "internal", "rate": 1.0}]},
            ]
            for script in scripts:
                async with session.post(f"{service.url}/_fake/script", json=script) as response:
                    found.append((response.status, (await response.json()).get("error")))
                found.append(await ask(session, service.url))
            return [*found, await ask(session, service.url, model="new")]

    found = asyncio.run(main())
    assert found[:5] == [200, 200, 429, (200, None), 200]
    assert found[5] == (400, "models.flash.rpm.amount: must be a finite number of 0 or more, not -1")
    assert (found[7][0], found[6], found[8]) == (400, 429, 429)
    assert found[9:] == [(200, None), 500, 500]


def test_it_says_in_its_log_that_it_is_a_simulation_and_logs_no_prompt(caplog: pytest.LogCaptureFixture) -> None:
    """One line at the start, one for each call."""
    with caplog.at_level(logging.INFO, logger="ratelimit_router_providers.fake_service"):
        statuses(FakeModel(id="flash", faults=(FaultRule(fault="internal", requests=(1,)),)), 1)
    assert caplog.messages[0].startswith("SIMULATION of the Gemini API at http://127.0.0.1:")
    assert caplog.messages[1] == "simulated generateContent flash key=1 -> 500 fault=internal"
    assert "secret" not in caplog.text


def test_only_loopback_is_bound_unless_allowed() -> None:
    """Another host is a mistake until it is said to be meant."""
    config = ServiceConfig.of(FakeModel(id="flash"))
    with pytest.raises(ConfigError, match="loopback"):
        FakeService(config, host="0.0.0.0")
    FakeService(config, host="0.0.0.0", public=True)


def test_blocking_code_gets_it_in_a_thread() -> None:
    """It listens when the block begins and is gone when it ends."""
    config = ServiceConfig.of(FakeModel(id="flash"))
    with FakeService.in_thread(config) as service, urllib.request.urlopen(f"{service.url}/", timeout=10) as response:
        assert b"simulation" in response.read()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{service.url}/", timeout=10)


def test_a_port_that_is_taken_is_an_error_in_either_form() -> None:
    """OSError, in the caller's thread."""
    config = ServiceConfig.of(FakeModel(id="flash"))
    with FakeService.in_thread(config) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), FakeService.in_thread(config, port=port):
            raise AssertionError("never reached")
