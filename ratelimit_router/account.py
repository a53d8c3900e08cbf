"""All that is known about what one model, or one pool, may still do: quotas, calls in flight, cooldown, learned limits.

Everything is charged together or not at all. `fits` and `start` are the hot path: a cost is compared with lower bounds
of what is left, the charge is noted, and no more; the buckets are told later, in bulk, whenever somebody looks closely.
A pool is an account that models draw on besides their own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratelimit_router.adaptive import FULL, Evidence, Learned
from ratelimit_router.bucket import Bucket, CalendarBucket, Charge, Cost, make_bucket
from ratelimit_router.cooldown import READY, Cooldown, State
from ratelimit_router.limits import Limits, Quota, RefillDefaults
from ratelimit_router.meter import Meter
from ratelimit_router.reasons import Reason, Skipped

if TYPE_CHECKING:
    from random import Random

__all__ = ["NEVER", "Account", "Case", "Share"]

NEVER = frozenset({Reason.TOO_LARGE, Reason.NO_QUOTA, Reason.KEY_REFUSED, Reason.GONE})
"""Reasons that neither time nor another caller's lease can end."""

HOLD_WEIGHT = 0.1
"""Weight of the newest call in the running mean of how long calls take."""
UNTOLD = 256
"""At the most so many charges are noted before the buckets are told of them all."""
MANY = 2**30 - 1
"""No count on the hot path is larger. All of them are whole numbers: Python reckons fastest with small ones."""
NONE_KNOWN = -1
"""What is left at the least, until somebody has looked."""
ROUNDING = 1e-9
"""Share of a capacity within which only the buckets themselves decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The incident of one epoch: what was believed of a meter before, and what the refusal showed."""

    epoch: int
    meter: Meter
    before: Learned
    found: Evidence


class Account:
    """What one model (or pool) may still do. Changed only in code without `await`."""

    shared = False
    """Whether others spend its quotas, too, so that what was spent here tells nothing of what was admitted."""

    __slots__ = (
        "_day_reset",
        "_drew",
        "_last_told",
        "_make",
        "buckets",
        "case",
        "concurrency",
        "cooldown",
        "cut",
        "delicate",
        "failed",
        "hold",
        "in_flight",
        "input_tokens",
        "meters",
        "name",
        "output_tokens",
        "page",
        "pools",
        "refusals",
        "rejections",
        "requests",
        "settled",
        "silent",
        "slots",
        "stretch",
        "tokens",
    )

    def __init__(
        self,
        name: str,
        limits: Limits,
        *,
        defaults: RefillDefaults,
        now: float,
        rng: "Random",
        next_reset: Callable[[Quota], Callable[[float], float]],
        day_reset: Callable[[float], float],
        prefix: str = "",
        pools: "Sequence[Account]" = (),
        slow_start: int | None = None,
        guard: float = 0.0,
        stretch: float = 1.0,
    ):
        def make(quota: Quota, at: float) -> Meter:
            return Meter(quota, make_bucket(quota, at, next_reset(quota), name=prefix + quota.name, guard=guard))

        self.name = name
        self.pools = tuple(pools)
        self.cooldown = Cooldown(rng, slow_start=slow_start)
        self._make = make
        self._day_reset = day_reset
        self.meters = {quota.name: make(quota, now) for quota in limits.quotas(defaults)}
        self.concurrency: float = math.inf if limits.concurrency is None else limits.concurrency
        self.in_flight = 0
        self.settled = self.failed = 0
        self.silent = 0  # calls in a row without any answer
        self.input_tokens: float = 0
        self.output_tokens: float = 0
        self.rejections: dict[tuple[str, str], int] = {}  # (kind, quota) -> how often
        self.refusals: list[Charge] = []  # of the last period, since they are charged and were not admitted
        self.case: Case | None = None
        self.stretch = stretch
        self.hold = 0.0  # running mean of seconds that a call takes
        self._last_told = -math.inf
        self._drew = False  # whether leases from an earlier configuration may hold shares of pools
        self.buckets: tuple[Bucket, ...] = ()
        self.slots: float = NONE_KNOWN  # calls that may be in flight without a closer look
        self.delicate = False  # whether a call that went well changes more than counts
        self.cut = False  # whether it may let a limit grow
        self.page: list[Charge] = []  # charges that the buckets have not been told of yet
        self.requests: float = NONE_KNOWN  # no more than what is left
        self.tokens: float = NONE_KNOWN
        self.rebuild()

    def rebuild(self) -> None:
        """Something other than a charge has changed: collect anew what the hot path reads."""
        self.tell()
        self.buckets = tuple(bucket for meter in self.meters.values() for bucket in meter.buckets)
        self.requests = self.tokens = NONE_KNOWN
        calm = self.cooldown.ready and not self.pools
        self.slots = min(self.concurrency, MANY) if calm else NONE_KNOWN
        self.cut = any(meter.learned.below(self.stretch) for meter in self.meters.values())
        self.delicate = not calm or self._drew or self.silent > 0 or self.cut

    def reconfigure(self, new: "Account", now: float) -> None:
        """Take over a fresh account's limits and pools. What was spent stays spent; what is closed is tried again."""
        self.tell()
        for name, meter in new.meters.items():
            old = self.meters.get(name)
            if old is None:
                continue
            old.stated = False  # the operator has configured it now
            if old.quota == meter.quota:
                new.meters[name] = old
            elif _same_clockwork(old.quota, meter.quota):
                old.quota = meter.quota
                old.apply(FULL, now)
                new.meters[name] = old
            else:
                meter.bucket.spend(max(old.bucket.capacity - old.bucket.level(now), 0.0), now)
        self._drew = self._drew or bool(self.pools)
        self.meters, self.concurrency, self.pools = new.meters, new.concurrency, new.pools
        self._make, self._day_reset = new._make, new._day_reset
        self.cooldown.reopen()
        self.rebuild()

    # -- choosing and charging -----------------------------------------------------------------------------------------

    def start(self, charge: Charge, cost: Cost, now: float) -> None:
        """Start a call: everything is charged at once. It has to fit, unless it was started elsewhere already."""
        self.requests -= 1
        self.tokens -= cost[3]
        self.in_flight += 1
        charge.at, charge.cost, charge.page = now, cost, self.page
        self.page.append(charge)

    def fits(self, cost: Cost, now: float) -> bool:
        """Whether a call of this cost may start at `now`."""
        if self.in_flight >= self.slots and not self._open(cost, now):
            return False
        return (self.requests >= 1 and cost[3] <= self.tokens) or self._look(cost, now)

    def _open(self, cost: Cost, now: float) -> bool:
        if self.in_flight >= self.concurrency or self.opens_at(now) > now:
            return False
        return not self.pools or all(pool.fits(cost, now) for pool in self.pools)

    def _look(self, cost: Cost, now: float) -> bool:
        """Ask the buckets; if it fits, remember what is left at the least: requests, and tokens of whatever unit."""
        self.tell()
        requests, tokens = UNTOLD, MANY
        for bucket in self.buckets:
            unit = bucket.unit
            amount, left = cost[unit], bucket.level(now) - ROUNDING * bucket.capacity
            if amount > left and not bucket.fits(allowed(amount, bucket), now):
                return False
            if unit:
                tokens = min(tokens, math.floor(left))
            else:
                requests = min(requests, math.floor(left))
        self.requests, self.tokens = requests, tokens
        return True

    def tell(self) -> None:
        """Tell the buckets of every charge that was only noted so far."""
        if not (page := self.page):
            return
        self.page = []
        self._last_told = page[-1].at
        if len(page) == 1:
            for bucket in self.buckets:
                bucket.spend(page[0].cost[bucket.unit], page[0].at)
        else:
            self._tell_all(page)
        page.clear()  # a charge remembers its page, and must not keep its neighbours alive

    def _tell_all(self, page: list[Charge]) -> None:
        instants = [charge.at for charge in page]
        columns: dict[int, list[float]] = {}
        for bucket in self.buckets:
            if (unit := bucket.unit) not in columns:
                columns[unit] = [charge.cost[unit] for charge in page]
            bucket.spend_all(columns[unit], instants)

    def draw(self, cost: Cost, now: float) -> "list[Share]":
        """Charge the pools for a call that this account has just taken."""
        return [Share(pool, cost, now) for pool in self.pools]

    def correct(self, charge: Charge, actual: Cost) -> None:
        """Replace what was charged by what it really was; nothing at all, for a refund."""
        if charge.page is self.page:
            self.requests += charge.cost[0] - actual[0]
            self.tokens += charge.cost[3] - actual[3]
        else:
            self._correct_told(charge, actual)
        charge.cost = actual

    def _correct_told(self, charge: Charge, actual: Cost) -> None:
        for bucket in self.buckets:
            unit = bucket.unit
            if actual[unit] != charge.cost[unit]:
                bucket.correct(actual[unit] - charge.cost[unit], charge.at)
        # A debt counts at once. What is refunded may have come back by itself already: the next look will tell.
        self.tokens -= max(max(actual) - min(charge.cost[1:]), 0)

    def spend(self, meter: Meter, amount: float, now: float) -> None:
        """Take something out of one quota alone: somebody else has used it."""
        self.tell()
        meter.bucket.spend(amount, now)
        self.rebuild()

    def learn_hold(self, held: float) -> None:
        """A call took that many seconds."""
        self.hold += HOLD_WEIGHT * (held - self.hold) if self.hold else held

    @property
    def last_grant(self) -> float:
        """When the latest lease was granted."""
        return self.page[-1].at if self.page else self._last_told

    @property
    def granted(self) -> int:
        """Leases so far."""
        return self.in_flight + self.settled + self.failed

    # -- why not, and when ---------------------------------------------------------------------------------------------

    def opens_at(self, now: float) -> float:
        """When the cooldown lets the next call through; infinity if only an event can."""
        cooldown = self.cooldown
        if cooldown.state is READY:
            return now
        instant = cooldown.opens_at(now)
        if cooldown.state is READY:
            self.rebuild()
        return instant

    def free_at(self, cost: Cost, now: float) -> float:
        """When a call of this cost may start: not after `now` if it may at once, infinity if not by itself."""
        if self.in_flight >= self.concurrency:
            return math.inf
        self.tell()
        instant = self.opens_at(now)
        for bucket in self.buckets:
            amount = cost[bucket.unit]
            if amount > bucket.ceiling:
                return math.inf
            when = bucket.when(allowed(amount, bucket), now)
            if when > instant:
                instant = when
        for pool in self.pools:
            instant = max(instant, pool.free_at(cost, now))
        return instant

    def blocked(self, cost: Cost, now: float) -> Skipped | None:
        """Why a call of this cost may not start at `now`, and when that will have ended; None if it may."""
        found = [one for account in (self, *self.pools) for one in account._obstacles(self.name, cost, now)]
        if len(found) < 2:
            return found[0] if found else None
        return max(found, key=lambda one: (one.reason in NEVER, one.retry_at))

    def _obstacles(self, model: str, cost: Cost, now: float) -> list[Skipped]:
        found = []
        if (opens := self.opens_at(now)) > now:
            found.append(self._closed(model, opens))
        if self.in_flight >= self.concurrency:
            quota = "concurrency" if model == self.name else f"{self.name}.concurrency"
            found.append(Skipped(model=model, reason=Reason.CONCURRENCY, retry_at=math.inf, quota=quota))
        self.tell()
        for bucket in self.buckets:
            amount = cost[bucket.unit]
            if amount > bucket.ceiling:
                reason = Reason.TOO_LARGE if bucket.ceiling else Reason.NO_QUOTA
                found.append(Skipped(model=model, reason=reason, retry_at=math.inf, quota=bucket.name))
            elif (when := bucket.when(allowed(amount, bucket), now)) > now:
                found.append(Skipped(model=model, reason=Reason.QUOTA, retry_at=when, quota=bucket.name))
        return found

    def _closed(self, model: str, opens: float) -> Skipped:
        cooldown = self.cooldown
        if cooldown.closed_for is not None:
            reason = cooldown.closed_for
        elif cooldown.state is State.COOLING:
            reason = Reason.COOLING
        else:
            reason = Reason.SLOW_START if cooldown.state is State.SLOW_START else Reason.PROBING
        return Skipped(
            model=model,
            reason=reason,
            retry_at=opens,
            quota=cooldown.incident.quota if cooldown.incident else None,
        )

    def hopeless(self, cost: Cost) -> bool:
        """Whether a call of this cost can never start here by itself."""
        for bucket in self.buckets:
            if cost[bucket.unit] > bucket.ceiling:
                return True
        return self.cooldown.closed_for in NEVER or any(pool.hopeless(cost) for pool in self.pools)

    def expected(self, cost: Cost, now: float) -> float:
        """When a call of this cost can be expected to start, if `cost` also counts those ahead of it.

        Exact where quotas and cooldowns decide. Where calls in flight do, an estimate from how long calls have taken;
        infinity while nothing is known, and where `blocked` says never.
        """
        return max(account._expected(cost, now) for account in (self, *self.pools))

    def bound(self, cost: Cost, now: float) -> float:
        """No call of this cost starts before this, whatever else happens: by quotas and cooldowns alone."""
        return max(account._bound(cost, now) for account in (self, *self.pools))

    def _bound(self, cost: Cost, now: float) -> float:
        opens = self.opens_at(now) if self.cooldown.state is State.COOLING else now
        self.tell()
        alone = cost[0] <= 1  # a single request may be larger than a careful guess of the capacity
        amounts = [allowed(cost[one.unit], one) if alone else cost[one.unit] for one in self.buckets]
        return max([opens, *(one.when(amount, now) for one, amount in zip(self.buckets, amounts, strict=True))])

    def _expected(self, cost: Cost, now: float) -> float:
        opens = self.opens_at(now)
        if math.isinf(opens) and self.cooldown.state is not State.CLOSED:
            opens = now + self.hold if self.hold else math.inf
        instant = max(opens, self._bound(cost, now))
        waves = (self.in_flight + cost[0]) / self.concurrency - 1.0
        if waves > 0:
            instant = max(instant, now + waves * self.hold if self.hold else math.inf)
        return instant

    def rate(self, mean: Cost) -> float:
        """Calls a second in the long run, of the mean cost of `mean` (a sum of costs)."""
        if self.cooldown.state is State.CLOSED:
            return 0.0
        accounts = (self, *self.pools)
        rates = [
            bucket.capacity / bucket.period * mean[0] / mean[bucket.unit]
            for account in accounts
            for bucket in account.buckets
            if mean[bucket.unit]
        ]
        rates += [account.concurrency / account.hold for account in accounts if account.hold]
        return min(rates, default=math.inf)

    def used(self, now: float) -> float:
        """The fraction (0..1, more in debt) of its tightest limit that is used."""
        self.tell()
        most = self.in_flight / self.concurrency
        for bucket in self.buckets:
            if bucket.capacity and (share := 1.0 - bucket.level(now) / bucket.capacity) > most:
                most = share
        for pool in self.pools:
            most = max(most, pool.used(now))
        return most

    def level(self, meter: Meter, now: float) -> float:
        """What is left of one quota."""
        self.tell()
        return meter.bucket.level(now)

    # -- what `learning` asks for --------------------------------------------------------------------------------------

    def add_meter(self, quota: Quota, now: float) -> Meter:
        """A quota that nobody configured."""
        self.tell()
        meter = self.meters[quota.name] = self._make(quota, now)
        meter.stated = True
        return meter

    def day_reset(self, quota: str | None, now: float) -> float:
        """When a daily quota is back: at its own reset if it has one, else when the provider's usually are."""
        self.tell()  # a bucket that looks at the clock has to know first what was spent before
        meter = self.meters.get(quota or "")
        bucket = None if meter is None else meter.bucket
        return bucket.resets_at(now) if isinstance(bucket, CalendarBucket) else self._day_reset(now)

    def period(self, quota: str | None) -> float:
        """Seconds in which the quota that was hit, or whichever it may be, comes back; infinity if nobody knows."""
        meters = [self.meters[quota]] if quota in self.meters else [*self.meters.values()]
        return max((meter.quota.period for meter in meters), default=math.inf)

    def fullest(self, now: float) -> Meter | None:
        """The quota of less than a day that has the least left."""
        self.tell()
        meters = [meter for meter in self.meters.values() if not meter.quota.daily and meter.bucket.capacity]
        return min(meters, key=lambda meter: meter.bucket.level(now) / meter.bucket.capacity, default=None)

    def teach(self, meter: Meter, learned: Learned, now: float) -> None:
        """Hold one quota to what is known of it now."""
        self.tell()
        meter.apply(learned, now)
        self.rebuild()


def allowed(amount: float, bucket: Bucket) -> float:
    """What of an amount has to be there.

    A careful guess of a capacity must not lock a request out that is known to fit: it goes when all is there, in debt.
    """
    return bucket.capacity if bucket.capacity < amount <= bucket.ceiling else amount


class Share(Charge):
    """What one call costs a pool. `epoch`: of the pool's cooldown when it was charged."""

    __slots__ = ("epoch", "pool")

    def __init__(self, pool: Account, cost: Cost, now: float):
        self.pool, self.epoch = pool, pool.cooldown.epoch
        pool.start(self, cost, now)


def _same_clockwork(one: Quota, other: Quota) -> bool:
    return (one.refill, one.period, one.resets) == (other.refill, other.period, other.resets)
