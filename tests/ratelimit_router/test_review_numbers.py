"""Numbers that cannot be: from callers, from services and from configurations."""

import asyncio
import math
from typing import Any

import pytest

from ratelimit_router import ConfigError, Kind, Limit, Limits, Outcome, RateLimited, Router, Tier
from ratelimit_router.models import Model


@pytest.mark.parametrize("wrong", [math.nan, -1000, math.inf, -math.inf])
@pytest.mark.parametrize("refill", ["rolling", "continuous", "calendar"])
@pytest.mark.parametrize("late", [False, True])
def test_usage_that_cannot_be_keeps_the_estimate(
    wrong: float, refill: Any, late: bool, router: Any, virtual: Any
) -> None:
    """The bucket keeps what was estimated, whichever of the two numbers is wrong, and goes on counting."""

    async def main() -> None:
        r = router({"a": Limits(tpm=100, refill=refill)})
        for which in ("input_tokens", "output_tokens"):
            lease = r.route_nowait("t", tokens=10)
            if late:
                r.snapshot()  # the buckets are told of the charge
            lease.settle(**{which: wrong})
        seen = r.snapshot().models["a"]
        assert seen.quotas["tpm"].remaining == pytest.approx(80)
        assert (seen.in_flight, seen.input_tokens, seen.output_tokens) == (0, 20, 0)
        await asyncio.sleep(121)
        assert r.eta("t", tokens=100) == 0.0

    virtual(main)


@pytest.mark.parametrize("amount", [-5, math.nan, math.inf, None])
@pytest.mark.parametrize("quota", ["rpm", "rpd", "concurrency", "nobody"])
def test_a_service_that_states_nonsense_is_not_believed(amount: Any, quota: str, router: Any, virtual: Any) -> None:
    """Among the further limits that a rejection names, and as the limit itself."""

    async def main() -> None:
        r = router({"a": Limits(rpm=100, rpd=1000)})
        r.route_nowait("t").fail(Outcome(kind=Kind.RATE_LIMITED, retry_after=1, others=((quota, amount),)))
        await asyncio.sleep(1)
        r.route_nowait("t").fail(RateLimited(1.0, "tpm", amount))
        await asyncio.sleep(100_000)
        assert {name: one.capacity > 0 for name, one in r.snapshot().models["a"].quotas.items()} == {
            "rpm": True,
            "rpd": True,
        }
        assert r.eta("t") == 0.0

    virtual(main)


@pytest.mark.parametrize("hint", [math.nan, -3.0, math.inf, 1e300])
def test_a_hint_that_cannot_be_ends(hint: float, router: Any, virtual: Any) -> None:
    """Nobody is closed for longer than a week by a number."""

    async def main() -> None:
        r = router({"a": None})
        r.route_nowait("t").fail(RateLimited(hint))
        assert 0.0 < r.eta("t") <= 7 * 86_400

    virtual(main)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"slow_start": 0}, "slow_start"),
        ({"slow_start": -1}, "slow_start"),
        ({"slow_start": math.nan}, "slow_start"),
        ({"guard": -0.1}, "guard"),
        ({"guard": math.nan}, "guard"),
        ({"guard": math.inf}, "guard"),
    ],
)
def test_a_router_that_could_not_work_is_not_made(options: dict[str, Any], key: str) -> None:
    """ConfigError names the argument."""
    with pytest.raises(ConfigError) as told:
        Router(models=[Model("a")], tiers=[Tier("t", ["a"])], **options)
    assert told.value.key == key


def test_a_calendar_quota_longer_than_a_day_is_refused() -> None:
    """Resets come daily: ten a week would be ten a day."""
    limits = Limits(rpd=Limit(10, per=7 * 86_400, refill="calendar"))
    with pytest.raises(ConfigError, match="calendar"):
        Router(models=[Model("a", limits=limits)], tiers=[Tier("t", ["a"])])


def test_ten_a_week_are_ten_a_week(router: Any, virtual: Any) -> None:
    """As a rolling quota."""

    async def main() -> int:
        r = router({"a": Limits(rpd=Limit(10, per=7 * 86_400))})
        for _ in range(10):
            (await r.route("t")).settle()
        return (await r.route("t")).waited

    assert virtual(main) == 7 * 86_400


@pytest.mark.parametrize("wish", [{"timeout": -5}, {"timeout": math.nan}])
def test_a_deadline_in_the_past_is_a_mistake(wish: dict[str, float], router: Any, virtual: Any) -> None:
    """ValueError, whether or not a model is free."""

    async def main() -> None:
        r = router({"a": Limits(rpm=1)})
        for _ in range(2):
            with pytest.raises(ValueError, match="timeout"):
                await r.route("t", **wish)
            if r.eta("t") == 0.0:
                await r.route("t")

    virtual(main)


def test_a_negative_patience_is_a_mistake(router: Any, virtual: Any) -> None:
    """Also while a model is free."""

    async def main() -> None:
        r = router({"a": None})
        with pytest.raises(ConfigError, match="patience"):
            await r.route("t", patience=-1)

    virtual(main)
