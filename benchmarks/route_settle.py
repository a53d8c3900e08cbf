"""`route` + `settle` on the memory store beside one `acquire` of aiolimiter, in turns in one run.

Four models in the chain; RPM, TPM, RPD and concurrency each; metrics on. Prints nanoseconds and the ratio; every round
measures both sides, so that a machine that slows down slows both. Limits are wide enough that nothing ever waits.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

from aiolimiter import AsyncLimiter
from prometheus_client import CollectorRegistry

from ratelimit_router import Limits, Model, Router, Tier
from ratelimit_router.observers.prometheus import PrometheusMetrics

WIDE = 1_000_000_000


def make_router(refill: str | None) -> Router:
    """Four models of four dimensions each, with metrics."""
    limits = Limits(rpm=WIDE, tpm=WIDE * 100, rpd=WIDE, concurrency=1000, refill=refill)  # type: ignore[arg-type]
    names = ["a", "b", "c", "d"]
    router = Router(models=[Model(name, limits=limits) for name in names], tiers=[Tier("hot", names)])
    PrometheusMetrics(router, registry=CollectorRegistry())
    return router


async def measure(once: Callable[[], Awaitable[None]], times: int) -> float:
    """Nanoseconds for one."""
    start = time.perf_counter()
    await once()
    return (time.perf_counter() - start) / times * 1e9


async def main(rounds: int, times: int, refill: str | None) -> dict[str, float]:
    """The medians of both sides, and of the ratio round by round."""
    limiter = AsyncLimiter(WIDE, 60)

    async def acquire() -> None:
        for _ in range(times):
            await limiter.acquire()

    router = make_router(refill)

    async def route() -> None:
        for _ in range(times):
            lease = await router.route("hot", tokens=1000)
            lease.settle(input_tokens=900, output_tokens=100)

    await route()  # out of slow start, as a router is that has served its first calls
    found: dict[str, list[float]] = {"aiolimiter": [], "router": [], "ratio": []}
    for _ in range(rounds):
        found["aiolimiter"].append(await measure(acquire, times))
        found["router"].append(await measure(route, times))
        found["ratio"].append(found["router"][-1] / found["aiolimiter"][-1])
    return {name: round(statistics.median(values), 3) for name, values in found.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--times", type=int, default=1_000)
    parser.add_argument("--refill", choices=["continuous", "rolling", "calendar"], help="default: rolling")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = asyncio.run(main(options.rounds, options.times, options.refill))
    if options.json:
        print(json.dumps(result))
    else:
        print(f"aiolimiter acquire   {result['aiolimiter']:8.0f} ns")
        print(f"route + settle       {result['router']:8.0f} ns")
        print(f"ratio                {result['ratio']:8.2f}")
