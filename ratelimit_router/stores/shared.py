"""What a store has to do that several routers share."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ratelimit_router.errors import ConfigError
from ratelimit_router.stores.terms import Answer, Ask, Change, End, Incident, Lesson, Page, Record

__all__ = ["LEASE", "SharedStore", "check_lease"]

LEASE = 30.0
"""Seconds that a lease is good for, where nothing else is said."""


def check_lease(seconds: float) -> float:
    """The same. Raises ConfigError unless it is a number of seconds from 0.1 to an hour."""
    if not 0.1 <= seconds <= 3600:
        raise ConfigError(f"must be from 0.1 to 3600 seconds, not {seconds!r}", key="lease")
    return seconds


@runtime_checkable
class SharedStore(Protocol):
    """State that routers in several processes share. Every method is one atomic act; `Book` says what it does.

    `lease`: seconds that a lease is good for: what a process that died had in flight is back then. Routers renew theirs
    three times as often.

    All raise StoreUnavailable where the store cannot be reached in time. Whether the act has happened is not known
    then; each may be repeated, which changes nothing if it has.
    """

    @property
    def lease(self) -> float:
        """See above."""
        ...

    async def open(self, heard: Callable[[Change], None]) -> None:
        """Start, and have `heard` called with everything that another router changes. Raises ConfigError for a store
        that is not ours, or of another version.
        """
        ...

    async def admit(self, ask: Ask) -> Answer:
        """Serve the first of the wants that can be, in order, and book the next."""
        ...

    async def end(self, ends: Sequence[End]) -> None:
        """Calls are over."""
        ...

    async def renew(self, leases: Sequence[str], lasts: int) -> tuple[str, ...]:
        """Calls are still in flight: `lasts` microseconds more. Returns those that the store does not know."""
        ...

    async def restate(self, records: Sequence[Record]) -> None:
        """Charge leases that the store may have lost, or was never told of."""
        ...

    async def cool(self, found: Incident) -> Page:
        """A call was rejected. Returns the account as it is then."""
        ...

    async def reopen(self, names: Sequence[str]) -> None:
        """Closed accounts are tried again, with a probe."""
        ...

    async def teach(self, lesson: Lesson) -> Lesson:
        """What was learned of a quota. Returns the lesson that stands."""
        ...

    async def look(self, names: Sequence[str]) -> tuple[Page, ...]:
        """What is known of these accounts."""
        ...

    async def aclose(self) -> None:
        """Let go of everything that is held open."""
        ...
