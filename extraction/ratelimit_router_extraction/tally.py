"""The figures of a run, counted as calls and results come in."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ratelimit_router.outcomes import Kind
from ratelimit_router_extraction.calls import Call
from ratelimit_router_extraction.records import Result

__all__ = ["Row", "Tally"]

A_WAIT = 0.001
"""Seconds from which on a wait is counted as one: less is only the order of two tasks."""


@dataclass(slots=True)
class Row:
    """One tier on one model. `fallbacks`: calls at a later step than the first. `waited`: seconds, of all calls."""

    calls: int = 0
    fallbacks: int = 0
    rate_limited: int = 0
    overloaded: int = 0
    failed: int = 0
    waits: int = 0
    waited: float = 0.0
    longest_wait: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, call: Call) -> None:
        """Count one call."""
        self.calls += 1
        self.fallbacks += call.depth > 0
        self.rate_limited += call.kind is Kind.RATE_LIMITED
        self.overloaded += call.kind is Kind.OVERLOADED
        self.failed += call.kind not in (None, Kind.RATE_LIMITED, Kind.OVERLOADED)
        self.waits += call.waited >= A_WAIT
        self.waited += call.waited
        self.longest_wait = max(self.longest_wait, call.waited)
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens

    def merge(self, other: "Row") -> None:
        """Add another row's figures to this one's."""
        for name in ("calls", "fallbacks", "rate_limited", "overloaded", "failed", "waits", "waited"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.longest_wait = max(self.longest_wait, other.longest_wait)
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens


@dataclass(slots=True)
class Tally:
    """Everything that is counted. `total`: articles to do in this run; `held`: those that the output had already.

    `slack`: of the plan that the run goes by, None: it has none. `first_choices`: of those done, by the first step.
    """

    total: int
    held: int = 0
    bad_rows: int = 0
    slack: float | None = None
    done: int = 0
    first_choices: int = 0
    failed: int = 0
    entities: int = 0
    unfound: int = 0
    by_tier: dict[str, int] = field(default_factory=dict)
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Articles with a record, be it a failure's."""
        return self.done + self.failed

    def call(self, call: Call) -> None:
        """Count one call."""
        self.rows.setdefault((call.tier, call.model), Row()).add(call)

    def result(self, result: Result) -> None:
        """Count one result."""
        tier = result.job.tier
        self.by_tier[tier] = self.by_tier.get(tier, 0) + 1
        if result.failure is not None:
            self.failed += 1
            self.failures[result.failure.kind] = self.failures.get(result.failure.kind, 0) + 1
        elif result.extraction is not None:
            self.done += 1
            self.first_choices += result.depth == 0
            self.entities += len(result.extraction.entities)
            self.unfound += result.extraction.unfound

    def whole(self) -> Row:
        """All rows together."""
        whole = Row()
        for row in self.rows.values():
            whole.merge(row)
        return whole

    def as_dict(self) -> Mapping[str, Any]:
        """For `--json`: plain values only."""
        return {
            "articles": self.total,
            "done": self.done,
            "failed": self.failed,
            "left": self.total - self.finished,
            "already_held": self.held,
            "bad_rows": self.bad_rows,
            "entities": self.entities,
            "unfound": self.unfound,
            "plan": None if self.slack is None else {"slack": self.slack},
            "first_choices": self.first_choices,
            "tiers": dict(self.by_tier),
            "failures": dict(self.failures),
            "calls": [_figures(row, tier=tier, model=model) for (tier, model), row in sorted(self.rows.items())],
            "all_calls": _figures(self.whole()),
        }


def _figures(row: Row, **labels: str) -> dict[str, Any]:
    figures = {each.name: getattr(row, each.name) for each in fields(row)}
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    return {**labels, **rounded}
