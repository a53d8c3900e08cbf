"""What happens in a router, as values for its observers. No event holds a key, a prompt or an answer.

An observer is any callable that takes one event. It is called in the router's own turn of the event loop: it must be
quick, and must not await. Should it raise, the error goes to the logger `ratelimit_router`, and the router goes on.
`at` is the instant on the router's clock (seconds); models and tiers are given by name.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ratelimit_router.reasons import Skipped

__all__ = [
    "Cooled",
    "Event",
    "FellBack",
    "KeyRefused",
    "LimitLearned",
    "ModelRemoved",
    "Observer",
    "Probed",
    "Recovered",
    "Refused",
    "Rejected",
    "Routed",
    "Settled",
    "Waited",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at `at`."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed(Event):
    """A model was leased. `depth`: 0 is the first step of the chain. `waited`: seconds in line."""

    tier: str
    model: str
    depth: int
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited(Event):
    """A request had to join the line. `reasons`: why no candidate was free."""

    tier: str
    queued: int
    reasons: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack(Event):
    """A later step than the first was chosen. `reason`: why not the first."""

    tier: str
    from_model: str
    to_model: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """The service refused a call. `kind`: see `outcomes.Kind`. `retry_after`: its hint in seconds."""

    tier: str
    model: str
    kind: str
    quota: str | None
    limit: float | None
    retry_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooled(Event):
    """A model or pool was closed until `until` (infinity: until `reconfigure`). `strikes`: incidents in a row."""

    model: str
    until: float
    seconds: float
    provenance: str
    reason: str
    quota: str | None
    strikes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(Event):
    """The first call after a cooldown was let through."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered(Event):
    """A probe came back well: the model opens again, in a ramp."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Event):
    """A call ended well. Tokens as reported, or as estimated where nothing was reported. `held`: seconds."""

    tier: str
    model: str
    input_tokens: float
    output_tokens: float
    held: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRemoved(Event):
    """The service does not know the model: it is out of every chain until `reconfigure`."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRefused(Event):
    """The service refuses a key, or its account cannot pay: all `models` of that key are closed until `reconfigure`."""

    models: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLearned(Event):
    """A rejection or a header taught a limit. `amount` a period, `burst` at once; `configured`: as the user said."""

    model: str
    quota: str
    amount: float
    burst: float
    configured: float
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """A request was turned away. `error`: the name of the error class."""

    tier: str
    error: str
    retry_at: float


Observer = Callable[[Event], None]
"""Gets every event. See the module for what it may do."""
