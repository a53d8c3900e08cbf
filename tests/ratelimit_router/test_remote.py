"""Routers that share one store: together they are as good as one, and never spend more than one could."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from ratelimit_router import (
    AuthError,
    ConfigError,
    Limit,
    Limits,
    NoCapacity,
    Overloaded,
    RateLimited,
    RouterClosed,
    RouteTimeout,
    StoreUnavailable,
    Tier,
)
from ratelimit_router.stores.local import LocalStore
from ratelimit_router.stores.terms import Answer, Ask, End

LATENCY = 0.001


class Counted(LocalStore):
    """A store that takes a while to answer, counts what it is asked, and can be unplugged."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: Counter[str] = Counter()
        self.grants = 0
        self.unplugged = False

    async def admit(self, ask: Ask) -> Answer:
        await self._travel("admit")
        answer = await super().admit(ask)
        self.grants += len(answer.grants)
        await asyncio.sleep(LATENCY / 2)
        return answer

    async def end(self, ends: Any) -> None:
        await self._travel("end")
        await super().end(ends)

    async def _travel(self, what: str) -> None:
        self.asked[what] += 1
        await asyncio.sleep(LATENCY / 2)
        if self.unplugged:
            raise StoreUnavailable("test", "unplugged")


def shared(router: Any, store: Any, count: int, models: Any, chains: Any = None, **options: Any) -> list[Any]:
    return [router(models, chains, store=store, **options) for _ in range(count)]


def store_now(kind: type[LocalStore] = Counted) -> Any:
    loop = asyncio.get_running_loop()
    return kind(clock=lambda: 1_790_000_000.0 + loop.time())


async def call(router: Any, calls: list[tuple[float, str]], tier: str = "t", seconds: float = 1.0, **how: Any) -> None:
    loop = asyncio.get_running_loop()
    async with router.route(tier, **how) as lease:
        calls.append((loop.time(), lease.model.name))
        await asyncio.sleep(seconds)


def most_in(calls: list[tuple[float, str]], period: float) -> int:
    instants = sorted(at for at, _ in calls)
    return max(sum(at - period + 1e-6 < one <= at for one in instants) for at in instants)


async def close(routers: list[Any]) -> None:
    for one in routers:
        await one.aclose()


def test_eight_routers_use_one_quota_whole_and_never_more(virtual: Any, router: Any) -> None:
    """400 calls through eight routers end when 400 calls through one would, one ask a grant."""

    async def main() -> None:
        store, calls = store_now(), []
        routers = shared(router, store, 8, {"m": Limits(rpm=Limit(60, per=6.0))})
        await asyncio.gather(*(call(one, calls) for one in routers for _ in range(50)))
        loop = asyncio.get_running_loop()
        assert len(calls) == 400
        assert most_in(calls, 6.0) == 60
        assert loop.time() == pytest.approx(6 * 6.0 + 1.0, abs=0.05)
        assert store.asked["admit"] <= 1.2 * store.grants
        assert store.grants == 400
        await close(routers)

    virtual(main)


def test_calls_in_flight_are_limited_over_all_routers(virtual: Any, router: Any) -> None:
    """A place that becomes free is offered to one waiter, wherever it waits, and at once."""

    async def main() -> None:
        store, calls = store_now(), []
        routers = shared(router, store, 4, {"m": Limits(concurrency=3)})
        await asyncio.gather(*(call(one, calls) for one in routers for _ in range(9)))
        loop = asyncio.get_running_loop()
        assert most_in(calls, 1.0) <= 3
        assert loop.time() == pytest.approx(12.0, abs=0.2)
        assert store.asked["admit"] <= 2.5 * 36
        await close(routers)

    virtual(main)


def test_the_first_step_with_room_wins_and_says_why_an_earlier_one_did_not(virtual: Any, router: Any) -> None:
    """Another router has used up the first model: the lease is on the second, with the reason and the instant."""

    async def main() -> None:
        store = store_now()
        one, other = shared(router, store, 2, {"a": Limits(rpm=2), "b": Limits(rpm=5)})
        for _ in range(2):
            (await one.route("t")).settle()
        lease = await other.route("t")
        assert lease.model.name == "b"
        assert [(each.model, each.reason, each.quota) for each in lease.skipped] == [("a", "quota", "rpm")]
        assert lease.skipped[0].retry_at == pytest.approx(60.0, abs=0.05)
        lease.settle()
        await close([one, other])

    virtual(main)


def test_what_a_call_did_not_use_is_there_for_another_router(virtual: Any, router: Any) -> None:
    """A refund in one process lets a waiter of another go before its booking."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        one, other = shared(router, store, 2, {"m": Limits(tpm=1_000)})
        lease = await one.route("t", tokens=900)
        waits = asyncio.ensure_future(other.route("t", tokens=500).__aenter__())
        await asyncio.sleep(1.0)
        assert not waits.done()
        lease.settle(input_tokens=100, output_tokens=0)
        (await waits).settle()
        assert loop.time() == pytest.approx(1.0, abs=0.02)
        await close([one, other])

    virtual(main)


def test_a_cooldown_reaches_the_other_routers(virtual: Any, router: Any) -> None:
    """Within 100 ms of a rejection in one process no other one calls that model, and both say why."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        one, other = shared(router, store, 2, {"a": Limits(rpm=100), "b": Limits(rpm=100)})
        (await other.route("t")).settle()
        lease = await one.route("t")
        lease.fail(RateLimited(retry_after=20.0, quota="rpm"))
        await asyncio.sleep(0.1)
        assert other.snapshot().models["a"].state == "cooling"
        theirs = await other.route("t")
        assert theirs.model.name == "b"
        theirs.settle()
        only_a = await other.route(["a"])
        assert loop.time() == pytest.approx(20.0, abs=0.1)
        only_a.settle()
        await close([one, other])

    virtual(main)


def test_one_probe_for_all_routers(virtual: Any, router: Any) -> None:
    """After an overload one call of all processes is let through; the others wait for its verdict."""

    async def main() -> None:
        store, calls, loop = store_now(), [], asyncio.get_running_loop()
        routers = shared(router, store, 3, {"m": Limits(rpm=1_000)})
        lease = await routers[0].route("t")
        lease.fail(Overloaded(retry_after=5.0))
        await asyncio.gather(*(call(one, calls, seconds=2.0) for one in routers for _ in range(2)))
        instants = sorted(at for at, _ in calls)
        assert instants[0] == pytest.approx(5.0, abs=0.1)
        assert instants[1] >= instants[0] + 2.0
        assert loop.time() < 12.0
        await close(routers)

    virtual(main)


def test_a_learned_limit_is_known_to_all(virtual: Any, router: Any) -> None:
    """The service names its limit to one process; the others keep to it without a rejection of their own."""

    async def main() -> None:
        store = store_now()
        one, other = shared(router, store, 2, {"m": Limits(rpm=60)})
        (await other.route("t")).settle()
        lease = await one.route("t")
        lease.fail(RateLimited(retry_after=1.0, quota="rpm", limit=20))
        await asyncio.sleep(0.1)
        assert other.snapshot().models["m"].quotas["rpm"].capacity == 20
        await close([one, other])

    virtual(main)


def test_a_deadline_is_kept_with_the_reasons(virtual: Any, router: Any) -> None:
    """Whoever cannot be served in time is told so, with what stands in the way; nothing stays charged."""

    async def main() -> None:
        store = store_now()
        one, other = shared(router, store, 2, {"m": Limits(rpm=1)})
        (await one.route("t")).settle()
        with pytest.raises(NoCapacity) as refusal:
            await other.route("t", timeout=5.0)
        assert isinstance(refusal.value, RouteTimeout)
        assert [each.reason for each in refusal.value.reasons] == ["quota"]
        await asyncio.sleep(60.0)
        assert (await other.route("t", timeout=0.0)).model.name == "m"
        await close([one, other])

    virtual(main)


def test_a_timeout_of_zero_takes_what_is_free(virtual: Any, router: Any) -> None:
    """The answer of the store is awaited, however little time there is."""

    async def main() -> None:
        (one,) = shared(router, store_now(), 1, {"m": Limits(rpm=1)})
        (await one.route("t", timeout=0)).settle()
        with pytest.raises(RouteTimeout):
            await one.route("t", timeout=0)
        await close([one])

    virtual(main)


def test_a_waiter_that_is_cancelled_leaves_its_place_to_others(virtual: Any, router: Any) -> None:
    """Its booking is given back: the next in line of another router has it."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        one, other = shared(router, store, 2, {"m": Limits(rpm=1)})
        (await one.route("t")).settle()
        first = asyncio.ensure_future(one.route("t").__aenter__())
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(other.route("t").__aenter__())
        await asyncio.sleep(0.1)
        first.cancel()
        (await second).settle()
        assert loop.time() == pytest.approx(60.0, abs=0.1)
        await close([one, other])

    virtual(main)


def test_a_cancelled_ask_is_not_lost(virtual: Any, router: Any) -> None:
    """Cancelled while the store is being asked: what it grants is given back."""

    async def main() -> None:
        (one,) = shared(router, store_now(), 1, {"m": Limits(rpm=1)})
        asking = asyncio.ensure_future(one.route("t").__aenter__())
        await asyncio.sleep(LATENCY / 4)
        asking.cancel()
        await asyncio.sleep(0.1)
        (await one.route("t", timeout=0)).settle()
        await close([one])

    virtual(main)


def test_without_the_store_nothing_is_spent(virtual: Any, router: Any) -> None:
    """Until the deadline the store is waited for; then the error says that it is the store. It goes on afterwards."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        (one,) = shared(router, store, 1, {"m": Limits(rpm=10)})
        (await one.route("t")).settle()
        store.unplugged = True
        with pytest.raises(StoreUnavailable):
            await one.route("t", timeout=3.0)
        assert loop.time() == pytest.approx(3.0, abs=0.1)
        patient = asyncio.ensure_future(one.route("t").__aenter__())
        await asyncio.sleep(10.0)
        assert store.asked["admit"] < 40
        store.unplugged = False
        (await patient).settle()
        assert loop.time() < 16.0
        await close([one])

    virtual(main)


def test_calls_that_ended_while_the_store_was_away_are_told_later(virtual: Any, router: Any) -> None:
    """The end of a call is not lost: its place is free when the store is back."""

    async def main() -> None:
        store = store_now()
        (one,) = shared(router, store, 1, {"m": Limits(concurrency=1)})
        lease = await one.route("t")
        store.unplugged = True
        lease.settle()
        await asyncio.sleep(5.0)
        store.unplugged = False
        await asyncio.sleep(3.0)
        (await one.route("t", timeout=0)).settle()
        await close([one])

    virtual(main)


def test_a_long_call_keeps_its_place_and_a_dead_router_loses_its_own(virtual: Any, router: Any) -> None:
    """Leases in flight are renewed; those of a process that is gone expire within their time."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        one, other = shared(router, store, 2, {"m": Limits(concurrency=1)})
        lease = await one.route("t")
        with pytest.raises(RouteTimeout):
            await other.route("t", timeout=100.0)
        lease.settle()
        await asyncio.sleep(0.1)
        dead = await other.route("t")
        other._dispatcher.remote._mail.closed = True  # as if it had been killed: it renews nothing any more
        died = loop.time()
        (await one.route("t")).settle()
        assert loop.time() - died <= 36.0
        assert dead.model.name == "m"
        await close([one])

    virtual(main)


def test_weights_hold_across_tiers(virtual: Any, router: Any) -> None:
    """Of two tiers that wait for one model the heavier is served three times as often."""

    async def main() -> None:
        store, calls = store_now(), []
        tiers = [Tier("hot", ["m"], weight=3.0), Tier("bulk", ["m"])]
        (one,) = shared(router, store, 1, {"m": Limits(rpm=Limit(10, per=1.0, refill="continuous", burst=1))}, tiers)
        served: list[str] = []

        async def ask(tier: str) -> None:
            await call(one, calls, tier, seconds=0.0)
            served.append(tier)

        await asyncio.gather(*(ask(tier) for tier in ("hot", "bulk") for _ in range(40)))
        assert 27 <= served[:40].count("hot") <= 33
        await close([one])

    virtual(main)


def test_patience_keeps_to_the_first_step_until_it_ends(virtual: Any, router: Any) -> None:
    """A tier that would rather wait three seconds does, and falls to the next step then."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        tiers = [Tier("t", ["a", "b"], patience=3.0)]
        (one,) = shared(router, store, 1, {"a": Limits(rpm=Limit(1, per=5.0)), "b": Limits(rpm=10)}, tiers)
        (await one.route("t")).settle()
        lease = await one.route("t")
        assert (lease.model.name, loop.time()) == ("b", pytest.approx(0.0, abs=0.01))  # it would have to wait five
        lease.settle()
        await asyncio.sleep(3.0)
        lease = await one.route("t")
        assert (lease.model.name, loop.time()) == ("a", pytest.approx(5.0, abs=0.02))
        lease.settle()
        await close([one])

    virtual(main)


def test_a_changed_configuration_is_asked_for_anew(virtual: Any, router: Any) -> None:
    """Whoever waits goes on under the new limits; nothing that was booked is lost."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        (one,) = shared(router, store, 1, {"m": Limits(rpm=1)})
        (await one.route("t")).settle()
        waits = asyncio.ensure_future(one.route("t").__aenter__())
        await asyncio.sleep(1.0)
        from ratelimit_router import Model

        one.reconfigure(models=[Model("m", limits=Limits(rpm=3))])
        (await waits).settle()
        assert loop.time() == pytest.approx(1.0, abs=0.1)
        await close([one])

    virtual(main)


def test_a_call_at_once_without_waiting_is_not_to_be_had(virtual: Any, router: Any) -> None:
    """`route_nowait` says what to write instead."""

    async def main() -> None:
        (one,) = shared(router, store_now(), 1, {"m": Limits(rpm=1)})
        with pytest.raises(ValueError, match="timeout=0"):
            one.route_nowait("t")
        await close([one])

    virtual(main)


def test_closing_gives_back_what_was_booked(virtual: Any, router: Any) -> None:
    """A router that is closed leaves its place in line to the others."""

    async def main() -> None:
        store, loop = store_now(), asyncio.get_running_loop()
        one, other = shared(router, store, 2, {"m": Limits(rpm=1)})
        (await one.route("t")).settle()
        waits = asyncio.ensure_future(one.route("t").__aenter__())
        await asyncio.sleep(1.0)
        await one.aclose()
        assert isinstance(waits.exception(), Exception)
        (await other.route("t")).settle()
        assert loop.time() == pytest.approx(60.0, abs=0.1)
        await other.aclose()

    virtual(main)


def test_what_is_lost_is_told_again(virtual: Any, router: Any) -> None:
    """A store that has forgotten everything is told what was spent, and what is still in flight."""

    async def main() -> None:
        store = store_now()
        (one,) = shared(router, store, 1, {"m": Limits(rpm=3, concurrency=2)})
        (await one.route("t")).settle()
        lease = await one.route("t")
        await asyncio.sleep(0.1)
        fresh = store_now()
        store._pages = fresh._pages
        from ratelimit_router.stores.terms import Change

        for heard in store._listeners:
            heard(Change(anew=True))
        await asyncio.sleep(0.1)
        (page,) = await store.look(["m"])
        assert page.running == 1
        assert len(page.charges) == 2
        await store.end([End(lease="unknown")])
        lease.settle()
        await close([one])

    virtual(main)


@pytest.mark.parametrize("tenths", range(0, 50, 5))
def test_a_booking_whose_time_comes_while_the_store_is_asked_for_a_better_one(
    virtual: Any, router: Any, tenths: int
) -> None:
    """It is not lost: whoever was to have it gets it, or the next in line does."""

    async def main() -> None:
        store, calls = store_now(), []
        limits = {"a": Limits(rpm=Limit(1, per=6.0)), "b": Limits(concurrency=1)}
        (one,) = shared(router, store, 1, limits)
        ends = 6.0 - tenths / 1e4  # b is free, and asked for, just when a is
        callers = [asyncio.create_task(call(one, calls, seconds=seconds)) for seconds in (0.0, ends, 9.0, 9.0)]
        await asyncio.sleep(6.1)
        assert [name for _, name in calls].count("a") == 2
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await close([one])

    virtual(main)


def test_a_store_that_cannot_be_used_is_an_error_for_whoever_asks(virtual: Any, router: Any) -> None:
    """A foreign file, another version: `route` raises it, at once and every time, and closing works."""

    class Foreign(Counted):
        async def open(self, heard: Any) -> None:
            raise ConfigError("is not ours", key="store")

    async def main() -> None:
        (one,) = shared(router, store_now(Foreign), 1, {"m": Limits(rpm=1)})
        for _ in range(2):
            with pytest.raises(ConfigError, match="is not ours"):
                await one.route("t")
        await close([one])

    virtual(main)


def test_closing_while_the_store_is_asked_leaves_nothing_charged(virtual: Any, router: Any) -> None:
    """What is granted to a router that is being closed is given back, and what has ended is told."""

    async def main() -> None:
        store = store_now()
        one, other = shared(router, store, 2, {"m": Limits(rpm=2, concurrency=2)})
        lease = await one.route("t")
        asking = asyncio.ensure_future(one.route("t").__aenter__())
        lease.settle()
        await asyncio.sleep(LATENCY / 4)
        await one.aclose()
        with pytest.raises(RouterClosed):
            await asking
        (await other.route("t", timeout=0)).settle()
        (page,) = await store.look(["m"])
        assert (page.running, len(page.charges)) == (1, 2)
        await close([other])

    virtual(main)


def test_a_smaller_request_does_not_wait_for_the_booking_of_one_that_left(virtual: Any, router: Any) -> None:
    """The large head is cancelled while booked: whoever is next asks for what it needs itself."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        (one,) = shared(router, store_now(), 1, {"m": Limits(tpm=1_000)})
        (await one.route("t", tokens=500)).settle()
        large = asyncio.ensure_future(one.route("t", tokens=900).__aenter__())
        small = asyncio.ensure_future(one.route("t", tokens=100).__aenter__())
        await asyncio.sleep(1.0)
        assert not small.done()
        large.cancel()
        (await small).settle()
        assert loop.time() == pytest.approx(1.0, abs=0.01)
        await close([one])

    virtual(main)


def test_what_ended_is_told_although_a_calendar_window_turned_over(virtual: Any, router: Any) -> None:
    """An ask that comes too late for its window has no effect: what rode along with it is told again."""

    async def main() -> None:
        loop, start = asyncio.get_running_loop(), 1_790_000_000.0
        store = store_now()
        (one,) = shared(router, store, 1, {"m": Limits(rpm=Limit(5, refill="calendar"), concurrency=1)})
        lease = await one.route("t")
        await asyncio.sleep(60.0 - start % 60.0 - loop.time() - LATENCY / 4)
        lease.settle()
        (await one.route("t", timeout=1.0)).settle()
        await close([one])

    virtual(main)


def test_an_incident_counts_once_where_it_happened_and_elsewhere(virtual: Any, router: Any) -> None:
    """What a router has reported itself is no news to it; who has never asked believes the instant all the same."""

    async def main() -> None:
        store = store_now()
        one, other = shared(router, store, 2, {"m": Limits(rpm=100)})
        await other._dispatcher.remote._mail.insist(lambda: store.look(["m"]))  # it listens, and has asked nothing
        (await one.route("t")).fail(RateLimited(retry_after=5.0, quota="rpm"))
        await asyncio.sleep(0.1)
        for each in (one, other):
            cooldown = each._dispatcher.accounts["m"].cooldown
            assert (cooldown.strikes, cooldown.epoch) == (1, 1)
            assert cooldown.until == pytest.approx(5.0, abs=0.01)
        await close([one, other])

    virtual(main)


def test_a_key_that_is_tried_again_in_one_process_is_tried_again_in_all(virtual: Any, router: Any) -> None:
    """Closed by a refused key, opened by `reconfigure` of one router."""

    async def main() -> None:
        store = store_now()
        one, other = shared(router, store, 2, {"m": Limits(rpm=100)})
        (await other.route("t")).settle()
        (await one.route("t")).fail(AuthError())
        await asyncio.sleep(0.1)
        assert other.snapshot().models["m"].state == "closed"
        one.reconfigure()
        await asyncio.sleep(0.1)
        (await other.route("t", timeout=1.0)).settle()
        await close([one, other])

    virtual(main)


def test_what_cannot_be_in_time_is_refused_at_once(virtual: Any, router: Any) -> None:
    """Others have used up the quota: as soon as the store has said so, not when the deadline has passed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = shared(router, store_now(), 2, {"m": Limits(rpm=1)})
        (await one.route("t")).settle()
        with pytest.raises(RouteTimeout):
            await other.route("t", timeout=30.0)
        assert loop.time() < 0.1
        await close([one, other])

    virtual(main)


@pytest.mark.parametrize(
    ("limits", "tiers", "most"),
    [
        (Limits(rpm=Limit(60, per=6.0)), ["t"], 0.5),
        (Limits(concurrency=20), ["t"], 1.2),
        (Limits(rpm=Limit(60, per=6.0)), ["t", "u"], 1.0),
        (Limits(concurrency=20), ["t", "u"], 1.2),
    ],
)
def test_few_asks_a_grant(virtual: Any, router: Any, limits: Limits, tiers: list[str], most: float) -> None:
    """Eight routers with fifty waiters each, in one tier or in two that compete."""

    async def main() -> None:
        store, calls = store_now(), []
        chains = [Tier(name, ["m"], weight=index + 1.0) for index, name in enumerate(tiers)]
        routers = shared(router, store, 8, {"m": limits}, chains)
        await asyncio.gather(*(call(one, calls, tiers[i % len(tiers)]) for one in routers for i in range(50)))
        assert store.asked["admit"] <= most * len(calls)
        await close(routers)

    virtual(main)


def test_closing_does_not_wait_for_a_store_that_is_away(virtual: Any, router: Any) -> None:
    """Before it was ever reached, while it is asked again and again, and twice."""

    async def main() -> None:
        loop, store = asyncio.get_running_loop(), store_now()
        store.unplugged = True
        for seconds in (0.0, 20.0):
            (one,) = shared(router, store, 1, {"m": Limits(rpm=1)})
            asking = asyncio.ensure_future(one.route("t").__aenter__())
            await asyncio.sleep(seconds)
            start = loop.time()
            await one.aclose()
            await one.aclose()
            assert loop.time() - start < 0.01
            with pytest.raises(RouterClosed):
                await asking
        assert len(asyncio.all_tasks()) == 1

    virtual(main)


def test_a_limit_learned_below_one_call_a_period_lets_one_through_in_time(virtual: Any, router: Any) -> None:
    """Half a call in six seconds is one in twelve, not none."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        (one,) = shared(router, store_now(), 1, {"m": Limits(rpm=Limit(2, per=6.0, refill="continuous"))})
        account = one._dispatcher.accounts["m"]
        meter = account.meters["rpm"]
        account.teach(meter, replace(meter.learned, rate=0.25, burst=0.25), loop.time())
        for _ in range(2):
            (await one.route("t")).settle()
        assert loop.time() == pytest.approx(12.0, abs=0.1)
        await close([one])

    virtual(main)
