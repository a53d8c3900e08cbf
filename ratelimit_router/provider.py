"""The seam to a service: anything with this shape is a provider."""

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from ratelimit_router.limits import RefillDefaults
from ratelimit_router.messages import Chunk, Reply, Request, Usage
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Outcome

__all__ = ["Provider"]


@runtime_checkable
class Provider(Protocol):
    """One service and its SDK. Made without arguments by its entry point; keys and URLs come with each `Model`.

    `generate` and `stream` send exactly one request each (no retries of the SDK's own) and raise errors of the
    `ProviderError` tree, made `from` the SDK's. `classify` also understands the SDK's own exceptions, for callers who
    use the SDK themselves. `estimate` is fast and local. Two attributes are optional: `refill` (`RefillDefaults`, on
    the class: how this service's quotas come back) and `aclose()` (release connections).
    """

    async def generate(self, model: Model, request: Request) -> Reply:
        """The whole answer to one request."""
        ...

    def stream(self, model: Model, request: Request) -> AsyncIterator[Chunk]:
        """The answer piece by piece; an answer that is cut raises BadResponse."""
        ...

    def classify(self, error: BaseException) -> Outcome:
        """What an exception, the SDK's or one of ours, means for the model that was called."""
        ...

    def estimate(self, request: Request) -> Usage:
        """What the request will probably cost."""
        ...


def refill_defaults(provider: object) -> RefillDefaults:
    """The provider's own, else rolling."""
    found = getattr(provider, "refill", None)
    return found if isinstance(found, RefillDefaults) else RefillDefaults()
