"""What rejections teach about one quota: its true limit may be lower than configured, or somebody else draws on it.

- The service named the limit: take it. It holds until the service or the operator says otherwise.
- It did not: once per incident cut first the burst (the usual cause is a smaller bucket at the service), and from the
  next incident on the rate; then grow both back by the same amount every period (AIMD).
- Never above what is configured.

What it does badly: it cannot tell a lower limit from another consumer; both look like rejections out of the blue.
"""

from dataclasses import dataclass, replace

__all__ = ["FULL", "Learned", "cut", "grow", "take_limit"]

BURST_CUT = 0.25
RATE_CUT = 0.7
LEAST = 0.02
"""No cut goes below this share of the configured limit, so that a quota is never given up for lost."""
GROWTH = 0.05
"""Share of the configured limit that comes back every period (at most every `GROWTH_PERIOD`)."""
GROWTH_PERIOD = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Shares (0..1] of the configured amount and of the configured burst; `since`: when they last changed.

    `named` is the amount the service itself stated, if it did: the shares are of that then.
    """

    rate: float = 1.0
    burst: float = 1.0
    named: float | None = None
    since: float = 0.0

    def amount(self, configured: float) -> float:
        """What may be spent in a period."""
        base = configured if self.named is None else min(configured, self.named)
        return base * self.rate

    @property
    def cut(self) -> bool:
        """Whether anything is left to grow back."""
        return self.rate < 1.0 or self.burst < 1.0


FULL = Learned()
"""Nothing learned: the configuration holds."""


def take_limit(learned: Learned, limit: float, now: float) -> Learned:
    """The service stated its limit: believe it, and forget the guesses that it explains."""
    return Learned(named=limit, since=now) if limit != learned.named else learned


def cut(learned: Learned, now: float) -> Learned:
    """An unexplained rejection: the burst first, then the rate."""
    if learned.burst == 1.0:
        return replace(learned, burst=BURST_CUT, since=now)
    return replace(learned, rate=max(learned.rate * RATE_CUT, LEAST), since=now)


def grow(learned: Learned, now: float, period: float) -> Learned:
    """What a spell without rejections since `since` has given back."""
    share = GROWTH * (now - learned.since) / min(period, GROWTH_PERIOD)
    if share <= 0 or not learned.cut:
        return learned
    return replace(learned, rate=min(learned.rate + share, 1.0), burst=min(learned.burst + share, 1.0), since=now)
