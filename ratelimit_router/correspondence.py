"""What a router and its shared store have to tell each other, whatever happens in between.

- While the store does not answer an act is repeated until it does; a lease is charged once, however often it was asked
  for. The pause is full jitter below a ceiling that doubles.
- Ends of calls ride along with the next ask; without one they go by themselves, a moment later.
- Leases in flight are renewed. What was spent lately is remembered: a store that has lost it is told again.
- Closing waits for what is under way, so nothing that the store grants meanwhile is lost; a store that does not answer
  then is not waited for.
- Time is the store's. An instant of the store is believed to be as much later as its answer took to arrive.
"""

import asyncio
import contextlib
import logging
import math
import os
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from ratelimit_router.errors import StoreUnavailable
from ratelimit_router.lease import Lease
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.shared_account import MICRO, micros
from ratelimit_router.stores.terms import NEVER, NOTHING, Change, End, Record

__all__ = ["Correspondence"]

T = TypeVar("T")

SOON = 0.002
"""Seconds that the end of a call waits for an ask to ride along with."""
FIRST_RETRY, LAST_RETRY = 0.05, 2.0
"""Seconds between two attempts to reach the store, at first and at most."""

log = logging.getLogger("ratelimit_router")


class Correspondence:
    """`heard`: is told what other routers have changed. `failed`: the store has stopped to answer.

    `remembers`: seconds for which what was spent can be restated.
    """

    def __init__(
        self,
        store: SharedStore,
        clock: Callable[[], float],
        *,
        heard: Callable[[Change], None],
        failed: Callable[[], None],
        remembers: Callable[[], float],
    ):
        self.store, self._clock = store, clock
        self.lasts = micros(store.lease)  # of a lease, unless it is renewed
        self._renew_every = store.lease / 3
        self._heard, self._failed, self._remembers = heard, failed, remembers
        self.name = os.urandom(6).hex()  # of this router
        self.failure: StoreUnavailable | None = None  # the latest, while the store does not answer
        self.closed = False
        self.ahead = 0.0  # seconds by which the store's clock is
        self._held: dict[Lease, Record] = {}
        self._past: deque[Record] = deque()
        self._ends: list[End] = []
        self._flush: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._shut = asyncio.Event()  # as `closed`, for those who sleep
        self._rng = random.Random()

    # -- time ----------------------------------------------------------------------------------------------------------

    def set_clock(self, now: int) -> None:
        """The store has just said what time it is."""
        self.ahead = now / MICRO - self._clock()

    def store_now(self) -> int:
        """What time it probably is there."""
        return int((self._clock() + self.ahead) * MICRO)

    def local(self, at: int) -> float:
        """An instant of the store on the router's clock."""
        return math.inf if at >= NEVER else at / MICRO - self.ahead

    # -- acts ----------------------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have something done meanwhile. That it failed is told in the log."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StoreUnavailable):  # of that, there was a warning
            log.error("the shared store could not be told, or asked: %r", error)

    async def insist(self, act: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to an act, which is repeated until there is one; once the router is closed, StoreUnavailable."""
        ceiling = FIRST_RETRY
        while True:
            try:
                await self._opened()
                answer = await act()
            except StoreUnavailable as failure:
                if self.failure is None:
                    log.warning("%s", failure)
                self.failure = failure
                if self.closed:
                    raise
                self._failed()
                await self._pause(self._rng.uniform(0.0, ceiling))
                ceiling = min(2.0 * ceiling, LAST_RETRY)
            else:
                if self.failure is not None:
                    log.warning("the store %s answers again", self.failure.store)
                    self.failure = None
                return answer

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless the router is closed meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._shut.wait()

    async def _opened(self) -> None:
        opening = self._opening
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception() is not None)):
            opening = self._opening = asyncio.get_running_loop().create_task(self._open())
        await asyncio.shield(opening)

    async def _open(self) -> None:
        await self.store.open(self._heard)
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    @property
    def opened(self) -> bool:
        """Whether the store has ever been asked for anything."""
        return self._opening is not None

    # -- leases --------------------------------------------------------------------------------------------------------

    def hold(self, lease: Lease, record: Record) -> None:
        """A call begins."""
        self._held[lease] = record

    def record(self, lease: Lease) -> Record | None:
        """A call that is in flight, as the store knows it."""
        return self._held.get(lease)

    def end(self, lease: Lease, end: End) -> None:
        """A call is over: `end`, whatever its lease is called there."""
        if (record := self._held.pop(lease, None)) is None:
            return
        self._ends.append(replace(end, lease=record.lease))
        cost = record.cost if end.cost is None else end.cost
        if cost != NOTHING:
            record.cost, record.running, record.ended = cost, False, True
            self._past.append(record)
        self._flush_soon()

    def give_back(self, lease: str) -> None:
        """A lease that nobody wants."""
        self._ends.append(End(lease=lease, cost=NOTHING))
        self._flush_soon()

    def take_ends(self) -> tuple[End, ...]:
        """What is to ride along with an ask."""
        ends, self._ends = tuple(self._ends), []
        return ends

    def put_back(self, ends: Iterable[End]) -> None:
        """The store took no notice of these."""
        self._ends += ends
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush is None and self._ends and not self.closed:
            self._flush = asyncio.get_running_loop().call_later(SOON, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        if ends := self.take_ends():
            self.start(self.insist(lambda: self.store.end(ends)))

    async def _keep(self) -> None:
        """Renew what is in flight, and forget what is long gone, as long as there is a router."""
        while not self.closed:
            await self._pause(self._renew_every)
            horizon = self.store_now() - micros(self._remembers())
            while self._past and self._past[0].at < horizon:
                self._past.popleft()
            old = self.store_now() - micros(self._renew_every)
            held = {record.lease: record for record in self._held.values() if record.at <= old}
            if held and not self.closed:
                await self._renew(held)

    async def _renew(self, held: dict[str, Record]) -> None:
        try:
            lost = await self.insist(lambda: self.store.renew(tuple(held), self.lasts))
            if lost:
                await self._restate([held[lease] for lease in lost])
        except StoreUnavailable:
            pass  # closed meanwhile
        except Exception:  # the next time it may go well, and these leases must not expire for this one
            log.exception("leases in flight could not be renewed")

    def restate(self) -> None:
        """The store may have forgotten what was spent, and what is in flight."""
        self.start(self._restate([*self._past, *self._held.values()]))

    async def _restate(self, records: list[Record]) -> None:
        def act() -> Coroutine[Any, Any, None]:
            expires = self.store_now() + self.lasts
            return self.store.restate([replace(one, expires=max(one.expires, expires)) for one in records])

        await self.insist(act)

    async def aclose(self, last: Callable[[], Iterable[Callable[[], Coroutine[Any, Any, Any]]]]) -> None:
        """Wait for what is under way, do what is `last`, tell what has ended, and let go of the store."""
        self.closed = True
        self._shut.set()
        if self._flush is not None:
            self._flush.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._opening is None:
            return
        try:
            for act in last():
                await self.insist(act)
            if ends := self.take_ends():
                await self.insist(lambda: self.store.end(ends))
        except StoreUnavailable as failure:
            log.warning("closing: %s; what was in flight is free again in %g s", failure, self.store.lease)
        except Exception:
            log.exception("closing: the shared store could not be told")
        if self._keeping is not None:
            await asyncio.wait((self._keeping,))
        await self.store.aclose()
