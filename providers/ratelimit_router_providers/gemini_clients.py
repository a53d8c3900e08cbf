"""google-genai clients, one for each key, base URL and event loop, on an httpx2 client of our own.

- Connections belong to the loop that opened them; keys live side by side because each has a client to itself.
- The pool has no limit by default: a limit below the router's concurrency is a second, unseen queue. (httpx2's
  default is 100 connections.)
- The SDK would take aiohttp wherever that can be imported; a client that is handed in pins it to httpx2.
- Every error answer is read by a hook before the SDK reads it; a redirect is an error answer.
"""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratelimit_router.models import Key
from ratelimit_router_providers.failures import missing_sdk
from ratelimit_router_providers.http_error import HttpError

if TYPE_CHECKING:
    import httpx2
    from google.genai import Client
    from google.genai.types import HttpOptions

__all__ = ["ClientFactory", "Clients", "opened_responses"]

ClientFactory = Callable[[str, "HttpOptions"], "Client"]
"""Makes a client from a key and the options that carry our httpx2 client; for Vertex AI, or other credentials."""

opened_responses: "contextvars.ContextVar[list[httpx2.Response]]" = contextvars.ContextVar("opened_responses")
"""Where the responses go that are opened in this context, so that a stream can be closed without the SDK's help."""


@dataclass(frozen=True, slots=True)
class _Open:
    client: "Client"
    http: "httpx2.AsyncClient"

    async def aclose(self) -> None:
        await self.http.aclose()
        self.client.close()


class Clients:
    """Makes clients when they are first needed, and closes them.

    `max_connections`: per client; None is no limit. `connect_timeout`: seconds. `api_version`: "v1", "v1beta", ...;
    None leaves it to the SDK.
    """

    def __init__(
        self,
        *,
        factory: ClientFactory | None = None,
        max_connections: int | None = None,
        connect_timeout: float = 10.0,
        api_version: str | None = None,
    ):
        self._factory = factory or _api_key_client
        self._max_connections, self._connect_timeout = max_connections, connect_timeout
        self._api_version = api_version
        self._open: dict[tuple[asyncio.AbstractEventLoop, Key, str | None], _Open] = {}

    def client(self, key: str, base_url: str | None) -> "Client":
        """The client for a key and a base URL in the running loop. Raises ConfigError if the SDK is missing."""
        loop = asyncio.get_running_loop()
        place = (loop, Key(key), base_url)
        if (found := self._open.get(place)) is None:
            for other in [one for one in self._open if one[0].is_closed()]:
                del self._open[other]
            found = self._open[place] = self._make(key, base_url)
        return found.client

    async def aclose(self) -> None:
        """Close every client of the running loop, and forget those of other loops."""
        loop, opened = asyncio.get_running_loop(), self._open
        self._open = {}
        for (owner, *_), one in opened.items():
            if owner is loop:
                await one.aclose()

    def _make(self, key: str, base_url: str | None) -> _Open:
        try:
            import httpx2
            from google.genai import types
        except ImportError:
            raise missing_sdk("google-genai", "gemini") from None
        http = httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=self._max_connections, max_keepalive_connections=None),
            follow_redirects=False,
            event_hooks={"request": [self._bound_connect], "response": [_refuse_errors]},
        )
        options = types.HttpOptions(
            base_url=base_url,
            api_version=self._api_version,
            httpx_async_client=http,
            retry_options=types.HttpRetryOptions(attempts=1),
        )
        return _Open(self._factory(key, options), http)

    async def _bound_connect(self, request: "httpx2.Request") -> None:
        """The SDK knows one timeout only; connecting has a shorter one of its own."""
        timeouts = dict(request.extensions.get("timeout") or {})
        given = timeouts.get("connect")
        timeouts["connect"] = self._connect_timeout if given is None else min(given, self._connect_timeout)
        request.extensions = {**request.extensions, "timeout": timeouts}


async def _refuse_errors(response: "httpx2.Response") -> None:
    opened = opened_responses.get(None)
    if opened is not None:
        opened.append(response)
    if response.status_code != 200:
        content = await response.aread()
        raise HttpError.of(response.status_code, content, response.headers.get("retry-after"))


def _api_key_client(key: str, options: "HttpOptions") -> "Client":
    from google.genai import Client

    return Client(vertexai=False, api_key=key, http_options=options)
