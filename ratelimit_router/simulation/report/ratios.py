"""Each policy at a glance: how far over the least possible, and for how many refusals. A row a family, a mark a policy.

Both scales are logarithmic, so that good and bad policies have room on the same one.
"""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes

from ratelimit_router.simulation.measures import Summary
from ratelimit_router.simulation.report.canvas import beside, columns, label, ticks
from ratelimit_router.simulation.report.palette import FAINT, MUTED, policy_styles
from ratelimit_router.simulation.report.svg import Picture
from ratelimit_router.simulation.report.words import figure, mean_ratio, over, plain

__all__ = ["ratios"]

ROW = 0.25
"""Inches of one family, and of one line of the key."""

LEAST = {"over": 0.01, "refusals": 0.001}
"""Where the scales begin: nobody need tell less from nothing."""


def ratios(summaries: Sequence[Summary], name: str, policies: Sequence[str]) -> Picture:
    """`policies`: all, for their colours. A hollow mark: not every task got its answer."""
    families = list(dict.fromkeys(one.family for one in summaries))
    left = 0.3 + 0.068 * max(len(plain(family)) for family in families)
    drawn, (overs, refusals) = columns(2, ROW * max(len(families), len(policies)), left=left, right=1.8)
    for index, family in enumerate(families):
        height = 1.0 - (index + 0.5) / len(families)
        label(overs, 0.0, height, plain(family), align="right", right=-8, size=8.5)
    _panel(overs, "time over the least possible", summaries, policies, _over, LEAST["over"], _percent)
    _panel(refusals, "refusals per task", summaries, policies, _refusals, LEAST["refusals"], figure)
    _key(refusals, summaries, policies)
    title = "Time over the least possible, and refusals per task"
    return Picture(name=name, title=title, description=" ".join(map(_words, summaries)), figure=drawn)


def _over(one: Summary) -> float | None:
    return None if one.ratio is None else one.ratio - 1.0


def _refusals(one: Summary) -> float:
    return one.rejections_per_task


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _words(one: Summary) -> str:
    ratio = "" if one.ratio is None else f"{over(one.ratio)}, "
    return f"{plain(one.family)}, {plain(one.policy)}: {ratio}{figure(one.rejections_per_task)} refusals per task."


def _panel(
    axes: Axes,
    title: str,
    summaries: Sequence[Summary],
    policies: Sequence[str],
    value: Callable[[Summary], float | None],
    least: float,
    words: Callable[[float], str],
) -> None:
    families = list(dict.fromkeys(one.family for one in summaries))
    most = 1.3 * max([value(one) or 0.0 for one in summaries] + [10 * least])

    def place(number: float) -> float:
        return math.log(max(number, least) / least) / math.log(most / least)

    label(axes, 0.0, 1.0, title, below=-12, bold=True, size=8.5)
    _scale(axes, [least * 10.0**power for power in range(9) if least * 10.0**power <= most * 1.01], place, words)
    for one in sorted(summaries, key=lambda one: -policies.index(one.policy)):  # the first policy on top
        if (number := value(one)) is not None:
            _mark(axes, place(number), 1.0 - (families.index(one.family) + 0.5) / len(families), one, policies)
    for index in range(len(families)):
        axes.plot([0.0, 1.0], [1.0 - (index + 0.5) / len(families)] * 2, color=FAINT, linewidth=0.6, zorder=0)


def _scale(axes: Axes, marks: list[float], place: Callable[[float], float], words: Callable[[float], str]) -> None:
    ticks(axes, [place(mark) for mark in marks], (0.0, 1.0), FAINT, 0.5)
    for index, mark in enumerate(marks):
        text = words(mark) if index else f"≤ {words(mark)}"
        label(axes, place(mark), 0.0, text, below=3, align="center", rise="top", colour=MUTED)


def _mark(axes: Axes, across: float, height: float, one: Summary, policies: Sequence[str]) -> None:
    look = policy_styles(policies)[one.policy]
    face = "none" if one.failed or one.unfinished else look.colour
    axes.plot([across], [height], look.mark, color=look.colour, markerfacecolor=face, markersize=6, clip_on=False)


def _key(axes: Axes, summaries: Sequence[Summary], policies: Sequence[str]) -> None:
    """Beside the panels: the mark of each policy, and its mean over all families."""
    for index, policy in enumerate(policies):
        mean = mean_ratio([one for one in summaries if one.policy == policy])
        look, below = policy_styles(policies)[policy], (index + 0.5) * ROW * 72
        across = beside(axes, 22, below)
        axes.plot([1.0], [1.0], look.mark, color=look.colour, markersize=6, transform=across, clip_on=False)
        text = plain(policy) if mean is None else f"{plain(policy)}  {mean:.2f}×"
        label(axes, 1.0, 1.0, text, right=30, below=below)
