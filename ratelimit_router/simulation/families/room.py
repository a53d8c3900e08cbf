"""How many requests a service can answer in so many seconds: an estimate, by which the load of a scenario is sized.

It is a little less than the truth: quotas that come back all at once are not counted on to the last request.
"""

import math
from random import Random
from statistics import fmean

from ratelimit_router.resets import next_reset
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.scenario import Account, Distribution, Service

__all__ = ["mean", "room"]

LAST = 0.92
"""The part of the last window that is counted on."""


def mean(sizes: Distribution) -> float:
    """What they are on average, from a sample that is always the same."""
    rng = Random(0)
    return fmean(sizes.draw(rng) for _ in range(500))


def room(owner: Service | Account, *, start: float, seconds: float, input_tokens: float, output_tokens: float) -> float:
    """Requests of so many tokens that it answers in the first `seconds` after `start` (POSIX seconds)."""
    costs = [(rule, rule.cost(round(input_tokens), round(output_tokens))) for rule in owner.quotas]
    found = [_admits(rule, start, seconds) / cost for rule, cost in costs if cost]
    if owner.concurrency is not None and isinstance(owner, Service):
        found.append(owner.concurrency * seconds / mean(owner.latency))
    return min(found, default=math.inf) * _left(owner, seconds)


def _admits(rule: QuotaRule, start: float, seconds: float) -> float:
    """How much of a quota can be spent in that time."""
    period = rule.period or math.inf
    match rule.window:
        case "continuous":
            return (rule.amount if rule.burst is None else rule.burst) + rule.amount * seconds / period
        case "fixed":
            windows = math.floor((start + seconds) / period) - math.floor(start / period)
        case "day":
            windows = int(next_reset(rule.resets, period, start) < start + seconds)
        case _:
            windows = math.floor(seconds / period)
    return rule.amount * (windows + LAST)


def _left(owner: Service | Account, seconds: float) -> float:
    """Which part of it changes, consumers and troubles leave over that time."""
    return fmean(_left_at(owner, seconds * (step + 0.5) / 100) for step in range(100))


def _left_at(owner: Service | Account, at: float) -> float:
    troubles = owner.troubles if isinstance(owner, Service) else ()
    if any(trouble.start <= at < trouble.end for trouble in troubles):
        return 0.0
    factor = [1.0, *(change.factor for change in owner.changes if change.at <= at)][-1]
    rates = [rule.amount / rule.period for rule in owner.quotas if rule.name == "rpm" and rule.period]
    taken = sum(consumer.rate for consumer in owner.consumers if consumer.start <= at < consumer.end)
    return max(0.0, factor - taken / rates[0]) if taken else factor
