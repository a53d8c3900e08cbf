"""One call of OpenAI's chat completions with aiohttp, for every contestant that brings no client of its own."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from benchmarks.over_http.harness import prompt

__all__ = ["Refused", "ask", "session"]

_PROSE = re.compile(r"try again in (?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?")


class Refused(Exception):
    """An answer that is none. `retry_after`: seconds that the service asks to wait, if it does."""

    def __init__(self, status: int, retry_after: float | None):
        self.status, self.retry_after = status, retry_after
        super().__init__(f"HTTP {status}")


@asynccontextmanager
async def session(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A session without a limit of connections: whoever paces calls does it before they are made."""
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"authorization": "Bearer any"}
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as opened:
        yield opened


async def ask(http: aiohttp.ClientSession, model: str, number: int) -> str:
    """The text of the answer. Raises Refused."""
    body = {"model": model, "messages": prompt(number)}
    async with http.post("/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise Refused(response.status, hint_of(response.headers.get("retry-after-ms"), await response.text()))
        answer = await response.json()
    text: str = answer["choices"][0]["message"]["content"]
    return text


def hint_of(milliseconds: str | None, body: str) -> float | None:
    """The wait, from the header or else from the prose of the body."""
    if milliseconds is not None:
        return float(milliseconds) / 1e3
    if (found := _PROSE.search(body)) is None:
        return None
    hours, minutes, seconds, thousandths = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1e3
