"""Every event of a router as one structlog event: its name in snake_case, its fields as they are.

Quiet things (a lease, a settlement) are logged at debug, changes of plan at info, what needs a person at warning or
error.
"""

import re
from dataclasses import fields
from typing import Any

try:
    import structlog
except ImportError as error:
    raise ImportError("logging through structlog needs the extra: pip install 'ratelimit-router[structlog]'") from error

from ratelimit_router import events

__all__ = ["StructlogObserver"]

_LEVELS: dict[type[events.Event], str] = {
    events.Routed: "debug",
    events.Settled: "debug",
    events.Waited: "debug",
    events.FellBack: "info",
    events.Probed: "info",
    events.Recovered: "info",
    events.LimitLearned: "warning",
    events.Rejected: "warning",
    events.Cooled: "warning",
    events.Refused: "warning",
    events.ModelRemoved: "error",
    events.KeyRefused: "error",
}


class StructlogObserver:
    """Pass one to `Router(observers=[...])`. `logger`: a structlog logger of your own, with what you bound to it."""

    def __init__(self, logger: Any = None):
        self._logger = structlog.get_logger("ratelimit_router") if logger is None else logger

    def __call__(self, event: events.Event) -> None:
        """Log one event."""
        facts = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
        getattr(self._logger, _LEVELS.get(type(event), "info"))(_name(type(event)), **facts)


def _name(kind: type[events.Event]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def _plain(value: Any) -> Any:
    return [str(one) for one in value] if isinstance(value, tuple) else value
