"""What must always hold, by name, and the record of a moment at which it did not."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Breach", "Invariant"]


class Invariant(StrEnum):
    """The numbers are those of the table in `docs/how-to/soak.md`; the words are what a failure prints."""

    WINDOW = "1. in every window no more is admitted than the refill allows"
    IN_FLIGHT = "1. no more calls are in flight than the limit allows"
    EARLY = "2. nobody is told, or served at, an instant at which no model can be free"
    LATE = "2. whoever can be served is served at the very instant at which a model is free"
    CHARGES = "3. what is charged is what was used, what is in flight, and nothing else"
    ENDS_ONCE = "3. a lease ends once: whatever comes after changes nothing"
    DENIAL = "3. a denial changes nothing"
    CAPACITY = "4. no level is above its capacity, and no capacity above the configured one"
    ORDER = "5. within a tier and a priority nobody is overtaken by whom he could have gone before"
    WEIGHT = "5. no tier is served out of its weight while another could be"
    WAITERS = "5. no waiter is lost, and none is left behind"
    DEADLINE = "5. nobody waits, or is served, past a deadline"
    DEADLOCK = "5. nobody waits for what will never come"
    TIMER = "7. at most one timer, none when nobody waits, and none that spins"
    SHORTENED = "8. cooling again never shortens, and nothing opens before its time"
    INCIDENT = "8. one incident counts once"
    PROBE = "8. after a cooldown one probe goes first"
    LEFT_OVER = "9. when all is done nothing is left: in line, in flight, on the clock"
    ENDS = "9. every task ends with an answer or with an error of ours"
    REPLAY = "10. a run that is played again is the same to the byte"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """`invariant` was broken at `at` (seconds on the router's clock): `what` happened."""

    invariant: Invariant
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} -- at {self.at:.6f} s: {self.what}"
