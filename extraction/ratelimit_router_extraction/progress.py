"""How far a run is: a live display on a terminal, a plain line every few seconds elsewhere.

What is shown is computed by functions from the tally and a snapshot of the router; only `Progress` knows of time and
terminals. It runs in the router's own event loop, so a snapshot is never taken in the middle of a change.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ratelimit_router.snapshot import ModelSnapshot, RouterSnapshot
from ratelimit_router_extraction.tally import Tally

__all__ = ["Progress", "eta", "model_state", "quota_left", "status_line", "status_panel"]

LIVE_EVERY = 0.25
PLAIN_EVERY = 5.0
"""Seconds between two refreshes."""


def eta(tally: Tally, elapsed: float) -> float | None:
    """Seconds until the last article, at the pace so far; None before there is one."""
    return (tally.total - tally.finished) * elapsed / tally.finished if tally.finished else None


def status_line(tally: Tally, snapshot: RouterSnapshot, elapsed: float) -> str:
    """Everything in one plain line."""
    models = "; ".join(
        f"{name} {model.in_flight} in flight, {model_state(model)}, {quota_left(model)}"
        for name, model in snapshot.models.items()
    )
    return f"{_counts(tally)}, {_eta(tally, elapsed)}; {models}"


def status_panel(tally: Tally, snapshot: RouterSnapshot, elapsed: float) -> Group:
    """The same for a terminal: a bar, and a line a model."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("model", "in flight", "state", "quota left"):
        table.add_column(name, justify="right" if name == "in flight" else "left")
    for name, model in snapshot.models.items():
        colour = "green" if model.cooldown is None else "yellow"
        state = Text(model_state(model), style=colour)
        table.add_row(Text(name), str(model.in_flight), state, quota_left(model))
    queued = sum(tier.queued for tier in snapshot.tiers.values())
    head = Text(f"{_counts(tally)}, {queued} in line, {_eta(tally, elapsed)}")
    return Group(ProgressBar(total=max(1, tally.total), completed=tally.finished, width=60), head, table)


def model_state(model: ModelSnapshot) -> str:
    """Its state in a word or two; a cooldown with the seconds that are left and what caused it."""
    if model.cooldown is None:
        return model.state.replace("_", " ")
    left = model.cooldown.left
    until = "until reconfigured" if math.isinf(left) else f"{max(0.0, left):.1f} s"
    return f"{model.state} {until} ({model.cooldown.reason})"


def quota_left(model: ModelSnapshot) -> str:
    """What its quotas could still give now."""
    told = [f"{max(0.0, quota.remaining):,.0f}/{quota.capacity:,.0f} {name}" for name, quota in model.quotas.items()]
    return " ".join(told) or "no limits"


def _counts(tally: Tally) -> str:
    return f"{tally.finished} of {tally.total} articles, {tally.failed} failed"


def _eta(tally: Tally, elapsed: float) -> str:
    left = eta(tally, elapsed)
    return f"{elapsed:.0f} s" if left is None else f"{elapsed:.0f} s, about {left:.0f} s to go"


class Progress:
    """Shows how a run goes while its block runs. `console` writes to stderr."""

    def __init__(
        self,
        console: Console,
        tally: Tally,
        snapshot: Callable[[], RouterSnapshot],
        clock: Callable[[], float],
        *,
        quiet: bool = False,
    ):
        self._console, self._tally, self._snapshot, self._clock = console, tally, snapshot, clock
        self._quiet = quiet
        self._started = clock()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the display up to date until the block ends."""
        if self._quiet:
            yield
            return
        self._started = self._clock()
        with contextlib.ExitStack() as display:
            if self._console.is_terminal:
                live = display.enter_context(self._live())
                ticker = asyncio.create_task(self._tick(LIVE_EVERY, lambda: live.update(self._panel(), refresh=True)))
            else:
                ticker = asyncio.create_task(self._tick(PLAIN_EVERY, self._print_line))
            try:
                yield
            finally:
                ticker.cancel()
                await asyncio.wait([ticker])

    def _live(self) -> Live:
        # Refreshed by the event loop, not by a thread of rich's. Whatever is printed meanwhile goes above the display.
        return Live(self._panel(), console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    async def _tick(self, seconds: float, show: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            show()

    def _panel(self) -> Group:
        return status_panel(self._tally, self._snapshot(), self._elapsed)

    def _print_line(self) -> None:
        line = status_line(self._tally, self._snapshot(), self._elapsed)
        self._console.print(Text(line), soft_wrap=True)

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._started
