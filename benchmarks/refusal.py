"""What it costs to handle one 429: CPU beyond the HTTP client's own, for a call that goes on with the next model.

Each case makes calls that are answered at once, and calls that one model refuses before the next one answers, one after
the other, over real HTTP. The difference is the price of a refusal; the same difference of the bare client, which makes
the same two requests and decides nothing, is taken off. Every round measures every case; printed are medians of
milliseconds. "Client": the openai SDK's requests cost more than aiohttp's, so what is built on it is compared with it.

Nothing waits: the refusing models have no quota, and whoever remembers that is given another one for every call. Needs
the peers: see requirements-peers.txt.
"""

import argparse
import asyncio
import gc
import itertools
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
from tenacity import retry, retry_if_exception_type

from benchmarks.over_http.chat import Refused, ask, session
from benchmarks.over_http.harness import prompt
from benchmarks.over_http.service import running
from ratelimit_router import Model, RateLimited, Router, Tier

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask the network for prices

QUIET = 0.2
"""Seconds for what a library does in the background, so that nobody else pays for it."""
One = Callable[[str | None], Awaitable[Any]]
"""Makes one call. If a model is named, that one refuses, and `ok` answers; else `ok` answers at once."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to make the calls, and the name of the bare client that it is built on."""

    one: One
    client: str


def with_aiohttp(http: aiohttp.ClientSession) -> One:
    """The bare client."""

    async def one(full: str | None) -> None:
        try:
            await ask(http, full or "ok", 1)
        except Refused:
            await ask(http, "ok", 1)

    return one


def with_openai(client: openai.AsyncOpenAI) -> One:
    """OpenAI's own SDK, its retries switched off."""
    messages: Any = prompt(1)

    async def one(full: str | None) -> None:
        try:
            await client.chat.completions.create(model=full or "ok", messages=messages)
        except openai.RateLimitError:
            await client.chat.completions.create(model="ok", messages=messages)

    return one


def with_router(http: aiohttp.ClientSession, full: list[str]) -> One:
    """Tiers of two models, the refusing one first."""
    tiers = [Tier("ok", ["ok"]), *(Tier(name, [name, "ok"]) for name in full)]
    router = Router(models=[Model("ok"), *map(Model, full)], tiers=tiers)

    async def one(full: str | None) -> None:
        async for attempt in router.attempts(full or "ok"):
            async with attempt as lease:
                try:
                    await ask(http, lease.model.id, 1)
                except Refused as error:
                    raise RateLimited(error.retry_after) from error

    return one


def with_tenacity(http: aiohttp.ClientSession) -> One:
    """A retry without a wait, on the next model."""

    async def one(full: str | None) -> None:
        models = iter([full, "ok"] if full else ["ok"])

        @retry(retry=retry_if_exception_type(Refused))
        async def call() -> None:
            await ask(http, next(models), 1)

        await call()

    return one


def with_langchain(url: str) -> One:
    """A chat model with a fallback."""
    from langchain_openai import ChatOpenAI

    ok, first = (ChatOpenAI(model=name, base_url=url, api_key="any", max_retries=0) for name in ("ok", "full-0"))
    chain = first.with_fallbacks([ok], exceptions_to_handle=(openai.RateLimitError,))
    messages = [(message["role"], message["content"]) for message in prompt(1)]

    async def one(full: str | None) -> None:
        await (chain if full else ok).ainvoke(messages)

    return one


def with_litellm(url: str) -> One:
    """Two groups of one deployment, the second the fallback of the first."""
    import litellm

    litellm.suppress_debug_info = True
    common = {"api_base": url, "api_key": "any", "max_retries": 0}
    deployments: Any = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", **common}} for name in ("ok", "full-0")
    ]
    router = litellm.Router(
        model_list=deployments, fallbacks=[{"full-0": ["ok"]}], num_retries=0, disable_cooldowns=True
    )

    async def one(full: str | None) -> None:
        await router.acompletion(model="full-0" if full else "ok", messages=prompt(1))

    return one


async def cost(one: One, full: "itertools.islice[str]", times: int) -> float:
    """Milliseconds of CPU that a refusal adds to a call."""
    begin = time.process_time()
    for _ in range(times):
        await one(None)
    answered = time.process_time()
    for name in full:
        await one(name)
    took = (time.process_time() - answered) - (answered - begin)
    await asyncio.sleep(QUIET)
    return took / times * 1e3


async def measure(url: str, names: list[str], rounds: int, times: int) -> dict[str, dict[str, float]]:
    """For each case the price of a refusal, whole and beyond its client's."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(session(url))
        client = openai.AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0)
        await stack.enter_async_context(client)
        cases = {
            "aiohttp": Case(with_aiohttp(http), "aiohttp"),
            "openai": Case(with_openai(client), "openai"),
            "ratelimit-router": Case(with_router(http, names), "aiohttp"),
            "tenacity": Case(with_tenacity(http), "aiohttp"),
            "LangChain": Case(with_langchain(f"{url}/v1"), "openai"),
            "LiteLLM": Case(with_litellm(f"{url}/v1"), "openai"),
        }
        found: dict[str, list[float]] = {name: [] for name in cases}
        fresh = {name: iter(names) for name in cases}
        gc.collect()
        gc.freeze()  # what was imported does not weigh on anybody
        for number in range(rounds + 1):  # the first warms up
            for name, case in cases.items():
                took = await cost(case.one, itertools.islice(fresh[name], times), times)
                found[name] += [took] if number else []
    return {
        name: {
            "ms": round(statistics.median(found[name]), 4),
            "beyond_client_ms": round(
                statistics.median(a - b for a, b in zip(found[name], found[case.client], strict=True)), 4
            ),
        }
        for name, case in cases.items()
    }


def main(rounds: int, times: int) -> dict[str, dict[str, float]]:
    """Measure against a service in a process of its own, and check that every refusal took place."""
    names = [f"full-{number}" for number in range((rounds + 1) * times)]
    with running({"models": {"ok": {}, **{name: {"rpm": 0} for name in names}}}) as service:
        result = asyncio.run(measure(service.url, names, rounds, times))
        refused = service.conclude()["rejected"]
    if refused != len(names) * len(result):
        raise RuntimeError(f"{refused} calls were refused, not {len(names) * len(result)}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = main(options.rounds, options.times)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{'ms':>8} {'beyond the client':>18}")
        for name, row in result.items():
            print(f"{row['ms']:>8.3f} {row['beyond_client_ms']:>18.3f}  {name}")
