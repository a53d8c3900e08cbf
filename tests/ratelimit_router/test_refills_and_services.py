"""Invariant 8: which refill is safe with which kind of service, by simulation.

A service counts in one of four ways. Safe means: configured with the service's own amount, whatever the demand and
wherever the service's windows begin, the service never has to refuse. `rolling` is safe with every kind.
"""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit_router import Limit, Limits, Model, NoCapacity, Router, Tier

AMOUNT, PERIOD = 12, 60.0
WALL = 1_790_000_040.0  # a whole minute

SAFE = {
    ("continuous", "continuous"): True,
    ("continuous", "rolling"): False,
    ("continuous", "fixed window"): False,
    ("continuous", "calendar"): False,
    ("rolling", "continuous"): True,
    ("rolling", "rolling"): True,
    ("rolling", "fixed window"): True,
    ("rolling", "calendar"): True,
    ("calendar", "continuous"): False,
    ("calendar", "rolling"): False,
    ("calendar", "fixed window"): False,
    ("calendar", "calendar"): True,
}
"""(refill, service). Fixed windows begin at the service's own offset, calendar ones at the minute for both sides."""


class Service:
    """Counts requests in its own way; `admit` says whether it lets one through."""

    def __init__(self, kind: str, offset: float):
        self.kind, self.offset = kind, offset
        self.seen: list[float] = []
        self.level, self.last = float(AMOUNT), 0.0

    def admit(self, now: float) -> bool:
        if self.kind == "continuous":
            self.level = min(self.level + (now - self.last) * AMOUNT / PERIOD, AMOUNT)
            self.last = now
            self.level -= 1
            return self.level >= -1e-6
        self.seen.append(now)
        if self.kind == "rolling":
            return sum(at + PERIOD > now for at in self.seen) <= AMOUNT
        offset = self.offset if self.kind == "fixed window" else 0.0
        return sum((at - offset) // PERIOD == (now - offset) // PERIOD for at in self.seen) <= AMOUNT


def refused(refill: str, service: str, offset: float, waits: list[float]) -> int:
    """How many of the router's requests the service refuses, if after each wait all that is free is taken at once."""
    now = [0.0]
    router = Router(
        models=[Model("a", limits=Limits(rpm=Limit(AMOUNT, refill=refill)))],  # type: ignore[arg-type]
        tiers=[Tier("t", ["a"])],
        clock=lambda: now[0],
        wall_clock=lambda: WALL + now[0],
        slow_start=None,
    )
    other, count = Service(service, offset), 0
    for index, wait in enumerate(waits):
        now[0] += wait
        for _ in range(AMOUNT + 1 if index % 3 else 5):
            try:
                router.route_nowait("t").settle()
            except NoCapacity:
                break
            count += not other.admit(now[0])
    return count


@pytest.mark.parametrize("pair", [pair for pair, safe in SAFE.items() if safe], ids=" with ".join)
@settings(max_examples=60)
@given(
    offset=st.integers(0, 239).map(lambda n: n / 4),
    waits=st.lists(st.integers(0, 400).map(lambda n: n / 4), max_size=30),
)
def test_invariant_8_safe_pairs_are_never_refused(pair: tuple[str, str], offset: float, waits: list[float]) -> None:
    """Whatever the demand and wherever the service's windows begin."""
    assert refused(*pair, offset, waits) == 0


@pytest.mark.parametrize("pair", [pair for pair, safe in SAFE.items() if not safe], ids=" with ".join)
def test_invariant_8_unsafe_pairs_are_refused_for_some_demand(pair: tuple[str, str]) -> None:
    """The table does not cry wolf: there is a demand for which the service refuses."""
    rng = random.Random(0)

    def trace() -> list[Any]:
        return [rng.randint(0, 240) / 4 for _ in range(30)]

    assert any(refused(*pair, rng.randint(0, 239) / 4, trace()) for _ in range(200))
