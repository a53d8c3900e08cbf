"""After a failed call: what is charged, what is closed, for how long, and how it opens again."""

import asyncio
import math
import random
from typing import Any

import pytest

from ratelimit_router import (
    AuthError,
    BadRequest,
    BadResponse,
    BillingError,
    Kind,
    Limit,
    Limits,
    Model,
    ModelGone,
    NoCapacity,
    NotSent,
    Outcome,
    Overloaded,
    Pool,
    ProviderTimeout,
    RateLimited,
    RouterError,
    RouteTimeout,
    Tier,
    Usage,
)
from ratelimit_router import events as ev
from ratelimit_router.cooldown import SLOW_ACCEPTED_AFTER, Cooldown, Provenance, State

WALL_MIDNIGHT = 35_200.0  # seconds until midnight UTC


async def fail(router: Any, error: BaseException | Outcome, tier: str = "t", **how: Any) -> Any:
    """One call that fails."""
    lease = await router.route(tier, **how)
    lease.fail(error)
    return lease


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (NotSent(), 100),
        (ConnectionRefusedError(), 100),
        (ProviderTimeout(), 60),
        (BadRequest(), 60),
        (BadResponse(), 60),
        (asyncio.CancelledError(), 60),
        (KeyError("mine"), 60),
        (RateLimited(1.0, "tpm"), 60),
        (Overloaded(), 60),
    ],
)
def test_what_a_failure_costs(error: BaseException, left: float, router: Any, virtual: Any) -> None:
    """Not sent: everything is given back, also to the pool. Sent: everything is kept."""

    async def main() -> None:
        r = router([Model("a", limits=Limits(tpm=100, rpm=5), pools=("p",))], pools=[Pool("p", Limits(tpm=100))])
        await fail(r, error, tokens=40)
        now = r.snapshot()
        assert now.models["a"].quotas["tpm"].remaining == now.pools["p"].quotas["tpm"].remaining == left
        assert now.models["a"].quotas["rpm"].remaining == (5 if left == 100 else 4)
        assert now.models["a"].in_flight == now.pools["p"].in_flight == 0

    virtual(main)


@pytest.mark.parametrize("error", [BadRequest(), BadResponse(), ProviderTimeout(), NotSent(), KeyError("mine")])
def test_a_healthy_model_stays_open(error: BaseException, router: Any, virtual: Any) -> None:
    """The caller's errors, unusable answers and lost calls close nothing."""

    async def main() -> None:
        r = router({"a": None, "b": None})
        await fail(r, error)
        assert (await r.route("t")).model.name == "a"
        assert r.snapshot().models["a"].state == "ready"

    virtual(main)


def test_usage_replaces_the_estimate(router: Any, virtual: Any) -> None:
    """Less is given back, more is a debt; a debt delays the next request until it is paid."""

    async def main() -> None:
        r = router({"a": Limits(input_tpm=Limit(60, refill="continuous"), output_tpm=50)})
        (await r.route("t", tokens=Usage(40, 10))).settle(input_tokens=10, output_tokens=0)
        quotas = r.snapshot().models["a"].quotas
        assert (quotas["input_tpm"].remaining, quotas["output_tpm"].remaining) == (50, 50)
        (await r.route("t", tokens=Usage(10, 0))).settle(input_tokens=80)
        assert r.snapshot().models["a"].quotas["input_tpm"].remaining == -30
        assert (await r.route("t", tokens=1)).waited == pytest.approx(31.0)

    virtual(main)


def test_leaving_the_block_settles(router: Any, virtual: Any) -> None:
    """Without an error with the estimate, with one as the failure that it is; both end the lease."""

    async def main() -> None:
        r = router({"a": Limits(tpm=100)})
        async with r.route("t", tokens=30):
            pass
        with pytest.raises(RateLimited):
            async with r.route("t", tokens=30):
                raise RateLimited(5.0)
        model = r.snapshot().models["a"]
        assert (model.settled, model.rejected, model.in_flight, model.input_tokens) == (1, 1, 0, 30)
        assert (model.cooldown.provenance, model.cooldown.left) == ("server", 5.0)

    virtual(main)


def test_headers_correct_downwards_only(router: Any, virtual: Any) -> None:
    """What the service says remains is believed when it is less than what we think; a stated limit, too."""

    async def main() -> None:
        r = router({"a": Limits(rpm=60, tpm=1_000)})
        lease = await r.route("t", tokens=100)
        lease.observe({"x-ratelimit-remaining-requests": "7", "x-ratelimit-remaining-tokens": "5000"})
        quotas = r.snapshot().models["a"].quotas
        assert (quotas["rpm"].remaining, quotas["tpm"].remaining) == (7, 900)
        lease.observe([("X-RateLimit-Limit-Requests", "30"), ("x-ratelimit-limit-tokens", "9999")])
        quotas = r.snapshot().models["a"].quotas
        assert (quotas["rpm"].capacity, quotas["rpm"].configured, quotas["tpm"].capacity) == (30, 60, 1_000)
        lease.observe({"x-ratelimit-remaining-requests": "many", "x-ratelimit-limit-requests": "-3"})
        assert r.snapshot().models["a"].quotas["rpm"].capacity == 30

    virtual(main)


def test_a_hint_closes_for_that_long_exactly(router: Any, virtual: Any) -> None:
    """The chain goes on with the next model; the first is back at the instant that the service named."""

    async def main() -> None:
        seen: list[Any] = []
        r = router({"a": None, "b": Limits(rpm=1)}, observers=[seen.append])
        await fail(r, RateLimited(12.5, "rpm"))
        other = await r.route("t")
        assert (other.model.name, other.depth) == ("b", 1)
        assert [(one.model, one.reason, one.retry_at) for one in other.skipped] == [("a", "cooling", 12.5)]
        lease = await r.route("t")
        assert (lease.model.name, lease.waited) == ("a", 12.5)
        kinds = [type(one) for one in seen]
        for kind in (ev.Routed, ev.Rejected, ev.LimitLearned, ev.Cooled, ev.FellBack, ev.Waited, ev.Probed):
            assert kind in kinds or kind is ev.LimitLearned
        cooled = next(one for one in seen if isinstance(one, ev.Cooled))
        assert (cooled.model, cooled.seconds, cooled.provenance, cooled.strikes) == ("a", 12.5, "server", 1)

    virtual(main)


def test_cooling_never_shortens(router: Any, virtual: Any) -> None:
    """Of several rejections of one incident the latest end counts, and the incident counts once."""

    async def main() -> None:
        r = router({"a": None})
        leases = [await r.route("t") for _ in range(4)]
        for lease, hint in zip(leases, (20.0, 5.0, None, 30.0), strict=True):
            lease.fail(RateLimited(hint))
        cooldown = r.snapshot().models["a"].cooldown
        assert (cooldown.until, cooldown.strikes) == (30.0, 1)

    virtual(main)


def test_a_probe_then_a_ramp_never_a_herd(router: Any, virtual: Any) -> None:
    """After a cooldown one call; with each answer two more; calls without an answer hold the rest back."""

    async def main() -> list[int]:
        r = router({"a": None})
        await fail(r, Overloaded(10.0))
        held: list[Any] = []

        async def ask() -> None:
            held.append(await r.route("t"))

        tasks = [asyncio.ensure_future(ask()) for _ in range(40)]
        rounds = []
        await asyncio.sleep(10.0)
        while held or not rounds:
            await asyncio.sleep(0.01)
            rounds.append(len(held))
            while held:
                held.pop().settle()
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        return rounds

    assert virtual(main)[:5] == [1, 2, 4, 8, 16]


def test_a_probe_that_fails_closes_again(router: Any, virtual: Any) -> None:
    """A probe that is refused, or not answered in time, starts the next cooldown; the others wait on."""

    async def main() -> None:
        r = router({"a": None})
        await fail(r, Overloaded(10.0))
        await asyncio.sleep(10.0)
        probe = await r.route("t")
        with pytest.raises(NoCapacity) as caught:
            r.route_nowait("t")
        assert caught.value.reasons[0].reason == "probing"
        probe.fail(ProviderTimeout())
        model = r.snapshot().models["a"]
        assert (model.state, model.cooldown.strikes, model.cooldown.provenance) == ("cooling", 2, "heuristic")

    virtual(main)


def test_a_probe_that_was_never_sent_lets_another_go(router: Any, virtual: Any) -> None:
    """Cancelled before use, or not sent: its place is free in the same instant."""

    async def main() -> None:
        r = router({"a": None})
        await fail(r, Overloaded(10.0))
        await asyncio.sleep(10.0)
        r.route_nowait("t").cancel()
        r.route_nowait("t").fail(KeyError("mine"))
        r.route_nowait("t").settle()
        assert r.snapshot().models["a"].cooldown is None

    virtual(main)


def test_a_recovery_is_told_once(router: Any, virtual: Any) -> None:
    """One Recovered, and the strikes are forgotten after a healthy minute."""

    async def main() -> None:
        seen: list[Any] = []
        r = router({"a": None}, observers=[seen.append])
        await fail(r, Overloaded(1.0))
        await asyncio.sleep(1.0)
        for _ in range(3):
            (await r.route("t")).settle()
        assert [type(one) for one in seen].count(ev.Recovered) == 1
        await asyncio.sleep(100.0)
        await fail(r, Overloaded(1.0))
        assert r.snapshot().models["a"].cooldown.strikes == 1

    virtual(main)


def test_without_a_hint_the_backoff_grows_with_full_jitter() -> None:
    """The ceiling doubles from incident to incident up to its cap; the wait is anywhere below it."""
    for strikes in range(1, 12):
        waits = []
        for seed in range(300):
            cooldown, now = Cooldown(random.Random(seed)), 0.0
            for _ in range(strikes):
                incident = cooldown.rejected(None, cooldown.epoch, Outcome(kind=Kind.RATE_LIMITED), now, math.inf)
                assert incident is not None
                waits.append(incident.until - now) if incident.strikes == strikes else None
                now = incident.until
        ceiling = min(2.0 ** (strikes - 1), 60.0)
        assert 0.0499 <= min(waits) <= 0.05 + 0.1 * ceiling
        assert 0.9 * ceiling <= max(waits) <= ceiling
        assert incident.provenance is Provenance.HEURISTIC


def test_a_hint_that_keeps_failing_is_distrusted_from_the_third() -> None:
    """Two incidents in a row are believed; from the third on a backoff is the floor."""
    longest = [0.0] * 8
    for seed in range(200):
        cooldown, now = Cooldown(random.Random(seed)), 0.0
        for index in range(8):
            outcome = Outcome(kind=Kind.RATE_LIMITED, retry_after=0.0)
            incident = cooldown.rejected(None, cooldown.epoch, outcome, now, math.inf)
            assert incident is not None
            longest[index] = max(longest[index], incident.until - now)
            now = incident.until
    assert longest[:2] == pytest.approx([0.05, 0.05])
    assert longest[2] > 0.8
    assert longest[7] > 20.0


def test_a_right_hint_stays_a_floor_itself() -> None:
    """The backoff never shortens what the service asks for."""
    cooldown, now = Cooldown(random.Random(0)), 0.0
    for _ in range(10):
        outcome = Outcome(kind=Kind.RATE_LIMITED, retry_after=90.0)
        incident = cooldown.rejected(None, cooldown.epoch, outcome, now, math.inf)
        assert incident is not None
        assert incident.until >= now + 90.0
        now = incident.until


def daily() -> dict[str, Limits]:
    """A day's quota that comes back at midnight UTC, and a spare model."""
    return {"a": Limits(rpd=Limit(100, refill="calendar", resets="00:00 UTC"))}


class Calendar:
    """A provider of which only the refill is asked."""

    def __init__(self, resets: str = "00:00 UTC"):
        from ratelimit_router import RefillDefaults

        self.refill = RefillDefaults(minute="rolling", day="calendar", resets=resets)

    def classify(self, error: BaseException) -> Outcome:
        raise AssertionError("only our own errors are raised here")


def test_a_daily_quota_with_a_short_hint(router: Any, virtual: Any) -> None:
    """One probe after the hint; refused for the day again, closed until the reset; then a probe opens it."""

    async def main() -> None:
        models = [Model("a", provider="cal", limits=Limits(rpd=100))]
        r = router(models, providers={"cal": Calendar()})
        await fail(r, RateLimited(21.0, "rpd"))
        cooldown = r.snapshot().models["a"].cooldown
        assert (cooldown.provenance, cooldown.until, cooldown.quota) == ("quota", 21.0, "rpd")
        probe = await r.route("t")
        assert probe.waited == 21.0
        with pytest.raises(NoCapacity):
            r.route_nowait("t")
        probe.fail(RateLimited(13.0, "rpd"))
        assert r.snapshot().models["a"].cooldown.until == WALL_MIDNIGHT
        lease = await r.route("t")
        assert asyncio.get_running_loop().time() == WALL_MIDNIGHT
        lease.settle()
        assert r.snapshot().models["a"].state in ("probing", "ready", "slow_start")

    virtual(main)


def test_a_daily_quota_whose_probe_succeeds_reopens(router: Any, virtual: Any) -> None:
    """The short hint was right: the day goes on, and a later one is believed again."""

    async def main() -> None:
        r = router([Model("a", provider="cal", limits=Limits(rpd=100))], providers={"cal": Calendar()})
        await fail(r, RateLimited(5.0, "rpd"))
        (await r.route("t")).settle()
        await fail(r, RateLimited(7.0, "rpd"))
        assert r.snapshot().models["a"].cooldown.left == 7.0

    virtual(main)


def test_a_daily_quota_without_a_hint_closes_until_the_reset(router: Any, virtual: Any) -> None:
    """Not for a backoff: the reset is known."""

    async def main() -> None:
        r = router([Model("a", provider="cal", limits=Limits(rpd=100))], providers={"cal": Calendar()})
        await fail(r, RateLimited(None, "rpd"))
        assert r.snapshot().models["a"].cooldown.until == WALL_MIDNIGHT

    virtual(main)


def test_a_quota_of_zero_never_reopens_by_itself(router: Any, virtual: Any) -> None:
    """Said once; only the operator opens it, and then with a probe."""

    async def main() -> None:
        seen: list[Any] = []
        r = router({"a": None, "b": None}, observers=[seen.append])
        first, second = await r.route("t"), await r.route("t")
        first.fail(RateLimited(20.0, "rpd", 0))
        second.fail(RateLimited(20.0, "rpd", 0))
        await asyncio.sleep(1e6)
        lease = await r.route("t")
        assert [(one.reason, one.retry_at) for one in lease.skipped] == [("no_quota", math.inf)]
        assert r.snapshot().models["a"].state == "closed"
        assert sum(isinstance(one, ev.Cooled) for one in seen) == 1
        r.reconfigure()
        assert (await r.route("t")).model.name == "a"
        assert (await r.route("t")).model.name == "b"  # only the probe

    virtual(main)


@pytest.mark.parametrize("error", [AuthError(), BillingError()])
def test_a_dead_key_closes_every_model_of_the_key(error: BaseException, router: Any, virtual: Any) -> None:
    """Of the same provider and key, and no other; told once; the router fails over."""

    async def main() -> None:
        seen: list[Any] = []
        models = [
            Model("a", provider="x", key="k1"),
            Model("b", provider="x", key="k2"),
            Model("c", provider="x", key="k1"),
            Model("d", provider="y", key="k1"),
            Model("e"),
        ]
        r = router(models, {"t": ["a", "c", "b", "d", "e"]}, observers=[seen.append])
        leases = [await r.route("t"), await r.route("t")]
        for lease in leases:
            lease.fail(error)
        states = {name: model.state for name, model in r.snapshot().models.items()}
        assert states == {"a": "closed", "b": "ready", "c": "closed", "d": "ready", "e": "ready"}
        assert (await r.route("t")).model.name == "b"
        refused = [one for one in seen if isinstance(one, ev.KeyRefused)]
        assert [(one.models, one.kind) for one in refused] == [(("a", "c"), error_kind(error))]

    virtual(main)


def error_kind(error: BaseException) -> str:
    """In the words of `Kind`."""
    return "auth" if isinstance(error, AuthError) else "billing"


def test_models_without_key_and_provider_stand_alone(router: Any, virtual: Any) -> None:
    """Nothing is known in common, so nothing is closed in common."""

    async def main() -> None:
        r = router({"a": None, "b": None})
        await fail(r, AuthError())
        assert r.snapshot().models["b"].state == "ready"

    virtual(main)


def test_a_model_that_is_gone_is_taken_out(router: Any, virtual: Any) -> None:
    """The rest goes on; it is told once; when nothing is left, everybody is told at once and for good."""

    async def main() -> None:
        seen: list[Any] = []
        r = router({"a": Limits(concurrency=2), "b": Limits(concurrency=1)}, observers=[seen.append])
        first, second, last = await r.route("t"), await r.route("t"), await r.route("t")
        waiting = asyncio.ensure_future(r.route("t").__aenter__())
        await asyncio.sleep(0)
        first.fail(ModelGone())
        second.fail(ModelGone())
        assert [one.model for one in seen if isinstance(one, ev.ModelRemoved)] == ["a"]
        assert not waiting.done()
        last.fail(ModelGone())
        with pytest.raises(NoCapacity) as caught:
            await waiting
        assert [(one.model, one.reason) for one in caught.value.reasons] == [("a", "gone"), ("b", "gone")]
        assert math.isinf(caught.value.retry_at)
        with pytest.raises(NoCapacity):
            await r.route("t")

    virtual(main)


def test_overload_teaches_nothing(router: Any, virtual: Any) -> None:
    """A short backoff for the model; its limits stay as they are."""

    async def main() -> None:
        r = router({"a": Limits(rpm=10, tpm=100)})
        for _ in range(5):
            lease = await r.route("t", tokens=5)
            lease.fail(Overloaded())
        model = r.snapshot().models["a"]
        assert [quota.capacity for quota in model.quotas.values()] == [10, 100]
        assert model.cooldown.left <= 30.0

    virtual(main)


def test_a_pool_that_is_named_cools_instead_of_the_model(router: Any, virtual: Any) -> None:
    """Every model that draws on it is closed; the others are not."""

    async def main() -> None:
        models = [Model("a", pools=("account",)), Model("b", pools=("account",)), Model("c")]
        r = router(models, {"t": ["a", "b", "c"]}, pools=[Pool("account", Limits(rpm=100))])
        await fail(r, RateLimited(9.0, "account.rpm"))
        now = r.snapshot()
        assert (now.pools["account"].state, now.models["a"].state) == ("cooling", "ready")
        lease = await r.route("t")
        assert lease.model.name == "c"
        assert [(one.model, one.reason) for one in lease.skipped] == [("a", "cooling"), ("b", "cooling")]

    virtual(main)


def test_a_pool_is_shared(router: Any, virtual: Any) -> None:
    """What one model takes, the other does not have; both are told by the pool's name."""

    async def main() -> None:
        models = [Model("a", pools=("account",)), Model("b", pools=("account",))]
        r = router(models, {"t": ["a"], "u": ["b"]}, pools=[Pool("account", Limits(rpm=2, concurrency=2))])
        await r.route("t")
        lease = await r.route("u")
        with pytest.raises(NoCapacity) as caught:
            r.route_nowait("t")
        assert caught.value.reasons[0].quota in ("account.rpm", "account.concurrency")
        lease.cancel()
        assert r.route_nowait("t").model.name == "a"

    virtual(main)


def test_a_share_of_a_pool_ends_with_its_lease_whatever_is_reconfigured(router: Any, virtual: Any) -> None:
    """The model left the pool while it was called: the pool's slot is free again all the same."""

    async def main() -> None:
        def models(*pools: str) -> list[Model]:
            return [Model("a", pools=pools), Model("b", pools=("p",))]

        r = router(models("p"), {"t": ["a"], "u": ["b"]}, pools=[Pool("p", Limits(concurrency=1))])
        lease = await r.route("t")
        r.reconfigure(models=models())
        lease.settle()
        assert r.snapshot().pools["p"].in_flight == 0
        assert (await r.route("u", timeout=0)).model.name == "b"

    virtual(main)


def test_reconfigure_keeps_what_was_spent(router: Any, virtual: Any) -> None:
    """A higher limit gives the difference, a lower one a debt, another refill starts from what was used."""

    async def main() -> None:
        r = router({"a": Limits(rpm=10)})
        for _ in range(6):
            (await r.route("t")).settle()
        for limits, left in (
            (Limits(rpm=20), 14),
            (Limits(rpm=5), -1),
            (Limits(rpm=10, refill="calendar"), 4),
            (Limits(rpm=10, tpm=7), 4),
        ):
            r.reconfigure(models=[Model("a", limits=limits)])
            assert r.snapshot().models["a"].quotas["rpm"].remaining == left, limits

    virtual(main)


@pytest.mark.parametrize("refill", ["continuous", "rolling", "calendar"])
def test_a_limit_set_to_zero_admits_nothing(refill: Any, router: Any, virtual: Any) -> None:
    """However often one asks."""

    async def main() -> None:
        r = router({"a": Limits(rpm=5, refill=refill)})
        (await r.route("t")).settle()
        r.reconfigure(models=[Model("a", limits=Limits(rpm=0, refill=refill))])
        for _ in range(3):
            with pytest.raises(RouterError):
                r.route_nowait("t")
        assert r.snapshot().models["a"].granted == 1

    virtual(main)


def test_a_daily_quota_keeps_its_reset_however_late_charges_are_told(router: Any, virtual: Any) -> None:
    """A call in the morning that nobody looked at until noon does not move midnight."""

    async def main() -> None:
        r = router({"a": Limits(rpd=Limit(100, refill="calendar", resets="00:00 UTC"))})
        (await r.route("t")).settle()
        await asyncio.sleep(WALL_MIDNIGHT + 10 * 3_600)
        (await r.route("t")).settle()
        await asyncio.sleep(2 * 3_600)
        assert r.snapshot().models["a"].quotas["rpd"].remaining == 99
        await asyncio.sleep(11.9 * 3_600)
        assert r.snapshot().models["a"].quotas["rpd"].remaining == 99
        await asyncio.sleep(0.1 * 3_600 + 1)
        assert r.snapshot().models["a"].quotas["rpd"].remaining == 100

    virtual(main)


# -- learning --------------------------------------------------------------------------------------------------------


def test_a_named_limit_is_taken(router: Any, virtual: Any) -> None:
    """It holds until the operator says otherwise, below the configured one only."""

    async def main() -> None:
        r = router({"a": Limits(rpm=60, tpm=500)})
        await fail(r, RateLimited(1.0, "rpm", 20, others=(("tpm", 9_000),)))
        quotas = r.snapshot().models["a"].quotas
        assert (quotas["rpm"].capacity, quotas["rpm"].configured, quotas["tpm"].capacity) == (20, 60, 500)
        r.reconfigure()  # the operator has nothing new to say about it
        assert r.snapshot().models["a"].quotas["rpm"].capacity == 20
        r.reconfigure(models=[Model("a", limits=Limits(rpm=50, tpm=500))])
        assert r.snapshot().models["a"].quotas["rpm"].capacity == 50

    virtual(main)


def test_a_model_that_stays_silent_cools(router: Any, virtual: Any) -> None:
    """The third call in a row without an answer; any answer in between starts the count anew."""

    async def main() -> None:
        r = router({"a": None, "b": None})
        for error in (ProviderTimeout(), ProviderTimeout(), BadResponse(), ProviderTimeout(), NotSent()):
            await fail(r, error)
            assert r.snapshot().models["a"].state == "ready"
        await fail(r, ProviderTimeout())
        assert r.snapshot().models["a"].state == "cooling"
        assert (await r.route("t")).model.name == "b"

    virtual(main)


def test_a_limit_nobody_configured_is_learned(router: Any, virtual: Any) -> None:
    """From then on it is kept like any other."""

    async def main() -> None:
        r = router({"a": Limits()})
        await fail(r, RateLimited(1.0, "rpm", 3))
        await asyncio.sleep(100)
        for _ in range(3):
            (await r.route("t")).settle()
            await asyncio.sleep(1)
        with pytest.raises(NoCapacity) as caught:
            r.route_nowait("t")
        assert caught.value.reasons[0].quota == "rpm"

    virtual(main)


def test_an_unexplained_rejection_cuts_and_grows_back(router: Any, virtual: Any) -> None:
    """Once an incident, to what was admitted; in some steps back to the configured limit, never above it."""

    async def main() -> list[float]:
        seen: list[Any] = []
        r = router({"a": Limits(rpm=100)}, observers=[seen.append])
        leases = [await r.route("t") for _ in range(50)]
        for lease in leases[40:]:
            lease.fail(RateLimited(55.0))
        learned = [(one.amount, one.burst) for one in seen if isinstance(one, ev.LimitLearned)]
        assert learned == [(49, 49)]  # what the first refusal shows; the others make it 40
        capacities = []
        for _ in range(25):
            await asyncio.sleep(61.0)
            for lease in [await r.route("t") for _ in range(int(capacities[-1] if capacities else 40))]:
                lease.settle()
            capacities.append(r.snapshot().models["a"].quotas["rpm"].capacity)
        return capacities

    capacities = virtual(main)
    assert capacities == sorted(capacities)
    assert capacities[0] == pytest.approx(42.0)
    assert capacities[4] == capacities[-1] == 100


def test_no_cut_gives_a_quota_up_for_lost(router: Any, virtual: Any) -> None:
    """However many incidents: a request still gets through when all is there."""

    async def main() -> None:
        r = router({"a": Limits(rpm=10, tpm=1_000)})
        for _ in range(60):
            await fail(r, RateLimited(), tokens=800)
        lease = await r.route("t", tokens=1_000)
        lease.settle()

    virtual(main)


def test_slow_start_lets_a_handful_through_first(router: Any, virtual: Any) -> None:
    """A fresh model has at most so many unanswered calls; the window widens, slowly, as they are accepted."""

    async def main() -> None:
        r = router({"a": None}, slow_start=4)
        held = [r.route_nowait("t") for _ in range(4)]
        with pytest.raises(NoCapacity) as caught:
            r.route_nowait("t")
        assert caught.value.reasons[0].reason == "slow_start"
        assert r.snapshot().models["a"].state == "slow_start"
        for lease in held:
            lease.settle()
        for _ in range(28):
            r.route_nowait("t").settle()
        for _ in range(5):
            r.route_nowait("t")
        with pytest.raises(NoCapacity):
            r.route_nowait("t")
        await asyncio.sleep(SLOW_ACCEPTED_AFTER)
        for _ in range(5):
            r.route_nowait("t")

    virtual(main)


def test_chance_is_an_argument(router: Any, virtual: Any) -> None:
    """The same seed, the same cooldowns."""

    async def main() -> list[float]:
        r, ends = router({"a": None}, rng=random.Random(5)), []
        for _ in range(6):
            await fail(r, RateLimited())
            ends.append(r.snapshot().models["a"].cooldown.until)
        return ends

    assert virtual(main) == virtual(main)


def test_states_are_named() -> None:
    """The words that snapshots and metrics use."""
    assert {state.value for state in State} == {"ready", "slow_start", "cooling", "probing", "closed"}
    assert Tier("t", ["a"]).patience == 0


@pytest.mark.parametrize("hint", [None, 0.05])
@pytest.mark.parametrize("takes", [0.1, 0.31, 1.0, 5.0])
def test_slow_refusals_are_no_success(virtual: Any, router: Any, takes: float, hint: float | None) -> None:
    """A service that refuses everything, however slowly, is tried ever more rarely: silence until then proves nothing.

    Found by the storm of a service that was out of its daily quota, unknown to the router, behind a slow network.
    """

    async def main() -> None:
        one, calls = router({"m": Limits(concurrency=50)}, slow_start=3), 0

        async def ask() -> None:
            nonlocal calls
            async for attempt in one.attempts("t", timeout=600.0):
                async with attempt:
                    calls += 1
                    await asyncio.sleep(takes)
                    raise RateLimited(retry_after=hint)

        outcomes = await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
        assert {type(each) for each in outcomes} == {RouteTimeout}
        assert calls <= 80

    virtual(main)
