"""`ratelimit-router fake-service`: the loopback service until Ctrl-C, then what it admitted and refused."""

import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ratelimit_router.config import load_config as load_router_config
from ratelimit_router.errors import ConfigError
from ratelimit_router_providers.fake_service.config import FakeModel, Latency, QuotaRule, ServiceConfig
from ratelimit_router_providers.fake_service.config_file import load_config
from ratelimit_router_providers.fake_service.faults import FAULTS, FaultRule
from ratelimit_router_providers.fake_service.journal import Summary
from ratelimit_router_providers.fake_service.server import FakeService

__all__ = ["fake_service"]

DEFAULT_PORT = 8765
_USUAL = (
    FakeModel(id="gemini-3.1-pro", quotas=(QuotaRule(name="rpm", amount=5), QuotaRule(name="rpd", amount=100))),
    FakeModel(id="gemini-3.5-flash", quotas=(QuotaRule(name="rpm", amount=10), QuotaRule(name="rpd", amount=250))),
    FakeModel(
        id="gemini-3.5-flash-lite", quotas=(QuotaRule(name="rpm", amount=15), QuotaRule(name="rpd", amount=1000))
    ),
)

_EPILOG = """\b
Three ways to say what it is (without any: three models with small quotas):
  --config service.toml            everything: quotas, windows, latency, scripted faults
  --mirror router.toml             the limits of a router's own configuration
  --model ID --rpm 10 --rpd 250    one model from flags
\b
Point an SDK at it (any key will do):
  google-genai         genai.Client(api_key="any", http_options=types.HttpOptions(base_url=URL))
  google-generativeai  genai.configure(api_key="any", transport="rest",
                                       client_options={"api_endpoint": URL})   # with its http://
  openai               openai.AsyncOpenAI(api_key="any", base_url="URL/v1", max_retries=0)
  ratelimit-router     base_url = "URL" in the model's table of router.toml
\b
While it runs: GET /_fake/summary, GET /_fake/journal, POST /_fake/script.
A request header `x-fake-fault: NAME` makes one request fail as NAME.
"""


@click.command(name="fake-service", epilog=_EPILOG)
@click.option("--config", "path", type=click.Path(path_type=Path), help="TOML file that describes the service.")
@click.option("--mirror", type=click.Path(path_type=Path), help="Take models and limits from a router.toml.")
@click.option("--factor", type=float, default=1.0, show_default=True, help="With --mirror: multiply every limit.")
@click.option("--model", "model_id", help="Serve one model of this id, with the quotas below.")
@click.option("--rpm", type=float, help="Requests a minute.")
@click.option("--input-tpm", type=float, help="Input tokens a minute.")
@click.option("--rpd", type=float, help="Requests a day (midnight, America/Los_Angeles).")
@click.option("--concurrency", type=int, help="Calls in flight.")
@click.option(
    "--window",
    type=click.Choice(["continuous", "rolling", "fixed"]),
    default="rolling",
    show_default=True,
    help="How quotas by the minute come back.",
)
@click.option("--latency", type=float, default=0.0, show_default=True, help="Median seconds to an answer.")
@click.option("--spread", type=float, default=0.0, show_default=True, help="Its spread (log-normal sigma).")
@click.option("--fault", "faults", multiple=True, metavar="NAME=RATE", help="A fault at random: unavailable=0.05.")
@click.option("--outage", metavar="FROM-TO", help="503 for every model between these seconds: 4-7.")
@click.option("--seed", type=int, default=0, show_default=True, help="Repeats latencies and random faults.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--public", is_flag=True, help="Allow a --host that others can reach.")
@click.option("--port", type=int, default=DEFAULT_PORT, show_default=True, help="0 takes any free port.")
@click.option("--for", "seconds", type=float, help="Stop by itself after so many seconds.")
@click.option("--list-faults", is_flag=True, help="Name every fault and stop.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object at the start, one at the end.")
def fake_service(
    *,
    path: Path | None,
    mirror: Path | None,
    factor: float,
    model_id: str | None,
    faults: tuple[str, ...],
    outage: str | None,
    host: str,
    public: bool,
    port: int,
    seconds: float | None,
    list_faults: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """A simulated Gemini API on this machine that enforces quotas and goes wrong on demand.

    It speaks Gemini's wire format (and OpenAI's chat completions under /v1), answers a breach with the service's own
    429, and writes down what it admitted and refused. No model answers: extraction prompts get the names that a few
    rules find, others a fixed sentence.
    """
    if list_faults:
        _show_faults(as_json)
        return
    try:
        config = _with_faults(_config(path, mirror, factor, model_id, flags), faults, outage)
        service = FakeService(config, host=host, port=port, public=public)
        asyncio.run(_serve(service, seconds, as_json))
    except ConfigError as error:
        raise _Refused(str(error)) from error
    except OSError as error:
        raise _Refused(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


class _Refused(click.ClickException):
    """One line, exit status 2."""

    exit_code = 2


def _config(
    path: Path | None, mirror: Path | None, factor: float, model_id: str | None, flags: dict[str, Any]
) -> ServiceConfig:
    if sum(source is not None for source in (path, mirror, model_id)) > 1:
        raise ConfigError("give one of --config, --mirror and --model, not several")
    if path is not None:
        return load_config(path)
    latency = Latency(median=flags["latency"], spread=flags["spread"])
    if mirror is not None:
        models = load_router_config(mirror, require_keys=False).models
        return replace(ServiceConfig.mirror(models, factor=factor, latency=latency), seed=flags["seed"])
    if model_id is None:
        return ServiceConfig.of(*(replace(model, latency=latency) for model in _USUAL), seed=flags["seed"])
    quotas = tuple(_rule(name, flags) for name in ("rpm", "input_tpm", "rpd") if flags[name] is not None)
    model = FakeModel(id=model_id, quotas=quotas, concurrency=flags["concurrency"], latency=latency)
    return ServiceConfig.of(model, seed=flags["seed"])


def _rule(name: str, flags: dict[str, Any]) -> QuotaRule:
    try:
        return QuotaRule(name=name, amount=flags[name], window=None if name == "rpd" else flags["window"])
    except ConfigError as error:
        raise error.at(key=f"--{name.replace('_', '-')}") from error


def _with_faults(config: ServiceConfig, faults: tuple[str, ...], outage: str | None) -> ServiceConfig:
    rules = [_random_fault(text) for text in faults]
    if outage is not None:
        start, _, end = outage.partition("-")
        try:
            rules.append(FaultRule(fault="unavailable", start=float(start), end=float(end)))
        except ConfigError as error:
            raise error.at(key="--outage") from error
        except ValueError as error:
            raise ConfigError(f"must be FROM-TO in seconds, like 4-7, not {outage!r}", key="--outage") from error
    return replace(config, faults=(*rules, *config.faults))


def _random_fault(text: str) -> FaultRule:
    name, _, rate = text.partition("=")
    try:
        return FaultRule(fault=name, rate=float(rate or 1.0))
    except ConfigError as error:
        raise error.at(key="--fault") from error
    except ValueError as error:
        raise ConfigError(f"must be NAME=RATE, like unavailable=0.05, not {text!r}", key="--fault") from error


async def _serve(service: FakeService, seconds: float | None, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt
            break
    async with service:
        _announce(service, as_json)
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
        finally:
            _conclude(service.summary(), as_json)


def _announce(service: FakeService, as_json: bool) -> None:
    models = list(service.config.models)
    if as_json:
        click.echo(json.dumps({"simulated": True, "url": service.url, "models": models}))
    else:
        click.echo(f"SIMULATION of the Gemini API at {service.url} (no model answers here)")
        for model in service.config.models.values():
            quotas = [f"{rule.amount:g} {rule.name} ({rule.window})" for rule in model.quotas]
            quotas += [f"{model.concurrency} at once"] if model.concurrency else []
            click.echo(f"  {model.id}: {', '.join(quotas) or 'no quotas'}")
        click.echo(f'  genai.Client(api_key="any", http_options=types.HttpOptions(base_url="{service.url}"))')
        click.echo("Ctrl-C stops it and shows what it admitted and refused.")
    sys.stdout.flush()


def _conclude(summary: Summary, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary.as_dict()))
        return
    title = f"Simulated service, {summary.seconds:.0f} s: {summary.admitted} admitted, {summary.rejected} answered 429"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in ("model", "asked", "admitted", "429", "refused on", "faults", "tokens in + out", "at once"):
        table.add_column(name, justify="left" if name in ("model", "refused on", "faults") else "right")
    for name, model in sorted(summary.models.items()):
        counts = (model.requests, model.admitted, model.rejected)
        told = (_counted(model.refused), _counted(model.faults))
        tokens = f"{model.input_tokens} + {model.output_tokens}"
        table.add_row(name, *map(str, counts), *told, tokens, str(model.peak_in_flight))
    Console().print(table)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "-"


def _show_faults(as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([{"name": f.name, "stage": f.stage, "about": f.about} for f in FAULTS.values()]))
        return
    width = max(map(len, FAULTS))
    for fault in FAULTS.values():
        click.echo(f"{fault.name:<{width}}  {fault.stage:<6}  {fault.about}")
