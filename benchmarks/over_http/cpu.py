"""The client's CPU for the plain storm, beside the bare HTTP client's: `python -m benchmarks.over_http.cpu`.

Every round plays each of them once, so that a machine that slows down slows all. Printed are medians: CPU seconds, and
the ratio to the bare client round by round. The oracle shows what waiting alone adds: it only sleeps, and calls.
"""

import argparse
import json
import statistics
import sys

from benchmarks.over_http.contestants import CONTESTANTS
from benchmarks.over_http.match import play
from benchmarks.over_http.scenarios import SCENARIOS

__all__ = ["measure"]

NAMES = ("bare", "oracle", "ours")


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """For each the medians."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for number in range(rounds):
        for name in NAMES:
            found[name].append(play(SCENARIOS["plain"], CONTESTANTS[name], 60.0)["cpu"])
        last = ", ".join(f"{name} {values[-1]:.3f} s" for name, values in found.items())
        print(f"round {number + 1} of {rounds}: {last}", file=sys.stderr, flush=True)
    return {
        name: {
            "cpu": round(statistics.median(values), 3),
            "over_bare": round(statistics.median(a / b for a, b in zip(values, found["bare"], strict=True)), 3),
        }
        for name, values in found.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps(result))
    else:
        for name, row in result.items():
            print(f"{row['cpu']:7.3f} s {row['over_bare']:6.2f}  {name}")
