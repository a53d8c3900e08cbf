"""A router that a file describes."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from ratelimit_router import ConfigError, NoCapacity, Router, UnknownTier

FILE = """
[models.pro]
key = "env:FROM_FILE_TEST_KEY"
limits = { rpm = 1, rpd = { amount = 9, resets = "01:00 UTC" } }
pools = ["account"]

[models.lite]
limits = { rpm = 2 }

[pools.account]
limits = { rpd = 100 }

[tiers.hot]
chain = ["pro"]
patience = "0s"

[router]
fallback = "lite"
slow_start = 5
guard = "250ms"
"""
ENVIRON = {"FROM_FILE_TEST_KEY": "k"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file."""
    found = tmp_path / "router.toml"
    found.write_text(FILE, encoding="utf-8")
    return found


def test_everything_in_the_file_takes_effect(path: Path, virtual: Any) -> None:
    """Models, pools, chains, the fallback and the guard are those of the file; the clock is the caller's."""

    async def main() -> None:
        clock = asyncio.get_running_loop().time
        router = Router.from_file(path, environ=ENVIRON, clock=clock, rng=random.Random(1))
        assert [router.route_nowait("hot").model.name for _ in range(3)] == ["pro", "lite", "lite"]
        with pytest.raises(NoCapacity) as caught:
            router.route_nowait("hot")
        assert caught.value.retry_at == 60.25
        now = router.snapshot()
        assert (now.pools["account"].quotas["rpd"].remaining, now.models["pro"].quotas["rpd"].refill) == (
            99,
            "calendar",
        )
        with pytest.raises(UnknownTier, match="hot"):
            router.route_nowait("cold")

    virtual(main)


def test_slow_start_of_the_file_and_a_stronger_option(path: Path, virtual: Any) -> None:
    """The window of a fresh model is the file's, unless the caller says otherwise."""
    path.write_text(FILE.replace("rpm = 2", "rpm = 100"), encoding="utf-8")

    async def granted(**options: Any) -> int:
        router = Router.from_file(path, environ=ENVIRON, clock=asyncio.get_running_loop().time, **options)
        for count in range(50):
            try:
                router.route_nowait(["lite"])
            except NoCapacity:
                return count
        return 50

    async def main() -> None:
        assert (await granted(), await granted(slow_start=None)) == (5, 50)

    virtual(main)


def test_a_missing_key_is_told_with_its_place(path: Path) -> None:
    """One line with file, line and key, before anything is routed."""
    with pytest.raises(ConfigError, match=r"router\.toml:3: models\.pro\.key: .*FROM_FILE_TEST_KEY"):
        Router.from_file(path, environ={})
