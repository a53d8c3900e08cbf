"""One run from end to end: read, plan, open the output, call, write, show, sum up."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from ratelimit_router.clock import monotonic
from ratelimit_router.errors import ConfigError
from ratelimit_router.events import Observer
from ratelimit_router.models import Model
from ratelimit_router.provider import Provider
from ratelimit_router.router import Router
from ratelimit_router.stores.urls import open_store
from ratelimit_router.toml_file import one_line
from ratelimit_router_extraction.announcing import announced, slack_of
from ratelimit_router_extraction.articles import Article, BadRow
from ratelimit_router_extraction.calls import Caller
from ratelimit_router_extraction.observing import json_log, serving_metrics
from ratelimit_router_extraction.output import Mode, Output, open_output
from ratelimit_router_extraction.pipeline import Run
from ratelimit_router_extraction.plan import Job, batches_of, explain, plan
from ratelimit_router_extraction.preparation import Setup, open_providers
from ratelimit_router_extraction.progress import Progress
from ratelimit_router_extraction.reading import open_articles, read_articles
from ratelimit_router_extraction.records import Result
from ratelimit_router_extraction.service import counts_of, redirected, serving
from ratelimit_router_extraction.summary import headline, plan_line, result_line, service_line, summary_table
from ratelimit_router_extraction.tally import Tally

__all__ = ["Session", "Ways", "explained"]

BAD_ROWS_SHOWN = 20
PLAIN_WIDTH = 140  # columns where no terminal says how many there are
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a run reads, writes and tells. `output`: a path or "-". `again`: the command that would go on with it."""

    output: str = "-"
    mode: Mode = "new"
    limit: int | None = None
    as_json: bool = False
    quiet: bool = False
    metrics_port: int | None = None
    log_json: Path | None = None
    again: str = ""


def explained(articles: str, setup: Setup, identity: str, limit: int | None = None) -> str:
    """Why an article is in its tier. Raises ConfigError if the input has no such article."""
    good, _ = _read(articles, setup, limit)
    jobs = plan(good, setup.settings, setup.domains)
    for job in jobs:
        if job.article.id == identity:
            return explain(job, jobs, setup.settings)
    raise ConfigError(f"no article has the id {identity[:60]!r}", file=articles, key="--explain")


class Session:
    """A run of the command. `run` returns its exit status."""

    def __init__(self, articles: str, setup: Setup, ways: Ways):
        self._articles, self._setup, self._ways = articles, setup, ways
        self._screen = _console(sys.stderr)
        to_stdout = ways.output != "-" and not ways.as_json
        # On one and the same terminal everything goes through the console of the live display, which prints above it.
        same = self._screen.is_terminal and sys.stdout.isatty()
        self._people = _console(sys.stdout) if to_stdout and not same else self._screen
        self._elapsed = 0.0

    def run(self) -> int:
        """Everything. Raises ConfigError before any call is made, if something cannot work."""
        articles, bad = _read(self._articles, self._setup, self._ways.limit)
        jobs = plan(articles, self._setup.settings, self._setup.domains)
        with contextlib.ExitStack() as opened:
            output = opened.enter_context(self._output())
            models, service = self._setup.config.models, None
            if self._setup.simulation is not None:
                service = opened.enter_context(serving(models, self._setup.simulation))
                models = redirected(models, service.url)
            self._say(_first_line(models, service.url if service else None))
            self._tell_input(bad, output)
            left = [job for job in jobs if (job.article.id, job.article.content_hash) not in output.held]
            slack = slack_of(self._setup.settings) if left else None
            tally = Tally(total=len(left), held=len(jobs) - len(left), bad_rows=len(bad), slack=slack)
            stopped = self._perform(left, output, models, tally)
            self._sum_up(tally, counts_of(service) if service else None, stopped)
        if stopped:
            return INTERRUPTED
        return 1 if tally.finished < tally.total or tally.failed or (bad and not jobs) else 0

    def _output(self) -> contextlib.AbstractContextManager[Output]:
        if self._ways.output == "-":
            return contextlib.nullcontext(Output(_Standard()))
        path = Path(self._ways.output)
        if path.exists() and Path(self._articles).exists() and path.samefile(self._articles):
            raise ConfigError("is the input: choose another output", file=str(path), key="--output")
        return open_output(path, self._ways.mode)

    def _tell_input(self, bad: Sequence[BadRow], output: Output) -> None:
        for row in bad[:BAD_ROWS_SHOWN]:
            self._warn(f"{self._articles}: {row}; skipped")
        if len(bad) > BAD_ROWS_SHOWN:
            self._warn(f"{self._articles}: {len(bad) - BAD_ROWS_SHOWN} more bad rows skipped")
        if output.repaired:
            self._warn(f"{self._ways.output}: {output.repaired}")
        if output.failed_before:
            self._warn(
                f"{self._ways.output}: holds {output.failed_before} failed records; --retry-failed does them again"
            )

    def _perform(self, jobs: Sequence[Job], output: Output, models: Sequence[Model], tally: Tally) -> bool:
        """Make the calls; whether they were stopped before the end."""
        started = monotonic()
        try:
            return asyncio.run(self._extract(jobs, output, models, tally))
        except KeyboardInterrupt:
            return True
        except OSError as error:
            self._warn(f"{self._ways.output}: cannot be written: {error.strerror}")
            return False
        finally:
            self._elapsed = monotonic() - started

    async def _extract(self, jobs: Sequence[Job], output: Output, models: Sequence[Model], tally: Tally) -> bool:
        settings, ways = self._setup.settings, self._ways

        def finished(result: Result) -> None:
            output.write(result)
            tally.result(result)
            if not ways.quiet:
                self._say(result_line(result))

        with json_log(ways.log_json) as observers:
            async with open_providers(models) as providers, self._router(models, providers, observers) as router:
                caller = Caller(router, providers, settings, tally.call)
                run = Run(caller, settings, finished, planned=tally.slack is not None)
                progress = Progress(self._screen, tally, router.snapshot, monotonic, quiet=ways.quiet)
                with self._interruptible(run), announced(router, jobs, caller.estimate, tally.slack, settings.urgent):
                    async with serving_metrics(router, ways.metrics_port), progress.running():
                        await run.extract(batches_of(jobs, settings))
                return run.stopping

    def _router(
        self, models: Sequence[Model], providers: Mapping[str, Provider], observers: Sequence[Observer]
    ) -> Router:
        config = self._setup.config
        return Router(
            models=models,
            tiers=config.tiers,
            pools=config.pools,
            fallback=config.fallback,
            providers=providers,
            observers=observers,
            store=open_store(config.store, processes=config.processes),
            slow_start=config.slow_start,
            guard=config.guard,
            stretch=config.stretch,
        )

    @contextlib.contextmanager
    def _interruptible(self, run: Run) -> Iterator[None]:
        def stop() -> None:
            told = (
                "cancelling what is in flight" if run.stopping else "stopping: calls in flight may end (again: at once)"
            )
            self._warn(told)
            run.stop()

        with _handling((signal.SIGINT, signal.SIGTERM), stop):
            yield

    def _sum_up(self, tally: Tally, service: dict[str, Any] | None, stopped: bool) -> None:
        if self._ways.as_json:
            report = {**tally.as_dict(), "seconds": round(self._elapsed, 3), "output": self._ways.output}
            report |= {"interrupted": stopped, "simulation": service}
            click.echo(json.dumps(report, indent=2, ensure_ascii=False), err=self._ways.output == "-")
        if not self._ways.quiet and not self._ways.as_json:
            self._people.print(summary_table(tally, self._setup.settings.tiers))
            self._say(headline(tally, self._elapsed))
            self._say(plan_line(tally))
            if service is not None:
                self._say(service_line(service))
            if self._ways.output != "-":
                self._say(f"Records: {self._ways.output}")
        if stopped:
            told = f"{tally.total - tally.finished} articles are left. "
            self._warn(told + (f"To go on: {self._ways.again}" if self._ways.again else "What was written stays."))

    def _say(self, line: str) -> None:
        self._people.print(Text(one_line(line)), soft_wrap=True)

    def _warn(self, line: str) -> None:
        self._screen.print(Text(one_line(line)), soft_wrap=True)


class _Standard:
    """Standard output as a sink: a record is there for the reader as soon as it is written."""

    def write(self, data: bytes, /) -> int:
        written = sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return written


def _read(place: str, setup: Setup, limit: int | None) -> tuple[list[Article], list[BadRow]]:
    with open_articles(place) as stream:
        rows = read_articles(stream, name=place, columns=setup.settings.columns)
        good: list[Article] = []
        bad: list[BadRow] = []
        for row in rows:
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                good.append(row)
                if len(good) == limit:
                    break
    return good, bad


def _first_line(models: Sequence[Model], url: str | None) -> str:
    names = ", ".join(model.name for model in models)
    if url is None:
        return f"Calling {names}"
    return (
        f"SIMULATION: no key, or none wanted, so {names} are played by an embedded fake service at {url}. "
        "Its entities are found by rules, not by a model."
    )


@contextlib.contextmanager
def _handling(signals: Sequence[signal.Signals], act: Callable[[], None]) -> Iterator[None]:
    """Signals handled by the running loop until the block ends; where a loop cannot (Windows, a thread): as before."""
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for each in signals:
            loop.add_signal_handler(each, act)
            handled.append(each)
    try:
        yield
    finally:
        for each in handled:
            loop.remove_signal_handler(each)


def _console(file: Any) -> Console:
    console = Console(file=file, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console
