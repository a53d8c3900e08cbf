"""LiteLLM's Router over four deployments of one model group, in several configurations.

`default`     as it comes: rpm given (by which simple shuffle, the strategy that its documentation recommends, weighs
              the deployments), two retries.
`cooldowns`   the same, but a refused deployment cools as long as Retry-After says, and a retry policy repeats without
              end (`num_retries` alone gives up as soon as every deployment cools).
`polling`     the same without cooldowns: it asks again and again until somebody says yes.
`usage`       usage-based-routing-v2: counts requests by the minute against rpm, and refuses by itself.
`chain`       four groups of one deployment, largest first, that fall back on each other.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched from the network

import litellm
from litellm import Router
from litellm.types.router import RetryPolicy, RouterRateLimitError

from benchmarks.over_http.harness import Call, Job, prompt

ENDLESS = 100_000
GIVES_UP = (litellm.RateLimitError, litellm.ServiceUnavailableError, RouterRateLimitError)
"""How it gives up although told to repeat: a chain was walked to its end; all cool, which its retries do not wait out.
Except in the variant `default` its user asks again, after the cooldown that the error tells, if it tells one."""
REPEATED = RetryPolicy(RateLimitErrorRetries=ENDLESS, InternalServerErrorRetries=ENDLESS)
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "cooldowns": {"num_retries": ENDLESS, "retry_policy": REPEATED, "cooldown_time": 1},
    "polling": {"num_retries": ENDLESS, "disable_cooldowns": True},
    "usage": {
        "num_retries": ENDLESS,
        "retry_policy": REPEATED,
        "cooldown_time": 1,
        "routing_strategy": "usage-based-routing-v2",
    },
    "chain": {"num_retries": 0, "max_fallbacks": ENDLESS, "cooldown_time": 1},
}


def router(job: Job) -> Router:
    """As the variant says."""
    options = dict(OPTIONS[job.variant])
    chain = [model.id for model in sorted(job.models, key=lambda one: -one.rpm)]
    grouped = job.variant != "chain"
    if not grouped:
        options["fallbacks"] = [{name: [other for other in chain if other != name]} for name in chain]
    deployments = [
        {
            "model_name": "all" if grouped else model.id,
            "litellm_params": {
                "model": f"openai/{model.id}",
                "api_base": f"{job.url}/v1",
                "api_key": "any",
                "rpm": int(model.rpm),
                "max_retries": 0,
            },
        }
        for model in job.models
    ]
    return Router(model_list=deployments, **options)


@asynccontextmanager
async def contestant(job: Job) -> AsyncIterator[Call]:
    """See `harness`."""
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    routing = router(job)
    largest = max(job.models, key=lambda model: model.rpm).id
    first = largest if job.variant == "chain" else "all"

    async def call(number: int) -> None:
        while True:
            try:
                await routing.acompletion(model=first, messages=prompt(number))
                return
            except GIVES_UP as error:
                if job.variant == "default":
                    raise
                await asyncio.sleep(getattr(error, "cooldown_time", 0.0))

    yield call
