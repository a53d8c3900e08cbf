"""One article through the router: quota first, then the call, then the answer checked; asked twice at most.

The time limit counts what the calls take, never the wait for quota. Every call is told to a listener, with how it
ended, so that the progress display and the summary need nothing else.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ratelimit_router.errors import BadResponse, ProviderTimeout, RouterError
from ratelimit_router.lease import Lease
from ratelimit_router.messages import Reply, Request, Usage
from ratelimit_router.outcomes import Kind, outcome_of
from ratelimit_router.provider import Provider
from ratelimit_router.router import Router
from ratelimit_router_extraction.entities import Extraction, InvalidAnswerError, extract
from ratelimit_router_extraction.plan import Job
from ratelimit_router_extraction.prompt import request_for
from ratelimit_router_extraction.records import Failure, Result
from ratelimit_router_extraction.settings import Settings

__all__ = ["Call", "Caller", "Listener"]

ASKS = 2
"""How often an article is asked for at most: once more after an answer that is not the JSON asked for."""

_NO_TIME = 0.01  # of the limit: with less than this left, another call is not begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that ended. `kind`: how it failed, None if it did not. Seconds `waited` for quota and `took`."""

    tier: str
    model: str
    depth: int
    waited: float
    took: float
    kind: Kind | None = None
    input_tokens: int = 0
    output_tokens: int = 0


Listener = Callable[[Call], None]


@dataclass(slots=True)
class _Trace:
    """What one article has cost so far."""

    attempts: int = 0
    waited: float = 0.0
    called: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    model: str | None = None
    depth: int | None = None
    kind: Kind | None = None

    def add(self, call: Call) -> None:
        self.attempts += 1
        self.waited += call.waited
        self.called += call.took
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens
        self.model, self.depth, self.kind = call.model, call.depth, call.kind


class Caller:
    """Makes the calls of a run. `providers` are those that the router knows, by name."""

    def __init__(self, router: Router, providers: Mapping[str, Provider], settings: Settings, listener: Listener):
        self._router, self._providers, self._settings, self._listener = router, providers, settings, listener
        self._calling: set[asyncio.Task[object]] = set()
        self._call_ended = asyncio.Event()

    @property
    def calling(self) -> frozenset[asyncio.Task[object]]:
        """The tasks that are in a call now, rather than in line for one."""
        return frozenset(self._calling)

    async def until_fewer(self, calls: int) -> None:
        """Wait until fewer than that many are in a call."""
        while len(self._calling) >= calls:
            self._call_ended.clear()
            await self._call_ended.wait()

    def estimate(self, job: Job) -> Usage:
        """What one call for the job will probably use."""
        return self._estimator.estimate(request_for(job.article, max_chars=self._settings.max_chars))

    async def work(self, job: Job) -> Result:
        """The result of one article, whatever happens to it; only a cancellation gets through."""
        trace = _Trace()
        extraction, failure = None, None
        try:
            extraction = await self._ask(job, trace)
        except (RouterError, InvalidAnswerError) as error:
            failure = Failure(kind=_name(error), message=str(error))
        except Exception as error:  # noqa: BLE001 -- one article's trouble, be it a defect, never stops the others
            failure = Failure(kind=type(error).__name__, message="an unexpected error")
        return Result(
            job=job,
            extraction=extraction,
            failure=failure,
            model=trace.model,
            depth=trace.depth,
            attempts=trace.attempts,
            waited=trace.waited,
            called=trace.called,
            input_tokens=trace.input_tokens,
            output_tokens=trace.output_tokens,
            truncated=len(job.article.text) > self._settings.max_chars,
        )

    async def _ask(self, job: Job, trace: _Trace) -> Extraction:
        request = request_for(job.article, max_chars=self._settings.max_chars)
        for ask in range(1, ASKS + 1):
            reply = await self._reply(job.tier, request, trace)
            try:
                return extract(reply.text, job.article)
            except InvalidAnswerError:
                if ask == ASKS:
                    raise
        raise AssertionError("unreachable: the last ask returns or raises")

    async def _reply(self, tier: str, request: Request, trace: _Trace) -> Reply:
        reply: Reply | None = None
        tokens = self._estimator.estimate(request)
        async for attempt in self._router.attempts(tier, tokens=tokens, timeout=self._settings.max_wait):
            async with attempt as lease:
                reply = await self._call(lease, request, trace)
                if reply.usage.total_tokens:  # not reported: the estimate stands
                    lease.settle(input_tokens=reply.usage.input_tokens, output_tokens=reply.usage.output_tokens)
            if reply is None and self._left(trace) <= 0:
                raise ProviderTimeout(f"no answer within {self._settings.timeout:g} s of calls")
            if reply is None and trace.attempts >= self._settings.max_calls:
                raise BadResponse(f"no answer in {trace.attempts} calls; the last ended as {trace.kind}")
        if reply is None:
            raise BadResponse("every attempt ended without an answer")
        return reply

    async def _call(self, lease: Lease, request: Request, trace: _Trace) -> Reply:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        if task is not None:
            self._calling.add(task)
        started = loop.time()
        reply: Reply | None = None
        kind = Kind.CANCELLED
        try:
            reply = await self._in_time(lease, request, self._left(trace))
            return reply
        except Exception as error:
            kind = outcome_of(error).kind
            raise
        finally:
            if task is not None:
                self._calling.discard(task)
                self._call_ended.set()
            call = _ended(lease, loop.time() - started, reply, kind)
            trace.add(call)
            self._listener(call)

    async def _in_time(self, lease: Lease, request: Request, left: float) -> Reply:
        provider = self._providers[lease.model.provider or ""]
        try:
            async with asyncio.timeout(left):
                return await provider.generate(lease.model, replace(request, timeout=left))
        except ProviderTimeout:
            raise
        except TimeoutError as error:
            raise ProviderTimeout(f"no answer within {left:.3g} s") from error

    def _left(self, trace: _Trace) -> float:
        left = self._settings.timeout - trace.called
        return left if left > self._settings.timeout * _NO_TIME else 0.0

    @property
    def _estimator(self) -> Provider:
        return next(iter(self._providers.values()))


def _ended(lease: Lease, took: float, reply: Reply | None, kind: Kind) -> Call:
    return Call(
        tier=lease.tier,
        model=lease.model.name,
        depth=lease.depth,
        waited=lease.waited,
        took=took,
        kind=None if reply is not None else kind,
        input_tokens=reply.usage.input_tokens if reply else 0,
        output_tokens=reply.usage.output_tokens if reply else 0,
    )


def _name(error: Exception) -> str:
    return "InvalidAnswer" if isinstance(error, InvalidAnswerError) else type(error).__name__
