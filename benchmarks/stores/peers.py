"""What the peers can express that is nearest to an admission; each by redis-py (hiredis), or in SQLite.

None of them knows calls in flight, a refund of what a call did not use, or a choice among models. So theirs is one
limit of requests a minute (pyrate-limiter: and a day, in one bucket), without tokens, and nothing to settle:

- `limits`, asyncio: moving and fixed window. Of tokens it writes down every one (a thousand entries a call).
- `throttled-py`, asyncio: a sliding window (it approximates), and a fixed one, the fastest that it has.
- `pyrate-limiter`: a log of the window, on asyncio, and synchronous, which blocks the loop and is faster. In SQLite
  with its lock file, which several processes need (and which makes it faster: without, it waits for the disk).

A chain is to try one after the other, a round trip each, until one is not full. `limits` and `throttled-py` have no
SQLite. Clients differ: theirs and ours are redis-py's connections, ours without redis-py's pool and command objects.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from benchmarks.stores.ours import WIDE, Case, Step, Steps

__all__ = ["evalsha", "limits", "ping", "pyrate_limiter", "pyrate_limiter_in_sqlite", "throttled"]

Window = Literal["moving", "fixed"]


def _first_of(tries: Sequence[Step]) -> Step:
    """The first that says yes; without a chain the only one, as it is."""
    if len(tries) == 1:
        return tries[0]

    async def chain() -> bool:
        for one in tries:
            if await one():
                return True
        raise AssertionError("all are full")

    return chain


def _amounts(full: int) -> list[int]:
    """Of each model of the chain: once an hour, or as often as one likes."""
    return [1] * full + [WIDE]


@asynccontextmanager
async def ping(url: str) -> AsyncIterator[Steps]:
    """The least that a round trip takes."""
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        yield Steps(client.ping)


def evalsha(*, single: bool = False) -> Case:
    """A script that does nothing. `single`: without redis-py's pool."""

    @asynccontextmanager
    async def open_it(url: str) -> AsyncIterator[Steps]:
        from redis.asyncio import Redis

        async with Redis.from_url(url, single_connection_client=single) as client:
            digest = await client.script_load("return 1")
            yield Steps(lambda: client.evalsha(digest, 0))

    return open_it


def limits(window: Window, full: int = 0) -> Case:
    """On redis-py, as the others, not on coredis."""

    @asynccontextmanager
    async def open_it(url: str) -> AsyncIterator[Steps]:
        from limits import RateLimitItemPerHour, RateLimitItemPerMinute
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

        storage = RedisStorage(f"async+{url}", implementation="redispy")
        limiter = MovingWindowRateLimiter(storage) if window == "moving" else FixedWindowRateLimiter(storage)

        def one(place: int, amount: int) -> Step:
            item = RateLimitItemPerHour(1) if amount == 1 else RateLimitItemPerMinute(amount)
            return lambda: limiter.hit(item, f"{window}-{full}-{place}")

        tries = [one(place, amount) for place, amount in enumerate(_amounts(full))]
        for each in tries:
            await each()
        yield Steps(_first_of(tries))
        await storage.bridge.storage.aclose()  # type: ignore[attr-defined]

    return open_it


def throttled(window: Window, full: int = 0) -> Case:
    """`moving` is its sliding window."""

    @asynccontextmanager
    async def open_it(url: str) -> AsyncIterator[Steps]:
        from throttled.asyncio import RedisStore, Throttled, per_hour, per_min

        store = RedisStore(server=url)
        using = "sliding_window" if window == "moving" else "fixed_window"

        def one(place: int, amount: int) -> Step:
            quota = per_hour(1) if amount == 1 else per_min(amount)
            throttle = Throttled(key=f"{full}-{place}", using=using, quota=quota, store=store)
            if not full:
                return throttle.limit

            async def limit() -> bool:
                return not (await throttle.limit()).limited

            return limit

        tries = [one(place, amount) for place, amount in enumerate(_amounts(full))]
        for each in tries:
            await each()
        yield Steps(_first_of(tries))
        await store._backend.get_client().aclose()

    return open_it


def pyrate_limiter(*, blocking: bool, full: int = 0) -> Case:
    """`blocking`: its synchronous form."""

    @asynccontextmanager
    async def open_it(url: str) -> AsyncIterator[Steps]:
        import redis
        from pyrate_limiter import Limiter, RedisBucket

        client: Any = redis.Redis.from_url(url) if blocking else redis.asyncio.Redis.from_url(url)
        limiters, tries = [], []
        for place, amount in enumerate(_amounts(full)):
            bucket: Any = RedisBucket.init(_rates(amount), client, f"pyrate-{blocking}-{full}-{place}")
            limiters.append(Limiter(bucket if blocking else await bucket))
            tries.append(_attempt(limiters[-1]) if blocking else _attempt_on_loop(limiters[-1]))
        for each in tries:
            await each()
        yield Steps(_first_of(tries))
        for one in limiters:
            one.close()
        if not blocking:
            await client.aclose()

    return open_it


@asynccontextmanager
async def pyrate_limiter_in_sqlite(folder: str) -> AsyncIterator[Steps]:
    """With its lock file."""
    from pyrate_limiter import Limiter, SQLiteBucket

    path = str(Path(folder) / "pyrate.sqlite")
    limiter = Limiter(SQLiteBucket.init_from_file(_rates(WIDE), db_path=path, use_file_lock=True))

    async def attempt() -> None:
        assert limiter.try_acquire("hot")  # it fails if it is not to block: with filelock 4

    yield Steps(attempt)
    limiter.close()


def _rates(amount: int) -> Any:
    from pyrate_limiter import Duration, Rate

    if amount == 1:
        return [Rate(1, Duration.HOUR), Rate(2, Duration.DAY)]
    return [Rate(amount, Duration.MINUTE), Rate(amount + 1, Duration.DAY)]


def _attempt(limiter: Any) -> Step:
    async def attempt() -> bool:
        return bool(limiter.try_acquire("hot", blocking=False))

    return attempt


def _attempt_on_loop(limiter: Any) -> Step:
    attempt: Callable[..., Any] = limiter.try_acquire_async
    return lambda: attempt("hot", blocking=False)
