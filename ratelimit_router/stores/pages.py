"""What a book is written on: the state of every account, and what each store has to be able to keep."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ratelimit_router.stores.gauges import Calendar, Continuous, Window
from ratelimit_router.stores.terms import Amounts, Lesson, Record

__all__ = ["COOLED", "OPEN", "PROBING", "Account", "Pages"]

OPEN, COOLED, PROBING = range(3)
"""An account is open; or was closed, and the next call is a probe; or waits until the verdict on a probe."""


@dataclass(slots=True)
class Account:
    """What is kept of one model or pool, besides its charges.

    `born`: of what was spent before nothing is known (0: nothing was). `lost`: somebody knows that something was.
    `last`: the latest instant that anything was charged for. `swept`: charges up to then were forgotten. `verdict`,
    `silence`: see `Incident`. `waiting`: lines to wake when a call ends, in their order.
    """

    born: int = 0
    lost: bool = False
    last: int = 0
    swept: int = 0
    epoch: int = 0
    state: int = OPEN
    until: int = 0
    verdict: int = 0
    silence: bool = True
    note: str = ""
    running: int = 0
    windows: dict[int, Window] = field(default_factory=dict)
    continuous: dict[str, Continuous] = field(default_factory=dict)
    calendars: dict[str, Calendar] = field(default_factory=dict)
    lessons: dict[str, Lesson] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    @property
    def gauges(self) -> "list[Window | Continuous | Calendar]":
        """Everything that is charged."""
        return [*self.windows.values(), *self.continuous.values(), *self.calendars.values()]


class Pages(Protocol):
    """Where a book is kept. Whatever one act of the book changes is kept as a whole, or not at all."""

    def account(self, name: str) -> Account:
        """What is known; a new one, born when the store was, if nothing is. It changes only when it is `put`."""
        ...

    def put(self, name: str, account: Account) -> None:
        """Keep an account."""
        ...

    def charges(self, name: str, after: int) -> Iterable[tuple[int, str, Amounts]]:
        """(instant, lease, cost) of an account's charges later than `after`, oldest first."""
        ...

    def charge(self, name: str, at: int, lease: str, cost: Amounts) -> None:
        """Note what a lease costs an account."""
        ...

    def discharge(self, name: str, at: int, lease: str) -> None:
        """Forget that."""
        ...

    def recharge(self, name: str, at: int, lease: str, cost: Amounts) -> None:
        """The same for a charge that is still kept; nothing is noted for one that was forgotten."""
        ...

    def forget(self, name: str, upto: int) -> None:
        """Forget all charges up to that instant."""
        ...

    def lease(self, lease: str) -> Record | None:
        """A lease, if it is known."""
        ...

    def keep(self, record: Record, until: int) -> None:
        """Keep a lease as it is now, until then at the least."""
        ...

    def overdue(self, now: int) -> Sequence[Record]:
        """Leases in flight that have expired."""
        ...
