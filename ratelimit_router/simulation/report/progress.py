"""Tasks over time: those done beside the least possible, and those that wait, by tier."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from ratelimit_router.simulation.report.canvas import area, baseline, label, line, sample, stack, time_axis, vertical
from ratelimit_router.simulation.report.palette import BLUE, GREY, MUTED, policy_styles
from ratelimit_router.simulation.report.series import arrived, done, thinned, waiting
from ratelimit_router.simulation.report.shown import Shown
from ratelimit_router.simulation.report.svg import Picture
from ratelimit_router.simulation.report.words import figure, headline, plain, span

__all__ = ["comparison", "progress", "queues"]

FARTHEST = 3.0
"""Times the least possible: policies that take longer leave the picture on the right."""

ENTRY = 0.17
"""Inches of one line of the key."""


def progress(shown: Shown, name: str) -> Picture:
    """One run beside the least possible."""
    figure_, (axes,) = stack([(0.3, 1.5)], shown.end)
    run, tasks = shown.run, len(shown.run.tasks)
    baseline(axes)
    axes.set_ylim(0.0, tasks)
    line(axes, thinned(arrived(run), shown.end, min), MUTED, width=0.8)
    series = done(run)
    area(axes, thinned(series, shown.end, min), BLUE, alpha=0.25)
    line(axes, thinned(series, shown.end, min), BLUE, width=1.8)
    label(axes, 0.0, 1.0, figure(tasks), align="right", right=-4, colour=MUTED)
    label(axes, shown.end, series.peak / tasks, f"{figure(series.peak)} done", right=6, colour=BLUE, bold=True)
    label(axes, shown.end, series.peak / tasks, f"at {span(run.makespan)}", right=6, below=10, colour=BLUE)
    label(axes, 0.0, 1.0, "arrived", right=3, below=-6, colour=MUTED)
    _least(axes, shown)
    time_axis(axes)
    words = f"{headline(run, shown.measures)}."
    if least := shown.measures.bound_seconds:
        words += f" The least possible is {span(least)}{f', due to {shown.binding}' if shown.binding else ''}."
    return Picture(name=name, title="Tasks done over time", description=words, figure=figure_)


def queues(shown: Shown, name: str) -> Picture:
    """How many tasks of each tier wait for a model, all tiers to the same scale."""
    tiers = [tier.name for tier in shown.run.scenario.tiers]
    found = {tier: waiting(shown.run, tier) for tier in tiers}
    top = max(1.0, *(series.peak for series in found.values()))
    figure_, panels = stack([(0.3, 0.4)] * len(tiers), shown.end)
    words = []
    for axes, (tier, series) in zip(panels, found.items(), strict=True):
        baseline(axes)
        axes.set_ylim(0.0, top)
        area(axes, thinned(series, shown.end), GREY)
        label(axes, 0.0, 1.0, figure(top), align="right", right=-4, colour=MUTED)
        label(axes, 0.0, 1.0, plain(tier), below=-8, bold=True, size=9)
        label(axes, shown.end, 0.5, f"at most {figure(series.peak)}", right=6, colour=MUTED)
        words.append(f"{plain(tier)}: at most {figure(series.peak)} waiting.")
    time_axis(panels[-1])
    return Picture(name=name, title="Tasks that wait, by tier", description=" ".join(words), figure=figure_)


def comparison(groups: Sequence[Sequence[Shown]], name: str, policies: Sequence[str]) -> Picture:
    """Several policies over the same scenario, a panel for each group of runs; `policies`: all, for their colours."""
    heights = [(0.75 if len(groups) > 1 else 0.3, max(1.7, ENTRY * len(group))) for group in groups]
    figure_, panels = stack(heights, 1.0, right=2.5)
    words = []
    for axes, group in zip(panels, groups, strict=True):
        axes.set_xlim(0.0, _reach(group))
        _completed(axes, group, policies)
        _key(axes, group, policies)
        time_axis(axes)
        if len(groups) > 1:
            label(axes, 0.0, 1.0, plain(group[0].family), below=-18, bold=True, size=9)
        words += [f"{plain(one.policy)}, {plain(one.family)}: {headline(one.run, one.measures)}." for one in group]
    return Picture(name=name, title="Tasks done over time, by policy", description=" ".join(words), figure=figure_)


def _reach(group: Sequence[Shown]) -> float:
    """Seconds that a comparison shows."""
    longest, least = max(one.end for one in group), group[0].measures.bound_seconds
    return min(longest, FARTHEST * least) if least else longest


def _completed(axes: Axes, group: Sequence[Shown], policies: Sequence[str]) -> None:
    """One line for each policy, the first of `policies` on top."""
    end, tasks, styles = axes.get_xlim()[1], len(group[0].run.tasks), policy_styles(policies)
    baseline(axes)
    axes.set_ylim(0.0, tasks)
    label(axes, 0.0, 1.0, figure(tasks), align="right", right=-4, colour=MUTED)
    for one in sorted(group, key=lambda one: policies.index(one.policy), reverse=True):
        look, series, last = styles[one.policy], done(one.run), one.run.makespan
        line(axes, thinned(series, end, min), look.colour, width=1.6, dash=look.dash, until=min(last, end))
        if one.measures.done == tasks and last <= end:
            axes.plot([last], [tasks], "o", color=look.colour, markersize=4, clip_on=False)
    _least(axes, group[0])


def _key(axes: Axes, group: Sequence[Shown], policies: Sequence[str]) -> None:
    """Beside the panel, the best first."""
    styles, end = policy_styles(policies), axes.get_xlim()[1]
    for index, one in enumerate(sorted(group, key=lambda one: (-one.measures.done, one.run.makespan))):
        look, below = styles[one.policy], (index + 0.5) * ENTRY * 72
        sample(axes, below, look.colour, look.dash)
        label(axes, end, 1.0, f"{plain(one.policy)}  {_came_to(one)}", right=28, below=below)


def _came_to(one: Shown) -> str:
    """In a few letters."""
    tasks = len(one.run.tasks)
    return span(one.run.makespan) if one.measures.done == tasks else f"{one.measures.done:,} of {tasks:,} done"


def _least(axes: Axes, shown: Shown) -> None:
    """Where no scheduler can be done any sooner."""
    if not (least := shown.measures.bound_seconds):
        return
    vertical(axes, least, height=(0.0, 1.05))
    late = least > 0.6 * axes.get_xlim()[1]
    label(axes, least, 1.05, f"least possible {span(least)}", rise="bottom", align="right" if late else "left")
