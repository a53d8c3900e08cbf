"""Whether a model or pool is open, as an onlooker sees it: cooldowns keep their word, and a probe goes first."""

import math
from collections.abc import Iterator

from ratelimit_router.account import Account
from ratelimit_router.cooldown import ACCEPTED_AFTER, LOST_AFTER, State
from ratelimit_router.outcomes import Kind
from ratelimit_router.simulation.audit.breach import Invariant
from ratelimit_router.simulation.audit.held import Held
from ratelimit_router.simulation.audit.spends import EPSILON

__all__ = ["Door"]

Found = Iterator[tuple[Invariant, str]]


class Door:
    """The cooldown of one account. `incidents`: how many there have been."""

    def __init__(self, account: Account):
        self._account, self._cooldown = account, account.cooldown
        self.incidents = 0
        self._epoch, self._strikes, self._until = self._cooldown.epoch, self._cooldown.strikes, -math.inf
        self._probe: Held | None = None
        self._to_probe = False
        self._patience = ACCEPTED_AFTER

    def must_be_open(self, now: float) -> bool:
        """Whether a call has to be let through now, as far as cooldowns decide. Looks, and changes nothing."""
        cooldown = self._cooldown
        if cooldown.state is State.CLOSED:
            return False
        if cooldown.until > now - EPSILON:
            return False
        if cooldown.state is State.COOLING:
            return True
        unanswered = cooldown._unanswered
        if len(unanswered) < cooldown.window:
            return True
        return next(iter(unanswered.values())) + cooldown.patience <= now - EPSILON

    def may_open_by(self, now: float) -> bool:
        """Whether a call could be let through then, unless something else happens until then."""
        return self._cooldown.state is not State.CLOSED and self._until <= now + EPSILON

    def passed(self, held: Held, now: float) -> Found:
        """A call was let through."""
        if now < self._until:
            yield Invariant.SHORTENED, f"{self._account.name} was to be closed for {self._until - now:g} s more"
        if self._to_probe:
            self._probe, self._to_probe = held, False
        elif (probe := self._probe) is not None:
            silent = now >= probe.at + self._patience - EPSILON
            if not (probe.over or silent):
                yield Invariant.PROBE, f"{self._account.name} let another call through while its probe was out"
            accepted = probe.answered or (silent and self._patience == ACCEPTED_AFTER)
            self._probe = None if accepted else held

    def answers(self, held: Held) -> None:
        """A call came back that the service let in: a probe, if the latest incident had begun before it."""
        if self._cooldown.state is not State.COOLING and held.incidents(self) == self.incidents:
            self._probe, self._to_probe = None, False

    def look(self, rejected: Held | None, now: float, *, reconfigured: bool) -> Found:
        """What has changed. `rejected`: the call that a service has just refused, or not answered."""
        cooldown = self._cooldown
        until = cooldown.until if cooldown.state in (State.COOLING, State.CLOSED) else -math.inf
        reopened = reconfigured and self._until == math.inf
        if until < self._until and now < self._until and not reopened:
            yield Invariant.SHORTENED, f"{self._account.name} opens {self._until - max(until, now):g} s too early"
        self._until = until
        yield from self._count(rejected)
        if cooldown.state is State.COOLING:
            self._to_probe, self._probe = True, None

    def _count(self, rejected: Held | None) -> Found:
        cooldown = self._cooldown
        if cooldown.epoch == self._epoch:
            if cooldown.strikes > self._strikes:
                yield Invariant.INCIDENT, f"{self._account.name} escalates without a new incident"
        elif cooldown.state is not State.CLOSED and (rejected is None or rejected.incidents(self) != self.incidents):
            yield Invariant.INCIDENT, f"{self._account.name} counts a call from before its latest incident"
        self.incidents += cooldown.epoch != self._epoch
        if (incident := cooldown.incident) is not None:
            self._patience = ACCEPTED_AFTER if incident.reason is Kind.RATE_LIMITED else LOST_AFTER
        self._epoch, self._strikes = cooldown.epoch, cooldown.strikes
