"""What every picture is drawn with: panels one under the other, areas, lines, boxes, ticks, labels, an axis of time.

Many marks of one colour are one path: that is what keeps a picture of ten thousand calls small.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Transform, blended_transform_factory, offset_copy

from ratelimit_router.simulation.report.palette import FAINT, INK, MUTED
from ratelimit_router.simulation.report.series import Steps
from ratelimit_router.simulation.report.words import clock

__all__ = [
    "SMALL",
    "area",
    "baseline",
    "beside",
    "boxes",
    "label",
    "line",
    "sample",
    "stack",
    "ticks",
    "time_axis",
    "vertical",
]

WIDTH = 9.0
LEFT = 0.5
RIGHT = 1.35
FOOT = 0.3
"""Inches: of a picture, left and right of its panels, below the last one."""

SMALL = 7.5
"""Points, of labels that only some will read."""

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400)
Span = tuple[float, float]


def stack(
    heights: Sequence[Span], end: float, *, left: float = LEFT, right: float = RIGHT
) -> tuple[Figure, list[Axes]]:
    """A figure of panels from the top down, each from 0 to `end` seconds: (inches above it, its height)."""
    total = sum(above + height for above, height in heights) + FOOT
    figure = Figure(figsize=(WIDTH, total))
    figure.patch.set_visible(False)
    panels, top = [], total
    for above, height in heights:
        top -= above + height
        axes = figure.add_axes((left / WIDTH, top / total, (WIDTH - left - right) / WIDTH, height / total))
        axes.set_axis_off()
        axes.set(xlim=(0.0, end), ylim=(0.0, 1.0))
        panels.append(axes)
    return figure, panels


def columns(number: int, height: float, *, left: float, right: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels side by side, each from 0 to 1, so many inches high."""
    head, gap = 0.35, 0.4
    total, width = head + height + FOOT, (WIDTH - left - right - gap * (number - 1)) / number
    figure = Figure(figsize=(WIDTH, total))
    figure.patch.set_visible(False)
    panels = []
    for index in range(number):
        start = left + index * (width + gap)
        axes = figure.add_axes((start / WIDTH, FOOT / total, width / WIDTH, height / total))
        axes.set_axis_off()
        axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
        panels.append(axes)
    return figure, panels


def area(axes: Axes, series: Steps, colour: str, *, alpha: float = 1.0) -> None:
    """Filled down to 0."""
    edges = (*series.times, max(axes.get_xlim()[1], series.times[-1]))
    axes.stairs(series.values, edges, fill=True, color=colour, alpha=alpha, linewidth=0)


def line(
    axes: Axes, series: Steps, colour: str, *, width: float = 1.2, dash: str = "-", until: float | None = None
) -> None:
    """Its outline, `until` an instant (default: the end of the panel)."""
    end = axes.get_xlim()[1] if until is None else until
    edges = (*series.times, max(end, series.times[-1]))
    axes.stairs(series.values, edges, baseline=None, color=colour, linewidth=width, linestyle=dash)


def boxes(axes: Axes, spans: Iterable[Span], height: Span, colour: str, *, alpha: float = 1.0) -> None:
    """Filled from one instant to another; `height` in shares of the panel, which it may leave."""
    vertices: list[Span] = []
    for start, end in spans:
        vertices += [(start, height[0]), (end, height[0]), (end, height[1]), (start, height[1]), (start, height[0])]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(vertices) // 5)
    _add(axes, vertices, codes, facecolor=colour, linewidth=0, alpha=alpha)


def ticks(axes: Axes, instants: Iterable[float], height: Span, colour: str, width: float = 0.8) -> None:
    """Upright lines; `height` as for boxes."""
    vertices = [vertex for at in instants for vertex in ((at, height[0]), (at, height[1]))]
    _add(
        axes, vertices, [Path.MOVETO, Path.LINETO] * (len(vertices) // 2), edgecolor=colour, fill=False, linewidth=width
    )


def vertical(axes: Axes, at: float, colour: str = INK, height: Span = (0.0, 1.0)) -> None:
    """One dashed line."""
    axes.plot([at, at], height, color=colour, linewidth=1.0, dashes=(3, 2), transform=_in_shares(axes), clip_on=False)


def sample(axes: Axes, below: float, colour: str, dash: str) -> None:
    """A piece of a line beside the panel, so many points below its top, for its label."""
    across = beside(axes, 6, below)
    axes.plot([1.0, 1.03], [1.0, 1.0], color=colour, linewidth=1.6, linestyle=dash, transform=across, clip_on=False)


def beside(axes: Axes, right: float, below: float) -> Transform:
    """Shares of the panel, moved by points."""
    return offset_copy(axes.transAxes, cast("Figure", axes.figure), x=right, y=-below, units="points")


def baseline(axes: Axes) -> None:
    """What the panel stands on, and faint lines where the axis of time has its marks."""
    end = axes.get_xlim()[1]
    ticks(axes, _marks(end), (0.0, 1.0), FAINT, 0.5)
    axes.plot([0.0, end], [0.0, 0.0], color=MUTED, linewidth=0.6, transform=_in_shares(axes), clip_on=False)


def time_axis(axes: Axes) -> None:
    """Minutes and seconds below the last panel."""
    for at in _marks(axes.get_xlim()[1]):
        label(axes, at, 0.0, clock(at), below=3.0, align="center", rise="top", colour=MUTED)


def label(
    axes: Axes,
    at: float,
    height: float,
    text: str,
    *,
    colour: str = INK,
    size: float = SMALL,
    align: str = "left",
    rise: str = "center",
    bold: bool = False,
    right: float = 0.0,
    below: float = 0.0,
) -> None:
    """Text at an instant; `height` in shares of the panel; moved by points to the `right` and `below`."""
    axes.annotate(
        text,
        (at, height),
        xycoords=_in_shares(axes),
        xytext=(right, -below),
        textcoords="offset points",
        color=colour,
        fontsize=size,
        ha=align,
        va=rise,
        fontweight="bold" if bold else "normal",
        annotation_clip=False,
    )


def _add(axes: Axes, vertices: Sequence[Span], codes: Any, **look: Any) -> None:
    if vertices:
        path = Path(vertices, codes)
        axes.add_patch(PathPatch(path, transform=_in_shares(axes), clip_on=False, **look))


def _in_shares(axes: Axes) -> Transform:
    """Instants across, shares of the panel upwards."""
    return blended_transform_factory(axes.transData, axes.transAxes)


def _marks(end: float) -> list[float]:
    step = next((each for each in _STEPS if end / each <= 8), _STEPS[-1] * max(1, round(end / _STEPS[-1] / 8)))
    return [float(step * number) for number in range(int(end / step) + 1)]
