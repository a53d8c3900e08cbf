"""A run seen from outside: Prometheus metrics on a loopback port, and the router's events as JSON lines."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from ratelimit_router.errors import ConfigError
from ratelimit_router.events import Observer
from ratelimit_router.observers.prometheus import PrometheusMetrics
from ratelimit_router.observers.structlog import StructlogObserver
from ratelimit_router.router import Router

__all__ = ["json_log", "serving_metrics"]


@contextlib.asynccontextmanager
async def serving_metrics(router: Router, port: int | None) -> AsyncIterator[None]:
    """`http://127.0.0.1:PORT/metrics` until the block ends; nothing for None. Raises ConfigError if it is taken."""
    if port is None:
        yield
        return
    registry = CollectorRegistry()
    PrometheusMetrics(router, registry)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise ConfigError(f"port {port} cannot be opened: {error.strerror}", key="--metrics-port") from error
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)  # not in the loop: a scrape under way needs it
        server.server_close()
        await asyncio.to_thread(thread.join)


@contextlib.contextmanager
def json_log(path: Path | None) -> Iterator[tuple[Observer, ...]]:
    """Observers that append every event to a file, one JSON object a line; none for None."""
    if path is None:
        yield ()
        return
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(path), key="--log-json") from error
    with file:
        processors: list[structlog.typing.Processor] = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _finite,
            structlog.processors.JSONRenderer(),
        ]
        logger = structlog.wrap_logger(structlog.WriteLogger(file), processors=processors)
        yield (StructlogObserver(logger),)


def _finite(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """JSON has no infinity: null stands for it."""
    for key, value in event.items():
        if isinstance(value, float) and not math.isfinite(value):
            event[key] = None
    return event
