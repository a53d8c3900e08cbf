"""What to do while a shared store is away: nothing is spent (the default), or everybody carries on with a share.

`ShareOnOutage` is the second: each of `processes` admits up to one part in so many of every quota by itself, counting
what it has spent itself before. When the store is back it is told of all that before anybody here asks it again.

The price: until every process has told, the store knows less than what was spent, and before the outage one process
may have used more than its share of what the others use now. So up to twice a quota may be spent around an outage, most
of it where the load is uneven. A quota, or a number of calls in flight, smaller than `processes` is not to be had.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from ratelimit_router.clock import Clock, wall
from ratelimit_router.errors import ConfigError, StoreUnavailable
from ratelimit_router.stores.local import LocalStore
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.terms import (
    NOTHING,
    Answer,
    Ask,
    Change,
    End,
    Incident,
    Kind,
    Lesson,
    Offer,
    Page,
    Ration,
    Record,
    Terms,
)

__all__ = ["ShareOnOutage"]

FIRST_RETRY, LAST_RETRY = 0.1, 5.0
"""Seconds between two looks for the store: full jitter below a ceiling that doubles."""
REMEMBERED = 3_600_000_000
"""Microseconds for which a process remembers what it has spent."""
CLOSED = Ration(name="share", unit=0, kind=Kind.ROLLING, amount=0, period=60_000_000, capacity=0, ceiling=0)
"""A quota of which nothing is left for one process."""

log = logging.getLogger("ratelimit_router")


class ShareOnOutage:
    """A `SharedStore` that carries on alone while `store` is away, with one part in `processes` of every quota.

    `clock`: seconds since 1970, used only meanwhile. Raises ConfigError for a number of processes below 1.
    """

    def __init__(self, store: SharedStore, *, processes: int, clock: Clock = wall):
        if processes < 1:
            raise ConfigError(f"must be at least 1, not {processes}", key="processes")
        self._store, self._processes, self._clock = store, processes, clock
        self._alone: LocalStore | None = None  # while the store is away
        self._spent: dict[str, Record] = {}  # by lease, what was granted to this process lately
        self._debts: set[str] = set()  # of these, what the store does not know
        self._late: list[End] = []  # that it was not told of
        self._heard: Callable[[Change], None] = lambda change: None
        self._search: asyncio.Task[None] | None = None
        self._rng = random.Random()

    @property
    def lease(self) -> float:
        """See `SharedStore`."""
        return self._store.lease

    async def open(self, heard: Callable[[Change], None]) -> None:
        """See `SharedStore`. Without the store from the start there is nothing to have a share of: it raises."""
        self._heard = heard
        await self._store.open(heard)

    async def admit(self, ask: Ask) -> Answer:
        """See `SharedStore`."""
        ends, doubtful = _ends(ask), False
        if self._alone is None:
            try:
                return self._noted(ask, await self._store.admit(ask))
            except StoreUnavailable as failure:
                await self._go_alone(failure)
                doubtful = True
        alone = cast(LocalStore, self._alone)
        await self._end_alone(alone, ends)
        answer = self._noted(ask, await alone.admit(replace(ask, steps=self._parts(ask), ends=(), instead="")))
        if answer.stale:
            return answer
        granted = {grant.lease for grant in answer.grants}
        self._debts |= granted
        if doubtful:  # the store may have granted them before its answer was lost
            self._late += [End(lease=want.lease, cost=NOTHING) for want in ask.wants if want.lease not in granted]
        return answer

    def _noted(self, ask: Ask, answer: Answer) -> Answer:
        """Remember what was granted, for as long as it counts."""
        offers = [offer for step in ask.steps for offer in step]
        costs = {want.lease: want.cost for want in ask.wants}
        for grant in answer.grants:
            self._spent[grant.lease] = Record(
                lease=grant.lease,
                line=ask.line,
                accounts=tuple(terms.name for terms in offers[grant.offer].accounts),
                epochs=grant.epochs,
                at=grant.at,
                cost=costs[grant.lease],
                expires=grant.at + ask.lasts,
            )
        if not answer.stale:
            self._note_ends(_ends(ask))
        while self._spent and self._spent[oldest := next(iter(self._spent))].at <= answer.now - REMEMBERED:
            del self._spent[oldest]
        return answer

    def _note_ends(self, ends: Sequence[End]) -> None:
        for end in ends:
            if (record := self._spent.get(end.lease)) is not None:
                record.cost = record.cost if end.cost is None else end.cost
                record.running, record.ended = False, True
                if record.cost == NOTHING:
                    del self._spent[end.lease]
                    self._debts.discard(end.lease)

    def _parts(self, ask: Ask) -> tuple[tuple[Offer, ...], ...]:
        return tuple(
            tuple(Offer(accounts=tuple(self._part(terms) for terms in offer.accounts)) for offer in step)
            for step in ask.steps
        )

    def _part(self, terms: Terms) -> Terms:
        part = self._processes
        rations = [
            replace(one, amount=one.amount // part, capacity=one.capacity // part, ceiling=one.ceiling // part)
            for one in terms.rations
        ]
        places = terms.concurrency // part
        if terms.concurrency and not places:
            rations.append(CLOSED)
        return Terms(name=terms.name, rations=tuple(rations), concurrency=places)

    # -- going, and coming back ----------------------------------------------------------------------------------------

    async def _go_alone(self, failure: StoreUnavailable) -> LocalStore:
        if self._alone is None:
            log.warning("%s: carrying on with one part in %d of every quota", failure, self._processes)
            alone = LocalStore(clock=self._clock)
            await alone.open(self._heard)
            await alone.restate([replace(record) for record in self._spent.values()])
            self._alone = alone
            self._search = asyncio.get_running_loop().create_task(self._look_for_it())
        return self._alone

    async def _look_for_it(self) -> None:
        ceiling = FIRST_RETRY
        while True:
            await asyncio.sleep(self._rng.uniform(0.0, ceiling))
            ceiling = min(2.0 * ceiling, LAST_RETRY)
            try:
                await self._store.look(())
                if running := tuple(lease for lease, record in self._spent.items() if record.running):
                    await self._store.renew(running, int(self.lease * 1e6))  # they may have expired there
                while self._debts or self._late:  # what is spent while this is told is told, too
                    await self._pay()
            except StoreUnavailable:
                continue
            self._alone = self._search = None
            log.warning("the store answers again: it was told what was spent meanwhile")
            self._heard(Change(anew=True))
            return

    async def _pay(self) -> None:
        """Tell the store what it does not know. Whatever happens meanwhile is told the next time round."""
        debts, self._debts = self._debts, set()
        late, self._late = self._late, []
        records = [replace(record) for lease in sorted(debts) if (record := self._spent.get(lease)) is not None]
        try:
            await self._store.restate(records)
            await self._store.end([*late, *(End(lease=one.lease, cost=one.cost) for one in records if one.ended)])
        except StoreUnavailable:
            self._debts |= debts
            self._late = [*late, *self._late]
            raise

    # -- everything else -----------------------------------------------------------------------------------------------

    async def end(self, ends: Sequence[End]) -> None:
        """See `SharedStore`."""
        if self._alone is None:
            try:
                await self._store.end(ends)
            except StoreUnavailable as failure:
                await self._go_alone(failure)
            else:
                self._note_ends(ends)
                return
        await self._end_alone(self._alone, ends)

    async def _end_alone(self, alone: LocalStore | None, ends: Sequence[End]) -> None:
        if alone is not None and ends:
            self._late += ends  # also of what it was not told of: it may have granted it before an answer was lost
            self._note_ends(ends)
            await alone.end(ends)

    async def renew(self, leases: Sequence[str], lasts: int) -> tuple[str, ...]:
        """See `SharedStore`."""
        if self._alone is None:
            return await self._store.renew(leases, lasts)
        for lease in leases:
            if (record := self._spent.get(lease)) is not None:
                record.expires = int(self._clock() * 1e6) + lasts
        await self._alone.renew(leases, lasts)
        return ()

    async def restate(self, records: Sequence[Record]) -> None:
        """See `SharedStore`."""
        await self._store.restate(records)

    async def cool(self, found: Incident) -> Page:
        """See `SharedStore`. Meanwhile it is known here alone."""
        if self._alone is None:
            try:
                return await self._store.cool(found)
            except StoreUnavailable as failure:
                await self._go_alone(failure)
        assert self._alone is not None
        return await self._alone.cool(found)

    async def reopen(self, names: Sequence[str]) -> None:
        """See `SharedStore`."""
        await (self._alone or self._store).reopen(names)

    async def teach(self, lesson: Lesson) -> Lesson:
        """See `SharedStore`."""
        return await (self._alone or self._store).teach(lesson)

    async def look(self, names: Sequence[str]) -> tuple[Page, ...]:
        """See `SharedStore`."""
        return await (self._alone or self._store).look(names)

    async def aclose(self) -> None:
        """See `SharedStore`."""
        if self._search is not None:
            self._search.cancel()
        await self._store.aclose()


def _ends(ask: Ask) -> tuple[End, ...]:
    """What ends with an ask: calls, and the booking that it gives up."""
    return (*ask.ends, End(lease=ask.instead, cost=NOTHING)) if ask.instead else ask.ends
