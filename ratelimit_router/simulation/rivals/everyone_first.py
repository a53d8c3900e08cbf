"""Everyone tries the best model first: the approach that this project began with, and why it began.

Every task walks its chain from the best model; refused by all, it waits alone, as long as the shortest of their hints
says, and starts again from the best. Nobody tells anybody anything, so all wake together and are refused together.
"""

import asyncio

from ratelimit_router.errors import ProviderError
from ratelimit_router.simulation.rivals.chain import Candidates, Chains, hint_of
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services

__all__ = ["EveryoneFirst"]


class EveryoneFirst:
    """See `lab.Client`."""

    def __init__(self, scenario: Scenario, services: Services):
        self._chains, self._services = Chains(scenario), services

    async def perform(self, task: Task) -> None:
        """Again and again, until a model answers."""
        candidates = self._chains.candidates(task)
        while not await self._walk(task, candidates):
            pass

    async def _walk(self, task: Task, candidates: Candidates) -> bool:
        """Once along the chain, then wait. Whether there was an answer."""
        hints = []
        for model in candidates.models:
            try:
                await self._services.call(model, task)
            except ProviderError as error:
                candidates.note(model, error)
                if candidates.spent:
                    raise
                hints.append(hint_of(error))
            else:
                return True
        await asyncio.sleep(min(hints))
        return False

    async def aclose(self) -> None:
        """Nothing is open."""
