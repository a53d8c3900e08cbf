"""A lease that somebody holds, as the auditor noted it when it was granted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ratelimit_router.bucket import Cost
from ratelimit_router.lease import Lease

if TYPE_CHECKING:
    from ratelimit_router.account import Account
    from ratelimit_router.messages import Usage

__all__ = ["Held", "cost_told"]


@dataclass(eq=False, slots=True, kw_only=True)
class Held:
    """`accounts`: the model's, then those of its pools. `seen`: how many incidents each had had."""

    number: int
    lease: Lease
    at: float
    cost: Cost
    accounts: "Sequence[Account]"
    seen: dict[object, int] = field(default_factory=dict)
    over: bool = False
    answered: bool = False

    def incidents(self, door: object) -> int | None:
        """How many there had been at one of its accounts; None for another account."""
        return self.seen.get(door)


def cost_told(tokens: "int | Usage") -> Cost:
    """What a request costs by what its caller said."""
    if isinstance(tokens, int | float):
        return 1, tokens, 0, tokens
    return 1, tokens.input_tokens, tokens.output_tokens, tokens.input_tokens + tokens.output_tokens
