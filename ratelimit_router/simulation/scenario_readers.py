"""How each key of a scenario's own tables is read: what a value may be, its class says."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from math import inf
from typing import Any, TypeVar

from ratelimit_router.limits import QUOTAS
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.scenario import Change, Consumer, Distribution, Trouble
from ratelimit_router.toml_tables import Table, kind_of

__all__ = ["ACCOUNT", "LOAD", "NETWORK", "SCENARIO", "SERVICE", "Reader", "given", "record", "records"]

T = TypeVar("T")

Reader = Callable[[Table, str], Any]
"""What a table holds under a key."""


def given(table: Table, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """What stands in a table, by key. Refuses keys that it cannot have."""
    table.only(readers)
    return {key: read(table, key) for key, read in readers.items() if table.values.get(key) is not None}


def record(kind: type[T], readers: Mapping[str, Reader], **known: Any) -> Callable[[Table, str], T]:
    """Reads a table as an instance of a dataclass; `known`: what does not stand in it."""

    def read(table: Table, key: str) -> T:
        return _made(kind, readers, table.table(key), known)

    return read


def records(kind: type[T], readers: Mapping[str, Reader]) -> Callable[[Table, str], tuple[T, ...]]:
    """Reads a list of tables. In a path they bear numbers, from 0."""

    def read(table: Table, key: str) -> tuple[T, ...]:
        values = table.values[key]
        if not isinstance(values, list):
            table.refuse(f"must be a list of tables, [[{key}]], not {kind_of(values)}", key)
        within = Table((*table.path, key), {str(place): value for place, value in enumerate(values)})
        return tuple(_made(kind, readers, within.table(place), {}) for place in within.values)

    return read


def _made(kind: type[T], readers: Mapping[str, Reader], table: Table, known: Mapping[str, Any]) -> T:
    found = given(table, readers)
    for each in fields(kind):  # type: ignore[arg-type]  # every kind here is a dataclass
        if each.name in readers and each.name not in found and each.default is each.default_factory is MISSING:
            table.refuse("is missing", each.name)
    return table.make(kind, **found, **known)


def _prose(table: Table, key: str) -> str:
    """A text, which may be empty."""
    value = table.values[key]
    if not isinstance(value, str):
        table.refuse(f"must be text, not {kind_of(value)}", key)
    return value


def _integer(table: Table, key: str) -> int:
    """A whole number, also below 0."""
    value = table.values[key]
    if isinstance(value, bool) or not isinstance(value, int):
        table.refuse("must be a whole number", key)
    return value


def _offset(table: Table, key: str) -> float:
    """Seconds, also below 0."""
    value = table.values[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return table.seconds(key) or 0.0


def _truth(table: Table, key: str) -> bool:
    value = table.values[key]
    if not isinstance(value, bool):
        table.refuse(f"must be true or false, not {kind_of(value)}", key)
    return value


def _instant(table: Table, key: str) -> float | None:
    """POSIX seconds, or a date and time with an offset."""
    value = table.values[key]
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            table.refuse('must be a date and time such as "2026-09-22T08:00:00Z", or POSIX seconds', key)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            table.refuse("must say its offset: put Z (UTC), or such as -07:00, behind the time", key)
        return value.timestamp()
    return table.number(key)


def _finite(table: Table, key: str) -> float | None:
    """Seconds, not for ever."""
    seconds = table.seconds(key)
    if seconds == inf:
        table.refuse('must be finite: "1d" is a long time for a storm', key)
    return seconds


def _concurrency(table: Table, key: str) -> int | None:
    """Calls in flight; `false`: any number."""
    return None if table.values[key] is False else table.whole(key)


def _distribution(read: Reader) -> Reader:
    """A number, or a table of a Distribution's keys, of which `read` reads those that have a unit."""
    readers = {"median": read, "sigma": Table.number, "tail": Table.number, "least": read, "most": read}
    whole = record(Distribution, readers)

    def distribution(table: Table, key: str) -> Distribution:
        if isinstance(table.values[key], Mapping):
            return whole(table, key)
        return table.make(Distribution, median=read(table, key))

    return distribution


def _rules(table: Table, key: str) -> tuple[QuotaRule, ...]:
    """A table of quotas, each a number or a table."""
    rules = table.table(key)
    rules.only(QUOTAS)
    return tuple(_rule(rules, name) for name in rules.values)


def _rule(table: Table, name: str) -> QuotaRule:
    """A number, or a table with the keys of `QuotaRule`."""
    if isinstance(table.values[name], Mapping):
        return record(QuotaRule, RULE, name=name)(table, name)
    return table.make(QuotaRule, name=name, amount=table.number(name))


_NUMBERS, _SECONDS = _distribution(Table.number), _distribution(Table.seconds)
_SPAN: dict[str, Reader] = {"start": Table.seconds, "end": Table.seconds}
_SIZES: dict[str, Reader] = {"input_tokens": _NUMBERS, "output_tokens": _NUMBERS}
_CONSUMER: dict[str, Reader] = {"rate": Table.number} | _SPAN | _SIZES
_TROUBLE: dict[str, Reader] = {"kind": Table.text, "rate": Table.number, "seconds": Table.seconds} | _SPAN
_CHANGE: dict[str, Reader] = {"at": Table.seconds, "factor": Table.number}
RULE: dict[str, Reader] = {
    "amount": Table.number,
    "window": Table.text,
    "period": Table.seconds,
    "burst": Table.number,
    "resets": Table.text,
}
ACCOUNT: dict[str, Reader] = {
    "factor": Table.number,
    "limits": _rules,
    "concurrency": _concurrency,
    "changes": records(Change, _CHANGE),
    "consumers": records(Consumer, _CONSUMER),
}
SERVICE: dict[str, Reader] = ACCOUNT | {
    "accounts": Table.texts,
    "latency": _SECONDS,
    "hint": Table.text,
    "tells": Table.text,
    "charge_refused": _truth,
    "gone_at": Table.seconds,
    "troubles": records(Trouble, _TROUBLE),
}
NETWORK: dict[str, Reader] = {
    "latency": Table.seconds,
    "jitter": Table.seconds,
    "clock_offset": _offset,
    "clock_jitter": Table.seconds,
}
LOAD: dict[str, Reader] = _SIZES | {
    "tier": Table.text,
    "tasks": Table.whole,
    "arrive": Table.text,
    "start": Table.seconds,
    "over": Table.seconds,
    "estimate": _NUMBERS,
    "timeout": Table.seconds,
    "patience": Table.seconds,
    "priority": _integer,
}
SCENARIO: dict[str, Reader] = {
    "version": _integer,
    "name": _prose,
    "family": _prose,
    "about": _prose,
    "seed": _integer,
    "start": _instant,
    "horizon": _finite,
    "slack": Table.number,
}
