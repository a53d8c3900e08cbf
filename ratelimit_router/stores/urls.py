"""A store as it is named in a file or on the command line.

`memory:`                    this process alone (the default)
`sqlite:PATH`                the processes of one machine
`redis://HOST:PORT/DB`       any number of machines; `rediss://` with TLS, `unix://PATH`
`env:NAME`                   any of these, in an environment variable: where a URL has a password it belongs there
"""

import os
import re
from collections.abc import Mapping

from ratelimit_router.errors import ConfigError
from ratelimit_router.stores.memory import MemoryStore
from ratelimit_router.stores.shared import SharedStore

__all__ = ["MEMORY", "check_url", "open_store"]

MEMORY = "memory:"
KINDS = ("memory", "sqlite", "redis", "rediss", "unix", "env")


def check_url(url: str) -> None:
    """Raises ConfigError, which never shows the URL, for one that names no store."""
    found = re.match(r"([a-z][a-z0-9+]{0,20}):(.*)", url, re.DOTALL)
    if found is None:
        raise ConfigError(f"must be the URL of a store: {_known()}", key="store")
    kind, rest = found.groups()
    if kind not in KINDS:
        raise ConfigError(f'there is no store "{kind}:": {_known()}', key="store")
    if kind in ("sqlite", "env") and not rest:
        raise ConfigError(f'"{kind}:" wants {"a path" if kind == "sqlite" else "a variable"} behind it', key="store")
    if kind == "memory" and rest:
        raise ConfigError('"memory:" has nothing behind it', key="store")
    if kind in ("redis", "rediss", "unix") and re.search(r"//[^/]*:[^/@]+@", url):
        raise ConfigError('holds a password: write "env:NAME", and put the URL into that variable', key="store")


def open_store(
    url: str, environ: Mapping[str, str] = os.environ, *, processes: int | None = None
) -> MemoryStore | SharedStore:
    """The store of that name, not connected yet. `processes`: carry on with a share while it is away.

    Raises ConfigError for a URL that names none, an unset variable, or a missing extra.
    """
    check_url(url)
    if url.startswith("env:"):
        variable = url.removeprefix("env:")
        url = environ.get(variable, "").strip()
        if not url:
            raise ConfigError(f"the environment variable {variable[:60]} is not set: export it", key="store")
        if url.startswith("env:"):
            raise ConfigError(f"the environment variable {variable[:60]} names another variable", key="store")
    kind = url.partition(":")[0]
    if kind == "memory":
        return MemoryStore()
    store: SharedStore
    if kind == "sqlite":
        from ratelimit_router.stores.sqlite import SqliteStore

        store = SqliteStore(url.removeprefix("sqlite:"))
    elif kind in ("redis", "rediss", "unix"):
        from ratelimit_router.stores.redis import RedisStore

        store = RedisStore(url)
    else:
        raise ConfigError(f"names no store: {_known()}", key="store")
    if processes is None:
        return store
    from ratelimit_router.stores.outage import ShareOnOutage

    return ShareOnOutage(store, processes=processes)


def _known() -> str:
    return "there are memory:, sqlite:PATH, redis://..., rediss://..., unix://..., and env:NAME for one of them"
