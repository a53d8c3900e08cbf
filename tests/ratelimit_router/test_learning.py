"""How a router finds out true limits: beside services that judge by windows and buckets of their own."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from ratelimit_router import Limit, Limits, RateLimited
from ratelimit_router.adaptive import FULL, Learned, take_limit
from ratelimit_router.bucket import Charge, make_bucket
from ratelimit_router.meter import Meter
from ratelimit_router.simulation.families import family
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.policies import OURS
from ratelimit_router.simulation.quota import ModelQuota, QuotaRule

WAY = 0.02  # seconds to the service, and back
WORK = 1.0  # seconds of an answer


def rolling(amount: float) -> QuotaRule:
    """Counts the last minute."""
    return QuotaRule(name="rpm", amount=amount)


def bucket(amount: float, burst: float) -> QuotaRule:
    """Refills evenly."""
    return QuotaRule(name="rpm", amount=amount, window="continuous", burst=burst)


@dataclass
class Service:
    """One quota that refuses what does not fit, in the time of the running loop."""

    rule: QuotaRule
    hints: bool = True
    stated: float | None = None
    refused: list[float] = field(default_factory=list)
    admitted: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.quota = ModelQuota((self.rule,), concurrency=None)

    async def call(self) -> None:
        """One call; raises RateLimited."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(WAY)
        decision = self.quota.admit(loop.time() + 1e6, 0)
        if not decision.admitted:
            self.refused.append(loop.time())
            await asyncio.sleep(WAY)
            hint = decision.retry_after if self.hints else None
            raise RateLimited(hint, "rpm" if self.stated else None, self.stated)
        self.admitted.append(loop.time())
        await asyncio.sleep(WORK + WAY)
        self.quota.release()

    def change(self, rule: QuotaRule) -> None:
        """Another limit from now on; what was spent stays spent."""
        self.quota.configure(asyncio.get_running_loop().time() + 1e6, (rule,), concurrency=None)


async def serve(router: Any, service: Service, calls: int) -> None:
    """All at once; each goes on until it has its answer."""

    async def one() -> None:
        async for attempt in router.attempts("t"):
            async with attempt:
                await service.call()

    await asyncio.gather(*(one() for _ in range(calls)))


def known(router: Any) -> tuple[float, float]:
    """The learned amount and burst of the only quota."""
    meter = router._dispatcher.accounts["a"].meters["rpm"]
    return meter.learned.amount(meter.quota.amount), meter.burst


def test_the_limit_of_a_window_is_what_was_admitted(router: Any, virtual: Any) -> None:
    """Exactly, after one incident and whatever was in the air; without a hint or a name. Nobody probes in vain."""

    async def main() -> None:
        r, service = router({"a": Limits(rpm=60)}, slow_start=3), Service(rolling(25), hints=False)
        tasks = asyncio.ensure_future(serve(r, service, 100))
        await asyncio.sleep(30.0)
        assert known(r)[0] == pytest.approx(25.0)
        assert len(service.refused) <= 3
        refused = len(service.refused)
        await asyncio.sleep(85.0)  # one step above it: one call, refused
        assert len(service.refused) == refused + 1
        assert known(r)[0] == pytest.approx(25.0)
        await tasks
        assert len(service.refused) == refused + 1
        assert asyncio.get_running_loop().time() < 190.0

    virtual(main)


def test_calls_in_the_air_change_the_judgement(router: Any, virtual: Any) -> None:
    """Twenty are sent at once and half of them refused: each refusal lowers the estimate, and they are one incident."""

    async def main() -> None:
        r = router({"a": Limits(rpm=60)})
        leases = [await r.route("t") for _ in range(20)]
        for place, lease in enumerate(leases[10:], 1):
            lease.fail(RateLimited(50.0))
            assert known(r)[0] == pytest.approx(20 - place)
        assert r.snapshot().models["a"].cooldown.strikes == 1

    virtual(main)


def test_what_was_refused_before_was_not_admitted(router: Any, virtual: Any) -> None:
    """Refused calls stay charged for a period, but they do not count for what the service admitted in it."""

    async def main() -> None:
        r = router({"a": Limits(rpm=60)})
        for _ in range(25):
            (await r.route("t")).settle()
            await asyncio.sleep(1.0)
        for lease in [await r.route("t") for _ in range(2)]:
            lease.fail(RateLimited(30.0))
        assert known(r)[0] == pytest.approx(25.0)
        await asyncio.sleep(39.0)
        (await r.route("t")).fail(RateLimited(40.0))
        assert known(r)[0] == pytest.approx(20.0)  # those of the seconds from 5 to 24

    virtual(main)


def test_a_smaller_bucket_is_measured_and_then_its_rate(router: Any, virtual: Any) -> None:
    """The burst by the first refusal, the rate by what is admitted between two: within some per cent after a few."""

    async def main() -> None:
        r = router({"a": Limits(rpm=Limit(240, refill="continuous", burst=40))}, slow_start=3)
        service = Service(bucket(120, burst=20), hints=False)
        tasks = asyncio.ensure_future(serve(r, service, 400))
        await asyncio.sleep(5.0)
        assert known(r)[1] == pytest.approx(20.0, abs=2.5)
        await asyncio.sleep(40.0)
        assert known(r)[0] == pytest.approx(120.0, rel=0.08)
        await tasks
        assert len(service.refused) <= 8
        assert asyncio.get_running_loop().time() < 1.04 * 190.0

    virtual(main)


def test_a_service_that_has_room_again_at_once_has_a_bucket(router: Any, virtual: Any) -> None:
    """A window, it was thought, but a tenth of it is refused for a second: its burst is small, not its rate."""

    async def main() -> None:
        r = router({"a": Limits(rpm=60)}, slow_start=3)
        service = Service(bucket(60, burst=6))
        await serve(r, service, 100)
        assert asyncio.get_running_loop().time() < 1.5 * 94.0
        assert len(service.refused) <= 8

    virtual(main)


def test_a_stated_limit_that_explains_nothing_is_no_explanation(router: Any, virtual: Any) -> None:
    """The limit is as configured, and still a call was refused: somebody else draws on it, so measure."""

    async def main() -> None:
        r = router({"a": Limits(rpm=20)}, slow_start=3)
        service = Service(rolling(20), stated=20.0)
        service.quota.spend(1e6, 0, 0)  # somebody else's
        for _ in range(7):
            service.quota.spend(1e6, 0, 0)
        tasks = asyncio.ensure_future(serve(r, service, 30))
        await asyncio.sleep(10.0)
        assert known(r)[0] == pytest.approx(12.0)
        await tasks

    virtual(main)


def test_a_refusal_empties_the_bucket(router: Any, virtual: Any) -> None:
    """The service's has room for one call when the hint ends: ours is no fuller, however long that took."""

    async def main() -> None:
        r = router({"a": Limits(rpm=Limit(60, refill="continuous", burst=30))})
        for _ in range(30):
            (await r.route("t")).settle()
        (await r.route("t")).fail(RateLimited(20.0))
        await asyncio.sleep(20.0)
        assert r.snapshot().models["a"].quotas["rpm"].remaining == pytest.approx(1.0, abs=0.1)

    virtual(main)


def test_beyond_a_ceiling_goes_one_call_at_first(router: Any, virtual: Any) -> None:
    """A larger step is tried one by one, too: a limit that still holds refuses a single call."""

    async def main() -> None:
        r, service = router({"a": Limits(rpm=200)}, slow_start=3), Service(rolling(100), hints=False)
        tasks = asyncio.ensure_future(serve(r, service, 250))
        await asyncio.sleep(20.0)
        before = len(service.refused)
        await tasks
        assert len(service.refused) == before + 1

    virtual(main)


def test_nothing_grows_that_does_not_bind(router: Any, virtual: Any) -> None:
    """A quota of which enough is left is not tried any higher: a later burst would find out the hard way."""

    async def main() -> None:
        r = router({"a": Limits(rpm=60)})
        leases = [await r.route("t") for _ in range(30)]
        for lease in leases:
            lease.settle()
        (await r.route("t")).fail(RateLimited(50.0))
        learned = known(r)
        for _ in range(60):
            await asyncio.sleep(30.0)
            (await r.route("t")).settle()
        assert known(r) == learned == (pytest.approx(30.0), pytest.approx(30.0))

    virtual(main)


def test_a_drop_in_mid_run_is_found_out_and_made_good(router: Any, virtual: Any) -> None:
    """A third for four minutes, then all again: a handful of refusals, and soon as many calls as before."""

    async def main() -> None:
        r, service = router({"a": Limits(rpm=60)}, slow_start=3), Service(rolling(60))
        tasks = asyncio.ensure_future(serve(r, service, 2_000))
        await asyncio.sleep(110.0)
        service.change(rolling(20))
        await asyncio.sleep(240.0)
        assert known(r)[0] == pytest.approx(20.0, rel=0.1)
        service.change(rolling(60))
        await asyncio.sleep(840.0)
        assert known(r)[0] == 60.0
        assert len(service.refused) <= 15
        tasks.cancel()
        await asyncio.gather(tasks, return_exceptions=True)

    virtual(main)


@pytest.mark.parametrize(("before", "unproven"), [(0.0, True), (110.0, False)])
def test_a_limit_that_was_never_true_is_told_from_a_drop(
    before: float, unproven: bool, router: Any, virtual: Any
) -> None:
    """Refused before one period's worth has gone well, what is configured was never admitted; later it was."""

    async def main() -> None:
        r, service = router({"a": Limits(rpm=60)}, slow_start=3), Service(rolling(60 if before else 20))
        tasks = asyncio.ensure_future(serve(r, service, 2_000))
        await asyncio.sleep(before)
        service.change(rolling(20))
        await asyncio.sleep(70.0)
        assert service.refused
        assert r._dispatcher.accounts["a"].meters["rpm"].learned.unproven is unproven
        tasks.cancel()
        await asyncio.gather(tasks, return_exceptions=True)

    virtual(main)


def test_calls_that_come_too_early_come_later(router: Any, virtual: Any) -> None:
    """The limit is right, but the service's minute is 60 ms longer: a few refusals, then none, and the limit stays."""

    async def main() -> None:
        r = router({"a": Limits(rpm=20)}, slow_start=3)
        service = Service(QuotaRule(name="rpm", amount=20, period=60.06))
        await serve(r, service, 190)
        assert 1 <= len(service.refused) <= 4
        assert max(service.refused) < 200.0
        assert known(r)[0] == 20.0
        assert asyncio.get_running_loop().time() < 550.0

    virtual(main)


@pytest.mark.parametrize(("name", "moved"), [("rolling", 60.0), ("calendar", 40.0), ("continuous", 3.0)])
def test_every_bucket_can_be_postponed(name: Any, moved: float) -> None:
    """What was spent comes back that much later than it would have."""
    (quota,) = Limits(rpm=20, refill=name).quotas()
    one = make_bucket(quota, 0.0, lambda now: 40.0)
    one.spend(20.0, 0.0)
    assert one.when(1.0, 0.0) == pytest.approx(moved)
    one.postpone(0.125)
    assert one.when(1.0, 0.0) == pytest.approx(moved + 0.125)


@pytest.mark.parametrize(("stretch", "least", "most"), [(1.0, 570.0, 605.0), (3.0, 200.0, 420.0)])
def test_a_limit_that_is_higher_than_configured(
    stretch: float, least: float, most: float, router: Any, virtual: Any
) -> None:
    """On a quota believed to be 20, and really 60: by default ten minutes; whoever lets it stretch is done sooner."""

    async def main() -> None:
        r = router({"a": Limits(rpm=20)}, stretch=stretch)
        service = Service(rolling(60))
        await serve(r, service, 210)
        assert least < asyncio.get_running_loop().time() < most
        assert known(r)[0] <= 20 * stretch
        assert len(service.refused) <= 4
        assert (known(r)[0] == 20.0) == (stretch == 1.0)

    virtual(main)


@pytest.mark.parametrize(("name", "most"), [("misconfigured", 0.05), ("no-hint", 0.05), ("shrinking", 0.08)])
def test_storms_of_wrong_limits(name: str, most: float) -> None:
    """A whole family at a glance: rejections a task, over three of the seeds that the constants were tuned on."""
    runs = [play(family(name, seed), OURS["greedy"]) for seed in (3, 4, 5)]
    shares = [sum(call.result == "rate_limited" for call in run.calls) / len(run.tasks) for run in runs]
    assert sum(shares) / len(shares) < most
    assert all(task.done for run in runs for task in run.tasks)


def test_a_rate_is_not_measured_while_nothing_was_tried(router: Any, virtual: Any) -> None:
    """For minutes less is sent than would be admitted. A refusal on the way up does not take that for the limit."""

    async def main() -> None:
        r = router({"a": Limits(rpm=Limit(60, refill="continuous", burst=2))}, slow_start=3)
        service = Service(bucket(12, burst=2))
        tasks = asyncio.ensure_future(serve(r, service, 2_000))
        await asyncio.sleep(300.0)
        assert known(r)[0] == pytest.approx(12.0, rel=0.1)
        service.change(bucket(48, burst=2))
        refused = len(service.refused)
        for _ in range(1_200):
            await asyncio.sleep(1.0)
            if len(service.refused) > refused:
                break
        await asyncio.sleep(1.0)
        assert known(r)[0] > 36.0
        tasks.cancel()
        await asyncio.gather(tasks, return_exceptions=True)

    virtual(main)


def test_a_stated_limit_is_not_cut_by_what_it_explains(router: Any, virtual: Any) -> None:
    """Ten were admitted, and the service says twenty: others have used the rest. Twenty it is."""

    async def main() -> None:
        r = router({"a": Limits(rpm=60)})
        leases = [await r.route("t") for _ in range(11)]
        leases[10].fail(RateLimited(30.0, "rpm", 20))
        assert known(r)[0] == 20.0

    virtual(main)


def evenly(amount: float) -> Meter:
    """A bucket of a minute's requests."""
    (quota,) = Limits(rpm=Limit(amount, refill="continuous")).quotas()
    return Meter(quota, make_bucket(quota, 0.0, lambda now: math.inf))


def test_a_bucket_that_may_be_larger_is_not_fuller() -> None:
    """A step beyond a stated limit lets more come back from now on, and nothing at once."""
    meter = evenly(60.0)
    meter.apply(take_limit(FULL, 20.0, 60.0, 0.0), 0.0)
    meter.bucket.spend(20.0, 0.0)
    assert meter.bucket.level(0.0) == 0.0
    meter.apply(Learned(rate=22 / 60, hits=2, step=2 / 60, since=1.0), 0.0)
    assert (meter.bucket.capacity, meter.bucket.level(0.0)) == (60.0, pytest.approx(0.0))


@pytest.mark.parametrize(("seconds", "believed"), [(0.3, 0.0), (30.0, 30.0)])
def test_a_refusal_at_once_after_the_probe_measures_nothing(seconds: float, believed: float) -> None:
    """Less time has gone by than one call needs by what is believed: one admitted, or none, would mean anything."""
    meter = evenly(60.0)
    meter.empty(10.0, 1.0, 0.0)
    calls = [Charge(), Charge()]
    for call, at in zip(calls, (10.0, 10.0 + seconds), strict=True):
        call.at, call.cost = at, (1, 0, 0, 0)
        meter.bucket.spend(1.0, at)
    found = meter.refused(calls[1], None, (), 10.0 + seconds)
    assert found.believed == pytest.approx(believed)
    assert found.few or not believed
