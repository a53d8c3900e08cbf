"""Prometheus metrics, read from the router when they are scraped: they cost nothing while it routes.

A router belongs to its event loop, and a metrics server asks from threads of its own: the snapshot is taken in the
loop, between two of its steps; the metrics are made of it in the thread that asked.

No label holds a key or a prompt; label values are names from the configuration and our own fixed vocabularies.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("Prometheus metrics need the extra: pip install 'ratelimit-router[prometheus]'") from error

from ratelimit_router.events import Event
from ratelimit_router.snapshot import ModelSnapshot, RouterSnapshot, TierSnapshot
from ratelimit_router.tally import WAIT_BUCKETS

if TYPE_CHECKING:
    from ratelimit_router.router import Router

__all__ = ["PrometheusMetrics"]

P = "ratelimit_router_"

SCRAPE_TIMEOUT = 5.0
"""Seconds that a scrape waits for the event loop."""


class PrometheusMetrics(Collector):
    """Registers itself; `unregister()` takes it out again. A router may be given it as an observer, but need not.

    Make it where the router's event loop runs, if a server in another thread will ask (`start_http_server`): it then
    looks at the router in that loop only. Made outside of any loop it looks from whichever thread asks. A scrape raises
    TimeoutError when the loop is blocked for `SCRAPE_TIMEOUT` seconds.

    Who waits: `queue_depth`, `oldest_wait_seconds`. Why: `blocked_seconds{tier,model,reason,quota}` (time left, of the
    request that is served next). For how long: `wait_seconds`. What came of it: `fallbacks_total`, `refusals_total`.
    """

    def __init__(self, router: "Router", registry: CollectorRegistry = REGISTRY):
        self._router, self._registry, self._loop = router, registry, _running_loop()
        registry.register(self)

    def __call__(self, event: Event) -> None:
        """Nothing to do: everything is read when it is asked for."""

    def unregister(self) -> None:
        """Out of the registry."""
        self._registry.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """Every metric as it is now."""
        now = self._snapshot()
        yield from _of_tiers(now)
        yield from _of_models(now)

    def _snapshot(self) -> RouterSnapshot:
        loop, answer = self._loop, Future[RouterSnapshot]()
        if loop is None or loop is _running_loop() or not loop.is_running():
            return self._router.snapshot()

        def look() -> None:
            try:
                answer.set_result(self._router.snapshot())
            except Exception as error:  # noqa: BLE001 -- it is the scrape's, not the loop's
                answer.set_exception(error)

        loop.call_soon_threadsafe(look)
        return answer.result(SCRAPE_TIMEOUT)

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not scrape."""
        return []


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(P + name, text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(P + name, text, labels=labels)


def _of_tiers(now: RouterSnapshot) -> Iterator[Metric]:
    routes = _counter("routes", "Leases granted.", "tier", "model", "depth")
    for (tier_name, model, depth), count in now.routes.items():
        if count:
            routes.add_metric([tier_name, model, str(depth)], count)
    waits = HistogramMetricFamily(P + "wait_seconds", "Seconds from route() to the lease.", labels=["tier"])
    fallbacks = _counter("fallbacks", "Later steps chosen.", "tier", "from_model", "to_model", "reason")
    refusals = _counter("refusals", "Requests turned away.", "tier", "error")
    depth_of_queue = _gauge("queue_depth", "Requests in line.", "tier")
    oldest = _gauge("oldest_wait_seconds", "Wait so far of the request served next.", "tier")
    blocked = _gauge(
        "blocked_seconds", "Why the next in line waits: seconds until that ends.", "tier", "model", "reason", "quota"
    )
    for name, tier in now.tiers.items():
        waits.add_metric([name], _wait_classes(tier), tier.waited_seconds)
        for key, count in tier.fallbacks.items():
            fallbacks.add_metric([name, *key], count)
        for error, count in tier.refusals.items():
            refusals.add_metric([name, error], count)
        depth_of_queue.add_metric([name], tier.queued)
        oldest.add_metric([name], tier.oldest_wait)
        for one in tier.blocked:
            blocked.add_metric([name, one.model, one.reason.value, one.quota or ""], max(one.retry_at - now.at, 0.0))
    yield from (routes, waits, fallbacks, refusals, depth_of_queue, oldest, blocked)


def _wait_classes(tier: TierSnapshot) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound; those who never waited are in the first class."""
    classes, total = [], tier.granted - tier.waits
    for bound, count in zip((*map(str, WAIT_BUCKETS), "+Inf"), tier.waits_by_class, strict=True):
        total += count
        classes.append((bound, float(total)))
    return classes


def _of_models(now: RouterSnapshot) -> Iterator[Metric]:
    rejections = _counter("rejections", "Calls that the service refused.", "model", "kind", "quota")
    tokens = _counter("tokens", "Tokens of settled calls.", "model", "direction")
    cooldown = _gauge("cooldown_seconds", "Seconds that a cooldown has left.", "model", "provenance")
    in_flight = _gauge("in_flight", "Leases that are not settled.", "model")
    remaining = _gauge("quota_remaining", "What is left of a quota.", "model", "quota")
    state = _gauge("model_state", "1 for the state that the model is in.", "model", "state")
    for name, model in now.models.items():
        for (kind, quota), count in model.rejections.items():
            rejections.add_metric([name, kind, quota], count)
        tokens.add_metric([name, "input"], model.input_tokens)
        tokens.add_metric([name, "output"], model.output_tokens)
        in_flight.add_metric([name], model.in_flight)
        state.add_metric([name, model.state], 1)
        _add_cooldown(cooldown, model)
        for quota, bucket in model.quotas.items():
            remaining.add_metric([name, quota], bucket.remaining)
    for name, pool in now.pools.items():
        for quota, bucket in pool.quotas.items():
            remaining.add_metric([name, quota], bucket.remaining)
    yield from (rejections, tokens, cooldown, in_flight, remaining, state)


def _add_cooldown(family: GaugeMetricFamily, model: ModelSnapshot) -> None:
    if model.cooldown is not None:
        family.add_metric([model.name, model.cooldown.provenance], model.cooldown.left)
