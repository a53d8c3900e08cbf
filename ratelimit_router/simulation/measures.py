"""What a run comes to in figures, and what many runs come to: pure arithmetic over their records.

A policy cannot look better by serving less: a task without an answer has waited until it was given up (the end of the
run, if it never was), counts as overtaken by those behind it, and is reported beside the figures. What the ratio does
badly: tasks that failed early make a run shorter, so read it together with `failed` and `unfinished`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean
from typing import Any, Protocol

from ratelimit_router.outcomes import Kind
from ratelimit_router.simulation.run import OK, Run, TaskRecord

__all__ = ["Measures", "Summary", "TierWait", "measure", "ordered_share", "summarize"]


class Bounded(Protocol):
    """A bound on the makespan, as `bound.fluid_bound` finds it."""

    @property
    def makespan(self) -> float:
        """Seconds that any scheduler needs at least; infinity if no scheduler can do all tasks."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TierWait:
    """The waits of one tier's tasks, seconds from arrival until the call that was answered was sent."""

    tier: str
    tasks: int
    p50_seconds: float
    p99_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """One run in figures. Percentiles are by nearest rank; None: not asked for, or it has no value.

    `ratio`: makespan over the fluid bound. `first_choice_share`: of the tasks done, those answered by the first step of
    their chain; `frontier_share`: that, over the most that is possible in this makespan. `wasted_tokens`: charged to
    calls that brought nothing. `fairness`: of the pairs of tasks of one tier and priority, those served in the order of
    their arrival (1.0: first come, first served; 0.5: chance). `errors`: failed tasks by the class of their error.
    """

    family: str
    seed: int
    policy: str
    ratio: float | None
    makespan_seconds: float
    bound_seconds: float | None
    done: int
    failed: int
    unfinished: int
    calls: int
    rejections_per_task: float
    first_choice_share: float
    frontier_share: float | None
    wait_p50_seconds: float
    wait_p99_seconds: float
    waits: tuple[TierWait, ...]
    fairness: float
    wasted_tokens: int
    errors: tuple[tuple[str, int], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = {name: getattr(self, name) for name in Measures.__slots__}
        waits = {each.tier: {"p50": each.p50_seconds, "p99": each.p99_seconds} for each in self.waits}
        del found["waits"]
        return found | {"wait_seconds_by_tier": waits, "errors": dict(self.errors)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One family under one policy, over `runs` seeds.

    Geometric mean and worst of the ratio (None: no bound); mean and most rejections per task; means of the shares, the
    waits (each seed's percentile) and the tokens; sums of failed and unfinished tasks.
    """

    family: str
    policy: str
    runs: int
    ratio: float | None
    worst_ratio: float | None
    rejections_per_task: float
    most_rejections_per_task: float
    first_choice_share: float
    frontier_share: float | None
    wait_p50_seconds: float
    wait_p99_seconds: float
    waits: tuple[TierWait, ...]
    fairness: float
    wasted_tokens: float
    failed: int
    unfinished: int


def measure(run: Run, bound: Bounded | None = None, frontier: float | None = None) -> Measures:
    """The figures of one run.

    `bound`: of its scenario (None: no ratio). `frontier`: the largest share of first choices that is possible in the
    run's makespan (None: no such figure).
    """
    tasks, scenario = run.tasks, run.scenario
    done = [task for task in tasks if task.done]
    least = bound.makespan if bound is not None and 0 < bound.makespan < math.inf else None
    first_choices = sum(task.depth == 0 for task in done) / len(done) if done else 0.0
    waits = [(task.tier, _wait(task, scenario.horizon)) for task in tasks]
    everyone = sorted(wait for _, wait in waits)
    return Measures(
        family=scenario.family or scenario.name,
        seed=scenario.seed,
        policy=run.policy,
        ratio=None if least is None else run.makespan / least,
        makespan_seconds=run.makespan,
        bound_seconds=least,
        done=len(done),
        failed=sum(task.error is not None for task in tasks),
        unfinished=sum(task.ended == math.inf for task in tasks),
        calls=len(run.calls),
        rejections_per_task=sum(call.result == Kind.RATE_LIMITED for call in run.calls) / len(tasks),
        first_choice_share=first_choices,
        frontier_share=first_choices / frontier if frontier else None,
        wait_p50_seconds=_percentile(everyone, 0.50),
        wait_p99_seconds=_percentile(everyone, 0.99),
        waits=tuple(_tier_wait(tier.name, waits) for tier in scenario.tiers),
        fairness=_fairness(run),
        wasted_tokens=sum(call.input_tokens + call.output_tokens for call in run.calls if call.result != OK),
        errors=tuple(sorted(Counter(task.error for task in tasks if task.error is not None).items())),
    )


def summarize(measures: Iterable[Measures]) -> list[Summary]:
    """By family and policy, in the order of their first runs."""
    groups: dict[tuple[str, str], list[Measures]] = {}
    for one in measures:
        groups.setdefault((one.family, one.policy), []).append(one)
    return [_summary(group) for group in groups.values()]


def ordered_share(order: Sequence[float]) -> tuple[int, int]:
    """Of the pairs of values, how many do not descend, and how many there are. O(n log n), by merging."""
    pairs = len(order) * (len(order) - 1) // 2
    return pairs - _inversions(list(order))[0], pairs


def _summary(group: list[Measures]) -> Summary:
    ratios = [one.ratio for one in group if one.ratio is not None]
    frontiers = [one.frontier_share for one in group if one.frontier_share is not None]
    return Summary(
        family=group[0].family,
        policy=group[0].policy,
        runs=len(group),
        ratio=geometric_mean(ratios) if ratios else None,
        worst_ratio=max(ratios, default=None),
        rejections_per_task=fmean(one.rejections_per_task for one in group),
        most_rejections_per_task=max(one.rejections_per_task for one in group),
        first_choice_share=fmean(one.first_choice_share for one in group),
        frontier_share=fmean(frontiers) if frontiers else None,
        wait_p50_seconds=fmean(one.wait_p50_seconds for one in group),
        wait_p99_seconds=fmean(one.wait_p99_seconds for one in group),
        waits=_mean_waits(group),
        fairness=fmean(one.fairness for one in group),
        wasted_tokens=fmean(one.wasted_tokens for one in group),
        failed=sum(one.failed for one in group),
        unfinished=sum(one.unfinished for one in group),
    )


def _mean_waits(group: list[Measures]) -> tuple[TierWait, ...]:
    by_tier: dict[str, list[TierWait]] = {}
    for one in group:
        for wait in one.waits:
            by_tier.setdefault(wait.tier, []).append(wait)
    return tuple(
        TierWait(
            tier=tier,
            tasks=sum(wait.tasks for wait in waits),
            p50_seconds=fmean(wait.p50_seconds for wait in waits),
            p99_seconds=fmean(wait.p99_seconds for wait in waits),
        )
        for tier, waits in by_tier.items()
    )


def _wait(task: TaskRecord, horizon: float) -> float:
    """Seconds until it was served, or given up."""
    return task.waited if task.done else max(0.0, min(task.ended, horizon) - task.arrived)


def _tier_wait(tier: str, waits: list[tuple[str, float]]) -> TierWait:
    own = sorted(wait for name, wait in waits if name == tier)
    return TierWait(tier=tier, tasks=len(own), p50_seconds=_percentile(own, 0.50), p99_seconds=_percentile(own, 0.99))


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The value at that share, by nearest rank; 0 of nothing."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0


def _fairness(run: Run) -> float:
    """Tasks are numbered by arrival, so in each line the instants of service should not descend."""
    lines: dict[tuple[str, int], list[float]] = {}
    for task, record in zip(run.scenario.tasks(), run.tasks, strict=True):
        line = lines.setdefault((task.tier, task.load.priority), [])
        line.append(record.sent if record.done else math.inf)
    counted = [ordered_share(line) for line in lines.values()]
    pairs = sum(all_pairs for _, all_pairs in counted)
    return sum(ordered for ordered, _ in counted) / pairs if pairs else 1.0


def _inversions(values: list[float]) -> tuple[int, list[float]]:
    """How many pairs descend, and the values in order."""
    if len(values) < 2:
        return 0, values
    middle = len(values) // 2
    (count, left), (more, right) = _inversions(values[:middle]), _inversions(values[middle:])
    count += more
    merged, at = [], 0
    for value in right:
        while at < len(left) and left[at] <= value:
            merged.append(left[at])
            at += 1
        merged.append(value)
        count += len(left) - at
    return count, merged + left[at:]
