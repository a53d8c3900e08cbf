"""Reads a router's state into a snapshot."""

import math

from ratelimit_router.account import Account
from ratelimit_router.catalogue import CUSTOM, Catalogue
from ratelimit_router.cooldown import State
from ratelimit_router.dispatch import Dispatcher
from ratelimit_router.selection import reasons
from ratelimit_router.snapshot import (
    CooldownSnapshot,
    ModelSnapshot,
    PoolSnapshot,
    QuotaSnapshot,
    RouterSnapshot,
    TierSnapshot,
)

__all__ = ["snapshot"]


def snapshot(dispatcher: Dispatcher, catalogue: Catalogue) -> RouterSnapshot:
    """The router as it is now. Changes nothing that anybody could notice."""
    now = dispatcher.clock()
    return RouterSnapshot(
        at=now,
        models={name: _model(account, now) for name, account in dispatcher.accounts.items()},
        pools={name: _pool(account, now) for name, account in dispatcher.pools.items()},
        tiers=_tiers(dispatcher, catalogue, now),
        routes=catalogue.routes(),
    )


def _model(account: Account, now: float) -> ModelSnapshot:
    return ModelSnapshot(
        name=account.name,
        state=_state(account, now),
        in_flight=account.in_flight,
        quotas=_quotas(account, now),
        cooldown=_cooldown(account, now),
        granted=account.granted,
        settled=account.settled,
        rejected=sum(account.rejections.values()),
        rejections=dict(account.rejections),
        input_tokens=account.input_tokens,
        output_tokens=account.output_tokens,
    )


def _pool(account: Account, now: float) -> PoolSnapshot:
    return PoolSnapshot(
        name=account.name,
        state=_state(account, now),
        in_flight=account.in_flight,
        quotas=_quotas(account, now),
        cooldown=_cooldown(account, now),
    )


def _state(account: Account, now: float) -> str:
    account.opens_at(now)
    state = account.cooldown.state
    return "ready" if state is State.PROBING and not account.cooldown.probing else state.value


def _quotas(account: Account, now: float) -> dict[str, QuotaSnapshot]:
    return {
        name: QuotaSnapshot(
            capacity=meter.bucket.capacity,
            configured=meter.quota.capacity,
            remaining=account.level(meter, now),
            period=meter.quota.period,
            refill=meter.quota.refill,
        )
        for name, meter in account.meters.items()
    }


def _cooldown(account: Account, now: float) -> CooldownSnapshot | None:
    incident = account.cooldown.incident
    if incident is None or account.cooldown.state not in (State.COOLING, State.CLOSED):
        return None
    return CooldownSnapshot(
        provenance=incident.provenance.value,
        until=incident.until,
        left=max(incident.until - now, 0.0) if incident.until < math.inf else math.inf,
        reason=incident.reason.value,
        quota=incident.quota,
        strikes=incident.strikes,
    )


def _tiers(dispatcher: Dispatcher, catalogue: Catalogue, now: float) -> dict[str, TierSnapshot]:
    granted: dict[str, int] = {}
    for (tier, _, _), count in catalogue.routes().items():
        granted[tier] = granted.get(tier, 0) + count
    names = [*catalogue.lines, *([CUSTOM] if CUSTOM in granted else [])]
    return {name: _tier(name, granted.get(name, 0), dispatcher, catalogue, now) for name in names}


def _tier(name: str, granted: int, dispatcher: Dispatcher, catalogue: Catalogue, now: float) -> TierSnapshot:
    lines = [line for line in catalogue.waiting() if line.name == name]
    heads = sorted((head for line in lines for head in line.heads()), key=lambda one: one.arrived)
    blocked = reasons(heads[0].line.steps, heads[0].cost, now, dispatcher.queue.reserved) if heads else ()
    tally = dispatcher.tally.of(name)
    return TierSnapshot(
        name=name,
        queued=sum(line.length for line in lines),
        oldest_wait=now - heads[0].arrived if heads else 0.0,
        blocked=tuple(found for _, found in blocked),
        granted=granted,
        waits=tally.waits,
        waited_seconds=tally.waited_seconds,
        waits_by_class=tuple(tally.waits_by_class),
        fallbacks=dict(tally.fallbacks),
        refusals=dict(tally.refusals),
    )
