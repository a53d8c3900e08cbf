"""Batches with a defined mix of tiers, such as hot:standard:bulk = 5:3:2.

At every point of the sequence each tier has had its share of what was taken so far to within one article (Tijdeman,
The chairman assignment problem, 1980: among those that are due, the one whose deadline is first). When a tier runs
dry its share goes to the others in proportion, and the count starts anew. A tier with a share of 0 comes when all
others are dry. The same input gives the same batches.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ratelimit_router.errors import ConfigError

__all__ = ["Turns", "check_mix", "compose", "interleave"]

T = TypeVar("T")


@dataclass(slots=True)
class Turns:
    """Whose turn it is, among lanes with whole-number shares. Mutable: each call of `take` is one turn."""

    shares: dict[str, int]
    taken: dict[str, int] = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.taken = dict.fromkeys(self.shares, 0)

    def take(self) -> str:
        """The lane that is due first; it counts as served."""
        self.count += 1
        whole = sum(self.shares.values())
        spread = max(1, 2 * len(self.shares) - 2)
        # In units of 1/whole: `lag` is how far a lane is behind its share if it is not served now.
        lags = {lane: self.count * share - self.taken[lane] * whole for lane, share in self.shares.items()}
        due = [lane for lane, lag in lags.items() if spread * lag >= whole] or list(lags)
        chosen = min(due, key=lambda lane: ((spread - 1) * whole - spread * lags[lane]) / self.shares[lane])
        self.taken[chosen] += 1
        return chosen


def interleave(lanes: Mapping[str, Iterable[T]], mix: Mapping[str, int]) -> Iterator[T]:
    """Everything in the lanes, each in its order, mixed by their shares."""
    waiting = {lane: deque(items) for lane, items in lanes.items()}
    while waiting := {lane: items for lane, items in waiting.items() if items}:
        shares = {lane: mix.get(lane, 0) for lane in waiting if mix.get(lane, 0) > 0}
        turns = Turns(shares or dict.fromkeys(waiting, 1))
        while all(waiting[lane] for lane in turns.shares):
            yield waiting[turns.take()].popleft()


def compose(lanes: Mapping[str, Iterable[T]], mix: Mapping[str, int], size: int) -> Iterator[list[T]]:
    """The same, cut into batches of `size`; the last may be smaller."""
    batch: list[T] = []
    for item in interleave(lanes, mix):
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def check_mix(mix: Mapping[str, object], tiers: Iterable[str]) -> dict[str, int]:
    """The mix with whole shares. Raises ConfigError for a tier that is not there and for shares that are not whole."""
    known = list(tiers)
    found: dict[str, int] = {}
    for tier, share in mix.items():
        if tier not in known:
            raise ConfigError(f"no tier named {tier!r}; there are: {', '.join(known)}", key="mix")
        if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= 10_000:
            raise ConfigError(f"must be a whole number from 0 to 10000, not {share!r}", key=f"mix.{tier}")
        found[tier] = share
    return found
