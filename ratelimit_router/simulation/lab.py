"""Plays a scenario in virtual time: the tasks arrive, a policy brings them to the services, everything is noted.

The client is the real thing, its router and its event loop included; only the clock is not. What it cannot show is the
time that the client's own code takes.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from ratelimit_router.simulation import virtual_time
from ratelimit_router.simulation.run import Run, TaskRecord
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services

__all__ = ["Client", "Policy", "play"]

SAMPLES = 5.0
"""Seconds between two looks at the levels of the quotas, for those who watch."""


class Client(Protocol):
    """Whoever brings tasks to services."""

    async def perform(self, task: Task) -> None:
        """Call until there is an answer. Whatever this raises ends the task as failed."""
        ...

    async def aclose(self) -> None:
        """The run is over."""
        ...


Policy = Callable[[Scenario, Services, Sequence[Task], Run], Client]
"""Makes the client of one run, in its event loop. It knows what the router is told, and every task in advance."""


def play(scenario: Scenario, policy: Policy, name: str = "", *, watch: bool = False) -> Run:
    """The whole run. `watch`: also note the levels of quotas (the client notes cooldowns), for pictures.

    The same scenario, policy and version give the same records.
    """
    return virtual_time.run(_play(scenario, policy, name, watch))


async def _play(scenario: Scenario, policy: Policy, name: str, watch: bool) -> Run:
    tasks = scenario.tasks()
    records = [TaskRecord(number=task.number, tier=task.tier, arrived=task.arrives) for task in tasks]
    run = Run(scenario=scenario, policy=name, tasks=records)
    services = Services(scenario, tasks, run)
    client = policy(scenario, services, tasks, run)
    watcher = asyncio.ensure_future(_watch(services, run)) if watch else None
    try:
        async with asyncio.timeout(scenario.horizon):
            await _launch(client, tasks, records)
    except TimeoutError:
        pass  # what is not done by then never is
    finally:
        if watcher is not None:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
        await client.aclose()
    return run


async def _launch(client: Client, tasks: Sequence[Task], records: Sequence[TaskRecord]) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for task, record in zip(tasks, records, strict=True):
            if (ahead := task.arrives - loop.time()) > 0:
                await asyncio.sleep(ahead)
            group.create_task(_perform(client, task, record))


async def _perform(client: Client, task: Task, record: TaskRecord) -> None:
    try:
        await client.perform(task)
    except Exception as error:  # noqa: BLE001 -- whatever ends a task is part of the record
        record.error = type(error).__name__
    record.ended = asyncio.get_running_loop().time()


async def _watch(services: Services, run: Run) -> None:
    loop = asyncio.get_running_loop()
    while True:
        run.levels += services.levels(loop.time())
        await asyncio.sleep(SAMPLES)
