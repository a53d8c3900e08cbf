"""Plays storms for `soak`, in several processes if asked, for as long as asked."""

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from ratelimit_router.simulation.audit import Breach
from ratelimit_router.simulation.scenario import Scenario
from ratelimit_router.simulation.soak import Policy, Verdict, judge, judge_again
from ratelimit_router.simulation.weather import random_scenario

__all__ = ["Outcome", "Storm", "hushed", "play_all", "storm_scenario", "storms"]

AGAIN = 10
"""Every so many seeds are played twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """One to be played: of a seed, or of a file."""

    seed: int
    policy: Policy
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one. `again`: whether it was played twice."""

    storm: Storm
    breaches: tuple[Breach, ...]
    tasks: int
    calls: int
    again: bool


def storms(seed: int, seeds: int | None, policies: tuple[Policy, ...], file: Path | None) -> Iterator[Storm]:
    """Every seed under every policy; without an end if `seeds` is None."""
    numbers = itertools.count(seed) if seeds is None else range(seed, seed + seeds)
    return (Storm(seed=number, policy=policy, file=file) for number in numbers for policy in policies)


def storm_scenario(storm: Storm) -> Scenario:
    """What is played. Raises ConfigError for a file that cannot be."""
    if storm.file is None:
        return random_scenario(storm.seed)
    from ratelimit_router.simulation.scenario_file import load_scenario

    return load_scenario(storm.file)


def hush() -> None:
    """What the router tells its operators about closed models is no news in a storm."""
    logging.getLogger("ratelimit_router").setLevel(logging.CRITICAL)


@contextmanager
def hushed() -> Iterator[None]:
    """The same until the block ends."""
    log = logging.getLogger("ratelimit_router")
    level = log.level
    hush()
    try:
        yield
    finally:
        log.setLevel(level)


def play_storm(storm: Storm) -> Outcome:
    """Play it here and now."""
    scenario = storm_scenario(storm)
    verdict: Verdict = judge(scenario, storm.policy)
    again = storm.file is not None or storm.seed % AGAIN == 0
    breaches = verdict.breaches or (judge_again(scenario, verdict) if again else ())
    return Outcome(storm=storm, breaches=breaches, tasks=verdict.tasks, calls=verdict.calls, again=again)


def play_all(asked: Iterator[Storm], jobs: int, until: float) -> Iterator[Outcome]:
    """Each storm's outcome, in the order asked, as long as it is earlier than `until` (time.monotonic)."""
    asked = itertools.takewhile(lambda _: time.monotonic() < until, asked)
    if jobs == 1:
        with hushed():
            yield from map(play_storm, asked)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=hush) as pool:
        yield from _in_order(asked, lambda storm: pool.submit(play_storm, storm), 4 * jobs)


def _in_order(asked: Iterator[Storm], submit: "Callable[[Storm], Future[Outcome]]", ahead: int) -> Iterator[Outcome]:
    """As many under way as `ahead`, and no more: there may be no end of them."""
    waiting: deque[Future[Outcome]] = deque(map(submit, itertools.islice(asked, ahead)))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(map(submit, itertools.islice(asked, 1)))
