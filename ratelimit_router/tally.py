"""What has been counted per tier: plain numbers, read when somebody scrapes them."""

from bisect import bisect_left

__all__ = ["WAIT_BUCKETS", "Tally", "TierTally"]

WAIT_BUCKETS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0)
"""Upper bounds, in seconds, of the classes in which waits are counted."""


class TierTally:
    """One tier. Grants without a wait are not counted here: they are all grants less `waits`."""

    __slots__ = ("fallbacks", "refusals", "waited_seconds", "waits", "waits_by_class")

    def __init__(self) -> None:
        self.waits = 0
        self.waited_seconds = 0.0
        self.waits_by_class = [0] * (len(WAIT_BUCKETS) + 1)
        self.fallbacks: dict[tuple[str, str, str], int] = {}  # (from model, to model, reason)
        self.refusals: dict[str, int] = {}  # name of the error

    def waited(self, seconds: float) -> None:
        """A request was served from the line."""
        self.waits += 1
        self.waited_seconds += seconds
        self.waits_by_class[bisect_left(WAIT_BUCKETS, seconds)] += 1

    def fell_back(self, from_model: str, to_model: str, reason: str) -> None:
        """A later step than the first was chosen."""
        key = (from_model, to_model, reason)
        self.fallbacks[key] = self.fallbacks.get(key, 0) + 1

    def refused(self, error: str) -> None:
        """A request was turned away."""
        self.refusals[error] = self.refusals.get(error, 0) + 1


class Tally:
    """Every tier that was ever asked for."""

    def __init__(self) -> None:
        self.tiers: dict[str, TierTally] = {}

    def of(self, tier: str) -> TierTally:
        """The counts of one tier."""
        if (found := self.tiers.get(tier)) is None:
            found = self.tiers[tier] = TierTally()
        return found
