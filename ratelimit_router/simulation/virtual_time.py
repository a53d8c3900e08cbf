"""An event loop whose clock jumps to the next timer instead of waiting for it.

Days pass in milliseconds and every run is the same: timers of one instant fire in the order in which they were set, so
that one more of them changes nothing for the others. Timers that are set for now fire now; where these set such timers
again, each further one takes a nanosecond: on a real clock, too, time goes on, and code whose delays are rounded to
nothing waits for that. What it cannot do: real I/O. A loop that has nothing ready and no timer would wait for ever, so
it raises `Deadlock` instead.
"""

import asyncio
import heapq
import itertools
import math
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

__all__ = ["Deadlock", "VirtualTimeLoop", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

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


class _Timer(asyncio.TimerHandle):
    """A timer with its place among those of the same instant."""

    __slots__ = ("order",)

    order: int

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Timer):
            return NotImplemented
        return (self.when(), self.order) < (other.when(), other.order)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A standard asyncio loop in virtual time. `time()` starts at `start` and moves only when nothing else is ready."""

    _scheduled: list[
        asyncio.TimerHandle
    ]  # asyncio's heap of timers: it, and their mark of being there, is all of its insides that this relies on

    def __init__(self, start: float = 0.0) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now = start
        self._was_due = False  # whether a turn at this instant has set a timer for it
        self._orders = itertools.count()
        super().__init__(selector)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As the loop that this is, but for ties."""
        timer = _Timer(when, callback, args, self, context)
        timer.order = next(self._orders)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # by which cancelled timers are counted
        return timer

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
