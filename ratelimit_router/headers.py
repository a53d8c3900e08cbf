"""What response headers say about quotas, as facts. Malformed ones are as good as absent: nothing here raises.

Read are, and where two speak of the same quota the first in this list wins:

1. `retry-after-ms`, then `Retry-After` (seconds or an HTTP date; RFC 9110, 10.2.3).
2. `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`; the reset is an RFC 3339
   instant (Anthropic's documentation of its API).
3. `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; the reset is a duration, `1s` or `6m0s` (OpenAI's
   documentation). Groq uses the same names, but counts requests by the day: say so with `requests="rpd"`.
4. `RateLimit-Policy: "burst";q=100;w=60` with `RateLimit: "burst";r=50;t=30` (IETF draft, httpapi-ratelimit-headers);
   only policies by the minute or the day have a name here. Its `t` stands in for `Retry-After` where `r` is 0.

What it does badly: instants are compared with the caller's wall clock, so a skewed clock skews `resets_in`.
"""

import datetime
import email.utils
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ratelimit_router.limits import DAY, MINUTE

__all__ = ["LONGEST", "HeaderFacts", "QuotaFact", "parse_headers"]

LONGEST = 7 * DAY
"""No hint is believed beyond this, in seconds."""

_LONGEST_FIELD = 4_096  # characters that are looked at
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
_DURATION = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{1,18})?(?:ms|us|µs|ns|d|h|m|s))+")
_DURATION_PART = re.compile(r"([0-9.]+)([a-zµ]+)")
_UNITS = {"d": DAY, "h": 3_600.0, "m": MINUTE, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = 1e9  # a "duration" beyond 30 years is an instant in POSIX seconds

_STRING = r'"(?:[^"\\]|\\.)*"'
_ITEM = re.compile(
    rf"({_STRING}|[A-Za-z*][^\s;,=\"]*)((?:[ \t]*;[ \t]*[a-z*][a-z0-9_.*-]*(?:=(?:{_STRING}|[^;,\"\s]*))?)*)"
)
_PARAMETER = re.compile(rf"([a-z*][a-z0-9_.*-]*)=({_STRING}|[^;,\"\s]*)")
_POLICIES = {("requests", MINUTE): "rpm", ("requests", DAY): "rpd", ("tokens", MINUTE): "tpm", ("tokens", DAY): "tpd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaFact:
    """One quota, by our name for it; None where nothing is said. `resets_in`: seconds until it is whole again."""

    quota: str
    limit: float | None = None
    remaining: float | None = None
    resets_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFacts:
    """What one response said. `retry_after`: seconds to stay away, None if it did not say."""

    retry_after: float | None = None
    quotas: tuple[QuotaFact, ...] = ()


def parse_headers(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    now_wall: float,
    *,
    requests: Literal["rpm", "rpd"] = "rpm",
) -> HeaderFacts:
    """The facts in a response's headers, names in any case; `now_wall` in POSIX seconds.

    `requests`: which quota OpenAI's `x-ratelimit-*-requests` mean; "rpd" for Groq. Never raises.
    """
    fields = _collect(headers)
    found: dict[str, QuotaFact] = {}
    policies = tuple(_ietf(fields))
    for fact in (*_anthropic(fields, now_wall), *_openai(fields, now_wall, requests), *policies):
        found.setdefault(fact.quota, fact)
    retry_after = _retry_after(fields, now_wall)
    if retry_after is None:
        spent = [fact.resets_in for fact in policies if fact.remaining == 0 and fact.resets_in is not None]
        retry_after = max(spent, default=None)
    return HeaderFacts(retry_after=retry_after, quotas=tuple(found.values()))


def _collect(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """Fields by lower-case name; repeated ones are joined as HTTP allows. What is no pair of texts is left out."""
    fields: dict[str, str] = {}
    pairs: Iterable[Any] = headers.items() if isinstance(headers, Mapping) else headers
    for pair in pairs:
        if isinstance(pair, tuple | list) and len(pair) == 2:
            name, value = (part.decode("latin-1") if isinstance(part, bytes) else part for part in pair)
            if isinstance(name, str) and isinstance(value, str):
                name = name.strip().lower()
                whole = f"{fields[name]}, {value}" if name in fields else value
                fields[name] = whole[:_LONGEST_FIELD].strip()
    return fields


def _retry_after(fields: Mapping[str, str], now_wall: float) -> float | None:
    if (milliseconds := _number(fields.get("retry-after-ms"))) is not None:
        return _clamp(milliseconds / 1_000)
    value = fields.get("retry-after")
    if (seconds := _number(value)) is not None:
        return _clamp(seconds)
    return _until(_http_date(value), now_wall)


def _anthropic(fields: Mapping[str, str], now_wall: float) -> Iterator[QuotaFact]:
    names = {"requests": "rpm", "tokens": "tpm", "input-tokens": "input_tpm", "output-tokens": "output_tpm"}
    for name, quota in names.items():
        prefix = f"anthropic-ratelimit-{name}-"
        resets_in = _until(_instant(fields.get(prefix + "reset")), now_wall)
        yield from _fact(quota, fields.get(prefix + "limit"), fields.get(prefix + "remaining"), resets_in)


def _openai(fields: Mapping[str, str], now_wall: float, requests: str) -> Iterator[QuotaFact]:
    for name, quota in (("requests", requests), ("tokens", "tpm")):
        resets_in = _reset(fields.get(f"x-ratelimit-reset-{name}"), now_wall)
        limit, remaining = fields.get(f"x-ratelimit-limit-{name}"), fields.get(f"x-ratelimit-remaining-{name}")
        yield from _fact(quota, limit, remaining, resets_in)


def _ietf(fields: Mapping[str, str]) -> Iterator[QuotaFact]:
    """A fact for every policy by the minute or the day; of two of the same kind the one with less left comes first."""
    levels = dict(_items(fields.get("ratelimit", "")))
    facts: list[QuotaFact] = []
    for name, policy in _items(fields.get("ratelimit-policy", "")):
        quota = _POLICIES.get((policy.get("qu", "requests").strip('"'), _number(policy.get("w")) or 0.0))
        level = levels.get(name, {})
        if quota is not None:
            facts += _fact(quota, policy.get("q"), level.get("r"), _clamp(_number(level.get("t"))))
    yield from sorted(facts, key=lambda fact: (fact.remaining is None, fact.remaining))


def _items(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The members of a structured list (RFC 9651): name and parameters."""
    for item in _ITEM.finditer(value):
        yield item[1].strip('"'), dict(_PARAMETER.findall(item[2]))


def _fact(quota: str, limit: str | None, remaining: str | None, resets_in: float | None) -> Iterator[QuotaFact]:
    """The fact, if anything at all is said."""
    fact = QuotaFact(quota=quota, limit=_number(limit), remaining=_remaining(remaining), resets_in=resets_in)
    if fact != QuotaFact(quota=quota):
        yield fact


def _remaining(value: str | None) -> float | None:
    """As a number; some services count into the negative when an estimate was too low."""
    return 0.0 if value is not None and re.fullmatch(r"-[0-9]{1,18}", value) else _number(value)


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value.strip()) else None


def _reset(value: str | None, now_wall: float) -> float | None:
    """Seconds of `6m0s`, of a bare number of seconds, or until an instant."""
    if value is None:
        return None
    if _DURATION.fullmatch(value):
        return _clamp(sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION_PART.findall(value)))
    number = _number(value)
    if number is not None and number >= _EPOCH:
        return _until(number, now_wall)
    return _clamp(number) if number is not None else _until(_instant(value), now_wall)


def _instant(value: str | None) -> float | None:
    """POSIX seconds of an RFC 3339 instant."""
    if value is None or _INSTANT.fullmatch(value) is None:
        return None
    try:
        return datetime.datetime.fromisoformat(value.upper()).timestamp()
    except (ValueError, OverflowError):
        return None


def _http_date(value: str | None) -> float | None:
    """POSIX seconds of an HTTP date; without a zone it is GMT."""
    if value is None or len(value) > 64:
        return None
    try:
        found = email.utils.parsedate_to_datetime(value)
        return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _until(instant: float | None, now_wall: float) -> float | None:
    return None if instant is None else _clamp(instant - now_wall)


def _clamp(seconds: float | None) -> float | None:
    """Within [0, LONGEST]; None for what is no number."""
    if seconds is None or seconds != seconds:
        return None
    return min(max(seconds, 0.0), LONGEST)
