"""The auditor finds what is wrong: for each invariant there is a router that breaks it, and is found out.

Each `break_...` below breaks one thing in the real router. A few dozen storms have to tell, by the invariant's name.
"""

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from ratelimit_router import dispatch
from ratelimit_router.account import Account
from ratelimit_router.bucket import Charge, Cost, RollingBucket
from ratelimit_router.cooldown import Cooldown, State
from ratelimit_router.dispatch import Dispatcher
from ratelimit_router.lease import OVER, Lease
from ratelimit_router.limits import Limit, Limits
from ratelimit_router.queue import Queue, Row, Waiter
from ratelimit_router.simulation.audit import Invariant
from ratelimit_router.simulation.audit.spends import ContinuousSpends, make_spends
from ratelimit_router.simulation.soak import judge, judge_again, weather
from ratelimit_router.simulation.weather import random_scenario

Patch = pytest.MonkeyPatch

STORMS = 120
"""Seeds that are played at most until a breach is found."""


def break_window(patch: Patch) -> None:
    """A bucket that forgets every third spend."""
    spend, count = RollingBucket.spend, itertools.count()
    patch.setattr(RollingBucket, "spend", lambda self, amount, at: next(count) % 3 and spend(self, amount, at))


def break_in_flight(patch: Patch) -> None:
    """An account that does not heed its concurrency."""
    patch.setattr(Account, "_open", lambda self, cost, now: self.opens_at(now) <= now)


def break_early(patch: Patch) -> None:
    """A forecast that promises too much."""
    earliest = dispatch.earliest
    patch.setattr(dispatch, "earliest", lambda *asked: asked[-1] + early(earliest, *asked))


def early(earliest: Callable[..., float], *asked: Any) -> float:
    """A third of the wait."""
    wait = earliest(*asked) - asked[-1]
    return wait / 3 if 0 < wait < math.inf else wait


def break_late(patch: Patch) -> None:
    """Timers that are a second late."""
    delay = dispatch._delay
    patch.setattr(dispatch, "_delay", lambda now, wake: delay(now, wake) + 1.0)


def break_charges(patch: Patch) -> None:
    """An account that gives nothing back."""
    correct = Account.correct

    def keep(self: Account, charge: Charge, actual: Cost) -> None:
        correct(self, charge, charge.cost if actual < charge.cost else actual)

    patch.setattr(Account, "correct", keep)


def break_ends_once(patch: Patch) -> None:
    """A lease that is given back as often as it is cancelled."""

    def refund(self: Dispatcher, lease: Lease) -> None:
        if lease.state == OVER:
            self._after.refund(lease)

    original = Dispatcher.refund
    patch.setattr(Dispatcher, "refund", lambda self, lease: (refund(self, lease), original(self, lease)))


def break_denial(patch: Patch) -> None:
    """A refusal that costs a request."""
    refusal = Dispatcher._refusal

    def charged(self: Dispatcher, line: Any, *asked: Any) -> Exception:
        for meter in line.steps[0][0].account.meters.values():
            meter.bucket.spend(1.0, self.clock())
        return refusal(self, line, *asked)

    patch.setattr(Dispatcher, "_refusal", charged)


def break_capacity(patch: Patch) -> None:
    """A bucket that shows more than it can hold."""
    level = RollingBucket.level
    patch.setattr(RollingBucket, "level", lambda self, now: level(self, now) + 1.0)


def break_order(patch: Patch) -> None:
    """Last come, first served."""
    patch.setattr(Row, "head", lambda self: list(self)[-1])


def break_weight(patch: Patch) -> None:
    """Who comes back to the line of the first tier has credit for ever."""
    add = Queue.add

    def credited(self: Queue, waiter: Waiter, lane: int) -> None:
        add(self, waiter, lane)
        if waiter.line.name == "hot":
            waiter.line.served = -1e9

    patch.setattr(Queue, "add", credited)


def break_waiters(patch: Patch) -> None:
    """A line that loses every fifth."""
    add = Queue.add

    def lossy(self: Queue, waiter: Waiter, lane: int) -> None:
        add(self, waiter, lane)
        if not waiter.seq % 5:
            self.remove(waiter)

    patch.setattr(Queue, "add", lossy)


def break_deadline(patch: Patch) -> None:
    """Nobody looks at deadlines."""
    patch.setattr(Queue, "due", lambda self, now: iter(()))
    patch.setattr(Queue, "next_alarm", lambda self: math.inf)


def break_deadlock(patch: Patch) -> None:
    """No timer is ever set."""
    patch.setattr(Dispatcher, "_set_timer", lambda self, wake, now: None)


def break_timer(patch: Patch) -> None:
    """A timer that is set anew without the old one being taken back."""
    set_timer = Dispatcher._set_timer

    def another(self: Dispatcher, wake: float, now: float) -> None:
        if wake != self._timer_at:
            self._timer = None
        set_timer(self, wake, now)

    patch.setattr(Dispatcher, "_set_timer", another)


def break_shortened(patch: Patch) -> None:
    """A rejection that replaces the end of a cooldown, whatever it was."""
    cool = Cooldown._cool

    def shorter(self: Cooldown, outcome: Any, until: float, *how: Any, **kind: Any) -> Any:
        if self.state is State.COOLING:
            until = self.until - 0.2
        return cool(self, outcome, until, *how, **kind)

    patch.setattr(Cooldown, "_cool", shorter)
    patch.setattr(Cooldown, "_extend", lambda self, outcome, *_: self._cool(outcome, 0.0, "server", fresh=False))


def break_incident(patch: Patch) -> None:
    """Every rejection is an incident of its own."""
    rejected = Cooldown.rejected

    def anew(self: Cooldown, lease: object, epoch: int, *told: Any) -> Any:
        return rejected(self, lease, self.epoch, *told)

    patch.setattr(Cooldown, "rejected", anew)


def break_probe(patch: Patch) -> None:
    """A herd in place of a probe."""
    ramp = Cooldown._ramp

    def herd(self: Cooldown, now: float) -> float:
        self.window = max(self.window, 5.0)
        return ramp(self, now)

    patch.setattr(Cooldown, "_ramp", herd)


def break_left_over(patch: Patch) -> None:
    """A ramp that keeps count of calls that are over."""
    patch.setattr(Cooldown, "released", lambda self, lease: None)


def break_ends(patch: Patch) -> None:
    """A router that stumbles over its own feet."""
    refusal = Dispatcher._refusal

    def stumble(self: Dispatcher, *asked: Any) -> Exception:
        if self.queue.length:
            raise KeyError("lane")
        return refusal(self, *asked)

    patch.setattr(Dispatcher, "_refusal", stumble)


BROKEN = {
    Invariant.WINDOW: break_window,
    Invariant.IN_FLIGHT: break_in_flight,
    Invariant.EARLY: break_early,
    Invariant.LATE: break_late,
    Invariant.CHARGES: break_charges,
    Invariant.ENDS_ONCE: break_ends_once,
    Invariant.DENIAL: break_denial,
    Invariant.CAPACITY: break_capacity,
    Invariant.ORDER: break_order,
    Invariant.WEIGHT: break_weight,
    Invariant.WAITERS: break_waiters,
    Invariant.DEADLINE: break_deadline,
    Invariant.DEADLOCK: break_deadlock,
    Invariant.TIMER: break_timer,
    Invariant.SHORTENED: break_shortened,
    Invariant.INCIDENT: break_incident,
    Invariant.PROBE: break_probe,
    Invariant.LEFT_OVER: break_left_over,
    Invariant.ENDS: break_ends,
}


@pytest.mark.parametrize("invariant", BROKEN, ids=lambda one: one.name)
def test_a_router_that_breaks_an_invariant_is_found_out(invariant: Invariant, monkeypatch: Patch) -> None:
    """Within a few dozen storms, under that invariant's name."""
    BROKEN[invariant](monkeypatch)
    assert any(invariant in weather(seed, "greedy").invariants for seed in range(STORMS))


def test_chance_that_is_not_the_seeds_is_found_out(monkeypatch: Patch) -> None:
    """A backoff of its own: the second run is not the first."""
    monkeypatch.setattr(Cooldown, "_backoff", lambda self, kind, strike: random.uniform(0.1, 1.0))
    assert any(differs(seed) for seed in range(STORMS))


def differs(seed: int) -> bool:
    """Whether a second run is another one."""
    scenario = random_scenario(seed)
    found = judge_again(scenario, judge(scenario, "greedy"))
    return any(breach.invariant is Invariant.REPLAY for breach in found)


def test_every_invariant_has_a_router_that_breaks_it() -> None:
    """So that none is checked in name only."""
    assert {*BROKEN, Invariant.REPLAY} == set(Invariant)


# -- the slow arithmetic -----------------------------------------------------------------------------------------------


def spends(limit: Limit, *, sure: bool = False, guard: float = 0.0) -> Any:
    """An empty list of spends of that quota."""
    (quota,) = Limits(rpm=limit).quotas()
    return make_spends(quota, 0.0, sure=sure, guard=guard, clocks=lambda: (0.0,))


def test_what_is_spent_of_a_rolling_quota_comes_back_a_period_later() -> None:
    """Not before, and in full."""
    one = spends(Limit(10, per=60.0, refill="rolling"))
    one.spend("a", 4.0, 0.0)
    one.spend("b", 4.0, 30.0)
    assert [one.left(at) for at in (30.0, 59.0, 61.0, 91.0)] == [2.0, 2.0, 6.0, 10.0]
    one.correct("b", -3.0, 62.0)
    assert one.left(62.0) == 9.0


def test_what_is_spent_of_a_continuous_quota_comes_back_evenly() -> None:
    """And a refund gives back no more than has not come back by itself."""
    one = spends(Limit(60, per=60.0, refill="continuous"))
    one.spend("a", 30.0, 0.0)
    assert one.left(10.0) == pytest.approx(40.0, abs=1e-5)
    one.spend("b", 10.0, 40.0)
    one.correct("a", -30.0, 41.0)
    assert one.left(41.0) == pytest.approx(51.0, abs=1e-5)


def test_a_debt_counts_where_it_was_made_or_for_sure_when_it_is_known() -> None:
    """These are the two readings between which the router has to be."""
    for sure, left in ((False, 60.0), (True, 10.0)):
        one = spends(Limit(60, per=60.0, refill="continuous"), sure=sure)
        one.spend("a", 1.0, 0.0)
        one.correct("a", 50.0, 100.0)
        assert one.left(100.0) == pytest.approx(left, abs=1e-5)


def test_a_guard_makes_what_comes_back_late_for_sure() -> None:
    """Only that reading heeds it."""
    for sure, left in ((False, [31, 32, 42, 60]), (True, [29, 30, 40, 60])):
        one = spends(Limit(60, per=60.0, refill="continuous"), sure=sure, guard=2.0)
        one.spend("a", 30.0, 0.0)
        assert [round(one.left(at) + 1e-9) for at in (1.0, 2.0, 12.0, 40.0)] == left


def test_a_calendar_quota_comes_back_at_a_reset_and_a_guard() -> None:
    """What is spent after the reset counts in the new period."""
    one = spends(Limit(10, per=60.0, refill="calendar"), guard=2.0)
    one.spend("a", 4.0, 59.0)
    one.spend("b", 3.0, 61.0)
    assert [one.left(at) for at in (61.5, 62.5, 119.0, 122.5)] == [3.0, 7.0, 7.0, 10.0]


def test_the_refill_may_change() -> None:
    """What was spent stays spent, and comes back at the new rate."""
    one = ContinuousSpends(60.0, 60.0, 60.0, sure=False)
    one.spend("a", 60.0, 0.0)
    one.resize(120.0, 30.0, 10.0)
    assert one.left(10.0) == pytest.approx(-20.0, abs=1e-4)
    assert one.left(20.0) == pytest.approx(0.0, abs=1e-4)
