"""An event loop whose clock jumps to the next timer instead of waiting for it.

Days pass in milliseconds and every run is the same. Timers that are set for now fire now; where these set such timers
again, each further one takes a nanosecond: on a real clock, too, time goes on, and code whose delays are rounded to
nothing waits for that. What it cannot do: real I/O. A loop that has nothing ready and no timer would wait for ever, so
it raises `Deadlock` instead.
"""

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["Deadlock", "VirtualTimeLoop", "run"]

T = TypeVar("T")

TICK = 1e-9
"""Seconds. The resolution of the clocks of real loops."""


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set: in real time this program would hang."""


class _JumpingSelector(selectors.SelectSelector):
    """Never blocks: instead of sleeping it moves the clock of its loop to the next timer."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is ready and no timer is set: this would wait for ever")
        self.loop.jump(waits=timeout > 0)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A standard asyncio loop in virtual time. `time()` starts at `start` and moves only when nothing else is ready."""

    _scheduled: list[asyncio.TimerHandle]  # asyncio's heap of timers, the one private thing that this relies on

    def __init__(self, start: float = 0.0) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now = start
        self._was_due = False  # whether a turn at this instant has set a timer for it
        super().__init__(selector)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now

    def jump(self, *, waits: bool) -> None:
        """Between two turns. If the loop `waits`, to the next timer, exactly: no delay is computed, so none is rounded.

        Otherwise time stands still, unless a timer is set for now, and one was before at this instant.
        """
        now, timers = self._now, self._scheduled
        if waits:
            self._move_to(max(now, timers[0].when()))
        elif timers and timers[0].when() <= now:
            if self._was_due:
                self._move_to(max(now + TICK, math.nextafter(now, math.inf)))
            self._was_due = True

    def _move_to(self, now: float) -> None:
        self._now, self._was_due = now, False
        self._clock_resolution = math.ulp(now)  # due means due: nothing fires early


def run(main: Coroutine[Any, Any, T], *, start: float = 0.0) -> T:
    """`asyncio.run` in virtual time. Raises Deadlock where a real program would hang."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start)) as runner:
        return runner.run(main)
