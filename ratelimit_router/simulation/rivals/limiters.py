"""A limiter for each model, by the real aiolimiter, and the chain's models in turn: proactive, as people write it.

The limiter is told the configured requests a minute (a model without such a limit has none). What it does badly: it
admits a burst of a whole minute and then the rate, up to twice the limit in the first minute; it knows no tokens and no
days; a line forms at each limiter, whatever is free elsewhere; and order of preference means nothing to a round robin.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import count

from ratelimit_router.errors import ProviderError
from ratelimit_router.limits import RefillDefaults
from ratelimit_router.models import Model
from ratelimit_router.simulation.rivals.chain import Chains, hint_of, is_refusal
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services

try:
    from aiolimiter import AsyncLimiter
except ImportError as error:
    raise ImportError("the policy aiolimiter needs the extra: pip install 'ratelimit-router[storm]'") from error

__all__ = ["Limiters"]

LONGEST = 60.0
"""Seconds that a refused task waits at most before it takes the next turn: nobody sleeps until tomorrow."""


class Limiters:
    """See `lab.Client`."""

    def __init__(self, scenario: Scenario, services: Services):
        self._chains, self._services = Chains(scenario), services
        self._limiters = {model.name: _limiter(model) for model in scenario.models}
        self._turns = {tier.name: count() for tier in scenario.tiers}

    async def perform(self, task: Task) -> None:
        """The next model in turn, within its limiter, until one answers."""
        candidates, turns = self._chains.candidates(task), self._turns[task.tier]
        while True:
            model = candidates.models[next(turns) % len(candidates.models)]
            try:
                async with self._limiters[model]:
                    await self._services.call(model, task)
            except ProviderError as error:
                candidates.note(model, error)
                if candidates.spent:
                    raise
                await asyncio.sleep(min(hint_of(error), LONGEST) if is_refusal(error) else 0.0)
            else:
                return

    async def aclose(self) -> None:
        """Nothing is open."""


def _limiter(model: Model) -> AbstractAsyncContextManager[None]:
    rpm = next((quota for quota in model.limits.quotas(RefillDefaults()) if quota.name == "rpm"), None)
    return nullcontext() if rpm is None or rpm.amount < 1 else AsyncLimiter(rpm.amount, rpm.period)
