"""One connection: answers in their order, whoever still waits for them, and however they are read."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from ratelimit_router.stores.link import Dropped, Link, Raw
from ratelimit_router.stores.server import Address
from tests.ratelimit_router.stores.servers import SERVERS, Server


class Bare:
    """A connection of a redis-py that lets nobody have its transport."""

    def __init__(self, raw: Raw) -> None:
        self.connect, self.disconnect = raw.connect, raw.disconnect
        self.send_packed_command, self.read_response = raw.send_packed_command, raw.read_response


@pytest.fixture
def server(server_of: Callable[[str], Server]) -> Server:
    """Any server."""
    return server_of(min(SERVERS))


@pytest.fixture(params=["transport", "bare"])
def wrap(request: pytest.FixtureRequest) -> Callable[[Raw], Raw]:
    """How answers are read."""
    return Bare if request.param == "bare" else lambda raw: raw


def play(server: Server, wrap: Callable[[Raw], Raw], act: Callable[[Link], Any]) -> None:
    """Do something on a new connection."""

    async def run() -> None:
        raw = Address(server.url, 1.0).connection()
        await raw.connect()
        link = Link(wrap(raw), 5.0)
        try:
            await act(link)
        finally:
            await link.aclose()

    asyncio.run(run())


def test_answers_come_in_their_order(server: Server, wrap: Callable[[Raw], Raw]) -> None:
    """Also behind those that nobody waits for any more, and behind errors."""

    async def act(link: Link) -> None:
        async def echo(number: int) -> Any:
            return await (link.ask("ECHO", number) if number != 7 else link.ask("NONSENSE"))

        tasks = [asyncio.create_task(echo(number)) for number in range(20)]
        await asyncio.sleep(0)
        for task in tasks[2:5]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[7], ResponseError)
        assert [one for one in found if isinstance(one, bytes)] == [
            b"%d" % number for number in range(20) if number not in (2, 3, 4, 7)
        ]

    play(server, wrap, act)


def test_a_connection_that_is_cut(server: Server, wrap: Callable[[Raw], Raw]) -> None:
    """Whoever waits is told so, and so is everybody later."""

    async def act(link: Link) -> None:
        waiting = asyncio.create_task(link.ask("BLPOP", "nothing", 0))
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, server.say, "CLIENT KILL TYPE normal")
        with pytest.raises(Dropped):
            await waiting
        assert not link.is_up
        with pytest.raises(Dropped):
            await link.ask("PING")

    play(server, wrap, act)
