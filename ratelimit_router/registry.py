"""The providers of one router: given as instances, or made from their entry points when first needed."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ratelimit_router.errors import ConfigError, ProviderError, RouterError
from ratelimit_router.limits import ROLLING, RefillDefaults
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Outcome, outcome_of

if TYPE_CHECKING:
    from ratelimit_router.provider import Provider

__all__ = ["Registry"]

log = logging.getLogger("ratelimit_router")


class Registry:
    """Providers by name."""

    def __init__(self, given: "Mapping[str, Provider]"):
        self._given = dict(given)
        self._made: dict[str, Provider | None] = {}

    def of(self, model: Model) -> "Provider":
        """The provider that calls this model. Raises ConfigError if it names none, or one that is not installed."""
        if model.provider is None:
            raise ConfigError("names no provider: route() it and call it yourself", key=f"models.{model.name}.provider")
        if (found := self._find(model.provider)) is None:
            raise ConfigError(f"no provider {model.provider!r} is installed", key=f"models.{model.name}.provider")
        return found

    def classify(self, model: Model, error: BaseException) -> Outcome:
        """What an error means for a model: by its provider, or by itself where there is none."""
        if isinstance(error, ProviderError) or not isinstance(error, Exception) or model.provider is None:
            return outcome_of(error)
        try:
            provider = self._find(model.provider)
        except RouterError:  # it cannot be made (its SDK is missing): the error is not from it
            provider = None
        if provider is None:
            return outcome_of(error)
        try:
            return provider.classify(error)
        except Exception as bug:  # noqa: BLE001 -- the caller's own error must not be lost to it
            log.error("provider %s cannot classify a %s: %s", model.provider, type(error).__name__, type(bug).__name__)
            return outcome_of(error)

    def refill(self, model: Model) -> RefillDefaults:
        """How the quotas of a model come back where its limits do not say."""
        if model.provider is None:
            return ROLLING
        from ratelimit_router.provider import refill_defaults

        return refill_defaults(self._given.get(model.provider) or _provider_class(model.provider))

    def _find(self, name: str) -> "Provider | None":
        if name in self._given:
            return self._given[name]
        if name not in self._made:
            cls = _provider_class(name)
            self._made[name] = None if cls is None else cls()
        return self._made[name]

    async def aclose(self) -> None:
        """Close what was made here; what was given belongs to the giver."""
        made, self._made = self._made, {}
        for provider in made.values():
            if (close := getattr(provider, "aclose", None)) is not None:
                await close()


def _provider_class(name: str) -> "type[Provider] | None":
    from ratelimit_router.plugins import provider_class  # importlib.metadata is slow to import, and rarely needed

    return provider_class(name)
