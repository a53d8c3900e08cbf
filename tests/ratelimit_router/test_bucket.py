"""The three buckets against references that keep every spend in a list and add up from the start."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratelimit_router.bucket import Bucket, CalendarBucket, ContinuousBucket, RollingBucket, make_bucket
from ratelimit_router.limits import Limits

CAPACITY, PERIOD = 64.0, 64.0  # one a second: everything below is exact in floats
KINDS = ("continuous", "rolling", "calendar")


def next_reset(now: float) -> float:
    """At whole multiples of the period."""
    return (now // PERIOD + 1) * PERIOD


def bucket(kind: str, capacity: float = CAPACITY) -> Bucket:
    """A full one at the instant 0."""
    if kind == "continuous":
        return ContinuousBucket("tpm", 3, CAPACITY, PERIOD, capacity)
    if kind == "rolling":
        return RollingBucket("tpm", 3, PERIOD, capacity)
    return CalendarBucket("tpm", 3, PERIOD, capacity, next_reset, 0.0)


@dataclass
class Reference:
    """Every spend as [instant, amount], corrected in place."""

    kind: str
    capacity: float = CAPACITY
    spends: list[list[float]] = field(default_factory=list)

    def level(self, now: float) -> float:
        """What is left, recomputed from the first spend on."""
        if self.kind == "rolling":
            return self.capacity - sum(amount for at, amount in self.spends if at + PERIOD > now)
        if self.kind == "calendar":
            return self.capacity - sum(amount for at, amount in self.spends if at >= now // PERIOD * PERIOD)
        missing, last = 0.0, 0.0
        for at, amount in self.spends:
            missing, last = max(missing - (at - last), 0.0) + amount, at
        return self.capacity - max(missing - (now - last), 0.0)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 160).map(lambda quarters: quarters / 4),  # seconds since the step before
        st.sampled_from(["spend", "spend", "refund", "debt"]),
        st.integers(0, 40),
    ),
    max_size=40,
)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS)
@example(steps=[(0, "spend", 40), (40, "spend", 1), (10, "spend", 39), (10, "refund", 0), (0, "spend", 40)])
@example(steps=[(0, "spend", 10), (64, "spend", 40), (1, "refund", 0)])
def test_a_bucket_decides_as_its_reference(kind: str, steps: list[tuple[float, str, int]]) -> None:
    """Same level, same decision after every spend and refund; after a debt, never laxer."""
    ours, reference, now, exact = bucket(kind), Reference(kind), 0.0, True
    for wait, what, number in steps:
        now += wait
        if what == "spend" and ours.fits(number, now):
            ours.spend(number, now)
            reference.spends.append([now, number])
        elif reference.spends and what != "spend":
            one = reference.spends[number % len(reference.spends)]
            delta = -one[1] if what == "refund" else number
            exact = exact and not (what == "debt" and kind == "continuous")
            ours.correct(delta, one[0])
            one[1] += delta
        expected = reference.level(now)
        assert ours.level(now) == expected if exact else ours.level(now) <= expected
        assert ours.level(now) <= CAPACITY
        for amount in (1, 17, 64):
            assert ours.fits(amount, now) == (amount <= ours.level(now))


@pytest.mark.parametrize("kind", KINDS)
@given(
    capacity=st.integers(1, 10**7),
    waits=st.lists(st.floats(0, 90), max_size=20),
    parts=st.lists(st.floats(0, 1), min_size=20, max_size=20),
    asked=st.floats(0, 1),
    start=st.sampled_from([0.0, 1e-3, 12_345.678, 1.7e9]),
)
def test_when_is_the_first_instant_that_fits(
    kind: str, capacity: int, waits: list[float], parts: list[float], asked: float, start: float
) -> None:
    """Refused at the float just below it, admitted exactly at it: whatever capacity, amounts and instants."""
    ours, now = bucket(kind, capacity), start
    for wait, part in zip(waits, parts, strict=False):
        now += wait
        amount = int(part * capacity)
        if ours.fits(amount, now):
            ours.spend(amount, now)
    amount = max(int(asked * capacity), 1)
    when = ours.when(amount, now)
    assert now <= when <= now + 2 * PERIOD * max(1, capacity / CAPACITY if kind == "continuous" else 1)
    if when > now:
        assert not ours.fits(amount, math.nextafter(when, -math.inf))
    assert ours.fits(amount, when)


@pytest.mark.parametrize("kind", KINDS)
def test_when_counts_those_ahead(kind: str) -> None:
    """More than the capacity: the instant at which the last of several requests, each sent as early as can be, goes."""
    ours = bucket(kind)
    ours.spend(60, 0)
    predicted = ours.when(16 * 10, 0)
    now = 0.0
    for _ in range(10):
        now = ours.when(16, now)
        ours.spend(16, now)
    assert now == predicted


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS, resizes=st.lists(st.integers(0, 128), max_size=40))
def test_limit_changes_never_lead_above_the_capacity(
    kind: str, steps: list[tuple[float, str, int]], resizes: list[int]
) -> None:
    """What was spent stays spent when the amount changes; nothing ever shows more than there can be."""
    ours, now, instants = bucket(kind), 0.0, [0.0]
    for (wait, what, number), size in zip(steps, resizes, strict=False):
        now += wait
        if what == "spend":
            ours.spend(number, now)
            instants.append(now)
        else:
            ours.correct(-number if what == "refund" else number, instants[number % len(instants)])
        before = ours.capacity - ours.level(now)
        ours.resize(size, size, now)
        assert ours.level(now) <= ours.capacity == size
        if kind != "continuous" or size:
            assert ours.capacity - ours.level(now) == pytest.approx(before) or before == CAPACITY or before >= size


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_fits_a_bucket_of_zero(kind: str) -> None:
    """Not now, not ever, not after it was emptied from a larger one."""
    ours = bucket(kind)
    ours.spend(10, 0)
    ours.resize(0, 0, 1)
    assert not ours.fits(1, 1)
    assert ours.when(1, 1) == math.inf
    assert ours.level(1) <= 0


@pytest.mark.parametrize("kind", KINDS)
def test_time_that_runs_backwards_frees_nothing(kind: str) -> None:
    """Asked about an earlier instant a bucket is as strict or stricter."""
    ours = bucket(kind)
    ours.spend(64, 10)
    assert not ours.fits(1, 5)
    assert ours.level(5) <= 0
    ours.level(200)
    assert ours.level(11) <= CAPACITY


def test_a_rolling_bucket_forgets_what_came_back() -> None:
    """Its log does not grow with the calls of earlier periods."""
    ours = RollingBucket("rpm", 0, 1.0, 100)
    for step in range(100_000):
        ours.level(step / 50)
        ours.spend(1, step / 50)
    assert len(ours._instants) < 2_000


def test_marks_of_a_continuous_bucket_stay_few() -> None:
    """Under steady load the memory for refunds does not grow with the calls."""
    ours = ContinuousBucket("rpm", 0, 6_000, 60.0, 600)
    now = 0.0
    for _ in range(20_000):
        now = ours.when(1, now)
        ours.spend(1, now)
    assert len(ours._marks) <= 601


@pytest.mark.parametrize("wobble", [-0.1, -1e-7, 0.0, 1e-7, 0.1])
def test_one_reset_counts_once(wobble: float) -> None:
    """The wall clock was corrected since the reset was computed: the quota still comes back once, not twice."""
    drift = 0.0
    ours = CalendarBucket("rpd", 0, PERIOD, 10, lambda now: next_reset(now + drift) - drift, 0.0)
    drift = wobble
    ours.spend(10, PERIOD)
    for later in (1e-7, 0.05, 0.1, 0.2, 1.0, 30.0):
        assert ours.level(PERIOD + later) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_guard_makes_everything_come_back_later(kind: str) -> None:
    """The same spend fits that many seconds later than without it, and level and decision still agree."""
    quota = Limits(tpm=60, refill=kind).quotas()[0]  # type: ignore[arg-type]
    plain, guarded = (make_bucket(quota, 0.0, lambda now: (now // 60 + 1) * 60, guard=guard) for guard in (0.0, 0.5))
    for one in (plain, guarded):
        one.spend(60, 0.0)
    assert guarded.when(30, 1.0) == plain.when(30, 1.0) + 0.5
    for now in (29.9, 30.0, 30.4, 30.5, 59.9, 60.0, 60.4, 60.5, 61.0):
        assert guarded.fits(30, now) == (guarded.level(now) >= 30)


def test_make_bucket_knows_every_kind() -> None:
    """The right class, unit and name for each quota."""
    seen: dict[str, Any] = {}
    for refill, cls in (("continuous", ContinuousBucket), ("rolling", RollingBucket), ("calendar", CalendarBucket)):
        quota = Limits(output_tpm=9, refill=refill).quotas()[0]  # type: ignore[arg-type]
        seen[refill] = made = make_bucket(quota, 0.0, next_reset, name="pool.output_tpm")
        assert isinstance(made, cls)
        assert (made.name, made.unit, made.capacity, made.period) == ("pool.output_tpm", 2, 9, 60.0)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS, amount=st.integers(1, 300))
@example(steps=[(0, "spend", 40), (10, "spend", 24)], amount=130)
@example(steps=[(0, "spend", 40), (0, "spend", 24), (1, "debt", 30)], amount=1)
def test_supply_is_the_inverse_of_when(kind: str, steps: list[tuple[float, str, int]], amount: int) -> None:
    """By the instant that `when` names so much can be spent, and not a moment earlier."""
    ours, now = bucket(kind), 0.0
    spends: list[float] = []
    for wait, what, number in steps:
        now += wait
        if what == "spend" and ours.fits(number, now):
            ours.spend(number, now)
            spends.append(now)
        elif spends and what == "debt":
            ours.correct(number, spends[number % len(spends)])
    instant = ours.when(amount, now)
    assert ours.supply(now, instant) >= amount - 1e-9
    assert instant == now or ours.supply(now, instant - 1e-6) < amount
