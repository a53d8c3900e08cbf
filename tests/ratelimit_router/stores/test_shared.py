"""What all shared stores have in common."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ratelimit_router.errors import ConfigError
from ratelimit_router.stores.local import LocalStore
from ratelimit_router.stores.outage import ShareOnOutage
from ratelimit_router.stores.redis import RedisStore
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.sqlite import SqliteStore

MAKERS: dict[str, Callable[..., SharedStore]] = {
    "local": LocalStore,
    "sqlite": lambda **options: SqliteStore(Path("quotas.db"), **options),
    "redis": lambda **options: RedisStore("redis://localhost", **options),
    "share": lambda **options: ShareOnOutage(LocalStore(**options), processes=2),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_lease_lasts_30_seconds_or_as_long_as_is_said(name: str) -> None:
    """`lease` is what the store was made with; a number that makes no sense is refused."""
    assert MAKERS[name]().lease == 30.0
    assert MAKERS[name](lease=1.5).lease == 1.5
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="lease"):
            MAKERS[name](lease=wrong)
