"""What the router believes about one quota, and so what it may admit and has to admit.

The belief itself (the configuration, and what refusals have taught) is read from the router; what follows from it is
worked out here once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ratelimit_router.adaptive import Learned
from ratelimit_router.bucket import UNITS
from ratelimit_router.limits import Quota
from ratelimit_router.meter import Meter
from ratelimit_router.simulation.audit.spends import CARRIED, EPSILON, Clocks, ContinuousSpends, Spends, make_spends

__all__ = ["BelievedQuota"]

ROUNDING = 1e-9
"""Share of an amount within which nobody is blamed."""


@dataclass(slots=True)
class Reading:
    """One of the two readings: `whole`, and the `pacer` that lets it out evenly once its burst was too large."""

    whole: Spends
    pacer: Spends | None = None

    def __iter__(self) -> Iterator[Spends]:
        yield self.whole
        if self.pacer is not None:
            yield self.pacer


class BelievedQuota:
    """One quota of a model or pool."""

    def __init__(self, meter: Meter, now: float, guard: float, clocks: Clocks):
        self.meter = meter
        self.quota: Quota = meter.quota
        self.learned: Learned | None = None
        self._late = guard
        self._mark, self._guard = meter._mark, 0.0
        self.unit = UNITS.index(meter.quota.unit)
        self.ceiling = meter.quota.capacity
        self.readings = tuple(
            Reading(make_spends(meter.quota, now, sure=sure, guard=guard, clocks=clocks)) for sure in (False, True)
        )
        self.lenient, self.sure = self.readings
        self.believe(now)

    def believe(self, now: float, refused: float = 0.0) -> None:
        """Take over what is believed by now. `refused`: what the call asked for that a service has just refused."""
        meter = self.meter
        if meter.learned is not self.learned or meter.quota is not self.quota:
            first = self.learned is None
            self.quota, self.learned = meter.quota, meter.learned
            if not (first and meter.learned.named is None and not meter.learned.cut):
                self._apply(now)
        if meter.guard > self._guard:  # what is back by then is not taken away again, so only the sure reading is later
            self.sure.whole.postpone(meter.guard - self._guard)
            self._guard = meter.guard
        if (mark := meter._mark) is not self._mark:
            self._mark = mark
            if mark is not None:
                self._empty(mark.at, refused if mark.at > now else 0.0, now)

    def _empty(self, until: float, amount: float, now: float) -> None:
        """The service's bucket is empty, and will have room for so much then."""
        rate = self.meter.learned.amount(self.quota.amount) / self.quota.period
        spends = self.sure.pacer or self.sure.whole
        late = self._late + 2.0 * EPSILON
        if (excess := spends.left(now) + rate * (until - now + late) - amount) > 0:
            spends.spend(None, excess, now)

    def _apply(self, now: float) -> None:
        quota, learned = self.quota, self.meter.learned
        known = quota.amount if learned.named is None else min(quota.amount, learned.named)
        least = min(1.0, quota.amount) if quota.unit == "requests" else 0.0
        continuous = quota.refill == "continuous"
        self.ceiling = min(quota.capacity, known) if continuous else known
        burst = max(self.ceiling * learned.burst, least)
        capacity = burst if continuous else max(known * learned.rate, least)
        for reading in self.readings:
            if continuous:
                self._refit(reading.whole, known * learned.rate, capacity, now)
            else:
                reading.whole.resize(known * learned.rate, capacity, now)
                self._pace(reading, known * learned.rate, burst, now)

    def _pace(self, reading: Reading, amount: float, burst: float, now: float) -> None:
        if self.meter.learned.burst == 1.0:
            reading.pacer = None
            return
        if reading.pacer is None:
            reading.pacer = ContinuousSpends(amount, self.quota.period, burst, sure=reading.whole.sure)
        self._refit(reading.pacer, amount, burst, now)

    def _refit(self, spends: Spends, amount: float, capacity: float, now: float) -> None:
        """A bucket that is probably larger than it was thought is not fuller for that."""
        if spends.sure and self.meter.learned.step and capacity > spends.capacity:
            spends.spend(None, capacity - spends.capacity, now)
        spends.resize(amount, capacity, now)

    def carry(self, other: "BelievedQuota", now: float) -> None:
        """It takes the place of a quota of another kind: what was spent stays spent."""
        for mine, theirs in zip(self.readings, other.readings, strict=True):
            mine.whole.spend(CARRIED, max(theirs.whole.capacity - theirs.whole.left(now), 0.0), now)

    def spend(self, key: object, amount: float, now: float) -> None:
        """A call has begun."""
        for spends in (each for reading in self.readings for each in reading):
            spends.spend(key, amount, now)

    def correct(self, key: object, delta: float, now: float) -> None:
        """A call is over."""
        for spends in (each for reading in self.readings for each in reading):
            spends.correct(key, delta, now)

    def drain_to(self, remaining: float, now: float) -> None:
        """The service says that no more is left."""
        for reading in self.readings:
            if (excess := reading.whole.left(now) - max(remaining, 0.0)) > 0:
                reading.whole.spend(None, excess, now)

    def may(self, amount: float, now: float) -> bool:
        """Whether so much may be admitted."""
        return all(self._need(amount, each) <= each.left(now) + ROUNDING * each.capacity for each in self.lenient)

    def must(self, amount: float, now: float) -> bool:
        """Whether so much has to be admitted, as far as this quota decides."""
        for each in self.sure:
            slack = ROUNDING * each.capacity if isinstance(each, ContinuousSpends) else 0.0
            if amount > self.ceiling or self._need(amount, each) > each.left(now) - slack:
                return False
        return True

    def _need(self, amount: float, spends: Spends) -> float:
        """A careful guess of a capacity locks nobody out who is known to fit: he goes when all is there."""
        return spends.capacity if spends.capacity < amount <= self.ceiling else amount

    def levels(self, now: float) -> tuple[float, float]:
        """The least and the most that may be left."""
        return self.sure.whole.left(now), self.lenient.whole.left(now)
