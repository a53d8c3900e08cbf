"""A shared store in one SQLite file: several processes on one machine, no server; it survives every restart.

Each act is one short transaction. It is done at once on the event loop if nobody else is writing (no disk is waited
for), else in a thread, so that the loop never waits for another process. A process that is killed at any moment leaves
the file whole: its last act is there, or not at all. After a loss of power the last moments may be missing.

What it does badly:

- It needs a local disk: SQLite's locks do not hold on network file systems.
- Other processes hear of a change when they look, every `poll` seconds, or with their own next act.
- Time is the wall clock, and never runs backwards: if it was set ahead by mistake, quotas stand still until it gets
  there. Delete the file then.
- A process that is stopped (SIGSTOP) within an act keeps everybody waiting; after `timeout` they are told so.
"""

import asyncio
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ratelimit_router.clock import Clock, wall
from ratelimit_router.errors import ConfigError, StoreUnavailable
from ratelimit_router.stores.book import Book
from ratelimit_router.stores.shared import LEASE, check_lease
from ratelimit_router.stores.sqlite_file import Database, is_busy, naps
from ratelimit_router.stores.sqlite_pages import SqlitePages
from ratelimit_router.stores.terms import Answer, Ask, Change, End, Incident, Lesson, Page, Record

__all__ = ["SqliteStore"]

TIDY = 10.0
"""Seconds between two looks for what can be forgotten."""
UNNOTICED = 100_000
"""Microseconds by which the clock can be set back unnoticed: nothing is free any earlier then."""
FOLD = 400
"""Acts of this process after which the log is folded into the file."""

Result = TypeVar("Result")
Heard = Callable[[Change], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One act, and who waits for it. `vain`: it is of no use once its caller has gone. `until`: when it is too late."""

    act: Callable[[Book], Any]
    writes: bool
    vain: bool
    until: float
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[Any]"

    def answer(self, result: object, error: BaseException | None = None) -> None:
        """Tell the caller, if it still waits."""
        _call(self.loop, self._tell, result, error)

    def _tell(self, result: object, error: BaseException | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(result)
            else:
                self.done.set_exception(error)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    """Call it on that loop: now, if this is it."""
    if asyncio._get_running_loop() is loop:
        function(*args)
    else:
        with suppress(RuntimeError):  # it was closed meanwhile
            loop.call_soon_threadsafe(function, *args)


class _Clerk(threading.Thread):
    """Has the file open, and does jobs: at once if nobody else is writing, else one after the other in a thread.

    The thread also looks for news, and folds the log into the file.
    """

    def __init__(self, path: Path, clock: Clock, timeout: float, poll: float, hear: Callable[[Change], None]):
        super().__init__(name=f"SqliteStore {path.name}", daemon=True)
        self._path, self._clock, self._timeout, self._poll, self._hear = path, clock, timeout, poll, hear
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._using = threading.Lock()  # by whoever uses the database
        self._database: Database | None = None
        self._folder: Database | None = None
        self._waiting = False  # the thread waits for another process
        self._last = 0  # number of the latest change that was heard of
        self._version = 0
        self._written = 0  # acts since the log was folded
        self._looked = self._tidied = time.monotonic()

    # -- on the event loop ---------------------------------------------------------------------------------------------

    def do(self, job: _Job) -> None:
        """Do it now, if nobody has to be waited for."""
        idle = self._jobs.empty() and (not self._waiting or not job.writes)
        if idle and self._database is not None and self._using.acquire(blocking=False):
            try:
                done = self._finish(job, self._database)
            finally:
                self._using.release()
            if done:
                return
        self._jobs.put(job)

    def stop(self) -> None:
        """Close the file, when everything else is done."""
        self._jobs.put(None)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until it is stopped."""
        while (job := self._next()) is not None:
            self._waiting = True
            if not (job.vain and job.done.cancelled()):
                self._do(job)
            self._waiting = False
            self._fold()
        for database in (self._database, self._folder):
            if database is not None:
                database.close()

    def _next(self) -> _Job | None:
        while True:
            pause = self._looked + self._poll - time.monotonic()
            if pause <= 0:
                with self._using:
                    self._look_for_news()
                self._fold()
                pause = self._poll
            with suppress(Empty):
                return self._jobs.get(timeout=pause)

    def _do(self, job: _Job) -> None:
        try:
            database = self._open()
        except Exception as error:  # noqa: BLE001 it is the caller's
            job.answer(None, error)
            return
        for _ in naps(job.until):
            with self._using:
                if self._finish(job, database):
                    return
        job.answer(None, database.locked())

    def _open(self) -> Database:
        if self._database is None:
            self._folder = Database(self._path, self._timeout)
            database = Database(self._path, self._timeout)
            _, self._last = SqlitePages(database.connection).begin()
            self._version = database.version()
            self._database = database
        return self._database

    def _look_for_news(self) -> None:
        self._looked = time.monotonic()
        if (database := self._database) is None:
            return
        with suppress(sqlite3.Error):  # the next job will tell
            if (version := database.version()) != self._version:
                self._last, changes = SqlitePages(database.connection).heard(self._last)
                self._version = version
                for change in changes:
                    self._hear(change)

    def _fold(self) -> None:
        if self._written >= FOLD and self._folder is not None:
            with suppress(sqlite3.Error):  # somebody else does
                if self._folder.fold(time.monotonic() + self._poll):
                    self._written = 0

    # -- anywhere ------------------------------------------------------------------------------------------------------

    def _finish(self, job: _Job, database: Database) -> bool:
        """Do a job, and answer; False if somebody else is writing."""
        try:
            if not database.begin(writes=job.writes):
                return False
            result, changes = self._act(job, database)
        except sqlite3.Error as error:
            if is_busy(error):
                return False
            job.answer(None, database.failed(error))
        except Exception as error:  # noqa: BLE001 it is the caller's
            job.answer(None, error)
        else:
            for change in changes:
                self._hear(change)
            job.answer(result)
        return True

    def _act(self, job: _Job, database: Database) -> tuple[object, tuple[Change, ...]]:
        pages = SqlitePages(database.connection)
        commit = False
        try:
            told, latest = pages.begin()
            now = max(told, round(self._clock() * 1e6))
            book = Book(pages, now)
            result = job.act(book)
            last, changes = pages.heard(self._last) if latest != self._last else (latest, ())
            if job.writes:
                if now > told + UNNOTICED:
                    pages.tell_time(now)
                if book.change != Change():
                    last, changes = pages.publish(book.change), (*changes, book.change)
                if time.monotonic() > self._tidied + TIDY:
                    self._tidied = time.monotonic()
                    pages.tidy(now)
                self._written += 1
            commit = True
        finally:
            database.end(commit=commit)
        self._last = last
        return result, changes

    def forked(self) -> None:
        """In a child of this process: let go of what must not outlive its parent."""
        for database in (self._database, self._folder):
            if database is not None:
                database.abandon()


class SqliteStore:
    """See `SharedStore`. `path`: a file on a local disk, made if it does not exist (mode 0600; it holds no secrets).

    `clock`: seconds since 1970. `timeout`: seconds that an act waits for other processes. `poll`: seconds between two
    looks for what they have changed. `lease`: see `SharedStore`. One store serves any number of routers of one process,
    and hears its own changes; the last router that closes it closes the file. A process that is forked off needs a
    store of its own.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock = wall,
        timeout: float = 5.0,
        poll: float = 0.05,
        lease: float = LEASE,
    ):
        self.path, self.lease = Path(path), check_lease(lease)
        self._clock, self._timeout, self._poll = clock, timeout, poll
        self._listeners: list[tuple[asyncio.AbstractEventLoop, Heard]] = []
        self._users = 0
        self._clerk: _Clerk | None = None
        self._process = os.getpid()

    async def open(self, heard: Heard) -> None:
        """See `SharedStore`. Raises ConfigError for a file or a place that cannot be used."""
        if self._clerk is None:
            self._process = os.getpid()
            self._clerk = clerk = _Clerk(self.path, self._clock, self._timeout, self._poll, self._hear)
            clerk.start()
            _let_go_at_fork(clerk)
        self._users += 1
        try:
            await self._do(lambda book: None, writes=False)
        except BaseException:
            await self.aclose()
            raise
        self._listeners.append((asyncio.get_running_loop(), heard))

    def _hear(self, change: Change) -> None:
        for loop, heard in [*self._listeners]:
            _call(loop, heard, change)

    async def _do(self, act: Callable[[Book], Result], *, writes: bool = True, vain: bool = False) -> Result:
        if self._process != os.getpid():
            raise ConfigError(
                "was opened before this process was forked off: make a SqliteStore in each process",
                key="store",
                file=str(self.path),
            )
        if self._clerk is None:
            raise StoreUnavailable(str(self.path), "it is not open")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        until = time.monotonic() + self._timeout
        self._clerk.do(_Job(act=act, writes=writes, vain=vain, until=until, loop=loop, done=done))
        return await done

    async def admit(self, ask: Ask) -> Answer:
        """See `SharedStore`."""
        return await self._do(lambda book: book.admit(ask), vain=True)

    async def end(self, ends: Sequence[End]) -> None:
        """See `SharedStore`. It is done, also if the caller does not wait for it."""
        await self._do(lambda book: book.end(ends))

    async def renew(self, leases: Sequence[str], lasts: int) -> tuple[str, ...]:
        """See `SharedStore`."""
        return await self._do(lambda book: book.renew(leases, lasts))

    async def restate(self, records: Sequence[Record]) -> None:
        """See `SharedStore`."""
        await self._do(lambda book: book.restate(records))

    async def cool(self, found: Incident) -> Page:
        """See `SharedStore`."""
        return await self._do(lambda book: book.cool(found))

    async def reopen(self, names: Sequence[str]) -> None:
        """See `SharedStore`."""
        await self._do(lambda book: book.reopen(names))

    async def teach(self, lesson: Lesson) -> Lesson:
        """See `SharedStore`."""
        return await self._do(lambda book: book.teach(lesson))

    async def look(self, names: Sequence[str]) -> tuple[Page, ...]:
        """See `SharedStore`. It waits for nobody."""
        return await self._do(lambda book: book.look(names), writes=False)

    async def aclose(self) -> None:
        """See `SharedStore`. What was asked before is still done."""
        self._users -= 1
        if self._users > 0 or (clerk := self._clerk) is None:
            return
        self._users, self._clerk, self._listeners = 0, None, []
        if self._process == os.getpid():
            clerk.stop()
            await asyncio.get_running_loop().run_in_executor(None, clerk.join, self._timeout)


def _let_go_at_fork(clerk: _Clerk) -> None:
    """A child keeps a copy of the file that the turnstile is locked by: it would stay locked after a parent's death."""
    known = weakref.ref(clerk)

    def let_go() -> None:
        if (clerk := known()) is not None:
            clerk.forked()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=let_go)
