"""RESULTS.md as a whole."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.pictures import draw
from benchmarks.report.stores import store_tables
from benchmarks.report.storms import Storms
from benchmarks.report.tables import MICRO, goal_table, lab_table, scenario_list, storm_tables

__all__ = ["write"]

_HEAD = """# Results

Written by `make bench` from what it has measured (`results.json`); nothing here is typed in. Measured on {cores} cores
({processor}, {system}, {python}).

Beside {peers}.
"""
_LAB = """## The storm lab

In virtual time, the same on every machine: families of random storms, seeds from 1000 on (tuned on 0 to 49; ours on
{ours} seeds, the others on {others}, for they take long to play). Makespan over the least that any scheduler could
take, as geometric mean; in brackets 429s a task. `ratelimit-router storm --list` says what each is.
"""
_STORMS = """## Storms over HTTP

Every contestant makes the same calls of the same four models (60, 120, 240 and 480 requests a minute, answers after 50
to 200 ms) against the same simulated service, over real HTTP on one machine, in a process of its own; its code is in
[over_http/contestants/](over_http/contestants/). The quotas are continuous with 5 s of burst unless the storm says
otherwise. The *bound* is the least time that any scheduler could take: [over_http/bound.py](over_http/bound.py) says
why. Whoever has not ended after 90 s has failed the rest. Of several runs of one contestant the median is shown.
Other programs used {others:.0%} of the machine meanwhile; the less, the more these figures are worth. {conditions}

{scenarios}
"""
_STORES = """## Shared stores

What it costs that several processes share quotas. Ours is one admission of a chain of four models with four limits
each; the peers know one limit of one model, and no refund, so theirs is that: [stores/peers.py](stores/peers.py) says
what they cannot. With "three of four full" the first three models are refused and the fourth is taken: one round trip
for ours, four for theirs. The ratios are medians round by round; server and processes share the cores. The load of the
machine was {load} when it began.
"""
_CONDITIONS = {
    True: "It was about the same for all; the last table has the details.",
    False: "**It was not the same for all**, see the last table: what is compared here was not measured alike.",
}


def write(results: Mapping[str, Any], folder: Path) -> None:
    """Write the page, and its pictures, into that folder."""
    runs = results["runs"]
    machine = results["machine"]
    peers = ", ".join(f"{name} {number}" for name, number in results["peers"].items())
    head = _HEAD.format(**machine, peers="\n".join(textwrap.wrap(peers, 110)))
    parts = [head, "## Goals\n", goal_table(runs) + "\n"]
    if "lab" in runs:
        rows = runs["lab"]["result"]
        parts += [_LAB.format(ours=max(row["seeds"] for row in rows), others=min(row["seeds"] for row in rows))]
        parts += [lab_table(rows) + "\n"]
    if "over_http" in runs:
        parts += _storms(Storms(runs["over_http"]["result"]), folder / "pictures")
    if "stores" in runs:
        parts.append(_STORES.format(load=runs["stores"]["load"]))
        for heading, text in store_tables(runs["stores"]["result"]).items():
            parts += [f"### {heading}\n", text + "\n"]
    parts.append("## Alone\n\nIn turns with their peers, each round; medians of the ratios round by round.\n")
    for name, (heading, make) in MICRO.items():
        if name in runs:
            parts += [f"### {heading}\n", make(runs[name]["result"]) + "\n"]
    (folder / "RESULTS.md").write_text("\n".join(parts), encoding="utf-8")


def _storms(storms: Storms, pictures: Path) -> list[str]:
    parts = [
        _STORMS.format(scenarios=scenario_list(storms), others=storms.others(), conditions=_CONDITIONS[storms.fair])
    ]
    parts += [f"![{about}](pictures/{path.name})\n" for path, about in draw(storms, pictures).items()]
    for heading, text in storm_tables(storms).items():
        parts += [f"### {heading}\n", text + "\n"]
    return parts
