"""The router as an auditor sees it: the same code, and everything that is decided is told.

Nothing of the router is changed for that: its classes are extended, and what decides is called as ever. The shortest
way to a lease, which asks nobody, is the same, too; it is told of when it has been gone.
"""

import asyncio
from collections.abc import Collection, Generator, Iterable, Mapping
from typing import Any, Self

from ratelimit_router.account import MANY, Account
from ratelimit_router.bucket import Cost
from ratelimit_router.dispatch import Dispatcher, Ticket
from ratelimit_router.errors import NoCapacity, RouteTimeout
from ratelimit_router.headers import parse_headers
from ratelimit_router.lease import HELD, Chain, Lease, Wish
from ratelimit_router.messages import Usage
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.queue import Line, Queue, Waiter
from ratelimit_router.router import Router
from ratelimit_router.selection import Candidate
from ratelimit_router.simulation.audit.auditor import NOTHING, Auditor
from ratelimit_router.simulation.audit.held import cost_told

__all__ = ["WatchedRouter"]


class WatchedRouter(Router):
    """A router whose every decision is told to `auditor`. The rest as for Router."""

    def __init__(self, auditor: Auditor, **options: Any):
        super().__init__(**options)
        self.auditor = auditor
        core = self._dispatcher
        core.__class__ = WatchedDispatcher
        core.queue.__class__ = WatchedQueue
        assert isinstance(core, WatchedDispatcher)
        assert isinstance(core.queue, WatchedQueue)
        core.auditor = core.queue.auditor = auditor
        auditor.watch(core)

    def route(self, chain: Chain, **how: Any) -> Lease:
        """See `Router`."""
        lease = super().route(chain, **how)
        lease.__class__ = WatchedLease
        return lease

    def route_nowait(self, chain: Chain, *, tokens: "int | Usage" = 0) -> Lease:
        """See `Router`."""
        with self.auditor.turn():
            return super().route_nowait(chain, tokens=tokens)

    def eta(self, chain: Chain, *, tokens: "int | Usage" = 0) -> float:
        """See `Router`."""
        with self.auditor.turn():
            return super().eta(chain, tokens=tokens)

    def reconfigure(self, **change: Any) -> None:
        """See `Router`."""
        with self.auditor.turn():
            self.auditor.reconfigures()
            super().reconfigure(**change)


class WatchedLease(Lease):
    """A lease that tells when it is granted without a question, and when it is settled."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, Self]:
        yield from super().__await__()
        auditor = self.ledger.auditor  # type: ignore[attr-defined]
        if self.state == HELD and not auditor.holds(self):
            with auditor.turn():
                auditor.overtakes(self.candidate.tier, self.at)
                auditor.grants(self, self.candidate, cost_told(self.tokens), self.at)
        return self

    def settle(self, *, input_tokens: float | None = None, output_tokens: float | None = None) -> None:
        """See `Lease`."""
        auditor = self.ledger.auditor  # type: ignore[attr-defined]
        with auditor.turn():
            expected = None
            if self.state == HELD:
                expected = _used(self.cost, input_tokens, output_tokens)
                auditor.ends(self, "settles", expected)
            super().settle(input_tokens=input_tokens, output_tokens=output_tokens)
            if expected is not None:
                auditor.charged(self, expected)


class WatchedQueue(Queue):
    """Tells who stands where."""

    auditor: Auditor

    def add(self, waiter: Waiter, lane: int) -> None:
        """See `Queue`."""
        self.auditor.stands(waiter, lane)
        super().add(waiter, lane)

    def deepen(self, waiter: Waiter, lane: int) -> None:
        """See `Queue`."""
        super().deepen(waiter, lane)
        self.auditor.stands(waiter, lane)


class WatchedDispatcher(Dispatcher):
    """Tells what it is asked for, what it grants and what it refuses."""

    auditor: Auditor

    def admit(self, lease: Lease, line: Line, cost: Cost, reach: int, avoid: Collection[Account] = ()) -> bool:
        """See `Dispatcher`."""
        with self.auditor.turn():
            return super().admit(lease, line, cost, reach, avoid)

    def join(self, lease: Lease, line: Line, cost: Cost, wish: Wish, turn: "asyncio.Future[None]") -> Waiter:
        """See `Dispatcher`."""
        with self.auditor.turn():
            return super().join(lease, line, cost, wish, turn)

    def _in_vain(self, line: Line, cost: Cost, priority: int, now: float, deadline: float) -> Exception | None:
        found = super()._in_vain(line, cost, priority, now, deadline)
        if isinstance(found, RouteTimeout) and not self.queue.length:
            self.auditor.gives_up(line, cost, deadline)
        return found

    def _refusal(self, line: Line, cost: Cost, priority: int, now: float, kind: type[NoCapacity]) -> Exception:
        found = super()._refusal(line, cost, priority, now, kind)
        self.auditor.refuses(found, line, cost, alone=not self.queue.length)
        return found

    def leave(self, waiter: Waiter) -> None:
        """See `Dispatcher`."""
        with self.auditor.turn():
            self.auditor.gone(waiter)
            super().leave(waiter)

    def eta(self, line: Line, cost: Cost) -> float:
        """See `Dispatcher`."""
        found = super().eta(line, cost)
        if not self.queue.length:
            self.auditor.advertises(line, cost, self.clock() + found)
        return found

    def drain(self, at: float = float("-inf")) -> None:
        """See `Dispatcher`."""
        with self.auditor.turn():
            super().drain(at)

    def _hand_over(self, waiter: Waiter, candidate: Candidate) -> None:
        ticket = waiter
        assert isinstance(ticket, Ticket)
        if not ticket.gone:
            self.auditor.serves(waiter, candidate, self._now)
        super()._hand_over(waiter, candidate)

    def _grant(self, lease: Lease, candidate: Candidate, line: Line, cost: Cost, now: float, waited: float) -> None:
        self.auditor.grants(lease, candidate, cost, now)
        super()._grant(lease, candidate, line, cost, now, waited)

    def _on_timer(self) -> None:
        with self.auditor.turn():
            self.auditor.fires()
            super()._on_timer()

    def close(self) -> None:
        """See `Dispatcher`."""
        with self.auditor.turn():
            super().close()

    def refund(self, lease: Lease) -> None:
        """See `Dispatcher`."""
        with self.auditor.turn():
            held = lease.state == HELD
            if held:
                self.auditor.ends(lease, "is given back", NOTHING)
            super().refund(lease)
            if held:
                self.auditor.charged(lease, NOTHING)

    def fail(self, lease: Lease, error: BaseException | Outcome) -> Outcome:
        """See `Dispatcher`."""
        outcome = error if isinstance(error, Outcome) else self._classify(lease.model, error)
        with self.auditor.turn():
            if lease.state == HELD:
                used = NOTHING if outcome.kind is Kind.NOT_SENT else lease.cost
                self.auditor.ends(lease, f"fails ({outcome.kind})", used, kind=outcome.kind)
                super().fail(lease, outcome)
                self.auditor.charged(lease, used)
                return outcome
            return super().fail(lease, outcome)

    def observe(self, lease: Lease, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """See `Dispatcher`."""
        with self.auditor.turn():
            for fact in parse_headers(headers, self.wall_clock()).quotas:
                if fact.remaining is not None:
                    self.auditor.drains(lease.candidate.account, fact.quota, fact.remaining)
            super().observe(lease, headers)


def _used(charged: Cost, inputs: float | None, outputs: float | None) -> Cost:
    """What a settlement comes to: what is said, unless it is nonsense."""
    inputs = charged[1] if inputs is None else inputs
    outputs = charged[2] if outputs is None else outputs
    return (charged[0], inputs, outputs, inputs + outputs) if 0 <= inputs <= inputs + outputs <= MANY else charged
