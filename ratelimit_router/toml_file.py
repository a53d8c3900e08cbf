"""A TOML file's text and document, or one ConfigError that says why not."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from ratelimit_router.errors import ConfigError

__all__ = ["MAX_BYTES", "one_line", "parse_toml", "read_text"]

MAX_BYTES = 1_000_000
"""No configuration is larger; a file that is was named by mistake."""


def read_text(path: str | os.PathLike[str], file: str) -> str:
    """The text of a file of at most 1 MB, which errors call `file`. Raises ConfigError if there is none to be had."""
    try:
        with Path(path).open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", file=file) from None
    except IsADirectoryError:
        raise ConfigError("is a directory: name the TOML file in it", file=file) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"cannot be read: {reason}", file=file) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES // 1_000_000} MB: that is no configuration", file=file)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError("is not UTF-8: save it in that encoding", file=file, line=line) from None


def parse_toml(source: str, file: str) -> dict[str, Any]:
    """The document. Raises ConfigError, with the parser's line, if this is no TOML."""
    try:
        return tomllib.loads(source)
    except RecursionError:
        raise ConfigError("is nested too deeply", file=file) from None
    except ValueError as error:  # TOMLDecodeError, and what the parser lets through for absurd numbers
        text = str(error)
        if "int_max_str_digits" in text:
            raise ConfigError("holds a number of thousands of digits", file=file) from None
        found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", text)
        line = (int(found[1]) if found[1] else source.count("\n") + 1) if found else None
        problem = text[: found.start()] if found else text
        raise ConfigError(one_line(f"this is not TOML: {problem}{_toml_cure(problem)}"), file=file, line=line) from None


def _toml_cure(problem: str) -> str:
    twice = re.search(r"twice|overwrite|[Dd]uplicate|namespace", problem)
    return ": the name is defined twice, keep one" if twice else ""


def one_line(text: str) -> str:
    """Without line breaks or anything else that does not print."""
    shown = text if len(text) <= 400 else text[:400] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
