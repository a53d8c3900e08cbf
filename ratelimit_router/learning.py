"""What an account learns of its limits: from refusals, from what the service states, from calls that go well.

The arithmetic of cutting and growing back stands in `adaptive`; here is decided which quota it is about.
"""

from ratelimit_router.account import Account
from ratelimit_router.adaptive import cut, grow, take_limit
from ratelimit_router.cooldown import Incident
from ratelimit_router.limits import DAY, QUOTAS, Quota, Refill, RefillDefaults
from ratelimit_router.meter import Meter
from ratelimit_router.outcomes import Kind, Outcome

__all__ = ["learn_limit", "learn_remaining", "recover", "reject"]


def reject(
    account: Account, lease: object, epoch: int, outcome: Outcome, now: float
) -> tuple[Incident | None, list[Meter]]:
    """The service refused a call that was let through: the cooldown that follows, and the meters that learned."""
    learned: list[Meter] = []
    if outcome.kind is Kind.RATE_LIMITED and epoch == account.cooldown.epoch:  # once an incident
        learned = _learn(account, outcome, now)
    reset = account.day_reset(outcome.quota, now)
    incident = account.cooldown.rejected(lease, epoch, outcome, now, reset)
    account.rebuild()
    return incident, learned


def _learn(account: Account, outcome: Outcome, now: float) -> list[Meter]:
    learned = []
    for quota, limit in ((outcome.quota, outcome.limit), *outcome.others):
        if quota is not None and limit:
            learned += learn_limit(account, quota, limit, now)
    if learned or outcome.limit is not None:
        return learned
    meter = account.meters.get(outcome.quota) if outcome.quota else account.fullest(now)
    if meter is None or meter.quota.daily:
        return []
    account.teach(meter, cut(meter.learned, now), now)
    return [meter]


def learn_limit(account: Account, quota: str, limit: float, now: float) -> list[Meter]:
    """The service states a limit: take it where it is below the configured one, or where none is configured."""
    if quota == "concurrency":
        account.concurrency = min(account.concurrency, max(limit, 1))
        account.rebuild()
        return []
    meter = account.meters.get(quota)
    if meter is None:
        if quota not in QUOTAS:
            return []
        meter = account.add_meter(_stated(quota, limit), now)
    elif meter.stated and limit > meter.quota.amount:
        meter.quota = _stated(quota, limit)
    elif limit >= meter.quota.amount or limit == meter.learned.named:
        return []
    account.teach(meter, take_limit(meter.learned, limit, now), now)
    return [meter]


def learn_remaining(account: Account, quota: str, remaining: float, now: float) -> None:
    """The service says how much is left: believed where it is less than what we think."""
    meter = account.meters.get(quota)
    if meter is not None and (excess := account.level(meter, now) - max(remaining, 0.0)) > 0:
        account.spend(meter, excess, now)


def recover(account: Account, now: float) -> None:
    """A call succeeded: what was cut without evidence grows back."""
    for meter in account.meters.values():
        if meter.learned.cut and (grown := grow(meter.learned, now, meter.quota.period)) != meter.learned:
            account.teach(meter, grown, now)


def _stated(quota: str, limit: float) -> Quota:
    """A quota that nobody configured, as the service states it."""
    unit, period = QUOTAS[quota]
    refill: Refill = "calendar" if period >= DAY else "rolling"
    return Quota(
        name=quota,
        unit=unit,
        amount=limit,
        period=period,
        refill=refill,
        capacity=limit,
        resets=RefillDefaults().resets,
    )
