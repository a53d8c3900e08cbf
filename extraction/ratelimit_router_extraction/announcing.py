"""All that is to be done, announced to the router, so that a plan can share out the models instead of greed.

Without the extra `[plan]` there is no plan, and everything works as greedily as for a single call. Nor is there one
where `max_wait` is set: a plan may keep an article waiting for its first choice, and knows no deadlines.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from statistics import fmean

from ratelimit_router.errors import ConfigError
from ratelimit_router.messages import Usage
from ratelimit_router.planner import require_solver
from ratelimit_router.router import Router
from ratelimit_router_extraction.plan import Job
from ratelimit_router_extraction.settings import Settings

__all__ = ["announced", "slack_of"]

SAMPLE = 200
"""Articles of a tier whose mean stands for all of them: to estimate every one takes some 40 ms a megabyte."""


def slack_of(settings: Settings) -> float | None:
    """The slack of the plan that a run goes by; None: it has none. Imports SciPy, which takes half a second."""
    if settings.max_wait is not None:
        return None
    try:
        require_solver()
    except ConfigError:
        return None
    return settings.slack or 0.0


def announced(
    router: Router,
    jobs: Sequence[Job],
    estimate: Callable[[Job], Usage],
    slack: float | None,
    urgent: Collection[str] = (),
) -> contextlib.AbstractContextManager[object]:
    """While the block runs, a plan for all of the jobs steers their tiers; no slack at all (None): nothing does."""
    if slack is None:
        return contextlib.nullcontext()
    lanes: dict[str, list[Job]] = {}
    for job in jobs:
        lanes.setdefault(job.tier, []).append(job)
    tokens = {tier: _mean([estimate(job) for job in _some(lane)]) for tier, lane in lanes.items()}
    calls = {tier: len(lane) for tier, lane in lanes.items()}
    return router.batch(calls, tokens=tokens, slack=slack, urgent=[tier for tier in urgent if tier in calls])


def _some(lane: Sequence[Job]) -> Sequence[Job]:
    return lane[:: -(-len(lane) // SAMPLE)]


def _mean(usages: Sequence[Usage]) -> Usage:
    return Usage(
        input_tokens=round(fmean(one.input_tokens for one in usages)),
        output_tokens=round(fmean(one.output_tokens for one in usages)),
    )
