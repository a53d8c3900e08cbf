"""The HTTP client alone, against a service without quotas: what the calls themselves cost."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.over_http.chat import ask, session
from benchmarks.over_http.harness import Call, Job


@asynccontextmanager
async def contestant(job: Job) -> AsyncIterator[Call]:
    """See `harness`."""
    models = itertools.cycle(model.id for model in job.models)
    async with session(job.url) as http:

        async def call(number: int) -> None:
            await ask(http, next(models), number)

        yield call
