"""What a router and a shared store say to each other: whole numbers, and instants on the store's own clock.

Every instant is in microseconds since 1970 by the store's clock, every duration in microseconds, every amount a whole
number. A router never tells a store what time it is, so a client whose clock is wrong spends nothing too early.
"""

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "NEVER",
    "NOTHING",
    "Amounts",
    "Answer",
    "Ask",
    "Change",
    "Denial",
    "End",
    "Grant",
    "Incident",
    "Kind",
    "Lesson",
    "Offer",
    "Page",
    "Ration",
    "Record",
    "Terms",
    "Want",
    "Why",
]

Amounts = tuple[int, int, int, int]
"""Requests, input tokens, output tokens, total tokens."""
NOTHING: Amounts = (0, 0, 0, 0)
"""What a call costs that was never made."""

NEVER = 2**53 - 1
"""An instant that no clock will show: the largest whole number that every language in use here can count to."""


class Kind(IntEnum):
    """How what was spent comes back; see `limits`."""

    CONTINUOUS = 0
    ROLLING = 1
    CALENDAR = 2


class Why(IntEnum):
    """What keeps a model from being called."""

    QUOTA = 0
    CONCURRENCY = 1
    COOLING = 2
    PROBING = 3
    TOO_LARGE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ration:
    """One quota: `amount` per `period`, at most `capacity` at once; `unit` is the place in `Amounts` that it counts.

    `ceiling`: what the capacity is known to be, where `capacity` is a more careful guess; a larger request never fits,
    a smaller one waits until the capacity is whole, and leaves a debt. `guard`: everything is believed to come back so
    much later. `opens`, `closes`: the window of a calendar quota that the asker believes to be the present one.
    """

    name: str
    unit: int
    kind: Kind
    amount: int
    period: int
    capacity: int
    ceiling: int
    guard: int = 0
    opens: int = 0
    closes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one model, or one pool, allows. `concurrency`: calls in flight; 0: any number."""

    name: str
    rations: tuple[Ration, ...] = ()
    concurrency: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One candidate of a chain: a model, then the pools that it draws on."""

    accounts: tuple[Terms, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One request. `lease`: the id that its lease will have; asking again with the same id charges once.

    After the lease has ended, or was given up, its id gets nothing any more.

    `within`: a booking is of use that is no further ahead (0: none is).
    """

    lease: str
    cost: Amounts
    within: int = NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A call is over. `cost`: what it really used (None: what was charged; NOTHING: it was never made).

    `answered`: it went well, as far as the service's quotas are concerned.
    """

    lease: str
    cost: Amounts | None = None
    answered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The first requests of a line, in their order, and the steps of its chain that they may take.

    `line`: whom to wake when something changes for those who were not served. `lasts`: how long a lease is good for
    unless it is renewed. `instead`: a booking that is given up first, for a better one. `ends`: calls that have ended
    meanwhile, before anybody is served. Without wants the line leaves: what it waited for is offered to the next.

    `waits`: the line may stand in waiting lists of these accounts (it was denied, or an answer was lost): it leaves all
    where it lacks nothing. Without it only the accounts are looked at that decide: mostly those of the first step.
    """

    line: str
    steps: tuple[tuple[Offer, ...], ...]
    wants: tuple[Want, ...]
    lasts: int
    instead: str = ""
    ends: tuple[End, ...] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A lease: charged from `at` on, which may be yet to come (a booking). `offer`: which one, counted over all steps
    (-1: one that is not offered any more, to somebody who asks again; end it, and ask with another id).

    `epochs`: of the cooldowns of the model and of each pool.
    """

    lease: str
    offer: int
    at: int
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Why a candidate cannot be had, and the earliest instant at which it can (NEVER: not by itself)."""

    at: int
    why: Why
    account: str
    quota: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Who was served: the first of the wants, in order. The last grant may be a booking.

    `denials`: of the last want that was looked at: for every offer if it could not be served at once, else for those
    before the one that it got.
    `stale`: a calendar window was not the present one: nothing was done; ask again with those that hold at `now`.
    """

    now: int
    grants: tuple[Grant, ...] = ()
    denials: tuple[Denial, ...] = ()
    stale: bool = False


@dataclass(slots=True, kw_only=True)
class Record:
    """A lease as the store keeps it. `epochs`: of the cooldown of each of the `accounts` when it was granted.

    `running`: it counts as in flight: it has neither `ended` nor expired.
    """

    lease: str
    line: str
    accounts: tuple[str, ...]
    epochs: tuple[int, ...]
    at: int
    cost: Amounts
    expires: int
    running: bool = True
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A rejection of a call. `epoch`: of the account's cooldown when the call was granted.

    `lasts`: how long the account is closed from now on; `extends`: also if others have reported the incident before.
    `verdict`: how long a probe is waited for; `silence`: whether a probe without an answer has gone well by then.
    `note`: whatever other routers are to know of it.
    """

    account: str
    epoch: int
    lasts: int
    extends: bool
    verdict: int
    silence: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What was learned of a quota: `amount` and `capacity` are what it is believed to hold now (0: as configured).

    `version`: of the lesson that this one builds upon; if the store has a later one, that stands. `text`: whatever
    other routers are to know of it.
    """

    account: str
    quota: str
    version: int
    amount: int
    capacity: int
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What others should know. `wake`: lines that should ask again; `accounts`: they closed, opened or learned.

    `anew`: the store may have forgotten something, or news of it may have been missed: restate, look, and ask again.
    """

    wake: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    anew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the store knows of one account at `now`.

    `until`: closed until then (0: open), for the reason in `note`. `charges`: (instant, cost) of everything that is
    kept, oldest first. `continuous`: (quota, instant at which it will be full). `calendar`: (quota, opens, used).
    """

    name: str
    now: int
    epoch: int = 0
    until: int = 0
    note: str = ""
    running: int = 0
    charges: tuple[tuple[int, Amounts], ...] = ()
    continuous: tuple[tuple[str, int], ...] = ()
    calendar: tuple[tuple[str, int, int], ...] = ()
    lessons: tuple[Lesson, ...] = ()
