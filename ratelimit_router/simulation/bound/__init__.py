"""The fluid bound: no scheduler, however clever and whatever it knows in advance, can be done sooner.

Calls are a fluid: a task may be shared out among its models. All else is as in `services`: what each quota can supply
between two instants, the latencies, the calls of others, and when the tasks arrive. `docs/explanation/bound.md` says
why it holds, and what it leaves out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

try:
    import scipy.optimize  # noqa: F401 -- here, so that its absence is explained
except ImportError as error:
    raise ImportError("the fluid bound needs the extra: pip install 'ratelimit-router[storm]'") from error

from ratelimit_router.simulation.bound.search import Found, Problem
from ratelimit_router.simulation.scenario import Scenario, Task

__all__ = ["Bound", "fluid_bound", "frontier"]

WEIGHTY = 0.01
"""The part of what all calls pay from which a quota is said to bind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """`makespan`: seconds from the start of the run to the last answer at the client, at least; infinity if no
    scheduler can do all tasks within the scenario's horizon.

    `binding`: what stands in the way of less, the most important first. `share`: by tier and model, the part of the
    tier's tasks that the model serves in a flow that is so fast.
    """

    makespan: float
    binding: tuple[str, ...] = ()
    share: Mapping[tuple[str, str], float]


def fluid_bound(scenario: Scenario, tasks: Sequence[Task] | None = None) -> Bound:
    """The bound for these tasks of the scenario, by default all of them."""
    tasks = scenario.tasks() if tasks is None else tasks
    if not tasks:
        return Bound(makespan=0.0, share={})
    problem = Problem(scenario, tasks)
    found = problem.least_makespan()
    return Bound(makespan=found.makespan, binding=_binding(problem, found, tasks), share=_share(problem, found))


def frontier(scenario: Scenario, makespan: float, tasks: Sequence[Task] | None = None) -> float:
    """The largest share of these tasks (0.0 to 1.0) that any scheduler can serve with a model of the first step of
    their chain, if all of them are to be done within `makespan` seconds; 0.0 if they cannot be.
    """
    tasks = scenario.tasks() if tasks is None else tasks
    return Problem(scenario, tasks).most_first_choices(makespan) if tasks else 1.0


def _binding(problem: Problem, found: Found, tasks: Sequence[Task]) -> tuple[str, ...]:
    """Quotas by what is paid for them; with the arrivals that they serve too late, if it is not all of them."""
    if found.prices is None:
        last = tasks[int(problem.crowd.least.argmax())]
        return (f"arrival and latency of task {last.number}",)
    first = float(problem.crowd.ready.min())
    paid: dict[str, float] = {}
    for row, price in zip(found.prices.rows, found.prices.prices, strict=True):
        late = row.stretch.kind == "late" and row.stretch.opens > first
        name = f"{row.name} for arrivals from {row.stretch.opens:.1f} s on" if late else row.name
        paid[name] = paid.get(name, 0.0) + price * row.limit(problem.end(found))
    weighty = [(value, name) for name, value in paid.items() if value > WEIGHTY * sum(paid.values())]
    return tuple(name for _, name in sorted(weighty, key=lambda one: (-one[0], one[1])))


def _share(problem: Problem, found: Found) -> dict[tuple[str, str], float]:
    if found.plan is None:
        return {}
    crowd, calls = problem.crowd, found.plan.calls
    served = calls.sum(axis=1)
    return {
        (tier, model): float(calls[place, number] / served[place])
        for place, tier in enumerate(crowd.tiers)
        for number, model in enumerate(problem.quotas.models)
        if served[place] > 0 and calls[place, number] > 1e-9
    }
