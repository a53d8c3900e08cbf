"""An account whose quotas are kept in a shared store: what this router knows of it, and how it asks for it.

Cooldown, ramps and lessons are as in any account. Its buckets hold only what this router has spent, and what it was
last told of the others: they are good enough to foresee, and to learn from, but never admit. The store does.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from ratelimit_router.account import Account
from ratelimit_router.adaptive import FULL, Learned
from ratelimit_router.bucket import Bucket, CalendarBucket, ContinuousBucket, Cost, RollingBucket
from ratelimit_router.limits import Quota
from ratelimit_router.meter import Meter
from ratelimit_router.reasons import Reason, Skipped
from ratelimit_router.resets import next_reset
from ratelimit_router.stores.terms import NEVER, Amounts, Denial, Kind, Lesson, Page, Ration, Terms, Why

__all__ = ["MICRO", "SharedAccount", "amounts", "micros"]

MICRO = 1e6
"""Microseconds in a second."""
PACE = "~pace"
"""Ends the name of the second gauge of a quota whose burst turned out too large."""

_REASONS = {
    Why.QUOTA: Reason.QUOTA,
    Why.CONCURRENCY: Reason.CONCURRENCY,
    Why.COOLING: Reason.COOLING,
    Why.PROBING: Reason.PROBING,
    Why.TOO_LARGE: Reason.TOO_LARGE,
}


class SharedAccount(Account):
    """`denied`: why the store would not have a call made here, and until when.

    `known_epoch`: of the store's cooldown, as far as this router has heard.
    """

    shared = True

    __slots__ = ("_stands", "_taught", "_terms", "_until", "denied", "known_epoch", "mirrored_at")

    def __init__(self, *args: object, **options: object):
        self.denied: Skipped | None = None
        self.known_epoch = 0
        self.mirrored_at = -math.inf
        self._terms: Terms | None = None
        self._until = 0  # the terms hold so long, by the store's clock
        self._stands: dict[str, Lesson] = {}  # in the store
        self._taught: dict[str, Learned] = {}  # what this router believed when it was last in step with the store
        super().__init__(*args, **options)  # type: ignore[arg-type]  # as for an Account

    def rebuild(self) -> None:
        """See `Account`. The terms are made anew, too."""
        super().rebuild()
        self._terms = None

    # -- what the store has said ---------------------------------------------------------------------------------------

    def deny(self, found: Denial, at: float) -> None:
        """The store would have no call made before `at` (on the router's clock)."""
        quota = found.quota.removesuffix(PACE) or None
        if quota and found.account != self.name:
            quota = f"{found.account}.{quota}"
        self.denied = Skipped(model=self.name, reason=_REASONS[found.why], retry_at=at, quota=quota)

    def _look(self, cost: Cost, now: float) -> bool:
        return self.denied is None or self.denied.retry_at <= now

    def _obstacles(self, model: str, cost: Cost, now: float) -> list[Skipped]:
        found = super()._obstacles(model, cost, now)
        if self.denied is not None and self.denied.retry_at > now and self.name == model:
            found.append(self.denied)
        return found

    def _expected(self, cost: Cost, now: float) -> float:
        expected = super()._expected(cost, now)
        return expected if self.denied is None else max(expected, self.denied.retry_at)

    # -- what the store is asked ---------------------------------------------------------------------------------------

    def terms(self, now: int) -> Terms:
        """What this router believes the account may do. `now` is the store's."""
        if self._terms is None or now >= self._until:
            self._until = NEVER
            rations = [ration for meter in self.meters.values() for ration in self._rations(meter, now)]
            concurrency = 0 if self.concurrency == math.inf else int(self.concurrency)
            self._terms = Terms(name=self.name, rations=tuple(rations), concurrency=concurrency)
        return self._terms

    def _rations(self, meter: Meter, now: int) -> list[Ration]:
        quota, bucket = meter.quota, meter.bucket
        guard, opens, closes, kind = bucket.guard, 0, 0, Kind.ROLLING
        if isinstance(bucket, CalendarBucket):
            kind, (opens, closes) = Kind.CALENDAR, _window(quota, now)
            self._until = min(self._until, closes)
        elif isinstance(bucket, ContinuousBucket):
            kind = Kind.CONTINUOUS
        found = [_ration(quota.name, meter, bucket, kind, guard, opens, closes)]
        if meter.pacer is not None:
            found.append(_ration(quota.name + PACE, meter, meter.pacer, Kind.CONTINUOUS, 0.0, 0, 0))
        return found

    # -- what all routers spend, and know ------------------------------------------------------------------------------

    def mirror(self, page: Page, ahead: float, now: float) -> None:
        """See what all routers have spent, as if this one had. `ahead`: seconds by which the store's clock is."""
        self.tell()
        charges = [(at / MICRO - ahead, cost) for at, cost in page.charges if at <= page.now]  # the rest is booked
        full = {name: at / MICRO - ahead for name, at in page.continuous}
        for meter in self.meters.values():
            bucket = meter.bucket
            if isinstance(bucket, RollingBucket):
                bucket.restate([at for at, _ in charges], [cost[bucket.unit] for _, cost in charges])
            elif isinstance(bucket, ContinuousBucket) and meter.quota.name in full:
                spent = sum(cost[bucket.unit] for at, cost in charges if self.mirrored_at < at <= now)
                bucket.restate(full[meter.quota.name], spent)
        self.mirrored_at = now
        self.rebuild()

    @property
    def has_learned(self) -> bool:
        """Whether there is anything to teach."""
        return any(meter.learned is not self._taught.get(name, FULL) for name, meter in self.meters.items())

    def lessons(self, ahead: float) -> list[Lesson]:
        """What this router has learned since it was last in step with the store."""
        found = []
        for name, meter in self.meters.items():
            if meter.learned is self._taught.get(name, FULL):
                continue
            stands, learned = self._stands.get(name), meter.learned
            facts = asdict(learned) | {"since": micros(learned.since + ahead)}
            amount, capacity = math.floor(learned.amount(meter.quota.amount)), math.floor(meter.bucket.capacity)
            found.append(
                Lesson(
                    account=self.name,
                    quota=name,
                    version=0 if stands is None else stands.version,
                    amount=max(amount, 1) if learned.below(1.0) else 0,
                    capacity=max(capacity, 1),
                    text=json.dumps(facts),
                )
            )
            self._taught[name] = learned
        return found

    def is_news(self, page: Page) -> bool:
        """Whether others have learned what this router has not heard of."""
        return any(lesson.version > self._version(lesson.quota) for lesson in page.lessons)

    def _version(self, quota: str) -> int:
        return self._stands[quota].version if quota in self._stands else 0

    def heed(self, lesson: Lesson, ahead: float, now: float) -> bool:
        """The lesson that stands in the store. Whether it was news."""
        meter = self.meters.get(lesson.quota)
        if meter is None or lesson.version <= self._version(lesson.quota):
            return False
        self._stands[lesson.quota] = lesson
        facts = json.loads(lesson.text)
        learned = Learned(**facts | {"since": facts["since"] / MICRO - ahead})
        if _alike(learned, meter.learned) or _alike(learned, self._taught.get(lesson.quota, FULL)):
            return False  # it is this router's own, which may have learned more since
        self._taught[lesson.quota] = learned
        self.teach(meter, learned, now)
        return True

    def forget_lessons(self) -> None:
        """The store may have lost them: what this router knows is taught anew when there is something new."""
        self._stands.clear()
        self._taught.clear()


def _alike(one: Learned, other: Learned) -> bool:
    """The same but for a rounding of the instant."""
    return abs(one.since - other.since) < 2 / MICRO and asdict(one) | {"since": 0} == asdict(other) | {"since": 0}


def _ration(name: str, meter: Meter, bucket: Bucket, kind: Kind, guard: float, opens: int, closes: int) -> Ration:
    quota = meter.quota
    amount, period = meter.learned.amount(quota.amount), quota.period
    if kind is not Kind.CONTINUOUS:
        amount = max(amount, bucket.capacity)
    elif amount > 0:  # a fraction, or less than one, in as much less time, or more
        amount, period = max(math.floor(amount), 1), period * max(math.floor(amount), 1) / amount
    return Ration(
        name=name,
        unit=bucket.unit,
        kind=kind,
        amount=math.floor(amount),
        period=micros(period),
        capacity=math.floor(bucket.capacity),
        ceiling=math.floor(bucket.ceiling),
        guard=micros(guard),
        opens=opens,
        closes=closes,
    )


def _window(quota: Quota, now: int) -> tuple[int, int]:
    """The calendar window of that instant."""
    seconds = now / MICRO
    closes = next_reset(quota.resets, quota.period, seconds)
    opens = following = next_reset(quota.resets, quota.period, seconds - 2.0 * quota.period)
    while following <= seconds:
        opens, following = following, next_reset(quota.resets, quota.period, following)
    return micros(opens), micros(closes)


def micros(seconds: float) -> int:
    """Whole microseconds, rounded up; NEVER for infinity."""
    return NEVER if seconds >= NEVER / MICRO else math.ceil(seconds * MICRO - 1e-3)


def amounts(cost: Sequence[float]) -> Amounts:
    """A cost in whole numbers, rounded up."""
    requests, inputs, outputs, total = (math.ceil(one) for one in cost)
    return requests, inputs, outputs, total
