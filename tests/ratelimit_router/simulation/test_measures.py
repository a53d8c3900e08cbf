"""The figures of runs that were made by hand, so that each can be worked out on paper."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router import Model, Tier
from ratelimit_router.simulation.measures import Measures, TierWait, measure, ordered_share, summarize
from ratelimit_router.simulation.run import Call, Run, TaskRecord
from ratelimit_router.simulation.scenario import Load, Scenario, Service

KEYS = {"family", "seed", "policy", "ratio", "rejections_per_task", "first_choice_share", "wait_p99_seconds"}


@dataclass(frozen=True)
class Least:
    """Stands for the fluid bound."""

    makespan: float


def made(*lines: Sequence[float], tiers: Sequence[str] = ("hot", "bulk"), priorities: Sequence[int] = (0, 0)) -> Run:
    """A run of one line of tasks a load, a second apart; each number is when that task's last call was sent.

    Every call is answered two seconds later; infinity: the task was never done.
    """
    loads = tuple(
        Load(tier=tiers[at], tasks=len(line), arrive="evenly", over=len(line), priority=priorities[at])
        for at, line in enumerate(lines)
    )
    scenario = Scenario(
        name="by hand",
        models=(Model("best"), Model("rest")),
        tiers=tuple(Tier(name, ["best", "rest"]) for name in dict.fromkeys(tiers)),
        services=(Service(name="best"), Service(name="rest")),
        loads=loads,
        seed=3,
        horizon=1_000.0,
    )
    sent = [iter(line) for line in lines]
    records = []
    for task in scenario.tasks():
        at = next(sent[loads.index(task.load)])
        record = TaskRecord(number=task.number, tier=task.tier, arrived=task.arrives, sent=at, ended=at + 2, depth=0)
        records.append(record)
    return Run(scenario=scenario, policy="mine", tasks=records)


def call(result: str, tokens: int = 0) -> Call:
    return Call(
        task=0, model="best", depth=0, sent=0.0, judged=0.0, ended=0.0, result=result,
        input_tokens=tokens, output_tokens=2 * tokens,
    )  # fmt: skip


def test_a_run_by_hand() -> None:
    """Every figure of a run of four tasks: one is answered by its second choice, one is refused twice before."""
    run = made([0.0, 5.0, 2.5, 9.0])
    run.tasks[1].depth = 1
    run.calls += [call("ok", 10)] * 4 + [call("rate_limited")] * 2 + [call("timeout", 5), call("overloaded")]
    assert measure(run, Least(8.0), 0.8) == Measures(
        family="by hand",
        seed=3,
        policy="mine",
        ratio=11.0 / 8.0,
        makespan_seconds=11.0,
        bound_seconds=8.0,
        done=4,
        failed=0,
        unfinished=0,
        calls=8,
        rejections_per_task=0.5,
        first_choice_share=0.75,
        frontier_share=0.75 / 0.8,
        wait_p50_seconds=0.5,  # of 0, 0.5, 4 and 6
        wait_p99_seconds=6.0,
        waits=(
            TierWait(tier="hot", tasks=4, p50_seconds=0.5, p99_seconds=6.0),
            TierWait(tier="bulk", tasks=0, p50_seconds=0.0, p99_seconds=0.0),
        ),
        fairness=5 / 6,  # the third overtook the second
        wasted_tokens=15,
        errors=(),
    )


def test_serving_less_looks_no_better() -> None:
    """A failed task waited until it failed, one that was never over until the horizon; both count as overtaken."""
    run = made([1.0, math.inf, math.inf, 3.0])
    run.tasks[1].error, run.tasks[1].ended = "ModelGone", 41.0
    found = measure(run)
    assert (found.done, found.failed, found.unfinished) == (2, 1, 1)
    assert found.errors == (("ModelGone", 1),)
    assert found.makespan_seconds == 1_000.0
    assert found.wait_p50_seconds == 1.0
    assert found.wait_p99_seconds == 998.0
    assert found.fairness == 4 / 6


def test_nothing_done() -> None:
    """No first choices, and figures all the same."""
    found = measure(made([math.inf, math.inf]), Least(10.0))
    assert (found.done, found.first_choice_share, found.ratio, found.fairness) == (0, 0.0, 100.0, 1.0)


def test_percentiles_are_of_waits_that_occurred() -> None:
    """By nearest rank: of a hundred waits, the 50th and the 99th."""
    found = measure(made([at + wait for at, wait in enumerate(range(100, 0, -1))]))
    assert (found.wait_p50_seconds, found.wait_p99_seconds) == (50.0, 99.0)


@pytest.mark.parametrize(
    ("lines", "tiers", "priorities", "fair"),
    [
        pytest.param([[1.0, 2.0, 3.0, 4.0]], ("hot",), (0,), 1.0, id="first come, first served"),
        pytest.param([[9.0, 8.0, 7.0, 6.0]], ("hot",), (0,), 0.0, id="last come, first served"),
        pytest.param([[9.0, 9.0, 9.0]], ("hot",), (0,), 1.0, id="at once"),
        pytest.param([[10.0, 11.0], [1.0, 2.0]], ("hot", "bulk"), (0, 0), 1.0, id="tiers do not compare"),
        pytest.param([[10.0, 11.0], [1.0, 2.0]], ("hot", "hot"), (0, 1), 1.0, id="nor do priorities"),
        pytest.param([[10.0, 12.0], [11.0, 10.5]], ("hot", "bulk"), (0, 0), 0.5, id="pairs of all lines"),
        pytest.param([[1.0]], ("hot",), (0,), 1.0, id="no pairs"),
    ],
)
def test_fairness(lines: list[list[float]], tiers: list[str], priorities: list[int], fair: float) -> None:
    """The share of pairs, of one tier and priority, that were served in the order of their arrival."""
    assert measure(made(*lines, tiers=tiers, priorities=priorities)).fairness == fair


@given(st.lists(st.integers(min_value=0, max_value=9) | st.just(math.inf), max_size=40))
def test_merging_counts_pairs_as_looking_at_each_does(order: list[float]) -> None:
    """The fast count of pairs in order is the slow one."""
    pairs = list(combinations(order, 2))
    assert ordered_share(order) == (sum(first <= second for first, second in pairs), len(pairs))


@pytest.mark.parametrize("bound", [None, Least(math.inf), Least(0.0)])
def test_there_is_no_ratio_to_what_is_no_bound(bound: Least | None) -> None:
    """Not asked for, impossible for anybody, or nothing to do."""
    found = measure(made([1.0]), bound)
    assert (found.ratio, found.bound_seconds) == (None, None)


def test_figures_are_json() -> None:
    """The published keys are there, and nothing that JSON does not have."""
    found = measure(made([1.0, math.inf], [3.0]), Least(math.inf)).as_dict()
    assert found.keys() >= KEYS
    assert found["wait_seconds_by_tier"] == {"hot": {"p50": 1.0, "p99": 999.0}, "bulk": {"p50": 3.0, "p99": 3.0}}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_summary_over_seeds() -> None:
    """Ratios multiply, so their mean is geometric; of rejections there is the mean and the most; failures add up."""
    one = measure(made([0.0, 6.0]), Least(2.0))
    other = replace(one, seed=4, ratio=1.0, rejections_per_task=3.0, failed=2, wait_p99_seconds=7.0, wasted_tokens=9)
    stranger = replace(one, policy="theirs", ratio=None)
    mine, theirs = summarize([one, stranger, other])
    assert (mine.policy, mine.runs, mine.ratio, mine.worst_ratio) == ("mine", 2, pytest.approx(2.0), 4.0)
    assert (mine.rejections_per_task, mine.most_rejections_per_task) == (1.5, 3.0)
    assert (mine.failed, mine.wait_p99_seconds, mine.wasted_tokens, mine.frontier_share) == (2, 6.0, 4.5, None)
    assert mine.waits[0] == TierWait(tier="hot", tasks=4, p50_seconds=0.0, p99_seconds=5.0)
    assert (theirs.policy, theirs.runs, theirs.ratio, theirs.worst_ratio) == ("theirs", 1, None, None)
