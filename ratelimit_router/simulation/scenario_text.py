"""A scenario as the text of a TOML file: only what is not the default, so that what matters can be seen."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

try:
    import tomli_w
except ImportError as error:
    raise ImportError("writing scenarios needs the extra: pip install 'ratelimit-router[storm]'") from error

from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.simulation.mirror import mirror_account, mirror_service
from ratelimit_router.simulation.scenario import VERSION, Account, Distribution, Scenario, Service
from ratelimit_router.simulation.scenario_tables import order, refill_defaults

__all__ = ["scenario_text"]


def scenario_text(scenario: Scenario) -> str:
    """The text; `scenario_file.load_scenario` makes the same scenario of it. Keys are left out: nothing is called."""
    router = _plain(scenario, "fallback", "slow_start", "guard")
    if scenario.slow_start is None:
        router["slow_start"] = False
    document = {
        "scenario": {"version": VERSION}
        | _plain(scenario, "name", "family", "about", "seed", "start", "horizon", "slack"),
        "models": {model.name: _model(model) for model in scenario.models},
        "pools": {pool.name: _plain(pool, "limits") for pool in scenario.pools},
        "tiers": {tier.name: _tier(tier) for tier in scenario.tiers},
        "router": router,
        "network": _plain(scenario.network),
        "services": _services(scenario),
        "accounts": _accounts(scenario),
        "load": [_plain(load) for load in scenario.loads],
    }
    return tomli_w.dumps({key: value for key, value in document.items() if value})


def _model(model: Model) -> dict[str, Any]:
    found = _plain(model, "provider", "id", "limits", "pools", "base_url", "options")
    if model.id == model.name:
        del found["id"]
    return found


def _tier(tier: Tier) -> dict[str, Any]:
    chain = [step[0] if len(step) == 1 else list(step) for step in tier.chain]
    return {"chain": chain} | _plain(tier, "patience", "weight")


def _services(scenario: Scenario) -> dict[str, Any]:
    """Those that differ from their model; all of them, if their order does."""
    models = {model.name: model for model in scenario.models}
    found = {service.name: _service(service, models[service.name]) for service in scenario.services}
    needed = {name: table for name, table in found.items() if table}
    return needed if order(models, needed) == list(found) else found


def _service(service: Service, model: Model) -> dict[str, Any]:
    mirrored = mirror_service(model, refill_defaults([model]))
    found = _plain(service, but=("name", "quotas", "concurrency", "accounts")) | _quotas(service, mirrored)
    if service.accounts != mirrored.accounts:
        found["accounts"] = list(service.accounts)
    return found


def _accounts(scenario: Scenario) -> dict[str, Any]:
    """Those that differ from the pool of their name, or that no service draws on."""
    used = {name for service in scenario.services for name in service.accounts}
    pools = {pool.name: pool for pool in scenario.pools}
    found = {}
    for account in scenario.accounts:
        pool = pools.get(account.name, Pool(account.name))
        mirrored = mirror_account(pool, refill_defaults(scenario.models, pool.name))
        found[account.name] = _plain(account, but=("name", "quotas", "concurrency")) | _quotas(account, mirrored)
    needed = {name: table for name, table in found.items() if table or name not in used or name not in pools}
    known = [name for name in pools if name in used or name in needed]
    return needed if order(known, needed) == list(found) else found


def _quotas(real: Service | Account, mirrored: Service | Account) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if real.concurrency != mirrored.concurrency:
        found["concurrency"] = False if real.concurrency is None else real.concurrency
    if real.quotas != mirrored.quotas:  # tables all of them: numbers would be written first, in another order
        found["limits"] = {rule.name: _plain(rule, but=("name",)) for rule in real.quotas}
    return found


def _plain(value: Any, *only: str, but: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass that are not at their defaults."""
    found = {}
    for each in fields(value):
        if each.name in but or (only and each.name not in only):
            continue
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if (held := getattr(value, each.name)) != default:
            found[each.name] = _value(held)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, Distribution) and value == Distribution(median=value.median):
        return value.median
    if is_dataclass(value):
        return _plain(value)
    if isinstance(value, tuple):
        return [_value(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value
