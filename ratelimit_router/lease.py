"""The right to make one call: promised by `route`, held once it is awaited, over once it is settled.

One object serves the whole life of a call, and is also its entry in the logs of the buckets that it was charged to.
"""

import math
from asyncio import CancelledError, Future, get_running_loop
from collections.abc import Awaitable, Collection, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from ratelimit_router.account import MANY, Account, Share
from ratelimit_router.bucket import Charge, Cost
from ratelimit_router.models import Model, check_patience
from ratelimit_router.outcomes import Outcome
from ratelimit_router.queue import Line, Waiter
from ratelimit_router.reasons import Skipped
from ratelimit_router.selection import Candidate

if TYPE_CHECKING:
    from ratelimit_router.messages import Usage

__all__ = ["HELD", "OVER", "PROMISED", "Chain", "Lease", "Wish", "cost_of", "wish"]

Chain = str | Sequence[str | Sequence[str]]
"""A tier's name, or a chain of one's own: `["pro", ("flash", "lite")]`."""

Wish = tuple[float | None, float | None, int]
"""Timeout and patience in seconds (None: the usual), and priority."""

ONE: Cost = (1, 0, 0, 0)
"""A request of which nothing else is known."""
AT_ONCE: tuple[float, tuple[Skipped, ...]] = (0.0, ())
"""The terms of a lease on the first step without a wait."""
NO_WISH: Wish = (None, None, 0)
NOTHING: Cost = (0, 0, 0, 0)
SAMPLED = 16
"""Every so many settlements also measure how long the call took."""

PROMISED, HELD, OVER = range(3)
"""The life of a lease."""


class Ledger(Protocol):
    """What a lease is granted by and reports to: see `dispatch`."""

    lines: dict[str, Line]
    quiet: bool
    """Nobody waits, nobody observes, the router is open: what is free may be taken without asking."""

    def clock(self) -> float: ...
    def line(self, chain: Chain) -> Line: ...
    def admit(self, lease: "Lease", line: Line, cost: Cost, reach: int, avoid: Collection[Account] = ()) -> bool: ...
    def join(self, lease: "Lease", line: Line, cost: Cost, wish: Wish, turn: Future[None]) -> Waiter: ...
    def leave(self, waiter: Waiter) -> None: ...
    def announce(self, lease: "Lease") -> None: ...
    def succeeded(self, lease: "Lease") -> bool: ...
    def settled(self, lease: "Lease", room: bool) -> None: ...
    def fail(self, lease: "Lease", error: BaseException | Outcome) -> Outcome: ...
    def refund(self, lease: "Lease") -> None: ...
    def observe(self, lease: "Lease", headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None: ...


class Lease(Charge):
    """The right to call `model` once.

    Await it or enter it (`async with`) once; end it once: `settle`, `fail` or `cancel`; whatever comes after the first
    is ignored. Leaving an `async with` block settles it with its estimate, unless that was done inside; an exception
    that leaves the block is classified by the model's provider, acted upon, and goes on to the caller.

    """

    __slots__ = (
        "candidate",
        "chain",
        "epoch",
        "ledger",
        "shares",
        "state",
        "terms",
        "tokens",
        "wish",
    )

    ledger: Ledger
    chain: Chain
    tokens: "int | Usage"
    wish: Wish | None
    candidate: Candidate
    epoch: int
    shares: Sequence[Share]
    state: int
    terms: tuple[float, tuple[Skipped, ...]]

    def __await__(self) -> Generator[Any, Any, Self]:
        if self.state:
            raise RuntimeError("a lease is awaited, or entered, once: ask route() for another")
        ledger, tokens = self.ledger, self.tokens
        try:
            line = ledger.lines[self.chain]  # type: ignore[index]  # a list of one's own is no key, and is caught
        except (KeyError, TypeError):
            line = ledger.line(self.chain)
        cost = (1, tokens, 0, tokens) if type(tokens) is int and tokens >= 0 else cost_of(tokens)
        first, clock = line.first, ledger.clock
        now = clock()
        if (first is not None and ledger.quiet) and (
            (
                (account := first.account).in_flight < account.slots
                and account.requests > 0
                and cost[3] <= account.tokens
            )
            or account.fits(cost, now)
        ):
            account.requests -= 1  # as in `Account.start`, whose call would cost as much
            account.tokens -= cost[3]
            account.in_flight += 1
            self.at = now
            self.cost = cost
            self.page = page = account.page
            page.append(self)
            first.chosen += 1  # as in `hold`
            self.candidate = first
            self.epoch = account.cooldown.epoch
            self.terms = AT_ONCE
            self.shares = ()
            self.state = HELD
            if account.delicate:
                ledger.announce(self)
        elif not ledger.admit(self, line, cost, line.reach if self.wish is None else _reach(line, self.wish)):
            turn: Future[None] = get_running_loop().create_future()
            waiter = ledger.join(self, line, cost, self.wish or NO_WISH, turn)
            try:
                yield from turn
            except CancelledError:
                ledger.leave(waiter)
                raise
        return self

    def avoid(self, accounts: Collection[Account]) -> bool:
        """Keep the promise at once with another model than these. Whether one was free."""
        return self.ledger.admit(self, self.ledger.line(self.chain), cost_of(self.tokens), -1, accounts)

    def __aenter__(self) -> "Awaitable[Lease]":
        if self.state == HELD:
            return self._held()
        return self  # to be awaited as it is: no coroutine is needed for that

    async def _held(self) -> "Lease":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.settle()
        else:
            self.fail(error)

    def hold(self, candidate: Candidate, waited: float, skipped: tuple[Skipped, ...]) -> None:
        """The promise is kept: it was charged, and is held from now on. For the dispatcher."""
        candidate.chosen += 1
        self.candidate = candidate
        self.epoch = candidate.account.cooldown.epoch
        self.terms = waited, skipped
        self.shares = ()
        self.state = HELD

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
    def waited(self) -> float:
        """Seconds in line."""
        return self.terms[0]

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Why each model of an earlier step was not chosen, in the chain's order."""
        return self.terms[1]

    def refund(self) -> None:
        """Take back everything that was charged. For the dispatcher, which knows when."""
        for share in self.shares:
            share.pool.correct(share, NOTHING)
        self.candidate.account.correct(self, NOTHING)

    def settle(self, *, input_tokens: float | None = None, output_tokens: float | None = None) -> None:
        """The call went well. What it really used replaces the estimate; None keeps the estimate."""
        if self.state != HELD:
            return
        self.state = OVER
        account, ledger = self.candidate.account, self.ledger
        estimated = self.cost
        inputs = estimated[1] if input_tokens is None else input_tokens
        outputs = estimated[2] if output_tokens is None else output_tokens
        if inputs != estimated[1] or outputs != estimated[2]:
            total = inputs + outputs
            if not 0 <= inputs <= total <= MANY:  # nonsense: the estimate is nearer to the truth
                _, inputs, outputs, total = estimated
            actual = (1, inputs, outputs, total)
            if self.page is account.page:  # the buckets have not been told of this charge yet
                account.tokens += estimated[3] - total
                self.cost = actual
            else:
                account.correct(self, actual)
            if self.shares:
                for share in self.shares:
                    share.pool.correct(share, actual)
        account.input_tokens += inputs
        account.output_tokens += outputs
        account.in_flight -= 1
        account.settled += 1
        if not account.settled % SAMPLED:
            account.learn_hold(ledger.clock() - self.at)
        room = account.delicate and ledger.succeeded(self)
        if not ledger.quiet:
            ledger.settled(self, room)

    def end(self) -> bool:
        """Take back the right to call. False if that was done before. For the dispatcher."""
        held, self.state = self.state == HELD, OVER
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
        return f"<Lease {state}>" if self.state == PROMISED else f"<Lease {self.tier} -> {self.model.name}, {state}>"


def wish(timeout: float | None, patience: float | None, priority: int) -> Wish:
    """What a request asks for besides a model. Raises ValueError and ConfigError for numbers that make no sense."""
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout must be None or 0 or more seconds, not {timeout!r}")
    if patience is not None:
        check_patience(patience)
    return timeout, patience, priority


def _reach(line: Line, wish: Wish) -> int:
    patience = line.patience if wish[1] is None else wish[1]
    return 0 if patience else -1


def cost_of(tokens: "int | Usage") -> Cost:
    """What a request of that many tokens costs; a number counts as input. Raises ValueError for what is none."""
    number: object = tokens  # whatever a caller without a type checker gives
    if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < math.inf:
        return 1, number, 0, number
    from ratelimit_router.messages import Usage  # who has one has imported it

    if isinstance(tokens, Usage):
        return 1, tokens.input_tokens, tokens.output_tokens, tokens.total_tokens
    raise ValueError(f"tokens must be a number of tokens that is not negative, or a Usage, not {tokens!r}")
