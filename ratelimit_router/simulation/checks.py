"""Checks that every value of the configuration shares: each raises a ConfigError that names the key."""

import math

from ratelimit_router.errors import ConfigError

__all__ = ["check_count", "check_number"]


def check_number(value: object, key: str, *, above_zero: bool = False) -> None:
    """Raises ConfigError unless it is a finite number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"must be a number, not {type(value).__name__}", key=key)
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ConfigError(
            f"must be a finite number {'above 0' if above_zero else 'of 0 or more'}, not {value}", key=key
        )


def check_count(value: object, key: str) -> None:
    """Raises ConfigError unless it is a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"must be a whole number, not {type(value).__name__}", key=key)
    if value < 1:
        raise ConfigError(f"must be 1 or more, not {value}", key=key)
