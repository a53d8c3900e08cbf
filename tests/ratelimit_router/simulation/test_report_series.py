"""Series over time: what the records say, and what is left of it in a picture."""

import math
from bisect import bisect_right
from random import Random

import pytest

from ratelimit_router.limits import Limits
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.simulation.mirror import mirror_account, mirror_service
from ratelimit_router.simulation.report.lanes import Closed, Event, closures, events, lanes
from ratelimit_router.simulation.report.series import (
    COLUMNS,
    Steps,
    arrived,
    done,
    in_flight,
    quota_levels,
    steps,
    thinned,
    waiting,
)
from ratelimit_router.simulation.run import Call, Cooling, Level, Run, TaskRecord
from ratelimit_router.simulation.scenario import Change, Consumer, Load, Scenario, Trouble

MODEL = Model("m", limits=Limits(rpm=6), pools=("p",))
SCENARIO = Scenario(
    name="small",
    models=(MODEL, Model("n")),
    tiers=(Tier("t", ("m", "n")), Tier("u", ("n",))),
    pools=(Pool("p"),),
    accounts=(mirror_account(Pool("p"), changes=(Change(at=3, factor=0.5), Change(at=7, factor=1))),),
    services=(
        mirror_service(MODEL, troubles=(Trouble(kind="silent", start=5, rate=0.25),), gone_at=8.0),
        mirror_service(Model("n"), consumers=(Consumer(rate=0.1, end=9),)),
    ),
    loads=(Load(tier="t", tasks=2), Load(tier="u", tasks=1)),
    horizon=10,
)


def call(task: int, sent: float, ended: float, result: str = "ok", model: str = "m") -> Call:
    """One call, judged half-way."""
    judged = (sent + ended) / 2
    return Call(task=task, model=model, depth=0, sent=sent, judged=judged, ended=ended, result=result)


def run() -> Run:
    """Task 0 is refused once, 1 waits and never ends, 2 is of another tier and fails."""
    return Run(
        scenario=SCENARIO,
        policy="p",
        tasks=[
            TaskRecord(number=0, tier="t", arrived=0.0, sent=4.0, ended=6.0),
            TaskRecord(number=1, tier="t", arrived=1.0),
            TaskRecord(number=2, tier="u", arrived=1.0, ended=3.0, error="NoCapacity"),
        ],
        calls=[call(0, 0.0, 2.0, "rate_limited"), call(0, 4.0, 6.0), call(2, 1.0, 2.0, "timeout", "n")],
    )


def cooling(at: float, until: float, provenance: str = "server", model: str = "m") -> Cooling:
    """Closed, on whose word."""
    return Cooling(model=model, at=at, until=until, provenance=provenance, reason="rate_limited", quota=None)


def value(series: Steps, at: float) -> float:
    """What it is at an instant."""
    return series.values[bisect_right(series.times, at) - 1]


def test_calls_are_in_flight_from_their_sending_to_their_end() -> None:
    """Refused or not."""
    own = [each for each in run().calls if each.model == "m"]
    assert in_flight(own) == Steps(times=(0.0, 2.0, 4.0, 6.0), values=(1.0, 0.0, 1.0, 0.0))


def test_a_task_waits_whenever_it_has_no_call_in_flight() -> None:
    """From its arrival, and again after a refusal, until it is over; the unfinished one for ever."""
    assert waiting(run(), "t") == Steps(times=(0.0, 1.0, 2.0, 4.0), values=(0.0, 1.0, 2.0, 1.0))
    assert waiting(run(), "u") == Steps(times=(0.0, 2.0, 3.0), values=(0.0, 1.0, 0.0))


def test_only_answered_tasks_are_done() -> None:
    """The failed and the unfinished have arrived, no more."""
    assert arrived(run()) == Steps(times=(0.0, 1.0), values=(1.0, 3.0))
    assert done(run()) == Steps(times=(0.0, 6.0), values=(0.0, 1.0))


def test_the_level_of_a_quota_is_a_share_of_its_amount() -> None:
    """Overdrawn is empty; an amount of nothing is empty, too."""
    played = run()
    played.levels += [
        Level(owner="m", quota="rpm", at=at, left=left, amount=amount)
        for at, left, amount in ((0, 3, 6), (5, -1, 6), (10, 0, 0))
    ]
    assert quota_levels(played, "m") == {"rpm": Steps(times=(0, 5, 10), values=(0.5, 0.0, 0.0))}
    assert quota_levels(played, "n") == {}


@pytest.mark.parametrize("seed", range(20))
def test_a_thinned_series_hides_no_peak_and_is_small(seed: int) -> None:
    """The most of each column, and at most two steps for each."""
    rng = Random(seed)
    starts = [rng.random() ** 3 * 90 for _ in range(rng.choice([400, 4_000]))]
    series = steps(change for at in starts for change in ((at, 1), (at + rng.random(), -1)))
    small = thinned(series, 100.0)
    assert small.peak == series.peak
    assert len(small.times) <= 2 * COLUMNS
    assert list(small.times) == sorted(set(small.times))
    assert small.values[-1] == series.values[-1] == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_thinned_count_promises_nothing_too_early(seed: int) -> None:
    """With the least of each column it is at most a column late, and never ahead."""
    rng = Random(seed)
    series = steps((rng.random() ** 3 * 100, 1) for _ in range(rng.choice([400, 4_000])))
    small, width = thinned(series, 100.0, min), 100.0 / COLUMNS
    assert len(small.times) < len(series.times)
    for column in range(1, COLUMNS):
        at = (column + 0.5) * width
        assert value(series, at - 1.5 * width) <= value(small, at) <= value(series, at)


def test_a_model_is_closed_once_at_a_time() -> None:
    """A later decision takes over from an earlier one, never shortens it; the end of the run ends all."""
    played = run()
    played.tasks[1].ended = 9.0
    played.coolings += [cooling(1, 4), cooling(3, 5, "heuristic"), cooling(4, 4.5, "heuristic"), cooling(8, math.inf)]
    played.coolings.append(cooling(2, 3, model="n"))
    assert closures(played, "m") == [
        Closed(start=1, end=3, provenance="server"),
        Closed(start=3, end=5, provenance="heuristic"),
        Closed(start=8, end=9.0, provenance="server"),
    ]


def test_the_scenario_tells_what_befalls_a_service_or_an_account() -> None:
    """Troubles, consumers, changes of quotas (a factor of 1 is an end, not an event), and when a model vanishes."""
    assert events(SCENARIO, "m") == [
        Event(start=5, end=math.inf, text="does not answer (25% of calls)"),
        Event(start=8.0, end=math.inf, text="gone from 0:08 on"),
    ]
    assert events(SCENARIO, "n") == [Event(start=0.0, end=9, text="others make 6 calls a minute")]
    assert events(SCENARIO, "p") == [Event(start=3, end=7, text="quotas × 0.5")]


def test_every_model_has_a_lane_and_so_has_what_they_share() -> None:
    """A shared lane holds the calls of all that draw on it."""
    found = {lane.name: lane for lane in lanes(run())}
    assert list(found) == ["m", "n", "p"]
    assert found["p"].shared
    assert found["m"].words() == "2 calls, 1 refused, at most 1 in flight"
    assert found["n"].words() == "1 call, 0 refused, 1 failed, at most 1 in flight"
    assert found["p"].words() == found["m"].words()
