"""Stores by their names: what a file and the command line may say."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ratelimit_router import ConfigError, MemoryStore, RedisStore, Router, ShareOnOutage, SqliteStore
from ratelimit_router.stores.urls import check_url, open_store

CONFIG = """
[models.m]
limits = {{ rpm = 2 }}
[tiers.t]
chain = ["m"]
[router]
store = "{store}"
{more}
"""


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("sqlite:state.db", SqliteStore),
        ("redis://localhost:6379/0", RedisStore),
        ("rediss://localhost", RedisStore),
        ("unix:///run/redis.sock", RedisStore),
    ],
)
def test_every_kind_has_its_store(url: str, kind: type) -> None:
    """The scheme says which store it is; nothing is opened yet."""
    assert isinstance(open_store(url), kind)


def test_a_variable_may_hold_what_a_file_must_not() -> None:
    """A URL with a password stands in the environment, and shows nowhere."""
    store = open_store("env:STORE", {"STORE": "redis://user:secret@localhost"})
    assert isinstance(store, RedisStore)
    assert "secret" not in repr(store)


@pytest.mark.parametrize(
    ("url", "environ", "problem"),
    [
        ("state.db", {}, "must be the URL of a store"),
        ("etcd://localhost", {}, 'there is no store "etcd:"'),
        ("sqlite:", {}, "wants a path"),
        ("env:", {}, "wants a variable"),
        ("memory:here", {}, "has nothing behind it"),
        ("redis://user:secret@localhost", {}, "holds a password"),
        ("env:STORE", {}, "STORE is not set"),
        ("env:STORE", {"STORE": "env:OTHER"}, "names another variable"),
        ("env:STORE", {"STORE": "secret"}, "names no store"),
    ],
)
def test_a_wrong_name_says_so_without_showing_itself(url: str, environ: dict[str, str], problem: str) -> None:
    """The error names the key and the cure, and never what may be a secret."""
    with pytest.raises(ConfigError, match=problem) as caught:
        open_store(url, environ)
    assert caught.value.key == "store"
    assert "secret" not in str(caught.value)


def test_what_is_checked_early_is_what_is_opened() -> None:
    """`check_url` refuses what `open_store` would, but for what only the environment knows."""
    check_url("env:STORE")
    with pytest.raises(ConfigError):
        check_url("nothing")


def test_a_share_is_wrapped_around_any_store() -> None:
    """`processes` means: carry on with one part in so many."""
    assert isinstance(open_store("sqlite:state.db", processes=4), ShareOnOutage)


def test_two_routers_from_one_file_share_what_it_names(tmp_path: Path) -> None:
    """The file names an SQLite store: the second router finds what the first has spent, also after it is closed."""
    path = tmp_path / "router.toml"
    path.write_text(CONFIG.format(store=f"sqlite:{tmp_path / 'state.db'}", more='outage = "share"\nprocesses = 1'))

    async def spend(count: int) -> list[Any]:
        async with Router.from_file(path, slow_start=None) as router:
            return await asyncio.gather(*(router.route("t", timeout=0) for _ in range(count)), return_exceptions=True)

    assert [type(one).__name__ for one in asyncio.run(spend(1))] == ["Lease"]
    assert sorted(type(one).__name__ for one in asyncio.run(spend(2))) == ["Lease", "RouteTimeout"]


def test_a_store_that_is_given_is_stronger_than_the_file(tmp_path: Path) -> None:
    """`Router.from_file(path, store=...)` does not open the one that the file names."""
    path = tmp_path / "router.toml"
    path.write_text(CONFIG.format(store="env:NO_SUCH_STORE", more=""))
    Router.from_file(path, environ={}, store=MemoryStore())
