"""The right to make one call: promised by `route`, held once it is awaited, over once it is settled.

One object serves the whole life of a call, and is also its entry in the logs of the buckets that it was charged to.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from ratelimit_router.bucket import Charge, Cost
from ratelimit_router.messages import Usage
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Outcome
from ratelimit_router.queue import Line, Queue
from ratelimit_router.reasons import Skipped
from ratelimit_router.selection import Candidate

__all__ = ["Chain", "Lease", "Wish", "cost_of"]

Chain = str | Sequence[str | Sequence[str]]
"""A tier's name, or a chain of one's own: `["pro", ("flash", "lite")]`."""

Wish = tuple[float | None, float | None, int]
"""Timeout and patience in seconds (None: the usual), and priority."""

ONE: Cost = (1, 0, 0, 0)
"""A request of which nothing else is known."""
SAMPLED = 16
"""Every so many calls, a settlement also measures how long the call took and forgets charges that have come back."""

_PROMISED, _HELD, _OVER = range(3)


class Ledger(Protocol):
    """What a lease is granted by and reports to: see `dispatch`."""

    queue: Queue
    lines: dict[str, Line]
    observed: bool

    def clock(self) -> float: ...
    def line(self, chain: Chain) -> Line: ...
    def admit(self, lease: "Lease", line: Line, cost: Cost, reach: int) -> bool: ...
    async def wait(self, lease: "Lease", line: Line, cost: Cost, wish: Wish) -> None: ...
    def succeeded(self, lease: "Lease") -> None: ...
    def settled(self, lease: "Lease") -> None: ...
    def fail(self, lease: "Lease", error: BaseException | Outcome) -> Outcome: ...
    def refund(self, lease: "Lease") -> None: ...
    def observe(self, lease: "Lease", headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None: ...
    def drain(self) -> None: ...


class Lease(Charge):
    """The right to call `model` once.

    Await it or enter it (`async with`) once; end it once: `settle`, `fail` or `cancel`; whatever comes after the first
    is ignored. Leaving an `async with` block settles it with its estimate, unless that was done inside; an exception that
    leaves the block is classified by the model's provider, acted upon, and goes on to the caller.

    `waited`: seconds in line. `skipped`: why each model of an earlier step was not chosen, in the chain's order.
    """

    __slots__ = (
        "candidate",
        "chain",
        "epoch",
        "ledger",
        "pool_epochs",
        "skipped",
        "state",
        "tokens",
        "waited",
        "wish",
    )

    ledger: Ledger
    chain: Chain
    tokens: int | Usage
    wish: Wish | None
    candidate: Candidate
    epoch: int
    pool_epochs: tuple[int, ...]
    state: int
    waited: float
    skipped: tuple[Skipped, ...]

    def __init__(self, ledger: Ledger, chain: Chain, tokens: int | Usage = 0, wish: Wish | None = None):
        self.ledger = ledger
        self.chain = chain
        self.tokens = tokens
        self.wish = wish
        self.state = _PROMISED

    def __await__(self) -> Generator[Any, None, Self]:
        ledger, chain, tokens = self.ledger, self.chain, self.tokens
        line = ledger.lines.get(chain) if type(chain) is str else None
        if line is None:
            line = ledger.line(chain)
        cost = (1, tokens, 0, tokens) if type(tokens) is int and tokens >= 0 else cost_of(tokens)
        wish = self.wish
        if wish is not None:
            reach = 0 if (line.patience if wish[1] is None else wish[1]) else -1
        else:
            reach = line.reach
        if not ledger.admit(self, line, cost, reach):
            yield from ledger.wait(self, line, cost, wish or (None, None, 0)).__await__()
        return self

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.settle()
        else:
            self.fail(error)

    def granted(self, candidate: Candidate, cost: Cost, now: float, waited: float, skipped: tuple[Skipped, ...]) -> None:
        """The promise is kept: from now on it is held. For the dispatcher, which charges."""
        self.candidate = candidate
        self.cost = cost
        self.at = now
        self.epoch = candidate.account.cooldown.epoch
        self.waited = waited
        self.skipped = skipped
        self.state = _HELD

    @property
    def model(self) -> Model:
        """What to call: `model.id` is the provider's name for it."""
        return self.candidate.model

    @property
    def tier(self) -> str:
        """The tier that was asked for; `custom` for a chain of one's own."""
        return self.candidate.tier

    @property
    def depth(self) -> int:
        """Which step of the chain it is from; 0 is the first."""
        return self.candidate.depth

    @property
    def epochs(self) -> tuple[int, ...]:
        """Of the model's cooldown and of its pools', when it was granted."""
        return (self.epoch, *self.pool_epochs) if self.candidate.account.pools else (self.epoch,)

    def settle(self, *, input_tokens: float | None = None, output_tokens: float | None = None) -> None:
        """The call went well. What it really used replaces the estimate; None keeps the estimate."""
        if self.state != _HELD:
            return
        self.state = _OVER
        account, ledger = self.candidate.account, self.ledger
        _, inputs, outputs, _ = self.cost
        if input_tokens is not None and input_tokens != inputs or output_tokens is not None and output_tokens != outputs:
            inputs = inputs if input_tokens is None else input_tokens
            outputs = outputs if output_tokens is None else output_tokens
            account.correct(self, (1, inputs, outputs, inputs + outputs))
        account.input_tokens += inputs
        account.output_tokens += outputs
        account.in_flight -= 1
        account.settled += 1
        if not account.settled % SAMPLED:
            account.tidy(ledger.clock(), self)
        if account.delicate:
            ledger.succeeded(self)
        if ledger.queue.length:
            ledger.drain()
        if ledger.observed:
            ledger.settled(self)

    def end(self) -> bool:
        """Take back the right to call. False if that was done before. For the dispatcher."""
        held, self.state = self.state == _HELD, _OVER
        return held

    def fail(self, error: BaseException | Outcome) -> Outcome:
        """The call failed. The model's provider says what that means; the router acts on it, and the caller may."""
        return self.ledger.fail(self, error)

    def cancel(self) -> None:
        """No call was made: everything is given back."""
        self.ledger.refund(self)

    def observe(self, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """Response headers: rate-limit fields correct the buckets, downwards only. Never raises on what they hold."""
        self.ledger.observe(self, headers)

    def __repr__(self) -> str:
        state = ("promised", "held", "over")[self.state]
        return f"<Lease {state}>" if self.state == _PROMISED else f"<Lease {self.tier} -> {self.model.name}, {state}>"


def cost_of(tokens: int | Usage) -> Cost:
    """What a request of that many tokens costs; a number counts as input. Raises ValueError for what is none."""
    if isinstance(tokens, Usage):
        return 1, tokens.input_tokens, tokens.output_tokens, tokens.total_tokens
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or not 0 <= tokens < float("inf"):
        raise ValueError(f"tokens must be a number of tokens that is not negative, or a Usage, not {tokens!r}")
    return 1, tokens, 0, tokens
