"""`ratelimit-router storm`: how near to what is possible do policies come, and what do they break on the way?"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from ratelimit_router.cli.storm_files import extras_named, require, write_pictures, write_scenario, write_trace
from ratelimit_router.cli.storm_play import Played, Storm, play_all
from ratelimit_router.cli.storm_request import (
    SEEDS,
    requested_loads,
    requested_policies,
    requested_sources,
    requested_storms,
)
from ratelimit_router.cli.storm_table import show_list, show_summaries
from ratelimit_router.simulation.measures import Measures, summarize
from ratelimit_router.simulation.rivals.registry import POLICIES

__all__ = ["storm"]

_EPILOG = """\b
Examples:
  ratelimit-router storm                         every family, our policies, 5 seeds each
  ratelimit-router storm outage --seeds 50       one family, as the project reports it
  ratelimit-router storm plain --policy guided --policy tenacity
  ratelimit-router storm plain --policy all      ... or every policy there is: rivals take their time
  ratelimit-router storm plain --report storm.html   pictures of the first seed of each
  ratelimit-router storm plain --dump mine.toml  a scenario to start one's own from
  ratelimit-router storm mine.toml               ... and how it goes with one's own quotas
  ratelimit-router storm router.toml --load hot=200 --load bulk=1000:1500:300
  ratelimit-router storm plain --seed 7 --policy greedy --trace run.jsonl
\b
Columns: makespan over the least that any scheduler needs (geometric mean, and the worst seed); 429s per
task (mean, and the worst seed); seconds from arrival to the call that was answered; the share answered by
the first model of their chain; fairness (1 is first come, first served; 0.5 is chance); tokens spent on
calls that brought nothing; tasks that failed, and that were left undone.
\b
Families were tuned on seeds 0-49 and are reported on seeds 1000-1049.
Exit status: 1 if a policy of ours left a task failed or undone, 2 for a wrong call.
"""


@click.command(epilog=_EPILOG)
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--seed", type=click.IntRange(min=0), help="The first seed.  [default: 1000, or that of the file]")
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds, from the first on.  [default: 5]")
@click.option(
    "--policy", "policies", multiple=True, metavar="NAME", help="Compare this policy, or all.  [default: ours]"
)
@click.option(
    "--load", "loads", multiple=True, metavar="TIER=TASKS", help="So many calls at once, with any router.toml."
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, one a scenario, seed and policy.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write pictures as one HTML file.")
@click.option("--no-bound", is_flag=True, help="Do not compare with what is possible (that needs SciPy).")
@click.option("--frontier", is_flag=True, help="Also compare first choices with the most possible in the same time.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many processes.  [default: one a core]")
@click.option("--list", "as_list", is_flag=True, help="Show every family and policy, and stop.")
@click.option("--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write one run as lines of JSON.")
@click.option("--dump", type=click.Path(path_type=Path, dir_okay=False), help="Write the scenario as TOML, and stop.")
def storm(
    *,
    scenarios: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
    policies: tuple[str, ...],
    loads: tuple[str, ...],
    as_json: bool,
    report: Path | None,
    no_bound: bool,
    frontier: bool,
    jobs: int | None,
    as_list: bool,
    trace: Path | None,
    dump: Path | None,
) -> None:
    """Play storms in virtual time and measure how policies weather them.

    SCENARIO is the name of a family or of a packaged scenario (--list shows them; without any, all families are
    played), "weather" (random, and hostile), or a scenario file (.toml or .json). The router is the real one; the
    services, and the time, are simulated: hours take seconds, and the same seed gives the same figures everywhere.
    """
    if as_list:
        show_list()
        return
    sources = requested_sources(scenarios)
    with extras_named():
        if dump is not None:
            write_scenario(sources, seed, dump)
            return
        storms = requested_storms(
            sources,
            requested_policies(policies),
            first=seed,
            seeds=seeds or (1 if trace else SEEDS),
            loads=requested_loads(loads),
            keep=bool(report or trace),
            bound=not no_bound,
            frontier=frontier,
        )
        require(bound=not no_bound, report=report, trace=trace, storms=storms)
        played = _play(storms, jobs or os.cpu_count() or 1)
        write_trace(played, trace)
        write_pictures(played, report)
    _show([one for each in played for one in each.measures], storms, as_json)


def _show(measures: Sequence[Measures], storms: Sequence[Storm], as_json: bool) -> None:
    """The figures on stdout; exit status 1 if a policy of ours left something undone."""
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in measures], indent=2))
    else:
        alone = len({storm.source for storm in storms}) == 1
        show_summaries(summarize(measures), _title(storms), by_tier=alone)
    ours = [one for one in measures if POLICIES[one.policy].ours]
    if any(one.failed or one.unfinished for one in ours):
        click.get_current_context().exit(1)


def _title(storms: Sequence[Storm]) -> str:
    """Which seeds these are; of files with seeds of their own, the first file's."""
    seeds = [storm.seed for storm in storms if storm.source == storms[0].source]
    return f"Storms of seed {seeds[0]}" if len(seeds) == 1 else f"Storms of {len(seeds)} seeds from {seeds[0]} on"


def _play(storms: Sequence[Storm], jobs: int) -> list[Played]:
    """Play them all, with a progress bar where somebody sees it."""
    console = Console(stderr=True)
    outcomes = play_all(storms, jobs)
    bar = track(outcomes, "storms", len(storms), console=console, transient=True, disable=not console.is_terminal)
    return list(bar)
