"""The run: batches in, one result an article out, in the order of completion.

Launches are spaced by aiolimiter; then every article waits in the router's line, not in ours, so nothing waits for a
barrier unless a pause between batches is asked for. A bounded number of articles is at work at a time.

Under a plan those that wait for quota do not count: a plan keeps some of them waiting for their first choice, and if
they took up the room, tiers whose models are free could not come forward.
"""

import asyncio
from collections.abc import Callable, Iterable

from aiolimiter import AsyncLimiter

from ratelimit_router_extraction.calls import Caller
from ratelimit_router_extraction.plan import Job
from ratelimit_router_extraction.records import Result
from ratelimit_router_extraction.settings import Settings

__all__ = ["GRACE", "Run"]

GRACE = 5.0
"""Seconds that calls in flight get to end after a stop."""


class Run:
    """One run. `finished` gets every result as it comes; what it raises (a full disk) ends the run. `planned`: whether
    a plan steers its tiers.
    """

    def __init__(
        self, caller: Caller, settings: Settings, finished: Callable[[Result], None], *, planned: bool = False
    ):
        self._caller, self._settings, self._finished, self._planned = caller, settings, finished, planned
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._pacer = AsyncLimiter(1, settings.stagger) if settings.stagger > 0 else None
        self._launcher: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._end: asyncio.TimerHandle | None = None

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._end is not None

    async def extract(self, batches: Iterable[list[Job]]) -> None:
        """Work through the batches until all are done, or until a stop has taken effect."""
        try:
            async with asyncio.TaskGroup() as group:
                self._launcher = group.create_task(self._launch(batches, group))
        except* OSError as errors:
            raise errors.exceptions[0] from None
        finally:
            if self._end is not None:
                self._end.cancel()

    def stop(self) -> None:
        """Launch nothing more, give up what waits for quota, and let calls in flight end; the second time, at once."""
        if self.stopping:
            self._abort()
            return
        self._end = asyncio.get_running_loop().call_later(GRACE, self._abort)
        if self._launcher is not None:
            self._launcher.cancel()
        for task in self._working - self._caller.calling:
            task.cancel()

    def _abort(self) -> None:
        for task in self._working:
            task.cancel()

    async def _launch(self, batches: Iterable[list[Job]], group: asyncio.TaskGroup) -> None:
        for batch in batches:
            launched = [await self._launch_one(job, group) for job in batch]
            if self._settings.batch_pause > 0:
                await asyncio.wait(launched)
                await asyncio.sleep(self._settings.batch_pause)

    async def _launch_one(self, job: Job, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        if self._planned:
            await asyncio.sleep(0)  # whoever was launched last is in its call now, or in line
            await self._caller.until_fewer(self._settings.concurrency)
        else:
            await self._slots.acquire()
        if self._pacer is not None:
            await self._pacer.acquire()
        task = group.create_task(self._work(job))
        self._working.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        if not self._planned:
            self._slots.release()

    async def _work(self, job: Job) -> None:
        self._finished(await self._caller.work(job))
