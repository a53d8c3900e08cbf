"""How much of the machine others use: timings that were taken beside somebody's work are worth less.

Known on Linux only, from /proc/stat; elsewhere nobody is believed to disturb.
"""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["watch", "when_quiet"]

STAT = Path("/proc/stat")
QUIET = 0.15
"""Share of the machine that others may use."""
LOOK = 2.0
"""Seconds that are looked at to find out."""


def watch() -> Callable[[], float]:
    """Start to look; what it returns tells the share of the machine that others have used since.

    What children of this process have used counts as ours as soon as they have ended.
    """
    begin, ours = _busy(), _ours()

    def share() -> float:
        busy, whole = (now - then for now, then in zip(_busy(), begin, strict=True))
        return max(busy - (_ours() - ours), 0.0) / whole if whole else 0.0

    return share


def when_quiet(patience: float) -> None:
    """Return as soon as others leave the machine alone, at the latest after so many seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        others = watch()
        time.sleep(LOOK)
        if others() <= QUIET:
            return


def _busy() -> tuple[float, float]:
    """Seconds that all cores have worked, and that they have been there."""
    if not STAT.exists():
        return 0.0, 0.0
    ticks = [int(part) for part in STAT.read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # and waiting for a disk
    second = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - idle) / second, sum(ticks) / second


def _ours() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
