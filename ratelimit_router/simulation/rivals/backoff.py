"""Exponential backoff with full jitter in every task, by the real tenacity: what most clients do.

Each attempt goes to the next model of the chain. What it does badly: tasks that were unlucky early wait longest, so the
order of arrival is lost, and quota lies idle while everybody sleeps.
"""

from random import Random

from ratelimit_router.errors import ProviderError
from ratelimit_router.simulation.rivals.chain import Chains
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services

try:
    import tenacity
except ImportError as error:
    raise ImportError("the policy tenacity needs the extra: pip install 'ratelimit-router[storm]'") from error

__all__ = ["Backoff"]

LONGEST = 60.0
"""Seconds between two attempts at most."""


class Backoff:
    """See `lab.Client`."""

    def __init__(self, scenario: Scenario, services: Services):
        self._chains, self._services = Chains(scenario), services
        self._rng = Random(f"{scenario.seed}/tenacity")
        self._window = tenacity.wait_exponential(multiplier=1, max=LONGEST)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """`tenacity.wait_random_exponential`, with chance that repeats: the library's own takes the global one."""
        return self._rng.uniform(0.0, self._window(state))

    async def perform(self, task: Task) -> None:
        """Retry until a model answers."""
        candidates = self._chains.candidates(task)
        again = tenacity.retry_if_exception(lambda error: isinstance(error, ProviderError) and not candidates.spent)
        async for attempt in tenacity.AsyncRetrying(wait=self._wait, retry=again, reraise=True):
            with attempt:
                model = candidates.models[(attempt.retry_state.attempt_number - 1) % len(candidates.models)]
                try:
                    await self._services.call(model, task)
                except ProviderError as error:
                    candidates.note(model, error)
                    raise

    async def aclose(self) -> None:
        """Nothing is open."""
