"""On which line of a TOML text a key stands, as well as a glance over its lines can tell.

Values are not parsed: a key inside an inline table is found on the line of the key that holds that table.
"""

import re
import tomllib
from collections.abc import Iterator

__all__ = ["Path", "defined_keys", "line_of"]

Path = tuple[str, ...]
"""A key with the tables around it, outermost first."""

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_DOTTED})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")
_PART = re.compile(_KEY)
_FENCE = re.compile(r'"""|\'\'\'')


def defined_keys(source: str) -> Iterator[tuple[Path, int]]:
    """Every key and table header of the text with its line, counted from 1."""
    table: Path = ()
    fence: str | None = None
    for number, line in enumerate(source.split("\n"), start=1):
        inside, fence = fence is not None, _fence_after(line, fence)
        if inside:
            continue
        if (header := _HEADER.match(line)) is not None:
            table = _parts(header[1])
            yield table, number
        elif (assignment := _ASSIGNMENT.match(line)) is not None:
            yield table + _parts(assignment[1]), number


def line_of(source: str, path: Path) -> int | None:
    """The line of `path`; else of the first key below it; else of the nearest table around it; else None."""
    best: tuple[int, int] | None = None
    for found, line in defined_keys(source):
        if found == path:
            return line
        if found[: len(path)] == path:
            score = len(path)
        elif path[: len(found)] == found:
            score = len(found)
        else:
            continue
        if path and (best is None or score > best[0]):
            best = score, line
    return best[1] if best else None


def _fence_after(line: str, fence: str | None) -> str | None:
    """Which multi-line string is open at the end of a line, given the one that was open at its start."""
    for found in _FENCE.findall(line):
        if fence is None:
            fence = found
        elif fence == found:
            fence = None
    return fence


def _parts(dotted: str) -> Path:
    return tuple(_unquote(part) for part in _PART.findall(dotted))


def _unquote(part: str) -> str:
    if part[0] not in "\"'":
        return part
    try:
        return str(tomllib.loads(f"key = {part}")["key"])
    except (tomllib.TOMLDecodeError, ValueError):
        return part
