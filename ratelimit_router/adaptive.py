"""What rejections teach about one quota: its true limit may be lower than configured, or somebody else draws on it.

- The service named the limit: take it.
- It did not: take what it really admitted (`Evidence`) for the limit, as far as that tells anything.
- A level at which rejections came is a ceiling. It is left alone the longer, the more often they came at about the same
  level (`hits`), and then probed: the first step up is tiny, each that goes well makes the next larger. So a limit that
  is wrong for good costs a rejection every few minutes, and a drop that passes is made good in some periods.
- What is configured may never have been true at all: as long as it was not once admitted, it is tried half as often.
- Never above what is configured, unless the operator lets it stretch.

What it does badly: it cannot tell a lower limit from another consumer; both look like rejections out of the blue.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["ALL_ABOUT", "FULL", "About", "Evidence", "Learned", "cut", "grow", "take_limit"]

LEAST = 0.02
"""No cut goes below this share of the configured limit, so that a quota is never given up for lost."""
BLIND_CUT = 0.98
"""What is left of the rate when nothing tells how low the limit is: the next rejection will."""
RATE_CUT = 0.7
"""What a few calls measure never cuts a rate further than this at once."""
ALL_ABOUT = 0.95
"""A burst of which more than this was admitted is not what was wrong."""
SAME = 0.1
"""Ceilings that differ by this part of themselves are the same one."""
HOLD = 60.0
"""Seconds that a new ceiling is left alone..."""
LONGER = 8.0
"""...and how many times longer for each further hit."""
NAMED_HITS = 2
"""A limit that the service names is believed as much as one that was hit so often."""
LONGEST_HOLD = 480.0
"""Seconds. A drop that has passed is found out by then, however often it was confirmed before..."""
NEVER_TRUE = 2.0
"""...and how many times longer where what is configured was never once admitted: there was no drop that could pass."""
FIRST_STEP = 0.02
"""Share of the configured limit by which a ceiling is exceeded at first..."""
FASTER = 3.0
"""...and how much larger each further step is."""
STEP_EVERY = 60.0
"""Seconds between two steps at most (a period, if that is shorter)."""


class About(StrEnum):
    """What a refusal tells of."""

    WINDOW = "window"
    """The amount of a window."""
    BURST = "burst"
    """The size of a bucket that had been full."""
    RATE = "rate"
    """The refill of a bucket that had been empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Shares (0..1] of the configured amount and of the configured burst; `since`: when they last changed.

    `named` is the amount the service itself stated, if it did: the shares are of that then. `ceiling`: the share of the
    configured amount at which rejections came, `hits` times in a row. `step`: the share of the latest probe above it.
    `unproven`: nothing that was admitted so far shows that what is configured was ever true.
    """

    rate: float = 1.0
    burst: float = 1.0
    named: float | None = None
    since: float = 0.0
    ceiling: float = 0.0
    hits: int = 0
    step: float = 0.0
    unproven: bool = False

    def amount(self, configured: float) -> float:
        """What may be spent in a period."""
        base = configured if self.named is None else min(configured, self.named)
        return base * self.rate

    @property
    def cut(self) -> bool:
        """Whether less is let out than what is configured, or named."""
        return self.rate < 1.0 or self.burst < 1.0

    def below(self, most: float) -> bool:
        """Whether anything is left to grow."""
        return self.rate < most or self.burst < 1.0 or self.named is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a service admitted until it refused, where `believed` was thought possible (0: that tells nothing).

    `few`: so few calls that they measure badly. `first`: less went well until then than the quota lets through in one
    period.
    """

    about: About
    admitted: float
    believed: float
    few: bool = False
    first: bool = False

    @property
    def ratio(self) -> float:
        """The part of what was believed possible."""
        return self.admitted / self.believed if self.believed > 0 else 1.0


FULL = Learned()
"""Nothing learned: the configuration holds."""


def take_limit(learned: Learned, limit: float, configured: float, now: float) -> Learned:
    """The service stated its limit: believe it, and forget the guesses that it explains."""
    if limit == learned.named:
        return learned
    ceiling = limit / configured if configured else 1.0
    hits = max(learned.hits + 1, NAMED_HITS) if _same(ceiling, learned.ceiling) else NAMED_HITS
    return Learned(named=limit, burst=learned.burst, since=now, ceiling=ceiling, hits=hits)


def cut(learned: Learned, found: Evidence, now: float) -> Learned:
    """An unexplained rejection."""
    ratio = found.ratio
    if not learned.hits or (learned.rate >= 1.0 and now >= learned.since + HOLD):
        learned = replace(learned, unproven=found.first)
    if found.believed <= 0.0:
        return replace(learned, since=now)
    if found.about is About.BURST and ratio < ALL_ABOUT:
        burst, rate = max(learned.burst * ratio, LEAST), max(learned.rate * max(ratio, RATE_CUT), LEAST)
        return replace(learned, burst=burst, rate=rate, since=now, step=0.0, hits=max(learned.hits, 1))
    ratio = min(max(ratio, RATE_CUT) if found.few else ratio, BLIND_CUT)
    rate = max(learned.rate * ratio, LEAST)
    hits = learned.hits + 1 if _same(rate, learned.ceiling) else 1
    return replace(learned, rate=rate, ceiling=rate, hits=hits, step=0.0, since=now)


def grow(learned: Learned, now: float, *, configured: float, period: float, least: float, most: float) -> Learned:
    """The next step above a ceiling, if it is time. `least`: no step is smaller; `most`: where growth ends (shares)."""
    if now < learned.since + _hold(learned, period) or not learned.below(most):
        return learned
    rate = learned.amount(configured) / configured
    step = max(FASTER * learned.step, FIRST_STEP, least)
    return replace(
        learned,
        named=None,
        rate=min(rate + step, max(most, rate)),
        burst=min(learned.burst + step, 1.0) if rate >= most else learned.burst,
        step=step,
        since=now,
    )


def _hold(learned: Learned, period: float) -> float:
    """Seconds that the level is left alone."""
    if learned.step or not learned.hits:
        return min(period, STEP_EVERY)
    longest = LONGEST_HOLD * (NEVER_TRUE if learned.unproven else 1.0)
    return min(HOLD * LONGER ** min(learned.hits - 1, 9), longest)


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= SAME * other
