"""What importing costs, in a fresh interpreter each time: asyncio, the router, and the peers that are installed.

Each interpreter measures one statement by `perf_counter`, from its first line on; so what the interpreter itself has
loaded is not counted, and whatever the statement loads is, asyncio included. Rounds take turns, so that a machine that
slows down slows all; printed are medians in milliseconds, and the medians of the ratios to `import asyncio` round by
round. Byte code is compiled before, as an installation does, into a directory of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec

STATEMENTS = {
    "asyncio": "import asyncio",
    "ratelimit_router": "import ratelimit_router",
    "ratelimit_router, in use": "from ratelimit_router import Limits, Model, Router, Tier",
    "aiolimiter": "import aiolimiter",
    "limits": "import limits.aio",
    "pyrate_limiter": "import pyrate_limiter",
    "throttled": "import throttled.asyncio",
    "litellm": "import litellm",
}
"""By name, whose first word is the package."""


def measure(statement: str, cache: str) -> float:
    """Milliseconds for one statement in a new interpreter."""
    program = f"import time; begun = time.perf_counter(); {statement}; print(time.perf_counter() - begun)"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(
        [sys.executable, "-X", f"pycache_prefix={cache}", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=environ,
    )
    return float(ran.stdout.split()[-1]) * 1_000


def main(rounds: int, heavy: bool, cache: str) -> list[dict[str, float | str]]:
    """For each statement the median of its milliseconds, and of its ratio to asyncio."""
    wanted = {
        name: statement
        for name, statement in STATEMENTS.items()
        if find_spec(name.partition(",")[0]) and (heavy or name != "litellm")
    }
    for statement in wanted.values():
        measure(statement, cache)  # writes the byte code
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for _ in range(rounds):
        for name, statement in wanted.items():
            found[name].append(measure(statement, cache))
    return [
        {
            "statement": wanted[name],
            "ms": round(statistics.median(values), 2),
            "ratio": round(statistics.median(a / b for a, b in zip(values, found["asyncio"], strict=True)), 3),
        }
        for name, values in found.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--light", action="store_true", help="leave out litellm, which takes seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        rows = main(options.rounds, not options.light, cache)
    if options.json:
        print(json.dumps(rows))
    else:
        print(f"{'ms':>9} {'ratio':>7}  statement")
        for row in rows:
            print(f"{row['ms']:>9.2f} {row['ratio']:>7.2f}  {row['statement']}")
