"""Durations as people write them: `"5s"`, `"500ms"`, `"2m"`, `"inf"`, or plain seconds."""

import math
import re

from ratelimit_router.errors import ConfigError

__all__ = ["parse_duration"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|m|h|d)\s*")


def parse_duration(value: object) -> float:
    """Seconds of `value`: a number of seconds (0 to infinity), or a text of a number and a unit, or "inf".

    Raises ConfigError for anything else; its message says what would be right.
    """
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError('must be a duration such as "5s", "500ms", "2m" or "inf", or a number of seconds')
    if not value >= 0:
        raise ConfigError(f"must be 0 or more seconds, not {value}")
    return float(value) if value < 1e15 else math.inf


def _from_text(text: str) -> float:
    if text.strip().lower() == "inf":
        return math.inf
    if (found := _DURATION.fullmatch(text)) is None:
        raise ConfigError(f'must be a duration such as "5s", "500ms", "2m" or "inf", not {text[:40]!r}')
    return float(found[1]) * _UNITS[found[2]]
