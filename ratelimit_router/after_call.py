"""What a call that is over means for the model it was made on, for its pools and for the other models of its key.

| outcome                         | charge            | model                                                     |
|---------------------------------|-------------------|-----------------------------------------------------------|
| settled                         | corrected         | ramps widen, cuts grow back                               |
| bad request, bad response       | kept              | the same: the service did answer                          |
| rate limited                    | kept              | cools; its limit, or the pool's, may be learned           |
| overloaded                      | kept              | cools for a short backoff, learns nothing                 |
| refused key, no money           | kept              | every model of the key is closed for good                 |
| model gone                      | kept              | closed for good                                           |
| not sent                        | given back        | unchanged; the third silence in a row cools it            |
| timeout                         | kept              | the same; a probe that times out has failed               |
| cancelled before use            | given back        | unchanged                                                 |
| cancelled, unknown              | kept              | unchanged                                                 |
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ratelimit_router.account import Account
from ratelimit_router.herald import Herald
from ratelimit_router.learning import learn_limit, learn_refusal, learn_remaining, recover, reject
from ratelimit_router.lease import Lease
from ratelimit_router.limits import DAY
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Kind, Outcome

__all__ = ["AfterCall"]

LONGEST_HINT = 7 * DAY
"""No service is believed that asks for more seconds than this."""

SILENCES = 3
"""Calls in a row without any answer after which a model cools."""

CLOSED = {
    Kind.AUTH: "the service refuses its key",
    Kind.BILLING: "the account behind its key cannot pay",
    Kind.MODEL_GONE: "the service does not know it",
    Kind.RATE_LIMITED: "the service grants it a quota of zero",
    Kind.OVERLOADED: "the service is gone",
}
"""What the operator is told."""

log = logging.getLogger("ratelimit_router")

_ANSWERED = frozenset({Kind.BAD_REQUEST, Kind.BAD_RESPONSE})
_REJECTED = frozenset({Kind.RATE_LIMITED, Kind.OVERLOADED, Kind.AUTH, Kind.BILLING, Kind.MODEL_GONE})


class AfterCall:
    """`siblings(model)`: the accounts of every model with the same key."""

    def __init__(self, clock: Callable[[], float], herald: Herald, siblings: Callable[[Model], list[Account]]):
        self._clock, self._herald, self._siblings = clock, herald, siblings

    def succeeded(self, lease: Lease) -> bool:
        """The rest of `Lease.settle`, for models that are not just ready. Whether it may have made room for others."""
        now, room = self._clock(), False
        for share in lease.shares:
            room = room or share.pool.in_flight >= share.pool.concurrency
            share.pool.in_flight -= 1
            share.pool.settled += 1
        room = self._answered(lease, lease.candidate.account, lease.epoch, now) or room
        for share in lease.shares:
            room = self._answered(lease, share.pool, share.epoch, now) or room
        return room

    def refund(self, lease: Lease) -> None:
        """Nothing was sent: everything is given back."""
        lease.refund()
        self._release(lease)

    def failed(self, lease: Lease, outcome: Outcome) -> bool:
        """Act on a failure. Whether something was closed by it."""
        if outcome.kind is Kind.NOT_SENT:
            self.refund(lease)
            return self._silence(lease, SILENCES)
        if outcome.kind is Kind.TIMEOUT:
            allowed = 1 if lease.candidate.account.cooldown.probing else SILENCES
            self._release(lease)
            return self._silence(lease, allowed)
        if outcome.kind in _REJECTED:
            self._release(lease)
            return self._rejected(lease, _believable(outcome))
        if outcome.kind in _ANSWERED:
            for account, epoch in _parts(lease):
                self._answered(lease, account, epoch, self._clock())
            self._release(lease)
        else:
            self._release(lease)
        return False

    def _silence(self, lease: Lease, allowed: int) -> bool:
        """A model that does not answer, or cannot be reached, several times in a row is treated as overloaded."""
        account = lease.candidate.account
        account.silent += 1
        account.rebuild()
        if account.silent < allowed:
            return False
        return self._cool(lease, account, lease.epoch, Outcome(kind=Kind.OVERLOADED))

    def _answered(self, lease: Lease, account: Account, epoch: int, now: float) -> bool:
        """The service did, which may let a ramp widen, or a limit grow. Whether that may have made room for others."""
        if account.silent:
            account.silent = 0
            account.rebuild()
        cooldown = account.cooldown
        room = account.cut or cooldown.full
        if cooldown.succeeded(lease, epoch, now) and self._herald.heard:
            self._herald.recovered(account, now)
        if account.cut:
            recover(account, lease.cost, now)
        return room

    def _release(self, lease: Lease) -> None:
        """A call is over that did not go well."""
        for account, _ in _parts(lease):
            account.in_flight -= 1
            account.failed += 1
            account.cooldown.released(lease)

    def _rejected(self, lease: Lease, outcome: Outcome) -> bool:
        account = lease.candidate.account
        key = (outcome.kind.value, outcome.quota or "")
        account.rejections[key] = account.rejections.get(key, 0) + 1
        if self._herald.heard:
            self._herald.rejected(lease, outcome, self._clock())
        if outcome.kind in (Kind.AUTH, Kind.BILLING):
            return self._close_key(lease, outcome)
        pool, _, quota = (outcome.quota or "").rpartition(".")
        for share in lease.shares:
            if share.pool.name == pool:
                return self._cool(lease, share.pool, share.epoch, replace(outcome, quota=quota))
        closed = self._cool(lease, account, lease.epoch, outcome)
        if closed and outcome.kind is Kind.MODEL_GONE and self._herald.heard:
            self._herald.removed(account, self._clock())
        return closed

    def _close_key(self, lease: Lease, outcome: Outcome) -> bool:
        accounts = {account.name: account for account in self._siblings(lease.model)}
        accounts.setdefault(lease.model.name, lease.candidate.account)
        closed = [name for name, one in accounts.items() if self._cool(lease, one, one.cooldown.epoch, outcome)]
        if closed and self._herald.heard:
            self._herald.key_refused(closed, outcome.kind.value, self._clock())
        return bool(closed)

    def _cool(self, lease: Lease, account: Account, epoch: int, outcome: Outcome) -> bool:
        now = self._clock()
        incident, learned = reject(account, lease, epoch, outcome, now)
        if incident is not None and incident.until == math.inf:  # said once: a closed model refuses no more calls
            log.warning("%s is closed until reconfigure: %s", account.name, CLOSED[outcome.kind])
        if self._herald.heard:
            self._herald.learned(account, learned, now)
            if incident is not None:
                self._herald.cooled(account, incident, now)
        return incident is not None and incident.fresh

    def learn(self, lease: Lease, account: Account, outcome: Outcome) -> None:
        """What a refusal shows of a shared account, now that it is known what the others have spent."""
        now = self._clock()
        learned = learn_refusal(account, lease, _believable(outcome), now)
        if self._herald.heard:
            self._herald.learned(account, learned, now)

    def observe(self, lease: Lease, headers: Mapping[str, str] | Iterable[tuple[str, str]], wall: float) -> None:
        """Believe what response headers say, where it is less than what we think."""
        from ratelimit_router.headers import parse_headers  # dates are slow to import, and not everybody has headers

        account, now = lease.candidate.account, self._clock()
        for fact in parse_headers(headers, wall).quotas:
            if fact.limit:
                learned = learn_limit(account, fact.quota, fact.limit, now)
                if self._herald.heard:
                    self._herald.learned(account, learned, now)
            if fact.remaining is not None:
                learn_remaining(account, fact.quota, fact.remaining, now)


def _parts(lease: Lease) -> list[tuple[Account, int]]:
    """Every account that a lease is charged to, with the epoch of its cooldown at that time."""
    return [(lease.candidate.account, lease.epoch), *((share.pool, share.epoch) for share in lease.shares)]


def _believable(outcome: Outcome) -> Outcome:
    """The same without hints and limits that cannot be true."""
    hint, limit = outcome.retry_after, outcome.limit
    if hint is not None:
        hint = min(hint, LONGEST_HINT) if hint >= 0 else None
    if limit is not None and not 0 <= limit < math.inf:
        limit = None
    others = tuple((quota, amount) for quota, amount in outcome.others if amount is None or 0 <= amount < math.inf)
    return replace(outcome, retry_after=hint, limit=limit, others=others)
