"""Eight processes of fifty waiters each, through real routers, on three models that all of them together may call 120
times a second: how often the store is asked for a grant, how much of the quotas is used, and whether more is.

Asks: admissions alone; acts: all that the store does, the ends of calls too, where they do not ride along. Both count
up to the end of the run, when everybody leaves. Used is what was granted of the most that could have been.

Nobody's own account is trusted for the verdict: every call leaves the instant for which the store granted it and the
one at which it was made, both on the clock of the machine, which all processes and the server share; the windows of all
calls together are judged by the first, exactly, and no call may be made before it (by more than the microseconds that a
timer is ahead). How much later it was made is told, too: no store can help that.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from statistics import median
from typing import Any

from benchmarks.stores.crowd import Ready, together
from ratelimit_router import Limit, Limits, Model, Router, Tier
from ratelimit_router.stores.shared import SharedStore

__all__ = ["contend"]

TOKENS = 10
BURST, STEADY = 5, 40
ROLLING, SECOND = 40, 1_000_000
FIT, LONGER = 60, 1_500_000
"""Calls a period of the model that tokens hold back."""
AHEAD = 2
"""Microseconds."""
MODELS = (
    Model("steady", limits=Limits(rpm=Limit(STEADY, per=1.0, refill="continuous", burst=BURST))),
    Model("rolling", limits=Limits(rpm=Limit(ROLLING, per=SECOND / 1e6), tpm=Limit(100_000, per=SECOND / 1e6))),
    Model("tokens", limits=Limits(tpm=Limit(FIT * TOKENS, per=LONGER / 1e6), rpm=Limit(1_000, per=LONGER / 1e6))),
)
ACTS = frozenset({"admit", "end", "renew", "restate", "cool", "reopen", "teach", "look"})
Call = tuple[str, int, int]
"""Model, instant of the grant, instant at which it was made: microseconds since 1970."""


class Counted:
    """A store that counts what it is asked."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self.acts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ACTS:
            return found

        def counted(*arguments: Any) -> Any:
            self.acts[name] += 1
            return found(*arguments)

        return counted


async def _work(make: Callable[[], SharedStore], waiters: int, seconds: float, ready: Ready) -> Any:
    """Call for so long: the calls, what was asked, and when it was over."""
    store = Counted(make())
    router = Router(models=MODELS, tiers=[Tier("hot", [one.name for one in MODELS])], store=store, slow_start=None)  # type: ignore[arg-type]
    calls: list[Call] = []
    ready()

    async def caller() -> None:
        while True:
            async with router.route("hot", tokens=TOKENS) as lease:
                made = time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
                record = router._dispatcher.remote._mail.record(lease)  # type: ignore[union-attr]
                calls.append((lease.model.name, record.at, made))  # type: ignore[union-attr]
                await asyncio.sleep(random.uniform(0.005, 0.02))
                lease.settle(input_tokens=TOKENS, output_tokens=0)

    callers = [asyncio.create_task(caller()) for _ in range(waiters)]
    await asyncio.sleep(seconds)
    acts, granted, done = Counter(store.acts), len(calls), time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
    for one in callers:
        one.cancel()
    failures = [error for error in await asyncio.gather(*callers, return_exceptions=True) if type(error) is not _GONE]
    assert not failures, failures[:3]
    await router.aclose()
    return calls, acts, granted, done


_GONE = asyncio.CancelledError


def contend(make: Callable[[], SharedStore], processes: int, waiters: int, seconds: float) -> dict[str, Any]:
    """One run on the store that each process makes for itself."""
    found = together(processes, lambda ready: _work(make, waiters, seconds, ready))
    calls = sorted((call for told in found for call in told[0]), key=lambda call: call[1])
    acts = sum((told[1] for told in found), Counter[str]())
    granted, done = sum(told[2] for told in found), min(told[3] for told in found)
    instants = {one.name: [at for model, at, _ in calls if model == one.name] for one in MODELS}
    late = sorted((made - at) / 1e3 for _, at, made in calls)
    over = _over_window(instants["rolling"], ROLLING, SECOND) + _over_window(instants["tokens"], FIT, LONGER)
    return {
        "calls": len(calls),
        "asks_a_grant": round(acts["admit"] / granted, 3),
        "acts_a_grant": round(acts.total() / granted, 3),
        "used": round(sum(at < done for _, at, _ in calls) / _possible(calls[0][1], done), 4),
        "over": over + _over_bucket(instants["steady"]),
        "early": sum(made < at - AHEAD for _, at, made in calls),
        "late_ms": [round(median(late), 2), round(late[int(len(late) * 0.99)], 2)],
    }


def _possible(begun: int, done: int) -> int:
    """The most calls that could have been granted."""
    periods = [(ROLLING, SECOND), (FIT, LONGER)]
    return BURST + (done - begun) * STEADY // SECOND + sum(most * -((begun - done) // each) for most, each in periods)


def _over_window(instants: Sequence[int], most: int, period: int) -> int:
    """Calls that were too many in the period that ends with them."""
    return sum(later - one < period for one, later in zip(instants, instants[most:], strict=False))


def _over_bucket(instants: Sequence[int]) -> int:
    """Calls that a bucket would not have had the capacity for."""
    level, before, over = Fraction(BURST), instants[0], 0
    for at in instants:
        level = min(Fraction(BURST), level + Fraction((at - before) * STEADY, SECOND)) - 1
        before = at
        over += level < 0
    return over
