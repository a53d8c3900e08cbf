"""One contestant in one scenario: two processes, so that the client's CPU and memory are its own."""

import json
import os
import time
import urllib.request
from typing import Any

from benchmarks.over_http.bound import fluid_bound
from benchmarks.over_http.contestants import Contestant
from benchmarks.over_http.pipes import started
from benchmarks.over_http.quiet import watch
from benchmarks.over_http.scenarios import LEAST_LATENCY, MINUTE, Scenario, believed, service_config
from benchmarks.over_http.service import running

__all__ = ["play"]

LEAD = 0.2
"""Seconds before a phase at which waiting for it ends with a busy loop."""


def play(scenario: Scenario, contestant: Contestant, cap: float) -> dict[str, Any]:
    """Run it, and report: what was done, how long it took beside the bound, what it cost the client.

    `load` is the machine's just before, `others` the share of the machine that others used meanwhile.
    """
    arrivals = scenario.arrivals()
    load, others = os.getloadavg()[0], watch()
    with running(service_config(scenario, limited=contestant.limited)) as service:
        result = _run(scenario, contestant, arrivals, service.url, cap)
        summary = service.conclude()
    bound = fluid_bound(arrivals, scenario.supplies(), LEAST_LATENCY)
    told = {
        "scenario": scenario.name,
        "contestant": contestant.name,
        "calls": scenario.calls,
        "bound": round(bound, 3),
        "ratio": round(bound / result["makespan"], 3) if contestant.limited and not result["failed"] else None,
        "rejections": summary["rejected"],
        "errors_503": sum(sum(model["faults"].values()) for model in summary["models"].values()),
        "requests": summary["requests"],
        "load": round(load, 2),
        "others": round(others(), 2),
    }
    if not scenario.pictured:
        del result["finished"]
    return told | result


def _run(scenario: Scenario, contestant: Contestant, arrivals: list[float], url: str, cap: float) -> dict[str, Any]:
    job = {
        "url": url,
        "models": believed(scenario),
        "window": scenario.window,
        "arrivals": arrivals,
        "cap": cap,
        "variant": contestant.variant,
        "extra": {"dark": scenario.dark, "first_end": MINUTE - (scenario.phase or 0.0)},
    }
    with started("benchmarks.over_http.harness", contestant.module) as process:
        process.say(job)
        if (answer := process.hear()) != "ready":
            raise RuntimeError(f"{contestant.name} did not start: {answer!r}")
        _wait_for_phase(scenario.phase)
        if scenario.dark is not None:
            _go_dark(url, *scenario.dark)
        process.say("go")
        result: dict[str, Any] = process.hear()
    return result


def _wait_for_phase(phase: float | None) -> None:
    """Until that second of a minute by the clock."""
    if phase is not None:
        time.sleep(max((phase - time.time()) % MINUTE - LEAD, 0.0))
        while (time.time() - phase) % MINUTE > MINUTE / 2:
            pass


def _go_dark(url: str, start: float, end: float) -> None:
    """From `start` to `end`, seconds from now, the largest model answers 503."""
    with urllib.request.urlopen(f"{url}/_fake/summary") as answer:
        now = json.load(answer)["seconds"]
    fault = {"fault": "unavailable", "start": now + start, "end": now + end}
    body = json.dumps({"models": {"large": {"faults": [fault]}}}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_fake/script", data=body)) as answer:
        answer.read()
