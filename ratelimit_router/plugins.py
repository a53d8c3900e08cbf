"""What other distributions add, by entry point: providers and commands. Nothing is imported before it is asked for."""

import functools
import importlib.metadata
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Any

from ratelimit_router.errors import ConfigError

__all__ = ["COMMANDS", "PROVIDERS", "commands", "load", "provider_class", "providers"]

PROVIDERS = "ratelimit_router.providers"
"""Entry points that name a class with the shape of `Provider`, made without arguments."""
COMMANDS = "ratelimit_router.commands"
"""Entry points that name a click command; each may own the TOML table of its name."""


def providers() -> Mapping[str, EntryPoint]:
    """The installed providers by name, not loaded."""
    return _entry_points(PROVIDERS)


def commands() -> Mapping[str, EntryPoint]:
    """The installed commands by name, not loaded."""
    return _entry_points(COMMANDS)


def provider_class(name: str) -> Any | None:
    """The provider of that name, ready to be called without arguments; None when none is installed.

    Raises ConfigError, which names the distribution to blame, when one is installed and cannot be used.
    """
    entry = providers().get(name)
    if entry is None:
        return None
    found = load(entry)
    if not callable(found):
        raise ConfigError(f"the provider {name!r} of {_origin(entry)} is not a class, but {type(found).__name__}")
    return found


def load(entry: EntryPoint) -> Any:
    """What an entry point names. Raises ConfigError, which names its distribution, if it cannot be imported."""
    try:
        return entry.load()
    except Exception as error:
        raise ConfigError(f"{_origin(entry)} cannot be loaded as {entry.name!r}: {_cause(entry, error)}") from error


def _cause(entry: EntryPoint, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and not entry.value.startswith(error.name):
        return f"it needs the module {error.name}; install it with the extra {_extra(entry)}"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _extra(entry: EntryPoint) -> str:
    """Extras are named as the entry points that need them."""
    return f"{entry.dist.name}[{entry.name}]" if entry.dist else entry.name


def _origin(entry: EntryPoint) -> str:
    distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"
    return f"{distribution} ({entry.value})"


@functools.cache
def _entry_points(group: str) -> Mapping[str, EntryPoint]:
    """Looked up once: reading the metadata of every installed distribution is slow. Of one name, the first wins."""
    found: dict[str, EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=group):
        found.setdefault(entry.name, entry)
    return MappingProxyType(found)
