"""`ratelimit-router extract`: the command line; everything that it decides stands in the other modules."""

import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ratelimit_router.errors import ConfigError
from ratelimit_router.toml_file import one_line
from ratelimit_router_extraction.output import Mode
from ratelimit_router_extraction.preparation import load_setup
from ratelimit_router_extraction.session import Session, Ways, explained
from ratelimit_router_extraction.settings import numbers_of, pairs_of, seconds_of, shares_of

__all__ = ["extract"]


@click.command()
@click.argument("articles")
@click.option("--config", "config", help="TOML file with models, tiers and [extract]; without: a packaged simulation.")
@click.option("--output", default="entities.jsonl", show_default=True, help="Where records go; - is standard output.")
@click.option("--resume", is_flag=True, help="Go on with an existing output: what it holds is not done again.")
@click.option("--retry-failed", is_flag=True, help="As --resume, but failed records are taken out and done again.")
@click.option("--overwrite", is_flag=True, help="Begin an existing output anew.")
@click.option("--domains", help="TOML table of the goodness of domains.")
@click.option("--map", "columns", multiple=True, metavar="FIELD=COLUMN", help="The input's name for a field.")
@click.option("--mix", metavar="TIER=N,...", help="Shares of the tiers in a batch, such as hot=5,standard=3,bulk=2.")
@click.option("--cuts", metavar="SCORE,...", help="Scores from which an article is in the first tier, the second, ...")
@click.option(
    "--quantiles", metavar="SHARE,...", help="Shares of all articles that end the first tier, the second, ..."
)
@click.option("--batch-size", type=int, help="Articles in a batch.  [default: 10]")
@click.option("--stagger", metavar="SECONDS", help="Between two launches.  [default: 0.1]")
@click.option("--batch-pause", metavar="SECONDS", help="After a whole batch has ended; 0: no barrier.  [default: 0]")
@click.option("--timeout", metavar="SECONDS", help="For the calls of one article, without waits.  [default: 60]")
@click.option("--max-wait", metavar="SECONDS", help="For quota, per article.  [default: as long as it takes]")
@click.option("--concurrency", type=int, help="Articles at work, waiting ones included.  [default: 64]")
@click.option("--slack", type=float, metavar="SHARE", help="How much longer it may take for more first choices.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N articles of the input.")
@click.option("--explain", metavar="ID", help="Show why the article is in its tier, and do nothing else.")
@click.option("--simulate", is_flag=True, help="Use the embedded service even if there is a key.")
@click.option("--store", metavar="URL", help="Where quotas are kept: sqlite:PATH, redis://..., env:NAME.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), metavar="PORT", help="Prometheus metrics on loopback.")
@click.option("--log-json", type=click.Path(dir_okay=False), metavar="FILE", help="Append the router's events as JSON.")
@click.option("--json", "as_json", is_flag=True, help="The summary as one JSON object on standard output.")
@click.option("--quiet", is_flag=True, help="No progress, no line per article, no summary table.")
@click.pass_context
def extract(ctx: click.Context, /, articles: str, **options: Any) -> None:
    """Extract entities from ARTICLES: a JSONL or CSV file, or - for standard input.

    Exit status: 0 all articles are done, 1 some failed, 2 wrong call or configuration, 130 interrupted.
    """
    try:
        status = _run(articles, options, _again(ctx))
    except ConfigError as error:
        click.echo(one_line(str(error)), err=True)
        status = 2
    ctx.exit(status)


def _run(articles: str, options: dict[str, Any], again: str) -> int:
    setup = load_setup(
        options["config"],
        _changes(options),
        domains=options["domains"],
        simulate=options["simulate"],
        store=options["store"],
    )
    if options["explain"] is not None:
        click.echo(explained(articles, setup, options["explain"], options["limit"]))
        return 0
    ways = Ways(
        output=options["output"],
        mode=_mode(options),
        limit=options["limit"],
        as_json=options["as_json"],
        quiet=options["quiet"],
        metrics_port=options["metrics_port"],
        log_json=Path(options["log_json"]) if options["log_json"] else None,
        again=again,
    )
    return Session(articles, setup, ways).run()


def _again(ctx: click.Context) -> str:
    """The same command with --resume; empty if its records went to standard output."""
    if ctx.params["output"] == "-":
        return ""
    words = [*ctx.command_path.split(), ctx.params["articles"]]
    for option in ctx.command.params:
        name = option.name or ""
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or not isinstance(option, click.Option) or name in _MODES:
            continue
        values = ctx.params[name] if option.multiple else [ctx.params[name]]
        for value in values:
            words += [option.opts[0]] if option.is_flag else [option.opts[0], str(value)]
    return shlex.join([*words, "--resume"])


_MODES: dict[str, Mode] = {"overwrite": "overwrite", "retry_failed": "retry", "resume": "resume"}


def _mode(options: dict[str, Any]) -> Mode:
    modes: list[Mode] = [mode for option, mode in _MODES.items() if options[option]]
    if "overwrite" in modes and len(modes) > 1:
        raise ConfigError("--overwrite begins anew, --resume goes on: give one of them", key="--overwrite")
    if options["output"] == "-" and modes:
        raise ConfigError("standard output cannot be gone on with, nor overwritten", key="--output")
    return modes[0] if modes else "new"


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line says, as the `[extract]` table would."""
    parsers = {"mix": shares_of, "cuts": numbers_of, "quantiles": numbers_of} | dict.fromkeys(
        ("stagger", "batch_pause", "timeout", "max_wait"), seconds_of
    )
    changes: dict[str, Any] = {
        name: parse(options[name], f"--{name.replace('_', '-')}")
        for name, parse in parsers.items()
        if options[name] is not None
    }
    changes |= {name: options[name] for name in ("batch_size", "concurrency", "slack") if options[name] is not None}
    if options["columns"]:
        changes["map"] = pairs_of(",".join(options["columns"]), "--map")
    return changes
