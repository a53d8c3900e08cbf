"""Ways to bring tasks to services: ours.

`greedy`: the router as it is, every task by itself along its chain.
`guided`: the same, and what arrives at the start of a load is announced as a batch.
"""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random

from ratelimit_router.events import Cooled, Event
from ratelimit_router.messages import Usage
from ratelimit_router.router import Router
from ratelimit_router.simulation.lab import Policy
from ratelimit_router.simulation.run import Cooling, Run
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services

__all__ = ["OURS", "greedy", "guided"]

ATTEMPTS = 5
"""Failures other than rejections that a task survives."""


class Routed:
    """Every task asks the router, and goes on along its chain until it has an answer."""

    def __init__(self, scenario: Scenario, services: Services, run: Run):
        loop = asyncio.get_running_loop()
        self._services, self._run = services, run
        self.router = Router(
            models=scenario.models,
            tiers=scenario.tiers,
            pools=scenario.pools,
            fallback=scenario.fallback,
            observers=[self._observe],
            clock=loop.time,
            wall_clock=lambda: scenario.start + loop.time(),
            rng=Random(f"{scenario.seed}/router"),
            slow_start=scenario.slow_start,
            guard=scenario.guard,
        )

    def _observe(self, event: Event) -> None:
        if isinstance(event, Cooled):
            self._run.coolings.append(
                Cooling(
                    model=event.model,
                    at=event.at,
                    until=event.until,
                    provenance=event.provenance,
                    reason=event.reason,
                    quota=event.quota,
                )
            )

    async def perform(self, task: Task) -> None:
        """See `lab.Client`."""
        load = task.load
        async for attempt in self.router.attempts(
            task.tier,
            tokens=Usage(input_tokens=task.estimated_input, output_tokens=task.estimated_output),
            timeout=load.timeout,
            patience=load.patience,
            priority=load.priority,
            max_attempts=ATTEMPTS,
        ):
            async with attempt as lease:
                used = await self._services.call(lease.model.name, task)
                lease.settle(input_tokens=used[0], output_tokens=used[1])

    async def aclose(self) -> None:
        """See `lab.Client`."""
        await self.router.aclose()


class Guided(Routed):
    """The same, under a batch that is open from the beginning to the end."""

    def __init__(self, scenario: Scenario, services: Services, tasks: Sequence[Task], run: Run):
        super().__init__(scenario, services, run)
        known = [task for task in tasks if task.arrives <= 0.0]
        calls = {load.tier: sum(task.tier == load.tier for task in known) for load in scenario.loads}
        tokens = {tier: _mean([task for task in known if task.tier == tier]) for tier, count in calls.items() if count}
        self._batch = self.router.batch(calls, tokens=tokens, slack=scenario.slack)
        self._batch.__enter__()

    async def aclose(self) -> None:
        """See `lab.Client`."""
        self._batch.__exit__(None, None, None)
        await super().aclose()


def _mean(tasks: Sequence[Task]) -> Usage:
    return Usage(
        input_tokens=round(sum(task.estimated_input for task in tasks) / len(tasks)),
        output_tokens=round(sum(task.estimated_output for task in tasks) / len(tasks)),
    )


def greedy(scenario: Scenario, services: Services, tasks: Sequence[Task], run: Run) -> Routed:
    """The router as it is."""
    return Routed(scenario, services, run)


def guided(scenario: Scenario, services: Services, tasks: Sequence[Task], run: Run) -> Guided:
    """The router with a plan."""
    return Guided(scenario, services, tasks, run)


OURS: Mapping[str, Policy] = {"greedy": greedy, "guided": guided}
"""By name."""
