"""The fluid bound, on storms that can be worked out by hand. Calls take one second, the network takes no time."""

import importlib
import math
import sys
from dataclasses import replace

import pytest

from ratelimit_router.models import Model, Tier
from ratelimit_router.simulation.bound import fluid_bound, frontier
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.scenario import (
    Account,
    Change,
    Consumer,
    Distribution,
    Load,
    Network,
    Scenario,
    Service,
    Trouble,
)
from ratelimit_router.simulation.windows import WindowKind

MIDNIGHT = 1_790_035_200.0
"""The beginning of a minute; POSIX seconds. It is 17 o'clock in Los Angeles."""

SOON = 1e-3


def rpm(amount: float, window: WindowKind = "rolling", burst: float | None = None) -> QuotaRule:
    return QuotaRule(name="rpm", amount=amount, window=window, burst=burst)


def storm(*services: Service, loads: tuple[Load, ...], chains: dict[str, list[str]] | None = None, **rest) -> Scenario:
    """A scenario; by default one tier may use all services, in their order."""
    chains = chains or {"all": [service.name for service in services]}
    network = Network(latency=rest.pop("latency", 0.0), clock_offset=rest.pop("clock_offset", 0.0))
    return Scenario(
        name="storm",
        models=tuple(Model(service.name) for service in services),
        tiers=tuple(Tier(name, chain) for name, chain in chains.items()),
        services=services,
        loads=loads,
        network=network,
        **({"start": MIDNIGHT} | rest),
    )


def at_once(tasks: int, tier: str = "all", **rest: float) -> tuple[Load, ...]:
    sizes = {name: Distribution(median=value) for name, value in rest.items()}
    return (Load(tier=tier, tasks=tasks, **sizes),)


def bound(scenario: Scenario) -> float:
    return fluid_bound(scenario).makespan


@pytest.mark.parametrize(
    ("rules", "tasks", "seconds"),
    [
        ((rpm(60, "continuous", burst=5),), 5, 1),
        ((rpm(60, "continuous", burst=5),), 20, 15 + 1),
        ((rpm(10),), 10, 1),
        ((rpm(10),), 11, 60 + 1),
        ((rpm(10),), 25, 120 + 1),
        ((rpm(7.9),), 14, 60 + 1),
        ((rpm(7.9),), 15, 120 + 1),
        ((rpm(10, "fixed"),), 25, 90 + 1),
        ((QuotaRule(name="rpd", amount=10),), 15, 100 + 1),
        ((QuotaRule(name="rpm", amount=5, period=10.0, window="rolling"),), 18, 30 + 1),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else value[0].window,
)
def test_each_kind_of_window(rules: tuple[QuotaRule, ...], tasks: int, seconds: float) -> None:
    """Half a minute before the minute, and a hundred seconds before midnight in Los Angeles: to the millisecond."""
    start = MIDNIGHT + 7 * 3_600 - 100 if rules[0].name == "rpd" else MIDNIGHT + 30
    assert bound(storm(Service(name="a", quotas=rules), loads=at_once(tasks), start=start)) == pytest.approx(
        seconds, abs=SOON
    )


def test_nothing_to_do() -> None:
    """No task, no time, and all first choices."""
    scenario = storm(Service(name="a", quotas=(rpm(1),)), loads=at_once(3))
    assert fluid_bound(scenario, []).makespan == 0.0
    assert frontier(scenario, 1.0, []) == 1.0


def test_no_quota_at_all() -> None:
    """Then the slowest answer decides, and it is named."""
    found = fluid_bound(storm(Service(name="a"), loads=at_once(100), latency=0.25))
    assert found.makespan == pytest.approx(1.5)
    assert found.binding == ("arrival and latency of task 0",)


def test_the_network_is_crossed_twice() -> None:
    """Once before the first window opens, and once after the last answer."""
    assert bound(storm(Service(name="a", quotas=(rpm(10),)), loads=at_once(11), latency=0.5)) == pytest.approx(62)


def test_windows_are_aligned_to_the_services_clock() -> None:
    """Theirs is ten seconds ahead, so the minute ends ten seconds sooner."""
    service = Service(name="a", quotas=(rpm(10, "fixed"),))
    assert bound(storm(service, loads=at_once(11), clock_offset=10.0)) == pytest.approx(51, abs=SOON)


def test_calls_in_flight() -> None:
    """Ten calls of two seconds, three at a time: four turns, not 3 1/3."""
    service = Service(name="a", concurrency=3, latency=Distribution(median=2.0))
    found = fluid_bound(storm(service, loads=at_once(10)))
    assert found.makespan == pytest.approx(8, abs=SOON)
    assert found.binding == ("a.concurrency",)


def test_calls_in_flight_in_the_last_window() -> None:
    """The second window opens after a minute; then four at a time take three turns of two seconds."""
    service = Service(name="a", quotas=(rpm(10),), concurrency=4, latency=Distribution(median=2.0))
    assert bound(storm(service, loads=at_once(20))) == pytest.approx(60 + 6, abs=SOON)


def test_late_arrivals_must_be_served_after_they_arrive() -> None:
    """What came back before they were there is of no use: 30 at 50 s, one a second."""
    service = Service(name="a", quotas=(rpm(60, "continuous", burst=1),))
    loads = (Load(tier="all", tasks=10), Load(tier="all", tasks=30, start=50.0))
    found = fluid_bound(storm(service, loads=loads))
    assert found.makespan == pytest.approx(50 + 29 + 1, abs=SOON)
    assert found.binding == ("a.rpm for arrivals from 50.0 s on",)


def test_the_critical_arrival_is_found_among_many() -> None:
    """200 come evenly until 100 s, and 60 at 61.25 s. The 138 from 61 s on must go after that, 2.5 a second."""
    service = Service(name="a", quotas=(rpm(150, "continuous", burst=1),))
    loads = (Load(tier="all", tasks=200, arrive="evenly", over=100.0), Load(tier="all", tasks=60, start=61.25))
    scenario = storm(service, loads=loads)
    arrivals = [task.arrives for task in scenario.tasks()]
    seconds = max(at + (260 - place - 1) / 2.5 + 1 for place, at in enumerate(arrivals))
    assert seconds == pytest.approx(61 + 137 / 2.5 + 1)
    assert bound(scenario) == pytest.approx(seconds, abs=SOON)


def test_more_supply_than_arrivals() -> None:
    """Then the last arrival decides."""
    service = Service(name="a", quotas=(rpm(600, "continuous", burst=10),))
    load = Load(tier="all", tasks=100, arrive="evenly", over=100.0)
    assert bound(storm(service, loads=(load,))) == pytest.approx(100)


def test_a_bucket_runs_over_in_an_outage() -> None:
    """By 10 s 5 + 10 have gone, at 30 s the bucket holds 5 again, and 20 more need 20 s."""
    trouble = Trouble(kind="overloaded", start=10.0, end=30.0)
    service = Service(name="a", quotas=(rpm(60, "continuous", burst=5),), troubles=(trouble,))
    assert bound(storm(service, loads=at_once(40))) == pytest.approx(30 + 20 + 1, abs=SOON)


def test_a_rolling_window_waits_for_the_end_of_an_outage() -> None:
    """10 at once, 10 at 70 s instead of 60 s, 10 a minute later. A trouble that spares some calls stops none."""
    dark = Trouble(kind="silent", start=50.0, end=70.0)
    half = Trouble(kind="garbled", rate=0.5)
    service = Service(name="a", quotas=(rpm(10),), troubles=(dark, half))
    assert bound(storm(service, loads=at_once(30))) == pytest.approx(130 + 1, abs=SOON)


def test_an_outage_from_the_start() -> None:
    """Nothing can be sooner than its end."""
    service = Service(name="a", troubles=(Trouble(kind="unreachable", end=45.0),))
    assert bound(storm(service, loads=at_once(3))) == pytest.approx(46)


def test_a_quota_that_shrinks() -> None:
    """10, then 5 in each period."""
    service = Service(name="a", quotas=(rpm(10),), changes=(Change(at=30.0, factor=0.5),))
    assert bound(storm(service, loads=at_once(25))) == pytest.approx(180 + 1, abs=SOON)


def test_a_quota_that_grows() -> None:
    """One a second for ten seconds, then three a second, and the bucket's size grows from 1 to 3."""
    service = Service(name="a", quotas=(rpm(60, "continuous", burst=1),), changes=(Change(at=10.0, factor=3.0),))
    assert bound(storm(service, loads=at_once(43))) == pytest.approx(20 + 1, abs=SOON)


def test_others_take_their_part() -> None:
    """What they used in the minute before is missing at 60 s; the rest comes a minute later."""
    service = Service(name="a", quotas=(rpm(10),), consumers=(Consumer(rate=0.05),))
    scenario = storm(service, loads=at_once(10))
    used = sum(at < 60 for at, _, _ in scenario.consumption()["a"])
    assert 0 < used < 10
    assert bound(replace(scenario, loads=at_once(10 + 10 - used))) == pytest.approx(60 + 1, abs=SOON)
    assert bound(replace(scenario, loads=at_once(10 + 10 - used + 1))) > 61 + SOON


def test_an_account_is_shared() -> None:
    """Each model could take 15 at once, the account allows 10 a minute."""
    services = [Service(name=name, quotas=(rpm(15),), accounts=("all",)) for name in "ab"]
    few, free, flying = Account(name="all", quotas=(rpm(10),)), Account(name="all"), Account(name="all", concurrency=5)
    for account, seconds in ((few, 121), (free, 1), (flying, 5)):
        scenario = storm(*services, loads=at_once(25), accounts=(account,))
        assert bound(scenario) == pytest.approx(seconds, abs=SOON)


def test_a_tier_has_only_its_chain() -> None:
    """The large model is of no use for those who may not call it, unless it is everyone's fallback."""
    small, large = Service(name="small", quotas=(rpm(5),)), Service(name="large", quotas=(rpm(50),))
    chains = {"hot": ["small"], "bulk": ["large"]}
    scenario = storm(small, large, loads=at_once(12, "hot") + at_once(10, "bulk"), chains=chains)
    found = fluid_bound(scenario)
    assert found.makespan == pytest.approx(121, abs=SOON)
    assert found.binding == ("small.rpm",)
    assert found.share == pytest.approx({("hot", "small"): 1.0, ("bulk", "large"): 1.0})
    assert bound(replace(scenario, fallback="large")) == pytest.approx(1)


def test_the_middle_tier_leaves_the_low_one_its_models() -> None:
    """Only the low tier needs `b`; the others fit on `a` if they stay there: that is in the shares."""
    services = [Service(name=name, quotas=(rpm(10),)) for name in "ab"]
    loads = at_once(20, "middle") + at_once(20, "low")
    scenario = storm(*services, loads=loads, chains={"middle": ["a", "b"], "low": ["b"]})
    found = fluid_bound(scenario)
    assert found.makespan == pytest.approx(61, abs=SOON)
    assert found.share == pytest.approx({("middle", "a"): 1.0, ("low", "b"): 1.0})


def test_tokens_are_a_fluid() -> None:
    """3,000 tokens at 1,000 a minute; that three whole calls of 300 leave 100 unused is left out."""
    service = Service(name="a", quotas=(QuotaRule(name="input_tpm", amount=1_000),))
    assert bound(storm(service, loads=at_once(10, input_tokens=300))) == pytest.approx(121, abs=SOON)


def test_answers_may_overdraw_each_window() -> None:
    """Two calls leave 100, which is enough for the input of a third: three a minute, not 2.2."""
    service = Service(name="a", quotas=(QuotaRule(name="tpm", amount=1_000),))
    loads = at_once(6, input_tokens=100, output_tokens=350)
    assert bound(storm(service, loads=loads)) == pytest.approx(61, abs=SOON)


def test_the_day_ends_in_mid_run() -> None:
    """20 for the day, the rest after midnight, one a second: what the minute allowed before is of no use then."""
    rules = (QuotaRule(name="rpd", amount=20), rpm(60, "continuous", burst=1))
    start = MIDNIGHT + 7 * 3_600 - 600
    found = fluid_bound(storm(Service(name="a", quotas=rules), loads=at_once(40), start=start))
    assert found.makespan == pytest.approx(600 + 19 + 1, abs=SOON)
    assert set(found.binding) == {"a.rpd", "a.rpm"}


def test_what_nobody_can_do() -> None:
    """Too large for every model, no quota at all, a model that is gone, or not before the horizon: infinity."""
    small = Service(name="a", quotas=(QuotaRule(name="input_tpm", amount=100),))
    assert bound(storm(small, loads=at_once(1, input_tokens=101))) == math.inf
    assert bound(storm(Service(name="a", quotas=(rpm(0),)), loads=at_once(1))) == math.inf
    gone = Service(name="a", quotas=(rpm(10),), gone_at=59.0)
    assert bound(storm(gone, loads=at_once(10))) == pytest.approx(1)
    assert bound(storm(gone, loads=at_once(11))) == math.inf
    slow = storm(Service(name="a", quotas=(rpm(1),)), loads=at_once(100), horizon=3_600.0)
    assert bound(slow) == math.inf
    assert frontier(slow, 3_600.0) == 0.0


def test_some_of_the_tasks() -> None:
    """The bound of a part of the tasks, each with the latency that it has in the whole."""
    service = Service(name="a", quotas=(rpm(10),), latency=Distribution(median=1.0, sigma=0.5))
    scenario = storm(service, loads=at_once(30))
    tasks = scenario.tasks()
    latencies = scenario.latencies(tasks)["a"]
    assert fluid_bound(scenario, tasks[20:25]).makespan == pytest.approx(max(latencies[20:25]))
    assert fluid_bound(scenario, tasks[5:16]).makespan == pytest.approx(60 + min(latencies[5:16]), abs=SOON)


def test_the_slowest_go_first() -> None:
    """Two a minute and latencies of 1 and 40 s: whoever knows them ends with a short one."""
    service = Service(name="a", quotas=(rpm(2),), latency=Distribution(median=5.0, sigma=1.0))
    scenario = storm(service, loads=at_once(4))
    ordered = sorted(scenario.latencies(scenario.tasks())["a"])
    assert bound(scenario) == pytest.approx(max(60 + ordered[1], ordered[3]), abs=60 * SOON)


def test_first_choices_within_a_makespan() -> None:
    """The best model takes 10 a minute of 40; the other has no limit."""
    services = Service(name="best", quotas=(rpm(10),)), Service(name="other")
    scenario = storm(*services, loads=at_once(40))
    assert frontier(scenario, 0.5) == 0.0
    assert [frontier(scenario, seconds) for seconds in (1, 60, 61.01, 121.01, 181.01, 3_600)] == pytest.approx(
        [0.25, 0.25, 0.5, 0.75, 1.0, 1.0]
    )


def test_first_choices_compete_for_a_model() -> None:
    """`b` is the first choice of one tier and the only hope of the other."""
    services = [Service(name=name, quotas=(rpm(10),)) for name in "ab"]
    scenario = storm(*services, loads=at_once(10, "x") + at_once(10, "y"), chains={"x": ["a"], "y": [["b"], ["a"]]})
    assert frontier(scenario, 1.5) == pytest.approx(1.0)
    squeezed = replace(
        scenario, tiers=(Tier("x", ["a", "b"]), Tier("y", ["b", "a"])), loads=at_once(15, "x") + at_once(5, "y")
    )
    assert frontier(squeezed, 1.5) == pytest.approx((10 + 5) / 20)
    assert frontier(squeezed, 61.5) == pytest.approx(1.0)


def test_the_example_of_the_documentation() -> None:
    """Ten in any minute, and one every two seconds from a bucket that holds five."""
    services = Service(name="a", quotas=(rpm(10),)), Service(name="b", quotas=(rpm(30, "continuous", burst=5),))
    chains = {"both": ["a", "b"], "first": ["a"]}
    for firsts, seconds in ((0, 71.04), (12, 71.04), (25, 121.04)):
        loads = at_once(60 - firsts, "both") + (at_once(firsts, "first") if firsts else ())
        assert bound(storm(*services, loads=loads, chains=chains, latency=0.02)) == pytest.approx(seconds, abs=SOON)


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.delitem(sys.modules, "ratelimit_router.simulation.bound")
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"ratelimit-router\[storm\]"):
        importlib.import_module("ratelimit_router.simulation.bound")
