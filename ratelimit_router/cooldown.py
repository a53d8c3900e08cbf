"""Whether a model (or pool) may be called at all: ready, cooling after a rejection, half open, or closed for good.

            rejected                    time                         success
    READY ------------> COOLING(until) ------> HALF_OPEN(window 1) ----------> window grows with each success
      ^                    ^                        |
      |                    +------------------------+ rejected: next incident        |
      +------------------------------------------------------------------------------+ wide, or old: ready
    any state -- zero quota, refused key, model gone --> CLOSED (only `reconfigure` opens it)

- One incident counts once. Leases carry the epoch in which they were granted; a rejection from an older epoch belongs
  to an incident that is known already: it can move the end of the cooldown later, if the service says so, but it never
  escalates. (Instants cannot tell this: a burst of rejections with a hint of 0 s ties with its own cooldown.)
- Cooling again never shortens.
- No hint: exponential backoff with full jitter, after an overload with equal jitter (both: AWS Architecture Blog,
  "Exponential Backoff And Jitter"), capped, forgotten after a healthy spell. A hint that keeps failing is distrusted:
  from the third incident in a row it is floored by that backoff. In a row means that no call was accepted in between: a
  probe that gets through proves the hint, whatever comes after it.
- A hint that is longer than the quota takes to come back whole cannot be true: the first is taken for one such period,
  the next for two, and so on.
- A daily quota with a hint is probed once after the hint; refused again, it stays closed until the day's reset.
- A call that has not been refused within `ACCEPTED_AFTER` was accepted: refusals are quick, answers are slow. Where
  refusals have been seen to take longer, so does that. It holds for quotas; after an overload only an answer counts.
- The window of a ramp grows by one with each success as long as it is `NARROW`, slowly from there on: whatever is in
  the air when a limit is hit will be refused, too.
- Slow start is the same ramp, from a wider window, in quicker steps, and without an incident before it. So is the way
  beyond a limit that once led to rejections (`doubt`), from a window of one.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from ratelimit_router.limits import DAY, QUOTAS
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.reasons import Reason

if TYPE_CHECKING:
    from random import Random

__all__ = ["Cooldown", "Incident", "Provenance", "State"]

ACCEPTED_AFTER = 0.3
"""Seconds without a refusal after which a call counts as accepted (measured: refusals take about 0.1 s)."""
LONGER = 1.25
"""Times as long as the slowest refusal of late took, if that is more; with each further one it counts half as much.

Never longer than `LONGEST_ACCEPTED_AFTER` seconds.
"""
LONGEST_ACCEPTED_AFTER = 60.0
SLOW_ACCEPTED_AFTER = 0.15
"""The same for slow start: a call too many does less harm than a start that takes too long."""
NARROW = 3
"""Unanswered calls up to which a ramp doubles its window in each round..."""
SLOW_GROWTH = 1 / 32
"""...and what each further success adds to it. After an overload it goes on doubling."""
BACKOFF = {Kind.RATE_LIMITED: (1.0, 2.0, 60.0), Kind.OVERLOADED: (0.4, 1.06, 30.0)}
"""The backoff's first ceiling in seconds, what each further one is multiplied with, and the longest."""
JITTER = {Kind.RATE_LIMITED: 1.0, Kind.OVERLOADED: 0.5}
"""The share of a ceiling that is left to chance.

An outage ends when it ends, and as long as nobody finds out its quota is lost. The more even the waits, the sooner that
is for as many probes, so only half of each is jitter; and ceilings grow by a seventeenth. On average the end of 12 s is
noticed half a second late (4 %), that of a minute 2 s (3 %), that of ten minutes 11 s (2 %), for 22, 45 and 85 probes.
"""
MOST_STEPS = 500
"""Steps after which every backoff is at its longest: more would only be too large a number."""
SHORTEST = 0.05
"""No cooldown is shorter, so that a hint of 0 s does not make a busy loop."""
HEALTHY_SPELL = 60.0
"""Seconds of readiness after which earlier incidents are forgotten."""
DISTRUST_FROM = 3
"""The incident in a row, without a call accepted in between, from which a hint is floored by the backoff."""
WIDE = 256
"""Unanswered calls at which a ramp is over..."""
RAMP_SECONDS = 10.0
"""...or its age since the first call was accepted, whichever comes first. After an overload only the window counts."""
LOST_AFTER = 120.0
"""Seconds after which a probe without any verdict is given up, and another may go."""


class State(StrEnum):
    """Where the machine is."""

    READY = "ready"
    SLOW_START = "slow_start"
    COOLING = "cooling"
    PROBING = "probing"
    CLOSED = "closed"


READY, SLOW_START, COOLING, PROBING, CLOSED = State  # in Python 3.11 `State.READY` takes as long as calling a method
RAMPS = SLOW_START, PROBING


class Provenance(StrEnum):
    """Who said how long."""

    SERVER = "server"
    """The service gave a hint."""
    QUOTA = "quota"
    """A named daily or zero quota: it lasts until the reset, or for good."""
    HEURISTIC = "heuristic"
    """Nobody: it is a backoff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One cooldown as it began, or as it was extended."""

    until: float
    provenance: Provenance
    reason: Kind
    quota: str | None
    strikes: int
    fresh: bool
    """False when the rejection belongs to an incident that was known already."""


_FOR_GOOD = {Kind.AUTH: Reason.KEY_REFUSED, Kind.BILLING: Reason.KEY_REFUSED, Kind.MODEL_GONE: Reason.GONE}


class Cooldown:
    """The state machine of one model or pool. All instants are seconds on the router's clock."""

    __slots__ = (
        "_acknowledges",
        "_daily_strikes",
        "_patience",
        "_ramp_from",
        "_rng",
        "_slowest",
        "_unanswered",
        "_vain",
        "closed_for",
        "epoch",
        "incident",
        "state",
        "strikes",
        "until",
        "window",
    )

    def __init__(self, rng: "Random", *, slow_start: int | None = None):
        self.state = READY if slow_start is None else SLOW_START
        self.epoch = 0
        self.strikes = 0
        self.until = -math.inf
        self.window: float = math.inf if slow_start is None else slow_start
        self.incident: Incident | None = None
        self.closed_for: Reason | None = None
        self._daily_strikes = 0
        self._vain = 0  # incidents in a row without a call accepted in between
        self._ramp_from = math.inf
        self._acknowledges = True  # whether silence counts as success
        self._patience = SLOW_ACCEPTED_AFTER
        self._slowest = 0.0  # seconds within which a refusal comes, as far as is known
        self._unanswered: dict[object, float] = {}  # lease -> instant of its grant, oldest first
        self._rng = rng

    @property
    def ready(self) -> bool:
        """Nothing to heed: no cooldown, no ramp."""
        return self.state is READY

    @property
    def full(self) -> bool:
        """In a ramp: nobody else is let through until a call is answered, or accepted."""
        return len(self._unanswered) >= self.window

    @property
    def room(self) -> float:
        """How many more calls may be let through until one of those in the air is answered, or accepted."""
        return self.window - len(self._unanswered)

    @property
    def probing(self) -> bool:
        """Half open after an incident, and nothing has come back well yet."""
        return self.state is PROBING and self.incident is not None

    @property
    def probes_next(self) -> bool:
        """The next lease is the probe."""
        return self.probing and self.window == 1 and not self._unanswered

    def opens_at(self, now: float) -> float:
        """The first instant at which a lease may be granted; infinity if only an event can open it."""
        if self.state is COOLING:
            if now < self.until:
                return self.until
            self.state, self.window, self._ramp_from = PROBING, 1, math.inf
            self._unanswered.clear()
        if self.state is READY:
            return now
        if self.state is CLOSED:
            return math.inf
        return self._ramp(now)

    def _ramp(self, now: float) -> float:
        patience = self.patience
        unanswered = self._unanswered
        while unanswered:
            lease, at = next(iter(unanswered.items()))
            if at + patience > now:
                break
            del unanswered[lease]
            if self._acknowledges:
                self._widen(at)
        if self.window >= WIDE or (self._acknowledges and now - self._ramp_from >= RAMP_SECONDS):
            self._be_ready()
        elif len(unanswered) >= self.window:
            return next(iter(unanswered.values())) + patience
        return now

    def _widen(self, accepted: float) -> None:
        """A call was accepted at that instant."""
        self._vain = 0
        self.window += 1 if self.window < NARROW or not self._acknowledges else SLOW_GROWTH
        if accepted < self._ramp_from:
            self._ramp_from = accepted

    @property
    def patience(self) -> float:
        """Seconds after which nobody waits any longer for the verdict on a call."""
        return max(self._patience, self._slowest) if self._acknowledges else LOST_AFTER

    def doubt(self) -> None:
        """A limit is about to be tried that may be too high: one call at first, and the next when that is accepted."""
        if self.state in (COOLING, CLOSED):
            return
        if self.ready:
            self.state, self._acknowledges = SLOW_START, True
        self.window, self._ramp_from, self._patience = 1, math.inf, ACCEPTED_AFTER

    def granted(self, lease: object, now: float) -> None:
        """A lease was granted while not `ready`: it counts against the window until it is answered."""
        self._unanswered[lease] = now

    def succeeded(self, lease: object, epoch: int, now: float) -> bool:
        """The service answered. Whether this ended the cooldown (the probe came back well)."""
        if epoch != self.epoch or self.state not in RAMPS:
            return False
        self._unanswered.pop(lease, None)
        self._widen(now)
        if self.incident is None:
            return False
        self.incident, self._daily_strikes = None, 0
        return True

    def released(self, lease: object) -> None:
        """A lease ended without a verdict on the service: its place in the window is free again."""
        self._unanswered.pop(lease, None)

    def rejected(
        self,
        lease: object,
        epoch: int,
        outcome: Outcome,
        now: float,
        day_reset: float,
        period: float = math.inf,
        took: float = 0.0,
    ) -> Incident | None:
        """The service refused a call, which `took` so many seconds. None if nothing changes.

        `day_reset`: when its daily quotas come back. `period`: the seconds in which the quota that was hit comes back
        whole, if that is known.
        """
        if outcome.kind is Kind.RATE_LIMITED:
            self._slowest = min(max(LONGER * took, self._slowest / 2), LONGEST_ACCEPTED_AFTER)
        outcome = self._plausible(outcome, epoch, now, period)
        self._unanswered.pop(lease, None)
        if self.state is CLOSED:
            return None
        if outcome.kind in _FOR_GOOD or outcome.limit == 0:
            return self._close(outcome)
        daily = outcome.quota is not None and _is_daily(outcome.quota)
        if epoch != self.epoch:
            return self._extend(outcome, now, daily, day_reset)
        self.epoch += 1
        if now - self.until > HEALTHY_SPELL:
            self.strikes = self._daily_strikes = self._vain = 0
        self.strikes += 1
        self._vain += 1
        self._daily_strikes += daily
        until, provenance = self._duration(outcome, now, daily, day_reset)
        return self._cool(outcome, max(until, self.until), provenance, fresh=True)

    def hear(self, outcome: Outcome, until: float, now: float, *, hinted: bool) -> Incident | None:
        """Another router has met an incident, which lasts until then. None if that is known, or makes no difference."""
        if self.state is State.CLOSED or until <= max(self.until, now):
            return None
        if until == math.inf:
            return self._close(outcome)
        self.epoch += 1
        self.strikes += 1
        self._vain += 1
        return self._cool(outcome, until, Provenance.SERVER if hinted else Provenance.HEURISTIC, fresh=True)

    def reopen(self) -> None:
        """The operator changed something: start afresh, with a probe if there was an incident."""
        self.closed_for = None
        if self.state is CLOSED:
            self.state, self.until = COOLING, -math.inf

    def _duration(self, outcome: Outcome, now: float, daily: bool, day_reset: float) -> tuple[float, Provenance]:
        hint = outcome.retry_after
        if daily:
            if hint is None or self._daily_strikes > 1:
                return max(day_reset, now + (hint or 0.0)), Provenance.QUOTA
            return now + max(hint, SHORTEST), Provenance.QUOTA
        if hint is None:
            return now + self._backoff(outcome.kind, self._vain), Provenance.HEURISTIC
        if self._vain >= DISTRUST_FROM:
            hint = max(hint, self._backoff(outcome.kind, self._vain - DISTRUST_FROM + 1))
        return now + max(hint, SHORTEST), Provenance.SERVER

    def _plausible(self, outcome: Outcome, epoch: int, now: float, period: float) -> Outcome:
        """The same without a hint that is longer than a quota can take to come back, unless that is told repeatedly."""
        if outcome.retry_after is None or outcome.kind is not Kind.RATE_LIMITED:
            return outcome
        again = self.strikes if now - self.until <= HEALTHY_SPELL else 0
        longest = period * max(again + (epoch == self.epoch), 1)
        return replace(outcome, retry_after=min(outcome.retry_after, longest))

    def _backoff(self, kind: Kind, strike: int) -> float:
        first, growth, longest = BACKOFF[kind]
        ceiling = min(first * growth ** min(strike - 1, MOST_STEPS), longest)
        return max(self._rng.uniform((1.0 - JITTER[kind]) * ceiling, ceiling), SHORTEST)

    def _extend(self, outcome: Outcome, now: float, daily: bool, day_reset: float) -> Incident | None:
        if self.state not in (COOLING, PROBING):
            return None
        if daily and outcome.retry_after is None:
            until, provenance = day_reset, Provenance.QUOTA
        elif outcome.retry_after is not None:
            until, provenance = now + outcome.retry_after, Provenance.QUOTA if daily else Provenance.SERVER
        else:
            return None
        return self._cool(outcome, until, provenance, fresh=False) if until > max(self.until, now) else None

    def _cool(self, outcome: Outcome, until: float, provenance: Provenance, *, fresh: bool) -> Incident:
        self.state, self.until = COOLING, until
        self._acknowledges, self._patience = outcome.kind is Kind.RATE_LIMITED, ACCEPTED_AFTER
        self._unanswered.clear()
        self.incident = Incident(
            until=until,
            provenance=provenance,
            reason=outcome.kind,
            quota=outcome.quota,
            strikes=self.strikes,
            fresh=fresh,
        )
        return self.incident

    def _close(self, outcome: Outcome) -> Incident:
        self.epoch += 1
        incident = self._cool(outcome, math.inf, Provenance.QUOTA, fresh=True)
        self.state = CLOSED
        self.closed_for = _FOR_GOOD.get(outcome.kind, Reason.NO_QUOTA)
        return incident

    def _be_ready(self) -> None:
        self.state, self.window, self.incident = READY, math.inf, None
        self._unanswered.clear()


def _is_daily(quota: str) -> bool:
    name = quota.rpartition(".")[2]
    return name in QUOTAS and QUOTAS[name][1] >= DAY
