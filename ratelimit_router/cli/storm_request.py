"""What a call of `storm` asks for, as the storms that are to be played; whatever is wrong with it is a ConfigError."""

from collections.abc import Sequence
from pathlib import Path

from ratelimit_router.cli.storm_play import WEATHER, Storm, storm_scenario
from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.families import FAMILIES
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.simulation.scenario import Distribution, Load
from ratelimit_router.simulation.scenario_file import PACKAGED
from ratelimit_router.toml_tables import did_you_mean

__all__ = ["FIRST_SEED", "SEEDS", "requested_loads", "requested_policies", "requested_sources", "requested_storms"]

FIRST_SEED = 1_000
"""Families were tuned on seeds 0 to 49, and are reported on 1000 to 1049."""

SEEDS = 5

_ALL = "all"
_FILES = (".toml", ".json")


def requested_sources(names: Sequence[str]) -> list[str | Path]:
    """Each a family's name or a file; every family if none is named."""
    return [_source(name) for name in names] or list(FAMILIES)


def requested_loads(texts: Sequence[str]) -> tuple[Load, ...]:
    """`TIER=TASKS`, or `TIER=TASKS:INPUT:OUTPUT` with the tokens of each, all at once."""
    return tuple(map(_load, texts))


def requested_policies(names: Sequence[str]) -> tuple[str, ...]:
    """The policies of those names, each once; ours if none is named, and every one if "all" is."""
    if _ALL in names:
        return tuple(POLICIES)
    for name in names:
        if name not in POLICIES:
            raise ConfigError(f"no policy is called {name!r}{did_you_mean(name, POLICIES)}", key="--policy")
    return tuple(dict.fromkeys(names)) or tuple(name for name, entry in POLICIES.items() if entry.ours)


def requested_storms(
    sources: Sequence[str | Path],
    policies: tuple[str, ...],
    *,
    first: int | None,
    seeds: int,
    loads: tuple[Load, ...],
    keep: bool,
    bound: bool,
    frontier: bool,
) -> list[Storm]:
    """Every scenario with every seed. `first`: None is 1000 for families, and a file's own for a file.

    `loads`: in place of those of the files. `keep`: keep the runs of each scenario's first seed.
    """
    if loads and any(isinstance(source, str) for source in sources):
        raise ConfigError("replaces the load of a file: name one", key="--load")
    starts = {source: _first_seed(source, loads) if first is None else first for source in sources}
    return [
        Storm(
            source=source,
            seed=start + more,
            policies=policies,
            loads=loads,
            bound=bound,
            frontier=frontier,
            keep=keep and not more,
        )
        for source, start in starts.items()
        for more in range(seeds)
    ]


def _source(name: str) -> str | Path:
    if name in FAMILIES or name == WEATHER:
        return name
    if name in PACKAGED:
        return PACKAGED[name]
    if Path(name).suffix in _FILES:
        return Path(name)
    guess = did_you_mean(name, [*FAMILIES, *PACKAGED, WEATHER])
    raise ConfigError(f"no scenario is called {name!r}, and no file ends so{guess}", key="SCENARIO")


def _load(text: str) -> Load:
    tier, _, counts = text.partition("=")
    try:
        tasks, *sizes = map(int, counts.split(":"))
        tokens = [Distribution(median=float(size)) for size in (*sizes, 0, 0)[:2]]
        return Load(tier=tier, tasks=tasks, input_tokens=tokens[0], output_tokens=tokens[1])
    except ValueError as error:
        problem = f"must be like hot=200 or hot=200:1500:300, not {text!r}"
        raise ConfigError(problem, key="--load") from error


def _first_seed(source: str | Path, loads: Sequence[Load]) -> int:
    return FIRST_SEED if isinstance(source, str) else storm_scenario(source, None, loads).seed
