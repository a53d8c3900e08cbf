"""A desk for every store there is; servers for those that need one."""

from collections.abc import Callable, Iterator

import pytest

from tests.ratelimit_router.stores.contract import STORES, Desk, desk_of
from tests.ratelimit_router.stores.servers import Server


@pytest.fixture(params=sorted(STORES))
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A new store of each kind, to be asked on a clock that is set by hand."""
    with desk_of(lambda clock: STORES[request.param](request, clock)) as desk:
        yield desk


@pytest.fixture(scope="session")
def server_of() -> Iterator[Callable[[str], Server]]:
    """The server of that name, the same one for all tests: each uses a prefix of its own."""
    running: dict[str, Server] = {}

    def found(name: str) -> Server:
        if name not in running:
            running[name] = Server(name)
        return running[name]

    yield found
    for server in running.values():
        server.close()
