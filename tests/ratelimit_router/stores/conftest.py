"""A desk for every store there is."""

from collections.abc import Iterator

import pytest

from tests.ratelimit_router.stores.contract import STORES, Desk, desk_of


@pytest.fixture(params=sorted(STORES))
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A new store of each kind, to be asked on a clock that is set by hand."""
    with desk_of(lambda clock: STORES[request.param](request, clock)) as desk:
        yield desk
