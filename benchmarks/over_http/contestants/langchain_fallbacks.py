"""LangChain: each model behind its InMemoryRateLimiter, falling back on the others, the whole repeated `with_retry`.

A limiter makes its caller wait, so nobody falls back for want of quota: calls are dealt out by weight to begin with.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_openai import ChatOpenAI

from benchmarks.over_http.contestants.rotation import weighted
from benchmarks.over_http.harness import Call, Job, Model, prompt

RETRIED = (openai.RateLimitError, openai.InternalServerError)


def chat(model: Model, job: Job) -> ChatOpenAI:
    """One model with its limiter."""
    bucket = model.rpm if job.window == "fixed" else model.burst
    limiter = InMemoryRateLimiter(
        requests_per_second=model.rpm / 60, max_bucket_size=bucket, check_every_n_seconds=0.05
    )
    return ChatOpenAI(model=model.id, base_url=f"{job.url}/v1", api_key="any", max_retries=0, rate_limiter=limiter)


@asynccontextmanager
async def contestant(job: Job) -> AsyncIterator[Call]:
    """See `harness`."""
    chats = {model.id: chat(model, job) for model in job.models}
    chains = {
        name: first.with_fallbacks(
            [other for other in chats.values() if other is not first], exceptions_to_handle=RETRIED
        ).with_retry(retry_if_exception_type=RETRIED, wait_exponential_jitter=True, stop_after_attempt=1_000)
        for name, first in chats.items()
    }
    rotation = weighted(job.models)

    async def call(number: int) -> None:
        await chains[next(rotation).id].ainvoke([(one["role"], one["content"]) for one in prompt(number)])

    yield call
