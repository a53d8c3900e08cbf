"""A process that calls models through a router on a shared store, and writes down each call before it is made.

Started as a program it forks a worker for every job that it reads, so that importing is paid for once; it signals them
and waits for them, too. One line in (JSON), one line out: see `main`.

The lines that a worker appends, one write each (instants in microseconds since 1970; MONO on CLOCK_MONOTONIC):

    G number model AT REAL MONO tokens     the store has granted a call for AT; it is made at REAL
    E number REAL tokens                   it has ended, and used so many; the store is told afterwards
    S {...}                                the worker's own account of its life
"""

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis.asyncio

from ratelimit_router.errors import RouterError
from ratelimit_router.remote import Remote
from ratelimit_router.router import Router
from ratelimit_router.stores.redis import RedisStore
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.shared_account import SharedAccount
from ratelimit_router.stores.sqlite import SqliteStore
from ratelimit_router.stores.urls import open_store
from tests.ratelimit_router.processes.quotas import COST, scheme

__all__ = ["Job", "real"]

IMPORTED = (Remote, RedisStore, SharedAccount, SqliteStore, redis.asyncio)
"""What workers use, imported once for all of them."""

Job = dict[str, Any]
"""`url`, `lease`, `file`, `scheme`, `slots`, `waiters` (by tier), `hold` (seconds, from and to), and on the monotonic
clock `go` and `until`."""


def real() -> int:
    """Microseconds since 1970, whatever `time.time` was made to say."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000


class Counted:
    """A store that counts what it is asked."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self.acts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("admit", "end", "renew", "restate", "cool", "reopen", "teach", "look"):
            return found

        def counted(*arguments: Any) -> Any:
            self.acts[name] += 1
            return found(*arguments)

        return counted


class Worker:
    """One job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._file = os.open(job["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        store = open_store(job["url"])
        assert isinstance(store, SharedStore)
        store.lease = job["lease"]  # type: ignore[misc]
        self._store = Counted(store)
        plan = scheme(job["scheme"], job["slots"])
        self._router = Router(
            models=plan.models,
            pools=plan.pools,
            tiers=plan.tiers,
            store=self._store,  # type: ignore[arg-type]
            slow_start=None,
        )
        self._rng = random.Random()
        self._errors: Counter[str] = Counter()
        self._count = 0

    def write(self, *words: object) -> None:
        """One line, in one piece."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    async def live(self) -> None:
        """Call until it is time to stop."""
        await asyncio.sleep(max(self.job["go"] - time.monotonic(), 0.0))
        callers = [
            asyncio.create_task(self._call_on(tier))
            for tier, count in self.job["waiters"].items()
            for _ in range(count)
        ]
        await asyncio.sleep(max(self.job["until"] - time.monotonic(), 0.0))
        _, waiting = await asyncio.wait(callers, timeout=self.job["hold"][1] + 0.05)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._router.aclose()
        for one in callers:
            if not one.cancelled() and (error := one.exception()) is not None:
                self._errors[f"!{error!r}"] += 1
        self.write("S", json.dumps({"calls": self._count, "acts": self._store.acts, "errors": self._errors}))

    async def _call_on(self, tier: str) -> None:
        remote = self._router._dispatcher.remote
        assert remote is not None
        while time.monotonic() < self.job["until"]:
            try:
                async with self._router.route(tier, tokens=COST) as lease:
                    record = remote._mail.record(lease)
                    assert record is not None
                    self._count += 1
                    number = self._count
                    steady = time.monotonic_ns() // 1000
                    self.write("G", number, lease.model.name, record.at, real(), steady, COST)
                    used = COST // 2 if number % 4 == 0 else COST
                    try:
                        await asyncio.sleep(self._rng.uniform(*self.job["hold"]))
                    finally:  # also if it is cancelled
                        self.write("E", number, real(), used)
                        lease.settle(input_tokens=used, output_tokens=0)
            except RouterError as error:
                self._errors[type(error).__name__] += 1
                await asyncio.sleep(0.02)  # real time, as all of this: a store that is away is not asked in a spin


# -- the program -------------------------------------------------------------------------------------------------------


def _live(job: Job) -> None:
    logging.basicConfig(filename=job["file"] + ".log", format="%(relativeCreated)d %(message)s", level=logging.WARNING)
    asyncio.run(Worker(job).live())


def _fork(job: Job) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        sys.stdin.close()
        _live(job)
        status = 0
    except BaseException as error:  # noqa: BLE001 it ends with this process
        Path(job["file"] + ".error").write_text(repr(error))
    finally:
        os._exit(status)


def _signal(pid: int, number: int) -> int:
    os.kill(pid, number)
    return 0


def _wait(pid: int, seconds: float) -> int:
    """How it ended (-9: killed); 1000: not within that time, and it was killed now."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 1000


def main() -> None:
    """`{"fork": [job]}`, `{"signal": [pid, number]}` or `{"wait": [pid, seconds]}`; the answer is a number."""
    commands: dict[str, Callable[..., int]] = {"fork": _fork, "signal": _signal, "wait": _wait}
    for line in sys.stdin:
        for name, arguments in json.loads(line).items():
            sys.stdout.write(f"{commands[name](*arguments)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
