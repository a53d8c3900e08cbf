"""CPU for each grant out of a long line, beside aiolimiter, and the memory that a waiter takes. In virtual time.

Every case starts so many tasks at once that take 150 a minute between them: "one model" of 150 requests a minute, as
the `AsyncLimiter(150, 60)` beside it; "two models" in a chain, of 100 and of 50 requests and a million tokens. Each by
default (`rolling`: what was spent comes back in one piece, a minute later) and `continuous`, as aiolimiter refills: one
at a time, which takes a timer a grant. All run in the same loop, whose clock jumps to the next timer, so nobody sleeps,
and CPU is all that there is; it includes making the tasks and gathering them ("tasks alone": without any limit).

Printed for each case: microseconds a waiter (median of the rounds, in which the cases take turns), the ratio to
aiolimiter and to the shortest line, both round by round, and whether all were served in the order in which they came.

Memory is traced by `tracemalloc` while 20,000 wait: "whole" is all that a waiter takes, its task included; "task" is
what the same tasks take before their first step (less the loop's own entry for that step); "router" is the rest.
"""

import argparse
import asyncio
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

from aiolimiter import AsyncLimiter

from ratelimit_router import Limits, Model, Router, Tier
from ratelimit_router.simulation.virtual_time import run

MEMORY_WAITERS = 20_000
Work = Callable[[int], Coroutine[Any, Any, None]]
"""What the task of a number does: wait, and leave its number when it is served."""
Made = Callable[[list[int]], Work]
"""Makes a limiter, and the work that leaves its numbers in that list."""


def nothing(served: list[int]) -> Work:
    """Waits for nothing."""

    async def work(number: int) -> None:
        served.append(number)

    return work


def aiolimiter(served: list[int]) -> Work:
    """One bucket."""
    limiter = AsyncLimiter(150, 60)

    async def work(number: int) -> None:
        async with limiter:
            served.append(number)

    return work


def ours(models: int, refill: Any) -> Made:
    """A router of one model or of two."""

    def make(served: list[int]) -> Work:
        one = [Model("a", limits=Limits(rpm=150, refill=refill))]
        two = [
            Model("a", limits=Limits(rpm=100, refill=refill)),
            Model("b", limits=Limits(rpm=50, tpm=1_000_000, refill=refill)),
        ]
        chosen = one if models == 1 else two
        tier = Tier("hot", [model.name for model in chosen])
        router = Router(models=chosen, tiers=[tier], clock=asyncio.get_running_loop().time)

        async def work(number: int) -> None:
            async with router.route("hot", tokens=10):
                served.append(number)

        return work

    return make


CASES: dict[str, Made] = {
    "tasks alone": nothing,
    "aiolimiter": aiolimiter,
    "one model": ours(1, None),
    "two models": ours(2, None),
    "one model, continuous": ours(1, "continuous"),
    "two models, continuous": ours(2, "continuous"),
}


async def drain(make: Made, waiters: int) -> tuple[float, bool]:
    """Let so many wait until all are served. (Microseconds of CPU for each; in order)"""
    served: list[int] = []
    work = make(served)
    start = time.process_time()
    await asyncio.gather(*[asyncio.create_task(work(number)) for number in range(waiters)])
    return (time.process_time() - start) / waiters * 1e6, served == sorted(served)


def cpu(counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """A row for each case and length of line."""
    for make in CASES.values():
        run(drain(make, 1_000))  # imports and caches
    found: dict[tuple[str, int], list[tuple[float, bool]]] = {(name, n): [] for name in CASES for n in counts}
    for _ in range(rounds):
        for (name, waiters), results in found.items():
            gc.collect()
            results.append(run(drain(CASES[name], waiters)))

    def over(name: str, waiters: int, other: str, of: int) -> float:
        pairs = zip(found[name, waiters], found[other, of], strict=True)
        return round(statistics.median(mine[0] / its[0] for mine, its in pairs), 3)

    return [
        {
            "case": name,
            "waiters": waiters,
            "us": round(statistics.median(us for us, _ in results), 2),
            "over_aiolimiter": over(name, waiters, "aiolimiter", waiters),
            "over_shortest": over(name, waiters, name, min(counts)),
            "in_order": all(in_order for _, in_order in results),
        }
        for (name, waiters), results in found.items()
    ]


async def memory() -> dict[str, int]:
    """Bytes for each waiter."""
    loop, work = asyncio.get_running_loop(), ours(2, None)([])
    for number in range(150):
        await work(number)  # from now on everybody waits
    gc.collect()
    tracemalloc.start()
    entries = [loop.call_soon(gc.isenabled) for _ in range(MEMORY_WAITERS)]
    entry = tracemalloc.get_traced_memory()[0]
    await asyncio.sleep(0)
    del entries
    begin = tracemalloc.get_traced_memory()[0]
    tasks = [asyncio.create_task(work(number)) for number in range(MEMORY_WAITERS)]
    task = tracemalloc.get_traced_memory()[0] - begin - entry
    await asyncio.sleep(0)
    gc.collect()
    whole = tracemalloc.get_traced_memory()[0] - begin
    tracemalloc.stop()
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    per = {"whole": whole, "task": task, "router": whole - task}
    return {name: round(size / MEMORY_WAITERS) for name, size in per.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = {"cpu": cpu(options.waiters, options.rounds), "bytes_a_waiter": run(memory())}
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{'waiters':>8} {'us':>7} {'/ aiolimiter':>12} {'/ shortest':>10}  in order")
        for row in result["cpu"]:
            print(
                f"{row['waiters']:>8} {row['us']:>7.2f} {row['over_aiolimiter']:>12.2f} {row['over_shortest']:>10.2f}"
                f"  {row['in_order']!s:<8}  {row['case']}"
            )
        print("Bytes a waiter:", ", ".join(f"{name} {size}" for name, size in result["bytes_a_waiter"].items()))
