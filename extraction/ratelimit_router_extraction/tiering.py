"""Which tier an article goes to: tiers in order, best first, and the cuts between them.

Cuts by score: an article at or above the first cut is in the first tier, and so on. Cuts by quantile: the best 0.2 of
all articles, the best 0.5, ..., whatever their scores; equals keep the order of the input, so the shares are exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ratelimit_router.errors import ConfigError

__all__ = ["Cuts", "check_cuts", "even_cuts", "tiers_by"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Where one tier ends and the next begins: falling scores, or rising shares of all articles (see the module).

    Raises ConfigError for cuts out of 0 to 1, or in the wrong order.
    """

    at: tuple[float, ...]
    by: Literal["score", "quantile"] = "score"

    def __post_init__(self) -> None:
        key = "cuts" if self.by == "score" else "quantiles"
        for cut in self.at:
            if not _is_share(cut):
                raise ConfigError(f"must be numbers from 0 to 1, not {cut!r}", key=key)
        if list(self.at) != sorted(self.at, reverse=self.by == "score"):
            raise ConfigError("must fall from tier to tier" if self.by == "score" else "must rise", key=key)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def even_cuts(tiers: Sequence[str]) -> Cuts:
    """Cuts by score at even distances."""
    return Cuts(at=tuple(1 - (place + 1) / len(tiers) for place in range(len(tiers) - 1)))


def check_cuts(cuts: Cuts, tiers: Sequence[str]) -> None:
    """Raises ConfigError unless there is one cut between any two tiers."""
    if len(cuts.at) != len(tiers) - 1:
        key = "cuts" if cuts.by == "score" else "quantiles"
        raise ConfigError(f"{len(tiers)} tiers need {len(tiers) - 1} cuts, not {len(cuts.at)}", key=key)


def tiers_by(cuts: Cuts, scores: Sequence[float], tiers: Sequence[str]) -> list[str]:
    """The tier of every score, in the order given. Raises ConfigError unless there is one cut between any two tiers."""
    check_cuts(cuts, tiers)
    if cuts.by == "score":
        return [tiers[sum(value < cut for cut in cuts.at)] for value in scores]
    return _by_rank(cuts.at, scores, tiers)


def _by_rank(shares: Sequence[float], scores: Sequence[float], tiers: Sequence[str]) -> list[str]:
    ends = [math.floor(share * len(scores) + 0.5) for share in shares]
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    found = [""] * len(scores)
    for rank, place in enumerate(order):
        found[place] = tiers[sum(rank >= end for end in ends)]
    return found
