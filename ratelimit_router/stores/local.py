"""A shared store in this process, for several routers on one event loop: tests, simulations, one app with many routers.

It is the model that every other shared store is compared with.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace

from ratelimit_router.clock import Clock, wall
from ratelimit_router.stores.book import Book
from ratelimit_router.stores.pages import Account
from ratelimit_router.stores.shared import LEASE, check_lease
from ratelimit_router.stores.terms import Amounts, Answer, Ask, Change, End, Incident, Lesson, Page, Record

__all__ = ["LocalPages", "LocalStore"]


class LocalPages:
    """Pages in dictionaries. `born`, `lost`: of accounts that are new."""

    def __init__(self, born: int = 0, *, lost: bool = False) -> None:
        self.born, self.lost = born, lost
        self._accounts: dict[str, Account] = {}
        self._charges: dict[str, list[tuple[int, str]]] = {}
        self._costs: dict[tuple[str, str], Amounts] = {}
        self._leases: dict[str, Record] = {}
        self._running: set[str] = set()

    def account(self, name: str) -> Account:
        """See `Pages`."""
        known = self._accounts.get(name)
        return Account(born=self.born, lost=self.lost) if known is None else deepcopy(known)

    def put(self, name: str, account: Account) -> None:
        """See `Pages`."""
        self._accounts[name] = account

    def charges(self, name: str, after: int) -> Iterable[tuple[int, str, Amounts]]:
        """See `Pages`."""
        known = self._charges.get(name, [])
        for at, lease in known[bisect_left(known, (after + 1, "")) :]:
            yield at, lease, self._costs[name, lease]

    def charge(self, name: str, at: int, lease: str, cost: Amounts) -> None:
        """See `Pages`."""
        insort(self._charges.setdefault(name, []), (at, lease))
        self._costs[name, lease] = cost

    def discharge(self, name: str, at: int, lease: str) -> None:
        """See `Pages`."""
        if self._costs.pop((name, lease), None) is not None:
            self._charges[name].remove((at, lease))

    def recharge(self, name: str, at: int, lease: str, cost: Amounts) -> None:
        """See `Pages`."""
        if (name, lease) in self._costs:
            self._costs[name, lease] = cost

    def forget(self, name: str, upto: int) -> None:
        """See `Pages`."""
        known = self._charges.get(name, [])
        end = bisect_right(known, (upto + 1, ""))
        for _, lease in known[:end]:
            del self._costs[name, lease]
        del known[:end]

    def lease(self, lease: str) -> Record | None:
        """See `Pages`."""
        known = self._leases.get(lease)
        return None if known is None else replace(known)

    def keep(self, record: Record, until: int) -> None:
        """See `Pages`. Nothing is forgotten here: the process will be."""
        self._leases[record.lease] = replace(record)
        (self._running.add if record.running else self._running.discard)(record.lease)

    def overdue(self, now: int) -> Sequence[Record]:
        """See `Pages`."""
        found = [self._leases[lease] for lease in self._running]
        return sorted((replace(one) for one in found if one.expires <= now), key=lambda one: (one.expires, one.lease))


class LocalStore:
    """See `SharedStore`. `clock`: seconds since 1970."""

    def __init__(self, *, clock: Clock = wall, lease: float = LEASE) -> None:
        self._clock, self.lease = clock, check_lease(lease)
        self._latest = 0
        self._pages = LocalPages()
        self._listeners: list[Callable[[Change], None]] = []

    def _book(self) -> Book:
        self._latest = max(self._latest, round(self._clock() * 1e6))
        return Book(self._pages, self._latest)

    def _done(self, book: Book) -> None:
        if book.change != Change():
            for heard in self._listeners:
                heard(book.change)

    async def open(self, heard: Callable[[Change], None]) -> None:
        """See `SharedStore`."""
        self._listeners.append(heard)

    async def admit(self, ask: Ask) -> Answer:
        """See `SharedStore`."""
        answer = (book := self._book()).admit(ask)
        self._done(book)
        return answer

    async def end(self, ends: Sequence[End]) -> None:
        """See `SharedStore`."""
        (book := self._book()).end(ends)
        self._done(book)

    async def renew(self, leases: Sequence[str], lasts: int) -> tuple[str, ...]:
        """See `SharedStore`."""
        lost = (book := self._book()).renew(leases, lasts)
        self._done(book)
        return lost

    async def restate(self, records: Sequence[Record]) -> None:
        """See `SharedStore`."""
        (book := self._book()).restate(records)
        self._done(book)

    async def cool(self, found: Incident) -> Page:
        """See `SharedStore`."""
        page = (book := self._book()).cool(found)
        self._done(book)
        return page

    async def reopen(self, names: Sequence[str]) -> None:
        """See `SharedStore`."""
        (book := self._book()).reopen(names)
        self._done(book)

    async def teach(self, lesson: Lesson) -> Lesson:
        """See `SharedStore`."""
        stands = (book := self._book()).teach(lesson)
        self._done(book)
        return stands

    async def look(self, names: Sequence[str]) -> tuple[Page, ...]:
        """See `SharedStore`."""
        return self._book().look(names)

    async def aclose(self) -> None:
        """See `SharedStore`. The others go on."""
