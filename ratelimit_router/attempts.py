"""Trying again along the chain: a rejection is absorbed, and the next attempt asks for the next model.

A rejection (429, overload, refused key, gone model) closes its model and does not use up attempts: the loop ends with a
result, with the caller's timeout, or when no model is left. Other failures (no answer in time, unusable answer, not
sent) use them up. Everything else, the caller's own exceptions included, leaves the loop at once.
"""

import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ratelimit_router.account import Account
from ratelimit_router.errors import AttemptsExhausted, NoCapacity
from ratelimit_router.lease import HELD, Lease
from ratelimit_router.outcomes import Kind

__all__ = ["Attempt", "Attempts"]

FREE = frozenset({Kind.RATE_LIMITED, Kind.OVERLOADED, Kind.AUTH, Kind.BILLING, Kind.MODEL_GONE})
"""Failures that do not use up an attempt."""
COUNTED = frozenset({Kind.TIMEOUT, Kind.BAD_RESPONSE, Kind.NOT_SENT})
"""Failures that do."""


class Attempt:
    """One go: `async with attempt as lease`. What it absorbs, the loop makes good."""

    def __init__(self, loop: "Attempts", number: int):
        self._loop, self.number = loop, number
        self.lease: Lease | None = None

    async def __aenter__(self) -> Lease:
        self.lease = await self._loop.lease()
        return self.lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        lease = self.lease
        if lease is None:
            return False
        if error is None:
            lease.settle()
            self._loop.done = True
            return False
        return self._loop.failed(lease, error)


class Attempts:
    """The loop: `async for attempt in router.attempts(...)`. Ends after the first attempt that went well."""

    def __init__(
        self,
        route: Callable[[float | None], Lease],
        *,
        clock: Callable[[], float],
        timeout: float | None,
        max_attempts: int,
    ):
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {max_attempts}")
        self._route, self._clock, self._left = route, clock, max_attempts
        self._deadline = math.inf if timeout is None else clock() + timeout
        self._started = 0
        self.errors: list[tuple[str, BaseException]] = []
        self.silent: set[Account] = set()  # models that did not answer: left out while another one is free
        self.done = False

    async def lease(self) -> Lease:
        """The next model, before the deadline of the whole loop."""
        left = self._deadline - self._clock()
        try:
            lease = self._route(None if left == math.inf else max(left, 0.0))
            return lease if self.silent and lease.avoid(self.silent) else await lease
        except NoCapacity as refusal:
            raise refusal from (self.errors[-1][1] if self.errors else None)

    def failed(self, lease: Lease, error: BaseException) -> bool:
        """An attempt failed: whether the loop goes on."""
        held = lease.state == HELD
        kind = lease.fail(error).kind
        if not held or (kind not in FREE and kind not in COUNTED):
            return False
        if kind in COUNTED:
            self.silent.add(lease.candidate.account)
        self.errors.append((lease.model.name, error))
        self._left -= kind in COUNTED
        if self._left <= 0:
            raise AttemptsExhausted(tuple(self.errors)) from error
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self.done:
            raise StopAsyncIteration
        self._started += 1
        return Attempt(self, self._started)
