"""The tables of a scenario file as one scenario: what stands there, and mirrors of the configuration for the rest."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ratelimit_router.config import Config
from ratelimit_router.limits import ROLLING, Limits, RefillDefaults
from ratelimit_router.models import Model, Pool
from ratelimit_router.registry import Registry
from ratelimit_router.simulation.mirror import mirror_account, mirror_rules, mirror_service
from ratelimit_router.simulation.scenario import VERSION, Account, Load, Network, Scenario, Service
from ratelimit_router.simulation.scenario_readers import (
    ACCOUNT,
    LOAD,
    NETWORK,
    SCENARIO,
    SERVICE,
    Reader,
    given,
    record,
    records,
)
from ratelimit_router.toml_tables import Table, did_you_mean

__all__ = ["OWN", "order", "read_scenario", "refill_defaults"]

OWN = ("scenario", "network", "services", "accounts", "load")
"""The top-level tables of a scenario, besides those of a router.toml."""


def read_scenario(top: Table, config: Config, name: str, loads: Iterable[Load] | None) -> Scenario:
    """The scenario that the tables of a file make of its configuration; `loads` in place of the file's own.

    Raises Defect for everything that cannot work.
    """
    header: dict[str, Any] = {"name": name} | _header(top)
    services = _services(top.table("services"), config)
    return top.make(
        Scenario,
        **header,
        models=tuple(replace(model, key=None) for model in config.models),
        tiers=config.tiers,
        pools=config.pools,
        fallback=config.fallback,
        services=services,
        accounts=_accounts(top.table("accounts"), config, services),
        network=record(Network, NETWORK)(top, "network"),
        loads=_loads(top) if loads is None else tuple(loads),
        guard=config.guard,
        slow_start=config.slow_start,
    )


def order(known: Collection[str], named: Collection[str]) -> list[str]:
    """The order of things of which there are `known` anyway, and of which a file has named some."""
    return list(named) if set(known) <= set(named) else [*known, *(name for name in named if name not in known)]


def refill_defaults(models: Collection[Model], pool: str | None = None) -> RefillDefaults:
    """How quotas come back where nothing is said: as the provider of the first model (that draws on the pool) says."""
    for model in models:
        if pool is None or pool in model.pools:
            return Registry({}).refill(model)
    return ROLLING


def _header(top: Table) -> dict[str, Any]:
    """What stands in `[scenario]`, which a plain router.toml does without."""
    table = top.table("scenario")
    found = given(table, SCENARIO)
    if any(key in top.values for key in OWN) and found.pop("version", None) != VERSION:
        table.refuse(f"must be {VERSION}, the version of this form of scenarios", "version")
    return found


def _loads(top: Table) -> tuple[Load, ...]:
    if "load" not in top.values:
        top.refuse("there is none: add [[load]] with a tier and a number of tasks", "load")
    return records(Load, LOAD)(top, "load")


def _services(table: Table, config: Config) -> tuple[Service, ...]:
    """One for each model; without a table of its own it does what the configuration says."""
    models = {model.name: model for model in config.models}
    for name in table.values:
        if name not in models:
            table.refuse(f"no model is called {name[:60]!r}{did_you_mean(name, models)}", name)
    return tuple(_service(table.table(name), models[name]) for name in order(models, table.values))


def _service(table: Table, model: Model) -> Service:
    defaults = refill_defaults([model])
    return table.make(mirror_service, model, defaults, **_truths(table, SERVICE, model.limits, defaults))


def _accounts(table: Table, config: Config, services: Collection[Service]) -> tuple[Account, ...]:
    """Those that are named, and those of pools that a service draws on."""
    used = {name for service in services for name in service.accounts}
    pools = {pool.name: pool for pool in config.pools if pool.name in used or pool.name in table.values}
    names = order(pools, table.values)
    return tuple(_account(table.table(name), pools.get(name, Pool(name)), config.models) for name in names)


def _account(table: Table, pool: Pool, models: Collection[Model]) -> Account:
    defaults = refill_defaults(models, pool.name)
    return table.make(mirror_account, pool, defaults, **_truths(table, ACCOUNT, pool.limits, defaults))


def _truths(table: Table, readers: Mapping[str, Reader], limits: Limits, defaults: RefillDefaults) -> dict[str, Any]:
    """What differs from its mirror. Quotas: the rules that stand there, or the configured ones by `factor`."""
    found = given(table, readers)
    factor, rules = found.pop("factor", None), found.pop("limits", None)
    if rules is None:
        return found | {"quotas": table.make(mirror_rules, limits, defaults, 1.0 if factor is None else factor)}
    if factor is not None:
        table.refuse("goes with the configured limits: leave it out, or leave out `limits`", "factor")
    return found | {"quotas": rules}
