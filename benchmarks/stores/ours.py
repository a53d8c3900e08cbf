"""One admission of a chain of four models, each with four limits, through a shared store; no router is involved.

The limits are requests and tokens a minute (rolling), requests a day (calendar) and calls in flight, as wide as it
takes for nothing ever to wait: the first model is free. Or the first three may be called once an hour, and have been:
then each of them is looked at and refused, and the fourth is taken, in the same one round trip.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from ratelimit_router.stores.redis import RedisStore
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.sqlite import SqliteStore
from ratelimit_router.stores.terms import Ask, End, Kind, Offer, Ration, Terms, Want

__all__ = ["Case", "Step", "Steps", "on_redis", "on_sqlite"]

WIDE = 1_000_000_000
MODELS = ("a", "b", "c", "d")
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
COST, USED = (1, 1000, 0, 1000), (1, 900, 100, 1000)

Step = Callable[[], Awaitable[object]]
Case = Callable[[str], AbstractAsyncContextManager["Steps"]]
"""Opened with the URL of a server, or the path of a folder."""
Ends = Literal["not timed", "with the next", "by itself"]
"""How a call's end is told: meanwhile, with the next admission (as a busy router does), or in a round trip."""


@dataclass(frozen=True, slots=True)
class Steps:
    """`timed`: one admission. `between`: what has to be done before the next one."""

    timed: Step
    between: Step | None = None


def chain(full: int) -> tuple[tuple[Offer, ...], ...]:
    """One model a step; so many of them may be called once an hour."""
    return tuple((Offer(accounts=(_terms(name, narrow=place < full),)),) for place, name in enumerate(MODELS))


def _terms(name: str, *, narrow: bool) -> Terms:
    requests, period = (1, HOUR) if narrow else (WIDE, MINUTE)
    opens = time.time_ns() // 1000 // DAY * DAY  # it closes a day too late, so that no run meets the reset
    day = Ration(
        name="rpd", unit=0, kind=Kind.CALENDAR, amount=WIDE, period=DAY, capacity=WIDE, ceiling=WIDE,
        opens=opens, closes=opens + 2 * DAY,
    )  # fmt: skip
    return Terms(
        name=name,
        rations=(_rolling("rpm", 0, requests, period), _rolling("tpm", 3, WIDE * 1000, MINUTE), day),
        concurrency=1000,
    )


def _rolling(name: str, unit: int, amount: int, period: int) -> Ration:
    return Ration(
        name=name, unit=unit, kind=Kind.ROLLING, amount=amount, period=period, capacity=amount, ceiling=amount
    )


@asynccontextmanager
async def _admissions(store: SharedStore, full: int, ends: Ends) -> AsyncIterator[Steps]:
    me, steps, count, over = os.urandom(6).hex(), chain(full), 0, ""
    last = len(MODELS) - 1 if full else 0

    def ask(*ended: End) -> Ask:
        nonlocal count, over
        count += 1
        over = f"{me}-{count}"
        want = Want(lease=over, cost=COST, within=0)
        return Ask(line=f"{me}/1", steps=steps, wants=(want,), lasts=30_000_000, ends=ended)

    async def admit(*ended: End) -> None:
        answer = await store.admit(ask(*ended))
        assert answer.grants, answer
        assert answer.grants[0].offer == last or count <= full

    async def end() -> None:
        await store.end((End(lease=over, cost=USED),))

    async def admit_and_end() -> None:
        await admit()
        await end()

    async def admit_with_end() -> None:
        await admit(End(lease=over, cost=USED))

    await store.open(lambda change: None)
    try:
        for _ in range(full + 1):  # now they are full
            await admit_and_end()
        if ends == "not timed":
            yield Steps(admit, end)
        else:
            yield Steps(admit_with_end if ends == "with the next" else admit_and_end)
    finally:
        await store.aclose()


def on_redis(full: int = 0, ends: Ends = "not timed") -> Case:
    """On the server of that URL. Although it has just been started, nothing counts as spent."""
    return lambda url: _admissions(RedisStore(url, prefix=f"{full}-{ends}", blank="full", timeout=5.0), full, ends)


def on_sqlite(full: int = 0, ends: Ends = "not timed") -> Case:
    """In a file of that folder."""
    return lambda folder: _admissions(SqliteStore(f"{folder}/{full}-{ends}"), full, ends)
