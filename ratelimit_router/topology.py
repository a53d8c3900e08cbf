"""Models, pools and tiers put together: checked, and made into accounts and lines.

A tier's chain is its own steps, then the router's fallback if it is not there already. What only calendar quotas and
wrong names need is imported for them alone.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from ratelimit_router.account import Account
from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import Quota, RefillDefaults
from ratelimit_router.models import Model, Pool, Step, Tier, chain_steps
from ratelimit_router.selection import Candidate, Steps

if TYPE_CHECKING:
    from random import Random

__all__ = ["AccountFactory", "check", "resolve", "unknown"]


class AccountFactory:
    """Makes accounts (`make`: of which kind) that share one idea of time and chance."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: "Random",
        slow_start: int | None,
        guard: float,
        stretch: float,
        make: type[Account] = Account,
    ):
        self._make_account = make
        self._clock, self._wall_clock, self._rng, self._slow_start = clock, wall_clock, rng, slow_start
        self._guard, self._stretch = guard, stretch

    def pool(self, pool: Pool, defaults: RefillDefaults) -> Account:
        """A full account for a pool."""
        return self._make(pool.name, pool, defaults, prefix=f"{pool.name}.", pools=())

    def model(self, model: Model, defaults: RefillDefaults, pools: Sequence[Account]) -> Account:
        """A full account for a model, in slow start."""
        return self._make(model.name, model, defaults, prefix="", pools=pools, slow_start=self._slow_start)

    def _make(
        self,
        name: str,
        owner: Model | Pool,
        defaults: RefillDefaults,
        *,
        prefix: str,
        pools: Sequence[Account],
        slow_start: int | None = None,
    ) -> Account:
        try:
            return self._make_account(
                name,
                owner.limits,
                defaults=defaults,
                now=self._clock(),
                rng=self._rng,
                next_reset=self._calendar,
                day_reset=self._day_reset(defaults),
                prefix=prefix,
                pools=pools,
                slow_start=slow_start,
                guard=self._guard,
                stretch=self._stretch,
            )
        except ConfigError as error:
            kind = "models" if isinstance(owner, Model) else "pools"
            raise error.at(key=f"{kind}.{name}.limits") from None

    def _calendar(self, quota: Quota) -> Callable[[float], float]:
        if quota.refill == "calendar":
            from ratelimit_router.resets import parse_reset

            parse_reset(quota.resets)  # a wrong one is reported now, not at the first reset

        def reset(now: float) -> float:  # any instant: charges are told to their buckets later than they were made
            from ratelimit_router.resets import next_reset

            ahead = self._wall_clock() - self._clock()
            return max(next_reset(quota.resets, quota.period, now + ahead) - ahead, math.nextafter(now, math.inf))

        return reset

    def _day_reset(self, defaults: RefillDefaults) -> Callable[[float], float]:
        """When a daily quota that the service reports as used up is back: at the reset, or nobody knows: try hourly."""
        if defaults.day != "calendar":
            return lambda now: now + 3_600.0

        def reset(now: float) -> float:
            from ratelimit_router.resets import next_reset

            wall = self._wall_clock()
            return now + max(next_reset(defaults.resets, 86_400.0, wall) - wall, 0.0)

        return reset


def check(models: Sequence[Model], pools: Sequence[Pool], tiers: Sequence[Tier], fallback: str | None) -> None:
    """Raises ConfigError for names that are double or lead nowhere, and for a router without models or tiers."""
    if not models:
        raise ConfigError("a router needs at least one model", key="models")
    for kind, names in (
        ("models", [model.name for model in models]),
        ("pools", [pool.name for pool in pools]),
        ("tiers", [tier.name for tier in tiers]),
    ):
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two {kind} are named {name!r}", key=f"{kind}.{name}")
    known = {model.name for model in models}
    for model in models:
        for pool in model.pools:
            if pool not in {one.name for one in pools}:
                raise ConfigError(unknown("pool", pool, [one.name for one in pools]), key=f"models.{model.name}.pools")
    for tier in tiers:
        _check_names((name for step in chain_steps(tier.chain) for name in step), known, f"tiers.{tier.name}.chain")
    if fallback is not None:
        _check_names([fallback], known, "router.fallback")


def _check_names(names: Iterable[str], known: Collection[str], key: str) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(unknown("model", name, known), key=key)


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """The words for a name that leads nowhere, with the nearest one that does."""
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    hint = f": did you mean {near[0]!r}?" if near else f"; there are: {', '.join(sorted(known)) or 'none'}"
    return f"no {kind} is named {name!r}{hint}"


def resolve(
    chain: Sequence[Step], fallback: str | None, models: dict[str, Model], accounts: dict[str, Account], tier: str
) -> Steps:
    """A chain of names as steps of candidates, the fallback last."""
    steps = list(chain)
    if fallback is not None and all(fallback not in step for step in steps):
        steps.append((fallback,))
    return tuple(
        tuple(Candidate(models[name], accounts[name], tier, depth) for name in step) for depth, step in enumerate(steps)
    )
