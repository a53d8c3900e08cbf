"""How a run goes: the `[extract]` table of the configuration, over which the command line has the last word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ratelimit_router.durations import parse_duration
from ratelimit_router.errors import ConfigError
from ratelimit_router.planner import require_solver
from ratelimit_router.toml_tables import Table
from ratelimit_router_extraction.articles import FIELDS
from ratelimit_router_extraction.batches import check_mix
from ratelimit_router_extraction.priority import Weights
from ratelimit_router_extraction.tiering import Cuts, check_cuts, even_cuts

__all__ = ["KEYS", "Settings", "numbers_of", "pairs_of", "seconds_of", "settings_of", "shares_of"]

KEYS = (
    "map",
    "tiers",
    "weights",
    "hotness_max",
    "cuts",
    "quantiles",
    "mix",
    "domains",
    "batch_size",
    "stagger",
    "batch_pause",
    "timeout",
    "max_wait",
    "concurrency",
    "max_chars",
    "max_calls",
    "slack",
    "urgent",
)
"""The keys of `[extract]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run is told.

    `tiers`: best first. `hotness_max`: the hotness that counts as 1; None: the highest in the input. `mix`: whole
    shares. `stagger`: seconds between launches. `batch_pause`: seconds after a whole batch has ended; 0 is no barrier
    at all. `timeout`: seconds that the calls for one article may take together, without the wait for quota, which
    `max_wait` bounds. `concurrency`: articles at work, waiting ones included. `max_chars`: of a text, what is sent.
    `max_calls`: for one article, refused ones included: an article that breaks the service every time is given up.
    `slack`: how much longer, as a share, the run may take so that more of it gets its first choice; None: no longer.
    `urgent`: tiers that are done as early as they can be without making the run longer; usually the best.
    """

    tiers: tuple[str, ...]
    cuts: Cuts
    mix: Mapping[str, int]
    columns: Mapping[str, str] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    hotness_max: float | None = None
    domains: str | None = None
    batch_size: int = 10
    stagger: float = 0.1
    batch_pause: float = 0.0
    timeout: float = 60.0
    max_wait: float | None = None
    concurrency: int = 64
    max_chars: int = 200_000
    max_calls: int = 12
    slack: float | None = None
    urgent: tuple[str, ...] = ()


def settings_of(table: Table, tiers: Sequence[str]) -> Settings:
    """The settings in a table; `tiers` are those of the configuration, in its order.

    Raises ConfigError or Defect, with the key, for everything that cannot work.
    """
    table.only(KEYS)
    ordered = table.texts("tiers") or tuple(tiers)
    for name in ordered:
        if name not in tiers or ordered.count(name) > 1:
            table.refuse(f"{name!r} must be a tier, named once; there are: {', '.join(tiers)}", "tiers")
    given: dict[str, Any] = {
        "hotness_max": table.number("hotness_max"),
        "domains": table.text("domains"),
        "batch_size": table.whole("batch_size"),
        "concurrency": table.whole("concurrency"),
        "max_chars": table.whole("max_chars"),
        "max_calls": table.whole("max_calls"),
        "weights": _weights(table.table("weights")) if "weights" in table.values else None,
    }
    for name in ("stagger", "batch_pause", "timeout", "max_wait"):
        given[name] = table.seconds(name)
    if given["timeout"] == 0:
        table.refuse("must be more than 0 seconds", "timeout")
    if (slack := table.number("slack")) is not None:
        table.make(require_solver, below=("slack",))
        if given["max_wait"] is not None:
            table.refuse("needs a plan, and a plan knows no deadlines: leave out max_wait, or slack", "slack")
    return Settings(
        tiers=ordered,
        cuts=_cuts(table, ordered),
        mix=_mix(table, ordered),
        columns=_columns(table),
        slack=slack,
        urgent=_urgent(table, ordered),
        **{name: value for name, value in given.items() if value is not None},
    )


def _urgent(table: Table, tiers: Sequence[str]) -> tuple[str, ...]:
    if "urgent" not in table.values:
        return tuple(tiers[:1])
    urgent = table.texts("urgent")
    for name in urgent:
        if name not in tiers:
            table.refuse(f"{name!r} is no tier; there are: {', '.join(tiers)}", "urgent")
    return urgent


def _weights(table: Table) -> Weights:
    table.only(("hotness", "goodness"))
    hotness, goodness = table.number("hotness"), table.number("goodness")
    usual = Weights()
    return table.make(
        Weights,
        hotness=usual.hotness if hotness is None else hotness,
        goodness=usual.goodness if goodness is None else goodness,
    )


def _cuts(table: Table, tiers: Sequence[str]) -> Cuts:
    if "cuts" in table.values and "quantiles" in table.values:
        table.refuse("give cuts (scores) or quantiles (shares of the articles), not both", "quantiles")
    for key in ("cuts", "quantiles"):
        if key in table.values:
            values = table.values[key]
            if not isinstance(values, Sequence) or isinstance(values, str):
                table.refuse("must be a list of numbers from 0 to 1", key)
            cuts = table.make(Cuts, at=tuple(values), by="score" if key == "cuts" else "quantile")
            table.make(check_cuts, cuts, tiers)
            return cuts
    return even_cuts(tiers)


def _mix(table: Table, tiers: Sequence[str]) -> Mapping[str, int]:
    mix = table.table("mix").values
    return table.make(check_mix, mix, tiers) if mix else dict.fromkeys(tiers, 1)


def _columns(table: Table) -> Mapping[str, str]:
    columns = table.table("map")
    columns.only(FIELDS)
    return {name: columns.text(name) or name for name in columns.values}


def pairs_of(text: str, key: str) -> dict[str, str]:
    """`a=1,b=2` as a mapping. Raises ConfigError with the key."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ConfigError(f"must be NAME=VALUE, not {part[:60]!r}", key=key)
        found[name.strip()] = value.strip()
    return found


def numbers_of(text: str, key: str) -> list[float]:
    """`0.7,0.4` as numbers. Raises ConfigError with the key."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"must be numbers with commas between, not {text[:60]!r}", key=key) from None


def shares_of(text: str, key: str) -> dict[str, int]:
    """`hot=5,bulk=2` as whole shares. Raises ConfigError with the key."""
    try:
        return {name: int(share) for name, share in pairs_of(text, key).items()}
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"must be whole shares such as hot=5,bulk=2, not {text[:60]!r}", key=key) from None


def seconds_of(text: str, key: str) -> float:
    """`2.5`, `"5s"` or `"inf"` as seconds. Raises ConfigError with the key."""
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text)
    except ConfigError as error:
        raise error.at(key=key) from None
