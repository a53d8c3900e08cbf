"""Scrapes from other threads look at the router in its own event loop."""

import asyncio
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ratelimit_router import Limits, Model, Router, Tier
from ratelimit_router.observers import prometheus
from ratelimit_router.observers.prometheus import PrometheusMetrics


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which snapshots are taken."""
    threads: list[int] = []
    take = Router.snapshot

    def snapshot(self: Router) -> Any:
        threads.append(threading.get_ident())
        return take(self)

    monkeypatch.setattr(Router, "snapshot", snapshot)
    return threads


def make() -> tuple[Router, CollectorRegistry]:
    """A router with metrics."""
    router, registry = Router(models=[Model("a", limits=Limits(rpm=5))], tiers=[Tier("t", ["a"])]), CollectorRegistry()
    PrometheusMetrics(router, registry)
    return router, registry


def test_a_scrape_in_another_thread_looks_in_the_loop(looks: list[int]) -> None:
    """Every snapshot is taken in the loop's own thread, while the scraper's thread waits for it."""

    async def main() -> list[bytes]:
        router, registry = make()
        (await router.route("t")).settle()
        return await asyncio.gather(*(asyncio.to_thread(generate_latest, registry) for _ in range(3)))

    pages = asyncio.run(main())
    assert looks == [threading.get_ident()] * 3
    assert all(b'ratelimit_router_quota_remaining{model="a",quota="rpm"} 4.0' in page for page in pages)


def test_a_scrape_in_the_loop_itself_does_not_wait_for_it(looks: list[int]) -> None:
    """A handler that runs in the same loop gets its page at once."""

    async def main() -> bytes:
        return generate_latest(make()[1])

    assert b"ratelimit_router_in_flight" in asyncio.run(main())
    assert looks == [threading.get_ident()]


def test_a_scrape_after_the_loop_has_ended(looks: list[int]) -> None:
    """There is nobody left to disturb: it looks directly."""

    async def main() -> CollectorRegistry:
        return make()[1]

    assert b"ratelimit_router_in_flight" in generate_latest(asyncio.run(main()))
    assert len(looks) == 1


def test_metrics_made_outside_of_any_loop(looks: list[int]) -> None:
    """They look from where they are asked."""
    assert b"ratelimit_router_in_flight" in generate_latest(make()[1])
    assert len(looks) == 1


def test_a_loop_that_is_blocked_fails_the_scrape(monkeypatch: pytest.MonkeyPatch, looks: list[int]) -> None:
    """The scraper is told, instead of waiting for ever; the loop goes on."""
    monkeypatch.setattr(prometheus, "SCRAPE_TIMEOUT", 0.01)

    async def blocked() -> bool:
        _, registry = make()
        failed = threading.Event()

        def scrape() -> None:
            try:
                generate_latest(registry)
            except TimeoutError:
                failed.set()

        thread = threading.Thread(target=scrape)
        thread.start()
        thread.join(30)  # blocks the loop for as long as the scrape waits
        return failed.is_set()

    assert asyncio.run(blocked())


def test_an_error_in_the_snapshot_is_the_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes out where it was asked for, and not in the loop."""

    def fail(self: Router) -> None:
        raise LookupError("broken")

    monkeypatch.setattr(Router, "snapshot", fail)

    async def main() -> None:
        _, registry = make()
        with pytest.raises(LookupError, match="broken"):
            await asyncio.to_thread(generate_latest, registry)

    asyncio.run(main())
