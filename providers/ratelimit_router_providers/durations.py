"""How long a service asks to wait: the spellings of a duration found in Google's answers, read with distrust.

`"34s"`, `"3.214562890s"` (protobuf's JSON), `"373.8ms"`, `"10h17m5.7s"` (Go's), `{"seconds": 34, "nanos": 5}` (a
protobuf Duration taken literally), and plain numbers of seconds. What cannot be read is no hint, never an error.
"""

import math
import re
from collections.abc import Mapping

__all__ = ["LONGEST_HINT", "seconds"]

LONGEST_HINT = 7 * 86_400.0
"""The longest hint that is believed, in seconds: no documented quota has a longer period than a week."""

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|us|µs|ns|d|h|m|s)", re.ASCII)
_LONGEST_TEXT = 64


def seconds(value: object) -> float | None:
    """A duration in seconds, held between 0 and `LONGEST_HINT`; None if it is not one (NaN is not one)."""
    found = _read(value)
    return None if found is None or math.isnan(found) else min(max(found, 0.0), LONGEST_HINT)


def _read(value: object) -> float | None:
    if isinstance(value, str):
        return _of_text(value.strip()) if len(value) <= _LONGEST_TEXT else None
    if isinstance(value, Mapping):
        whole, rest = _number(value.get("seconds", 0)), _number(value.get("nanos", 0))
        known = "seconds" in value or "nanos" in value
        return whole + rest * 1e-9 if known and whole is not None and rest is not None else None
    return _number(value)


def _of_text(text: str) -> float | None:
    sign, text = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
    found = _number(text.removesuffix("s"))
    return None if found is None else sign * found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
