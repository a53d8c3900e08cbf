"""What the router set out to reach, and whether it has. Of several runs of a storm the worst counts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.report.storms import Storms

__all__ = ["Goal", "goals"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row."""

    wanted: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class Storm:
    """What a storm may cost at the most. `ratio`: of the bound's time to ours, at the least."""

    ratio: float = 0.97
    rejections: int = 0


STORMS = {
    "plain": Storm(),
    "charged": Storm(),
    "dark": Storm(rejections=2),
    "body-hint": Storm(),
    "fixed": Storm(),
    "arrivals": Storm(),
    "misconfigured": Storm(ratio=0.95, rejections=60),
}


LAB = {
    **dict.fromkeys(
        ("plain", "token-bound", "day-bound", "concurrency-bound", "poisson", "skewed-tiers"), (1.03, 0.001)
    ),
    "windows": (1.05, 0.001),
    "misconfigured": (1.06, 0.03),
    **dict.fromkeys(("shrinking", "shared-key", "outage"), (1.10, 0.05)),
    **dict.fromkeys(("no-hint", "wrong-hint"), (1.06, 0.02)),
}
"""By family: makespan over the bound, and 429s a task, at the most; under a plan, on 50 seeds or more."""
LAB_SEEDS = 50
FRONTIER = 0.95
"""Of the first choices that are possible in the same time, where tiers are skewed."""

USED = 0.99
"""Of what processes that share quotas could use, at the least."""


def goals(runs: Mapping[str, Any]) -> list[Goal]:
    """Every goal that these runs can answer."""
    return [goal for name, judge in _JUDGES.items() if name in runs for goal in judge(runs[name]["result"])]


def _storms(result: Any) -> Iterator[Goal]:
    storms = Storms(result)
    for name, storm in STORMS.items():
        if not (rows := storms.rows(name, "ours")):
            continue
        failed = max(row["failed"] for row in rows)
        ratio = min(row["ratio"] or 0.0 for row in rows)
        rejections = max(row["rejections"] for row in rows)
        outage = max(row["errors_503"] for row in rows)
        met = failed == 0 and ratio >= storm.ratio and rejections <= storm.rejections
        yield Goal(
            f"{name}: at least {storm.ratio} of the bound, at most {storm.rejections} x 429, no failure",
            f"{ratio:.3f}, {rejections} x 429{f' (and {outage} x 503)' if outage else ''}, {failed} failed",
            met,
        )


def _at_most(wanted: str, value: float, limit: float, digits: int = 2) -> Goal:
    return Goal(f"{wanted} <= {limit:g}", f"{value:.{digits}f}", round(value, digits) <= limit)


def _client_cpu(result: Any) -> Iterator[Goal]:
    yield _at_most("client CPU in the plain storm / the bare HTTP client's", result["ours"]["over_bare"], 2.0)


def _refusal(result: Any) -> Iterator[Goal]:
    beyond = result["ratelimit-router"]["beyond_client_ms"]
    yield _at_most("handling one 429, ms of CPU beyond the HTTP client's", beyond, 0.2, 3)


def _route_settle(result: Any) -> Iterator[Goal]:
    yield _at_most("`route` + `settle` / one aiolimiter acquire", result["router"]["ratio"], 1.5)


def _pick(result: Any) -> Iterator[Goal]:
    peer = result["litellm, simple-shuffle"]
    yield _at_most("the same, four models in a chain / LiteLLM's pick", peer["chain_over_this"], 0.05, 3)


def _waiters(result: Any) -> Iterator[Goal]:
    ours = [row for row in result["cpu"] if row["case"] == "one model"]  # as the one limiter beside it
    short, long = min(row["waiters"] for row in ours), max(row["waiters"] for row in ours)
    least = next(row["over_aiolimiter"] for row in ours if row["waiters"] == short)
    ordered = all(row["in_order"] for row in ours)
    goal = _at_most(f"CPU a grant with {short:,} waiters / aiolimiter's, order exact", least, 0.8)
    yield Goal(goal.wanted, f"{goal.measured}, {'in order' if ordered else 'out of order'}", goal.met and ordered)
    grown = next(row["over_shortest"] for row in ours if row["waiters"] == long)
    yield _at_most(f"CPU a grant with {long:,} waiters / with {short:,}", grown, 1.5)
    yield _at_most("KB that a waiter takes besides its task", result["bytes_a_waiter"]["router"] / 1024, 1.5)


def _lab(result: Any) -> Iterator[Goal]:
    for row in result:
        if row["policy"] != "guided" or row["family"] not in LAB:
            continue
        ratio, rejections = LAB[row["family"]]
        reached = row["ratio"] <= ratio and row["rejections_per_task"] <= rejections
        yield Goal(
            f"lab, {row['family']}: at most {ratio:g} of the bound, {rejections:g} x 429 a task, none lost",
            f"{row['ratio']:.3f}, {row['rejections_per_task']:.4f}, {row['lost']} lost",
            reached and row["lost"] == 0 and row["seeds"] >= LAB_SEEDS,
        )
        if row["family"] == "skewed-tiers":
            share = row["frontier_share"]
            yield Goal(f"the same: at least {FRONTIER:.0%} of the first choices", f"{share:.1%}", share >= FRONTIER)


def _imports(result: Any) -> Iterator[Goal]:
    for row in result:
        if "ratelimit_router" in row["statement"]:
            yield _at_most(f"`{row['statement']}` / `import asyncio`", row["ratio"], 1.5)


def _stores(result: Any) -> Iterator[Goal]:
    for name, about in (("RedisStore", "the first free"), ("RedisStore, three of four full", "the last free")):
        ratio = result["alone"][name]["over_evalsha"]
        yield _at_most(f"admission of a chain of four, {about}, on {result['server']} / a bare EVALSHA", ratio, 1.5)
    rows = [row for row in result["sqlite"] if row["case"].startswith("SqliteStore")]
    for row in rows:
        if row["case"] == "SqliteStore" and row["processes"] > 1:
            pace = f"{1 / row['every']:.0f} a second each" if row["every"] else "as fast as they can"
            yield _at_most(f"SQLite admission, {row['processes']} processes, {pace}, p50 in us", row["p50"], 250, 0)
    locked = sum(row["locked"] for row in rows)
    yield Goal('the same: no "database is locked"', f"{locked}", locked == 0)
    for store in dict.fromkeys(row["store"] for row in result["contention"]):
        runs = [row for row in result["contention"] if row["store"] == store]
        yield _at_most(f"{store}, acts a grant, 8 x 50 waiters", max(row["acts_a_grant"] for row in runs), 1.2)
        used, over = min(row["used"] for row in runs), sum(row["over"] + row["early"] for row in runs)
        wanted = "the same: at least 0.99 of the quotas used, no call too many"
        yield Goal(wanted, f"{used:.3f}, {over} too many", used >= USED and over == 0)


_JUDGES: dict[str, Callable[[Any], Iterator[Goal]]] = {
    "over_http": _storms,
    "client_cpu": _client_cpu,
    "refusal": _refusal,
    "route_settle": _route_settle,
    "pick": _pick,
    "waiters": _waiters,
    "imports": _imports,
    "stores": _stores,
    "lab": _lab,
}
