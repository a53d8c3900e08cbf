"""The run on the real router in virtual time: nothing waits without need, and nothing stops the rest."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit_router.errors import (
    BadRequest,
    BadResponse,
    ModelGone,
    NotSent,
    Overloaded,
    ProviderTimeout,
    RateLimited,
)
from ratelimit_router.limits import Limit, Limits
from ratelimit_router.outcomes import Kind
from ratelimit_router.router import Router
from ratelimit_router.simulation.virtual_time import run
from ratelimit_router_extraction.calls import Call, Caller
from ratelimit_router_extraction.pipeline import GRACE, Run
from ratelimit_router_extraction.plan import Job
from ratelimit_router_extraction.records import Result
from ratelimit_router_extraction.settings import Settings
from ratelimit_router_extraction.tally import Tally
from tests.extraction.conftest import MemoryProvider, job, router_for, settings_with

FREE = {"pro": Limits(), "lite": Limits()}
SLOW = {"pro": Limits(rpm=Limit(1, per=10))}
ONLY = {"hot": ["pro"]}


class Bench:
    """A run with everything that came of it."""

    def __init__(self, provider: MemoryProvider, router: Router, how: Settings):
        self.provider, self.router = provider, router
        self.results: list[tuple[float, Result]] = []
        self.calls: list[Call] = []
        self.run = Run(Caller(router, {"memory": provider}, how, self.calls.append), how, self._finished)

    def _finished(self, result: Result) -> None:
        self.results.append((asyncio.get_running_loop().time(), result))

    @property
    def kinds(self) -> dict[str, str | None]:
        return {each.job.article.id: each.failure.kind if each.failure else None for _, each in self.results}


def perform(
    batches: Sequence[list[Job]],
    provider: MemoryProvider | None = None,
    limits: dict[str, Limits] | None = None,
    chains: dict[str, Sequence[str | Sequence[str]]] | None = None,
    stop_at: Sequence[float] = (),
    **changes: object,
) -> Bench:
    """Extract the batches in virtual time."""
    used = provider or MemoryProvider()

    async def main() -> Bench:
        async with router_for(used, limits or FREE, chains) as router:
            bench = Bench(used, router, settings_with(**changes))
            for instant in stop_at:
                asyncio.get_running_loop().call_at(instant, bench.run.stop)
            await bench.run.extract(batches)
            return bench

    return run(main())


def jobs(count: int, tier: str = "hot") -> list[Job]:
    return [job(f"a{number}", tier) for number in range(count)]


def test_every_article_has_one_result_with_what_it_cost() -> None:
    """Entities, model, depth, attempts, waits, tokens."""
    bench = perform([jobs(3)])
    assert sorted(bench.kinds) == ["a0", "a1", "a2"]
    result = bench.results[0][1]
    assert result.extraction is not None
    assert [entity.text for entity in result.extraction.entities] == ["Ada"]
    assert (result.model, result.depth, result.attempts) == ("pro", 0, 1)
    assert (result.called, result.waited, result.input_tokens, result.output_tokens) == (0.5, 0.0, 100, 10)


def test_launches_are_staggered() -> None:
    """One every eighth of a second, however much is free."""
    bench = perform([jobs(5)], stagger=0.125)  # a power of two: aiolimiter's sums are exact, as virtual time needs
    assert [at for at, _, _ in bench.provider.calls] == [0.0, 0.125, 0.25, 0.375, 0.5]


def test_no_batch_waits_for_another() -> None:
    """Without a pause, a slow article of the first batch delays nobody."""
    provider = MemoryProvider(script=lambda identity, nth: 50.0 if identity == "a0" else None)
    bench = perform([jobs(2), [job("b0"), job("b1")]], provider)
    assert [result.job.article.id for _, result in bench.results] == ["a1", "b0", "b1", "a0"]
    assert [at for at, _ in bench.results] == [0.5, 0.5, 0.5, 50.0]


def test_batch_pause_is_a_barrier_and_a_pause() -> None:
    """When asked for: the next batch begins that long after the last of this one."""
    provider = MemoryProvider(script=lambda identity, nth: 5.0 if identity == "a0" else None)
    bench = perform([jobs(2), [job("b0")]], provider, batch_pause=3.0)
    assert [at for at, _, _ in provider.calls] == [0.0, 0.0, 8.0]
    assert len(bench.results) == 3


def test_number_of_articles_at_work_is_bounded() -> None:
    """Waiting ones included."""
    provider = MemoryProvider()
    peak = 0

    def watch(identity: str, nth: int) -> None:
        nonlocal peak
        peak = max(peak, provider.in_flight + 1)

    provider.script = watch
    bench = perform([jobs(20)], provider, concurrency=3)
    assert (len(bench.results), peak) == (20, 3)


def test_wait_for_quota_does_not_count_as_call() -> None:
    """The last of three waits 20 s for its turn, and its 1 s of calls has not begun."""
    bench = perform([jobs(3)], MemoryProvider(latency=0.9), SLOW, ONLY, timeout=1.0)
    assert set(bench.kinds.values()) == {None}
    assert bench.results[-1][1].waited == pytest.approx(20)
    assert bench.results[-1][1].called == pytest.approx(0.9)


def test_call_that_takes_too_long_is_a_record_with_the_error() -> None:
    """Ended at its limit, not called again, and no other article is touched."""
    provider = MemoryProvider(script=lambda identity, nth: 1e6 if identity == "a1" else None)
    bench = perform([jobs(3)], provider, timeout=60.0)
    assert bench.kinds == {"a0": None, "a1": "ProviderTimeout", "a2": None}
    at, result = bench.results[-1]
    assert (at, result.attempts, result.called) == (60.0, 1, 60.0)


def test_time_limit_holds_over_all_calls_of_an_article() -> None:
    """A second call gets only what the first has left."""
    provider = MemoryProvider(latency=40.0, script=lambda identity, nth: "no json" if nth == 1 else None)
    bench = perform([jobs(1)], provider, timeout=60.0)
    at, result = bench.results[0]
    assert (at, result.attempts, result.failure and result.failure.kind) == (60.0, 2, "ProviderTimeout")


def test_wrong_answer_is_asked_for_again_once() -> None:
    """The second answer counts; two wrong ones are a failure; both calls are paid for."""
    provider = MemoryProvider(script=lambda identity, nth: "no json" if identity == "a1" or nth == 1 else None)
    bench = perform([jobs(2)], provider)
    assert bench.kinds == {"a0": None, "a1": "InvalidAnswer"}
    assert Counter(identity for _, identity, _ in provider.calls) == {"a0": 2, "a1": 2}
    assert {result.input_tokens for _, result in bench.results} == {200}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest(), "BadRequest"),
        (BadResponse(), "AttemptsExhausted"),
        (NotSent(), "AttemptsExhausted"),
        (RuntimeError("the article says so"), "RuntimeError"),
    ],
)
def test_failure_is_a_record_without_any_text(error: Exception, kind: str) -> None:
    """The kind is told; the message of a foreign exception is not, it may quote the article."""
    provider = MemoryProvider(script=lambda identity, nth: error if identity == "a0" else None)
    bench = perform([jobs(3)], provider)
    assert bench.kinds == {"a0": kind, "a1": None, "a2": None}
    failure = next(result.failure for _, result in bench.results if result.failure)
    assert "article says" not in failure.message


def test_rejections_are_absorbed_and_counted() -> None:
    """A 429 and a 503 move the article to the next model; the tally has them by tier and model."""

    def script(identity: str, nth: int) -> Exception | None:
        return {("a0", 1): RateLimited(retry_after=3.0, quota="rpm"), ("a1", 1): Overloaded()}.get((identity, nth))

    bench = perform([jobs(2)], MemoryProvider(script=script))
    tally = Tally(total=2)
    for call in bench.calls:
        tally.call(call)
    for _, result in bench.results:
        tally.result(result)
    assert (tally.done, tally.failed) == (2, 0)
    assert (tally.whole().rate_limited, tally.whole().overloaded) == (1, 1)
    assert tally.rows["hot", "lite"].fallbacks == 2
    assert tally.as_dict()["all_calls"]["calls"] == 4


def test_article_that_breaks_the_service_every_time_is_given_up() -> None:
    """After `max_calls` calls; the others are done meanwhile."""
    provider = MemoryProvider(script=lambda identity, nth: Overloaded() if identity == "a0" else None)
    bench = perform([jobs(4)], provider, max_calls=5)
    assert bench.kinds == {"a0": "BadResponse", "a1": None, "a2": None, "a3": None}
    assert Counter(identity for _, identity, _ in provider.calls)["a0"] == 5


def test_wait_is_bounded_where_asked() -> None:
    """An article that could not be served in time is a record that says so, at once."""
    bench = perform([jobs(3)], None, SLOW, ONLY, max_wait=15.0)
    assert sorted(str(kind) for kind in bench.kinds.values()) == ["None", "None", "RouteTimeout"]


def test_gone_models_leave_records_not_a_hang() -> None:
    """With no model left every article says why."""
    bench = perform([jobs(3)], MemoryProvider(script=lambda identity, nth: ModelGone()), SLOW, ONLY)
    assert set(bench.kinds.values()) == {"NoCapacity"}


scripted = st.sampled_from(
    [
        None,
        "no json",
        100.0,
        RuntimeError(),
        BadRequest(),
        BadResponse(),
        ProviderTimeout(),
        Overloaded(),
        RateLimited(1.0),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(scripted, max_size=3), min_size=1, max_size=12), st.integers(1, 5))
def test_no_task_stops_the_rest(plan: list[list[str | float | BaseException | None]], concurrency: int) -> None:
    """Whatever happens to each article, each has exactly one result, and those that nothing happens to are done."""

    def script(identity: str, nth: int) -> str | float | BaseException | None:
        answers = plan[int(identity[1:])]
        return answers[nth - 1] if nth <= len(answers) else None

    bench = perform([jobs(len(plan))], MemoryProvider(script=script), concurrency=concurrency)
    assert sorted(bench.kinds) == sorted(each.article.id for each in jobs(len(plan)))
    assert len(bench.results) == len(plan)
    assert all(bench.kinds[f"a{number}"] is None for number, answers in enumerate(plan) if not any(answers))


def test_first_stop_lets_calls_end_and_gives_up_the_line() -> None:
    """In flight: finished and kept. In line, or not launched: no record, so that --resume does them."""
    bench = perform([jobs(6)], MemoryProvider(latency=2.0), SLOW, ONLY, stop_at=[1.0], concurrency=3)
    assert bench.run.stopping
    assert [(at, result.job.article.id) for at, result in bench.results] == [(2.0, "a0")]


def test_calls_get_a_few_seconds_after_a_stop() -> None:
    """What has not ended by then is cancelled, without a record."""
    provider = MemoryProvider(latency=1000.0)

    async def main() -> float:
        async with router_for(provider, FREE) as router:
            bench = Bench(provider, router, settings_with())
            asyncio.get_running_loop().call_at(1.0, bench.run.stop)
            await bench.run.extract([jobs(2)])
            assert not bench.results
            assert [call.kind for call in bench.calls] == [Kind.CANCELLED] * 2
            return asyncio.get_running_loop().time()

    assert run(main()) == 1.0 + GRACE


def test_second_stop_cancels_at_once() -> None:
    """Nobody has to wait for the grace to pass."""
    provider = MemoryProvider(latency=1000.0)
    bench = perform([jobs(2)], provider, stop_at=[1.0, 1.5])
    assert not bench.results
    assert provider.in_flight == 0


def test_full_disk_ends_the_run() -> None:
    """An output that cannot be written is no article's failure."""

    async def main() -> None:
        provider = MemoryProvider()

        def full(result: Result) -> None:
            raise OSError(28, "No space left on device")

        async with router_for(provider, FREE) as router:
            how = settings_with()
            caller = Caller(router, {"memory": provider}, how, lambda call: None)
            await Run(caller, how, full).extract([jobs(3)])

    with pytest.raises(OSError, match="No space left"):
        run(main())


def test_ten_tasks_on_four_models_never_wait_while_one_is_free() -> None:
    """Ten at once, four equals that take one call a second each: four start at 0, four at 1, two at 2."""
    names = ["m1", "m2", "m3", "m4"]
    limits = {name: Limits(rpm=Limit(1, per=1)) for name in names}
    bench = perform([jobs(10)], MemoryProvider(latency=0.1), limits, {"hot": [names]})
    starts = Counter(round(at, 6) for at, _, _ in bench.provider.calls)
    assert starts == {0.0: 4, 1.0: 4, 2.0: 2}
