"""The whole pipeline in storms of the lab: the real run, the real router, simulated services, virtual time."""

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pytest

from ratelimit_router.limits import Limits
from ratelimit_router.models import Model, Tier
from ratelimit_router.simulation import virtual_time
from ratelimit_router.simulation.mirror import mirror_rules, mirror_service
from ratelimit_router.simulation.provider import SimulatedProvider
from ratelimit_router.simulation.run import Run as Played
from ratelimit_router.simulation.scenario import Consumer, Distribution, Load, Network, Scenario, Trouble
from ratelimit_router.simulation.weather import random_scenario
from ratelimit_router_extraction.announcing import announced
from ratelimit_router_extraction.calls import Caller
from ratelimit_router_extraction.output import Output
from ratelimit_router_extraction.pipeline import Run
from ratelimit_router_extraction.plan import Job, batches_of
from ratelimit_router_extraction.records import Result
from ratelimit_router_extraction.tally import Tally
from ratelimit_router_extraction.tiering import even_cuts
from tests.extraction.conftest import job, settings_with

ARTICLES = {"hot": 300, "standard": 400, "bulk": 300}
SEEDS = range(40)
ANSWER = json.dumps({"entities": [{"type": "person", "text": "Ada"}]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`output`: the bytes of the records. `at`: seconds of virtual time at the end."""

    output: bytes
    tally: Tally
    played: Played
    at: float

    @property
    def ids(self) -> list[str]:
        return sorted(json.loads(line)["id"] for line in self.output.splitlines())


def storm(seed: int = 1) -> Scenario:
    """An hour: `flash` allows half of what is configured, `pro` is down for ten minutes, others draw on `lite` for
    twenty, and `nano`, from which `bulk` would start, is gone after ten.
    """
    rpm = {"pro": 4, "flash": 6, "lite": 10, "nano": 10}
    models = {name: Model(name, limits=Limits(rpm=each, concurrency=8)) for name, each in rpm.items()}
    latency = Distribution(median=2.0, sigma=0.5, most=20.0)
    return Scenario(
        name="storm",
        seed=seed,
        models=tuple(models.values()),
        tiers=(Tier("hot", ["pro", "flash"]), Tier("standard", ["flash", "lite"]), Tier("bulk", ["nano", "lite"])),
        services=(
            mirror_service(
                models["pro"], latency=latency, troubles=(Trouble(kind="overloaded", start=1_200.0, end=1_800.0),)
            ),
            mirror_service(
                models["flash"],
                latency=latency,
                quotas=mirror_rules(models["flash"].limits, factor=0.5),
                hint="missing",
            ),
            mirror_service(models["lite"], latency=latency, consumers=(Consumer(rate=0.05, start=600.0, end=1_800.0),)),
            mirror_service(
                models["nano"], latency=latency, gone_at=600.0, troubles=(Trouble(kind="garbled", rate=0.05),)
            ),
        ),
        loads=(Load(tier="hot", tasks=1),),
        network=Network(jitter=0.05),
    )


def jobs_for(tiers: dict[str, int]) -> list[Job]:
    return [job(f"{tier}-{number}", tier) for tier, count in tiers.items() for number in range(count)]


def perform(scenario: Scenario, jobs: Sequence[Job], slack: float | None, **changes: object) -> Outcome:
    """Extract the jobs in that storm, under a plan with that slack or greedily."""
    tiers = tuple(tier.name for tier in scenario.tiers)
    how = settings_with(**{"tiers": tiers, "cuts": even_cuts(tiers), "mix": dict.fromkeys(tiers, 1), **changes})

    async def main() -> Outcome:
        provider, sink, tally = SimulatedProvider(scenario, answer=lambda request: ANSWER), io.BytesIO(), Tally(total=0)

        def finished(result: Result) -> None:
            Output(sink).write(result)
            tally.result(result)

        async with provider.router() as router:
            caller = Caller(router, {"simulated": provider}, how, tally.call)
            with announced(router, jobs, caller.estimate, slack, how.urgent):
                await Run(caller, how, finished, planned=slack is not None).extract(batches_of(jobs, how))
        at = asyncio.get_running_loop().time()
        return Outcome(output=sink.getvalue(), tally=tally, played=provider.run, at=at)

    return virtual_time.run(main())


@cache
def stormy(slack: float | None) -> Outcome:
    return perform(storm(), jobs_for(ARTICLES), slack)


@pytest.mark.parametrize("slack", [None, 0.0], ids=["greedy", "planned"])
def test_after_an_hour_of_storm_every_article_has_one_result(slack: float | None) -> None:
    """A thousand articles, wrong limits, an outage, a model that vanishes, somebody else on the same quota."""
    outcome = stormy(slack)
    assert outcome.ids == sorted(each.article.id for each in jobs_for(ARTICLES))
    assert outcome.tally.done == sum(ARTICLES.values())
    assert 1_800.0 < outcome.at < 7_200.0
    results = {call.result for call in outcome.played.calls}
    assert results >= {"ok", "rate_limited", "overloaded", "model_gone", "bad_response"}


@pytest.mark.parametrize("slack", [None, 0.0], ids=["greedy", "planned"])
def test_the_same_seed_gives_the_same_bytes(slack: float | None) -> None:
    """And another seed gives others."""
    again = perform(storm(), jobs_for(ARTICLES), slack)
    assert again.output == stormy(slack).output
    assert list(again.played.trace()) == list(stormy(slack).played.trace())
    assert perform(storm(2), jobs_for(ARTICLES), slack).output != again.output


@pytest.mark.parametrize("seed", SEEDS)
def test_in_random_weather_every_article_has_one_result(seed: int) -> None:
    """Done, or failed with the reason: nobody is lost, done twice, or waits longer than ten minutes for quota."""
    scenario = random_scenario(seed)
    jobs = jobs_for({load.tier: load.tasks for load in scenario.loads})
    slack, how = (None, 0.0, 0.5)[seed % 3], {"concurrency": 1 + seed % 17, "max_wait": 600.0}
    outcome = perform(scenario, jobs, slack, **how)
    assert outcome.ids == sorted(each.article.id for each in jobs)
    assert outcome.tally.finished == len(jobs)
    assert outcome.output == perform(scenario, jobs, slack, **how).output
