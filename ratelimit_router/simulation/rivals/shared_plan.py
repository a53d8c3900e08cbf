"""The plan that came first, as it was sketched: batches, a stagger, models by task id, and shared cooldowns.

Tasks start in batches of 10, half a second apart, with a pause of 10 s after each batch. A task's id says with which
model of its chain it begins; a refusal closes the model for everybody as long as it says, and the task falls back at
once. What it does badly: it learns of a quota only by breaking it, and its pauses pass whether or not there is quota.
"""

import asyncio
from collections import deque

from ratelimit_router.errors import ProviderError
from ratelimit_router.simulation.rivals.chain import Chains, hint_of, is_refusal
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services

__all__ = ["SharedPlan"]

BATCH = 10
STAGGER = 0.5
"""Seconds between two launches of a batch."""
PAUSE = 10.0
"""Seconds after a batch."""


class SharedPlan:
    """See `lab.Client`."""

    def __init__(self, scenario: Scenario, services: Services):
        self._chains, self._services = Chains(scenario), services
        self._closed_until: dict[str, float] = {}
        self._line: deque[tuple[Task, asyncio.Future[None]]] = deque()
        self._batches: asyncio.Task[None] | None = None

    async def perform(self, task: Task) -> None:
        """Wait for a place in a batch, and for its end."""
        loop = asyncio.get_running_loop()
        self._line.append((task, ended := loop.create_future()))
        if self._batches is None or self._batches.done():
            self._batches = loop.create_task(self._run_batches())
        await ended

    async def _run_batches(self) -> None:
        while self._line:
            batch = [self._line.popleft() for _ in range(min(BATCH, len(self._line)))]
            await asyncio.gather(*(self._launch(place, *each) for place, each in enumerate(batch)))
            await asyncio.sleep(PAUSE)

    async def _launch(self, place: int, task: Task, ended: "asyncio.Future[None]") -> None:
        await asyncio.sleep(STAGGER * place)
        found: ProviderError | None = None
        try:
            await self._until_answered(task)
        except ProviderError as error:
            found = error
        if not ended.done():  # nobody waits for a task that was given up
            ended.set_exception(found) if found else ended.set_result(None)

    async def _until_answered(self, task: Task) -> None:
        loop, candidates = asyncio.get_running_loop(), self._chains.candidates(task)
        while True:
            model = self._first_open(candidates.models, task.number, loop.time())
            await asyncio.sleep(self._closed_until.get(model, 0.0) - loop.time())
            try:
                await self._services.call(model, task)
            except ProviderError as error:
                candidates.note(model, error)
                if candidates.spent:
                    raise
                if is_refusal(error):
                    self._closed_until[model] = loop.time() + hint_of(error)
            else:
                return

    def _first_open(self, models: tuple[str, ...], number: int, now: float) -> str:
        """From the task's own place in the chain on, around it; if all are closed, the one that opens first."""
        first = number % len(models)
        return min(models[first:] + models[:first], key=lambda name: max(now, self._closed_until.get(name, 0.0)))

    async def aclose(self) -> None:
        """End what is still under way."""
        if self._batches is not None:
            self._batches.cancel()
            await asyncio.gather(self._batches, return_exceptions=True)
