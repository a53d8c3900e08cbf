"""The right to make one call, charged already; and the promise of one."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Protocol

from ratelimit_router.account import Cost
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Outcome
from ratelimit_router.reasons import Skipped
from ratelimit_router.selection import Candidate

__all__ = ["Lease"]


class Ledger(Protocol):
    """What a lease reports to."""

    def settle(self, lease: "Lease", input_tokens: float | None, output_tokens: float | None) -> None: ...
    def fail(self, lease: "Lease", error: BaseException | Outcome) -> Outcome: ...
    def refund(self, lease: "Lease") -> None: ...
    def observe(self, lease: "Lease", headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None: ...


class Lease:
    """The right to call `model` once. End it once: `settle`, `fail` or `cancel`; everything after the first is ignored.

    `waited`: seconds in line. `skipped`: why each model of an earlier step was not chosen, in the chain's order.
    """

    __slots__ = ("at", "candidate", "cost", "epoch", "ledger", "over", "pool_epochs", "skipped", "waited")

    def __init__(
        self, ledger: Ledger, candidate: Candidate, cost: Cost, at: float, waited: float, skipped: tuple[Skipped, ...]
    ):
        self.ledger = ledger
        self.candidate = candidate
        self.cost = cost
        self.at = at
        self.epoch = candidate.account.cooldown.epoch
        self.pool_epochs: tuple[int, ...] = ()
        self.waited = waited
        self.skipped = skipped
        self.over = False

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

    def settle(self, *, input_tokens: float | None = None, output_tokens: float | None = None) -> None:
        """The call went well. What it really used replaces the estimate; None keeps the estimate."""
        self.ledger.settle(self, input_tokens, output_tokens)

    def fail(self, error: BaseException | Outcome) -> Outcome:
        """The call failed. The model's provider says what that means, and the router acts on it; so can the caller."""
        return self.ledger.fail(self, error)

    def cancel(self) -> None:
        """No call was made: everything is given back."""
        self.ledger.refund(self)

    def observe(self, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        """Response headers: rate-limit fields correct the buckets, downwards only. Never raises on what they hold."""
        self.ledger.observe(self, headers)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.settle() if error is None else self.fail(error)

    def __repr__(self) -> str:
        return f"<Lease {self.tier} -> {self.model.name}{' (over)' if self.over else ''}>"
