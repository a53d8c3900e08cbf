"""The fluid bound beside the best schedule that there is: tiny storms, of which every schedule is tried.

A schedule is an order of calls and a model for each; each call is made as soon as the services admit it, and no sooner
than the one before it. The services are those of the laboratory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit_router.models import Model, Tier
from ratelimit_router.simulation.bound import fluid_bound, frontier
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.policies import greedy
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
    Task,
    Trouble,
)
from ratelimit_router.simulation.services import Owner

ROUNDING = 1e-4
"""Seconds by which services are lenient, a tick for each window."""

Choice = tuple[tuple[Task, str], ...]


def best_schedule(scenario: Scenario) -> float:
    """The makespan of the best of all schedules; infinity if there is none."""
    return min((makespan(scenario, choice) for choice in schedules(scenario)), default=math.inf)


def schedules(scenario: Scenario) -> Iterator[Choice]:
    """Every order of the tasks, with every model of the chain for each."""
    chains = {tier.name: [name for step in tier.chain for name in step] for tier in scenario.tiers}
    for order in permutations(scenario.tasks()):
        for models in product(*(chains[task.tier] for task in order)):
            yield tuple(zip(order, models, strict=True))


def makespan(scenario: Scenario, choice: Choice) -> float:
    """When the last answer of these calls is back."""
    played = Played(scenario)
    at, ends = 0.0, []
    for task, model in choice:
        at = played.admit(model, task, max(at, task.arrives + scenario.network.latency))
        if at == math.inf:
            return at
        ends.append(at + played.latency(model, task) + scenario.network.latency)
    return max(ends)


class Played:
    """The services, with nobody but one scheduler."""

    def __init__(self, scenario: Scenario):
        foreign, start = scenario.consumption(), scenario.start + scenario.network.clock_offset
        self._clock = lambda at: start + at
        owners = {
            one.name: Owner(one, foreign[one.name], self._clock) for one in (*scenario.services, *scenario.accounts)
        }
        self._owners = {one.name: [owners[name] for name in (one.name, *one.accounts)] for one in scenario.services}
        self._services = {one.name: one for one in scenario.services}
        self._latencies = scenario.latencies(scenario.tasks())
        self._flying: list[tuple[float, list[Owner]]] = []

    def latency(self, model: str, task: Task) -> float:
        return self._latencies[model][task.number]

    def admit(self, model: str, task: Task, at: float) -> float:
        """The first instant from then on at which the call is admitted."""
        while (later := self._later(model, task, at)) > at:
            if later > 3_600.0:
                return math.inf
            at = later
        for owner in self._owners[model]:
            owner.quota.spend(self._clock(at), task.input_tokens, task.output_tokens)
            owner.quota.in_flight += 1
        self._flying.append((at + self.latency(model, task), self._owners[model]))
        return at

    def _later(self, model: str, task: Task, at: float) -> float:
        """When to try again; the same instant if it fits."""
        for trouble in self._services[model].troubles:
            if trouble.start <= at < trouble.end:
                return trouble.end
        for end, owners in [flown for flown in self._flying if flown[0] <= at]:
            self._flying.remove((end, owners))
            for owner in owners:
                owner.quota.release()
        waits = [0.0]
        for owner in self._owners[model]:
            owner.bring_up_to(at)
            for violation in owner.quota.violations(self._clock(at), task.input_tokens):
                flown = min((end for end, _ in self._flying), default=math.inf) - at
                waits.append(flown if violation.name == "concurrency" else violation.wait)
        return at + max(waits)


windows = st.sampled_from(["continuous", "rolling", "fixed"])


@st.composite
def rules(draw: st.DrawFn, name: str, least: int, most: int) -> QuotaRule:
    window = draw(windows)
    amount = draw(st.integers(least, most))
    burst = draw(st.integers(least, amount)) if window == "continuous" else None
    return QuotaRule(name=name, amount=amount, window=window, burst=burst)


@st.composite
def services(draw: st.DrawFn, name: str) -> Service:
    quotas = [draw(rules("rpm", 1, 3))]
    if draw(st.booleans()):
        quotas.append(draw(rules(draw(st.sampled_from(["tpm", "input_tpm", "output_tpm"])), 200, 500)))
    return Service(
        name=name,
        quotas=tuple(quotas),
        concurrency=draw(st.sampled_from([None, None, 1, 2])),
        accounts=("account",) if draw(st.booleans()) else (),
        latency=Distribution(median=draw(st.sampled_from([0.5, 3.0])), sigma=draw(st.sampled_from([0.0, 0.8]))),
        changes=draw(st.sampled_from([(), (), (Change(at=40.0, factor=0.5),), (Change(at=40.0, factor=2.0),)])),
        troubles=draw(st.sampled_from([(), (), (Trouble(kind="overloaded", start=5.0, end=70.0),)])),
        consumers=draw(st.sampled_from([(), (), (Consumer(rate=0.02, input_tokens=Distribution(median=100.0)),)])),
    )


@st.composite
def storms(draw: st.DrawFn) -> Scenario:
    """Two models, two tiers, up to four tasks."""
    sizes = {
        "input_tokens": Distribution(median=100.0, sigma=0.5, most=200.0),
        "output_tokens": Distribution(median=40.0, sigma=0.8),
    }
    counts = draw(st.sampled_from([(1, 3), (2, 2), (3, 0), (4, 0), (2, 1)]))
    loads = [
        Load(tier=tier, tasks=count, start=draw(st.sampled_from([0.0, 20.0])), **sizes)
        for tier, count in zip(("both", "second"), counts, strict=True)
        if count
    ]
    account = Account(name="account", quotas=(draw(rules("rpm", 2, 4)),))
    return Scenario(
        name="tiny",
        seed=draw(st.integers(0, 1_000)),
        models=(Model("a"), Model("b")),
        services=(draw(services("a")), draw(services("b"))),
        accounts=(account,),
        tiers=(Tier("both", ["a", "b"]), Tier("second", ["b"])),
        loads=tuple(loads),
        network=Network(latency=draw(st.sampled_from([0.0, 0.1])), clock_offset=draw(st.sampled_from([0.0, -20.0]))),
        start=1_790_035_200.0 + draw(st.sampled_from([0.0, 30.0])),
        horizon=3_600.0,
    )


@settings(max_examples=60, deadline=None)
@given(storms())
def test_no_schedule_is_better(scenario: Scenario) -> None:
    """Not the best of all, whatever the services do."""
    best = best_schedule(scenario)
    assert fluid_bound(scenario).makespan <= best + ROUNDING


@settings(max_examples=40, deadline=None)
@given(storms())
def test_no_schedule_has_more_first_choices(scenario: Scenario) -> None:
    """Of those that take no longer than a given time: the best makespan, and half as long again."""
    found = [(makespan(scenario, choice), firsts(choice)) for choice in schedules(scenario)]
    best = min(seconds for seconds, _ in found)
    if best == math.inf:
        return
    for limit in (best, 1.5 * best):
        most = max(share for seconds, share in found if seconds <= limit)
        assert frontier(scenario, limit + ROUNDING) >= most - 1e-6


def firsts(choice: Choice) -> float:
    """The share of first choices: `a` for the one tier, `b` for the other."""
    return sum(model == {"both": "a", "second": "b"}[task.tier] for task, model in choice) / len(choice)


@settings(max_examples=40, deadline=None)
@given(
    amounts=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kinds=st.tuples(windows, windows),
    counts=st.sampled_from([(2, 2), (3, 1), (4, 0), (1, 3)]),
    latency=st.sampled_from([0.5, 2.0]),
)
def test_alike_calls_are_no_fluid(
    amounts: tuple[int, int], kinds: tuple[str, str], counts: tuple[int, int], latency: float
) -> None:
    """Calls that are all alike, one quota for each model: the bound is the best schedule, to a millisecond."""
    made = [
        Service(
            name=name,
            quotas=(QuotaRule(name="rpm", amount=amount, window=kind, burst=1 if kind == "continuous" else None),),
            latency=Distribution(median=latency),
        )
        for name, amount, kind in zip("ab", amounts, kinds, strict=True)
    ]
    scenario = Scenario(
        name="alike",
        models=(Model("a"), Model("b")),
        services=tuple(made),
        tiers=(Tier("both", ["a", "b"]), Tier("second", ["b"])),
        loads=tuple(
            Load(tier=tier, tasks=count) for tier, count in zip(("both", "second"), counts, strict=True) if count
        ),
    )
    assert fluid_bound(scenario).makespan == pytest.approx(best_schedule(scenario), abs=1e-3)


def longest_first(scenario: Scenario, order: Sequence[Task]) -> float:
    """One model, its calls in that order."""
    return makespan(scenario, tuple((task, scenario.models[0].name) for task in order))


@pytest.mark.parametrize("window", ["continuous", "rolling", "fixed"])
def test_a_long_run_comes_close(window: str) -> None:
    """300 calls of many sizes, by their tokens, largest first: within 3% of the bound, which takes them as a fluid."""
    rule = QuotaRule(name="input_tpm", amount=20_000, window=window, burst=4_000 if window == "continuous" else None)
    sizes = Distribution(median=600.0, sigma=0.5, most=2_000.0)
    service = Service(name="a", quotas=(rule,), latency=Distribution(median=1.0, sigma=0.3))
    scenario = Scenario(
        name="long",
        models=(Model("a"),),
        services=(service,),
        tiers=(Tier("all", ["a"]),),
        loads=(Load(tier="all", tasks=300, input_tokens=sizes),),
    )
    bound = fluid_bound(scenario).makespan
    ends = [longest_first(scenario, order) for order in packed(scenario, rule)]
    assert bound <= min(ends) + ROUNDING
    assert min(ends) <= bound * 1.03


def packed(scenario: Scenario, rule: QuotaRule) -> Iterator[list[Task]]:
    """The largest first; and in bins of the quota's amount, each filled with the largest that still fit."""
    tasks = sorted(scenario.tasks(), key=lambda task: -task.input_tokens)
    yield tasks
    order: list[Task] = []
    while tasks:
        left = rule.amount
        for task in tuple(tasks):
            if task.input_tokens <= left:
                left -= task.input_tokens
                order.append(task)
                tasks.remove(task)
    yield order


@settings(max_examples=25, deadline=None)
@given(storms(), st.floats(1.0, 4.0), st.floats(1.0, 2.0))
def test_whatever_helps_a_scheduler_leaves_the_bound_below_every_run(
    scenario: Scenario, more: float, longer: float
) -> None:
    """With more quota, more models in a chain, fewer tasks, no bound lies above what could be done without.

    (A bound may rise a little when things get easier, where it is nearer to the truth then.)
    """
    run = play(scenario, greedy)
    made = run.makespan if all(task.done for task in run.tasks) else math.inf
    larger = replace(scenario, services=tuple(richer(service, more) for service in scenario.services))
    freer = replace(scenario, fallback="a")
    for better in (scenario, larger, freer):
        assert fluid_bound(better).makespan <= made + ROUNDING
    assert fluid_bound(scenario, scenario.tasks()[:-1]).makespan <= made + ROUNDING
    bound = fluid_bound(scenario).makespan
    if bound < math.inf:
        assert frontier(scenario, bound) <= frontier(scenario, bound * longer) + 1e-6


def richer(service: Service, factor: float) -> Service:
    """The same with larger quotas."""
    quotas = (
        replace(rule, amount=rule.amount * factor, burst=None if rule.burst is None else rule.burst * factor)
        for rule in service.quotas
    )
    return replace(service, quotas=tuple(quotas))
