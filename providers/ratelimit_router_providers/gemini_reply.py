"""What a Gemini answer says, whole or in pieces, told apart from what only looks like an answer.

- A finish for SAFETY, RECITATION, MAX_TOKENS, ... is a reply with that reason: it cost quota, and asking again would
  bring the same. A blocked prompt is the request's fault. No candidate, or a regular stop without content, is a bad
  response.
- A stream without a finish reason was cut: the connection ended, and nothing else says so.
"""

import re
from dataclasses import dataclass

from ratelimit_router.errors import BadRequest, BadResponse, ProviderError
from ratelimit_router.messages import Usage

__all__ = ["Piece", "Progress", "word"]

_REGULAR = (None, "stop", "finish_reason_unspecified")


_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}", re.ASCII)


def word(reason: object) -> str | None:
    """A finish or block reason, an enum's or a text, in lower case; None if it is not one word."""
    value = str(getattr(reason, "value", reason) or "")
    return value.lower() if _WORD.fullmatch(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An answer, or a piece of one, in plain values.

    `content`: whether it holds anything at all (a function call is content without text). `blocked`: the reason why
    the prompt was refused.
    """

    text: str = ""
    content: bool = False
    candidate: bool = False
    finish_reason: str | None = None
    blocked: str | None = None
    usage: Usage | None = None


@dataclass(slots=True)
class Progress:
    """What has been seen of one answer; each method returns the error that it amounts to, or None."""

    _content: bool = False
    _candidate: bool = False
    finish_reason: str | None = None

    def take(self, piece: Piece) -> ProviderError | None:
        """Account for a piece, before it is passed on."""
        self._content |= piece.content
        self._candidate |= piece.candidate
        self.finish_reason = piece.finish_reason or self.finish_reason
        if piece.blocked and not self._candidate:
            return BadRequest(f"the prompt was blocked ({piece.blocked})")
        if piece.finish_reason in ("stop", "finish_reason_unspecified") and not self._content:
            return BadResponse("the answer is empty")
        return None

    def end(self, *, streamed: bool) -> ProviderError | None:
        """Account for the end of the answer."""
        if not self._candidate:
            return BadResponse("the answer holds no candidate")
        if streamed and self.finish_reason is None:
            return BadResponse("the stream was cut: it ended without a finish reason")
        if self.finish_reason in _REGULAR and not self._content:
            return BadResponse("the answer is empty")
        return None
