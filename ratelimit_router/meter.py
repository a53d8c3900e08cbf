"""One quota of an account: its bucket, and what rejections have taught about its true limit."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ratelimit_router.adaptive import FULL, About, Evidence, Learned
from ratelimit_router.bucket import Bucket, Charge, ContinuousBucket, RollingBucket
from ratelimit_router.limits import Quota

__all__ = ["Meter"]

EDGE = 0.1
"""Seconds. A call that would have been admitted so soon came too early, if the whole window but for one call..."""
LEFT = 0.02
"""...and this share was admitted."""
LEAST_GUARD, MOST_GUARD = 0.025, 0.2
"""Seconds by which everything is believed to come back late then: at first, and at most. They double each time."""
FEW = 8.0
"""Calls; fewer measure a rate badly."""
HALF = 0.5
"""Share of a burst from which on it is what was refused, and not a rate."""
SOON = 0.2
"""A service that refuses less than half, and has room again in this part of its window's time, has a small bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """At `at` so much had been `spent` of our bucket."""

    at: float
    spent: float


class Meter:
    """A quota as configured, the bucket that enforces it, and `learned`: how far below the configuration it is held.

    `pacer`: a second bucket that lets a rolling or calendar quota out evenly, once its burst turned out too large.
    """

    __slots__ = ("_mark", "_tried", "bucket", "guard", "learned", "pacer", "quota", "stated")

    def __init__(self, quota: Quota, bucket: Bucket):
        self.quota, self.bucket = quota, bucket
        self.learned: Learned = FULL
        self.pacer: ContinuousBucket | None = None
        self.stated = False  # nobody configured it: the service named it
        self.guard = 0.0  # learned: seconds by which calls overtake each other on the way
        self._mark: Mark | None = None  # when a refusal last showed that the service's bucket was
        self._tried: Mark | None = None  # since when more is tried than that

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Everything to be charged."""
        return (self.bucket,) if self.pacer is None else (self.bucket, self.pacer)

    @property
    def burst(self) -> float:
        """The most that is let out at once now."""
        return self.bucket.capacity if self.pacer is None else self.pacer.capacity

    def apply(self, learned: Learned, now: float) -> None:
        """Bring the buckets in line with what is known now."""
        if learned.step and not self.learned.step and (even := self._even) is not None:
            self._tried = Mark(at=now, spent=even.spent)
        quota, bucket, self.learned = self.quota, self.bucket, learned
        amount, known = learned.amount(quota.amount), replace(learned, rate=1.0).amount(quota.amount)
        smallest = min(1.0, quota.amount) if quota.unit == "requests" else 0.0
        if isinstance(bucket, ContinuousBucket):
            bucket.ceiling = min(quota.capacity, known)
            self._refit(bucket, amount, max(bucket.ceiling * learned.burst, smallest), now)
            return
        bucket.ceiling = known
        bucket.resize(amount, max(amount, smallest), now)
        if learned.burst == 1.0:
            self.pacer = None
            return
        burst = max(known * learned.burst, smallest)
        if self.pacer is None:
            self.pacer = ContinuousBucket(bucket.name, bucket.unit, amount, quota.period, burst)
        self._refit(self.pacer, amount, burst, now)
        self.pacer.ceiling = known

    def _refit(self, bucket: ContinuousBucket, amount: float, capacity: float, now: float) -> None:
        if self.learned.step and capacity > bucket.capacity:
            bucket.spend(capacity - bucket.capacity, now)  # a bucket that is probably larger is not fuller for that
        bucket.resize(amount, capacity, now)

    # -- what refusals show --------------------------------------------------------------------------------------------

    def refused(self, call: Charge, hint: float | None, earlier: Iterable[Charge], now: float) -> Evidence:
        """What the refusal of a call shows: how much was admitted until then. `earlier`: what was refused before."""
        cost = call.cost[self.bucket.unit]
        if (bucket := self._even) is not None:
            return self._refill(bucket, cost, now)
        spent, since, soon = self.bucket.capacity - self.bucket.level(now), -math.inf, False
        if isinstance(self.bucket, RollingBucket):
            since = call.at - self.quota.period
            spent, first = self.bucket.spent_since(since)
            soon = hint is not None and hint < SOON * (first + self.quota.period - now)
        admitted = spent - cost - sum(one.cost[self.bucket.unit] for one in earlier if one.at > since)
        about = About.BURST if soon and admitted < HALF * self.bucket.capacity else About.WINDOW
        return Evidence(about=about, admitted=admitted, believed=self.bucket.capacity if admitted > 0 else 0.0)

    def too_early(self, found: Evidence, hint: float | None) -> bool:
        """Whether a call that was refused only came too early for its window: the next ones come a little later."""
        whole = found.believed * (1.0 - LEFT) - 1.0
        if found.about is not About.WINDOW or found.admitted < whole:
            return False
        if hint is None or hint > EDGE or self.guard >= MOST_GUARD:
            return False
        guard = min(max(2.0 * self.guard, hint, LEAST_GUARD), MOST_GUARD)
        self.bucket.postpone(guard - self.guard)
        self.guard = guard
        return True

    def _refill(self, bucket: ContinuousBucket, cost: float, now: float) -> Evidence:
        taken, empty = bucket.capacity - bucket.level(now) - cost, self._mark
        lately_full = empty is None or empty.at < bucket.full_since
        if lately_full and taken > (HALF * bucket.capacity if empty else 0.0):
            return Evidence(about=About.BURST, admitted=taken, believed=bucket.capacity)
        admitted = bucket.spent - empty.spent - cost if empty else 0.0
        believed = self._rate * (now - empty.at) if empty else 0.0
        if admitted < cost or believed < cost:  # too soon: the hint was too short
            return Evidence(about=About.RATE, admitted=0.0, believed=0.0)
        few = lately_full or admitted < FEW * cost
        found = Evidence(about=About.RATE, admitted=admitted - cost, believed=believed, few=few)
        return max(found, self._lately(bucket, found, now), key=lambda one: one.ratio)

    def _lately(self, bucket: ContinuousBucket, found: Evidence, now: float) -> Evidence:
        """The same since more was tried. Its bucket may have been full by then, with that to give besides."""
        if (tried := self._tried) is None or now <= tried.at:
            return found
        admitted = bucket.spent - tried.spent - bucket.capacity
        return replace(found, admitted=admitted, believed=self._rate * (now - tried.at))

    def empty(self, until: float, cost: float, now: float) -> None:
        """A refusal said that the service's bucket is empty, and will have room for one such call at `until`."""
        if (bucket := self._even) is not None:
            if (excess := bucket.level(now) + self._rate * (until - now) - cost) > 0:
                bucket.spend(excess, now)
            self._mark, self._tried = Mark(at=until, spent=bucket.spent), None

    @property
    def _rate(self) -> float:
        """What comes back each second."""
        return self.learned.amount(self.quota.amount) / self.quota.period

    @property
    def _even(self) -> ContinuousBucket | None:
        """The bucket that refills evenly, if one does."""
        return self.bucket if isinstance(self.bucket, ContinuousBucket) else self.pacer
