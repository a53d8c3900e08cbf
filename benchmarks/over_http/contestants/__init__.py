"""The contestants, each as its users would write it, in the best configuration that we found for these quotas."""

from dataclasses import dataclass

__all__ = ["CONTESTANTS", "Contestant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A module of this package, one of its variants, and what people call it."""

    name: str
    title: str
    module: str
    variant: str = ""
    limited: bool = True
    """Whether the service has quotas for it; the yardstick of CPU meets none."""
    rounds: int = 1
    """How often it plays each scenario."""


CONTESTANTS = {
    one.name: one
    for one in (
        Contestant(name="ours", title="ratelimit-router", module="ours", rounds=3),
        Contestant(name="bare", title="bare HTTP client, no quotas", module="bare", limited=False),
        Contestant(name="oracle", title="oracle with a schedule", module="oracle"),
        Contestant(name="aiolimiter", title="aiolimiter + tenacity", module="aiolimiter_tenacity"),
        Contestant(name="tenacity", title="tenacity alone", module="tenacity_alone"),
        Contestant(name="langchain", title="LangChain, limiter and fallbacks", module="langchain_fallbacks"),
        Contestant(name="litellm", title="LiteLLM, default", module="litellm_router", variant="default"),
        Contestant(name="litellm-cooldowns", title="LiteLLM, cooldowns", module="litellm_router", variant="cooldowns"),
        Contestant(name="litellm-polling", title="LiteLLM, polling", module="litellm_router", variant="polling"),
        Contestant(name="litellm-usage", title="LiteLLM, usage-based v2", module="litellm_router", variant="usage"),
        Contestant(name="litellm-chain", title="LiteLLM, fallback chain", module="litellm_router", variant="chain"),
    )
}
