"""Plays storms, in several processes if asked, and hands back the figures in the order in which they were asked for."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from ratelimit_router.simulation.families import family
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.measures import Measures, measure
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.simulation.run import Run
from ratelimit_router.simulation.scenario import Load, Scenario
from ratelimit_router.simulation.scenario_file import load_scenario
from ratelimit_router.simulation.weather import random_scenario

__all__ = ["WEATHER", "Played", "Storm", "play_all", "play_storm", "storm_scenario"]

WEATHER = "weather"
"""The source of scenarios in which anything goes."""

_SILENCE = logging.NullHandler()  # what the router warns of has happened to nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """One storm to be played under each of `policies`. `source`: a family's name, or a file.

    `loads`: in place of the file's own, if there are any. `bound`, `frontier`: find the least makespan, the most first
    choices. `keep`: hand the runs back, too.
    """

    source: str | Path
    seed: int
    policies: tuple[str, ...]
    loads: tuple[Load, ...] = ()
    bound: bool = True
    frontier: bool = False
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of one storm, by policy in the order that was asked for.

    `runs` only if they are wanted. `binding`: what the least makespan is due to, in words.
    """

    measures: tuple[Measures, ...]
    runs: tuple[Run, ...] = ()
    binding: str = ""


def storm_scenario(source: str | Path, seed: int | None, loads: Sequence[Load] = ()) -> Scenario:
    """A family's scenario, or a file's with that seed (None: its own). Raises ConfigError."""
    if isinstance(source, str):
        return random_scenario(seed or 0) if source == WEATHER else family(source, seed or 0)
    scenario = load_scenario(source, loads=loads or None)
    return scenario if seed is None else replace(scenario, seed=seed)


def play_storm(storm: Storm) -> Played:
    """Play it here and now. Raises ImportError where an extra is missing; it names the extra."""
    logging.getLogger("ratelimit_router").addHandler(_SILENCE)
    scenario = storm_scenario(storm.source, storm.seed, storm.loads)
    try:
        runs = [play(scenario, POLICIES[name].policy, name, watch=storm.keep) for name in storm.policies]
        played = _measured(scenario, runs, storm)
    except Exception as error:
        error.add_note(f"while playing {storm.source}, seed {storm.seed}, under {', '.join(storm.policies)}")
        raise
    return replace(played, runs=tuple(runs) if storm.keep else ())


def play_all(storms: Sequence[Storm], processes: int) -> Iterator[Played]:
    """Each storm's outcome, in the order of `storms`, however many processes play them."""
    if min(processes, len(storms)) <= 1:
        yield from map(play_storm, storms)
        return
    with ProcessPoolExecutor(min(processes, len(storms)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(play_storm, storms)


def _measured(scenario: Scenario, runs: Sequence[Run], storm: Storm) -> Played:
    if not storm.bound:
        return Played(measures=tuple(map(measure, runs)))
    from ratelimit_router.simulation.bound import fluid_bound, frontier  # needs SciPy

    tasks = scenario.tasks()
    bound = fluid_bound(scenario, tasks)
    most = [frontier(scenario, run.makespan, tasks) if storm.frontier else None for run in runs]
    measures = tuple(measure(run, bound, share) for run, share in zip(runs, most, strict=True))
    return Played(measures=measures, binding=bound.binding[0] if bound.binding else "")
