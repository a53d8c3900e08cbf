"""What goes in: articles from JSONL or CSV, read row by row; a row that cannot be used is told, never fatal.

A field is found under its own name, or under the column that a mapping names. Offsets that are reported later count
Unicode code points of `text` exactly as it stands here.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

__all__ = ["FIELDS", "Article", "BadRow", "Columns", "article_of", "domain_of"]

FIELDS = ("id", "title", "text", "url", "domain", "hotness", "cluster", "goodness")
"""The fields of an article; all but `id` and one of `title` and `text` may be missing."""

_ALIASES = {"hotness": ("hotness", "cluster_hotness"), "goodness": ("goodness", "domain_goodness")}

_SURROGATE = re.compile("[\ud800-\udfff]")

Columns = Mapping[str, str]
"""Field name -> column name, for input that calls them otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """One article. `hotness` is of its cluster, `goodness` of its domain, each None if the input does not say."""

    id: str
    title: str = field(default="", repr=False)
    text: str = field(default="", repr=False)
    domain: str = ""
    hotness: float | None = None
    goodness: float | None = None
    cluster: str | None = None
    line: int = 0

    @property
    def content_hash(self) -> str:
        """32 hex digits of title and text: it tells an article that was edited from the one that was extracted."""
        content = f"{len(self.title)}\n{self.title}{self.text}".encode()
        return hashlib.blake2b(content, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that was skipped: the line it starts on (from 1), and why."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class UnusableRowError(ValueError):
    """Why a row cannot be an article; the message is for people and holds no text of the article."""


def article_of(row: Mapping[str, Any], line: int, columns: Columns) -> Article | BadRow:
    """One row as an article, or the reason why it is none."""
    try:
        return _article(row, line, columns)
    except UnusableRowError as problem:
        return BadRow(line=line, reason=str(problem))


def _article(row: Mapping[str, Any], line: int, columns: Columns) -> Article:
    found = {name: _value(row, name, columns) for name in FIELDS}
    title, text = _text(found["title"], "title"), _text(found["text"], "text")
    if not title.strip() and not text.strip():
        raise UnusableRowError("neither a title nor a text")
    return Article(
        id=_identity(found["id"]),
        title=title,
        text=text,
        domain=domain_of(_text(found["domain"], "domain") or _text(found["url"], "url")),
        hotness=_number(found["hotness"], "hotness"),
        goodness=_number(found["goodness"], "goodness"),
        cluster=None if found["cluster"] in (None, "") else str(found["cluster"]),
        line=line,
    )


def _value(row: Mapping[str, Any], name: str, columns: Columns) -> Any:
    names = (columns[name],) if name in columns else _ALIASES.get(name, (name,))
    return next((row[column] for column in names if column in row), None)


def _identity(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnusableRowError(
            "no id" if value is None else f"the id must be text or a whole number, not {_kind(value)}"
        )
    if not (told := _well_formed(str(value).strip())):
        raise UnusableRowError("no id")
    return told


def _text(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnusableRowError(f"the {name} must be text, not {_kind(value)}")
    return _well_formed(value)


def _well_formed(text: str) -> str:
    # Half a surrogate pair is no character and no UTF-8: each becomes U+FFFD, so that offsets stay as they are.
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _number(value: object, name: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnusableRowError(f"the {name} must be a number, not {_kind(value)}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise UnusableRowError(f"the {name} must be a number") from None
    if not math.isfinite(number):
        raise UnusableRowError(f"the {name} must be a finite number")
    return number


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def domain_of(place: str) -> str:
    """The host of a URL or a bare domain: lower case, without port, user, `www.` and a trailing dot."""
    place = place.strip()
    try:
        host = urlsplit(place if "//" in place else f"//{place}").hostname or ""
    except ValueError:
        return ""
    return host.rstrip(".").removeprefix("www.")
