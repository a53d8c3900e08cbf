"""Workers at work: started, killed, stopped and replaced while they share a store, and judged by what they did."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.ratelimit_router.processes.judge import Verdict, judge, read
from tests.ratelimit_router.processes.quotas import scheme

__all__ = ["Crew", "Nursery", "nursery"]

WAITERS: Mapping[str, int] = {"all": 24, "slots": 6}
ROOT = Path(__file__).parents[3]
SKEWED = """
import runpy, time
real = time.time
time.time = lambda: real() + {skew!r}
runpy.run_module("tests.ratelimit_router.processes.worker", run_name="__main__", alter_sys=True)
"""


class Nursery:
    """The program that forks workers. `skew`: seconds by which their `time.time` is ahead."""

    def __init__(self, skew: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SKEWED.format(skew=skew)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def do(self, name: str, *arguments: Any) -> int:
        """One command of the program's."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({name: arguments}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


@contextmanager
def nursery(skew: float = 0.0) -> Iterator[Nursery]:
    """One for as long as it is needed."""
    one = Nursery(skew)
    try:
        yield one
    finally:
        one.close()


class Crew:
    """Workers on the store `url`, that call for `seconds`, from `ready` seconds after now.

    `lease`, `slots`, `waiters`, `hold`: see `Job`.
    """

    def __init__(
        self,
        workers: Nursery,
        url: str,
        seconds: float,
        *,
        lease: float = 30.0,
        slots: int = 3,
        waiters: Mapping[str, int] = WAITERS,
        hold: tuple[float, float] = (0.002, 0.02),
        ready: float = 0.3,
    ) -> None:
        self._workers, self.lease, self.slots = workers, lease, slots
        self._home = TemporaryDirectory(prefix="ratelimit-router-crew-")
        self.home = Path(self._home.name)
        self.go = time.monotonic() + ready
        self.until = self.go + seconds
        self._job = {
            "url": url,
            "lease": lease,
            "slots": slots,
            "waiters": dict(waiters),
            "hold": hold,
            "go": self.go,
            "until": self.until,
        }
        self._alive: dict[int, Nursery] = {}
        self._started = 0
        self.rng = random.Random()

    def start(self, count: int = 1, *, workers: Nursery | None = None, scheme: str = "usual", **more: Any) -> list[int]:
        """More workers; their process ids."""
        pids = []
        for _ in range(count):
            self._started += 1
            file = str(self.home / f"{self._started}")
            one = workers or self._workers
            pids.append(one.do("fork", self._job | {"scheme": scheme, "file": file} | more))
            self._alive[pids[-1]] = one
        return pids

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a worker a signal."""
        self._alive[pid].do("signal", pid, number)

    def kill(self, pid: int) -> None:
        """kill -9."""
        self.signal(pid, signal.SIGKILL)
        assert self._alive.pop(pid).do("wait", pid, 10.0) == -signal.SIGKILL

    @property
    def alive(self) -> list[int]:
        """The process ids of those that were not killed."""
        return [*self._alive]

    def any(self) -> int:
        """Some worker that lives."""
        return self.rng.choice(sorted(self._alive))

    def sleep_until(self, seconds: float) -> None:
        """Seconds since they began to call. Real time: the store's clock and the system's signals know no other."""
        time.sleep(max(self.go + seconds - time.monotonic(), 0.0))

    def end(self, patience: float = 15.0) -> list[int]:
        """Wait for everybody; how they ended."""
        left = max(self.until - time.monotonic(), 0.0) + patience
        ends = [one.do("wait", pid, left) for pid, one in self._alive.items()]
        self._alive.clear()
        return ends

    def verdict(self) -> Verdict:
        """When all have ended."""
        ends = self.end()
        errors = [file.read_text() for file in self.home.glob("*.error")]
        assert not errors, errors
        assert ends == [0] * len(ends), ends
        calls, told = read(self.files())
        assert calls, f"nobody has called anything: {told}\n{self.log()[:2000]}"
        return judge(calls, told, scheme(slots=self.slots), lease=self.lease, go=self.go, until=self.until)

    def files(self) -> list[Path]:
        """What the workers have written."""
        return [one for one in self.home.iterdir() if not one.suffix]

    def log(self) -> str:
        """What the workers have warned of."""
        return "".join(one.read_text() for one in sorted(self.home.glob("*.log")))

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        for pid, one in self._alive.items():
            one.do("signal", pid, signal.SIGKILL)
            one.do("wait", pid, 10.0)
        self._home.cleanup()
