"""What a service allows: amounts, periods, and how what was spent comes back.

`continuous`  capacity refills evenly; `burst` is the bucket's size (OpenAI's and Anthropic's documentation).
`rolling`     each token comes back exactly one period after it was spent. Traffic that fits it fits every other kind.
`calendar`    everything comes back at a reset time: Gemini's daily quotas at midnight, America/Los_Angeles.
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from ratelimit_router.errors import ConfigError

__all__ = ["DAY", "MINUTE", "QUOTAS", "ROLLING", "Limit", "Limits", "Quota", "Refill", "RefillDefaults", "Unit"]

Refill = Literal["continuous", "rolling", "calendar"]
Unit = Literal["requests", "input", "output", "total"]

MINUTE = 60.0
DAY = 86_400.0
LARGEST = 1e15
"""No quota is larger; up to here sums of amounts stay exact."""
DEFAULT_RESET = "00:00 America/Los_Angeles"
_PERIODS = {"second": 1.0, "minute": MINUTE, "hour": 3_600.0, "day": DAY}

QUOTAS: dict[str, tuple[Unit, float]] = {
    "rpm": ("requests", MINUTE),
    "tpm": ("total", MINUTE),
    "input_tpm": ("input", MINUTE),
    "output_tpm": ("output", MINUTE),
    "rpd": ("requests", DAY),
    "tpd": ("total", DAY),
    "input_tpd": ("input", DAY),
}
"""Every quota that can be named, what it counts and its usual period in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefillDefaults:
    """How a provider's quotas come back where the configuration does not say: by the minute, and by the day."""

    minute: Refill = "rolling"
    day: Refill = "rolling"
    resets: str = DEFAULT_RESET


ROLLING = RefillDefaults()
"""The default where no provider is known: safe with every kind of service."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One quota: `amount` per `per` ("second", "minute", "hour", "day", or seconds; None: what the quota's name says).

    `burst` (continuous only) is the bucket's capacity, by default the amount. `resets` (calendar days only) is a time
    and an IANA zone, "00:00 America/Los_Angeles"; shorter calendar periods are aligned to the epoch.

    Raises ConfigError for amounts and periods that are negative, not finite, or not numbers.
    """

    amount: float
    per: str | float | None = None
    refill: Refill | None = None
    burst: float | None = None
    resets: str | None = None

    def __post_init__(self) -> None:
        _check_amount(self.amount, "amount")
        if self.burst is not None:
            _check_amount(self.burst, "burst")
            if self.refill not in (None, "continuous"):
                raise ConfigError(f"only a continuous limit has a burst, not a {self.refill} one", key="burst")
        if self.resets is not None and self.refill not in (None, "calendar"):
            raise ConfigError(f"only a calendar limit has a reset time, not a {self.refill} one", key="resets")
        if self.resets is not None and self.burst is not None:
            raise ConfigError("a limit has a burst (continuous) or a reset time (calendar), not both", key="resets")
        if self.refill is not None and self.refill not in get_args(Refill):
            raise ConfigError(f"must be one of {', '.join(get_args(Refill))}, not {self.refill!r}", key="refill")
        if isinstance(self.per, str):
            if self.per not in _PERIODS:
                raise ConfigError(f"must be one of {', '.join(_PERIODS)}, or seconds, not {self.per!r}", key="per")
        elif self.per is not None:
            _check_amount(self.per, "per")
            if self.per == 0:
                raise ConfigError("must be more than 0 seconds", key="per")

    @property
    def period(self) -> float | None:
        """The period in seconds, if it is given here."""
        return _PERIODS[self.per] if isinstance(self.per, str) else self.per


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit with every default filled in. `capacity`: the most that can be spent at once; `period`: in seconds."""

    name: str
    unit: Unit
    amount: float
    period: float
    refill: Refill
    capacity: float
    resets: str

    @property
    def daily(self) -> bool:
        """Whether it counts by the day or longer."""
        return self.period >= DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The quotas of one model or pool; each a number or a `Limit`; None = not limited.

    `rpm`, `rpd`: requests. `tpm`, `tpd`: input and output tokens together. `input_tpm`, `output_tpm`, `input_tpd`: one
    of them. `concurrency`: calls in flight. `refill`: for each limit that does not name its own; without it the
    provider's default holds. A limit of 0 means that there is no quota at all.
    """

    rpm: float | Limit | None = None
    tpm: float | Limit | None = None
    input_tpm: float | Limit | None = None
    output_tpm: float | Limit | None = None
    rpd: float | Limit | None = None
    tpd: float | Limit | None = None
    input_tpd: float | Limit | None = None
    concurrency: int | None = None
    refill: Refill | None = None

    def __post_init__(self) -> None:
        for name in QUOTAS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Limit):
                _check_amount(value, name)
        if self.concurrency is not None:
            if not isinstance(self.concurrency, int):
                raise ConfigError(f"must be a whole number, not {self.concurrency!r}", key="concurrency")
            _check_amount(self.concurrency, "concurrency")
            if self.concurrency == 0:
                raise ConfigError(
                    "must be at least 1: a model without calls in flight cannot be used", key="concurrency"
                )
        if self.refill is not None and self.refill not in get_args(Refill):
            raise ConfigError(f"must be one of {', '.join(get_args(Refill))}, not {self.refill!r}", key="refill")

    def quotas(self, defaults: RefillDefaults = ROLLING) -> tuple[Quota, ...]:
        """Every limit that is set, shortest period first, with `defaults` where neither it nor `refill` says more."""
        found = []
        for name, (unit, usual) in QUOTAS.items():
            value = getattr(self, name)
            if value is None:
                continue
            limit = value if isinstance(value, Limit) else Limit(value)
            period = limit.period or usual
            if limit.burst is not None:
                refill: Refill = "continuous"
            elif limit.resets is not None:
                refill = "calendar"
            else:
                refill = limit.refill or self.refill or (defaults.day if period >= DAY else defaults.minute)
            if refill == "calendar" and period > DAY:
                raise ConfigError("a calendar quota comes back at most daily: use rolling for longer periods", key=name)
            if unit == "requests" and 0 < limit.amount < 1:
                raise ConfigError(
                    f"{limit.amount:g} requests never admit one: write Limit(1, per={period / limit.amount:g})",
                    key=name,
                )
            if unit == "requests" and limit.burst is not None and limit.burst < 1:
                raise ConfigError(f"a burst of {limit.burst:g} never admits a request: it must be at least 1", key=name)
            found.append(
                Quota(
                    name=name,
                    unit=unit,
                    amount=limit.amount,
                    period=period,
                    refill=refill,
                    capacity=limit.amount if limit.burst is None else limit.burst,
                    resets=limit.resets or defaults.resets,
                )
            )
        return tuple(sorted(found, key=lambda quota: quota.period))


def _check_amount(value: object, key: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"must be a number, not {type(value).__name__}", key=key)
    if not 0 <= value <= LARGEST:
        shown = value if isinstance(value, float) else f"{value:.3g}" if abs(value) < 10**300 else "a number so large"
        raise ConfigError(f"must be from 0 to {LARGEST:g}, not {shown}", key=key)


assert set(QUOTAS) < {field.name for field in fields(Limits)}
