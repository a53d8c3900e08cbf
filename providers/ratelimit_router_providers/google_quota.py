"""Which quota a Google 429 is about: its violations, in any order and spelling, reduced to our names and one verdict.

- Ids are matched by what they contain (`Per(Minute|Day)`, `Requests`, `InputToken`, ...), never whole: paid, free and
  regional ids are spelt differently.
- The worst violation is the verdict: a limit of zero before a daily one, a daily one before one of a minute.
- protobuf's JSON leaves a zero out, so a violation without `quotaValue` takes it from the prose (`limit: 0`).
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Violation", "amount", "quota_name", "violations", "worst"]

_PERIOD = re.compile(r"per[\s_-]?(minute|day)", re.IGNORECASE | re.ASCII)
_UNIT = re.compile(r"(input|output)?[\s_-]?(tokens?|requests?)", re.IGNORECASE | re.ASCII)
_PROSE_LIMIT = re.compile(r"metric:\s*([\w./-]{1,200}),\s*limit:\s*(\d{1,18})", re.ASCII)
_PROSE_QUOTA = re.compile(r"quota metric '([^']{1,200})'(?: and limit '([^']{1,200})')?")
_PROSE_ID = re.compile(r"quota exceeded for ([\w./-]{1,200})", re.IGNORECASE | re.ASCII)
_NAMES = {
    ("request", "minute"): "rpm",
    ("token", "minute"): "tpm",
    ("input", "minute"): "input_tpm",
    ("output", "minute"): "output_tpm",
    ("request", "day"): "rpd",
    ("token", "day"): "tpd",
    ("input", "day"): "input_tpd",
}
_MOST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One quota that an answer names as breached: our name for it (None: not one of ours) and its true amount."""

    quota: str | None = None
    limit: float | None = None

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Worst first: no quota at all, a day's, a minute's, an unnamed one."""
        period = 2 if self.quota is None else 0 if self.quota.endswith("d") else 1
        return self.limit != 0, period, self.quota or ""


def worst(found: Iterable[Violation]) -> tuple[Violation | None, tuple[tuple[str, float | None], ...]]:
    """The violation that decides, and the other named ones, each quota once; the order of the answer is no matter."""
    ranked = sorted(found, key=lambda one: (one.rank, math.inf if one.limit is None else one.limit))
    if not ranked:
        return None, ()
    others: dict[str, float | None] = {}
    for one in ranked[1:]:
        if one.quota is not None and one.quota != ranked[0].quota:
            others.setdefault(one.quota, one.limit)
    return ranked[0], tuple(others.items())


def quota_name(text: str) -> str | None:
    """Our name for a quota id or metric, `None` if it counts something that the router does not."""
    if "concurrent" in text.lower():
        return "concurrency"
    period = _PERIOD.search(text)
    if period is None:
        return None
    units = {(kind or unit.rstrip("sS")).lower() for kind, unit in _UNIT.findall(text)}
    unit = next((name for name in ("input", "output", "token", "request") if name in units), None)
    return _NAMES.get((unit or "", period[1].lower()))


def amount(value: object) -> float | None:
    """A quota's amount as the service spells it (`"250000"`, 250000), `None` if it is not a sensible number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def violations(details: Iterable[Mapping[str, object]], message: str) -> tuple[Violation, ...]:
    """Every violation that the details of an error body name, or else its prose."""
    told = _told_limits(message)
    found = [_violation(one, told) for detail in details for one in _entries(detail)][:_MOST]
    return tuple(found) or _prose_violations(message, told)


def _entries(detail: Mapping[str, object]) -> Iterable[Mapping[str, object]]:
    listed = detail.get("violations")
    if isinstance(listed, list):
        yield from (one for one in listed if isinstance(one, Mapping))
    metadata = detail.get("metadata")
    if isinstance(metadata, Mapping) and "quota_limit" in metadata:  # google.rpc.ErrorInfo of RATE_LIMIT_EXCEEDED
        yield {
            "quotaId": metadata["quota_limit"],
            "quotaMetric": metadata.get("quota_metric"),
            "quotaValue": metadata.get("quota_limit_value"),
        }


def _violation(entry: Mapping[str, object], told: Mapping[str, set[float]]) -> Violation:
    identity, metric = _text(entry.get("quotaId")), _text(entry.get("quotaMetric"))
    limit = amount(entry.get("quotaValue"))
    if limit is None and "quotaValue" not in entry:
        limit = _prose_limit(told.get(metric, set()))
    return _made(quota_name(f"{identity} {metric}"), limit)


def _made(quota: str | None, limit: float | None) -> Violation:
    """An amount without a quota means nothing, except that a limit of zero is one whichever it is."""
    return Violation(quota=quota, limit=limit if quota is not None or limit == 0 else None)


def _prose_limit(said: set[float]) -> float | None:
    if 0.0 in said:
        return 0.0
    return next(iter(said)) if len(said) == 1 else None


def _told_limits(message: str) -> dict[str, set[float]]:
    told: dict[str, set[float]] = {}
    for metric, limit in _PROSE_LIMIT.findall(message):
        told.setdefault(metric, set()).add(float(limit))
    return told


def _prose_violations(message: str, told: Mapping[str, set[float]]) -> tuple[Violation, ...]:
    ids = [" ".join(names) for names in _PROSE_QUOTA.findall(message)] + _PROSE_ID.findall(message)
    named = [Violation(quota=name) for text in ids[:_MOST] if (name := quota_name(text)) is not None]
    listed = [_made(quota_name(metric), min(limits)) for metric, limits in told.items()]
    return tuple((named + listed)[:_MOST])


def _text(value: object) -> str:
    return value[:300] if isinstance(value, str) else ""
