"""How much an article matters: hotness of its cluster and goodness of its domain, weighted, from 0 to 1.

Hotness is divided by the most there can be (configured, or the highest in the input); goodness comes from the article
itself or from a table of domains. Both are held within 0 and 1 before they are weighted.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ratelimit_router.errors import ConfigError
from ratelimit_router_extraction.articles import Article, domain_of

__all__ = ["Domains", "Score", "Weights", "domains_of", "highest_hotness", "score"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each of the two counts; only their ratio matters. Raises ConfigError if they cannot be weights."""

    hotness: float = 0.6
    goodness: float = 0.4

    def __post_init__(self) -> None:
        for name in ("hotness", "goodness"):
            _check_number(getattr(self, name), name)
        if self.hotness + self.goodness <= 0:
            raise ConfigError("at least one weight must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """Goodness by domain, from 0 to `scale`. A domain answers for its subdomains; `default` is for the unknown."""

    goodness: Mapping[str, float] = field(default_factory=dict)
    default: float = 0.5
    scale: float = 1.0

    def look_up(self, domain: str) -> tuple[float, str | None]:
        """The goodness of a domain from 0 to 1, and the entry that says so: the longest that it ends with, or None."""
        labels = domain.split(".")
        for start in range(len(labels)):
            entry = ".".join(labels[start:])
            if entry in self.goodness:
                return _within(self.goodness[entry] / self.scale), entry
        return _within(self.default / self.scale), None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One article's priority and where it comes from; `entry` is the line of the domain table that was used."""

    value: float
    hotness: float
    goodness: float
    entry: str | None
    from_article: bool


def score(article: Article, weights: Weights, domains: Domains, most: float) -> Score:
    """The priority of an article. `most`: the hotness that counts as 1. A missing hotness counts as 0."""
    hotness = _within((article.hotness or 0.0) / most) if most > 0 else 0.0
    goodness, entry = domains.look_up(article.domain)
    if article.goodness is not None:
        goodness, entry = _within(article.goodness / domains.scale), None
    whole = weights.hotness + weights.goodness
    value = (weights.hotness * hotness + weights.goodness * goodness) / whole
    return Score(
        value=_within(value),
        hotness=hotness,
        goodness=goodness,
        entry=entry,
        from_article=article.goodness is not None,
    )


def highest_hotness(articles: Iterable[Article]) -> float:
    """The highest hotness there is; 0 if none has any."""
    return max((article.hotness or 0.0 for article in articles), default=0.0)


def domains_of(table: Mapping[str, Any]) -> Domains:
    """A domain table as read from TOML: `default`, `scale`, and the domains under `[domains]`.

    A domain may be quoted ("bbc.co.uk" = 0.9) or bare (bbc.co.uk = 0.9, which TOML reads as nested tables). Raises
    ConfigError, with the key, for anything that is not a number within 0 and `scale`.
    """
    for name in table:
        if name not in ("default", "scale", "domains"):
            raise ConfigError("unknown key; there are: default, scale, and the table [domains]", key=name)
    scale = table.get("scale", 1.0)
    _check_number(scale, "scale")
    if scale == 0:
        raise ConfigError("must be more than 0", key="scale")
    default = table.get("default", scale / 2)
    _check_number(default, "default", scale)
    domains = table.get("domains", {})
    if not isinstance(domains, Mapping):
        raise ConfigError("must be a table of domains", key="domains")
    flat = dict(_flat(domains, "", scale))
    return Domains(goodness=flat, default=default, scale=scale)


def _flat(table: Mapping[str, Any], within: str, scale: float) -> Iterable[tuple[str, float]]:
    for name, value in table.items():
        whole = f"{within}.{name}" if within else name
        if isinstance(value, Mapping):
            yield from _flat(value, whole, scale)
        else:
            _check_number(value, f"domains.{whole}", scale)
            yield domain_of(whole), float(value)


def _check_number(value: object, key: str, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"must be a number, not {type(value).__name__}", key=key)
    if not 0 <= value <= most or math.isinf(value):
        limit = "a finite number that is not negative" if math.isinf(most) else f"from 0 to {most:g}"
        raise ConfigError(f"must be {limit}, not {value}", key=key)


def _within(value: float) -> float:
    return min(1.0, max(0.0, value))
