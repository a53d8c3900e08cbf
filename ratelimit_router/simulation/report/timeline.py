"""Per model: calls in flight, refusals as marks, when it was closed and on whose word, what was left of each quota."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from ratelimit_router.cooldown import Provenance
from ratelimit_router.simulation.report.canvas import (
    area,
    baseline,
    boxes,
    label,
    line,
    sample,
    stack,
    ticks,
    time_axis,
)
from ratelimit_router.simulation.report.lanes import Closed, Event, Lane
from ratelimit_router.simulation.report.palette import AMBER, BLUE, DASHES, GREEN, GREY, INK, MUTED, ORANGE, PURPLE
from ratelimit_router.simulation.report.series import COLUMNS, Steps, thinned
from ratelimit_router.simulation.report.shown import Shown
from ratelimit_router.simulation.report.svg import Picture
from ratelimit_router.simulation.report.words import figure, plain

__all__ = ["CLOSED", "timeline"]

CLOSED = {Provenance.SERVER: AMBER, Provenance.QUOTA: PURPLE, Provenance.HEURISTIC: GREY}
"""The colour of each provenance."""

TITLE, ROW, CALLS, GAP, LEVELS = 0.34, 0.17, 0.42, 0.16, 0.3
"""Inches: of a lane's name, one row of events, its calls, the marks of refusals, its quotas."""

LETTER = 0.058
"""Inches that a small letter takes at most."""


def timeline(shown: Shown, own: Sequence[Lane], name: str) -> Picture:
    """All lanes of one run on one axis of time."""
    rows = [_rows(lane.events, shown.end) for lane in own]
    heights = []
    for row, lane in zip(rows, own, strict=True):
        heights += [(TITLE + ROW * len(row), CALLS), (GAP, LEVELS if lane.levels else 0.01)]
    figure_, panels = stack(heights, shown.end)
    for lane, row, above, below in zip(own, rows, panels[::2], panels[1::2], strict=True):
        _calls(above, lane, row)
        if lane.levels:
            _levels(below, lane.levels)
    time_axis(panels[-1])
    words = " ".join(f"{plain(lane.name)}: {lane.words()}." for lane in own)
    return Picture(name=name, title="Models: calls, refusals, cooldowns and quotas", description=words, figure=figure_)


def _calls(axes: Axes, lane: Lane, rows: Sequence[Sequence[Event]]) -> None:
    end, top = axes.get_xlim()[1], max(lane.flying.peak, 1.0)
    axes.set_ylim(0.0, top)
    for provenance, colour in CLOSED.items():
        boxes(axes, _seen(lane.closed, provenance, end), (0.0, 1.0), colour, alpha=0.35)
    baseline(axes)
    area(axes, thinned(lane.flying, end), BLUE)
    label(axes, 0.0, 1.0, figure(top), align="right", right=-4, colour=MUTED)
    label(axes, end, 0.5, "in flight", right=6, colour=BLUE)
    ticks(axes, _columns(lane.failed, end), (-0.1, -0.28), INK)
    ticks(axes, _columns(lane.refused, end), (-0.1, -0.28), ORANGE, 1.2)
    if lane.refused:
        label(axes, end, -0.19, f"{len(lane.refused):,} refused", right=6, colour=ORANGE)
    _names(axes, lane, rows)


def _names(axes: Axes, lane: Lane, rows: Sequence[Sequence[Event]]) -> None:
    """Above the panel: what befalls it, and over that whose it is."""
    for number, row in enumerate(reversed(rows)):
        _events(axes, row, number)
    up = 9.0 + 72 * ROW * len(rows)
    title = plain(lane.name) + (" (shared)" if lane.shared else "")
    label(axes, 0.0, 1.0, title, below=-up, bold=True, size=9)
    label(axes, axes.get_xlim()[1], 1.0, lane.words(), below=-up, align="right", colour=MUTED)


def _events(axes: Axes, row: Sequence[Event], number: int) -> None:
    end, low = axes.get_xlim()[1], 1.0 + (0.03 + ROW * number) / CALLS
    for event in row:
        boxes(axes, [(event.start, min(event.end, end))], (low, low + 0.025 / CALLS), INK)
        label(axes, event.start, low + 0.025 / CALLS, event.text, rise="bottom", below=-0.5)


def _levels(axes: Axes, levels: Mapping[str, Steps]) -> None:
    baseline(axes)
    end = axes.get_xlim()[1]
    label(axes, 0.0, 1.0, "100%", align="right", right=-4, colour=MUTED)
    for index, (quota, series) in enumerate(levels.items()):
        dash = DASHES[index % len(DASHES)]
        line(axes, thinned(series, end, min), GREEN, dash=dash)
        below = (index + 0.5) / max(len(levels), 2) * LEVELS * 72
        sample(axes, below, GREEN, dash)
        label(axes, end, 1.0, f"{quota} left", right=28, below=below, colour=GREEN)


def _rows(found: Sequence[Event], end: float) -> list[list[Event]]:
    """Side by side where bars and texts have room, else one above the other."""
    rows: list[list[Event]] = []
    free: list[float] = []
    for event in found:
        if event.start >= end:
            continue
        taken = max(min(event.end, end), event.start + len(event.text) * LETTER * end / 7.0)
        for index, instant in enumerate(free):
            if instant <= event.start:
                rows[index].append(event)
                free[index] = taken
                break
        else:
            rows.append([event])
            free.append(taken)
    return rows


def _columns(instants: Sequence[float], end: float) -> list[float]:
    """One mark for each column of the picture in which there is something."""
    width = end / COLUMNS
    return [(column + 0.5) * width for column in sorted({min(int(at / width), COLUMNS - 1) for at in instants})]


def _seen(closed: Sequence[Closed], provenance: str, end: float) -> list[tuple[float, float]]:
    """Spans wide enough to be seen, those that touch in one piece."""
    least = end / COLUMNS
    found: list[tuple[float, float]] = []
    for each in closed:
        if each.provenance != provenance:
            continue
        start, until = each.start, max(each.end, each.start + least / 2)
        if found and start - found[-1][1] < least / 2:
            found[-1] = (found[-1][0], until)
        else:
            found.append((start, until))
    return found
