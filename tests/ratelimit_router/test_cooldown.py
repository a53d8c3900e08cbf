"""The state machine alone: instants go in, states come out."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router import Kind, Outcome
from ratelimit_router.cooldown import ACCEPTED_AFTER, LOST_AFTER, Cooldown, State

REFUSED = Outcome(kind=Kind.RATE_LIMITED, retry_after=10.0)
OVERLOADED = Outcome(kind=Kind.OVERLOADED, retry_after=10.0)


def cooling(outcome: Outcome = REFUSED) -> Cooldown:
    """Closed from 0 to 10."""
    made = Cooldown(random.Random(0))
    made.rejected(None, 0, outcome, 0.0, math.inf)
    return made


def test_open_exactly_at_the_end() -> None:
    """Closed at the float before, half open at the instant itself."""
    one = cooling()
    assert one.opens_at(math.nextafter(10.0, 0.0)) == 10.0
    assert one.opens_at(10.0) == 10.0
    assert (one.state, one.window) == (State.PROBING, 1)


def test_silence_counts_as_acceptance_for_quotas() -> None:
    """Refusals are quick: a probe that was not refused within a moment was accepted, and two more may go."""
    one = cooling()
    one.opens_at(10.0)
    one.granted("probe", 10.0)
    assert one.opens_at(10.1) == 10.0 + ACCEPTED_AFTER
    assert one.opens_at(10.0 + ACCEPTED_AFTER) == 10.0 + ACCEPTED_AFTER
    assert one.window == 2


def test_silence_counts_for_nothing_after_an_overload() -> None:
    """Only an answer opens further; a probe without any verdict is given up after a while, and another may go."""
    one = cooling(OVERLOADED)
    one.opens_at(10.0)
    one.granted("probe", 10.0)
    assert one.opens_at(100.0) == 10.0 + LOST_AFTER
    assert one.opens_at(10.0 + LOST_AFTER) == 10.0 + LOST_AFTER
    assert (one.state, one.window) == (State.PROBING, 1)
    assert one.succeeded("probe", one.epoch, 131.0)
    assert one.window == 2


def test_a_probe_that_ends_without_a_verdict_makes_room_for_another() -> None:
    """Cancelled before use: its place is free at once."""
    one = cooling(OVERLOADED)
    one.opens_at(10.0)
    one.granted("probe", 10.0)
    one.released("probe")
    assert one.opens_at(10.5) == 10.5


def test_an_answer_from_before_the_incident_proves_nothing() -> None:
    """Neither while it cools, nor while it is half open."""
    one = cooling()
    assert not one.succeeded("old", 0, 9.0)
    one.opens_at(10.0)
    assert not one.succeeded("old", 0, 10.0)
    assert (one.state, one.window) == (State.PROBING, 1)


def test_a_late_rejection_from_before_does_not_undo_a_recovery() -> None:
    """It belongs to an incident that is over, and has no hint that lasts longer."""
    one = cooling()
    one.opens_at(10.0)
    one.granted("probe", 10.0)
    one.succeeded("probe", one.epoch, 11.0)
    assert one.rejected("old", 0, Outcome(kind=Kind.RATE_LIMITED), 11.0, math.inf) is None
    assert one.state is State.PROBING


def test_a_hint_of_zero_is_no_busy_loop() -> None:
    """There is a shortest cooldown."""
    one = cooling(Outcome(kind=Kind.RATE_LIMITED, retry_after=0.0))
    assert one.until >= 0.05


def test_a_hint_longer_than_the_quota_takes_is_not_believed_at_once() -> None:
    """A quota by the minute is back after a minute: one is waited the first time, then two. A day is longer."""
    one, longest = Cooldown(random.Random(0)), Outcome(kind=Kind.RATE_LIMITED, retry_after=170.0)
    waits, now = [], 0.0
    for _ in range(4):
        incident = one.rejected(None, one.epoch, longest, now, math.inf, 60.0)
        assert incident is not None
        waits.append(incident.until - now)
        now = incident.until
    assert waits[:2] == [60.0, 120.0]
    assert waits[2:] == [170.0, 170.0]
    day = Cooldown(random.Random(0)).rejected(None, 0, longest, 0.0, math.inf, 86_400.0)
    assert day is not None
    assert day.until == 170.0


def test_a_hint_is_not_distrusted_for_what_came_after_a_probe_that_got_through() -> None:
    """Limits that are too high lead to many incidents in a row: that is not the hint's fault."""
    one, now = Cooldown(random.Random(0)), 0.0
    for _ in range(8):
        incident = one.rejected(None, one.epoch, Outcome(kind=Kind.RATE_LIMITED, retry_after=0.1), now, math.inf)
        assert incident is not None
        assert incident.until == now + 0.1
        now = incident.until
        one.opens_at(now)
        one.granted(now, now)
        now += ACCEPTED_AFTER
        one.opens_at(now)
    assert one.strikes == 8


def test_a_ramp_is_narrow_until_it_has_lasted() -> None:
    """What is in the air when a limit is hit is refused, too: three at a time, and slowly more; then all."""
    one = cooling()
    now, accepted, widest = 10.0, 0, 0.0
    one.opens_at(now)
    while not one.ready and accepted < 1_000:
        while one.opens_at(now) <= now and not one.ready:
            one.granted(object(), now)
            accepted += 1
        widest = max(widest, one.window) if not one.ready else widest
        now += ACCEPTED_AFTER
    assert one.ready
    assert now - 10.0 <= 11.0
    assert 3 <= widest < 10


def test_doubt_lets_one_call_through_at_first() -> None:
    """Ready or on a ramp, with a window of one; it changes nothing while the model is closed."""
    one = Cooldown(random.Random(0))
    one.doubt()
    assert (one.state, one.window) == (State.SLOW_START, 1)
    one.granted("first", 0.0)
    assert one.opens_at(0.1) == ACCEPTED_AFTER
    assert one.opens_at(ACCEPTED_AFTER) == ACCEPTED_AFTER
    closed = cooling()
    closed.doubt()
    assert closed.opens_at(5.0) == 10.0


REJECTION = st.builds(
    Outcome,
    kind=st.sampled_from([Kind.RATE_LIMITED, Kind.OVERLOADED]),
    retry_after=st.none() | st.floats(0, 500),
    quota=st.sampled_from([None, "rpm", "rpd", "p.rpd"]),
)


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from(["grant", "succeed", "release", "reject", "old"]), REJECTION),
        max_size=40,
    ),
    seed=st.integers(0, 9),
)
def test_whatever_happens(steps: list[tuple[float, str, Outcome]], seed: int) -> None:
    """A cooldown that is on never gets shorter, strikes rise by one an incident, nobody is let in while it is on."""
    one, now, held = Cooldown(random.Random(seed), slow_start=3), 0.0, []
    for wait, what, outcome in steps:
        now += wait
        until, strikes, cools = one.until, one.strikes, one.state is State.COOLING and now < one.until
        opens = one.opens_at(now)
        assert opens >= now
        assert (opens == until > now) if cools else (opens < math.inf)
        if what == "grant" and opens <= now:
            held.append((object(), one.epoch))
            one.granted(held[-1][0], now) if not one.ready else None
        elif what == "old":
            one.rejected(object(), one.epoch - 1, outcome, now, now + 5_000.0)
            assert one.strikes == strikes
        elif held and what != "grant":
            lease, epoch = held.pop()
            finish(one, what, lease, epoch, outcome, now)
            assert one.strikes <= max(strikes + 1, 1)
        if cools:
            assert one.state is State.COOLING
            assert one.until >= until
        assert one.until <= now + 5_000.0


def finish(one: Cooldown, what: str, lease: Any, epoch: int, outcome: Outcome, now: float) -> None:
    """End a lease in one of three ways."""
    if what == "succeed":
        one.succeeded(lease, epoch, now)
    elif what == "release":
        one.released(lease)
    else:
        one.rejected(lease, epoch, outcome, now, now + 5_000.0)


@pytest.mark.parametrize("kind", [Kind.AUTH, Kind.BILLING, Kind.MODEL_GONE])
def test_closed_for_good(kind: Kind) -> None:
    """Nothing but the operator opens it: a probe first."""
    one = Cooldown(random.Random(0))
    incident = one.rejected(None, 0, Outcome(kind=kind), 5.0, 99.0)
    assert incident is not None
    assert incident.until == one.opens_at(1e12) == math.inf
    assert one.rejected(None, 0, REFUSED, 6.0, 99.0) is None
    assert not one.succeeded(None, one.epoch, 6.0)
    one.reopen()
    assert one.opens_at(7.0) == 7.0
    assert (one.state, one.window) == (State.PROBING, 1)


@pytest.mark.parametrize("seconds", [12.0, 60.0, 600.0])
def test_the_end_of_an_outage_is_noticed_soon(seconds: float) -> None:
    """Without hints: on average within a twentieth of its length, for no more than 90 probes."""
    late, probes = [], []
    for seed in range(200):
        one, now, count = Cooldown(random.Random(seed)), 0.0, 0
        while now < seconds:
            one.rejected(None, one.epoch, Outcome(kind=Kind.OVERLOADED), now, math.inf)
            now, count = one.opens_at(now), count + 1
            one.opens_at(now)
        late.append((now - seconds) / seconds)
        probes.append(count)
    assert sum(late) / len(late) < 1 / 20
    assert max(probes) < 90


def test_the_longest_wait_is_reached_however_slowly_the_waits_grow() -> None:
    """After an hour of 503 probes come every 15 to 30 s, and a number that is too large is nobody's problem."""
    one, now, waits = Cooldown(random.Random(0)), 0.0, []
    for _ in range(1_200):
        incident = one.rejected(None, one.epoch, Outcome(kind=Kind.OVERLOADED), now, math.inf)
        assert incident is not None
        waits.append(incident.until - now)
        now = incident.until
        one.opens_at(now)
    assert all(15.0 <= wait <= 30.0 for wait in waits[200:])


def test_after_an_overload_half_of_a_wait_is_certain() -> None:
    """The more even the waits, the sooner an end is noticed for as many probes. With a quota all of it is chance."""

    def first(kind: Kind) -> list[float]:
        fresh = (Cooldown(random.Random(seed)) for seed in range(200))
        found = (one.rejected(None, 0, Outcome(kind=kind), 0.0, math.inf) for one in fresh)
        return [incident.until for incident in found if incident is not None]

    assert 0.2 <= min(first(Kind.OVERLOADED)) < 0.21
    assert 0.39 < max(first(Kind.OVERLOADED)) <= 0.4
    assert min(first(Kind.RATE_LIMITED)) < 0.06
    assert 0.99 < max(first(Kind.RATE_LIMITED)) <= 1.0
