"""Calls that are to come, announced."""

from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Self

from ratelimit_router.bucket import Cost

__all__ = ["Batch"]

REQUEST: Cost = (1, 0, 0, 0)
"""What a call is taken to cost of which nothing else is known."""


class Batch:
    """Calls that are to come, announced: while it is open, a plan steers their tiers. Made by `Router.batch`.

    Enter it (`with` or `async with`) before the first call and leave it after the last.
    """

    def __init__(
        self,
        calls: Mapping[str, int],
        costs: Mapping[str, Cost],
        slack: float,
        urgent: Collection[str],
        *,
        open: "Callable[[Batch], None]",  # noqa: A002 -- the other half of close
        close: "Callable[[Batch], None]",
    ):
        self.ahead: dict[str, float] = dict(calls)  # by tier: calls that nobody has asked for yet
        self.costs, self.slack, self.urgent = costs, slack, urgent
        self._open, self._close = open, close

    def cost(self, tier: str) -> Cost:
        """What one call of that tier is taken to cost."""
        return self.costs.get(tier, REQUEST)

    def __enter__(self) -> Self:
        self._open(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(self)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
