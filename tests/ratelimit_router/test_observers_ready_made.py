"""Prometheus metrics and structlog events, as a person who watches a storm sees them."""

import asyncio
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from ratelimit_router import AuthError, Limits, Model, ModelGone, Overloaded, Pool, RateLimited, RouteTimeout
from ratelimit_router import events as ev
from ratelimit_router.observers.prometheus import PrometheusMetrics
from ratelimit_router.observers.structlog import StructlogObserver

P = "ratelimit_router_"


def test_metrics_tell_who_waits_why_and_for_how_long(router: Any, virtual: Any) -> None:
    """Every metric of the published list, with its labels, after a small storm."""

    async def main() -> None:
        models = [
            Model("a", limits=Limits(rpm=3), pools=("p",)),
            Model("b", limits=Limits(tpm=100, concurrency=1)),
        ]
        r, registry = router(models, pools=[Pool("p", Limits(rpm=50))]), CollectorRegistry()
        metrics = PrometheusMetrics(r, registry)

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(P + name, labels)

        (await r.route("t", tokens=10)).settle(input_tokens=30, output_tokens=4)
        (await r.route("t")).fail(Overloaded(40.0))
        held = await r.route("t", tokens=60)
        waiting = asyncio.ensure_future(r.route("t", tokens=60).__aenter__())
        await asyncio.sleep(10)
        with pytest.raises(RouteTimeout):
            await r.route("t", timeout=0)
        assert value("routes_total", tier="t", model="a", depth="0") == 2
        assert value("routes_total", tier="t", model="b", depth="1") == 1
        assert value("fallbacks_total", tier="t", from_model="a", to_model="b", reason="cooling") == 1
        assert value("rejections_total", model="a", kind="overloaded", quota="") == 1
        assert value("cooldown_seconds", model="a", provenance="server") == 30.0
        assert value("quota_remaining", model="b", quota="tpm") == 40
        assert value("quota_remaining", model="p", quota="rpm") == 48
        assert value("queue_depth", tier="t") == 1
        assert value("oldest_wait_seconds", tier="t") == 10.0
        assert value("blocked_seconds", tier="t", model="a", reason="cooling", quota="") == 30.0
        assert value("in_flight", model="b") == 1
        assert value("tokens_total", model="a", direction="input") == 30
        assert value("tokens_total", model="a", direction="output") == 4
        assert value("refusals_total", tier="t", error="RouteTimeout") == 1
        assert value("model_state", model="a", state="cooling") == 1
        assert value("wait_seconds_count", tier="t") == 3
        assert (await waiting).model.name == "a"
        held.settle()
        assert value("wait_seconds_count", tier="t") == 4
        assert value("wait_seconds_sum", tier="t") == 40.0
        assert value("wait_seconds_bucket", tier="t", le="0.0") == 3
        assert value("wait_seconds_bucket", tier="t", le="30.0") == 3
        assert value("wait_seconds_bucket", tier="t", le="60.0") == 4
        assert value("queue_depth", tier="t") == 0
        metrics.unregister()
        assert value("queue_depth", tier="t") is None

    virtual(main)


def test_metrics_of_two_routers_in_two_registries(router: Any, virtual: Any) -> None:
    """The registry is an argument; nothing is global."""

    async def main() -> None:
        registries = [CollectorRegistry(), CollectorRegistry()]
        routers = [router({"a": None}) for _ in registries]
        for r, registry in zip(routers, registries, strict=True):
            PrometheusMetrics(r, registry)
        await routers[0].route("t")
        counts = [one.get_sample_value(P + "in_flight", {"model": "a"}) for one in registries]
        assert counts == [1, 0]

    virtual(main)


def test_structlog_events(router: Any, virtual: Any) -> None:
    """One event each, in snake case, quiet things quietly and what needs a person loudly."""

    async def main() -> list[Any]:
        with structlog.testing.capture_logs() as logs:
            models = [
                Model("a", provider="x", key="k", limits=Limits(rpm=3)),
                Model("b", limits=Limits(rpm=2)),
                Model("c"),
            ]
            r = router(models, observers=[StructlogObserver()])
            (await r.route("t")).fail(RateLimited(1.0, "rpm", 2))
            (await r.route("t")).fail(Overloaded(5.0))
            (await r.route("t")).fail(ModelGone())
            lease = await r.route("t")
            lease.settle()
            (await r.route("t")).fail(AuthError())
        return logs

    logs = virtual(main)
    levels = {one["event"]: one["log_level"] for one in logs}
    assert levels == {
        "routed": "debug",
        "settled": "debug",
        "waited": "debug",
        "fell_back": "info",
        "probed": "info",
        "recovered": "info",
        "rejected": "warning",
        "cooled": "warning",
        "limit_learned": "warning",
        "model_removed": "error",
        "key_refused": "error",
    }
    waited = next(one for one in logs if one["event"] == "waited")
    assert waited["reasons"] == ["a: cooling (rpm)", "b: cooling", "c: gone"]


def test_a_logger_of_ones_own() -> None:
    """What was bound to it stays."""
    with structlog.testing.capture_logs() as logs:
        StructlogObserver(structlog.get_logger().bind(app="mine"))(ev.Recovered(at=1.0, model="a"))
    assert logs == [{"app": "mine", "at": 1.0, "model": "a", "event": "recovered", "log_level": "info"}]
