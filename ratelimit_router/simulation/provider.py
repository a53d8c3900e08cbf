"""The services of a scenario as a provider: any application that calls through a router's providers runs in the lab.

    provider = SimulatedProvider(scenario, answer=lambda request: "...")
    async with provider.router() as router: ...          # within `virtual_time.run`

Limits, faults and latencies are the scenario's own, its loads are not played: what there is to do is the application's
affair. A request is known by its text: asked again it is the same task, which takes the same time at a service, whoever
asks and however often.

What it cannot show: estimates that are wrong about the input (text is counted as it is estimated); and `depth`, for a
service knows no tiers: it is 0 in every record.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from random import Random
from typing import Any

from ratelimit_router.errors import ConfigError, ProviderTimeout
from ratelimit_router.estimate import estimate_tokens
from ratelimit_router.messages import Chunk, Reply, Request, Usage
from ratelimit_router.models import Model, Tier
from ratelimit_router.outcomes import Outcome, outcome_of
from ratelimit_router.router import Router
from ratelimit_router.simulation.run import Run, TaskRecord
from ratelimit_router.simulation.scenario import Load, Scenario, Task
from ratelimit_router.simulation.services import Services

__all__ = ["SimulatedProvider"]

NAME = "simulated"
"""The provider of models that name none."""
ANY = "any"
"""The tier of every request in the records."""


class SimulatedProvider:
    """All services of one scenario, by the names of its models. Made in the event loop in which it is used.

    `answer`: what a request is answered, whichever model was asked; it is asked once a call. `requests`: how many
    different ones there are at most. `run`: the record of all calls, and of each request as a task, which arrives with
    its first call and ends with its last.
    """

    def __init__(
        self, scenario: Scenario, *, answer: Callable[[Request], str] = lambda request: "{}", requests: int = 10_000
    ):
        self.scenario, self._answer, self._most = scenario, answer, requests
        self.run = Run(scenario=scenario, policy="", tasks=[])
        self._numbers: dict[tuple[str, str], int] = {}
        self._load = Load(tier=ANY, tasks=requests)
        blind = replace(scenario, tiers=(Tier(ANY, [[model.name for model in scenario.models]]),), loads=(self._load,))
        self._services = Services(blind, [self._task(0, 0, 0)] * requests, self.run)

    def router(self, **options: Any) -> Router:
        """The real router, told what the scenario tells it, with this behind every model. `options`: as for Router."""
        loop, told = asyncio.get_running_loop(), self.scenario
        models = [replace(one, provider=one.provider or NAME) for one in options.pop("models", told.models)]
        usual: dict[str, Any] = {
            "models": models,
            "tiers": told.tiers,
            "pools": told.pools,
            "fallback": told.fallback,
            "providers": {str(model.provider): self for model in models},
            "clock": loop.time,
            "wall_clock": lambda: told.start + loop.time(),
            "rng": Random(f"{told.seed}/router"),
            "slow_start": told.slow_start,
            "guard": told.guard,
        }
        return Router(**(usual | options))

    async def generate(self, model: Model, request: Request) -> Reply:
        """See `Provider`. `usage` is what was charged: the tokens of the request's text and of the answer's."""
        text = self._answer(request)
        used = Usage(self.estimate(request).input_tokens, estimate_tokens(text))
        task = self._task(self._number(request), used.input_tokens, used.output_tokens)
        record = self.run.tasks[task.number]
        try:
            await self._call(model, task, request.timeout)
            record.error = None
        except BaseException as error:
            record.error = type(error).__name__
            raise
        finally:
            record.ended = asyncio.get_running_loop().time()
        return Reply(text=text, model=model, usage=used, finish_reason="stop")

    async def _call(self, model: Model, task: Task, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._services.call(model.name, task)
        except ProviderTimeout:
            raise
        except TimeoutError as error:
            raise ProviderTimeout from error

    async def stream(self, model: Model, request: Request) -> AsyncIterator[Chunk]:
        """See `Provider`. The answer comes in one piece."""
        reply = await self.generate(model, request)
        yield Chunk(text=reply.text, usage=reply.usage, finish_reason=reply.finish_reason)

    def classify(self, error: BaseException) -> Outcome:
        """See `Provider`. Services raise errors of ours only."""
        return outcome_of(error)

    def estimate(self, request: Request) -> Usage:
        """See `Provider`. Right about the input; of the output it knows the request's cap, else nothing."""
        texts = (request.system or "", request.prompt)
        return Usage(sum(map(estimate_tokens, texts)), request.max_output_tokens or 0)

    def _number(self, request: Request) -> int:
        """Its number; a new one if it was never here before."""
        number = self._numbers.setdefault((request.system or "", request.prompt), len(self._numbers))
        if number >= self._most:
            raise ConfigError(f"there are more than {self._most} different ones", key="requests")
        if number == len(self.run.tasks):
            self.run.tasks.append(TaskRecord(number=number, tier=ANY, arrived=asyncio.get_running_loop().time()))
        return number

    def _task(self, number: int, input_tokens: int, output_tokens: int) -> Task:
        return Task(
            number=number,
            load=self._load,
            arrives=0.0,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            estimated_input=input_tokens,
            estimated_output=output_tokens,
        )
