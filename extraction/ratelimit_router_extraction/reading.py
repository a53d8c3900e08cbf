"""Rows out of a stream of bytes: JSONL or CSV, one row in memory at a time.

A byte order mark, CRLF, NUL characters and fields of any size are fine. What is not UTF-8, not JSON, too short, or
bears an id that was there before becomes a `BadRow` with its line; reading goes on after it.
"""

import csv
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

from ratelimit_router.errors import ConfigError
from ratelimit_router_extraction.articles import Article, BadRow, Columns, article_of

__all__ = ["Format", "format_of", "open_articles", "read_articles"]

Format = Literal["jsonl", "csv"]
_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv"}
_BOM = b"\xef\xbb\xbf"

Row = tuple[int, Mapping[str, Any] | str]
"""The line that a row starts on, and the row, or the reason why there is none."""


def read_articles(stream: IO[bytes], *, name: str = "-", columns: Columns | None = None) -> Iterator[Article | BadRow]:
    """Every row of the stream as an article or a bad row, in order.

    `name` decides the format by its suffix; a name without a telling one, such as "-", leaves it to the first byte.
    Raises ConfigError if a CSV has no header, or lacks a column that `columns` names.
    """
    columns = columns or {}
    lines = _without_mark(stream)
    first = next(lines, b"")
    lines = itertools.chain([first] if first else [], lines)
    rows = _csv_rows(lines, columns, name) if format_of(name, first) == "csv" else _json_rows(lines)
    return _unique(_told(line, row, columns) for line, row in rows)


def _told(line: int, row: Mapping[str, Any] | str, columns: Columns) -> Article | BadRow:
    return BadRow(line=line, reason=row) if isinstance(row, str) else article_of(row, line, columns)


def format_of(name: str, first_line: bytes) -> Format:
    """JSONL or CSV, by the suffix or else by how the stream begins."""
    by_name = _SUFFIXES.get(Path(name).suffix.lower())
    return by_name or ("jsonl" if first_line.lstrip()[:1] in (b"{", b"") else "csv")


def _without_mark(stream: IO[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(stream):
        yield line.removeprefix(_BOM) if number == 0 else line


def _unique(rows: Iterator[Article | BadRow]) -> Iterator[Article | BadRow]:
    seen: dict[str, int] = {}
    for row in rows:
        if isinstance(row, Article) and (first := seen.setdefault(row.id, row.line)) != row.line:
            yield BadRow(line=row.line, reason=f"the id is that of line {first}")
        else:
            yield row


def _json_rows(lines: Iterator[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _json_row(line)


def _json_row(line: bytes) -> Mapping[str, Any] | str:
    try:
        row = json.loads(line.decode(), strict=False)
    except UnicodeDecodeError:
        return "not UTF-8"
    except json.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError):
        return "not JSON that can be read: a number too long, or nested too deep"
    return row if isinstance(row, dict) else "not a JSON object"


def _csv_rows(lines: Iterator[bytes], columns: Columns, name: str) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the module's only setting is global; its default is 128 KiB
    # Bytes that are not UTF-8 survive as lone surrogates, so that they spoil their own row only.
    texts = (line.decode(errors="surrogateescape") for line in lines)
    header_line = next(texts, "")
    reader = csv.reader(itertools.chain([header_line], texts), delimiter=_delimiter(header_line, name))
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error as error:
        raise ConfigError(f"is no CSV: {error}", file=name) from None
    if not any(header):
        raise ConfigError("a CSV needs a header line", file=name)
    for field, column in columns.items():
        if column not in header:
            raise ConfigError(f"no column {column!r} for {field}; there are: {', '.join(header)}", file=name)
    yield from _csv_body(reader, header)


def _csv_body(reader: Any, header: list[str]) -> Iterator[Row]:
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"not CSV: {error}"
            continue
        if values:
            yield line, _csv_row(values, header)


def _csv_row(values: list[str], header: list[str]) -> Mapping[str, Any] | str:
    if any(_undecodable(value) for value in values):
        return "not UTF-8"
    if len(values) != len(header):
        return f"{len(values)} fields under a header of {len(header)}"
    return dict(zip(header, values, strict=True))


def _undecodable(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text)


def _delimiter(header: str, name: str) -> str:
    candidates = "\t,;" if Path(name).suffix.lower() == ".tsv" else ",;\t"
    return max(candidates, key=header.count)


def open_articles(place: str) -> IO[bytes]:
    """The stream behind a path, or standard input for "-". Raises ConfigError if it cannot be opened."""
    if place == "-":
        return sys.stdin.buffer
    try:
        return Path(place).open("rb")
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", file=place) from error
