"""The storm lab's families in virtual time: ours on many seeds, the other policies on a few, which take long to play.

Nothing here depends on the machine: `ratelimit-router storm` prints the same figures everywhere.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, geometric_mean
from typing import Any

from ratelimit_router.simulation import FAMILIES, POLICIES

__all__ = ["play"]

FIRST_SEED = 1_000
"""Families were tuned on seeds 0 to 49."""
STORM = "from ratelimit_router.cli import main; main()"


def play(families: Sequence[str], seeds: int, rival_seeds: int) -> list[dict[str, Any]]:
    """One row for each family and policy."""
    ours = [name for name, entry in POLICIES.items() if entry.ours]
    rows = storm(families, ours, seeds, "--frontier")
    if rival_seeds:
        rows += storm(families, [name for name in POLICIES if name not in ours], rival_seeds)
    return summary(rows)


def storm(families: Sequence[str], policies: Sequence[str], seeds: int, *more: str) -> list[dict[str, Any]]:
    """What the command prints. Status 1 says that a task of ours was lost, which the rows say, too."""
    named = [word for policy in policies for word in ("--policy", policy)]
    command = [sys.executable, "-c", STORM, "storm", *families, *named, *more, "--json"]
    ran = subprocess.run(
        [*command, "--seed", str(FIRST_SEED), "--seeds", str(seeds)], stdout=subprocess.PIPE, text=True
    )
    if ran.returncode > 1:
        raise RuntimeError(f"storm ended with status {ran.returncode}")
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    return found


def summary(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By family and policy: ratios by their geometric mean, all else by the mean."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["family"], row["policy"]].append(row)
    return [
        {
            "family": family,
            "policy": policy,
            "seeds": len(group),
            "ratio": round(geometric_mean(row["ratio"] for row in group), 4),
            "worst": round(max(row["ratio"] for row in group), 3),
            "rejections_per_task": round(fmean(row["rejections_per_task"] for row in group), 5),
            "first_choice_share": round(fmean(row["first_choice_share"] for row in group), 3),
            "frontier_share": _mean(row["frontier_share"] for row in group),
            "lost": sum(row["failed"] + row["unfinished"] for row in group),
        }
        for (family, policy), group in groups.items()
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), 3) if known else None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--rival-seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    options = parser.parse_args()
    rows = play(options.family, options.seeds, options.rival_seeds)
    if options.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            f"{row['family']:<18} {row['policy']:<15} {row['ratio']:7.3f} {row['rejections_per_task']:9.4f} 429s a task"
        )


if __name__ == "__main__":
    main()
