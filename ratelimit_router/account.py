"""All that is known about what one model, or one pool, may still do: buckets, calls in flight, cooldown, learned limits.

Everything is charged together or not at all. `fits` is the hot path: it answers from cheap attributes and looks closer
only where they say no. A pool is an account that models draw on besides their own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from ratelimit_router.adaptive import FULL, Learned, cut, grow, take_limit
from ratelimit_router.bucket import UNITS, Bucket, Charge, ContinuousBucket, Cost, RollingBucket, make_bucket
from ratelimit_router.cooldown import Cooldown, Incident, State
from ratelimit_router.limits import DAY, QUOTAS, Limits, Quota, RefillDefaults
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.reasons import Reason, Skipped

__all__ = ["Account", "Cost", "Meter"]

NEVER = frozenset({Reason.TOO_LARGE, Reason.NO_QUOTA, Reason.KEY_REFUSED, Reason.GONE})
"""Reasons that neither time nor another caller's lease can end."""

HOLD_WEIGHT = 0.1
"""Weight of the newest call in the running mean of how long calls take."""


class Meter:
    """One quota, its bucket, and what was learned about it."""

    __slots__ = ("bucket", "learned", "pacer", "quota")

    def __init__(self, quota: Quota, bucket: Bucket):
        self.quota, self.bucket = quota, bucket
        self.learned: Learned = FULL
        self.pacer: ContinuousBucket | None = None  # spreads what a rolling or calendar bucket would let out at once

    def apply(self, learned: Learned, now: float) -> None:
        """Bring the bucket in line with what is known now."""
        quota, bucket, self.learned = self.quota, self.bucket, learned
        amount = learned.amount(quota.amount)
        known = replace(learned, rate=1.0).amount(quota.amount)
        smallest = 1.0 if quota.unit == "requests" else 0.0
        if quota.refill == "continuous":
            bucket.ceiling = min(quota.capacity, known)
            bucket.resize(amount, max(bucket.ceiling * learned.burst, smallest), now)
            return
        bucket.ceiling = known
        bucket.resize(amount, max(amount, smallest), now)
        if learned.burst == 1.0:
            self.pacer = None
        elif self.pacer is None:
            burst = max(known * learned.burst, smallest)
            self.pacer = ContinuousBucket(bucket.name, bucket.unit, amount, quota.period, burst)
            self.pacer.ceiling = known
        else:
            self.pacer.resize(amount, max(known * learned.burst, smallest), now)


class Account:
    """What one model (or pool) may still do. Changed only in code without `await`."""

    __slots__ = (
        "_day_reset",
        "_make",
        "buckets",
        "concurrency",
        "cooldown",
        "delicate",
        "failed",
        "hold",
        "in_flight",
        "input_tokens",
        "last_grant",
        "meters",
        "name",
        "others",
        "output_tokens",
        "pools",
        "rejections",
        "rolling",
        "settled",
        "slots",
    )

    def __init__(
        self,
        name: str,
        limits: Limits,
        *,
        defaults: RefillDefaults,
        now: float,
        rng: Random,
        next_reset: Callable[[Quota], Callable[[float], float]],
        day_reset: Callable[[float], float],
        prefix: str = "",
        pools: "Sequence[Account]" = (),
        slow_start: int | None = None,
    ):
        def make(quota: Quota, at: float) -> Meter:
            return Meter(quota, make_bucket(quota, at, next_reset(quota), name=prefix + quota.name))

        self.name = name
        self.pools = tuple(pools)
        self.cooldown = Cooldown(rng, slow_start=slow_start)
        self._make = make
        self._day_reset = day_reset
        self.meters = {quota.name: make(quota, now) for quota in limits.quotas(defaults)}
        self.concurrency: float = math.inf if limits.concurrency is None else limits.concurrency
        self.in_flight = 0
        self.delicate = False  # whether a call that went well changes more than counts
        self.slots: float = 0  # calls that may be in flight without looking closer; -1: always look closer
        self.hold = 0.0  # running mean of seconds that a call takes
        self.last_grant = -math.inf
        self.settled = self.failed = 0
        self.input_tokens = self.output_tokens = 0.0
        self.rejections: dict[tuple[str, str], int] = {}  # (kind, quota) -> how often
        self.rebuild()

    def rebuild(self) -> None:
        """Collect every bucket to charge (own, pacers, pools') and whether `fits` has to look closer."""
        own = [bucket for meter in self.meters.values() for bucket in (meter.bucket, meter.pacer) if bucket is not None]
        self.buckets: tuple[Bucket, ...] = (*own, *(bucket for pool in self.pools for bucket in pool.buckets))
        self.rolling = tuple(bucket for bucket in self.buckets if isinstance(bucket, RollingBucket))
        self.others = tuple(bucket for bucket in self.buckets if not isinstance(bucket, RollingBucket))
        self.delicate = not self.cooldown.ready or bool(self.pools) or any(m.learned.cut for m in self.meters.values())
        self.slots = self.concurrency if self.cooldown.ready and not self.pools else -1

    def reconfigure(self, new: "Account", now: float) -> None:
        """Take over the limits and pools of a fresh account; what was spent stays spent, what was closed is tried again."""
        for name, meter in new.meters.items():
            old = self.meters.get(name)
            if old is None:
                continue
            if (old.quota.refill, old.quota.period, old.quota.resets) == (
                meter.quota.refill,
                meter.quota.period,
                meter.quota.resets,
            ):
                old.quota = meter.quota
                old.apply(FULL, now)
                new.meters[name] = old
            else:
                used = max(old.bucket.capacity - old.bucket.level(now), 0.0)
                meter.bucket.spend(_amount(used, meter, now))
        self.meters, self.concurrency, self.pools = new.meters, new.concurrency, new.pools
        self._make, self._day_reset = new._make, new._day_reset
        self.cooldown.reopen()
        self.rebuild()

    # -- choosing ------------------------------------------------------------------------------------------------------

    def fits(self, cost: Cost, now: float) -> bool:
        """Whether a call of this cost may start at `now`."""
        if self.in_flight >= self.slots and not self._open(now):
            return False
        for bucket in self.buckets:
            if cost[bucket.unit] > bucket.room and not bucket.fits(cost[bucket.unit], now):
                return False
        return True

    def _open(self, now: float) -> bool:
        if self.in_flight >= self.concurrency or self.opens_at(now) > now:
            return False
        return all(pool.in_flight < pool.concurrency and pool.opens_at(now) <= now for pool in self.pools)

    def opens_at(self, now: float) -> float:
        """When the cooldown lets the next call through; infinity if only an event can."""
        if self.cooldown.ready:
            return now
        instant = self.cooldown.opens_at(now)
        if self.cooldown.ready:
            self.rebuild()
        return instant

    def blocked(self, cost: Cost, now: float) -> Skipped | None:
        """Why a call of this cost may not start at `now`, and when that will have ended; None if it may."""
        found: list[Skipped] = []
        for account in (self, *self.pools):
            opens = account.opens_at(now)
            if opens > now:
                found.append(account._closed(self.name, opens))
            if account.in_flight >= account.concurrency:
                quota = "concurrency" if account is self else f"{account.name}.concurrency"
                found.append(Skipped(model=self.name, reason=Reason.CONCURRENCY, retry_at=math.inf, quota=quota))
        for bucket in self.buckets:
            amount = cost[bucket.unit]
            if amount > bucket.ceiling:
                found.append(Skipped(model=self.name, reason=Reason.TOO_LARGE, retry_at=math.inf, quota=bucket.name))
                continue
            if amount > bucket.capacity:  # a careful guess must not lock a request out that is known to fit
                bucket.room += amount - bucket.capacity
                bucket.capacity = amount
            if amount > bucket.room and not bucket.fits(amount, now):
                when = bucket.when(amount, now)
                found.append(Skipped(model=self.name, reason=Reason.QUOTA, retry_at=when, quota=bucket.name))
        return max(found, key=lambda one: (one.reason in NEVER, one.retry_at), default=None)

    def _closed(self, model: str, opens: float) -> Skipped:
        cooldown = self.cooldown
        if cooldown.closed_for is not None:
            reason = cooldown.closed_for
        elif cooldown.state is State.COOLING:
            reason = Reason.COOLING
        elif cooldown.incident is None and cooldown.state is State.SLOW_START:
            reason = Reason.SLOW_START
        else:
            reason = Reason.PROBING
        quota = cooldown.incident.quota if cooldown.incident else None
        return Skipped(model=model, reason=reason, retry_at=opens, quota=quota)

    def expected(self, cost: Cost, now: float) -> float:
        """When a call of this cost can be expected to start, if `cost` also counts those ahead of it.

        Exact where quotas and cooldowns decide. Where calls in flight do, an estimate from how long calls have taken;
        infinity while nothing is known, and where `blocked` says never.
        """
        instant = now
        for account in (self, *self.pools):
            opens = account.opens_at(now)
            if math.isinf(opens):
                opens = math.inf if account.cooldown.state is State.CLOSED else now + account.hold
            waves = (account.in_flight + cost[0]) / account.concurrency - 1.0
            instant = max(instant, opens, now + waves * account.hold if waves > 0 else now)
            if waves > 0 and not account.hold:
                return math.inf
        return max([instant, *(bucket.when(cost[bucket.unit], now) for bucket in self.buckets)])

    def hopeless(self, cost: Cost, now: float) -> bool:
        """Whether a call of this cost can never start here by itself."""
        found = self.blocked(cost, now)
        return found is not None and found.reason in NEVER

    def rate(self, mean: Cost) -> float:
        """Calls a second in the long run, of the mean cost of `mean` (a sum of costs)."""
        if self.cooldown.state is State.CLOSED:
            return 0.0
        rates = [
            bucket.capacity / bucket.period * mean[0] / mean[bucket.unit] for bucket in self.buckets if mean[bucket.unit]
        ]
        rates += [account.concurrency / account.hold for account in (self, *self.pools) if account.hold]
        return min(rates, default=math.inf)

    def used(self, now: float) -> float:
        """The fraction (0..1, more in debt) of its tightest limit that is used."""
        shares = [1.0 - bucket.level(now) / bucket.capacity for bucket in self.buckets if bucket.capacity]
        shares += [account.in_flight / account.concurrency for account in (self, *self.pools)]
        return max(shares)

    # -- charging ------------------------------------------------------------------------------------------------------

    def charge(self, charge: Charge) -> None:
        """Start one call: every bucket is charged at once."""
        cost = charge.cost
        for rolling in self.rolling:
            rolling.room -= cost[rolling.unit]
            rolling.log(charge)
        for bucket in self.others:
            bucket.spend(charge)
        self.in_flight += 1
        self.last_grant = charge.at
        for pool in self.pools:
            pool.in_flight += 1

    def guard(self, lease: object, now: float) -> None:
        """Count a lease against every ramp that is under way."""
        for account in (self, *self.pools):
            if not account.cooldown.ready:
                account.cooldown.granted(lease, now)

    def correct(self, charge: Charge, actual: Cost) -> None:
        """Replace what was charged by what it really was."""
        for bucket in self.buckets:
            bucket.correct(charge, actual)
        charge.cost = actual

    def release(self, charge: Charge, now: float) -> None:
        """A call is over that did not go well. (One that did gives back its place in `Lease.settle`.)"""
        self.in_flight -= 1
        self.failed += 1
        for pool in self.pools:
            pool.in_flight -= 1

    def tidy(self, now: float, charge: Charge) -> None:
        """Learn from a call that ends how long calls take, and forget charges that have come back."""
        held = now - charge.at
        for account in (self, *self.pools):
            account.hold += HOLD_WEIGHT * (held - account.hold) if account.hold else held
        for bucket in self.rolling:
            bucket.expire(now)

    @property
    def granted(self) -> int:
        """Leases so far."""
        return self.in_flight + self.settled + self.failed

    # -- learning ------------------------------------------------------------------------------------------------------

    def reject(self, lease: object, epoch: int, outcome: Outcome, now: float) -> tuple[Incident | None, list[Meter]]:
        """The service refused a call that was let through. Returns the cooldown that follows, and the meters that learned."""
        meters: list[Meter] = []
        if outcome.kind is Kind.RATE_LIMITED and epoch == self.cooldown.epoch:
            meters = self._learn(outcome, now)
        incident = self.cooldown.rejected(lease, epoch, outcome, now, self._day_reset(now))
        self.rebuild()
        return incident, meters

    def _learn(self, outcome: Outcome, now: float) -> list[Meter]:
        learned = []
        for quota, limit in ((outcome.quota, outcome.limit), *outcome.others):
            if quota is not None and limit:
                learned += self.learn_limit(quota, limit, now)
        if learned or outcome.limit is not None:
            return learned
        meter = self.meters.get(outcome.quota) if outcome.quota else self._fullest(now)
        if meter is None or meter.quota.daily:
            return []
        meter.apply(cut(meter.learned, now), now)
        return [meter]

    def learn_limit(self, quota: str, limit: float, now: float) -> list[Meter]:
        """The service states a limit: take it where it is below the configured one, or where none is configured."""
        meter = self.meters.get(quota)
        if meter is None:
            if quota not in QUOTAS:
                return []
            unit, period = QUOTAS[quota]
            refill = "calendar" if period >= DAY else "rolling"
            meter = self._make(
                Quota(name=quota, unit=unit, amount=limit, period=period, refill=refill, capacity=limit,
                      resets=RefillDefaults().resets), now
            )
            self.meters[quota] = meter
        elif limit >= meter.quota.amount or limit == meter.learned.named:
            return []
        meter.apply(take_limit(meter.learned, limit, now), now)
        self.rebuild()
        return [meter]

    def _fullest(self, now: float) -> Meter | None:
        meters = [meter for meter in self.meters.values() if not meter.quota.daily and meter.bucket.capacity]
        return min(meters, key=lambda meter: meter.bucket.level(now) / meter.bucket.capacity, default=None)

    def recover(self, now: float) -> None:
        """A call succeeded: what was cut without evidence grows back."""
        for meter in self.meters.values():
            if meter.learned.cut and (grown := grow(meter.learned, now, meter.quota.period)) != meter.learned:
                meter.apply(grown, now)
        self.rebuild()

    def lower(self, quota: str, remaining: float, now: float) -> None:
        """The service says how much is left: believed where it is less than what we think."""
        meter = self.meters.get(quota)
        if meter is not None and (excess := meter.bucket.level(now) - max(remaining, 0.0)) > 0:
            meter.bucket.spend(_amount(excess, meter, now))


def _amount(amount: float, meter: Meter, now: float) -> Charge:
    """A charge of that much of one quota alone."""
    cost = [amount if unit == meter.bucket.unit else 0.0 for unit in range(len(UNITS))]
    return Charge(now, (cost[0], cost[1], cost[2], cost[3]))
