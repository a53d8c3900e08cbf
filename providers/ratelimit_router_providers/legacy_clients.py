"""Low-level clients of google-generativeai, one for each key and base URL.

`google.generativeai.configure` is one key for the whole process. Below it lies the client that it makes, and a REST
transport may be given credentials of its own: so several keys do live side by side here, and nothing global is set.
A model's content and settings are still built by the SDK; only the sending goes through these clients.
"""

import importlib
import json
import warnings
from dataclasses import dataclass
from typing import Any

from ratelimit_router.models import Key
from ratelimit_router_providers.failures import missing_sdk
from ratelimit_router_providers.google_errors import outcome_of_body
from ratelimit_router_providers.http_error import HttpError

__all__ = ["LegacyClients", "load_sdk"]

HOST = "generativelanguage.googleapis.com"
_POOL = 1_000  # connections that are kept; more are opened when needed, and none waits
_SAID_ON_IMPORT = (r"\s*All support for the `google.generativeai` package has ended", r"You are using a Python version")


def load_sdk() -> Any:
    """The package `google.generativeai`, without what it says while it is imported: that its support has ended, and
    that of this Python version will. Raises ConfigError if it is not installed."""
    with warnings.catch_warnings():
        for said in _SAID_ON_IMPORT:
            warnings.filterwarnings("ignore", said, FutureWarning)
        try:
            return importlib.import_module("google.generativeai")
        except ImportError:
            raise missing_sdk("google-generativeai", "gemini-legacy") from None


@dataclass(frozen=True, slots=True)
class _Open:
    client: Any
    session: Any


class LegacyClients:
    """Makes clients when they are first needed, and closes them. `connect_timeout`: seconds."""

    def __init__(self, *, connect_timeout: float = 10.0):
        self._connect_timeout = connect_timeout
        self._open: dict[tuple[Key, str | None], _Open] = {}

    def client(self, key: str, base_url: str | None) -> Any:
        """The `GenerativeServiceClient` for a key and a base URL."""
        place = (Key(key), base_url)
        if (found := self._open.get(place)) is None:
            found = self._open[place] = self._make(key, base_url)
        return found.client

    def close(self) -> None:
        """Close every connection."""
        opened, self._open = self._open, {}
        for one in opened.values():
            one.session.close()

    def _make(self, key: str, base_url: str | None) -> _Open:
        load_sdk()
        service = importlib.import_module("google.ai.generativelanguage_v1beta.services.generative_service")
        rest = importlib.import_module(
            "google.ai.generativelanguage_v1beta.services.generative_service.transports.rest"
        )
        credentials = importlib.import_module("google.auth.api_key").Credentials(key)
        transport = rest.GenerativeServiceRestTransport(
            host=(base_url or HOST).rstrip("/"), credentials=credentials, interceptor=_interceptor(rest)
        )
        session = transport._session
        session.hooks["response"].append(_refuse_errors)
        session.mount("https://", _adapter(self._connect_timeout))
        session.mount("http://", _adapter(self._connect_timeout))
        return _Open(service.GenerativeServiceClient(transport=transport), session)


def _adapter(connect_timeout: float) -> Any:
    """requests' adapter with a timeout of its own for connecting; it repeats nothing, and its pool never blocks."""
    adapters = importlib.import_module("requests.adapters")

    class Adapter(adapters.HTTPAdapter):  # type: ignore[misc, name-defined]  # imported when it is needed
        def send(self, request: Any, *, timeout: Any = None, **options: Any) -> Any:
            if isinstance(timeout, int | float):
                timeout = (min(timeout, connect_timeout), timeout)
            return super().send(request, timeout=timeout, **options)

    return Adapter(pool_maxsize=_POOL, pool_block=False, max_retries=0)


def _interceptor(rest: Any) -> Any:
    """Sees every stream before the SDK reads it: an error object in the middle would pass for an empty piece."""
    streaming = importlib.import_module("google.api_core.rest_streaming")

    class Pieces(streaming.ResponseIterator):  # type: ignore[misc, name-defined]  # imported when it is needed
        def _create_grab(self) -> Any:
            take = super()._create_grab()

            def grab(this: Any) -> Any:
                body = json.loads(this._ready_objs[0])
                if isinstance(body, dict) and "error" in body:
                    raise HttpError(outcome_of_body(None, body))
                return take(this)

            return grab

    class Interceptor(rest.GenerativeServiceRestInterceptor):  # type: ignore[misc]
        def post_stream_generate_content(self, response: Any) -> Any:
            return Pieces(response._response, response._response_message_cls)

    return Interceptor()


def _refuse_errors(response: Any, *_: Any, **__: Any) -> None:
    if response.status_code != 200:
        content = response.content
        raise HttpError.of(response.status_code, content, response.headers.get("retry-after"))
