"""The quotas of one model for one key: may this request pass now, and if not, on which quotas and for how long.

All or none: a request is charged on every quota at once, or (unless the model charges refused calls) on none. What it
brings (itself, its input) must fit; the answer's tokens are charged in the same instant, and may overdraw a quota.
"""

import math
from dataclasses import dataclass

from ratelimit_router_providers.fake_service.config import FakeModel, QuotaRule
from ratelimit_router_providers.fake_service.windows import Window, make_window

__all__ = ["Decision", "ModelQuota", "Violation"]

IN_FLIGHT_HINT = 1.0


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


class ModelQuota:
    """What one key has left of one model."""

    def __init__(self, model: FakeModel, *, leeway: float = 0.0):
        self._leeway = leeway
        self._windows: dict[str, tuple[QuotaRule, Window]] = {}
        self.in_flight = 0
        self.configure(model)

    def configure(self, model: FakeModel) -> None:
        """Enforce this from now on; what was spent in a window that stays of its kind stays spent."""
        self._model = model
        kept = self._windows
        self._windows = {rule.name: (rule, self._window(rule, kept.get(rule.name))) for rule in model.quotas}

    def _window(self, rule: QuotaRule, old: tuple[QuotaRule, Window] | None) -> Window:
        if old is not None and _kind(old[0]) == _kind(rule):
            old[1].resize(rule.amount, rule.burst)
            return old[1]
        assert rule.window is not None and rule.period is not None  # noqa: PT018 -- filled in when it was made
        return make_window(
            rule.window, rule.amount, rule.period, burst=rule.burst, resets=rule.resets, leeway=self._leeway
        )

    def admit(self, now: float, input_tokens: int, output_tokens: int = 0) -> Decision:
        """Decide at `now` (POSIX seconds), and charge if admitted; an admitted request is in flight until `release`."""
        decision = Decision(violations=self._violations(now, input_tokens))
        if decision.admitted or self._model.charge_refused:
            self._spend(now, input_tokens, output_tokens if decision.admitted else 0)
        self.in_flight += decision.admitted
        return decision

    def release(self) -> None:
        """An admitted request has ended."""
        self.in_flight -= 1

    def left(self, now: float) -> dict[str, float]:
        """What each quota could still give now."""
        return {name: window.left(now) for name, (_, window) in self._windows.items()}

    def _violations(self, now: float, input_tokens: int) -> tuple[Violation, ...]:
        found = []
        for rule, window in self._windows.values():
            if wait := window.wait(now, max(rule.cost(input_tokens, 0), 0)):
                found.append(Violation(name=rule.name, amount=rule.amount, wait=wait))
        limit = self._model.concurrency
        if limit is not None and self.in_flight >= limit:
            found.append(Violation(name="concurrency", amount=limit, wait=IN_FLIGHT_HINT))
        return tuple(found)

    def _spend(self, now: float, input_tokens: int, output_tokens: int) -> None:
        for rule, window in self._windows.values():
            window.spend(now, rule.cost(input_tokens, output_tokens))


def hint_seconds(decision: Decision, hint: str, fallback: float = 60.0) -> float | None:
    """What a 429 says about the wait (`config.Hint`); `fallback` where the truth is never."""
    truth = decision.retry_after if math.isfinite(decision.retry_after) else fallback
    return {"right": truth, "truncated": float(math.floor(truth)), "short": truth / 3}.get(hint)


def _kind(rule: QuotaRule) -> tuple[object, ...]:
    return rule.window, rule.period, rule.resets
