"""The tables of RESULTS.md, each from one script's JSON: ratios, wherever there is something to relate to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.over_http.contestants import CONTESTANTS
from benchmarks.over_http.scenarios import SCENARIOS
from benchmarks.report.goals import goals
from benchmarks.report.storms import Storms

__all__ = ["MICRO", "goal_table", "lab_table", "scenario_list", "storm_tables"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def goal_table(runs: Mapping[str, Any]) -> str:
    """What was wanted, and what was measured."""
    return table(
        ("goal", "measured", "met"),
        [(goal.wanted, goal.measured, "yes" if goal.met else "**no**") for goal in goals(runs)],
    )


def scenario_list(storms: Storms) -> str:
    """What each storm is, and the least that it can take."""
    bounds = {name: row["bound"] for name in storms.scenarios() if (row := storms.median(name, "ours"))}
    return "\n".join(f"- `{name}`: {SCENARIOS[name].about} (bound {bound:.1f} s)" for name, bound in bounds.items())


def storm_tables(storms: Storms) -> dict[str, str]:
    """By heading: how fast, how many refusals, how much CPU."""
    return {
        "Share of the bound reached (1 is the best possible), or calls done if some failed": _matrix(storms, _share),
        "Answers with 429 (+ with 503, of the model that is dark)": _matrix(storms, _refusals),
        "CPU of the client, over the bare HTTP client's for the same calls": _matrix(storms, _cpu),
        "Peak memory in MB, its import included": _matrix(storms, _memory),
        "Share of the machine that other programs used meanwhile": _matrix(storms, _others),
    }


def _matrix(storms: Storms, cell: Callable[[Storms, str, str], str]) -> str:
    scenarios = storms.scenarios()
    rows = [
        (CONTESTANTS[name].title, *(cell(storms, scenario, name) for scenario in scenarios))
        for name in storms.contestants()
    ]
    return table(("", *scenarios), rows)


def _share(storms: Storms, scenario: str, contestant: str) -> str:
    if (row := storms.median(scenario, contestant)) is None:
        return ""
    return f"{row['ratio']:.3f}" if row["ratio"] else f"{row['done']:,} of {row['calls']:,}"


def _refusals(storms: Storms, scenario: str, contestant: str) -> str:
    if (row := storms.median(scenario, contestant)) is None:
        return ""
    outage = f" + {row['errors_503']:,}" if row["errors_503"] else ""
    return f"{row['rejections']:,}{outage}"


def _cpu(storms: Storms, scenario: str, contestant: str) -> str:
    ratio = storms.cpu(scenario, contestant)
    return "" if ratio is None else f"{ratio:.1f}"


def _memory(storms: Storms, scenario: str, contestant: str) -> str:
    row = storms.median(scenario, contestant)
    return "" if row is None else f"{row['peak_mb']:.0f}"


def _others(storms: Storms, scenario: str, contestant: str) -> str:
    row = storms.median(scenario, contestant)
    return "" if row is None else f"{row['others']:.0%}"


def _client_cpu(result: Any) -> str:
    titles = {name: CONTESTANTS[name].title for name in result}
    return table(
        ("", "CPU over the bare client's"), [(titles[name], f"{row['over_bare']:.2f}") for name, row in result.items()]
    )


def _refusal(result: Any) -> str:
    rows = [(name, f"{row['ms']:.2f}", f"{row['beyond_client_ms']:.2f}") for name, row in result.items()]
    return table(("", "ms of CPU", "beyond its client"), rows)


def _route_settle(result: Any) -> str:
    return table(("", "over aiolimiter"), [(name, f"{row['ratio']:.2f}") for name, row in result.items()])


def _pick(result: Any) -> str:
    rows = [
        (name, f"1/{1 / row['chain_over_this']:.0f}", f"1/{1 / row['equals_over_this']:.0f}")
        for name, row in result.items()
        if name.startswith("litellm")
    ]
    return table(("", "our chain over it", "our equals over it"), rows)


def _waiters(result: Any) -> str:
    rows = [
        (
            f"{row['case']}, {row['waiters']:,} waiters",
            f"{row['over_aiolimiter']:.2f}",
            f"{row['over_shortest']:.2f}",
            "yes" if row["in_order"] else "no",
        )
        for row in result["cpu"]
    ]
    sizes = ", ".join(f"{name} {size / 1024:.2f} KB" for name, size in result["bytes_a_waiter"].items())
    return table(("", "over aiolimiter", "over the shortest line", "in order"), rows) + f"\n\nA waiter takes: {sizes}."


def _imports(result: Any) -> str:
    return table(("", "over `import asyncio`"), [(f"`{row['statement']}`", f"{row['ratio']:.2f}") for row in result])


def lab_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Makespan over the bound, and in brackets 429s a task: a line a family, a column a policy."""
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    cells = {(row["family"], row["policy"]): row for row in rows}
    return table(
        ("", *policies),
        [
            (family, *(_lab_cell(cells.get((family, policy))) for policy in policies))
            for family in dict.fromkeys(row["family"] for row in rows)
        ],
    )


def _lab_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    lost = f", {row['lost']} lost" if row["lost"] else ""
    return f"{row['ratio']:.3f} ({row['rejections_per_task']:.2g}{lost})"


MICRO: dict[str, tuple[str, Callable[[Any], str]]] = {
    "client_cpu": ("The client's CPU in the plain storm, in turns", _client_cpu),
    "refusal": ("Handling one 429", _refusal),
    "route_settle": ("`route` + `settle`, beside one `acquire` of the limiters", _route_settle),
    "pick": ("The same beside LiteLLM's choice of a deployment", _pick),
    "waiters": ("CPU a grant out of a long line", _waiters),
    "imports": ("Importing", _imports),
}
"""By script: heading and table."""
