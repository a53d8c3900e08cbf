"""Families of random storms: each has an idea, and every seed of it is another storm.

A scenario is decided by its family and its seed alone. Seeds below 1,000 are for tuning; report on others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.families import right, wrong
from ratelimit_router.simulation.families.draft import Draft
from ratelimit_router.simulation.scenario import Scenario
from ratelimit_router.toml_tables import did_you_mean

__all__ = ["FAMILIES", "Family", "family"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of storm. `make`: the one of a seed, always the same."""

    name: str
    about: str
    make: Callable[[int], Scenario]


def family(name: str, seed: int) -> Scenario:
    """The storm of that family and seed. Raises ConfigError for a family that there is not."""
    if name not in FAMILIES:
        raise ConfigError(f"no family is called {name!r}{did_you_mean(name, FAMILIES)}", key="family")
    return FAMILIES[name].make(seed)


def _family(draw: Callable[[Random], Draft]) -> Family:
    """Named after the function that draws it, and explained by its docstring."""
    name = draw.__name__.replace("_", "-")
    about = " ".join((draw.__doc__ or "").split())

    def make(seed: int) -> Scenario:
        rng = Random(f"{name}/{seed}")  # a text: the same on every machine and version
        return draw(rng).scenario(rng, name, about, seed)

    return Family(name=name, about=about, make=make)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        each.name: each
        for each in map(
            _family,
            (
                right.plain,
                right.token_bound,
                right.day_bound,
                right.concurrency_bound,
                right.poisson,
                right.windows,
                wrong.misconfigured,
                wrong.shared_key,
                wrong.shrinking,
                wrong.outage,
                wrong.no_hint,
                wrong.wrong_hint,
                wrong.heavy_tail,
                right.skewed_tiers,
                right.mixed_windows,
                right.pooled,
            ),
        )
    }
)
"""Every family by its name."""
