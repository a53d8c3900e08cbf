"""Work in several processes at once, which begin together; and the loop that takes the time of a contestant."""

import asyncio
import multiprocessing
import os
import random
import statistics
import time
import traceback
from array import array
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from redis.asyncio import Redis

from benchmarks.stores.ours import Case, Steps

__all__ = ["Ready", "busy", "percentile", "served", "together", "turns"]

T = TypeVar("T")
Ready = Callable[[], None]
"""Wait until everybody is."""
_PROCESSES = multiprocessing.get_context("fork")  # what was imported is imported in all


def together(processes: int, work: Callable[[Ready], Coroutine[Any, Any, T]], patience: float = 120.0) -> list[T]:
    """What `work` returns in each of them."""
    barrier = _PROCESSES.Barrier(processes)

    def ready() -> None:
        barrier.wait(patience)

    pipes = [_PROCESSES.Pipe(duplex=False) for _ in range(processes)]
    children = [_PROCESSES.Process(target=_live, args=(work, ready, told)) for _, told in pipes]
    for child in children:
        child.start()
    try:
        results = []
        for hear, told in pipes:
            told.close()
            if not hear.poll(patience):
                raise TimeoutError("a process does not end")
            results.append(hear.recv())
    finally:
        for child in children:
            child.kill()
            child.join()
    return results


def _live(work: Callable[[Ready], Coroutine[Any, Any, Any]], ready: Ready, told: Connection) -> None:
    """In the child. It ends without waiting for the threads of anybody's limiter."""
    status = 1
    try:
        told.send(asyncio.run(work(ready)))
        status = 0
    except BaseException:  # noqa: BLE001 -- the parent misses the result
        traceback.print_exc()
    finally:
        os._exit(status)


async def turns(cases: Mapping[str, Case], place: str, rounds: int, times: int) -> dict[str, list["array[int]"]]:
    """For each case its rounds, each so many nanoseconds. They take turns; the first round of each does not count."""
    found: dict[str, list[array[int]]] = {name: [] for name in cases}
    async with AsyncExitStack() as stack:
        opened = {name: await stack.enter_async_context(case(place)) for name, case in cases.items()}
        for number in range(rounds + 1):
            for name, steps in opened.items():
                took = array("q")
                for _ in range(times):
                    took.append(await _once(steps))
                if number:
                    found[name].append(took)
    return found


async def served(cases: Mapping[str, Case], url: str, times: int) -> dict[str, float]:
    """Microseconds that the server itself works for an admission of each case: the median, by its own count."""
    found: dict[str, float] = {}
    async with Redis.from_url(url) as client:
        for name, case in cases.items():
            async with case(url) as steps:
                took = []
                for _ in range(times):
                    await client.config_resetstat()
                    await steps.timed()
                    told = await client.info("commandstats")
                    if steps.between is not None:
                        await steps.between()
                    commands = {key.removeprefix("cmdstat_"): row["usec"] for key, row in told.items()}
                    scripts = [commands[one] for one in ("evalsha", "fcall") if one in commands]
                    own = ("config|resetstat", "info")
                    took.append(sum(scripts or [usec for one, usec in commands.items() if one not in own]))
                found[name] = statistics.median(took)
    return found


async def busy(case: Case, place: str, seconds: float, ready: Ready, every: float = 0.0) -> tuple["array[int]", int]:
    """One after the other for so long: nanoseconds each, and how many failed since a database was locked.

    `every`: so many seconds apart on average, at random.
    """
    took, locked = array("q"), 0
    async with case(place) as steps:
        ready()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            if every:
                await asyncio.sleep(random.expovariate(1 / every))
            try:
                took.append(await _once(steps))
            except Exception as error:
                if "locked" not in str(error):
                    raise
                locked += 1
        ready()  # nobody leaves early, which would cost the others time
    return took, locked


async def _once(steps: Steps) -> int:
    start = time.perf_counter_ns()
    await steps.timed()
    took = time.perf_counter_ns() - start
    if steps.between is not None:
        await steps.between()
    return took


def percentile(values: Sequence[int], share: float) -> float:
    """Of nanoseconds, in microseconds."""
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1e3, 1)
