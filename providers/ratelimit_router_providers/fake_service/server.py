"""The loopback server: sockets around the desk. It says of itself, in every answer, that it is a simulation."""

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import Any, Self

from ratelimit_router.errors import ConfigError
from ratelimit_router_providers.fake_service import gemini, openai
from ratelimit_router_providers.fake_service.config import ServiceConfig
from ratelimit_router_providers.fake_service.config_file import parse_script
from ratelimit_router_providers.fake_service.desk import Arrival, Desk, Ticket
from ratelimit_router_providers.fake_service.exchange import MalformedRequestError, Refusal
from ratelimit_router_providers.fake_service.journal import Journal, Record, Summary
from ratelimit_router_providers.fake_service.wire import OPENAI

try:
    from aiohttp import web

    from ratelimit_router_providers.fake_service.delivery import HEADERS, Form, deliver
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "the fake service needs aiohttp: pip install 'ratelimit-router[fake-service]'"
    ) from missing

__all__ = ["FakeService"]

logger = logging.getLogger(__name__)

ABOUT = (
    "This is the fake service of ratelimit-router: a simulation of the Gemini API, and of OpenAI's chat completions, "
    "on this machine.\n"
    "No model answers here. Journal: /_fake/journal, summary: /_fake/summary, models: /v1beta/models\n"
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
BODY_LIMIT = 64 * 1024 * 1024
CLIENT_GONE = 499


def posix_clock() -> Callable[[], float]:
    """POSIX seconds that never go backwards while the service runs."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class FakeService:
    """A server for tests and demonstrations: `async with FakeService(config) as service: ... service.url`.

    `port` 0 takes any free one. `host` other than loopback must be allowed with `public=True`. `clock` gives POSIX
    seconds; `sleep` waits out latencies. Both are arguments so that a test can step through windows.

    Raises ConfigError for a host that is not loopback, OSError if the port is taken.
    """

    def __init__(
        self,
        config: ServiceConfig,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        public: bool = False,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ):
        if host not in LOOPBACK and not public:
            raise ConfigError(f"binds loopback only; pass public=True to open {host!r} to the network", key="host")
        self.config = config
        self._host, self._port = host, port
        self._clock = clock or posix_clock()
        self._sleep = sleep
        self.journal = Journal(config.journal)
        self._runner: web.AppRunner | None = None
        self._started = self._clock()
        self._desk = Desk(config, self._started)

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:PORT`, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def summary(self) -> Summary:
        """Counts since the start."""
        return self.journal.summary(self._clock() - self._started)

    def left(self) -> dict[str, dict[str, dict[str, float]]]:
        """What every quota could still give now: by model, then by number of the key, then by quota."""
        return self._desk.left(self._clock())

    def script(self, changes: dict[str, Any]) -> None:
        """Change models (`{"models": {...}}`) and faults (`{"faults": [...]}`) in mid-run, as the TOML file has them.

        Raises ConfigError, and then nothing has changed.
        """
        models, faults = parse_script(changes, self._desk.models)
        self._desk.script(self._clock(), models, faults)

    async def __aenter__(self) -> Self:
        self._started = self._clock()
        self._desk = Desk(self.config, self._started)
        self._runner = web.AppRunner(
            self._app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.05, handle_signals=False
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=1024)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]
        logger.info("SIMULATION of the Gemini API at %s: no model answers here", self.url)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @classmethod
    @contextlib.contextmanager
    def in_thread(cls, config: ServiceConfig, **options: Any) -> "Iterator[FakeService]":
        """The same for blocking code: the server runs in a thread of its own until the block ends."""
        service = cls(config, **options)
        ready: threading.Event = threading.Event()
        failure: list[BaseException] = []
        stop: list[Callable[[], object]] = []

        async def serve() -> None:
            ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            async with service:
                stop.append(lambda: loop.call_soon_threadsafe(ended.set))
                ready.set()
                await ended.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits for it
                failure.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=run, name="fake-service", daemon=True)
        thread.start()
        ready.wait()
        try:
            if failure:
                raise failure[0]
            yield service
        finally:
            for end in stop:
                end()
            thread.join()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_get("/", self._about)
        app.router.add_get("/_fake/journal", self._show_journal)
        app.router.add_get("/_fake/summary", self._show_summary)
        app.router.add_post("/_fake/script", self._take_script)
        models = "/{version:v1|v1beta}/models"
        app.router.add_get(models, self._list_models)
        app.router.add_get(f"{models}/{{model}}", self._get_model)
        app.router.add_post(f"{models}/{{model}}:countTokens", self._count_tokens)
        app.router.add_post(f"{models}/{{model}}:{{method:generateContent|streamGenerateContent}}", self._generate)
        app.router.add_post("/v1/chat/completions", self._complete)
        return app

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        now = self._clock()
        method = request.match_info["method"]
        arrival = Arrival(
            model_id=request.match_info["model"],
            version=request.match_info["version"],
            key=_key(request),
            body=await _json(request),
            fault=request.headers.get("x-fake-fault"),
        )
        form = Form(stream=method == "streamGenerateContent", sse=request.query.get("alt") == "sse")
        return await self._serve(request, now, arrival, method, form)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        now, body = self._clock(), await _json(request)
        arrival = Arrival(
            model_id=openai.model_of(body),
            version="v1",
            key=_key(request),
            body=body,
            fault=request.headers.get("x-fake-fault"),
            wire=OPENAI,
        )
        return await self._serve(
            request, now, arrival, "chat.completions", Form(stream=openai.streams(body), sse=True, done=openai.DONE)
        )

    async def _serve(
        self, request: web.Request, now: float, arrival: Arrival, method: str, form: Form
    ) -> web.StreamResponse:
        ticket = self._desk.receive(now, arrival)
        status = CLIENT_GONE
        try:
            response = await deliver(request, ticket, form, self._sleep)
            status = response.status
        finally:
            ticket.close()
            self._write(now, arrival.model_id, method, ticket, status)
        return response

    def _write(self, now: float, model_id: str, method: str, ticket: Ticket, status: int) -> None:
        record = Record(
            at=now - self._started,
            model=model_id,
            key=ticket.key,
            method=method,
            status=0 if ticket.fault == "reset" else status,
            admitted=ticket.in_flight > 0,
            refused=ticket.refused,
            fault=ticket.fault,
            hint=ticket.refusal.hint if ticket.refusal else None,
            input_tokens=ticket.input_tokens,
            output_tokens=ticket.draft.output_tokens if ticket.draft else 0,
            latency=self._clock() - now,
            in_flight=ticket.in_flight,
        )
        self.journal.add(record)
        told = f" fault={record.fault}" if record.fault else ""
        told += f" refused={','.join(record.refused)}" if record.refused else ""
        logger.info("simulated %s %s key=%d -> %d%s", method, model_id, record.key, record.status, told)

    def _deny(self, request: web.Request) -> web.Response | None:
        _, refusal = self._desk.number_of(_key(request))
        return _refusal(refusal) if refusal else None

    async def _list_models(self, request: web.Request) -> web.Response:
        if denied := self._deny(request):
            return denied
        return _answer({"models": [gemini.describe(model) for model in self._desk.models.values()]})

    async def _get_model(self, request: web.Request) -> web.Response:
        if denied := self._deny(request):
            return denied
        model = self._desk.find(request.match_info["model"], request.match_info["version"])
        return _refusal(model) if isinstance(model, Refusal) else _answer(gemini.describe(model))

    async def _count_tokens(self, request: web.Request) -> web.Response:
        body = await _json(request)
        if denied := self._deny(request):
            return denied
        model = self._desk.find(request.match_info["model"], request.match_info["version"])
        if isinstance(model, Refusal):
            return _refusal(model)
        try:
            tokens = gemini.parse(body).input_tokens
        except MalformedRequestError as error:
            return _answer({"error": {"code": 400, "message": str(error), "status": "INVALID_ARGUMENT"}}, status=400)
        details = [{"modality": "TEXT", "tokenCount": tokens}]
        return _answer({"totalTokens": tokens, "promptTokensDetails": details})

    async def _about(self, request: web.Request) -> web.Response:
        return web.Response(text=ABOUT, headers=HEADERS)

    async def _show_journal(self, request: web.Request) -> web.Response:
        return _answer({"simulated": True, "records": [asdict(record) for record in self.journal]})

    async def _show_summary(self, request: web.Request) -> web.Response:
        return _answer({**self.summary().as_dict(), "left": self.left()})

    async def _take_script(self, request: web.Request) -> web.Response:
        body = await _json(request)
        try:
            self.script(body if isinstance(body, dict) else {"": body})
        except ConfigError as error:
            return _answer({"error": str(error)}, status=400)
        return _answer({"ok": True})


def _key(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme == "Bearer" else None
    return request.headers.get("x-goog-api-key") or request.query.get("key") or bearer


async def _json(request: web.Request) -> object:
    try:
        return json.loads(await request.read())
    except ValueError:
        return None


def _answer(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers=HEADERS)


def _refusal(refusal: Refusal) -> web.Response:
    return web.Response(
        status=refusal.status,
        text=refusal.body,
        content_type=refusal.content_type,
        headers={**HEADERS, **refusal.headers},
    )
