"""After an incident calls come back one by one, not as a herd; hints and resets are heeded."""

import asyncio
import datetime
from typing import Any

import pytest

from ratelimit_router import Kind, Limit, Limits, Model, NoCapacity, NotSent, Outcome, Overloaded, Pool, RateLimited
from ratelimit_router.reasons import Reason

WALL = 1_790_000_000.0


def burst(r: Any, most: int = 1_000) -> list[Any]:
    """Every lease that is to be had at once."""
    leases = []
    try:
        while len(leases) < most:
            leases.append(r.route_nowait("t"))
    except NoCapacity:
        pass
    return leases


def test_a_slow_answer_to_the_probe_opens_no_further_than_a_quick_one(router: Any, virtual: Any) -> None:
    """After an overload only answers count: one answer, two leases; the time it took means nothing."""

    async def main() -> None:
        r = router({"a": None})
        r.route_nowait("t").fail(Overloaded(30.0))
        await asyncio.sleep(30)
        probe = r.route_nowait("t")
        await asyncio.sleep(11)
        probe.settle()
        first = burst(r)
        assert len(first) == 2
        for lease in first:
            lease.settle()
        assert len(burst(r)) == 4

    virtual(main)


@pytest.mark.parametrize("look", [False, True])
def test_idleness_after_a_cooldown_is_no_success(look: bool, router: Any, virtual: Any) -> None:
    """Ten idle seconds later the first lease is still the probe, whether or not somebody looked meanwhile."""

    async def main() -> None:
        r = router({"a": None})
        r.route_nowait("t").fail(RateLimited(30.0))
        await asyncio.sleep(30)
        if look:
            first = r.snapshot().models["a"]
            assert first == r.snapshot().models["a"]
        await asyncio.sleep(10)
        if look:
            assert r.snapshot().models["a"].state == "probing"
            assert r.eta("t") == 0.0
        assert len(burst(r)) == 1

    virtual(main)


def test_a_ramp_after_an_overload_widens_by_answers_alone(router: Any, virtual: Any) -> None:
    """Calls that hang neither widen nor end it; the ramp ends when its window is wide."""

    async def main() -> None:
        r = router({"a": None})
        r.route_nowait("t").fail(Overloaded(1.0))
        await asyncio.sleep(1)
        width, widths = 1, []
        while width < 256:
            leases = burst(r)
            widths.append(len(leases))
            await asyncio.sleep(20)
            assert burst(r) == []
            for lease in leases:
                lease.settle()
            width = 2 * width
        assert widths == [1, 2, 4, 8, 16, 32, 64, 128]
        assert r.snapshot().models["a"].state == "ready"

    virtual(main)


def test_three_silences_in_a_row_cool_a_model(router: Any, virtual: Any) -> None:
    """One alone does not, and an answer in between begins the count anew."""

    async def main() -> None:
        r = router({"a": None})
        for _ in range(2):
            r.route_nowait("t").fail(NotSent())
        assert r.snapshot().models["a"].state == "ready"
        r.route_nowait("t").settle()
        for _ in range(2):
            r.route_nowait("t").fail(Outcome(kind=Kind.TIMEOUT))
        assert r.snapshot().models["a"].state == "ready"
        r.route_nowait("t").fail(NotSent())
        assert r.snapshot().models["a"].state == "cooling"

    virtual(main)


def test_a_stragglers_hint_is_heeded_while_half_open(router: Any, virtual: Any) -> None:
    """A rejection of the known incident arrives late, with a hint that lasts longer than the cooldown did."""

    async def main() -> None:
        r = router({"a": None})
        first, straggler = r.route_nowait("t"), r.route_nowait("t")
        first.fail(RateLimited(0.1))
        await asyncio.sleep(0.2)
        assert r.eta("t") == 0.0
        straggler.fail(RateLimited(60.0))
        assert r.eta("t") == pytest.approx(60.0)
        assert r.snapshot().models["a"].cooldown.strikes == 1

    virtual(main)


@pytest.mark.parametrize(
    ("limit", "resets"),
    [
        (Limit(10, refill="calendar", resets="15:00 UTC"), datetime.time(15)),
        (Limit(10, refill="calendar", resets="00:00 UTC"), datetime.time(0)),
    ],
)
def test_a_daily_rejection_lasts_until_that_quotas_own_reset(
    limit: Limit, resets: datetime.time, router: Any, virtual: Any
) -> None:
    """Not until the provider's usual midnight; there need not be a provider at all."""

    async def main() -> None:
        r = router({"a": Limits(rpd=limit)})
        r.route_nowait("t").fail(RateLimited(None, "rpd"))
        opens = datetime.datetime.fromtimestamp(WALL + r.eta("t"), datetime.UTC)
        assert opens.time() == resets
        assert r.eta("t") <= 86_400
        assert r.snapshot().models["a"].cooldown.provenance == "quota"

    virtual(main)


def test_a_pools_daily_rejection_lasts_until_the_pools_reset(router: Any, virtual: Any) -> None:
    """The quota is named with its pool, and the pool's own bucket knows when it comes back."""

    async def main() -> None:
        limit = Limit(10, refill="calendar", resets="15:00 UTC")
        r = router([Model("a", pools=("p",))], pools=[Pool("p", Limits(rpd=limit))])
        r.route_nowait("t").fail(RateLimited(None, "p.rpd"))
        opens = datetime.datetime.fromtimestamp(WALL + r.eta("t"), datetime.UTC)
        assert opens.time() == datetime.time(15)
        with pytest.raises(NoCapacity) as refusal:
            r.route_nowait("t")
        assert [one.reason for one in refusal.value.reasons] == [Reason.COOLING]

    virtual(main)
