"""Knows every bucket, and when a model is dark: the whole schedule is made before the first call. It learns nothing.

What is left between it and the bound: whole calls instead of a fluid, the network, the latency of the last answer.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.over_http.chat import Refused, ask, session
from benchmarks.over_http.harness import Call, Job, Model

GUARD = 0.1


class Plan:
    """When one model takes its next call. Instants are seconds from the start."""

    def __init__(self, model: Model, job: Job):
        self.model, self._job = model, job
        self._full_at = float("-inf")  # of a continuous bucket
        self._taken = 0

    def next(self, at: float) -> float:
        """The first instant from `at` on."""
        if self._job.window == "fixed":
            later = int(self._taken // self.model.rpm)  # windows that are full
            return max(at, self._job.extra["first_end"] + GUARD + 60.0 * (later - 1)) if later else at
        free = self._full_at - (self.model.burst - 1) * 60 / self.model.rpm
        at = max(at, free + GUARD if free > 0 else 0.0)
        dark = self._job.extra.get("dark")
        if dark and self.model.id == "large" and dark[0] - GUARD <= at < dark[1]:
            return float(dark[1] + GUARD)
        return at

    def overflows(self, at: float) -> float:
        """Seconds until the bucket runs over if it is left alone: what should be used first."""
        return max(self._full_at - at, 0.0)

    def take(self, at: float) -> None:
        """A call at that instant."""
        self._taken += 1
        self._full_at = max(self._full_at, at) + 60 / self.model.rpm


class Schedule:
    """For every call, when, and on which model."""

    def __init__(self, job: Job):
        self._plans = [Plan(model, job) for model in job.models]
        self.slots = sorted(self.slot(arrival) for arrival in job.arrivals)

    def slot(self, after: float) -> tuple[float, str]:
        """The first place from that instant on; of several models, the one whose quota would run over first."""
        free = [(plan.next(after), plan.overflows(after), -plan.model.rpm, plan.model.id) for plan in self._plans]
        at, _, _, model = min(free)
        next(plan for plan in self._plans if plan.model.id == model).take(at)
        return at, model


@asynccontextmanager
async def contestant(job: Job) -> AsyncIterator[Call]:
    """See `harness`."""
    schedule = Schedule(job)
    loop = asyncio.get_running_loop()
    begin: list[float] = []
    async with session(job.url) as http:

        async def call(number: int) -> None:
            if not begin:
                begin.append(loop.time() - job.arrivals[number])
            at, model = schedule.slots[number]
            while True:
                await asyncio.sleep(max(begin[0] + at - loop.time(), 0.0))
                try:
                    await ask(http, model, number)
                    return
                except Refused as error:  # at the end of the line again
                    at, model = schedule.slot(loop.time() - begin[0] + (error.retry_after or 1.0))

        yield call
