"""`python -m tests.ratelimit_router.processes`: every scenario many times, and a table of what was found."""

import argparse
import sys
import time
from collections import Counter
from statistics import mean, median

from tests.ratelimit_router.processes.crew import Nursery, nursery
from tests.ratelimit_router.processes.judge import Verdict
from tests.ratelimit_router.processes.scenarios import SCENARIOS, STORES, in_flight_for_good

HEAD = (
    "| scenario | store | runs | calls | over | early | used, mean (least) | by time | late, ms: 50% 99% most | asks"
    " | acts |"
)


def row(name: str, store: str, found: list[Verdict]) -> str:
    """A line of the table."""
    over: dict[str, int] = {}
    for one in found:
        for quota, excess in one.over.items():
            if excess:
                over[quota] = over.get(quota, 0) + excess
    used, busy = [one.used for one in found], [one.occupied for one in found]
    acts = [sum(one.acts.values()) / max(one.counted, 1) for one in found]
    late = [(mean if place < 2 else max)(one.late[place] for one in found) for place in range(3)]
    cells = (
        name,
        store,
        len(found),
        sum(one.calls for one in found),
        f"{sum(over.values())}{f' {over}' if over else ''}",
        sum(one.early for one in found),
        f"{mean(used):.3f} ({min(used):.3f})",
        f"{mean(busy):.3f}",
        " ".join(f"{one:.1f}" for one in late),
        f"{mean(one.asks for one in found):.2f}",
        f"{mean(acts):.2f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def slots(workers: Nursery, stores: list[str], runs: int, count: int) -> None:
    """The table of slots that were lost."""
    lease = 2.0
    sys.stdout.write(f"\n| store | runs | killed | had | back | the last, s after the kill (lease {lease:g} s) |\n")
    for store in stores:
        had, back, last = 0, 0, []
        for _ in range(runs):
            before, again, _ = in_flight_for_good(store, workers, count, lease)
            had, back = had + before, back + len(again)
            last.append(again[-1] if again else float("inf"))
        sys.stdout.write(
            f"| {store} | {runs} | {runs * count} | {had} | {back} | {median(last):.2f} (most {max(last):.2f}) |\n"
        )
        sys.stdout.flush()


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.25)
    parser.add_argument("--stores", nargs="*", default=[*STORES])
    parser.add_argument("--scenarios", nargs="*", default=[*SCENARIOS], metavar="NAME")
    parser.add_argument("--killed", type=int, default=100, help="workers that are killed while they hold a slot")
    parser.add_argument("--slots", type=int, default=3, help="runs in which they are")
    chosen = parser.parse_args()
    with nursery() as workers:
        sys.stdout.write(f"{HEAD}\n|{'---|' * 11}\n")
        for name in chosen.scenarios:
            scenario, of_files = SCENARIOS[name]
            for store in chosen.stores:
                if store == "sqlite" and not of_files:
                    continue
                found = []
                for _ in range(chosen.runs):
                    try:
                        found.append(scenario(store, workers, chosen.workers, chosen.seconds))
                    except AssertionError as error:
                        sys.stderr.write(f"{time.ctime()} {name}, {store}: {error}\n")
                if found:
                    sys.stdout.write(row(name, store, found) + "\n")
                    errors = sum((one.errors for one in found), start=Counter[str]())
                    sys.stderr.write(f"{name}, {store}: {dict(errors)}\n" if errors else "")
                sys.stdout.flush()
        if chosen.slots:
            slots(workers, chosen.stores, chosen.slots, chosen.killed)


if __name__ == "__main__":
    main()
