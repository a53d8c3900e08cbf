"""`route` + `settle` on the memory store beside one `acquire` of each limiter that is installed, in turns in one run.

Ours: four models in the chain; requests and tokens a minute, requests a day and concurrency each; Prometheus metrics
on. Theirs: one limit of requests a minute, in memory, each in the fastest of its forms that we found. Every limit is so
wide that nothing ever waits. Every round measures all of them, so that a machine that slows down slows all. Printed are
the medians of nanoseconds, and of the ratios to aiolimiter round by round; the garbage collector runs as it does in
life.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec

from aiolimiter import AsyncLimiter
from prometheus_client import CollectorRegistry

from ratelimit_router import Limits, Model, Router, Tier
from ratelimit_router.observers.prometheus import PrometheusMetrics

WIDE = 1_000_000_000
Case = Callable[[int], Awaitable[None]]
"""Does its thing so many times."""


def make_router(refill: str | None) -> Router:
    """Four models of four dimensions each, with metrics."""
    limits = Limits(rpm=WIDE, tpm=WIDE * 100, rpd=WIDE, concurrency=1000, refill=refill)  # type: ignore[arg-type]
    names = ["a", "b", "c", "d"]
    models = [Model(name, limits=limits) for name in names]
    router = Router(models=models, tiers=[Tier("hot", names)], slow_start=None)  # the first ten seconds are over
    PrometheusMetrics(router, registry=CollectorRegistry())
    return router


def ours(refill: str | None) -> Case:
    """A router whose quotas come back in one of the three ways."""
    router = make_router(refill)

    async def route(times: int) -> None:
        for _ in range(times):
            lease = await router.route("hot", tokens=1000)
            lease.settle(input_tokens=900, output_tokens=100)

    return route


def with_aiolimiter() -> Case:
    """Its only form."""
    limiter = AsyncLimiter(WIDE, 60)

    async def acquire(times: int) -> None:
        for _ in range(times):
            await limiter.acquire()

    return acquire


def with_limits() -> Case:
    """A fixed window, synchronous: faster than its asyncio form and its other strategies."""
    from limits import RateLimitItemPerMinute
    from limits.storage import MemoryStorage
    from limits.strategies import FixedWindowRateLimiter

    limiter, item = FixedWindowRateLimiter(MemoryStorage()), RateLimitItemPerMinute(WIDE)

    async def hit(times: int) -> None:
        for _ in range(times):
            limiter.hit(item, "hot")

    return hit


def with_pyrate_limiter() -> Case:
    """GCRA with constant state, synchronous."""
    from pyrate_limiter import Duration, Limiter, Rate, StateBucket

    limiter = Limiter(StateBucket([Rate(WIDE, Duration.MINUTE)]))

    async def acquire(times: int) -> None:
        for _ in range(times):
            limiter.try_acquire("hot", blocking=False)

    return acquire


def with_throttled() -> Case:
    """A fixed window, synchronous: faster than its asyncio form and its other algorithms."""
    from throttled import Throttled, per_min

    throttle = Throttled(key="hot", using="fixed_window", quota=per_min(WIDE))

    async def limit(times: int) -> None:
        for _ in range(times):
            throttle.limit()

    return limit


PEERS = {"limits": with_limits, "pyrate_limiter": with_pyrate_limiter, "throttled": with_throttled}


async def measure(case: Case, times: int) -> float:
    """Nanoseconds for one."""
    start = time.perf_counter()
    await case(times)
    return (time.perf_counter() - start) / times * 1e9


async def main(rounds: int, times: int) -> dict[str, dict[str, float]]:
    """For each case the median of its nanoseconds, and of its ratio to aiolimiter."""
    cases = {"aiolimiter": with_aiolimiter(), "router": ours(None)}
    cases |= {f"router, {refill}": ours(refill) for refill in ("continuous", "calendar")}
    cases |= {name: make() for name, make in PEERS.items() if find_spec(name)}
    for case in cases.values():
        await measure(case, times)  # a router is out of slow start after that, as it is after its first calls
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            found[name].append(await measure(case, times))
    return {
        name: {
            "ns": round(statistics.median(values)),
            "ratio": round(statistics.median(a / b for a, b in zip(values, found["aiolimiter"], strict=True)), 3),
        }
        for name, values in found.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--times", type=int, default=1_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = asyncio.run(main(options.rounds, options.times))
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{'ns':>8} {'ratio':>6}")
        for name, row in result.items():
            print(f"{row['ns']:>8} {row['ratio']:>6.2f}  {name}")
