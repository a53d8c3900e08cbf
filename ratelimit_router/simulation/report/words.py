"""Figures in words: times, shares, and what a run came to in one line."""

from collections.abc import Sequence
from statistics import geometric_mean

from ratelimit_router.outcomes import Kind
from ratelimit_router.simulation.measures import Measures, Summary
from ratelimit_router.simulation.run import Run

__all__ = [
    "clock",
    "count",
    "figure",
    "headline",
    "mean_ratio",
    "over",
    "overall",
    "percent",
    "plain",
    "refused",
    "span",
]

LONGEST = 36
"""Characters of a name in a picture."""


def clock(seconds: float) -> str:
    """Minutes and seconds, `14:03`; from an hour on `1:14:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span(seconds: float) -> str:
    """How long: `0.4 s` below a minute, then as a clock says it."""
    if not seconds:
        return "0 s"
    return f"{seconds:.1f} s" if seconds < 59.95 else clock(seconds)


def percent(share: float) -> str:
    """`98%`; where that would hide what is missing or there, one digit more."""
    digits = 0 if 0.1 <= share <= 0.9 or share in (0, 1) else 1
    return f"{100 * share:.{digits}f}%"


def figure(number: float) -> str:
    """Three digits at least, without an exponent."""
    if number and abs(number) < 0.001:
        return "< 0.001"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}" if abs(number) >= 1 else f"{round(number, 3):g}"


def count(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def over(ratio: float) -> str:
    """How far from the least possible: `1.8% over`, from twice as long on `2.9 times`. Under it shows a wrong bound."""
    if ratio >= 2:
        return f"{ratio:.1f} times the least possible"
    if abs(ratio - 1) < 0.0005:
        return "the least possible"
    return f"{100 * abs(ratio - 1):.1f}% {'over' if ratio > 1 else 'under'} the least possible"


def refused(run: Run) -> int:
    """Calls that a quota refused."""
    return sum(call.result == Kind.RATE_LIMITED for call in run.calls)


def headline(run: Run, measures: Measures) -> str:
    """What one run came to."""
    refusals = count(refused(run), "refusal")
    tasks = len(run.tasks)
    if measures.done < tasks:
        return f"{measures.done:,} of {count(tasks, 'task')} done in {span(run.makespan)}; {refusals}"
    ratio = "" if measures.ratio is None else f", {over(measures.ratio)}"
    return f"{count(tasks, 'task')} in {span(run.makespan)}{ratio}; {refusals}"


def overall(own: Sequence[Summary]) -> str:
    """What one policy came to over all families."""
    runs, unserved = sum(one.runs for one in own), sum(one.failed + one.unfinished for one in own)
    rejections = sum(one.rejections_per_task * one.runs for one in own) / runs
    ratio = mean_ratio(own)
    where = plain(own[0].family) if len(own) == 1 else f"{len(own)} families"
    parts = [
        f"{plain(own[0].policy)}: {'' if ratio is None else over(ratio) + ' '}in {count(runs, 'run')} of {where}",
        f"{figure(rejections)} refusals per task",
    ]
    if unserved:
        parts.append(f"{count(unserved, 'task')} without an answer")
    return "; ".join(parts)


def mean_ratio(own: Sequence[Summary]) -> float | None:
    found = [one.ratio for one in own if one.ratio is not None]
    return geometric_mean(found) if found else None


def plain(name: str) -> str:
    """A user's name for a line of a picture: one line, not too long."""
    line = " ".join("".join(each if each.isprintable() else " " for each in name).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
