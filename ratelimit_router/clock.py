"""Where time comes from. Everything else is told `now`; nothing else asks."""

import math
import time
from collections.abc import Callable

__all__ = ["Clock", "forwards", "monotonic", "wall"]

Clock = Callable[[], float]
"""Seconds on some scale; a router's `clock` is for durations, its `wall_clock` counts POSIX seconds."""

monotonic: Clock = time.monotonic
wall: Clock = time.time

_STEADY = (time.monotonic, time.perf_counter)


def forwards(clock: Clock) -> Clock:
    """The same clock, standing still where the original runs backwards: lost time frees no quota twice."""
    if clock in _STEADY:
        return clock
    latest = -math.inf

    def steady() -> float:
        nonlocal latest
        latest = max(latest, clock())
        return latest

    return steady
