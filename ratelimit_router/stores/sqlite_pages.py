"""The pages of a book in the tables of one SQLite database: rows for charges and leases, JSON for an account.

A charge is a row of its own, so that an act reads and writes what it touches and not a whole day. Within one
transaction an account is read once and written once.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from ratelimit_router.stores.gauges import Calendar, Continuous, Window
from ratelimit_router.stores.pages import Account
from ratelimit_router.stores.terms import Amounts, Change, Lesson, Record

__all__ = ["TABLES", "SqlitePages"]

TABLES = (
    "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), now INTEGER NOT NULL)",
    "INSERT INTO meta VALUES (1, 0)",
    "CREATE TABLE accounts (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE charges (account TEXT, at INTEGER, lease TEXT, requests INTEGER NOT NULL, input INTEGER NOT NULL,"
    " output INTEGER NOT NULL, total INTEGER NOT NULL, PRIMARY KEY (account, at, lease)) WITHOUT ROWID",
    "CREATE TABLE leases (lease TEXT PRIMARY KEY, line TEXT NOT NULL, accounts TEXT NOT NULL, at INTEGER NOT NULL,"
    " cost TEXT NOT NULL, expires INTEGER NOT NULL, running INTEGER NOT NULL, ended INTEGER NOT NULL,"
    " keep INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX overdue ON leases (expires, lease) WHERE running",
    "CREATE INDEX outdated ON leases (keep) WHERE NOT running",
    "CREATE TABLE changes (id INTEGER PRIMARY KEY, change TEXT NOT NULL)",
)
"""The schema. `meta.now`: the latest instant that anybody was told. `leases.keep`: how long a lease is remembered."""

HEARD = 4096
"""So many changes are kept for other processes to hear of; whoever misses more is told to look at everything anew."""

_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class SqlitePages:
    """See `Pages`. Every method belongs into a transaction that somebody else begins and ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._soonest = 0  # no lease that is in flight expires earlier

    # -- accounts and their charges ------------------------------------------------------------------------------------

    def account(self, name: str) -> Account:
        """See `Pages`. Of a new file it is known that nothing was spent: an account that it does not name is full."""
        row = self._run("SELECT state FROM accounts WHERE name = ?", (name,)).fetchone()
        return Account() if row is None else _account(_decode(row[0]))

    def put(self, name: str, account: Account) -> None:
        """See `Pages`."""
        self._run("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (name, _encode(_state(account))))

    def charges(self, name: str, after: int) -> Iterable[tuple[int, str, Amounts]]:
        """See `Pages`."""
        query = "SELECT at, lease, requests, input, output, total FROM charges WHERE account = ? AND at > ? ORDER BY at"
        for at, lease, requests, inputs, outputs, total in self._run(query, (name, after)):
            yield at, lease, (requests, inputs, outputs, total)

    def charge(self, name: str, at: int, lease: str, cost: Amounts) -> None:
        """See `Pages`."""
        self._run("INSERT OR REPLACE INTO charges VALUES (?, ?, ?, ?, ?, ?, ?)", (name, at, lease, *cost))

    def discharge(self, name: str, at: int, lease: str) -> None:
        """See `Pages`."""
        self._run("DELETE FROM charges WHERE account = ? AND at = ? AND lease = ?", (name, at, lease))

    def recharge(self, name: str, at: int, lease: str, cost: Amounts) -> None:
        """See `Pages`."""
        self._run(
            "UPDATE charges SET requests = ?, input = ?, output = ?, total = ?"
            " WHERE account = ? AND at = ? AND lease = ?",
            (*cost, name, at, lease),
        )

    def forget(self, name: str, upto: int) -> None:
        """See `Pages`."""
        self._run("DELETE FROM charges WHERE account = ? AND at <= ?", (name, upto))

    # -- leases --------------------------------------------------------------------------------------------------------

    def lease(self, lease: str) -> Record | None:
        """See `Pages`."""
        row = self._run(f"SELECT {_RECORD} FROM leases WHERE lease = ?", (lease,)).fetchone()  # noqa: S608 ours
        return None if row is None else _record(row)

    def keep(self, record: Record, until: int) -> None:
        """See `Pages`."""
        if record.running:
            self._soonest = min(self._soonest, record.expires)
        self._run(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.lease,
                record.line,
                _encode([record.accounts, record.epochs]),
                record.at,
                _encode(record.cost),
                record.expires,
                record.running,
                record.ended,
                until,
            ),
        )

    def overdue(self, now: int) -> Sequence[Record]:
        """See `Pages`."""
        if self._soonest > now:
            return []
        query = f"SELECT {_RECORD} FROM leases WHERE running AND expires <= ? ORDER BY expires, lease"  # noqa: S608 ours
        return [_record(row) for row in self._run(query, (now,)).fetchall()]

    # -- what a store in a file needs besides --------------------------------------------------------------------------

    def begin(self) -> tuple[int, int]:
        """The latest instant that anybody was told (time goes on from there), and the number of the latest change."""
        now, latest, self._soonest = self._run(_BEGIN).fetchone()
        return now, latest

    def tell_time(self, now: int) -> None:
        """From now on it is not earlier than that."""
        self._run("UPDATE meta SET now = ?", (now,))

    def publish(self, change: Change) -> int:
        """Have other processes hear of a change. Returns its number."""
        text = _encode([change.wake, change.accounts])
        return self._run("INSERT INTO changes (change) VALUES (?)", (text,)).lastrowid or 0

    def heard(self, since: int) -> tuple[int, tuple[Change, ...]]:
        """What has changed since that number, and the number of the latest change."""
        rows = self._run("SELECT id, change FROM changes WHERE id > ? ORDER BY id", (since,)).fetchall()
        if not rows:
            return since, ()
        missed = rows[0][0] > since + 1
        found = [Change(wake=tuple(wake), accounts=tuple(accounts)) for wake, accounts in map(_decode, _second(rows))]
        return rows[-1][0], (Change(anew=True), *found) if missed else tuple(found)

    def tidy(self, now: int) -> None:
        """Forget leases that nobody will ask about any more, and changes that everybody has heard of."""
        self._run("DELETE FROM leases WHERE NOT running AND keep < ?", (now,))
        self._run("DELETE FROM changes WHERE id <= (SELECT max(id) FROM changes) - ?", (HEARD,))


_BEGIN = (
    "SELECT now, (SELECT coalesce(max(id), 0) FROM changes),"
    " (SELECT coalesce(min(expires), 9007199254740991) FROM leases WHERE running) FROM meta"  # NEVER
)
_RECORD = "lease, line, accounts, at, cost, expires, running, ended"


def _second(rows: Sequence[tuple[int, str]]) -> list[str]:
    return [text for _, text in rows]


def _record(row: tuple[Any, ...]) -> Record:
    lease, line, text, at, cost, expires, running, ended = row
    accounts, epochs = _decode(text)
    requests, inputs, outputs, total = _decode(cost)
    return Record(
        lease=lease,
        line=line,
        accounts=tuple(accounts),
        epochs=tuple(epochs),
        at=at,
        cost=(requests, inputs, outputs, total),
        expires=expires,
        running=bool(running),
        ended=bool(ended),
    )


_PLAIN = (
    "born",
    "lost",
    "last",
    "swept",
    "epoch",
    "state",
    "until",
    "verdict",
    "silence",
    "note",
    "running",
    "waiting",
)


def _state(account: Account) -> dict[str, Any]:
    state = {name: getattr(account, name) for name in _PLAIN}
    state["windows"] = [[period, one.tail, one.next, one.seen, one.used] for period, one in account.windows.items()]
    state["continuous"] = [
        [name, one.unit, one.interval, one.full_at, one.instants, one.missing]
        for name, one in account.continuous.items()
    ]
    state["calendars"] = [
        [name, one.unit, one.opens, one.closes, one.guard, one.used, one.early]
        for name, one in account.calendars.items()
    ]
    state["lessons"] = [
        [one.account, quota, one.version, one.amount, one.capacity, one.text] for quota, one in account.lessons.items()
    ]
    return state


def _account(state: dict[str, Any]) -> Account:
    account = Account(**{name: state[name] for name in _PLAIN})
    account.windows = {period: Window(*rest) for period, *rest in state["windows"]}
    account.continuous = {name: Continuous(*rest) for name, *rest in state["continuous"]}
    account.calendars = {name: Calendar(*rest) for name, *rest in state["calendars"]}
    account.lessons = {
        quota: Lesson(account=name, quota=quota, version=version, amount=amount, capacity=capacity, text=text)
        for name, quota, version, amount, capacity, text in state["lessons"]
    }
    return account
