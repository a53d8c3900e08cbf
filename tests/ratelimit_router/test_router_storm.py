"""Many at once: a hundred thousand in line, and services whose limits are lower than configured."""

import asyncio
import gc
import itertools
import random
import tracemalloc
from typing import Any

import pytest

from ratelimit_router import Limit, Limits, Overloaded, RateLimited
from ratelimit_router import events as ev
from ratelimit_router.dispatch import Dispatcher

CROWD = 100_000


async def crowd(r: Any, served: list[int], size: int) -> list["asyncio.Task[None]"]:
    """So many tasks, all in line."""

    async def ask(number: int) -> None:
        (await r.route("t")).settle()
        served.append(number)

    tasks = [asyncio.ensure_future(ask(number)) for number in range(size)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


@pytest.mark.timeout(300)
def test_a_hundred_thousand_waiters_drain_in_order(router: Any, virtual: Any, monkeypatch: Any) -> None:
    """Each is woken once; the timer fires once for each instant at which something is back, and no more."""
    firings = []
    drain_on_timer = Dispatcher._on_timer
    monkeypatch.setattr(Dispatcher, "_on_timer", lambda self: (firings.append(1), drain_on_timer(self)))

    async def main() -> list[int]:
        r, served = router({"a": Limits(rpm=10_000)}), []
        tasks = await crowd(r, served, CROWD)
        assert r.snapshot().tiers["t"].queued == CROWD - 10_000
        await asyncio.gather(*tasks)
        assert asyncio.get_running_loop().time() == 540.0
        assert r._dispatcher.queue.length == 0
        return served

    assert virtual(main) == list(range(CROWD))
    assert len(firings) == 9


@pytest.mark.timeout(300)
def test_half_of_them_going_away_leaves_nothing_behind(router: Any, virtual: Any) -> None:
    """Every other one is cancelled in line: the rest is served in order, lines and alarms are empty."""

    async def main() -> list[int]:
        r, served, size = router({"a": Limits(rpm=5_000)}), [], 40_000

        async def ask(number: int) -> None:
            (await r.route("t", timeout=1e6)).settle()
            served.append(number)

        tasks = [asyncio.ensure_future(ask(number)) for number in range(size)]
        await asyncio.sleep(1)
        for task in tasks[1::2]:
            task.cancel()
        await asyncio.sleep(1)
        queue = r._dispatcher.queue
        assert queue.length == (size - 5_000) // 2
        assert len(queue._alarms) <= 2 * queue.length + 65
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.length, queue.lines, queue.next_alarm()) == (0, {}, float("inf"))
        return served

    numbers = virtual(main)
    assert numbers == sorted(numbers)
    assert set(range(0, 40_000, 2)) <= set(numbers)


class Service:
    """Admits `rpm` requests in every rolling minute, whatever the router believes, and hints as told."""

    def __init__(self, rpm: int, hint: str, quota: str | None = None):
        self.rpm, self.hint, self.quota = rpm, hint, quota
        self.admitted: list[float] = []
        self.refused = 0
        self.rng = random.Random(3)

    async def call(self) -> None:
        await asyncio.sleep(0.125)  # exact in floats
        now = asyncio.get_running_loop().time()
        recent = [at for at in self.admitted[-self.rpm :] if at + 60.0 > now]
        if len(recent) >= self.rpm:
            self.refused += 1
            truth = recent[0] + 60.0 - now
            hints = {"right": truth, "short": truth / 3, "zero": 0.0, "wrong": 0.01, "missing": None}
            raise RateLimited(hints[self.hint], self.quota)
        self.admitted.append(now)
        await asyncio.sleep(self.rng.uniform(0.5, 4.0))


@pytest.mark.parametrize("hint", ["right", "short", "zero", "wrong", "missing"])
def test_a_storm_of_429s(hint: str, router: Any, virtual: Any) -> None:
    """The true limits are half of the configured ones: everybody is served, few rejections, one escalation each."""

    async def main() -> tuple[int, list[Any]]:
        seen: list[Any] = []
        services = {name: Service(rpm, hint) for name, rpm in (("a", 30), ("b", 60))}
        limits = {name: Limits(rpm=2 * service.rpm, concurrency=50) for name, service in services.items()}
        r = router(limits, observers=[seen.append], slow_start=16)

        async def job() -> None:
            await r.call("t", lambda model: services[model.name].call())

        await asyncio.gather(*(job() for _ in range(600)))
        assert asyncio.get_running_loop().time() < 3 * 600  # at best 400 s
        return sum(service.refused for service in services.values()), seen

    refused, seen = virtual(main)
    assert refused <= 600 // 5
    cooled = [one for one in seen if isinstance(one, ev.Cooled)]
    for model in ("a", "b"):
        strikes = [one.strikes for one in cooled if one.model == model]
        assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(strikes))


def test_right_limits_are_never_refused(router: Any, virtual: Any) -> None:
    """Configured as the service has them there is no rejection at all, and the service is used to the full."""

    async def main() -> float:
        service = Service(60, "right")
        r = router({"a": Limits(rpm=60, concurrency=100)}, slow_start=16, guard=0.0)

        async def job() -> None:
            await r.call("t", lambda model: service.call())

        await asyncio.gather(*(job() for _ in range(600)))
        assert service.refused == 0
        return asyncio.get_running_loop().time()

    assert virtual(main) < 550.0


def test_an_outage_costs_probes_not_a_herd(router: Any, virtual: Any) -> None:
    """Five minutes of 503: a handful of calls find out, everybody else waits and is served in the end."""

    async def main() -> tuple[int, float]:
        loop, failed = asyncio.get_running_loop(), []
        r = router({"a": Limits(rpm=Limit(6_000), concurrency=20)})

        async def call(model: Any) -> None:
            await asyncio.sleep(0.05)
            if 10 <= loop.time() < 310:
                failed.append(loop.time())
                raise Overloaded

        async def job(number: int) -> None:
            await asyncio.sleep(number / 10)
            await r.call("t", call)

        await asyncio.gather(*(job(number) for number in range(1_000)))
        return len(failed), loop.time()

    failed, ended = virtual(main)
    assert failed <= 80
    assert ended < 360


def test_a_waiter_takes_little_memory(router: Any, virtual: Any) -> None:
    """What `route` adds to a task that waits stays under 1.5 KB, and is gone when the task is."""

    async def main() -> None:
        r, size = router({"a": Limits(rpm=1)}), 2_000

        async def ask() -> None:
            await r.route("t")

        await ask()  # from now on everybody waits
        tracemalloc.start()
        tasks = [asyncio.ensure_future(ask()) for _ in range(size)]
        unstarted = tracemalloc.get_traced_memory()[0]
        await asyncio.sleep(0)
        assert r.snapshot().tiers["t"].queued == size
        assert tracemalloc.get_traced_memory()[0] - unstarted < 1_500 * size
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        del task, tasks
        await asyncio.sleep(0)  # the loop lets go of its last turn
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 200 * size
        tracemalloc.stop()

    virtual(main)
