"""ratelimit-router: four equal models, their limits, and a small guard; every call in a loop of `attempts`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.over_http.chat import Refused, ask, session
from benchmarks.over_http.harness import Call, Job, Model
from ratelimit_router import Limit, Limits, Overloaded, RateLimited, Router, Tier
from ratelimit_router import Model as Routed

GUARD = 0.1
"""Seconds. 400 tasks that start at once send their first calls some 40 ms late: the next must not overtake them."""


def limits(model: Model, window: str) -> Limits:
    """As the service documents them."""
    if window == "fixed":
        return Limits(rpm=Limit(model.rpm, refill="calendar"))
    return Limits(rpm=Limit(model.rpm, burst=model.burst))


@asynccontextmanager
async def contestant(job: Job) -> AsyncIterator[Call]:
    """See `harness`."""
    models = [Routed(model.id, limits=limits(model, job.window)) for model in job.models]
    tiers = [Tier("all", [[model.name for model in models]])]
    async with Router(models=models, tiers=tiers, guard=GUARD) as router, session(job.url) as http:

        async def call(number: int) -> None:
            async for attempt in router.attempts("all"):
                async with attempt as lease:
                    try:
                        await ask(http, lease.model.id, number)
                    except Refused as error:
                        if error.status == 429:
                            raise RateLimited(error.retry_after) from error
                        raise Overloaded(error.retry_after) from error

        yield call
