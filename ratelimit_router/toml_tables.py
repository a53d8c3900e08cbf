"""Typed access to the tables of a TOML file: a value is what its reader expects, or a defect that names its path."""

import difflib
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from ratelimit_router.durations import parse_duration
from ratelimit_router.errors import ConfigError
from ratelimit_router.toml_lines import Path

__all__ = ["Defect", "Table", "did_you_mean", "kind_of"]

T = TypeVar("T")
_LARGEST = 1e15  # more than any quota; whole numbers up to here are exact as floats


class Defect(Exception):  # not an error of its own: it always becomes a ConfigError
    """What is wrong with the value at `path`."""

    def __init__(self, path: Path, problem: str):
        self.path, self.problem = path, problem
        super().__init__(problem)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file and the keys that lead to it."""

    path: Path
    values: Mapping[str, Any]

    def refuse(self, problem: str, *keys: str) -> NoReturn:
        """Raise a Defect at `keys` below this table."""
        raise Defect(self.path + keys, problem)

    def only(self, known: Collection[str]) -> None:
        """Refuse every key that is not known."""
        for key in self.values:
            if key not in known:
                self.refuse(f"there is no such key{did_you_mean(key, known)}", key)

    def text(self, key: str) -> str | None:
        """A text that is not empty, or None if the key is absent."""
        value = self._typed(key, str, "text")
        if value is not None and not value.strip():
            self.refuse("must not be empty", key)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if the key is absent."""
        values = self._typed(key, list, "a list of names") or []
        for value in values:
            if not isinstance(value, str):
                self.refuse(f"must hold names (text), not {kind_of(value)}", key)
        return tuple(values)

    def number(self, key: str) -> float | None:
        """A finite number that is not negative, or None if the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"must be a number, not {kind_of(value)}", key)
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(f"must be a finite number, not {value}: leave the key out for no limit", key)
        if value < 0:
            self.refuse("must not be negative", key)
        if value > _LARGEST:
            self.refuse("is larger than any real limit: leave the key out for no limit", key)
        return value

    def whole(self, key: str) -> int | None:
        """A whole number of at least 1, or None if the key is absent."""
        value = self.number(key)
        if value is None:
            return None
        if not isinstance(value, int) or value < 1:
            self.refuse("must be a whole number of at least 1", key)
        return value

    def seconds(self, key: str) -> float | None:
        """A duration in seconds, or None if the key is absent."""
        return None if key not in self.values else self.make(parse_duration, self.values[key], below=(key,))

    def table(self, key: str) -> "Table":
        """The table of that name; an empty one if the key is absent."""
        value = self.values.get(key, {})
        if not isinstance(value, Mapping):
            self.refuse(f"must be a table, not {kind_of(value)}", key)
        return Table((*self.path, key), value)

    def tables(self) -> "Iterator[tuple[str, Table]]":
        """Every entry, each of which has to be a table."""
        for key in self.values:
            yield key, self.table(key)

    def make(self, build: Callable[..., T], *args: Any, below: Path = (), **kwargs: Any) -> T:
        """What `build` makes; its ConfigError becomes a Defect at this table, `below` it, at the key that it names."""
        try:
            return build(*args, **kwargs)
        except ConfigError as error:
            named = tuple(error.key.split(".")) if error.key else ()
            raise Defect(self.path + below + named, error.problem) from None

    def _typed(self, key: str, kind: type[T], wanted: str) -> T | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, kind):
            self.refuse(f"must be {wanted}, not {kind_of(value)}", key)
        return value


def did_you_mean(name: str, known: Collection[str]) -> str:
    """How to go on after a name that is not known: the nearest one, or all there are."""
    if near := difflib.get_close_matches(name[:60], known, n=1):
        return f": did you mean {near[0]!r}?"
    return f": there are {', '.join(known)}" if known else ": there are none"


def kind_of(value: object) -> str:
    """A TOML value's type in plain words. The value itself is never shown: it may be a secret."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "a date or time"


_KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (Mapping, "a table"),
)
