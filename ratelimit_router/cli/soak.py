"""`ratelimit-router soak`: random storms, an auditor who checks every decision of the router, and what failed."""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ratelimit_router.cli.soak_play import Outcome, Storm, hushed, play_all, storm_scenario, storms
from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.soak import POLICIES, Policy, judge, shrink_failure

__all__ = ["soak"]

SEEDS = 200

_EPILOG = """\b
Examples:
  ratelimit-router soak                          200 seeds, both policies
  ratelimit-router soak --minutes 10             as many as there is time for
  ratelimit-router soak --seed 41 --seeds 1 --policy greedy   one again
  ratelimit-router soak small.toml --policy greedy            one from a file, such as a failure prints
\b
Each storm is a random configuration with random services, faults, loads and a client that cancels,
reconfigures, sets clocks and asks in between. Every tenth seed is played twice and has to give the same
trace to the byte. Exit status: 1 if an invariant was broken, 2 for a wrong call.
"""


@click.command(epilog=_EPILOG)
@click.argument("scenario", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The first seed.")
@click.option("--seeds", type=click.IntRange(min=1), help=f"How many seeds, from the first on.  [default: {SEEDS}]")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Play until so many have gone by.")
@click.option("--policy", "policies", multiple=True, type=click.Choice(POLICIES), help="Only this one.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many processes.  [default: one a core]")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one object.")
def soak(
    *,
    scenario: Path | None,
    seed: int,
    seeds: int | None,
    minutes: float | None,
    policies: tuple[str, ...],
    jobs: int | None,
    as_json: bool,
) -> None:
    """Play random storms in virtual time, and check on every event that the router keeps its promises.

    The router is the real one. SCENARIO plays one storm from a file (.toml or .json) instead.
    """
    if seeds is not None and minutes is not None:
        raise ConfigError("say how many seeds, or how long, not both", key="--minutes")
    if scenario is not None:
        storm_scenario(Storm(seed=0, policy="greedy", file=scenario))  # what is wrong with it is said at once
    number = 1 if scenario else None if minutes else seeds or SEEDS
    wanted = cast(tuple[Policy, ...], tuple(dict.fromkeys(policies))) or POLICIES
    until = time.monotonic() + 60.0 * minutes if minutes else math.inf
    began = time.monotonic()
    asked = storms(seed, number, wanted, scenario)
    total = None if number is None else number * len(wanted)
    outcomes = list(_shown(play_all(asked, 1 if total == 1 else jobs or os.cpu_count() or 1, until), total))
    _report(outcomes, time.monotonic() - began, as_json)


def _shown(outcomes: Iterator[Outcome], total: int | None) -> Iterator[Outcome]:
    """With a bar where somebody sees it."""
    console = Console(stderr=True)
    columns = (
        TextColumn("storms"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[bad]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task, bad = progress.add_task("storms", total=total, bad=""), 0
        for outcome in outcomes:
            bad += bool(outcome.breaches)
            progress.update(task, advance=1, bad=f"{bad} failed" if bad else "")
            yield outcome


def _report(outcomes: Sequence[Outcome], seconds: float, as_json: bool) -> None:
    failed = [outcome for outcome in outcomes if outcome.breaches]
    summary: dict[str, Any] = {
        "storms": len(outcomes),
        "played_twice": sum(outcome.again for outcome in outcomes),
        "tasks": sum(outcome.tasks for outcome in outcomes),
        "calls": sum(outcome.calls for outcome in outcomes),
        "seconds": round(seconds, 1),
        "failed": len(failed),
    }
    if as_json:
        click.echo(json.dumps(summary | {"failures": [_as_dict(outcome) for outcome in failed]}, indent=2))
    else:
        for outcome in failed:
            _show(outcome)
        if failed:
            _show_smaller(failed[0])
        click.echo(
            f"{summary['storms']:,} storms ({summary['played_twice']:,} of them played twice), "
            f"{summary['tasks']:,} tasks, {summary['calls']:,} calls in {seconds:.1f} s: "
            + (f"{len(failed)} failed" if failed else "every invariant held")
        )
    if failed:
        click.get_current_context().exit(1)


def _command(storm: Storm) -> str:
    which = f"--seed {storm.seed} --seeds 1" if storm.file is None else str(storm.file)
    return f"ratelimit-router soak {which} --policy {storm.policy}"


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    found = [{"invariant": one.invariant.value, "at": one.at, "what": one.what} for one in outcome.breaches]
    storm = outcome.storm
    return {"seed": storm.seed, "policy": storm.policy, "command": _command(storm), "breaches": found}


def _show(outcome: Outcome) -> None:
    click.echo(f"Seed {outcome.storm.seed}, {outcome.storm.policy}:")
    for breach in dict.fromkeys(map(str, outcome.breaches)):
        click.echo(f"  {breach}")
    click.echo(f"  again: {_command(outcome.storm)}\n")


def _show_smaller(outcome: Outcome) -> None:
    """The first failure, as small as it gets, as a file that plays it."""
    from ratelimit_router.simulation.scenario_file import dump_scenario  # needs tomli-w

    scenario = storm_scenario(outcome.storm)
    with hushed():
        verdict = judge(scenario, outcome.storm.policy)
        smaller = shrink_failure(scenario, verdict) if verdict.breaches else None
    if smaller is not None:
        click.echo(f"# Seed {smaller.seed}, {verdict.policy}, as small as it gets (ratelimit-router soak FILE):")
        click.echo(dump_scenario(smaller))
