"""CPU for each grant out of a long line: 1,000, 10,000 and 100,000 waiters on two models, in virtual time.

Prints microseconds for each waiter (to queue it, and in all), the ratio to the shortest line, and whether they were
served in order. A line that is looked through, or woken in vain, shows as a ratio that grows with its length.
"""

import argparse
import asyncio
import json
import time

from ratelimit_router import Limits, Model, Router, Tier
from ratelimit_router.simulation.virtual_time import run


async def drain(waiters: int) -> dict[str, float | bool]:
    """Queue that many, let every one be served, and measure the CPU of this process."""
    router = Router(
        models=[Model("a", limits=Limits(rpm=100)), Model("b", limits=Limits(rpm=50, tpm=1_000_000))],
        tiers=[Tier("hot", ["a", "b"])],
        clock=asyncio.get_running_loop().time,
    )
    served: list[int] = []

    async def work(number: int) -> None:
        async with router.route("hot", tokens=10):
            served.append(number)

    start = time.process_time()
    tasks = [asyncio.create_task(work(number)) for number in range(waiters)]
    await asyncio.sleep(0)
    queued = time.process_time() - start
    await asyncio.gather(*tasks)
    whole = time.process_time() - start
    return {
        "waiters": waiters,
        "us_to_queue": round(queued / waiters * 1e6, 2),
        "us_in_all": round(whole / waiters * 1e6, 2),
        "in_order": served == sorted(served),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiters", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    options = parser.parse_args()
    run(drain(1_000))  # imports and caches
    found = [run(drain(count)) for count in options.waiters]
    if options.json:
        print(json.dumps(found))
    else:
        print(f"{'waiters':>8} {'us to queue':>12} {'us in all':>10} {'ratio':>6}  in order")
        for row in found:
            ratio = row["us_in_all"] / found[0]["us_in_all"]
            print(
                f"{row['waiters']:>8} {row['us_to_queue']:>12} {row['us_in_all']:>10} {ratio:>6.2f}  {row['in_order']}"
            )
