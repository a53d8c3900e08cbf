"""aiolimiter for each model, of the size of its bucket, calls dealt out by weight; tenacity repeats what is refused.

A retry goes on with the next model of the rotation, after the wait that the service asks for, else after a backoff.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter
from tenacity import RetryCallState, retry, retry_if_exception_type, wait_random_exponential

from benchmarks.over_http.chat import Refused, ask, session
from benchmarks.over_http.contestants.rotation import weighted
from benchmarks.over_http.harness import Call, Job, Model

backoff = wait_random_exponential(multiplier=0.5, max=8)


def limiter(model: Model, window: str) -> AsyncLimiter:
    """Of the size of the bucket; by the minute where the service counts so."""
    if window == "fixed":
        return AsyncLimiter(model.rpm, 60)
    return AsyncLimiter(model.burst, model.burst * 60 / model.rpm)


def wait(state: RetryCallState) -> float:
    """The service's hint, else exponential backoff with full jitter."""
    error = state.outcome.exception() if state.outcome else None
    hint = error.retry_after if isinstance(error, Refused) else None
    return backoff(state) if hint is None else hint


@asynccontextmanager
async def contestant(job: Job) -> AsyncIterator[Call]:
    """See `harness`."""
    limiters = {model.id: limiter(model, job.window) for model in job.models}
    rotation = weighted(job.models)
    async with session(job.url) as http:

        @retry(retry=retry_if_exception_type(Refused), wait=wait)
        async def call(number: int) -> None:
            model = next(rotation)
            async with limiters[model.id]:
                pass
            await ask(http, model.id, number)

        yield call
