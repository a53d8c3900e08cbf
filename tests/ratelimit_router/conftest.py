"""The real router in virtual time, and what the tests of its parts share."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ratelimit_router import Limits, Model, Router, Tier
from ratelimit_router.simulation import virtual_time

WALL = 1_790_000_000.0  # 2026-09-21T14:13:20Z; midnight comes 35,200 s later in UTC, 60,400 s later in Los Angeles


def make_router(models: Any, chains: Any = None, **options: Any) -> Router:
    """A router on the running loop's clock. `models`: name -> limits, or models. `chains`: tier -> chain, or tiers."""
    loop = asyncio.get_running_loop()
    if isinstance(models, dict):
        models = [Model(name, limits=limits or Limits()) for name, limits in models.items()]
    if chains is None:
        chains = {"t": [model.name for model in models]}
    if isinstance(chains, dict):
        chains = [Tier(name, chain) for name, chain in chains.items()]
    options = {"slow_start": None, "rng": random.Random(0)} | options
    return Router(models=models, tiers=chains, clock=loop.time, wall_clock=lambda: WALL + loop.time(), **options)


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test's coroutine function in virtual time."""
    return virtual_time.run(main())


@pytest.fixture(scope="session")
def router() -> Callable[..., Router]:
    """Makes routers: see `make_router`."""
    return make_router


@pytest.fixture(scope="session")
def virtual() -> Callable[..., Any]:
    """Runs a coroutine function in virtual time."""
    return run
