"""What every rival knows: the models that a tier may use, and how people read the errors of a call.

None looks at `scenario.services`: like the router, a rival learns the truth from answers only. None has deadlines.
"""

from ratelimit_router.errors import AuthError, BillingError, ModelGone, Overloaded, ProviderError, RateLimited
from ratelimit_router.models import Tier
from ratelimit_router.simulation.scenario import Scenario, Task

__all__ = ["Candidates", "Chains", "hint_of", "is_refusal"]

ATTEMPTS = 5
"""Unusable and missing answers that a task survives, as with our own policies."""

NO_HINT = 1.0
"""Seconds that people wait where a refusal says nothing."""

LEAST = 0.001
"""Seconds that even a client told to come back at once takes to do so."""


def is_refusal(error: ProviderError) -> bool:
    """Whether the service asks to come back later (429, 503); such a task is tried for ever, as ours are."""
    return isinstance(error, RateLimited | Overloaded)


def hint_of(error: ProviderError) -> float:
    """Seconds to wait after a refusal: as it says, or else one."""
    return NO_HINT if error.retry_after is None else max(error.retry_after, LEAST)


class Candidates:
    """The models that one task still tries, best first."""

    def __init__(self, models: tuple[str, ...]):
        self.models = models
        self._failures = 0

    @property
    def spent(self) -> bool:
        """Whether the task should give up."""
        return not self.models or self._failures >= ATTEMPTS

    def note(self, model: str, error: ProviderError) -> None:
        """A call failed: a model that is gone or refuses the key is not tried again; other failures are counted."""
        if isinstance(error, AuthError | BillingError | ModelGone):
            self.models = tuple(name for name in self.models if name != model)
        elif not is_refusal(error):
            self._failures += 1


class Chains:
    """The chain of every tier, flat, with the fallback last."""

    def __init__(self, scenario: Scenario):
        self._by_tier = {tier.name: _flat(tier, scenario.fallback) for tier in scenario.tiers}

    def of(self, tier: str) -> tuple[str, ...]:
        """The models of a tier, best first."""
        return self._by_tier[tier]

    def candidates(self, task: Task) -> Candidates:
        """A fresh list for one task."""
        return Candidates(self._by_tier[task.tier])


def _flat(tier: Tier, fallback: str | None) -> tuple[str, ...]:
    names = [name for step in tier.chain for name in step]
    return tuple(names) if fallback is None or fallback in names else (*names, fallback)
