"""Gemini through google-generativeai, whose support ended in November 2025: for code that still depends on it.

The contract is that of `gemini`. What this SDK cannot do: count thinking tokens, tell thoughts from text, take a JSON
schema whole, be cancelled. docs/reference/gemini.md has the list.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from ratelimit_router.errors import BadRequest, RouterError
from ratelimit_router.limits import RefillDefaults
from ratelimit_router.messages import Chunk, Reply, Request, Usage
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Outcome
from ratelimit_router_providers.estimates import estimated_usage, estimated_usage_of
from ratelimit_router_providers.failures import failed
from ratelimit_router_providers.gemini_reply import Piece, Progress, word
from ratelimit_router_providers.gemini_request import call_timeout, merged_options, prompt_of
from ratelimit_router_providers.google_faults import outcome
from ratelimit_router_providers.google_keys import api_key
from ratelimit_router_providers.legacy_clients import LegacyClients, load_sdk
from ratelimit_router_providers.legacy_schema import legacy_schema
from ratelimit_router_providers.legacy_stream import LegacyStream
from ratelimit_router_providers.threads import in_thread

__all__ = ["GeminiLegacyProvider"]

_BESIDE_CONFIG = ("safety_settings", "tools", "tool_config")


class GeminiLegacyProvider:
    """The `Provider` for the Gemini API on google-generativeai over REST (extra `gemini-legacy`).

    A model's `key` opens it, else GOOGLE_API_KEY or GEMINI_API_KEY; several keys live side by side, and nothing is
    configured globally. `options` of a model or a request are fields of the SDK's GenerationConfig, or
    `safety_settings`, `tools`, `tool_config`.

    `timeout`: seconds for a call whose request gives none; for a stream, the seconds spent waiting for it.
    `connect_timeout`: seconds. Each call has a thread of its own; one that is given up runs on to its timeout.
    """

    refill: ClassVar[RefillDefaults] = RefillDefaults(
        minute="rolling", day="calendar", resets="00:00 America/Los_Angeles"
    )

    def __init__(self, *, timeout: float = 60.0, connect_timeout: float = 10.0):
        self._timeout = timeout
        self._clients = LegacyClients(connect_timeout=connect_timeout)

    async def generate(self, model: Model, request: Request) -> Reply:
        """The whole answer to one request. Raises errors of the ProviderError tree; ConfigError without key or SDK."""
        answer = await self._ask(model, request)
        if isinstance(answer, RouterError):
            raise answer  # outside of every `except`: nothing that it refers to knows the key or the prompt
        return answer

    async def stream(self, model: Model, request: Request) -> AsyncIterator[Chunk]:
        """The answer piece by piece; the HTTP response is closed when the iterator is. Raises as `generate` does."""
        stream = self._start(model, request)
        if isinstance(stream, RouterError):
            raise stream
        progress = Progress()
        try:
            while (chunk := await _next(stream, progress)) is not None:
                if isinstance(chunk, RouterError):
                    raise chunk
                yield chunk
        finally:
            stream.close()

    def classify(self, error: BaseException) -> Outcome:
        """What an exception, google-generativeai's, its HTTP client's or one of ours, means for the model."""
        return outcome(error)

    def estimate(self, request: Request) -> Usage:
        """Input tokens from the texts, output tokens from the request's cap, if it has one."""
        return estimated_usage(request)

    async def aclose(self) -> None:
        """Close the connections. The provider can be used again."""
        self._clients.close()

    async def _ask(self, model: Model, request: Request) -> Reply | RouterError:
        try:
            timeout = call_timeout(request, self._timeout)
            client, message = self._prepared(model, request)
            async with asyncio.timeout(timeout):
                response = await in_thread(lambda: client.generate_content(message, retry=None, timeout=timeout))
            return _reply(model, request, response)
        except Exception as error:  # noqa: BLE001 -- an SDK may raise anything; all of it becomes one of ours
            return failed(error)

    def _start(self, model: Model, request: Request) -> LegacyStream | RouterError:
        try:
            timeout = call_timeout(request, self._timeout)
            client, message = self._prepared(model, request)
            return LegacyStream(lambda: client.stream_generate_content(message, retry=None, timeout=timeout), timeout)
        except Exception as error:  # noqa: BLE001 -- as above
            return failed(error)

    def _prepared(self, model: Model, request: Request) -> tuple[Any, Any]:
        client = self._clients.client(api_key(model), model.base_url)
        try:
            return client, _message(model, request)
        except RouterError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever the SDK says of the options, it is before sending
            told = type(error).__name__
        raise BadRequest(f"the SDK refuses the prompt or the options ({told})")


async def _next(stream: LegacyStream, progress: Progress) -> Chunk | RouterError | None:
    try:
        response = await stream.next()
        if response is None:
            return progress.end(streamed=True)
        piece = _piece(response)
        raw = _raw(response)
    except Exception as error:  # noqa: BLE001 -- as above
        return failed(error)
    if (problem := progress.take(piece)) is not None:
        return problem
    return Chunk(text=piece.text, usage=piece.usage, finish_reason=piece.finish_reason, raw=raw)


def _message(model: Model, request: Request) -> Any:
    """The request as the SDK's own message, built by the SDK's GenerativeModel."""
    options = merged_options(model, request, refused=("request_options",))
    beside = {name: options.pop(name) for name in _BESIDE_CONFIG if name in options}
    if request.temperature is not None:
        options["temperature"] = request.temperature
    if request.max_output_tokens is not None:
        options["max_output_tokens"] = request.max_output_tokens
    sdk = load_sdk()
    if request.schema is not None:
        options["response_schema"] = sdk.protos.Schema(legacy_schema(request.schema))
        options["response_mime_type"] = "application/json"
    generator = sdk.GenerativeModel(
        model.id, generation_config=options, system_instruction=request.system or None, **beside
    )
    message = generator._prepare_request(contents=prompt_of(request), tools=None, tool_config=None)
    message.contents[-1].role = "user"
    return message


def _reply(model: Model, request: Request, response: Any) -> Reply:
    piece, progress = _piece(response), Progress()
    if (problem := progress.take(piece) or progress.end(streamed=False)) is not None:
        raise problem
    return Reply(
        text=piece.text,
        model=model,
        usage=piece.usage or estimated_usage_of(request, piece.text),
        finish_reason=piece.finish_reason,
        raw=_raw(response),
    )


def _raw(response: Any) -> Any:
    return load_sdk().types.GenerateContentResponse.from_response(response)


def _piece(response: Any) -> Piece:
    candidate = response.candidates[0] if response.candidates else None
    parts = list(candidate.content.parts) if candidate is not None else []
    text = "".join(part.text for part in parts)
    return Piece(
        text=text,
        content=bool(text) or any("text" not in part for part in parts),
        candidate=candidate is not None,
        finish_reason=_name(candidate.finish_reason) if candidate is not None else None,
        blocked=_name(response.prompt_feedback.block_reason),
        usage=_usage(response),
    )


def _name(reason: Any) -> str | None:
    """An enum of protobuf by name; 0 is none."""
    return word(getattr(reason, "name", None)) if reason else None


def _usage(response: Any) -> Usage | None:
    """Without thoughts, which this SDK does not count, except as what the total has beyond its parts."""
    if "usage_metadata" not in response:
        return None
    counts = response.usage_metadata
    output = max(counts.candidates_token_count, counts.total_token_count - counts.prompt_token_count)
    return Usage(
        input_tokens=counts.prompt_token_count,
        output_tokens=output,
        cached_tokens=counts.cached_content_token_count,
    )
