"""The configuration as TOML (and, for changes in mid-run, as JSON of the same shape), with errors that name the key."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import QUOTAS
from ratelimit_router_providers.fake_service.config import FakeModel, Latency, QuotaRule, ServiceConfig
from ratelimit_router_providers.fake_service.faults import FaultRule

__all__ = ["load_config", "parse_config", "parse_script"]

T = TypeVar("T")
_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": 86_400.0}


def load_config(path: str | PathLike[str]) -> ServiceConfig:
    """The service that a TOML file describes. Raises ConfigError with file and key, in one line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return parse_config(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(str(told), file=str(path)) from error
    except ConfigError as error:
        raise error.at(file=str(path)) from error


def parse_config(data: Mapping[str, Any]) -> ServiceConfig:
    """The same from a parsed table."""
    known = ("models", "faults", "seed", "invalid_keys", "leeway", "journal")
    _only(data, known)
    tables = _table(data, "models")
    models = {}
    for name, table in tables.items():
        model = _model(name, table, None)
        if model.id in models:
            raise ConfigError("two models have this id", key=f"models.{name}")
        models[model.id] = model
    plain = {key: _typed(data, key, kinds) for key, kinds in _PLAIN.items() if key in data}
    return ServiceConfig(
        models=models,
        faults=_faults(data),
        invalid_keys=frozenset(_strings(data, "invalid_keys")),
        **plain,
    )


def parse_script(
    data: Mapping[str, Any], models: Mapping[str, FakeModel]
) -> tuple[dict[str, FakeModel], tuple[FaultRule, ...] | None]:
    """Changed models, each with the keys that are given replaced, and the service's faults, if they are given."""
    _only(data, ("models", "faults"))
    changed = {name: _model(name, table, models.get(name)) for name, table in _table(data, "models").items()}
    return changed, _faults(data) if "faults" in data else None


_PLAIN: dict[str, tuple[type, ...]] = {"seed": (int,), "leeway": (int, float), "journal": (int,)}
_MODEL_PLAIN: dict[str, tuple[type, ...]] = {
    "concurrency": (int,),
    "hint": (str,),
    "headers": (str,),
    "charge_refused": (bool,),
    "paid": (bool,),
    "input_token_limit": (int,),
}


def _model(name: str, table: object, base: FakeModel | None) -> FakeModel:
    try:
        if not isinstance(table, Mapping):
            raise ConfigError(f"must be a table, not {_kind(table)}")
        _only(table, (*QUOTAS, *_MODEL_PLAIN, "window", "latency", "faults"))
        plain = {key: _typed(table, key, kinds) for key, kinds in _MODEL_PLAIN.items() if key in table}
        changes: dict[str, Any] = plain
        if "latency" in table:
            changes["latency"] = _latency(table["latency"])
        if "faults" in table:
            changes["faults"] = _faults(table)
        given = {key: _rule(key, table[key], table.get("window")) for key in QUOTAS if key in table}
        kept = {rule.name: rule for rule in base.quotas} if base else {}
        changes["quotas"] = tuple({**kept, **given}.values())
        return replace(base, **changes) if base else FakeModel(id=name, **changes)
    except ConfigError as error:
        raise error.at(key=f"models.{name}") from error


def _rule(name: str, value: object, window: object) -> QuotaRule:
    table: Mapping[str, Any] = value if isinstance(value, Mapping) else {"amount": value}
    try:
        _only(table, ("amount", "per", "window", "burst", "resets"))
        if "amount" not in table:
            raise ConfigError("needs an amount")
        own = table.get("window", None if QUOTAS[name][1] > _PERIODS["hour"] else window)
        resets = {"resets": _typed(table, "resets", (str,))} if "resets" in table else {}
        return QuotaRule(
            name=name, amount=table["amount"], window=own, period=_period(table), burst=table.get("burst"), **resets
        )
    except ConfigError as error:
        raise error.at(key=None if error.key == name else name) from error


def _period(table: Mapping[str, Any]) -> float | None:
    per = table.get("per")
    if isinstance(per, str):
        if per not in _PERIODS:
            raise ConfigError(f"must be one of {', '.join(_PERIODS)}, or seconds, not {per!r}", key="per")
        return _PERIODS[per]
    return per


def _latency(value: object) -> Latency:
    table: Mapping[str, Any] = value if isinstance(value, Mapping) else {"median": value}
    try:
        _only(table, ("median", "spread", "least", "most"))
        return Latency(**table)
    except ConfigError as error:
        raise error.at(key="latency") from error


def _faults(data: Mapping[str, Any]) -> tuple[FaultRule, ...]:
    rules = data.get("faults", [])
    if not isinstance(rules, list):
        raise ConfigError(f"must be a list of tables, not {_kind(rules)}", key="faults")
    return tuple(_fault(table, number) for number, table in enumerate(rules, start=1))


def _fault(table: object, number: int) -> FaultRule:
    try:
        if not isinstance(table, Mapping):
            raise ConfigError(f"must be a table, not {_kind(table)}")
        _only(table, ("fault", "requests", "start", "end", "rate", "seconds"))
        if "fault" not in table:
            raise ConfigError("needs the name of a fault", key="fault")
        requests = table.get("requests", ())
        if not isinstance(requests, list | tuple):
            raise ConfigError(f"must be a list of numbers, not {_kind(requests)}", key="requests")
        return FaultRule(**{**table, "fault": _typed(table, "fault", (str,)), "requests": tuple(requests)})
    except ConfigError as error:
        raise error.at(key=f"faults[{number}]") from error


def _only(table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"is not known here; known are: {', '.join(known)}", key=key)


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"must be a table, not {_kind(value)}", key=key)
    return value


def _strings(data: Mapping[str, Any], key: str) -> list[str]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError("must be a list of strings", key=key)
    return value


def _typed(table: Mapping[str, Any], key: str, kinds: tuple[type, ...]) -> Any:
    value = table[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ConfigError(f"must be {' or '.join(kind.__name__ for kind in kinds)}, not {_kind(value)}", key=key)
    return value


def _kind(value: object) -> str:
    return type(value).__name__
