"""An event loop whose clock jumps to the next timer instead of waiting for it.

Days pass in milliseconds and every run is the same. What it cannot do: real I/O. A loop that has nothing ready and no
timer would wait for ever, so it raises `Deadlock` instead.
"""

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["Deadlock", "VirtualTimeLoop", "run"]

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set: in real time this program would hang."""


class _JumpingSelector(selectors.SelectSelector):
    """Never blocks: instead of sleeping it moves the clock of its loop to the next timer."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is ready and no timer is set: this would wait for ever")
        if timeout > 0:
            self.loop.jump()
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A standard asyncio loop in virtual time. `time()` starts at `start` and moves only when nothing else is ready."""

    _scheduled: list[asyncio.TimerHandle]  # asyncio's heap of timers, the one private thing that this relies on

    def __init__(self, start: float = 0.0) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now = start
        super().__init__(selector)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now

    def jump(self) -> None:
        """Move the clock to the next timer, exactly: no delay is computed, so none is rounded."""
        self._now = max(self._now, self._scheduled[0].when())
        self._clock_resolution = math.ulp(self._now)  # due means due: nothing fires early


def run(main: Coroutine[Any, Any, T], *, start: float = 0.0) -> T:
    """`asyncio.run` in virtual time. Raises Deadlock where a real program would hang."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start)) as runner:
        return runner.run(main)
