"""A scenario is a value: what cannot be is refused by name, and its tasks are the same every time."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.errors import ConfigError
from ratelimit_router.models import Model, Tier
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

TOKENS = Distribution(median=100.0, sigma=0.5)


def scenario(*loads: Load, **changed: object) -> Scenario:
    """One model, two tiers."""
    whole = Scenario(
        name="one",
        models=(Model("pro"),),
        tiers=(Tier("hot", ["pro"]), Tier("bulk", ["pro"])),
        services=(Service(name="pro"),),
        loads=loads or (Load(tier="hot", tasks=3),),
    )
    return replace(whole, **changed)  # type: ignore[arg-type]


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: Distribution(median=-1.0), "median"),
    (lambda: Distribution(median=1.0, sigma=math.inf), "sigma"),
    (lambda: Distribution(median=1.0, tail=0.0), "tail"),
    (lambda: Distribution(median=1.0, tail=2.0, sigma=0.5), "tail"),
    (lambda: Distribution(median=1.0, least=2.0, most=1.0), "most"),
    (lambda: Change(at=-1.0, factor=1.0), "at"),
    (lambda: Change(at=1.0, factor=math.nan), "factor"),
    (lambda: Trouble(kind="tired"), "kind"),  # type: ignore[arg-type]
    (lambda: Trouble(kind="silent", start=2.0, end=2.0), "end"),
    (lambda: Trouble(kind="silent", rate=1.1), "rate"),
    (lambda: Trouble(kind="overloaded", seconds=-1.0), "seconds"),
    (lambda: Consumer(rate=0.0), "rate"),
    (lambda: Consumer(rate=1.0, start=5.0, end=4.0), "end"),
    (lambda: Service(name="pro", concurrency=0), "concurrency"),
    (lambda: Service(name="pro", hint="vague"), "hint"),  # type: ignore[arg-type]
    (lambda: Service(name="pro", tells="all"), "tells"),  # type: ignore[arg-type]
    (lambda: Service(name="pro", gone_at=-1.0), "gone_at"),
    (lambda: Network(jitter=-0.1), "jitter"),
    (lambda: Network(clock_offset=math.inf), "clock_offset"),
    (lambda: Load(tier="hot", tasks=0), "tasks"),
    (lambda: Load(tier="hot", tasks=1, arrive="evenly"), "over"),
    (lambda: Load(tier="hot", tasks=1, arrive="late", over=1.0), "arrive"),  # type: ignore[arg-type]
    (lambda: Load(tier="hot", tasks=1, timeout=-1.0), "timeout"),
    (lambda: Load(tier="hot", tasks=1, patience=math.nan), "patience"),
    (lambda: scenario(horizon=math.inf), "horizon"),
    (lambda: scenario(services=()), "services"),
    (lambda: scenario(services=(Service(name="pro", accounts=("one",)),)), "services.pro.accounts"),
    (lambda: scenario(loads=()), "load"),
    (lambda: scenario(Load(tier="hot", tasks=1), Load(tier="cold", tasks=1)), "load.1.tier"),
]


@pytest.mark.parametrize(("make", "key"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_is_refused(make: Callable[[], object], key: str) -> None:
    """With the name of the key that is wrong."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.key == key


@given(seed=st.integers(), sigma=st.floats(0, 2), least=st.floats(0, 50))
def test_a_distribution_keeps_within_its_bounds(seed: int, sigma: float, least: float) -> None:
    """And uses one piece of chance, whatever its shape."""
    rng, plain = Random(seed), Random(seed)
    assert least <= Distribution(median=100.0, sigma=sigma, least=least, most=150.0).draw(rng) <= 150.0
    plain.random()
    assert rng.random() == plain.random()


@pytest.mark.parametrize("shape", [{"sigma": 0.7}, {"tail": 1.5}, {}])
def test_half_lie_above_the_median(shape: dict[str, float]) -> None:
    """Of every shape."""
    rng = Random(1)
    sizes = Distribution(median=100.0, **shape)
    assert median(sizes.draw(rng) for _ in range(4_000)) == pytest.approx(100.0, rel=0.05)


def test_tasks_come_by_arrival() -> None:
    """Numbered from 0, each load as it says: all at once, evenly, at random."""
    loads = (
        Load(tier="hot", tasks=3, start=5.0),
        Load(tier="bulk", tasks=4, arrive="evenly", over=8.0),
        Load(tier="bulk", tasks=50, arrive="poisson", start=2.0, over=1.0),
    )
    tasks = scenario(*loads).tasks()
    assert [task.number for task in tasks] == list(range(57))
    assert [task.arrives for task in tasks] == sorted(task.arrives for task in tasks)
    assert [task.arrives for task in tasks if task.load is loads[0]] == [5.0] * 3
    assert [task.arrives for task in tasks if task.load is loads[1]] == [0.0, 2.0, 4.0, 6.0]
    assert all(2.0 <= task.arrives < 3.0 for task in tasks if task.load is loads[2])
    assert tasks[0].tier == "bulk"


def test_loads_that_arrive_together_are_mixed() -> None:
    """Neither comes first as a whole."""
    tasks = scenario(Load(tier="hot", tasks=50), Load(tier="bulk", tasks=50)).tasks()
    assert {task.tier for task in tasks[:20]} == {task.tier for task in tasks[-20:]} == {"hot", "bulk"}


def test_the_client_estimates_as_it_is_told() -> None:
    """A multiple of what a task really uses, rounded up."""
    load = Load(tier="hot", tasks=20, input_tokens=TOKENS, output_tokens=TOKENS, estimate=Distribution(median=1.5))
    for task in scenario(load).tasks():
        assert task.estimated_input == math.ceil(task.input_tokens * 1.5)
        assert task.estimated_output == math.ceil(task.output_tokens * 1.5)


def test_the_seed_decides() -> None:
    """The same one gives the same tasks, another one others."""
    load = Load(tier="hot", tasks=20, input_tokens=TOKENS)
    assert scenario(load).tasks() == scenario(load).tasks()
    assert scenario(load).tasks() != scenario(load, seed=1).tasks()


def test_a_slow_task_is_slow_everywhere() -> None:
    """The same place in the distribution of every service."""
    services = (Service(name="pro", latency=TOKENS), Service(name="lite", latency=Distribution(median=1.0, sigma=0.5)))
    two = scenario(Load(tier="hot", tasks=9), models=(Model("pro"), Model("lite")), services=services)
    latencies = two.latencies(two.tasks())
    assert latencies["pro"] == pytest.approx([100 * seconds for seconds in latencies["lite"]])


def test_others_call_at_their_rate() -> None:
    """Within their time, in order, for services and accounts alike, until the horizon."""
    services = (Service(name="pro", consumers=(Consumer(rate=2.0, start=100.0, end=200.0),)),)
    accounts = (Account(name="account", consumers=(Consumer(rate=1.0, input_tokens=TOKENS), Consumer(rate=1.0))),)
    found = scenario(services=services, accounts=accounts, horizon=300.0).consumption()
    instants = [at for at, _, _ in found["pro"]]
    assert 150 < len(instants) < 250
    assert 100.0 <= instants[0] <= instants[-1] < 200.0
    assert found["account"] == sorted(found["account"], key=lambda call: call[0])
    assert found["account"][-1][0] < 300.0
