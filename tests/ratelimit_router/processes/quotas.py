"""What the workers share: models that are each held back by another kind of quota, with periods of a second or two."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ratelimit_router.limits import DAY, Limit, Limits, Quota
from ratelimit_router.models import Model, Pool, Tier

__all__ = ["BINDING", "CHAIN", "COST", "Scheme", "scheme"]

COST = 10
"""Tokens that a call is expected to use; some use half of it."""
CHAIN = ("rpm", "tpm", ("left", "right"), "even", "clock", "daily")
BINDING = ("rpm.rpm", "tpm.tpm", "pair.rpm", "even.rpm", "clock.rpm", "daily.rpd")
"""The quota that holds each of them back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """Models and pools."""

    models: tuple[Model, ...]
    pools: tuple[Pool, ...]

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """All quotas, best first; calls in flight alone; both in one chain."""
        return Tier("all", CHAIN), Tier("slots", ["slots"]), Tier("mixed", (*CHAIN, "slots"))

    def accounts(self) -> Iterable[tuple[str, Limits, frozenset[str]]]:
        """Every model and pool: its limits, and the models whose calls count."""
        for model in self.models:
            yield model.name, model.limits, frozenset({model.name})
        for pool in self.pools:
            yield pool.name, pool.limits, frozenset(one.name for one in self.models if pool.name in one.pools)

    def quotas(self) -> Iterable[tuple[str, Quota, frozenset[str]]]:
        """Every quota: `account.quota`, and the models whose calls count."""
        for name, limits, models in self.accounts():
            for quota in limits.quotas():
                yield f"{name}.{quota.name}", quota, models

    def slots(self) -> Iterable[tuple[str, int, frozenset[str]]]:
        """Every limit of calls in flight."""
        for name, limits, models in self.accounts():
            if limits.concurrency:
                yield f"{name}.concurrency", limits.concurrency, models


def _reset() -> str:
    """A reset of daily quotas that is far from now."""
    return f"{time.gmtime(time.clock_gettime(time.CLOCK_REALTIME) + DAY / 2).tm_hour:02}:00 UTC"


def scheme(name: str = "usual", slots: int = 3) -> Scheme:
    """`usual`, or `other`: another operator's idea of the same models, nowhere larger, with quotas of its own."""
    usual = Scheme(
        models=(
            Model("rpm", limits=Limits(rpm=Limit(30, per=1.0), tpm=Limit(1000, per=2.0))),
            Model("tpm", limits=Limits(tpm=Limit(400, per=1.5), rpm=Limit(80, per=1.5))),
            Model("left", limits=Limits(rpm=Limit(20, per=1.0)), pools=("pair",)),
            Model("right", limits=Limits(rpm=Limit(20, per=1.0)), pools=("pair",)),
            Model("even", limits=Limits(rpm=Limit(20, per=1.0, burst=8))),
            Model("clock", limits=Limits(rpm=Limit(30, per=2.0, refill="calendar"))),
            Model("daily", limits=Limits(rpd=Limit(50, resets=_reset()))),
            Model("slots", limits=Limits(concurrency=slots)),
        ),
        pools=(Pool("pair", Limits(rpm=Limit(30, per=1.0))),),
    )
    if name == "usual":
        return usual
    changed = {
        "rpm": Limits(rpm=Limit(20, per=1.0)),
        "tpm": Limits(tpm=Limit(400, per=1.5), output_tpm=Limit(1000, per=2.0)),
        "even": Limits(rpm=Limit(15, per=1.0, burst=4)),
        "slots": Limits(concurrency=max(slots - 1, 1), rpm=Limit(1000, per=1.0, burst=1000)),
    }
    models = [replace(one, limits=changed.get(one.name, one.limits)) for one in usual.models]
    return Scheme(models=tuple(reversed(models)), pools=usual.pools)
