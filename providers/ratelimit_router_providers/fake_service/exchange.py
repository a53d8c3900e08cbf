"""One request and its answer, in no service's terms: what the desk decides about, and the wires put into words.

Tokens are counted as a quarter of the characters, in every wire the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Ask", "Draft", "MalformedRequestError", "Refusal", "count", "draft"]


class MalformedRequestError(ValueError):
    """The body is no request that the service would take; the text says why and holds none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a client wants. `schema`: of a structured answer, None for plain text. `usage`: a stream ends with it."""

    prompt: str = field(repr=False)
    input_tokens: int
    json: bool = False
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    max_output_tokens: int | None = None
    usage: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer before it is sent. `finish`: why it ends: STOP, MAX_TOKENS or SAFETY. `usage`: as in `Ask`."""

    text: str = field(repr=False)
    input_tokens: int
    output_tokens: int
    finish: str = "STOP"
    usage: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An HTTP answer that refuses. `hint`: the seconds it tells the client to wait, None if it tells nothing."""

    status: int
    body: str
    content_type: str = "application/json"
    hint: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def count(text: str) -> int:
    """Tokens of a text: a quarter of its characters, rounded up."""
    return math.ceil(len(text) / 4)


def draft(ask: Ask, text: str) -> Draft:
    """The text as an answer, cut where the request caps it."""
    cap, finish = ask.max_output_tokens, "STOP"
    if cap is not None and count(text) > cap:
        text, finish = text[: cap * 4], "MAX_TOKENS"
    return Draft(text=text, input_tokens=ask.input_tokens, output_tokens=count(text), finish=finish, usage=ask.usage)
