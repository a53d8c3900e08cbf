"""A process that carries on with its share while the shared store is away, and tells what it spent afterwards."""

import asyncio
from typing import Any

import pytest

from ratelimit_router import Limit, Limits, StoreUnavailable
from ratelimit_router.errors import ConfigError
from ratelimit_router.stores.local import LocalStore
from ratelimit_router.stores.outage import ShareOnOutage


class Pluggable(LocalStore):
    """A store that can be unplugged, however often it is wrapped."""

    unplugged = False

    def _book(self) -> Any:
        if self.unplugged:
            raise StoreUnavailable("test", "unplugged")
        return super()._book()


def clock() -> float:
    return 1_790_000_000.0 + asyncio.get_running_loop().time()


async def spend(router: Any, times: list[float], seconds: float = 0.1) -> None:
    async with router.route("t"):
        times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)


def test_a_share_is_spent_while_the_store_is_away_and_told_when_it_is_back(virtual: Any, router: Any) -> None:
    """Two of four processes spend 25 of 100 each; afterwards the store knows of all of it."""

    async def main() -> None:
        store = Pluggable(clock=clock)
        routers = [
            router({"m": Limits(rpm=100)}, store=ShareOnOutage(store, processes=4, clock=clock)) for _ in range(2)
        ]
        for one in routers:
            (await one.route("t")).settle()
        store.unplugged = True
        times: list[float] = []
        tasks = [asyncio.ensure_future(spend(one, times)) for one in routers for _ in range(40)]
        await asyncio.sleep(20.0)
        assert len(times) == 2 * 24  # the share is of all that the process has spent
        store.unplugged = False
        await asyncio.sleep(10.0)
        assert len(times) == 80  # now the whole quota is there for both
        (page,) = await store.look(["m"])
        assert sum(cost[0] for _, cost in page.charges) == 82
        assert page.running == 0
        await asyncio.gather(*tasks)
        for one in routers:
            await one.aclose()

    virtual(main)


def test_a_call_in_flight_over_the_whole_outage_is_charged_and_ended(virtual: Any, router: Any) -> None:
    """Granted alone, ended after the store is back: its place and its cost are right in the store."""

    async def main() -> None:
        store = Pluggable(clock=clock)
        one = router({"m": Limits(tpm=1_000, concurrency=4)}, store=ShareOnOutage(store, processes=2, clock=clock))
        before = await one.route("t", tokens=100)
        store.unplugged = True
        during = await one.route("t", tokens=100)
        await asyncio.sleep(1.0)
        before.settle(input_tokens=50, output_tokens=0)
        await asyncio.sleep(1.0)
        store.unplugged = False
        await asyncio.sleep(10.0)
        (page,) = await store.look(["m"])
        assert (page.running, sorted(cost[3] for _, cost in page.charges)) == (1, [50, 100])
        during.settle(input_tokens=70, output_tokens=0)
        await asyncio.sleep(0.1)
        (page,) = await store.look(["m"])
        assert (page.running, sorted(cost[3] for _, cost in page.charges)) == (0, [50, 70])
        await one.aclose()

    virtual(main)


def test_a_quota_smaller_than_the_number_of_processes_is_left_alone(virtual: Any, router: Any) -> None:
    """One call in flight cannot be shared by two: nobody calls until the store is back."""

    async def main() -> None:
        store = Pluggable(clock=clock)
        one = router({"m": Limits(concurrency=1)}, store=ShareOnOutage(store, processes=2, clock=clock))
        (await one.route("t")).settle()
        store.unplugged = True
        times: list[float] = []
        task = asyncio.ensure_future(spend(one, times))
        await asyncio.sleep(30.0)
        assert not times
        store.unplugged = False
        await task
        await one.aclose()

    virtual(main)


def test_an_outage_that_comes_back_while_debts_are_paid_loses_none(virtual: Any, router: Any) -> None:
    """The store fails again in the middle of being told: it is told again."""

    async def main() -> None:
        store = Pluggable(clock=clock)
        one = router({"m": Limits(rpm=Limit(40, per=600.0))}, store=ShareOnOutage(store, processes=1, clock=clock))
        (await one.route("t")).settle()
        times: list[float] = []
        for _ in range(5):
            store.unplugged = True
            await asyncio.gather(*(spend(one, times) for _ in range(3)))
            store.unplugged = False
            await asyncio.sleep(0.05)
        await asyncio.sleep(20.0)
        (page,) = await store.look(["m"])
        assert sum(cost[0] for _, cost in page.charges) == 16
        await one.aclose()

    virtual(main)


def test_fewer_than_one_process_makes_no_sense() -> None:
    """The error names the argument."""
    with pytest.raises(ConfigError, match="processes"):
        ShareOnOutage(LocalStore(), processes=0)


def test_meanwhile_a_place_that_becomes_free_is_taken_at_once(virtual: Any, router: Any) -> None:
    """Whoever waits is woken by the end of a call, store or not."""

    async def main() -> None:
        store = Pluggable(clock=clock)
        one = router({"m": Limits(concurrency=2)}, store=ShareOnOutage(store, processes=2, clock=clock))
        (await one.route("t")).settle()
        await asyncio.sleep(0.1)
        store.unplugged = True
        times: list[float] = []
        await asyncio.gather(*(spend(one, times, seconds=1.0) for _ in range(3)))
        assert times == pytest.approx([0.1, 1.1, 2.1], abs=0.05)
        await one.aclose()

    virtual(main)


def test_meanwhile_a_long_call_keeps_its_place(virtual: Any, router: Any) -> None:
    """Leases in flight are renewed among those who carry on alone, too, and in the store when it is back."""

    async def main() -> None:
        store = Pluggable(clock=clock)
        one = router({"m": Limits(concurrency=1)}, store=ShareOnOutage(store, processes=1, clock=clock))
        lease = await one.route("t")
        store.unplugged = True
        times: list[float] = []
        waits = asyncio.ensure_future(spend(one, times))
        await asyncio.sleep(100.0)
        store.unplugged = False
        await asyncio.sleep(30.0)
        assert not times
        lease.settle()
        await waits
        await one.aclose()

    virtual(main)


def test_what_the_store_granted_before_its_answer_was_lost_is_not_lost(virtual: Any, router: Any) -> None:
    """A booking that nobody has heard of, and one that was given up meanwhile, are told to the store as such."""

    class Lossy(Pluggable):
        loses = False

        async def admit(self, ask: Any) -> Any:
            answer = await super().admit(ask)
            if self.loses:
                self.loses, self.unplugged = False, True
                raise StoreUnavailable("test", "the answer is lost")
            return answer

    async def main() -> None:
        store = Lossy(clock=clock)
        one = router({"m": Limits(rpm=2)}, store=ShareOnOutage(store, processes=2, clock=clock))
        (await one.route("t")).settle()
        await asyncio.sleep(0.1)
        store.loses = True
        waits = asyncio.ensure_future(one.route("t").__aenter__())  # granted there; here the share is used up
        await asyncio.sleep(0.1)
        assert not waits.done()
        waits.cancel()
        await asyncio.sleep(0.1)
        store.unplugged = False
        await asyncio.sleep(10.0)
        (page,) = await store.look(["m"])
        assert (page.running, len(page.charges)) == (0, 1)
        await one.aclose()

    virtual(main)
