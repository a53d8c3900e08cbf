"""A Redis or Valkey server: where it is, what it says of itself, and what its errors mean."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ratelimit_router.errors import ConfigError, RouterError, StoreUnavailable
from ratelimit_router.stores.link import Dropped, Raw

__all__ = ["Address", "Facts", "translated"]

OLDEST = (6, 2)
PASSING = {
    "ASK": "its data is being moved",
    "BUSY": "it is busy with a script",
    "CLUSTERDOWN": "the cluster is down",
    "LOADING": "it is still loading its data",
    "MASTERDOWN": "it is a replica without a master",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "it has too few replicas",
    "OOM": "it is out of memory",
    "READONLY": "it is a read-only replica",
    "TRYAGAIN": "its data is being moved",
    "max number of clients": "it has too many clients",
}
"""What passes, by a word of the server's."""
CLASSES = {
    "AskError": "ASK",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""The words that redis-py makes classes of."""


class Address:
    """Where a server is. The user's name and the password are in nothing that it shows.

    Raises ConfigError if it is no URL of a server.
    """

    def __init__(self, url: str, timeout: float):
        try:
            options: dict[str, Any] = dict(cast("Any", parse_url)(url))
            parts = urlsplit(url)
            place = options.get("path", "") if parts.scheme == "unix" else f"{options.get('host', 'localhost')}"
            port = "" if parts.scheme == "unix" else f":{options.get('port', 6379)}"
        except ValueError:
            raise ConfigError(
                "not the URL of a server: it looks like redis://host:6379/0, rediss:// (TLS) or unix:///path",
                key="store",
            ) from None
        self._make: Callable[..., Any] = options.pop("connection_class", Connection)
        for unused in ("max_connections", "timeout"):
            options.pop(unused, None)
        self._options = options | {
            "socket_timeout": None,  # a link looks after that
            "socket_connect_timeout": timeout,
            "retry_on_timeout": False,
            "protocol": 2,
            "decode_responses": False,
        }
        self._moved: dict[str, Any] = {}
        base = f"{parts.scheme}://{place}{port}"
        self.name = f"{base}/{options['db']}" if options.get("db") else base

    def __repr__(self) -> str:
        return f"Address({self.name!r})"

    def connection(self) -> Raw:
        """A new connection, not open yet."""
        try:
            return cast("Raw", self._make(**(self._options | self._moved)))
        except (TypeError, ValueError):
            raise ConfigError("there is a parameter in the URL that redis-py does not know", key="store") from None

    def move(self, host: str, port: int) -> None:
        """Another node of the cluster has our keys."""
        self._moved = {"host": host, "port": port}

    def forget_move(self) -> None:
        """That node does not answer: ask the first one again."""
        self._moved = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a server says of itself. `uptime`: whole seconds. `can_be_replica`: it is one, or has been."""

    run: str
    uptime: int
    keeps_log: bool
    can_be_replica: bool
    evicts: str
    has_functions: bool

    @classmethod
    def read(cls, info: bytes) -> "Facts":
        """Of an answer to INFO. Raises ConfigError for a server that is too old."""
        told = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
        version = tuple(int(part) for part in told.get("redis_version", "0").split(".")[:2] if part.isdigit())
        if version < OLDEST:
            raise ConfigError(
                f"the server is Redis {told.get('redis_version', '?')}: 6.2 or later, or Valkey, is needed", key="store"
            )
        policy = told.get("maxmemory_policy", "noeviction")
        return cls(
            run=told.get("run_id", ""),
            uptime=int(told.get("uptime_in_seconds", "0")),
            keeps_log=told.get("aof_enabled") == "1",
            can_be_replica=told.get("role") != "master" or bool(told.get("master_replid2", "0").strip("0")),
            evicts="" if policy == "noeviction" else policy,
            has_functions=version >= (7, 0),
        )


def translated(error: Exception, store: str) -> RouterError:
    """What went wrong between us and a server, in the router's terms."""
    text, kind = str(error), type(error).__name__
    if isinstance(error, Dropped):
        return StoreUnavailable(store, error.detail)
    word = CLASSES.get(kind) or next((word for word in PASSING if word in text), None)
    if word is not None:
        return StoreUnavailable(store, PASSING[word])
    if isinstance(error, AuthenticationError):
        return ConfigError(f"{store} refuses the user's name or password", key="store")
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return StoreUnavailable(store, text.partition("\n")[0][:120] or kind)
    if isinstance(error, NoPermissionError) or "NOPERM" in text:
        return ConfigError(
            f"{store} does not allow the user what is needed: +info +evalsha +script|load +fcall +function|load"
            " +@scripting +subscribe, and the keys and the channel of the prefix",
            key="store",
        )
    if "WRONGTYPE" in text or "FOREIGN" in text:
        return ConfigError(f"{store} has data of something else under our keys: choose another prefix", key="store")
    if "SCHEMA" in text:
        return ConfigError(
            f"{store} was written by another version of this library: choose another prefix", key="store"
        )
    return ConfigError(f"{store} does not do what it is asked: {text[:200]}", key="store")
