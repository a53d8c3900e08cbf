"""One contestant in a process of its own: `python -m benchmarks.over_http.harness NAME`, with a job as JSON on stdin.

It says `ready` when everything is imported and built, waits for a line, runs the calls, and prints what became of them
as one JSON object. CPU and time count from that line on; the import counts by itself.
"""

import asyncio
import gc
import importlib
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

__all__ = ["Call", "Job", "Model", "prompt"]

Call = Callable[[int], Awaitable[None]]
"""Makes the nth call, however often it takes; raises if it gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a contestant believes of a model: requests a minute, and how many at once."""

    id: str
    rpm: float
    burst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a contestant is told. `arrivals`: seconds from the start; `cap`: seconds after which it has failed."""

    url: str
    models: tuple[Model, ...]
    window: str
    arrivals: tuple[float, ...]
    cap: float
    variant: str = ""
    extra: dict[str, Any]

    @classmethod
    def read(cls, text: str) -> "Job":
        """From JSON."""
        data = json.loads(text)
        models = tuple(Model(**model) for model in data.pop("models"))
        return cls(models=models, arrivals=tuple(data.pop("arrivals")), **data)


def prompt(number: int) -> list[dict[str, str]]:
    """The messages of the nth call."""
    return [{"role": "user", "content": f"Tell me in one sentence what is special about the number {number}."}]


async def attempt(
    opened: AbstractAsyncContextManager[Call], job: Job
) -> tuple[list[float], Counter[str], float, float]:
    """Finishing times of the calls that were done, errors of the others, makespan and CPU seconds."""
    finished: list[float] = []
    errors: Counter[str] = Counter()

    async with opened as call:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        gc.collect()
        begin, cpu = time.perf_counter(), time.process_time()

        async def one(number: int, at: float) -> None:
            if (wait := begin + at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            try:
                await call(number)
            except Exception as error:  # noqa: BLE001 -- whatever a contestant gives up with is counted
                errors[type(error).__name__] += 1
            else:
                finished.append(time.perf_counter() - begin)

        tasks = [asyncio.create_task(one(number, at)) for number, at in enumerate(job.arrivals)]
        _, late = await asyncio.wait(tasks, timeout=job.cap)
        cpu, whole = time.process_time() - cpu, time.perf_counter() - begin
        for task in late:
            task.cancel()
        errors["capped"] += len(late)
        await asyncio.gather(*late, return_exceptions=True)
    return finished, +errors, whole, cpu


def main(module: str) -> None:
    """Run the contestant in that module."""
    job = Job.read(sys.stdin.readline())
    began = time.perf_counter()
    contestant = importlib.import_module(f"benchmarks.over_http.contestants.{module}")
    imported = time.perf_counter() - began
    finished, errors, whole, cpu = asyncio.run(attempt(contestant.contestant(job), job))
    result = {
        "done": len(finished),
        "failed": len(job.arrivals) - len(finished),
        "errors": dict(errors),
        "makespan": round(max(finished, default=whole), 3),
        "cpu": round(cpu, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "import_seconds": round(imported, 3),
        "finished": [round(at, 2) for at in sorted(finished)],
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
