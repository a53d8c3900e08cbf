"""A rolling bucket remembers totals between questions: the answers are those of one that adds everything up anew."""

import math
import random

import pytest

from ratelimit_router.bucket import RollingBucket

PERIOD, CAPACITY = 64.0, 400.0


class Ledger:
    """Every spend, by instant; nothing is remembered between questions."""

    def __init__(self) -> None:
        self.spent: dict[float, float] = {}

    def spend(self, amount: float, at: float) -> None:
        self.spent[at] = self.spent.get(at, 0.0) + amount

    def when(self, amount: float, now: float) -> float:
        left = {at: spent for at, spent in self.spent.items() if at + PERIOD > now}
        missing = amount - (CAPACITY - sum(left.values()))
        if missing <= 0:
            return now
        for at, spent in sorted(left.items()):
            missing -= spent
            if missing <= 0:
                return at + PERIOD
        raise AssertionError("never asked for more than the capacity")


@pytest.mark.parametrize("seed", range(20))
def test_totals_survive_everything_that_happens_between_questions(seed: int) -> None:
    """Spends, many at one instant, refunds and debts of old and of new ones, long idle spells, thousands in a row."""
    rng = random.Random(seed)
    bucket, ledger = RollingBucket("rpm", 0, PERIOD, CAPACITY), Ledger()
    now, spends = 0.0, []
    for _ in range(3_000):
        what = rng.random()
        if what < 0.3:
            now += rng.choice([0.125, 0.125, 0.25, 1.0])
        elif what < 0.302:
            now += rng.choice([10.0, 200.0])
        elif what < 0.5:
            amounts = [rng.randint(0, 9) for _ in range(rng.randint(1, 3))]
            spends += [[amount, now] for amount in amounts]
            for amount in amounts:
                ledger.spend(amount, now)
            if rng.random() < 0.5:
                bucket.spend_all(amounts, [now] * len(amounts))
            else:
                for amount in amounts:
                    bucket.spend(amount, now)
        elif what < 0.7 and spends:
            entry = rng.choice(spends[-60:])
            actual = rng.choice([0, 0, rng.randint(0, 20)])
            bucket.correct(actual - entry[0], entry[1])
            ledger.spend(actual - entry[0], entry[1])
            entry[0] = actual
        else:
            amount = rng.choice([1, rng.randint(1, 60), rng.randint(1, int(CAPACITY))])
            assert bucket.when(amount, now) == ledger.when(amount, now)
    assert bucket.level(now + PERIOD) == CAPACITY
    assert math.isfinite(bucket.when(CAPACITY, now))
