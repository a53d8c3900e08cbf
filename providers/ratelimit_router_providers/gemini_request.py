"""From our Request to google-genai's configuration: one request on the wire for each call, whatever the options say."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ratelimit_router.errors import BadRequest
from ratelimit_router.messages import Request
from ratelimit_router.models import Model

if TYPE_CHECKING:
    from google.genai.types import GenerateContentConfig

__all__ = ["call_config", "call_timeout", "merged_options", "prompt_of"]

_REFUSED = ("http_options", "automatic_function_calling", "automatic_continuation")


def call_timeout(request: Request, default: float) -> float:
    """Seconds for the call. Raises BadRequest if the request's own are not a finite number above 0."""
    timeout = default if request.timeout is None else request.timeout
    if not 0 < timeout < math.inf:
        raise BadRequest(f"a timeout must be a finite number of seconds above 0, not {timeout!r}")
    return timeout


def prompt_of(request: Request) -> str:
    """The prompt. Raises BadRequest if it is empty: the service would refuse it, and count the call."""
    if not request.prompt:
        raise BadRequest("the prompt is empty")
    return request.prompt


def merged_options(model: Model, request: Request, refused: tuple[str, ...] = _REFUSED) -> dict[str, Any]:
    """The model's options, overridden by the request's. Raises BadRequest for one that belongs to the provider."""
    options = {**model.options, **request.options}
    if taken := sorted(set(options) & set(refused)):
        raise BadRequest(f"the provider itself sets {', '.join(taken)}: leave it out of the options")
    return options


def call_config(model: Model, request: Request, timeout: float) -> "GenerateContentConfig":
    """The SDK's configuration of one call. Raises BadRequest, with the names of the options that do not fit.

    Automatic function calling and automatic continuation are off: each would send further requests unseen.
    """
    from google.genai import types
    from pydantic import ValidationError

    fields = {**merged_options(model, request), **_fields(request)}
    fields["automatic_function_calling"] = {"disable": True}
    fields["automatic_continuation"] = False
    fields["http_options"] = {"timeout": max(1, math.ceil(timeout * 1000))}
    try:
        return types.GenerateContentConfig(**fields)
    except ValidationError as error:
        wrong = sorted({str(one["loc"][0]) for one in error.errors(include_input=False) if one["loc"]} & set(fields))
    raise BadRequest(f"the SDK refuses these options: {', '.join(wrong) or 'unnamed'}")


def _fields(request: Request) -> dict[str, Any]:
    fields: Mapping[str, Any] = {
        "system_instruction": request.system,
        "temperature": request.temperature,
        "max_output_tokens": request.max_output_tokens,
    }
    found = {name: value for name, value in fields.items() if value is not None}
    if request.schema is not None:
        found |= {"response_json_schema": dict(request.schema), "response_mime_type": "application/json"}
    return found
