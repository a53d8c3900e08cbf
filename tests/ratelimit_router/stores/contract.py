"""What the tests of stores share: one registry of stores, a desk to ask them at, and short words for terms."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from ratelimit_router.clock import Clock
from ratelimit_router.stores.local import LocalStore
from ratelimit_router.stores.redis import RedisStore
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.sqlite import SqliteStore
from ratelimit_router.stores.terms import (
    NEVER,
    Amounts,
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
    Want,
)
from tests.ratelimit_router.stores.servers import SERVERS


def _on_server(name: str, request: pytest.FixtureRequest, clock: Clock) -> RedisStore:
    server = request.getfixturevalue("server_of")(name)
    return RedisStore(server.url, prefix=uuid4().hex, timeout=5, blank="full", clock=clock)


STORES: dict[str, Callable[[pytest.FixtureRequest, Clock], SharedStore]] = {
    "local": lambda request, clock: LocalStore(clock=clock),
    "sqlite": lambda request, clock: SqliteStore(
        request.getfixturevalue("tmp_path_factory").mktemp("sqlite") / "quotas.db", clock=clock, poll=0.01
    ),
    **{name: partial(_on_server, name) for name in SERVERS},
}
"""Every shared store, and how a test gets a new one on the test's own clock (seconds since 1970)."""

SECOND = 1_000_000
MINUTE, DAY = 60 * SECOND, 86_400 * SECOND
START = 1_790_000_040 * SECOND  # a whole number of minutes
LASTS = 30 * SECOND


class Desk:
    """A store on a clock that is set by hand; every act is called, and waited for."""

    def __init__(self, make: Callable[[Clock], SharedStore], runner: asyncio.Runner, now: int = START) -> None:
        self.now = now
        self.store = make(lambda: self.now / 1e6)
        self._runner = runner
        self.unheard: asyncio.Queue[Change] = asyncio.Queue()
        self._run(self.store.open(self.unheard.put_nowait))

    def _run(self, act: Any) -> Any:
        return self._runner.run(act)

    def after(self, seconds: float) -> "Desk":
        """Let time go by."""
        self.now += round(seconds * 1e6)
        return self

    def ask(self, ask: Ask) -> Answer:
        """See `SharedStore.admit`."""
        answer: Answer = self._run(self.store.admit(ask))
        return answer

    def admit(
        self, *steps: Offer | Sequence[Offer], lease: str = "", cost: Amounts = (1, 0, 0, 0), **more: Any
    ) -> Answer:
        """Ask for one lease. Each step is an offer, or several equals. `within`, and the fields of `Ask`."""
        want = Want(lease=lease or new_lease(), cost=cost, within=more.pop("within", NEVER))
        chain = tuple((step,) if isinstance(step, Offer) else tuple(step) for step in steps)
        return self.ask(Ask(**{"line": "line", "steps": chain, "wants": (want,), "lasts": LASTS} | more))

    def end(self, *ends: End) -> None:
        """See `SharedStore`."""
        self._run(self.store.end(ends))

    def renew(self, *leases: str, lasts: int = LASTS) -> tuple[str, ...]:
        """See `SharedStore`."""
        lost: tuple[str, ...] = self._run(self.store.renew(leases, lasts))
        return lost

    def restate(self, *records: Record) -> None:
        """See `SharedStore`."""
        self._run(self.store.restate(records))

    def cool(self, account: str, seconds: float = 10.0, *, epoch: int = 0, **more: Any) -> Page:
        """A call was rejected."""
        facts = {"extends": False, "verdict": 5 * SECOND, "silence": True} | more
        return self.report(Incident(account=account, epoch=epoch, lasts=round(seconds * 1e6), **facts))

    def report(self, found: Incident) -> Page:
        """See `SharedStore.cool`."""
        page: Page = self._run(self.store.cool(found))
        return page

    def reopen(self, *names: str) -> None:
        """See `SharedStore`."""
        self._run(self.store.reopen(names))

    def teach(self, lesson: Lesson) -> Lesson:
        """See `SharedStore`."""
        stands: Lesson = self._run(self.store.teach(lesson))
        return stands

    def look(self, *names: str) -> tuple[Page, ...]:
        """See `SharedStore`."""
        pages: tuple[Page, ...] = self._run(self.store.look(names))
        return pages

    def page(self, name: str) -> Page:
        """One of them."""
        return self.look(name)[0]

    def news(self) -> Change:
        """The next change that was heard of; waits for it, if that takes a moment."""

        async def next_one() -> Change:
            return await asyncio.wait_for(self.unheard.get(), 5.0)

        change: Change = self._run(next_one())
        return change

    def close(self) -> None:
        """See `SharedStore`."""
        self._run(self.store.aclose())


@contextlib.contextmanager
def desk_of(make: Callable[[Clock], SharedStore], now: int = START) -> Iterator[Desk]:
    """A desk, closed in the end."""
    with asyncio.Runner() as runner:
        desk = Desk(make, runner, now)
        try:
            yield desk
        finally:
            desk.close()


_leases = count()


def new_lease() -> str:
    """An id that nobody had before."""
    return f"lease-{next(_leases)}"


def ration(name: str, amount: int, kind: Kind = Kind.ROLLING, *, unit: int = 0, **more: Any) -> Ration:
    """By the minute, unless `more` says something else."""
    facts = {"period": MINUTE, "capacity": amount, "ceiling": more.get("capacity", amount)} | more
    if kind is Kind.CALENDAR:
        facts = {"opens": START, "closes": START + facts["period"]} | facts
    return Ration(name=name, unit=unit, kind=kind, amount=amount, **facts)


def rolling(amount: int, name: str = "rpm", **more: Any) -> Ration:
    """A rolling quota."""
    return ration(name, amount, Kind.ROLLING, **more)


def continuous(amount: int, name: str = "even", **more: Any) -> Ration:
    """A quota that refills evenly."""
    return ration(name, amount, Kind.CONTINUOUS, **more)


def calendar(amount: int, name: str = "rpd", **more: Any) -> Ration:
    """A quota that comes back at a reset."""
    return ration(name, amount, Kind.CALENDAR, **more)


def model(name: str, *rations: Ration, concurrency: int = 0, pools: Sequence[Terms] = ()) -> Offer:
    """A candidate of a chain."""
    return Offer(accounts=(Terms(name=name, rations=rations, concurrency=concurrency), *pools))


def pool(name: str, *rations: Ration, concurrency: int = 0) -> Terms:
    """What models draw on besides."""
    return Terms(name=name, rations=rations, concurrency=concurrency)


def record(lease: str, *accounts: str, at: int, cost: Amounts = (1, 0, 0, 0), **more: Any) -> Record:
    """A lease as somebody else remembers it."""
    facts = {"line": "line", "epochs": (0,) * len(accounts), "expires": at + LASTS} | more
    return Record(lease=lease, accounts=accounts, at=at, cost=cost, **facts)
