"""Where time comes from. Everything else is told `now`; nothing else asks."""

import time
from collections.abc import Callable

__all__ = ["Clock", "monotonic", "wall"]

Clock = Callable[[], float]
"""Seconds on some scale; a router's `clock` never runs backwards, its `wall_clock` counts POSIX seconds."""

monotonic: Clock = time.monotonic
wall: Clock = time.time
