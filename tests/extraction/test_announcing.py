"""The plan of a run: all jobs left are announced, the batch ends with the run, and greed stays where it must."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

from ratelimit_router.limits import Limits
from ratelimit_router.messages import Usage
from ratelimit_router.simulation.virtual_time import run
from ratelimit_router.toml_tables import Defect, Table
from ratelimit_router_extraction.announcing import SAMPLE, announced, slack_of
from ratelimit_router_extraction.calls import Caller
from ratelimit_router_extraction.pipeline import Run
from ratelimit_router_extraction.plan import Job, batches_of
from ratelimit_router_extraction.records import Result
from ratelimit_router_extraction.settings import settings_of
from tests.extraction.conftest import MemoryProvider, job, router_for, settings_with

LIMITS = {"pro": Limits(rpm=20), "lite": Limits(rpm=10)}
CHAINS: Mapping[str, Sequence[str]] = {"hot": ["pro", "lite"], "standard": ["lite"], "bulk": ["lite"]}


class Announcements:
    """A router that notes what is announced to it, and whether that is open."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, int], dict[str, Usage], float, list[str]]] = []

    def batch(self, calls: dict[str, int], *, tokens: dict[str, Usage], slack: float, urgent: list[str]) -> Any:
        self.told.append((calls, tokens, slack, urgent))
        return nullcontext()


def jobs(count: int, tier: str) -> list[Job]:
    return [job(f"{tier}{number}", tier) for number in range(count)]


def extract(work: Sequence[Job], slack: float | None, *, stop_at: float | None = None, **changes: Any) -> list[Result]:
    """The results of a run in virtual time, whose batch must be over at the end: a tier is no longer steered."""
    results: list[Result] = []
    how = settings_with(**changes)

    async def main() -> list[Result]:
        provider = MemoryProvider()
        async with router_for(provider, LIMITS, CHAINS) as router:
            caller = Caller(router, {"memory": provider}, how, lambda call: None)
            going = Run(caller, how, results.append, planned=slack is not None)
            if stop_at is not None:
                asyncio.get_running_loop().call_at(stop_at, going.stop)
            try:
                with announced(router, work, caller.estimate, slack):
                    await going.extract(batches_of(work, how))
            finally:
                assert not router.snapshot().tiers["hot"].queued
                await asyncio.sleep(120.0)
                free = [router.route_nowait("hot").model.name for _ in range(30)]
                assert (free.count("pro"), free.count("lite")) == (20, 10)
        return results

    return run(main())


def test_all_jobs_are_announced_by_tier_with_their_mean_tokens() -> None:
    """Those that are still to be launched, too."""
    router, work = Announcements(), [*jobs(3, "hot"), *jobs(2, "bulk")]
    sizes = {"hot0": 10, "hot1": 20, "hot2": 60, "bulk0": 5, "bulk1": 6}
    usage = lambda each: Usage(sizes[each.article.id], 4)  # noqa: E731
    with announced(router, work, usage, 0.25, ("hot", "standard")):  # type: ignore[arg-type]
        assert router.told == [({"hot": 3, "bulk": 2}, {"hot": Usage(30, 4), "bulk": Usage(6, 4)}, 0.25, ["hot"])]


def test_the_best_tier_is_urgent_unless_another_is_named() -> None:
    """The first of the tiers; none, where the list is empty; and a tier that is none is refused."""
    tiers = ["hot", "standard"]
    assert settings_of(Table((), {}), tiers).urgent == ("hot",)
    assert settings_of(Table((), {"urgent": []}), tiers).urgent == ()
    assert settings_of(Table((), {"urgent": ["standard"]}), tiers).urgent == ("standard",)
    with pytest.raises(Defect, match="is no tier; there are: hot, standard"):
        settings_of(Table((), {"urgent": ["nope"]}), tiers)


def test_a_sample_stands_for_a_large_tier() -> None:
    """Evenly spread over it: not every article has to be estimated before the first call."""
    router, asked = Announcements(), []

    def estimate(each: Job) -> Usage:
        asked.append(each.article.id)
        return Usage(7)

    with announced(router, jobs(10 * SAMPLE + 1, "hot"), estimate, 0.0):  # type: ignore[arg-type]
        assert router.told[0][:2] == ({"hot": 10 * SAMPLE + 1}, {"hot": Usage(7)})
    assert len(asked) <= SAMPLE
    assert asked[:2] == ["hot0", "hot11"]


def test_a_plan_leaves_a_tier_the_only_model_that_it_may_use() -> None:
    """40 articles may use both models, 20 only the smaller one: two minutes' quota is enough; greed needs a third."""
    work = [*jobs(40, "hot"), *jobs(20, "standard")]
    planned, greedy = (extract(work, slack, mix={"hot": 1}) for slack in (0.0, None))
    assert len(planned) == len(greedy) == 60
    assert {each.model for each in planned if each.job.tier == "hot"} == {"pro"}
    assert max(each.waited for each in planned) == pytest.approx(60.0)
    assert max(each.waited for each in greedy) == pytest.approx(120.0)


def test_those_whom_a_plan_keeps_waiting_do_not_take_the_room_of_others() -> None:
    """One article at a time may be in a call; however many wait, the free model of another tier is used."""
    results = extract([*jobs(40, "hot"), *jobs(10, "bulk")], 0.5, concurrency=1, mix={"hot": 40, "bulk": 1})
    assert len(results) == 50
    assert max(each.waited for each in results if each.job.tier == "bulk") < 1.0


def test_calls_in_flight_hold_up_launches_under_a_plan() -> None:
    """Where quota is free for all, no more than `concurrency` are at work."""

    async def main() -> int:
        provider, peak = MemoryProvider(), 0

        def watch(identity: str, nth: int) -> None:
            nonlocal peak
            peak = max(peak, provider.in_flight + 1)

        provider.script = watch
        async with router_for(provider, {"pro": Limits()}, {"hot": ["pro"]}) as router:
            how = settings_with(concurrency=3)
            going = Run(
                Caller(router, {"memory": provider}, how, lambda call: None), how, lambda each: None, planned=True
            )
            await going.extract([jobs(20, "hot")])
        return peak

    assert run(main()) == 3


def test_the_batch_is_over_when_a_run_is_stopped() -> None:
    """What was in a call is kept, the rest is given up, and nobody is steered any more."""
    results = extract([*jobs(40, "hot"), *jobs(20, "standard")], 0.0, stop_at=0.25)
    assert 0 < len(results) < 60


def test_the_batch_is_over_when_a_run_fails() -> None:
    """A full disk ends both."""

    async def main() -> None:
        provider, how = MemoryProvider(), settings_with()

        def full(result: Result) -> None:
            raise OSError(28, "No space left on device")

        async with router_for(provider, LIMITS, CHAINS) as router:
            caller, work = Caller(router, {"memory": provider}, how, lambda call: None), jobs(40, "hot")
            with pytest.raises(OSError, match="No space"), announced(router, work, caller.estimate, 0.0):
                await Run(caller, how, full, planned=True).extract([work])
            await asyncio.sleep(120.0)
            assert {router.route_nowait("hot").model.name for _ in range(30)} == {"pro", "lite"}

    run(main())


def test_without_the_extra_a_run_is_greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is announced, and no error is made of it."""
    assert slack_of(settings_with()) == 0.0
    assert slack_of(settings_with(slack=0.5)) == 0.5
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    assert slack_of(settings_with()) is None
    router = Announcements()
    with announced(router, jobs(3, "hot"), lambda each: Usage(1), None):  # type: ignore[arg-type]
        assert router.told == []


def test_a_run_with_deadlines_has_no_plan() -> None:
    """A plan may keep an article waiting for a better model until its time is over."""
    assert slack_of(settings_with(max_wait=30.0)) is None
    with pytest.raises(Defect, match="a plan knows no deadlines"):
        settings_of(Table((), {"max_wait": 30, "slack": 0.1}), ["hot"])


def test_slack_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for it wants a plan."""
    assert settings_of(Table((), {"slack": 0.1}), ["hot"]).slack == 0.1
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(Defect, match=r"ratelimit-router\[plan\]") as refused:
        settings_of(Table((), {"slack": 0.1}), ["hot"])
    assert refused.value.path == ("slack",)
