"""Makes a failing scenario smaller, as long as it keeps failing: what is left is what the failure needs.

Greedy and plain: of all scenarios that are one step smaller, the first that still fails is gone on with. A step takes
one thing out (a tier with its loads, a model with its places in chains, a trouble), halves a number of tasks, or puts
one value back to its default.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from math import isfinite
from typing import Any

from ratelimit_router.errors import ConfigError
from ratelimit_router.models import Step, chain_steps
from ratelimit_router.simulation.scenario import Scenario
from ratelimit_router.topology import check

__all__ = ["shrink"]

KEPT = frozenset({"name", "family", "about", "seed", "start", "horizon"})
"""Which storm this is, and when: that stays."""


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """A smaller scenario for which `fails` still holds, and of which nothing more can be taken; at worst the same."""
    while (smaller := next(filter(fails, _smaller(scenario)), None)) is not None:
        scenario = smaller
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario that is one step smaller and still makes sense, the largest steps first."""
    for smaller in _steps(scenario):
        try:
            check(smaller.models, smaller.pools, smaller.tiers, smaller.fallback)
        except ConfigError:
            continue
        yield smaller


def _steps(scenario: Scenario) -> Iterator[Scenario]:
    for without, names in (
        (_without_tier, [tier.name for tier in scenario.tiers]),
        (_without_model, [model.name for model in scenario.models]),
        (_without_pool, [pool.name for pool in scenario.pools]),
    ):
        for name in names:
            try:
                smaller = without(scenario, name)
            except ConfigError:  # nobody would ask for anything
                continue
            yield smaller
    yield from _simpler(scenario)


def _without_tier(scenario: Scenario, name: str) -> Scenario:
    return replace(
        scenario,
        tiers=tuple(tier for tier in scenario.tiers if tier.name != name),
        loads=tuple(load for load in scenario.loads if load.tier != name),
    )


def _without_model(scenario: Scenario, name: str) -> Scenario:
    chains = {tier.name: _chain_without(tier.chain, name) for tier in scenario.tiers}
    return replace(
        scenario,
        models=tuple(model for model in scenario.models if model.name != name),
        services=tuple(service for service in scenario.services if service.name != name),
        tiers=tuple(replace(tier, chain=chains[tier.name]) for tier in scenario.tiers if chains[tier.name]),
        loads=tuple(load for load in scenario.loads if chains[load.tier]),
        fallback=None if scenario.fallback == name else scenario.fallback,
    )


def _chain_without(chain: Sequence[str | Sequence[str]], model: str) -> tuple[Step, ...]:
    steps = (tuple(name for name in step if name != model) for step in chain_steps(chain))
    return tuple(step for step in steps if step)


def _without_pool(scenario: Scenario, name: str) -> Scenario:
    """Nor the account that it stands for."""
    return replace(
        scenario,
        models=tuple(replace(one, pools=_but(one.pools, name)) for one in scenario.models),
        services=tuple(replace(one, accounts=_but(one.accounts, name)) for one in scenario.services),
        pools=tuple(pool for pool in scenario.pools if pool.name != name),
        accounts=tuple(account for account in scenario.accounts if account.name != name),
    )


def _but(names: tuple[str, ...], left_out: str) -> tuple[str, ...]:
    return tuple(name for name in names if name != left_out)


def _simpler(value: Any) -> Iterator[Any]:
    """Values that differ from this one in one place, where they are simpler."""
    if isinstance(value, tuple):
        for place in range(len(value)):
            yield value[:place] + value[place + 1 :]
        for place, each in enumerate(value):
            for simpler in _simpler(each):
                yield (*value[:place], simpler, *value[place + 1 :])
    elif isinstance(value, float) and isfinite(value) and value != round(value):
        yield float(round(value))
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            if not (isinstance(value, Scenario) and each.name in KEPT):
                yield from _simpler_in(value, each)


def _simpler_in(value: Any, where: "Field[Any]") -> Iterator[Any]:
    """The dataclass with that field put back to its default, else with simpler values there."""
    old = getattr(value, where.name)
    default = where.default if where.default_factory is MISSING else where.default_factory()
    if old == default:
        return
    candidates = [] if default is MISSING else [default]
    candidates += [1, old // 2, old - 1] if where.name == "tasks" else _simpler(old)
    for new in candidates:
        try:
            simpler = replace(value, **{where.name: new})
        except ConfigError:
            continue
        if simpler != value:
            yield simpler
