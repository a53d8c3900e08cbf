"""What a run came to: a table for people, plain values for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ratelimit_router.toml_file import one_line
from ratelimit_router_extraction.records import Result
from ratelimit_router_extraction.tally import Row, Tally

__all__ = ["headline", "plan_line", "result_line", "service_line", "summary_table"]

SHOWN = 8
"""How many entities of an article a line shows."""


def result_line(result: Result) -> str:
    """One article in one line: what was found, by whom, how long it waited. Nothing in it can move a cursor."""
    where = f"{result.job.article.id} [{result.job.tier} -> {result.model or 'none'}]"
    if result.failure is not None:
        return one_line(f"x {where} {result.failure.kind}: {result.failure.message}")
    entities = result.extraction.entities if result.extraction else ()
    told = [f"{entity.text} ({entity.type})" for entity in entities[:SHOWN]]
    if len(entities) > SHOWN:
        told.append(f"and {len(entities) - SHOWN} more")
    return one_line(f"+ {where} {', '.join(told) or 'no entities'}")


def headline(tally: Tally, elapsed: float) -> str:
    """The articles in one line."""
    parts = [f"{tally.done} of {tally.total} articles done", f"{tally.failed} failed"]
    if tally.failures:
        parts[-1] += f" ({', '.join(f'{count} {kind}' for kind, count in sorted(tally.failures.items()))})"
    if tally.held:
        parts.append(f"{tally.held} held already")
    if tally.bad_rows:
        parts.append(f"{tally.bad_rows} bad rows skipped")
    unfound = f" ({tally.unfound} more were named that are not in the text)" if tally.unfound else ""
    return f"{', '.join(parts)}; {tally.entities} entities{unfound}; {elapsed:.1f} s"


def summary_table(tally: Tally, tiers: Sequence[str]) -> Table:
    """Per tier and model: the calls, fallbacks, rejections, waits and tokens; and all together."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)  # fits into 80 columns
    for name in ("tier", "model"):
        table.add_column(name, vertical="bottom")
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    order = {tier: place for place, tier in enumerate(tiers)}
    for (tier, model), row in sorted(tally.rows.items(), key=lambda item: (order.get(item[0][0], 99), -item[1].calls)):
        table.add_row(Text(tier), Text(model), *_cells(row))
    table.add_section()
    table.add_row("all", "", *_cells(tally.whole()))
    return table


def plan_line(tally: Tally) -> str:
    """How models were chosen, and what came of it."""
    how = "No plan" if tally.slack is None else f"Under a plan with slack {tally.slack:g}"
    return f"{how}: {tally.first_choices} of {tally.done} articles done by the first choice of their tier."


def service_line(service: Mapping[str, Any]) -> str:
    """What the embedded service itself counted."""
    return f"The simulated service admitted {service['admitted']} calls and answered {service['rejected']} with 429."


_COLUMNS = (
    *("calls", "fall-\nbacks", "429", "503", "other\nfaults", "waits"),
    *("mean\nwait", "max\nwait", "tokens\nin", "tokens\nout"),
)


def _cells(row: Row) -> list[str]:
    mean = row.waited / row.waits if row.waits else 0.0
    counts = (row.calls, row.fallbacks, row.rate_limited, row.overloaded, row.failed, row.waits)
    return [
        *(f"{count:,}" for count in counts),
        f"{mean:.2f}",
        f"{row.longest_wait:.2f}",
        f"{row.input_tokens:,}",
        f"{row.output_tokens:,}",
    ]
