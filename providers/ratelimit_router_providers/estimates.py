"""What a request will probably cost, and what an answer has cost if the service does not say."""

import json

from ratelimit_router.estimate import estimate_tokens
from ratelimit_router.messages import Request, Usage

__all__ = ["estimated_usage", "estimated_usage_of"]


def estimated_usage(request: Request) -> Usage:
    """Input tokens from prompt, system instruction and schema; output tokens from the request's cap, else 0."""
    schema = "" if request.schema is None else json.dumps(dict(request.schema), default=str)
    texts = (request.prompt, request.system or "", schema)
    return Usage(
        input_tokens=sum(estimate_tokens(text) for text in texts if text),
        output_tokens=request.max_output_tokens or 0,
    )


def estimated_usage_of(request: Request, text: str) -> Usage:
    """The same for an answered request, of which the service reports no usage."""
    return Usage(input_tokens=estimated_usage(request).input_tokens, output_tokens=estimate_tokens(text))
