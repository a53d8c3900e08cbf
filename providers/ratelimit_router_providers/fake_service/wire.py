"""The wire formats that the service speaks: what the desk decides is the same in all, how it is worded differs.

A wire is two modules: one reads requests and writes answers, the other writes refusals. To add a service, write those
two, name them here, and give its paths a handler in `server`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ratelimit_router.simulation.quota import Decision
from ratelimit_router_providers.fake_service import gemini, openai, openai_refusals, refusals
from ratelimit_router_providers.fake_service.config import FakeModel
from ratelimit_router_providers.fake_service.exchange import Ask, Draft, Refusal
from ratelimit_router_providers.fake_service.faults import Strike

__all__ = ["GEMINI", "OPENAI", "Talk", "Wire"]


class Talk(Protocol):
    """Requests as values, answers as JSON."""

    def parse(self, body: object) -> Ask:
        """The request in a body. Raises MalformedRequestError."""
        ...

    def answer(self, model: FakeModel, draft: Draft, response_id: str) -> dict[str, Any]:
        """The whole answer."""
        ...

    def chunks(self, model: FakeModel, draft: Draft, response_id: str) -> Iterator[dict[str, Any]]:
        """The answer in pieces."""
        ...

    def blocked(self, model: FakeModel, ask: Ask, response_id: str) -> dict[str, Any]:
        """The answer to a prompt that was blocked."""
        ...


class Refusals(Protocol):
    """How the service says no."""

    def no_key(self) -> Refusal:
        """A call without a key."""
        ...

    def wrong_key(self) -> Refusal:
        """A key that it does not know."""
        ...

    def bad_request(self, message: str) -> Refusal:
        """The request's own fault."""
        ...

    def model_not_found(self, model_id: str, version: str) -> Refusal:
        """No such model."""
        ...

    def too_long(self, tokens: int, limit: int) -> Refusal:
        """A prompt beyond the model's window."""
        ...

    def for_decision(self, model: FakeModel, decision: Decision) -> Refusal:
        """The 429 for quotas that are really used up."""
        ...

    def for_strike(self, strike: Strike, model: FakeModel, version: str) -> Refusal:
        """What a fault at the front answers."""
        ...

    def internal(self) -> Refusal:
        """The service broke."""
        ...

    def overloaded(self) -> Refusal:
        """The service is full."""
        ...


@dataclass(frozen=True, slots=True)
class Wire:
    """One service's format."""

    name: str
    talk: Talk
    refusals: Refusals


GEMINI = Wire("gemini", gemini, refusals)
OPENAI = Wire("openai", openai, openai_refusals)
