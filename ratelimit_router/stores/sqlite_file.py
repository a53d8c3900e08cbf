"""One SQLite file that is ours: made, recognised, and locked for one short transaction at a time.

SQLite's own lock decides. Its way to wait for it is to sleep, for up to 100 ms; so processes take turns at an advisory
lock beside it (`flock` on a file of its own), which nobody waits for either: whoever finds it taken looks again after a
nap of 20 us to 1 ms. Nothing but speed depends on it: where there is no `flock`, SQLite's lock is looked at instead.

The write-ahead log is folded into the file over a connection of its own, so that no event loop waits for the disk.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ratelimit_router.errors import ConfigError, StoreUnavailable
from ratelimit_router.stores.sqlite_pages import TABLES

locks: Any
try:
    import fcntl
except ImportError:  # Windows
    locks = None
else:
    locks = fcntl

__all__ = ["Database", "is_busy", "naps"]

APPLICATION = 0x7172_6F75  # "qrou"
VERSION = 1
FIRST_NAP, LONGEST_NAP = 20e-6, 1e-3


def naps(until: float) -> Iterator[None]:
    """Try once, and again after each of these, up to that instant of the monotonic clock.

    It naps, since an advisory lock cannot be waited for with a time limit.
    """
    nap = FIRST_NAP
    yield
    while time.monotonic() < until:
        time.sleep(nap)
        nap = min(1.5 * nap, LONGEST_NAP)
        yield


class Turnstile:
    """The advisory lock beside the file. A process that dies leaves it open."""

    def __init__(self, path: Path) -> None:
        self._file = -1 if locks is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def enter(self) -> bool:
        """Whether nobody else is in."""
        if self._file < 0:
            return True
        try:
            locks.flock(self._file, locks.LOCK_EX | locks.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # this file system knows no such lock
            self.close()
        return True

    def leave(self) -> None:
        """Let the next one in."""
        if self._file >= 0:
            locks.flock(self._file, locks.LOCK_UN)

    def close(self) -> None:
        """Let go of it for good."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)


class Database:
    """An open connection, which any thread may use, one at a time. It never waits for other processes.

    Raises ConfigError for whatever cannot be used, with its cure, and StoreUnavailable if it stays locked.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self.path, self._timeout = path, timeout
        try:
            _check_place(path)
            self._turnstile = Turnstile(path.with_name(path.name + "-lock"))
            self.connection = self._connect()
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def _connect(self) -> sqlite3.Connection:
        entered = any(self._turnstile.enter() for _ in naps(time.monotonic() + self._timeout))
        try:
            if not entered:
                raise self.locked()
            _make(self.path)
            connection = sqlite3.connect(
                _uri(self.path), uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            self._turnstile.close()
            raise
        self._turnstile.leave()
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make sure that the file is ours, or make it so."""
        connection.execute("BEGIN")  # all three as of one moment: somebody else may be making the file
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application, version = _number(connection, "application_id"), _number(connection, "user_version")
        connection.execute("COMMIT")
        new = not (application or version or tables)
        if not new and application != APPLICATION:
            raise self._wrong("is an SQLite database of another application: name another file, which will be made")
        if version > VERSION:
            raise self._wrong(
                f"was written by a newer version of ratelimit-router (schema {version}, this one knows {VERSION}):"
                " update this process, or name another file"
            )
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise self._wrong("is where SQLite's write-ahead log does not work: put it on a local disk")
        if new:
            connection.execute("BEGIN IMMEDIATE")
            if not _number(connection, "user_version"):  # nobody was quicker, without a turnstile
                for statement in TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        for setting in ("synchronous = NORMAL", "wal_autocheckpoint = 0", "busy_timeout = 0"):
            connection.execute(f"PRAGMA {setting}")

    # -- one transaction -----------------------------------------------------------------------------------------------

    def begin(self, *, writes: bool) -> bool:
        """Begin, unless somebody else is writing: only to read waits for nobody."""
        if writes and not self._turnstile.enter():
            return False
        try:
            self.connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        except sqlite3.Error as error:
            self._turnstile.leave()
            if is_busy(error):
                return False
            raise
        return True

    def end(self, *, commit: bool) -> None:
        """Keep what was written, or nothing of it."""
        try:
            if commit:
                self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
            self._turnstile.leave()

    def version(self) -> int:
        """Another number whenever another connection has written."""
        return _number(self.connection, "data_version")

    def fold(self, until: float) -> bool:
        """Fold the log into the file, while nobody writes, if that can be begun by then.

        SQLite could do so while others write, but for a race that loses what they have written (before 3.51.3:
        https://www.sqlite.org/wal.html#walresetbug).
        """
        if not any(self._turnstile.enter() for _ in naps(until)):
            return False
        try:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            self._turnstile.leave()
        return True

    def close(self) -> None:
        """Close the file. The last one to do so folds the log into it."""
        self.connection.close()
        self._turnstile.close()

    def abandon(self) -> None:
        """In a process that was forked off: let go of the turnstile, which would stay locked after a parent's death."""
        self._turnstile.close()

    # -- errors --------------------------------------------------------------------------------------------------------

    def locked(self) -> StoreUnavailable:
        """Somebody else has it for too long."""
        return StoreUnavailable(str(self.path), f"another process has locked it for more than {self._timeout:g} s")

    def failed(self, error: sqlite3.Error) -> StoreUnavailable:
        """An act could not be done."""
        return StoreUnavailable(str(self.path), f"SQLite says: {error}")

    def _wrong(self, problem: str) -> ConfigError:
        return ConfigError(problem, key="store", file=str(self.path))

    def _unusable(self, error: sqlite3.Error | OSError) -> Exception:
        if is_busy(error):
            return self.locked()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            return self._wrong("is no SQLite database: name another file, which will be made")
        if code == sqlite3.SQLITE_CORRUPT:
            return self._wrong("is damaged: restore it, or move it away (what was spent is forgotten then)")
        return self._wrong(f"cannot be used ({error}): it has to be a file on a local disk that can be written")


def is_busy(error: BaseException) -> bool:
    """Whether somebody else had locked it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _make(path: Path) -> None:
    """Make a private file, if there is none.

    One that exists is not even opened: to close it again would drop the locks that SQLite holds for this process
    (https://www.sqlite.org/howtocorrupt.html, section 2.2), and whoever closes it elsewhere would delete the log.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _check_place(path: Path) -> None:
    """Say what SQLite would only call "unable to open database file"."""
    if not path.parent.is_dir():
        problem = f"the directory {path.parent} does not exist: make it first"
    elif path.exists() and not path.is_file():
        problem = "is not a file: name a file, which will be made"
    elif not _writable(path.parent):
        problem = f"nothing can be written in the directory {path.parent}, where SQLite's log has to be: allow it"
    elif path.exists() and not _writable(path):
        problem = "the file cannot be written: allow it, or name another one"
    else:
        return
    raise ConfigError(problem, key="store", file=str(path))


def _writable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _uri(path: Path) -> str:
    return path.absolute().as_uri()


def _number(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
