"""An HTTP answer that is an error, caught in the HTTP client below the SDK and read before the SDK can misread it.

The SDKs lose some answers: google-genai fails on an error page that is not UTF-8, google-generativeai turns every
streamed error into a 400 without details. A response hook that raises `HttpError` sees them all, as they were sent.
"""

import json

from ratelimit_router.outcomes import Outcome
from ratelimit_router_providers.google_errors import outcome_of_body

__all__ = ["HttpError", "parse_body"]


class HttpError(Exception):
    """An error answer; `outcome` is all that is kept of it."""

    def __init__(self, outcome: Outcome):
        self.outcome = outcome
        super().__init__(f"HTTP {outcome.detail}".rstrip())

    @classmethod
    def of(cls, status: int, content: bytes, retry_after: str | None) -> "HttpError":
        """From the parts of a response: its status, its whole body, and its Retry-After header."""
        return cls(outcome_of_body(status, parse_body(content), header_hint=retry_after))


def parse_body(content: bytes) -> object:
    """The JSON of a body, or None if it is not JSON (a proxy's HTML page, say)."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
