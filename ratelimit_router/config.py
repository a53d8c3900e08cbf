"""A TOML file as values: models, pools, tiers and the router's options.

Every defect is a ConfigError of one line, `router.toml:7: models.flash.limits.rpm: problem and cure`. The line is found
by a glance over the text and may be missing. Secrets do not stand in it, only the names of their variables.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from ratelimit_router import plugins
from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import QUOTAS, Limit, Limits
from ratelimit_router.models import Key, Model, Pool, Tier
from ratelimit_router.resets import parse_reset
from ratelimit_router.stores.urls import MEMORY, check_url
from ratelimit_router.toml_file import one_line, parse_toml, read_text
from ratelimit_router.toml_lines import Path, defined_keys, line_of
from ratelimit_router.toml_tables import Defect, Table, did_you_mean, kind_of

__all__ = ["Config", "check_keys", "load_config", "parse_config"]

_LONGEST_GUARD = 60.0
_MOST_STRETCH = 100.0
_TOP = ("models", "pools", "tiers", "router")
_FOREIGN = ("simulation",)  # what the simulated service reads; commands own the table of their name
_SLOW_START = 3
_MODEL = ("provider", "id", "key", "limits", "pools", "base_url", "options")
_LIMIT = tuple(each.name for each in fields(Limit))
_LIMITS = tuple(each.name for each in fields(Limits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a file says.

    `processes`: how many there are, each of which carries on with its share while the store is away; None: nothing is
    spent meanwhile. `tables`: the top-level tables of others, such as `[extract]`, as they stand there.
    """

    models: tuple[Model, ...]
    tiers: tuple[Tier, ...]
    pools: tuple[Pool, ...] = ()
    fallback: str | None = None
    store: str = MEMORY
    processes: int | None = None
    slow_start: int | None = _SLOW_START
    guard: float = 0.0
    stretch: float = 1.0
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    file: str | None = field(default=None, compare=False)
    key_lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """By model: the line of its `key`."""


def load_config(
    path: str | os.PathLike[str],
    environ: Mapping[str, str] = os.environ,
    *,
    require_keys: bool = True,
    known_tables: Collection[str] = (),
) -> Config:
    """The configuration in a TOML file of at most 1 MB.

    `require_keys`: also insist that every variable named by a `key` is set in `environ`. `known_tables`: top-level
    tables that the caller reads itself; those of installed commands and `[simulation]` are known anyway.

    Raises ConfigError, with file, line and key, for everything that cannot work.
    """
    file = one_line(os.fspath(path))
    source = read_text(path, file)
    config = parse_config(parse_toml(source, file), file, source=source, known_tables=known_tables)
    if require_keys:
        check_keys(config, environ)
    return config


def parse_config(
    mapping: Mapping[str, Any], file: str | None = None, *, source: str = "", known_tables: Collection[str] = ()
) -> Config:
    """The configuration in a parsed TOML document; `file` and its text `source` only tell errors where they stand.

    Raises ConfigError for everything that cannot work.
    """
    try:
        return _config(Table((), mapping), file, source, (*_FOREIGN, *plugins.commands(), *known_tables))
    except Defect as defect:
        key = ".".join(map(_shown, defect.path)) or None
        line = line_of(source, defect.path)
        raise ConfigError(one_line(defect.problem), key=key, file=file, line=line) from None


def check_keys(config: Config, environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError for the first model whose key names a variable that is missing or empty in `environ`."""
    for model in config.models:
        variable = model.key.variable if isinstance(model.key, Key) else None
        if variable is not None and not environ.get(variable, "").strip():
            raise ConfigError(
                f"the environment variable {variable} is not set: export it, or leave the key out",
                key=f"models.{_shown(model.name)}.key",
                file=config.file,
                line=config.key_lines.get(model.name),
            )


def _config(top: Table, file: str | None, source: str, foreign: Collection[str]) -> Config:
    top.only((*_TOP, *foreign))
    pools = tuple(_pool(name, table) for name, table in top.table("pools").tables())
    models = tuple(_model(name, table, pools) for name, table in top.table("models").tables())
    if not models:
        top.refuse("there are none: add a table [models.NAME] with its provider and limits", "models")
    names = [model.name for model in models]
    tiers = tuple(_tier(name, table, names) for name, table in top.table("tiers").tables())
    if not tiers:
        top.refuse('there are none: add a table [tiers.NAME] with its chain = ["MODEL", ...]', "tiers")
    return Config(
        models=models,
        tiers=tiers,
        pools=pools,
        **_options(top.table("router"), names),
        tables=MappingProxyType({name: top.table(name).values for name in foreign if name in top.values}),
        file=file,
        key_lines={path[1]: line for path, line in defined_keys(source) if _is_key(path)},
    )


def _is_key(path: Path) -> bool:
    return len(path) == 3 and path[0] == "models" and path[2] == "key"


def _options(table: Table, models: Collection[str]) -> dict[str, Any]:
    """What stands in `[router]`, by the names of Config's fields."""
    table.only(("fallback", "store", "outage", "processes", "slow_start", "guard", "stretch"))
    fallback = table.text("fallback")
    if fallback is not None and fallback not in models:
        table.refuse(f"no model is called {fallback[:60]!r}{did_you_mean(fallback, models)}", "fallback")
    guard = table.seconds("guard") or 0.0
    if guard > _LONGEST_GUARD:
        table.refuse(f"must be at most {_LONGEST_GUARD:g} s: it delays everything that comes back", "guard")
    return {
        "fallback": fallback,
        "store": _store(table),
        "processes": _processes(table),
        "slow_start": _slow_start(table),
        "guard": guard,
        "stretch": _stretch(table),
    }


def _stretch(table: Table) -> float:
    """How far quotas may grow above what is configured, as a multiple."""
    stretch = table.number("stretch")
    if stretch is not None and not 1 <= stretch <= _MOST_STRETCH:
        table.refuse(f"must be from 1 (never above what is configured) to {_MOST_STRETCH:g}", "stretch")
    return 1.0 if stretch is None else stretch


def _slow_start(table: Table) -> int | None:
    """How many unanswered calls a fresh model may have; None, for which the file says `false`: any number."""
    if table.values.get("slow_start") is False:
        return None
    return table.whole("slow_start") or _SLOW_START


def _store(table: Table) -> str:
    store = table.text("store") or MEMORY
    try:
        check_url(store)
    except ConfigError as error:
        table.refuse(error.problem, "store")
    return store


def _processes(table: Table) -> int | None:
    """How many share the quotas while the store is away; None, where they do not."""
    outage, processes = table.text("outage") or "strict", table.whole("processes")
    if outage not in ("strict", "share"):
        table.refuse('must be "strict" (spend nothing while the store is away) or "share"', "outage")
    if outage == "strict" and processes is not None:
        table.refuse('counts only with outage = "share"', "processes")
    if outage == "share" and processes is None:
        table.refuse('is missing: with outage = "share", how many processes use this store?', "processes")
    if outage == "share" and (table.text("store") or MEMORY) == MEMORY:
        table.refuse('"memory:" is never away: leave it out', "outage")
    return processes


def _model(name: str, table: Table, pools: tuple[Pool, ...]) -> Model:
    table.only(_MODEL)
    return table.make(
        Model,
        name,
        table.text("provider"),
        table.text("id") or "",
        limits=_limits(table.table("limits")),
        pools=_pools_of(table, [pool.name for pool in pools]),
        key=_key(table),
        base_url=_base_url(table),
        options=dict(table.table("options").values),
    )


def _pools_of(table: Table, known: list[str]) -> tuple[str, ...]:
    names = table.texts("pools")
    for name in names:
        if name not in known:
            table.refuse(f"no pool is called {name[:60]!r}{did_you_mean(name, known)}", "pools")
        if names.count(name) > 1:
            table.refuse(f"names the pool {name!r} twice", "pools")
    return names


def _key(table: Table) -> str | None:
    """The text of a key is never shown: if it is not a variable's name, it is probably the secret itself."""
    key = table.text("key")
    if key is not None and re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", key) is None:
        table.refuse(
            'must be "env:NAME", the variable that holds the secret: a secret has no place in this file', "key"
        )
    return key


def _base_url(table: Table) -> str | None:
    url = table.text("base_url")
    if url is not None and re.fullmatch(r"https?://[^\s/?#@]+(?:/[^\s?#@]*)?", url) is None:
        table.refuse(
            "must be http:// or https://, a host and perhaps a path, without user, password or query", "base_url"
        )
    return url


def _pool(name: str, table: Table) -> Pool:
    table.only(("limits",))
    return table.make(Pool, name, _limits(table.table("limits")))


def _limits(table: Table) -> Limits:
    table.only(_LIMITS)
    values: dict[str, Any] = {name: _quota(table, name) for name in QUOTAS}
    limits = table.make(Limits, **values, concurrency=table.whole("concurrency"), refill=table.text("refill"))
    table.make(limits.quotas)  # what only shows when the defaults are filled in
    return limits


def _quota(table: Table, name: str) -> float | Limit | None:
    """A number, or a table with the keys of `Limit`."""
    value = table.values.get(name)
    if not isinstance(value, Mapping):
        if isinstance(value, str | list):
            table.refuse(f"must be a number or a table such as {{ amount = 10 }}, not {kind_of(value)}", name)
        return table.number(name)
    each = table.table(name)
    each.only(_LIMIT)
    if (amount := each.number("amount")) is None:
        each.refuse("is missing: how much is allowed in a period?", "amount")
    per = each.text("per") if isinstance(each.values.get("per"), str) else each.number("per")
    burst, refill, resets = each.number("burst"), each.text("refill"), each.text("resets")
    limit = each.make(Limit, amount, per, refill=refill, burst=burst, resets=resets)
    _check_limit(each, limit, QUOTAS[name][1])
    return limit


def _check_limit(table: Table, limit: Limit, usual_period: float) -> None:
    """What a Limit leaves to those who know the name of its quota."""
    if limit.burst is not None and limit.burst < min(1, limit.amount):
        table.refuse("must be at least 1: a smaller bucket never admits a request", "burst")
    if limit.resets is None:
        return
    if (limit.period or usual_period) < QUOTAS["rpd"][1]:
        table.refuse("only a daily limit has a reset time", "resets")
    table.make(parse_reset, limit.resets, below=("resets",))


def _tier(name: str, table: Table, models: Collection[str]) -> Tier:
    table.only(("chain", "patience", "weight"))
    patience = table.seconds("patience")
    weight = table.number("weight")
    return table.make(
        Tier,
        name,
        _chain(table, models),
        patience=0.0 if patience is None else patience,
        weight=1.0 if weight is None else weight,
    )


def _chain(table: Table, models: Collection[str]) -> list[Any]:
    """The steps as they stand, once every name in them is known; what else may be wrong with a chain, Tier says."""
    chain = table.values.get("chain")
    if chain is None:
        table.refuse('is missing: name the models to try, best first: ["MODEL", ...]', "chain")
    if not isinstance(chain, list):
        table.refuse(f"must be a list of models, not {kind_of(chain)}", "chain")
    for step in chain:
        for name in step if isinstance(step, list) else [step]:
            if not isinstance(name, str):
                table.refuse(f"must hold names of models, or lists of equals, not {kind_of(name)}", "chain")
            if name not in models:
                table.refuse(f"no model is called {name[:60]!r}{did_you_mean(name, models)}", "chain")
    return chain


def _shown(name: str) -> str:
    """A part of a key, cut if it is long, and quoted unless it is bare in TOML too."""
    if len(name) > 60:
        return _shown(name[:60]) + "..."
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else one_line(f'"{name}"')
