"""What a call of `storm` asks for, as the storms that are to be played; whatever is wrong with it is a ConfigError."""

from collections.abc import Sequence
from pathlib import Path

from ratelimit_router.cli.storm_play import Storm, storm_scenario
from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.families import FAMILIES
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.toml_tables import did_you_mean

__all__ = ["FIRST_SEED", "SEEDS", "requested_policies", "requested_sources", "requested_storms"]

FIRST_SEED = 1_000
"""Families were tuned on seeds 0 to 49, and are reported on 1000 to 1049."""

SEEDS = 5

_FILES = (".toml", ".json")


def requested_sources(names: Sequence[str]) -> list[str | Path]:
    """Each a family's name or a file; every family if none is named."""
    return [_source(name) for name in names] or list(FAMILIES)


def requested_policies(names: Sequence[str]) -> tuple[str, ...]:
    """The policies of those names, each once; ours if none is named."""
    for name in names:
        if name not in POLICIES:
            raise ConfigError(f"no policy is called {name!r}{did_you_mean(name, POLICIES)}", key="--policy")
    return tuple(dict.fromkeys(names)) or tuple(name for name, entry in POLICIES.items() if entry.ours)


def requested_storms(
    sources: Sequence[str | Path],
    first: int | None,
    seeds: int,
    policies: tuple[str, ...],
    *,
    keep: bool,
    **options: bool,
) -> list[Storm]:
    """Every scenario with every seed. `first`: None is 1000 for families, and a file's own for a file.

    `keep`: keep the runs of each scenario's first seed. `options`: of the storms.
    """
    return [
        Storm(source=source, seed=start + more, policies=policies, keep=keep and not more, **options)
        for source in sources
        for start in [_first_seed(source) if first is None else first]
        for more in range(seeds)
    ]


def _source(name: str) -> str | Path:
    if name in FAMILIES:
        return name
    if Path(name).suffix in _FILES:
        return Path(name)
    guess = did_you_mean(name, FAMILIES)
    raise ConfigError(f"no family is called {name!r}{guess}; a file would end in {' or '.join(_FILES)}", key="SCENARIO")


def _first_seed(source: str | Path) -> int:
    return FIRST_SEED if isinstance(source, str) else storm_scenario(source, None).seed
