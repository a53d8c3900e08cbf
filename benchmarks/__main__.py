"""Everything, one after another: `python -m benchmarks` writes results.json, RESULTS.md and the pictures beside it.

`--only NAME...` measures some of it anew and keeps the rest; `--scenario` and `--contestant` do so for the storms over
HTTP; `--report` measures nothing and only writes. The storms take most of an hour, the lab half of one, the stores six
minutes, all the rest ten. Timings want a quiet machine: how quiet it was is noted, and `--patience` waits for it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, versions
from benchmarks.over_http.contestants import CONTESTANTS
from benchmarks.over_http.scenarios import SCENARIOS
from benchmarks.report import write

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
STORMS = "over_http"
SUITE = {
    "route_settle": "benchmarks.route_settle",
    "pick": "benchmarks.pick",
    "waiters": "benchmarks.waiters",
    "imports": "benchmarks.imports",
    "refusal": "benchmarks.refusal",
    "client_cpu": "benchmarks.over_http.cpu",
    "stores": "benchmarks.stores.run",
    "lab": "benchmarks.lab",
    STORMS: "benchmarks.over_http.run",
}
"""By name, the script; each takes `--json`."""
_NUMBERS = re.compile(r"\[[-\d.,\s]+\]")
"""A list of numbers, which goes on one line."""


def run(module: str, *arguments: str) -> Any:
    """What the script prints; its progress goes to stderr."""
    command = [sys.executable, "-W", "ignore", "-m", module, "--json", *arguments]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    return json.loads(ran.stdout.strip().splitlines()[-1])


def merged(rows: Sequence[dict[str, Any]], newer: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of storms, in the order of the scenarios; newer ones replace the older of the same contestant."""
    anew = {(row["scenario"], row["contestant"]) for row in newer}
    kept = [row for row in rows if (row["scenario"], row["contestant"]) not in anew]
    scenarios, contestants = list(SCENARIOS), list(CONTESTANTS)
    return sorted(
        [*kept, *newer], key=lambda row: (scenarios.index(row["scenario"]), contestants.index(row["contestant"]))
    )


def measure(name: str, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measure one of the suite anew, and write down what there is after every step."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    found = results.setdefault("runs", {}).setdefault(name, {})
    found["load"] = round(os.getloadavg()[0], 2)
    if name != STORMS:
        found["result"] = run(SUITE[name])
        save(results)
        return
    patience = f"--patience={options.patience}"
    for scenario in options.scenario:
        rows = run(SUITE[name], "--scenario", scenario, "--contestant", *options.contestant, patience)
        found["result"] = merged(found.get("result", []), rows)
        save(results)


def save(results: dict[str, Any]) -> None:
    """To results.json, with the machine of the latest run."""
    results |= {"machine": describe(), "peers": versions()}
    text = _NUMBERS.sub(lambda found: " ".join(found[0].split()), json.dumps(results, indent=1))
    RESULTS.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUITE, default=list(SUITE), metavar="NAME")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--contestant", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds to wait for a quiet machine, each time")
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md and the pictures")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name in () if options.report else options.only:
        measure(name, options, results)
    write(results, HERE)


if __name__ == "__main__":
    main()
