"""From a configuration file and the command line to everything that a run needs, checked before anything starts."""

import contextlib
import importlib
import importlib.resources
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ratelimit_router import plugins
from ratelimit_router.config import Config, check_keys, load_config
from ratelimit_router.errors import ConfigError
from ratelimit_router.models import Model
from ratelimit_router.provider import Provider
from ratelimit_router.stores.urls import check_url
from ratelimit_router.toml_file import one_line, parse_toml, read_text
from ratelimit_router.toml_lines import line_of
from ratelimit_router.toml_tables import Defect, Table
from ratelimit_router_extraction.priority import Domains, domains_of
from ratelimit_router_extraction.service import Simulation, check_simulated, needs_simulation, simulation_of
from ratelimit_router_extraction.settings import Settings, settings_of

__all__ = ["Setup", "load_domains", "load_setup", "open_providers", "providers_of"]

T = TypeVar("T")
_SDKS = {"gemini": "google.genai.types", "gemini-legacy": "google.generativeai"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a run starts from. `simulation`: how to embed the service; None: call the real one."""

    config: Config
    settings: Settings
    domains: Domains
    simulation: Simulation | None


def load_setup(
    path: str | None,
    changes: Mapping[str, Any],
    *,
    domains: str | None = None,
    simulate: bool = False,
    store: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Setup:
    """Everything from the file at `path` (None: the packaged one), with `changes` over its `[extract]` table.

    The embedded service is used without a file, if the file or `simulate` says so, and if no key is there. Raises
    ConfigError, with file, line and key, for everything that cannot work.
    """
    if path is None:
        with importlib.resources.as_file(
            importlib.resources.files("ratelimit_router_extraction") / "default.toml"
        ) as default:
            return load_setup(str(default), changes, domains=domains, simulate=True, store=store, environ=environ)
    config = load_config(path, environ, require_keys=False, known_tables=("extract", "simulation"))
    if store is not None:
        check_url(store)
        config = replace(config, store=store)
    names = _names(config.models)
    simulation: Simulation | None = _read(config, path, "simulation", lambda table: simulation_of(table, names))
    settings = _settings(config, path, changes)
    if not (simulate or (simulation and simulation.always) or needs_simulation(config.models, environ)):
        check_keys(config, environ)
        simulation = None
    else:
        check_simulated(config.models, config.file)
    for model in config.models:
        _provider_class(model, config.file)
    place = domains or (str(Path(path).parent / settings.domains) if settings.domains else None)
    return Setup(
        config=config,
        settings=settings,
        domains=Domains() if place is None else load_domains(place),
        simulation=simulation,
    )


def load_domains(path: str) -> Domains:
    """The domain table in a TOML file. Raises ConfigError with file, line and key."""
    file = one_line(path)
    source = read_text(path, file)
    try:
        return domains_of(parse_toml(source, file))
    except ConfigError as error:
        if error.file is not None:
            raise
        raise error.at(file=file, line=line_of(source, tuple((error.key or "").split(".", 1)))) from None


def providers_of(models: Collection[Model]) -> dict[str, Provider]:
    """One instance of every provider that the models name. Raises ConfigError for one that is not installed."""
    found: dict[str, Provider] = {}
    for model in models:
        name = model.provider or ""
        if name not in found:
            found[name] = _provider_class(model)()
            _import_sdk(name)
    return found


def _provider_class(model: Model, file: str | None = None) -> Callable[[], Provider]:
    if model.provider is None:
        raise ConfigError("is missing: who calls this model?", key=f"models.{model.name}.provider", file=file)
    if (found := plugins.provider_class(model.provider)) is None:
        told = f"no provider {model.provider!r} is installed; there are: {', '.join(plugins.providers())}"
        raise ConfigError(told, key=f"models.{model.name}.provider", file=file)
    made: Callable[[], Provider] = found
    return made


@contextlib.asynccontextmanager
async def open_providers(models: Collection[Model]) -> AsyncIterator[dict[str, Provider]]:
    """The same for the length of a block; at its end their connections are closed."""
    providers = providers_of(models)
    try:
        yield providers
    finally:
        for provider in providers.values():
            if (close := getattr(provider, "aclose", None)) is not None:
                await close()


def _import_sdk(provider: str) -> None:
    """Importing an SDK stops the event loop for half a second: better before the first call's quota is charged."""
    if provider in _SDKS:
        with contextlib.suppress(ImportError):  # the provider itself says, at its first call, which extra is missing
            importlib.import_module(_SDKS[provider])


def _settings(config: Config, path: str, changes: Mapping[str, Any]) -> Settings:
    """The file's settings are checked by themselves first, so that an error names its true source."""
    tiers = _names(config.tiers)
    settings = _read(config, path, "extract", lambda table: settings_of(table, tiers))
    if not changes:
        return settings
    base = {key: value for key, value in config.tables.get("extract", {}).items() if not _replaced(key, changes)}
    try:
        return settings_of(Table((), {**base, **changes}), tiers)
    except Defect as defect:
        raise ConfigError(one_line(defect.problem), key=_option(defect.path[0] if defect.path else "")) from None


def _replaced(key: str, changes: Mapping[str, Any]) -> bool:
    return key in changes or (key in ("cuts", "quantiles") and not changes.keys().isdisjoint(("cuts", "quantiles")))


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _read(config: Config, path: str, name: str, build: Callable[[Table], T]) -> T:
    try:
        return build(Table((name,), config.tables.get(name, {})))
    except Defect as defect:
        line = line_of(read_text(path, path), defect.path)
        key = ".".join(defect.path)
        raise ConfigError(one_line(defect.problem), key=key, file=config.file, line=line) from None


def _names(things: Collection[Any]) -> list[str]:
    return [thing.name for thing in things]
