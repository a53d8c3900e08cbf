"""Simulated services behind the seam of providers: any application's calls meet the scenario's limits and faults."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from ratelimit_router.errors import ConfigError, ModelGone, ProviderTimeout, RateLimited
from ratelimit_router.estimate import estimate_tokens
from ratelimit_router.limits import Limits
from ratelimit_router.messages import Reply, Request, Usage
from ratelimit_router.models import Model, Tier
from ratelimit_router.outcomes import Kind
from ratelimit_router.provider import Provider
from ratelimit_router.simulation import virtual_time
from ratelimit_router.simulation.mirror import mirror_service
from ratelimit_router.simulation.provider import SimulatedProvider
from ratelimit_router.simulation.scenario import Distribution, Load, Network, Scenario

MODELS = {"a": Model("a", limits=Limits(rpm=2)), "b": Model("b", limits=Limits(rpm=60))}


def scenario(seed: int = 1, tiers: tuple[Tier, ...] = (Tier("t", ["a", "b"]),), **truth: Any) -> Scenario:
    """Two models of 2 and 60 requests a minute that answer after a second; `truth`: how the services differ."""
    usual = {"latency": Distribution(median=1.0)}
    return Scenario(
        name="two",
        seed=seed,
        models=tuple(MODELS.values()),
        tiers=tiers,
        services=tuple(mirror_service(model, **(usual | truth)) for model in MODELS.values()),
        loads=(Load(tier=tiers[0].name, tasks=1),),
        network=Network(latency=0.0),
    )


def play(main: Callable[[SimulatedProvider], Coroutine[Any, Any, Any]], of: Scenario, **how: Any) -> Any:
    """Run it in virtual time with the provider of a scenario."""

    async def with_provider() -> Any:
        return await main(SimulatedProvider(of, **how))

    return virtual_time.run(with_provider())


def test_it_is_a_provider_and_answers_after_the_latency_of_its_service() -> None:
    """The text is the user's, the usage what the texts really are."""

    async def main(provider: SimulatedProvider) -> tuple[Reply, float]:
        assert isinstance(provider, Provider)
        return await provider.generate(MODELS["a"], Request(prompt="How many?")), asyncio.get_running_loop().time()

    reply, at = play(main, scenario(), answer=lambda request: f"{request.prompt} Seven.")
    assert (reply.text, reply.model.name, reply.finish_reason, at) == ("How many? Seven.", "a", "stop", 1.0)
    assert reply.usage == Usage(estimate_tokens("How many?"), estimate_tokens("How many? Seven."))


def test_without_an_answer_of_ones_own_it_is_empty_json() -> None:
    """And the estimate is right about the input: system instruction and prompt."""

    async def main(provider: SimulatedProvider) -> tuple[Reply, Usage]:
        request = Request(prompt="Where?", system="Be brief.", max_output_tokens=9)
        return await provider.generate(MODELS["b"], request), provider.estimate(request)

    reply, estimate = play(main, scenario())
    assert reply.text == "{}"
    assert estimate == Usage(reply.usage.input_tokens, 9)


def test_any_application_of_a_router_meets_the_hidden_limits() -> None:
    """The router believes in two calls a minute of `a`, the service in one; nobody is lost, and 429s are on record."""

    async def main(provider: SimulatedProvider) -> tuple[list[str], list[str]]:
        async with provider.router() as router:
            replies = await asyncio.gather(*(router.generate("t", f"Question {number}") for number in range(4)))
        return [reply.model.name for reply in replies], [call.result for call in provider.run.calls]

    usual = scenario()
    tighter = mirror_service(Model("a", limits=Limits(rpm=1)))
    models, results = play(main, replace(usual, services=(tighter, usual.services[1])))
    assert sorted(models) == ["a", "b", "b", "b"]
    assert sorted(results) == ["ok", "ok", "ok", "ok", "rate_limited"]


def test_a_stream_is_the_same_in_one_piece() -> None:
    """With usage and finish reason, through the router."""

    async def main(provider: SimulatedProvider) -> list[Any]:
        async with provider.router() as router:
            return [chunk async for chunk in router.stream("t", "Tell me.")]

    (chunk,) = play(main, scenario(), answer=lambda request: "Gladly.")
    assert (chunk.text, chunk.finish_reason) == ("Gladly.", "stop")
    assert chunk.usage.output_tokens == estimate_tokens("Gladly.")


def test_a_request_is_known_by_its_text_and_takes_as_long_whenever_it_is_asked() -> None:
    """Latencies are drawn by request, not by call: other schedules meet the same services."""

    async def main(provider: SimulatedProvider) -> list[float]:
        loop, took = asyncio.get_running_loop(), []
        for prompt in ("one", "two", "one", "two"):
            started = loop.time()
            await provider.generate(MODELS["b"], Request(prompt=prompt, timeout=1e6))
            took.append(round(loop.time() - started, 9))
        assert [task.calls for task in provider.run.tasks] == [2, 2]
        return took

    one, two, *again = play(main, scenario(latency=Distribution(median=1.0, sigma=1.0)))
    assert again == [one, two]
    assert one != two


def test_faults_come_as_errors_that_it_can_classify() -> None:
    """A model that is gone, and a quota that is used up."""

    async def main(provider: SimulatedProvider) -> None:
        for _ in range(2):
            await provider.generate(MODELS["a"], Request(prompt="hello"))
        with pytest.raises(RateLimited) as refused:
            await provider.generate(MODELS["a"], Request(prompt="hello"))
        assert provider.classify(refused.value).kind is Kind.RATE_LIMITED
        await asyncio.sleep(100.0)
        with pytest.raises(ModelGone):
            await provider.generate(MODELS["a"], Request(prompt="hello"))
        assert provider.run.tasks[0].error == "ModelGone"

    play(main, scenario(gone_at=100.0))


def test_a_request_has_its_own_time_limit() -> None:
    """As an SDK would end it; the quota that it cost stays spent."""

    async def main(provider: SimulatedProvider) -> None:
        with pytest.raises(ProviderTimeout):
            await provider.generate(MODELS["a"], Request(prompt="hello", timeout=0.25))
        assert asyncio.get_running_loop().time() == 0.25
        assert [(call.result, call.ended) for call in provider.run.calls] == [("cancelled", 0.25)]
        assert (provider.run.tasks[0].error, provider.run.tasks[0].ended) == ("ProviderTimeout", 0.25)

    play(main, scenario())


def test_more_requests_than_were_told_of_are_refused_in_so_many_words() -> None:
    """Latencies are drawn in advance."""

    async def main(provider: SimulatedProvider) -> None:
        await provider.generate(MODELS["a"], Request(prompt="one"))
        with pytest.raises(ConfigError, match="requests: there are more than 1"):
            await provider.generate(MODELS["a"], Request(prompt="two"))

    play(main, scenario(), requests=1)


def test_models_keep_the_provider_that_they_name() -> None:
    """The simulation takes its place in the router: no real service is ever called."""

    async def main(provider: SimulatedProvider) -> str | None:
        async with provider.router(models=[Model("a", provider="gemini")], tiers=[Tier("t", ["a"])]) as router:
            return (await router.generate("t", "hello")).model.provider

    assert play(main, scenario()) == "gemini"
