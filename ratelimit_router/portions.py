"""What of the shares of a plan may go in the next seconds: all of it, but where it matters who goes first.

It matters where one scarce supply serves options of which some are held back by another scarce one as well, a pool's
quota and a model's own, say. Who is free to go ahead would use the first up, and leave the second idle for good. So
each gets as much of its share as the supply gives of what it will give in all. And it matters where something is
urgent: the others leave it what it can use now.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from ratelimit_router.planner import Option, Plan, Supply

__all__ = ["portions"]

FULL = 0.9
"""Share of a supply from which on it counts as scarce."""
DIGITS = 2
"""To which two options need the same of a supply."""


def portions(
    made: Plan,
    options: Sequence[Option],
    supplies: Sequence[Supply],
    seconds: float,
    urgent: Collection[int] = (),
    waiting: Sequence[float] = (),
) -> tuple[float, ...]:
    """What of each share is for the next so many seconds. `waiting`: how many calls of each backlog are in line now."""
    free = [math.isinf(share) for share in made.shares]  # of backlogs that are not planned
    made = replace(made, shares=tuple(0.0 if math.isinf(share) else share for share in made.shares))
    given = [supply(seconds) for supply in supplies]
    part = _evenly(made, options, supplies, given)
    if urgent:
        left = _left_by(made, options, given, urgent, waiting)
        others = [0.0 if one.demand in urgent else share for one, share in zip(options, made.shares, strict=True)]
        wanted = _used(options, others, given)
        for index, option in enumerate(options):
            for supply, _ in option.uses if others[index] else ():
                if left[supply] < min(given[supply], wanted[supply]):
                    part[index] = min(part[index], left[supply] / wanted[supply])
    shares = [share * each for share, each in zip(made.shares, part, strict=True)]
    return tuple(math.inf if is_free else share for is_free, share in zip(free, shares, strict=True))


def _evenly(made: Plan, options: Sequence[Option], supplies: Sequence[Supply], given: Sequence[float]) -> list[float]:
    """The part of each share that keeps all who draw on one scarce supply in step."""
    part = [1.0] * len(options)
    used = _used(options, made.shares, given)
    whole = [supply(made.horizon) for supply in supplies]
    scarce = [index for index, amount in enumerate(used) if amount > 0 and amount >= whole[index] * FULL]
    for supply in scarce:
        users = [index for index, one in enumerate(options) if made.shares[index] and _use(one, supply)]
        if len({_needs(options[index], supply, scarce) for index in users}) > 1:
            for index in users:
                part[index] = min(part[index], given[supply] / whole[supply])
    return part


def _left_by(
    made: Plan, options: Sequence[Option], given: Sequence[float], urgent: Collection[int], waiting: Sequence[float]
) -> list[float]:
    """What is left of each supply by the urgent calls that are in line now, if they go the ways that are planned."""
    calls = [0.0] * len(waiting)
    for one, share in zip(options, made.shares, strict=True):
        calls[one.demand] += share
    now = [
        share * min(waiting[one.demand] / calls[one.demand], 1.0) if one.demand in urgent and share else 0.0
        for one, share in zip(options, made.shares, strict=True)
    ]
    return [max(amount - use, 0.0) for amount, use in zip(given, _used(options, now, given), strict=True)]


def _used(options: Sequence[Option], shares: Sequence[float], supplies: Sequence[float]) -> list[float]:
    """What so many calls use of each supply."""
    used = [0.0] * len(supplies)
    for option, share in zip(options, shares, strict=True):
        for supply, amount in option.uses:
            used[supply] += share * amount
    return used


def _use(option: Option, supply: int) -> float:
    return sum(amount for one, amount in option.uses if one == supply)


def _needs(option: Option, supply: int, scarce: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """What it takes of the scarce supplies for each unit of this one."""
    own = _use(option, supply)
    return tuple((one, round(amount / own, DIGITS)) for one, amount in option.uses if one in scarce)
