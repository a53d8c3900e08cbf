"""The tables of shared stores: alone, in a crowd, in SQLite, and real routers that compete."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.report.tables import table

__all__ = ["store_tables"]

Row = Mapping[str, Any]


def store_tables(result: Any) -> dict[str, str]:
    """By heading."""
    server = result["server"]
    crowds = "Admissions a second (p50, p99 in microseconds) of processes that do nothing else"
    return {
        f"One admission after the other, in one process, on {server}": _alone(result["alone"]),
        f"{crowds}, on {server}": _crowd(result["crowd"]),
        "The same in an SQLite file": _crowd(result["sqlite"]),
        "Eight processes of fifty waiters, on quotas of 120 calls a second": _contention(result["contention"]),
    }


def _alone(result: Mapping[str, Row]) -> str:
    rows = [
        (name, f"{row['over_evalsha']:.2f}", f"{row['p50']:.0f}", f"{row['p99']:,.0f}", f"{row['server']:.0f}")
        for name, row in result.items()
    ]
    return table(("", "over EVALSHA", "p50 us", "p99 us", "of that in the server, us"), rows)


def _crowd(result: Sequence[Row]) -> str:
    columns = dict.fromkeys((row["processes"], row["every"]) for row in result)
    cells = {(row["case"], row["processes"], row["every"]): row for row in result}
    head = [f"{count}" + (f", every {1000 * every:.0f} ms" if every else "") for count, every in columns]
    return table(
        ("", *head),
        [
            (name, *(_crowd_cell(cells[name, *column]) for column in columns))
            for name in dict.fromkeys(row["case"] for row in result)
        ],
    )


def _crowd_cell(row: Row) -> str:
    locked = f", {row['locked']} x locked" if row["locked"] else ""
    return f"{row['per_second']:,} ({row['p50']:,.0f}, {row['p99']:,.0f}{locked})"


def _contention(result: Iterable[Row]) -> str:
    rows = [
        (
            row["store"],
            f"{row['calls']:,}",
            f"{row['asks_a_grant']:.2f}",
            f"{row['acts_a_grant']:.2f}",
            f"{row['used']:.3f}",
            f"{row['over'] + row['early']}",
            f"{row['late_ms'][0]:.1f}, {row['late_ms'][1]:.1f}",
        )
        for row in sorted(result, key=lambda row: row["store"])
    ]
    return table(("", "calls", "asks a grant", "acts a grant", "used", "too many", "late (p50, p99 ms)"), rows)
