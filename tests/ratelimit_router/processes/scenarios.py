"""What happens to workers that share a quota, and to their store. Each scenario is one run, which returns its verdict.

A `Place` is a store that nobody has spent anything from: a new file, or a new server on which the operator has said so.
"""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ratelimit_router.stores.redis import RedisStore
from tests.ratelimit_router.processes.crew import Crew, Nursery, nursery
from tests.ratelimit_router.processes.judge import Verdict, read
from tests.ratelimit_router.processes.worker import real
from tests.ratelimit_router.stores.faults import Proxy
from tests.ratelimit_router.stores.servers import SERVERS, Server, servers

__all__ = ["SCENARIOS", "STORES", "Scenario", "in_flight_for_good"]

LASTING = ("--appendonly", "yes", "--appendfsync", "everysec")
LEASE = 1.0
"""Seconds, where workers are killed."""
STORES = ("sqlite", *sorted(SERVERS))

Scenario = Callable[[str, Nursery, int, float], Verdict]
"""Of a store, by name, with so many workers, for so many seconds."""


@contextmanager
def file() -> Iterator[str]:
    """The URL of a new file."""
    with TemporaryDirectory(prefix="ratelimit-router-") as home:
        yield f"sqlite:{Path(home) / 'quotas.db'}"


@contextmanager
def server(name: str, *options: str) -> Iterator[Server]:
    """A new server, from which nothing was spent."""
    with servers(name, *options) as one:
        asyncio.run(_begin(one.url))
        yield one


async def _begin(url: str) -> None:
    store = RedisStore(url, blank="full", timeout=5)
    await store.open(lambda change: None)
    await store.aclose()


@contextmanager
def place(store: str) -> Iterator[str]:
    """The URL of a new store."""
    if store == "sqlite":
        with file() as url:
            yield url
    else:
        with server(store) as one:
            yield one.url


class Network:
    """A `Proxy` on a thread of its own."""

    def __init__(self, port: int) -> None:
        self.proxy, self.url = Proxy(port), ""
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        async with self.proxy:
            self.url = self.proxy.url
            self._begun.set()
            await self._over.wait()

    def __enter__(self) -> "Network":
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def move(self, port: int) -> None:
        """Everybody is cut off, and finds another server."""
        self.proxy.port = port
        self._loop.call_soon_threadsafe(self.proxy.reset)


# -- scenarios ---------------------------------------------------------------------------------------------------------


def no_fault(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """Nothing happens."""
    with place(store) as url, Crew(workers, url, seconds) as crew:
        crew.start(count)
        return crew.verdict()


def one_chain(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """Nothing happens; calls in flight are the last step of the same chain."""
    with place(store) as url, Crew(workers, url, seconds, waiters={"mixed": 24}) as crew:
        crew.start(count)
        return crew.verdict()


def killed_workers(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """At random moments somebody is killed -9, and replaced at once."""
    with place(store) as url, Crew(workers, url, seconds, lease=LEASE) as crew:
        crew.start(count)
        at = crew.rng.uniform(0.1, 0.5)
        while at < seconds - 0.2:
            crew.sleep_until(at)
            crew.kill(crew.any())
            crew.start()
            at += crew.rng.uniform(0.1, 0.5)
        return crew.verdict()


def killed_server(store: str, workers: Nursery, count: int, seconds: float, *options: str) -> Verdict:
    """The server is killed -9 and started again, three times; it keeps nothing."""
    with server(store, *options) as one, Crew(workers, one.url, seconds) as crew:
        crew.start(count)
        for number in range(3):
            crew.sleep_until(seconds * (number + crew.rng.uniform(0.3, 0.9)) / 3.5)
            one.kill()
            one.start()
        return crew.verdict()


def killed_server_with_log(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """The server is killed -9 and started again, three times; it keeps a log."""
    return killed_server(store, workers, count, seconds, *LASTING)


def stopped_server(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """The server stands still for half of the time, 3 s at the most."""
    with server(store) as one, Crew(workers, one.url, seconds) as crew:
        crew.start(count)
        crew.sleep_until(seconds / 4 * crew.rng.uniform(0.5, 1.0))
        one.signal(signal.SIGSTOP)
        time.sleep(min(3.0, seconds / 2))
        one.signal(signal.SIGCONT)
        return crew.verdict()


def wrong_clock(store: str, workers: Nursery, count: int, seconds: float, skew: float = 2.0) -> Verdict:
    """Half of the workers believe that it is 2 s later."""
    with (
        place(store) as url,
        nursery(skew) as mistaken,
        Crew(workers, url, seconds, ready=1.0) as crew,
    ):
        crew.start(count // 2, workers=mistaken)
        crew.start(count - count // 2)
        return crew.verdict()


def clock_behind(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """Half of the workers believe that it is 2 h earlier."""
    return wrong_clock(store, workers, count, seconds, -7200.0)


def slow_store(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """Every answer takes 200 ms."""
    with server(store) as one, Network(one.port) as network, Crew(workers, network.url, seconds) as crew:
        network.proxy.latency = 0.2
        crew.start(count)
        return crew.verdict()


def failover(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """The server is killed -9, and its replica takes over."""
    fast = ("--repl-diskless-sync-delay", "0")
    with (
        server(store, *fast) as first,
        servers(store, *fast, "--replicaof", "127.0.0.1", str(first.port)) as second,
        Network(first.port) as network,
    ):
        deadline = time.monotonic() + 10
        while b"master_link_status:up" not in second.say("INFO replication"):
            assert time.monotonic() < deadline, "the replica does not follow"
            time.sleep(0.02)
        with Crew(workers, network.url, seconds) as crew:
            crew.start(count)
            crew.sleep_until(max(seconds / 3 * crew.rng.uniform(0.8, 1.2), 1.6))
            first.kill()
            second.say("REPLICAOF NO ONE")
            network.move(second.port)
            return crew.verdict()


def two_configurations(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """Half of the workers have other limits, other quotas, and another order of models."""
    with place(store) as url, Crew(workers, url, seconds) as crew:
        crew.start(count // 2, scheme="other")
        crew.start(count - count // 2)
        return crew.verdict()


def stopped_workers(store: str, workers: Nursery, count: int, seconds: float) -> Verdict:
    """At random moments somebody stands still for a while, now and then for longer than a lease lasts."""
    with place(store) as url, Crew(workers, url, seconds, lease=LEASE) as crew:
        crew.start(count)
        at = 0.2
        while at < seconds - LEASE - 0.5:
            crew.sleep_until(at)
            pid, pause = crew.any(), crew.rng.choice((0.05, 0.3, LEASE + 0.2))
            crew.signal(pid, signal.SIGSTOP)
            time.sleep(pause)
            crew.signal(pid, signal.SIGCONT)
            at += pause + crew.rng.uniform(0.05, 0.3)
        return crew.verdict()


def in_flight_for_good(store: str, workers: Nursery, count: int, lease: float) -> tuple[int, list[float], int]:
    """So many workers are killed -9, each of which holds the slot of a call in flight.

    How many slots they had; for each slot the seconds from the last kill until somebody had it again; and how many
    were granted again before a lease had expired.
    """
    ready = 0.5 + count / 50
    with (
        place(store) as url,
        Crew(workers, url, 60, lease=lease, slots=count, waiters={"slots": 1}, hold=(60, 60), ready=ready) as crew,
    ):
        pids = crew.start(count)
        while len(calls := read(crew.files())[0]) < count and time.monotonic() < crew.go + 20:
            time.sleep(0.02)
        time.sleep(0.4 * lease)  # they have renewed their lease
        for pid in pids:
            crew.kill(pid)
        killed, begun = real(), time.monotonic()
        until = begun + lease + 7
        crew.start(1, go=begun, until=until, waiters={"slots": count}, hold=(60, 60))
        while len(read(crew.files())[0]) < 2 * count and time.monotonic() < until:
            time.sleep(0.02)
        again = read(crew.files())[0][len(calls) :]
        for pid in crew.alive:
            crew.kill(pid)
        expired = sorted(one.at + round(lease * 1e6) for one in calls)  # or later: they were renewed
        early = sum(one.at < at for one, at in zip(again, expired, strict=False))
        return len(calls), sorted((one.made - killed) / 1e6 for one in again), early


SCENARIOS: dict[str, tuple[Scenario, bool]] = {
    "no fault": (no_fault, True),
    "one chain": (one_chain, True),
    "killed workers": (killed_workers, True),
    "killed server, log": (killed_server_with_log, False),
    "killed server": (killed_server, False),
    "stopped server": (stopped_server, False),
    "clock 2 s ahead": (wrong_clock, False),
    "clock 2 h behind": (clock_behind, False),
    "slow store": (slow_store, False),
    "failover": (failover, False),
    "two configurations": (two_configurations, True),
    "stopped workers": (stopped_workers, True),
}
"""By name; and whether they make sense for a file, too."""
