"""The quotas of one model for one key: may this request pass now, and if not, on which quotas and for how long.

All or none: a request is charged on every quota at once, or (unless the model charges refused calls) on none. What it
brings (itself, its input) must fit; the answer's tokens are charged in the same instant, and may overdraw a quota.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import DAY, DEFAULT_RESET, QUOTAS, Quota, Unit
from ratelimit_router.resets import parse_reset
from ratelimit_router.simulation.checks import check_number
from ratelimit_router.simulation.windows import Window, WindowKind, make_window

__all__ = ["Decision", "ModelQuota", "QuotaRule", "Violation", "hint_seconds"]

IN_FLIGHT_HINT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRule:
    """One quota that is enforced: `amount` of what `name` counts (see `limits.QUOTAS`) in each `period` (seconds).

    `window`: how it comes back (`windows` has the kinds); default: rolling, or the day for a quota by the day.
    `burst`: bucket size of a continuous window. `resets`: time and zone of a day window.
    """

    name: str
    amount: float
    window: WindowKind | None = None
    period: float | None = None
    burst: float | None = None
    resets: str = DEFAULT_RESET

    def __post_init__(self) -> None:
        if self.name not in QUOTAS:
            raise ConfigError(f"no such quota; there are: {', '.join(QUOTAS)}, concurrency", key=self.name)
        check_number(self.amount, "amount")
        usual = QUOTAS[self.name][1]
        if self.period is None:
            object.__setattr__(self, "period", usual)
        check_number(self.period, "period", above_zero=True)
        if self.window is None:
            object.__setattr__(self, "window", "day" if self.period == DAY else "rolling")
        if self.window not in get_args(WindowKind):
            raise ConfigError(f"must be one of {', '.join(get_args(WindowKind))}, not {self.window!r}", key="window")
        if self.burst is not None:
            check_number(self.burst, "burst")
            if self.window != "continuous":
                raise ConfigError(f"only a continuous window has a burst, not a {self.window} one", key="burst")
        try:
            parse_reset(self.resets)
        except ConfigError as error:
            raise error.at(key="resets") from None

    @property
    def unit(self) -> Unit:
        """What it counts."""
        return QUOTAS[self.name][0]

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """What one request uses of it."""
        match self.unit:
            case "requests":
                return 1
            case "input":
                return input_tokens
            case "output":
                return output_tokens
            case "total":
                return input_tokens + output_tokens

    def holds(self, factor: float = 1.0) -> float:
        """The most that can be spent at once while the amount is `factor` times this one: a bucket holds a request."""
        size = self.amount if self.burst is None else self.burst
        least = min(size, 1.0) if self.unit == "requests" and self.window == "continuous" and factor else 0.0
        return max(size * factor, least)

    @classmethod
    def mirror(cls, quota: Quota, factor: float = 1.0) -> "QuotaRule":
        """The rule that a router's quota describes, its amount times `factor` (whole requests, at least one)."""
        amount, burst = quota.amount * factor, quota.capacity * factor
        if quota.unit == "requests" and quota.amount > 0:
            amount, burst = float(max(1, math.floor(amount))), float(max(1, math.floor(burst)))
        window: WindowKind = "rolling" if quota.refill == "rolling" else "continuous"
        if quota.refill == "calendar":
            window = "day" if quota.period == DAY else "fixed"
        return cls(
            name=quota.name,
            amount=amount,
            window=window,
            period=quota.period,
            burst=burst if window == "continuous" else None,
            resets=quota.resets,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One quota in the way: `wait` seconds until the request would fit (infinity: never), `amount` is the limit."""

    name: str
    amount: float
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Admitted, or the violations. `retry_after`: seconds until the last of them ends."""

    violations: tuple[Violation, ...] = ()

    @property
    def admitted(self) -> bool:
        """Whether nothing is in the way."""
        return not self.violations

    @property
    def retry_after(self) -> float:
        """Seconds until the same request would be admitted; infinity: never."""
        return max((violation.wait for violation in self.violations), default=0.0)


ADMITTED = Decision()


class ModelQuota:
    """What one key has left of one model. Times are POSIX seconds, and never decrease from one question to the next."""

    def __init__(
        self,
        quotas: Iterable[QuotaRule],
        *,
        concurrency: int | None,
        charge_refused: bool = False,
        leeway: float = 0.0,
    ):
        self._windows: dict[str, tuple[QuotaRule, Window]] = {}
        self.in_flight = 0
        self.configure(-math.inf, quotas, concurrency=concurrency, charge_refused=charge_refused, leeway=leeway)

    def configure(
        self,
        now: float,
        quotas: Iterable[QuotaRule],
        *,
        concurrency: int | None,
        charge_refused: bool = False,
        leeway: float = 0.0,
    ) -> None:
        """Enforce this from `now` on; what was spent in a window that stays of its kind stays spent.

        `concurrency`: calls in flight (None: any number). `charge_refused`: a refused call uses quota too. `leeway`:
        seconds by which rolling and continuous windows are lenient.
        """
        kept = self._windows
        self._windows = {rule.name: (rule, _window(now, rule, kept.get(rule.name), leeway)) for rule in quotas}
        self._concurrency, self._charge_refused = concurrency, charge_refused

    def admit(self, now: float, input_tokens: int, output_tokens: int = 0) -> Decision:
        """Decide at `now`, and charge if admitted; an admitted request is in flight until `release`."""
        violations = self.violations(now, input_tokens)
        if not violations:
            self.spend(now, input_tokens, output_tokens)
            self.in_flight += 1
            return ADMITTED
        if self._charge_refused:
            self.spend(now, input_tokens, 0)
        return Decision(violations=tuple(violations))

    def release(self) -> None:
        """An admitted request has ended."""
        self.in_flight -= 1

    def left(self, now: float) -> dict[str, float]:
        """What each quota could still give now."""
        return {name: window.left(now) for name, (_, window) in self._windows.items()}

    def violations(self, now: float, input_tokens: int) -> list[Violation]:
        """What is in the way of a request that brings so many tokens."""
        found = []
        for rule, window in self._windows.values():
            if wait := window.wait(now, rule.cost(input_tokens, 0)):
                found.append(Violation(name=rule.name, amount=rule.amount, wait=wait))
        if self._concurrency is not None and self.in_flight >= self._concurrency:
            found.append(Violation(name="concurrency", amount=self._concurrency, wait=IN_FLIGHT_HINT))
        return found

    def spend(self, now: float, input_tokens: int, output_tokens: int) -> None:
        """Charge a request on every quota, whether it fits or not."""
        for rule, window in self._windows.values():
            window.spend(now, rule.cost(input_tokens, output_tokens))


def hint_seconds(decision: Decision, hint: str, fallback: float = 60.0) -> float | None:
    """Seconds that a 429 tells to wait; `fallback` where the truth is never.

    `hint`: "right" is the truth, "truncated" whole seconds rounded down, "short" a third of it, anything else nothing.
    """
    truth = decision.retry_after if math.isfinite(decision.retry_after) else fallback
    return {"right": truth, "truncated": float(math.floor(truth)), "short": truth / 3}.get(hint)


def _window(now: float, rule: QuotaRule, old: tuple[QuotaRule, Window] | None, leeway: float) -> Window:
    """The window that enforces a rule: the old one with new amounts if it is of the same kind, else a fresh one."""
    if old is not None and _kind(old[0]) == _kind(rule):
        old[1].resize(now, rule.amount, rule.burst, leeway)
        return old[1]
    assert rule.window is not None  # both are filled in when the rule is made
    assert rule.period is not None
    return make_window(rule.window, rule.amount, rule.period, burst=rule.burst, resets=rule.resets, leeway=leeway)


def _kind(rule: QuotaRule) -> tuple[object, ...]:
    return rule.window, rule.period, rule.resets
