"""The best available model along a chain, now; or why none is.

A chain is walked in order and the first step with a free model wins. Among equals the one with the most headroom is
taken, ties by least recently chosen, so that load spreads from the first request on.
"""

import math
from collections.abc import Collection, Iterator

from ratelimit_router.account import NEVER, Account
from ratelimit_router.bucket import Cost
from ratelimit_router.models import Model
from ratelimit_router.reasons import Reason, Skipped

__all__ = ["Candidate", "Steps", "hopeless", "is_reserved", "pick", "reasons", "skipped"]


class Candidate:
    """One model at one place of one chain, and how often it was chosen there.

    `share`: how many calls of this chain a plan still lets it take; infinity without a plan.
    """

    __slots__ = ("account", "chosen", "depth", "model", "share", "tier")

    def __init__(self, model: Model, account: Account, tier: str, depth: int):
        self.model, self.account, self.tier, self.depth = model, account, tier, depth
        self.chosen = 0
        self.share = math.inf


Steps = tuple[tuple[Candidate, ...], ...]
"""A chain, ready to be walked: in every step the candidates that are equals."""


def pick(
    steps: Steps,
    cost: Cost,
    now: float,
    reach: int = -1,
    reserved: Collection[Account] = frozenset(),
    planned: bool = True,
) -> Candidate | None:
    """The candidate to choose at `now` in the steps up to `reach` (-1: all), leaving out the `reserved` accounts.

    `planned`: and those of which a plan leaves nothing to this chain.
    """
    for depth, step in enumerate(steps):
        if depth == reach + 1 and reach >= 0:
            return None
        if len(step) == 1:
            candidate = step[0]
            if _free(candidate, cost, now, reserved, planned):
                return candidate
        elif free := [one for one in step if _free(one, cost, now, reserved, planned)]:
            return min(free, key=lambda one: _headroom(one.account, now))
    return None


def _free(one: Candidate, cost: Cost, now: float, reserved: Collection[Account], planned: bool) -> bool:
    return one.account.fits(cost, now) and not (planned and one.share <= 0) and not is_reserved(one.account, reserved)


def is_reserved(account: Account, reserved: Collection[Account]) -> bool:
    """Whether a model, or a pool that it draws on, is kept for somebody else."""
    return bool(reserved) and (account in reserved or any(pool in reserved for pool in account.pools))


def _headroom(account: Account, now: float) -> tuple[float, float, int]:
    return account.used(now), account.last_grant, account.granted


def reasons(
    steps: Steps, cost: Cost, now: float, reserved: Collection[Account] = frozenset()
) -> Iterator[tuple[Candidate, Skipped]]:
    """Every candidate with the reason why it cannot be chosen at `now`."""
    for step in steps:
        for one in step:
            found = one.account.blocked(cost, now)
            if found is None:
                reason = _why_free(one, reserved)
                found = Skipped(model=one.model.name, reason=reason, retry_at=now)
            yield one, found


def _why_free(one: Candidate, reserved: Collection[Account]) -> Reason:
    if one.share <= 0:
        return Reason.PLANNED
    return Reason.RESERVED if is_reserved(one.account, reserved) else Reason.PREFERRED


def skipped(
    steps: Steps, chosen: Candidate, cost: Cost, now: float, reserved: Collection[Account]
) -> tuple[Skipped, ...]:
    """Why each candidate of an earlier step was not chosen. To be asked before the chosen one is charged."""
    return tuple(found for one, found in reasons(steps[: chosen.depth], cost, now, reserved))


def hopeless(found: Skipped) -> bool:
    """Whether neither time nor another caller can end this."""
    return found.reason in NEVER
