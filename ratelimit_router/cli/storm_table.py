"""What `storm` prints for people: the figures of every family and policy, and what families and policies there are."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ratelimit_router.simulation.families import FAMILIES
from ratelimit_router.simulation.measures import Summary
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.simulation.scenario_file import PACKAGED, load_scenario

__all__ = ["show_list", "show_summaries"]

_PLAIN_WIDTH = 160  # columns where no terminal says how many there are
_NONE = "-"


def show_summaries(summaries: Sequence[Summary], title: str, *, by_tier: bool) -> None:
    """The table under its title; `by_tier`: also the waits of each tier."""
    console = _console()
    console.print(_figures(summaries, title))
    if by_tier:
        console.print(_waits(summaries))


def show_list() -> None:
    """Every family, packaged scenario and policy, with what it is about."""
    console = _console()
    console.print(_listed("Families", ((one.name, one.about) for one in FAMILIES.values())))
    console.print(_listed("Scenarios", ((name, load_scenario(path).about) for name, path in PACKAGED.items())))
    console.print(_listed("Policies", ((one.name, one.about) for one in POLICIES.values())))


def _figures(summaries: Sequence[Summary], title: str) -> Table:
    frontier = any(one.frontier_share is not None for one in summaries)
    headings = ["makespan / bound", "worst", "429s / task", "most", "wait p50", "wait p99", "first choice"]
    headings += ["of frontier"] * frontier + ["fairness", "wasted tokens", "failed", "undone"]
    table = _table(title, ("family", "policy"), headings)
    for one in summaries:
        cells = [_ratio(one.ratio), _ratio(one.worst_ratio)]
        cells += [_rate(one.rejections_per_task), _rate(one.most_rejections_per_task)]
        cells += [_seconds(one.wait_p50_seconds), _seconds(one.wait_p99_seconds), _share(one.first_choice_share)]
        cells += [_share(one.frontier_share)] * frontier
        cells += [f"{one.fairness:.3f}", f"{one.wasted_tokens:,.0f}", str(one.failed), str(one.unfinished)]
        _add(table, one.family, one.policy, *cells)
    return table


def _waits(summaries: Sequence[Summary]) -> Table:
    table = _table("Waits by tier", ("family", "policy", "tier"), ("tasks", "wait p50", "wait p99"))
    for one in summaries:
        for wait in one.waits:
            waits = _seconds(wait.p50_seconds), _seconds(wait.p99_seconds)
            _add(table, one.family, one.policy, wait.tier, f"{wait.tasks:,}", *waits)
    return table


def _listed(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    table = _table(title, ("name", "about"), ())
    for row in rows:
        _add(table, *row)
    return table


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def _table(title: str, names: Sequence[str], figures: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name != "about")
    for heading in figures:
        table.add_column(heading, justify="right")
    return table


def _add(table: Table, *cells: str) -> None:
    """A row of plain text: names are the user's and no markup."""
    table.add_row(*(Text(cell) for cell in cells))


def _ratio(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _rate(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:,.1f}"


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0%}"
