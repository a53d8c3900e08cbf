"""The simulated service in a process of its own: its configuration as a line of JSON on stdin, its URL on stdout.

It ends, and prints its summary, when stdin does.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.over_http.pipes import Pipes, started
from ratelimit_router_providers.fake_service import FakeService
from ratelimit_router_providers.fake_service.config_file import parse_config

__all__ = ["Service", "running"]


class Service:
    """A service that runs elsewhere."""

    def __init__(self, pipes: Pipes, url: str):
        self._pipes, self.url = pipes, url

    def conclude(self) -> dict[str, Any]:
        """Stop it: what it has admitted and refused."""
        self._pipes.end()
        summary: dict[str, Any] = self._pipes.hear()
        return summary


@contextmanager
def running(config: dict[str, Any]) -> Iterator[Service]:
    """A service of that configuration (in the shape of its file) until the block ends."""
    with started("benchmarks.over_http.service") as pipes:
        pipes.say(config)
        yield Service(pipes, pipes.hear()["url"])


async def main() -> None:
    """Serve until stdin ends."""
    config = parse_config(json.loads(sys.stdin.readline()))
    async with FakeService(config) as service:
        print(json.dumps({"url": service.url}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps(service.summary().as_dict()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
