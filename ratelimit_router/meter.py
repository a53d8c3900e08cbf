"""One quota of an account: its bucket, and what rejections have taught about its true limit."""

from dataclasses import replace

from ratelimit_router.adaptive import FULL, Learned
from ratelimit_router.bucket import Bucket, ContinuousBucket
from ratelimit_router.limits import Quota

__all__ = ["Meter"]


class Meter:
    """A quota as configured, the bucket that enforces it, and `learned`: how far below the configuration it is held.

    `pacer`: a second bucket that lets a rolling or calendar quota out evenly, once its burst turned out too large.
    """

    __slots__ = ("bucket", "learned", "pacer", "quota", "stated")

    def __init__(self, quota: Quota, bucket: Bucket):
        self.quota, self.bucket = quota, bucket
        self.learned: Learned = FULL
        self.pacer: ContinuousBucket | None = None
        self.stated = False  # nobody configured it: the service named it

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
        quota, bucket, self.learned = self.quota, self.bucket, learned
        amount, known = learned.amount(quota.amount), replace(learned, rate=1.0).amount(quota.amount)
        smallest = min(1.0, quota.amount) if quota.unit == "requests" else 0.0
        if quota.refill == "continuous":
            bucket.ceiling = min(quota.capacity, known)
            bucket.resize(amount, max(bucket.ceiling * learned.burst, smallest), now)
            return
        bucket.ceiling = known
        bucket.resize(amount, max(amount, smallest), now)
        burst = max(known * learned.burst, smallest)
        if learned.burst == 1.0:
            self.pacer = None
        elif self.pacer is None:
            self.pacer = ContinuousBucket(bucket.name, bucket.unit, amount, quota.period, burst)
        else:
            self.pacer.resize(amount, burst, now)
        if self.pacer is not None:
            self.pacer.ceiling = known
