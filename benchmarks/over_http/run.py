"""Every contestant in every scenario, one after another: `python -m benchmarks.over_http.run`."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.over_http.contestants import CONTESTANTS, Contestant
from benchmarks.over_http.match import play
from benchmarks.over_http.quiet import when_quiet
from benchmarks.over_http.scenarios import SCENARIOS, Scenario

__all__ = ["CAP", "run"]

CAP = 90.0
"""Seconds after which a contestant has failed."""


def run(
    scenarios: Sequence[Scenario], contestants: Sequence[Contestant], cap: float = CAP, patience: float = 0.0
) -> list[dict[str, Any]]:
    """Scenario by scenario, so that what is compared ran within minutes of each other. Progress goes to stderr.

    Each time it waits until others leave the machine alone, but at most `patience` seconds.
    """
    rows = []
    for scenario in scenarios:
        print(f"{scenario.name}: {scenario.about}", file=sys.stderr)
        for contestant in contestants:
            for _ in range(contestant.rounds):
                when_quiet(patience)
                rows.append(play(scenario, contestant, cap))
                print("  " + line(rows[-1]), file=sys.stderr, flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """One result for people."""
    ratio = f"{row['ratio']:.3f}" if row["ratio"] else "-"
    return (
        f"{row['contestant']:<18} {row['done']:>5} of {row['calls']} {row['makespan']:7.2f} s "
        f"(bound {row['bound']:.2f}, {ratio}) {row['rejections']:>6} x 429 {row['errors_503']:>4} x 503 "
        f"{row['cpu']:6.2f} s CPU {row['peak_mb']:4.0f} MB "
        f"(others {row['others']:.0%}) {row['errors'] or ''}"
    ).rstrip()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--contestant", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--cap", type=float, default=CAP, help="seconds after which a contestant has failed")
    parser.add_argument("--patience", type=float, default=0.0, help="seconds to wait for a quiet machine, each time")
    parser.add_argument("--json", action="store_true", help="print a list of objects, too")
    options = parser.parse_args()
    scenarios = [SCENARIOS[name] for name in options.scenario]
    contestants = [CONTESTANTS[name] for name in options.contestant]
    rows = run(scenarios, contestants, options.cap, options.patience)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
