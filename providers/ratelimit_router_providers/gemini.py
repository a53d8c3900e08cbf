"""Gemini through google-genai: one request on the wire for each call, and every fault in the router's terms."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, ClassVar

from ratelimit_router.errors import RouterError
from ratelimit_router.limits import RefillDefaults
from ratelimit_router.messages import Chunk, Reply, Request, Usage
from ratelimit_router.models import Model
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router_providers.estimates import estimated_usage, estimated_usage_of
from ratelimit_router_providers.failures import failed
from ratelimit_router_providers.gemini_clients import ClientFactory, Clients
from ratelimit_router_providers.gemini_reply import Piece, Progress, word
from ratelimit_router_providers.gemini_request import call_config, call_timeout, prompt_of
from ratelimit_router_providers.gemini_stream import GeminiStream
from ratelimit_router_providers.google_faults import outcome
from ratelimit_router_providers.google_keys import api_key

if TYPE_CHECKING:
    from google.genai.types import GenerateContentResponse

__all__ = ["GeminiProvider"]


class GeminiProvider:
    """The `Provider` for the Gemini API on google-genai (extra `gemini`).

    A model's `key` opens it, else GOOGLE_API_KEY or GEMINI_API_KEY; several keys live side by side. `options` of a
    model or a request are fields of the SDK's GenerateContentConfig.

    `timeout`: seconds for a call whose request gives none; for a stream, the seconds spent waiting for it.
    `connect_timeout`: seconds. `max_connections`: per key; None, the default, is no limit, because a limit below the
    router's concurrency is a hidden queue. `api_version`: "v1", "v1beta"; None leaves it to the SDK. `client_factory`:
    makes the SDK's client from a key and HttpOptions, for Vertex AI, say.
    """

    refill: ClassVar[RefillDefaults] = RefillDefaults(
        minute="rolling", day="calendar", resets="00:00 America/Los_Angeles"
    )

    def __init__(
        self,
        *,
        client_factory: ClientFactory | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 10.0,
        max_connections: int | None = None,
        api_version: str | None = None,
    ):
        self._timeout = timeout
        self._keyed = client_factory is None  # a client made elsewhere may bring credentials of another kind
        self._clients = Clients(
            factory=client_factory,
            max_connections=max_connections,
            connect_timeout=connect_timeout,
            api_version=api_version,
        )

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
            await stream.aclose()

    def classify(self, error: BaseException) -> Outcome:
        """What an exception, google-genai's, its HTTP client's or one of ours, means for the model."""
        return outcome(error)

    def estimate(self, request: Request) -> Usage:
        """Input tokens from the texts, output tokens from the request's cap, if it has one."""
        return estimated_usage(request)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The provider can be used again."""
        await self._clients.aclose()

    async def _ask(self, model: Model, request: Request) -> Reply | RouterError:
        try:
            timeout = call_timeout(request, self._timeout)
            models = self._clients.client(self._key(model), model.base_url).aio.models
            config = call_config(model, request, timeout)
            async with asyncio.timeout(timeout):
                response = await models.generate_content(model=model.id, contents=prompt_of(request), config=config)
            return _reply(model, request, response)
        except Exception as error:  # noqa: BLE001 -- an SDK may raise anything; all of it becomes one of ours
            return failed(error, value_error=Kind.BAD_REQUEST)

    def _start(self, model: Model, request: Request) -> GeminiStream | RouterError:
        try:
            timeout = call_timeout(request, self._timeout)
            models = self._clients.client(self._key(model), model.base_url).aio.models
            config = call_config(model, request, timeout)
            start = models.generate_content_stream(model=model.id, contents=prompt_of(request), config=config)
            return GeminiStream(start, timeout)
        except Exception as error:  # noqa: BLE001 -- as above
            return failed(error, value_error=Kind.BAD_REQUEST)

    def _key(self, model: Model) -> str:
        return api_key(model) if self._keyed or model.key is not None else ""


async def _next(stream: GeminiStream, progress: Progress) -> Chunk | RouterError | None:
    try:
        response = await stream.next()
        if response is None:
            return progress.end(streamed=True)
        piece = _piece(response)
    except Exception as error:  # noqa: BLE001 -- as above
        return failed(error, value_error=Kind.BAD_REQUEST)
    if (problem := progress.take(piece)) is not None:
        return problem
    return Chunk(text=piece.text, usage=piece.usage, finish_reason=piece.finish_reason, raw=response)


def _reply(model: Model, request: Request, response: "GenerateContentResponse") -> Reply:
    piece, progress = _piece(response), Progress()
    if (problem := progress.take(piece) or progress.end(streamed=False)) is not None:
        raise problem
    return Reply(
        text=piece.text,
        model=model,
        usage=piece.usage or estimated_usage_of(request, piece.text),
        finish_reason=piece.finish_reason,
        raw=response,
    )


def _piece(response: "GenerateContentResponse") -> Piece:
    candidate = response.candidates[0] if response.candidates else None
    parts = (candidate.content.parts or []) if candidate and candidate.content else []
    said = [part for part in parts if not part.thought]
    text = "".join(part.text for part in said if part.text)
    feedback = response.prompt_feedback
    return Piece(
        text=text,
        content=bool(text) or any(part.text is None for part in said),
        candidate=candidate is not None,
        finish_reason=word(candidate.finish_reason if candidate else None),
        blocked=word(feedback.block_reason if feedback else None),
        usage=_usage(response),
    )


def _usage(response: "GenerateContentResponse") -> Usage | None:
    counts = response.usage_metadata
    if counts is None:
        return None
    return Usage(
        input_tokens=counts.prompt_token_count or 0,
        output_tokens=(counts.candidates_token_count or 0) + (counts.thoughts_token_count or 0),
        cached_tokens=counts.cached_content_token_count or 0,
    )
