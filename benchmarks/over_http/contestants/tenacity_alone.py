"""tenacity as people use it: every call for itself, models in turn, exponential backoff with full jitter, no limit."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tenacity import retry, retry_if_exception_type, wait_random_exponential

from benchmarks.over_http.chat import Refused, ask, session
from benchmarks.over_http.harness import Call, Job


@asynccontextmanager
async def contestant(job: Job) -> AsyncIterator[Call]:
    """See `harness`."""
    models = itertools.cycle(model.id for model in job.models)
    async with session(job.url) as http:

        @retry(retry=retry_if_exception_type(Refused), wait=wait_random_exponential(multiplier=0.5, max=10))
        async def call(number: int) -> None:
            await ask(http, next(models), number)

        yield call
