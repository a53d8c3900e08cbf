"""`ratelimit-router check`: is a configuration right, and what does it come to?"""

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ratelimit_router import plugins
from ratelimit_router.cli.explanation import Explanation, explain
from ratelimit_router.config import load_config
from ratelimit_router.toml_file import one_line

__all__ = ["check"]

_PERIODS = {1.0: "second", 60.0: "minute", 3_600.0: "hour", 86_400.0: "day"}
_PLAIN_WIDTH = 140  # columns where no terminal says how many there are


@click.command()
@click.argument("config", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--no-keys", is_flag=True, help="Do not ask whether the variables that hold the keys are set.")
def check(config: str, as_json: bool, no_keys: bool) -> None:
    """Check a configuration and show what it comes to.

    Loads CONFIG (a TOML file) as the router would, and shows every model with its limits and how they come back, the
    pools, and the chain of every tier with the fallback. A defect is one line with file, line and key; exit status 2.
    """
    loaded = load_config(config, require_keys=not no_keys)
    explanation = explain(loaded, plugins.provider_class, tuple(plugins.providers()))
    if as_json:
        click.echo(json.dumps(explanation.report, indent=2))
    else:
        _show(explanation)


def _show(explanation: Explanation) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    report = explanation.report
    console.print(_models(report["models"]))
    console.print(_limits("Limits of models", report["models"]))
    if report["pools"]:
        console.print(_limits("Limits of pools", report["pools"]))
    console.print(_tiers(report["tiers"]))
    slow_start = "off" if report["slow_start"] is None else report["slow_start"]
    options = f"store {report['store']}, slow start {slow_start}, fallback {report['fallback'] or 'none'}"
    console.print(Text(one_line(f"{report['file']} is right: {options}")), soft_wrap=True)
    for note in explanation.notes:
        console.print(Text(one_line(f"note: {note}")), soft_wrap=True)


def _models(models: list[dict[str, Any]]) -> Table:
    table = _table("Models", "model", "provider", "id", "key", "pools")
    for model in models:
        _add(table, model["name"], model["provider"], model["id"], model["key"], ", ".join(model["pools"]))
    return table


def _limits(title: str, owners: list[dict[str, Any]]) -> Table:
    table = _table(title, title.rpartition(" ")[2].removesuffix("s"), "limit", "amount", "per", "refill", "details")
    for owner in owners:
        for limit in owner["limits"] or [{"quota": None, "amount": None, "refill": None}]:
            _add(table, owner["name"], limit["quota"], _amount(limit), _period(limit), _refill(limit), _details(limit))
    return table


def _tiers(tiers: list[dict[str, Any]]) -> Table:
    table = _table("Tiers", "tier", "chain", "patience", "weight")
    for tier in tiers:
        patience = "inf" if tier["patience"] == "inf" else f"{tier['patience']:g} s"
        _add(table, tier["name"], _chain(tier), patience, f"{tier['weight']:g}")
    return table


def _chain(tier: dict[str, Any]) -> str:
    steps = [step[0] if len(step) == 1 else f"({' | '.join(step)})" for step in tier["chain"]]
    return " -> ".join(steps) + (" (fallback)" if tier["falls_back_to"] else "")


def _amount(limit: dict[str, Any]) -> str | None:
    return None if limit["amount"] is None else f"{limit['amount']:,}"


def _period(limit: dict[str, Any]) -> str | None:
    if "period" not in limit:
        return "at once" if limit["quota"] else None
    return _PERIODS.get(limit["period"], f"{limit['period']:g} s")


def _refill(limit: dict[str, Any]) -> str | None:
    if limit["refill"] is None:
        return None
    return f"{limit['refill']}{' (default)' if limit['refill_from'] == 'default' else ''}"


def _details(limit: dict[str, Any]) -> str | None:
    if "burst" in limit:
        return f"burst {limit['burst']:,}"
    return f"resets {limit['resets']}" if "resets" in limit else None


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("amount", "patience", "weight") else "left", overflow="fold"
        )
    return table


def _add(table: Table, *cells: str | None) -> None:
    """A row of plain text: names are the user's and no markup."""
    table.add_row(*(Text(one_line(cell)) if cell else Text("-", style="dim") for cell in cells))
