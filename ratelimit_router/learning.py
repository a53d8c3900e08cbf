"""What an account learns of its limits: from refusals, from what the service states, from calls that go well.

The arithmetic of cutting and growing back stands in `adaptive`; here is decided which quota it is about.

The first refusal of an incident is judged at once, although other calls are in the air that will be refused, too: each
of them that comes back changes the judgement, as if it had been known at first.
"""

from dataclasses import replace

from ratelimit_router.account import Account, Case
from ratelimit_router.adaptive import ALL_ABOUT, About, cut, grow, take_limit
from ratelimit_router.bucket import UNITS, Charge, Cost
from ratelimit_router.cooldown import Incident, Provenance
from ratelimit_router.limits import DAY, QUOTAS, Quota, Refill, RefillDefaults
from ratelimit_router.meter import Meter
from ratelimit_router.outcomes import Kind, Outcome

__all__ = ["learn_limit", "learn_refusal", "learn_remaining", "recover", "reject"]

BINDING = 0.02
"""A quota of which less than this share, or less than one call needs, is left decides how many calls there are."""


def reject(
    account: Account, lease: Charge, epoch: int, outcome: Outcome, now: float
) -> tuple[Incident | None, list[Meter]]:
    """The service refused a call that was let through: the cooldown that follows, and the meters that learned."""
    learned: list[Meter] = []
    limited = outcome.kind is Kind.RATE_LIMITED
    if limited:
        if account.shared:
            account.case = None  # until it is known what others have spent: see `learn_refusal`
        elif epoch == account.cooldown.epoch:
            learned = _learn(account, lease, outcome, now)
        elif account.case is not None and epoch == account.case.epoch:
            _learn_more(account, account.case, lease, now)
        _remember(account, lease, now)
    reset = account.day_reset(outcome.quota, now)
    incident = account.cooldown.rejected(
        lease, epoch, outcome, now, reset, account.period(outcome.quota), now - lease.at
    )
    if limited and account.case is not None and incident is not None:
        _empty(account, account.case.meter, lease, incident, now)
    account.rebuild()
    return incident, learned


def learn_refusal(account: Account, lease: Charge, outcome: Outcome, now: float) -> list[Meter]:
    """What a refusal shows that was acted upon already: its shared account is up to date only now."""
    learned = _learn(account, lease, outcome, now)
    if account.case is not None and account.cooldown.incident is not None:
        _empty(account, account.case.meter, lease, account.cooldown.incident, now)
    account.rebuild()
    return learned


def _empty(account: Account, meter: Meter, lease: Charge, incident: Incident, now: float) -> None:
    account.tell()
    known = incident.provenance is Provenance.SERVER
    meter.empty(incident.until if known else now, lease.cost[meter.bucket.unit] if known else 0.0, now)


def _learn(account: Account, lease: Charge, outcome: Outcome, now: float) -> list[Meter]:
    account.case, learned = None, []
    for quota, limit in ((outcome.quota, outcome.limit), *outcome.others):
        if quota is not None and limit:
            learned += learn_limit(account, quota, limit, now)
    meter = account.meters.get(outcome.quota) if outcome.quota else account.fullest(now)
    if meter is None or meter.quota.daily:
        return learned
    account.tell()
    found = meter.refused(lease, outcome.retry_after, account.refusals, now)
    found = replace(found, first=account.settled * lease.cost[meter.bucket.unit] < meter.quota.amount)
    if meter.too_early(found, outcome.retry_after):
        return learned
    if learned and (found.about is not About.BURST or found.ratio > ALL_ABOUT):
        return learned
    account.case = Case(epoch=account.cooldown.epoch, meter=meter, before=meter.learned, found=found)
    account.teach(meter, cut(meter.learned, found, now), now)
    return [*learned, meter] if meter not in learned else learned


def _learn_more(account: Account, case: Case, lease: Charge, now: float) -> None:
    """Another call of the same burst was refused: that much less was admitted."""
    found = replace(case.found, admitted=case.found.admitted - lease.cost[case.meter.bucket.unit])
    account.case = replace(case, found=found)
    account.teach(case.meter, cut(case.before, found, now), now)


def _remember(account: Account, lease: Charge, now: float) -> None:
    """For as long as it counts: it stays charged, since some services charge what they refuse."""
    longest = max((one.quota.period for one in account.meters.values() if not one.quota.daily), default=0.0)
    account.refusals = [*(one for one in account.refusals if one.at > now - longest), lease]


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
    account.teach(meter, take_limit(meter.learned, limit, meter.quota.amount, now), now)
    return [meter]


def learn_remaining(account: Account, quota: str, remaining: float, now: float) -> None:
    """The service says how much is left: believed where it is less than what we think."""
    meter = account.meters.get(quota)
    if meter is not None and (excess := account.level(meter, now) - max(remaining, 0.0)) > 0:
        account.spend(meter, excess, now)


def recover(account: Account, cost: Cost, now: float) -> None:
    """A call of that cost succeeded: a limit that was cut grows again, if it holds calls back."""
    for meter in account.meters.values():
        if not meter.quota.daily and meter.learned.below(account.stretch) and _binds(account, meter, cost, now):
            grown = grow(
                meter.learned,
                now,
                configured=meter.quota.amount,
                period=meter.quota.period,
                least=1.0 / meter.quota.amount if meter.quota.unit == UNITS[0] else 0.0,
                most=account.stretch,
            )
            if grown is not meter.learned:
                account.cooldown.doubt()
                account.teach(meter, grown, now)


def _binds(account: Account, meter: Meter, cost: Cost, now: float) -> bool:
    account.tell()
    return meter.quota.amount > 0 and any(
        one.level(now) < max(BINDING * one.capacity, cost[one.unit]) for one in meter.buckets
    )


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
