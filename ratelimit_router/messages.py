"""What goes to a provider and what comes back. A prompt or an answer never shows in a repr."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ratelimit_router.models import Model

__all__ = ["Chunk", "Reply", "Request", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as estimated before it or as reported after it. `cached_tokens` are part of the input."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt in the terms that every provider shares.

    `schema`: a JSON schema that the answer must follow (structured output). `max_output_tokens`: a cap on the answer.
    `timeout`: seconds for the call itself, not for the wait before it. `options` goes to the provider as it is.
    """

    prompt: str = field(repr=False)
    system: str | None = field(default=None, repr=False)
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    max_output_tokens: int | None = None
    temperature: float | None = None
    timeout: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, request: "str | Request") -> "Request":
        """A plain text as a request."""
        return cls(prompt=request) if isinstance(request, str) else request


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. `raw` is the SDK's own object. `finish_reason` is in the service's words, lower case ("stop")."""

    text: str = field(repr=False)
    model: Model
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    raw: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a streamed answer. `usage` is the total so far, where the service reports it; the last one counts."""

    text: str = field(repr=False)
    usage: Usage | None = None
    finish_reason: str | None = None
    raw: Any = field(default=None, repr=False)
