"""What the tests of the extraction share: articles, jobs, a provider in memory, and the real router around it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from ratelimit_router.limits import Limit, Limits
from ratelimit_router.messages import Chunk, Reply, Request, Usage
from ratelimit_router.models import Model, Tier
from ratelimit_router.outcomes import Outcome, outcome_of
from ratelimit_router.router import Router
from ratelimit_router_extraction.articles import Article
from ratelimit_router_extraction.plan import Job
from ratelimit_router_extraction.priority import Score
from ratelimit_router_extraction.settings import Settings
from ratelimit_router_extraction.tiering import Cuts

TIERS = ("hot", "standard", "bulk")
Answer = str | BaseException | float
"""What a scripted call gives: a text, an error, or seconds that it hangs before it answers."""


@dataclass(slots=True)
class MemoryProvider:
    """A provider that answers from memory after `latency` seconds; `script` decides, by article id and nth call."""

    latency: float = 0.5
    script: Callable[[str, int], Answer | None] = lambda identity, nth: None
    calls: list[tuple[float, str, str]] = field(default_factory=list)
    in_flight: int = 0

    async def generate(self, model: Model, request: Request) -> Reply:
        """The scripted answer, else that the article speaks of Ada."""
        identity = request.prompt.split("Article ", 1)[1].split(maxsplit=1)[0].rstrip(".")
        loop = asyncio.get_running_loop()
        self.calls.append((loop.time(), identity, model.name))
        nth = sum(each == identity for _, each, _ in self.calls)
        answer = self.script(identity, nth)
        self.in_flight += 1
        try:
            await asyncio.sleep(answer if isinstance(answer, float) else self.latency)
        finally:
            self.in_flight -= 1
        if isinstance(answer, BaseException):
            raise answer
        text = answer if isinstance(answer, str) else json.dumps({"entities": [{"type": "person", "text": "Ada"}]})
        return Reply(text=text, model=model, usage=Usage(100, 10))

    def stream(self, model: Model, request: Request) -> AsyncIterator[Chunk]:
        """Extraction asks for whole answers only."""
        raise AssertionError("extraction does not stream")

    def classify(self, error: BaseException) -> Outcome:
        """All errors are ours."""
        return outcome_of(error)

    def estimate(self, request: Request) -> Usage:
        """A hundred tokens in."""
        return Usage(100)


def job(identity: str, tier: str = "hot") -> Job:
    """An article of that id in that tier."""
    article = Article(id=identity, title=f"Article {identity}", text=f"Article {identity}. Ada writes.")
    score = Score(value=0.5, hotness=0.5, goodness=0.5, entry=None, from_article=False)
    return Job(article=article, tier=tier, score=score, rank=1)


def settings_with(**changes: object) -> Settings:
    """Settings of three tiers, without stagger unless asked for."""
    usual = {"tiers": TIERS, "cuts": Cuts(at=(0.7, 0.4)), "mix": {"hot": 5, "standard": 3, "bulk": 2}, "stagger": 0.0}
    return Settings(**{**usual, **changes})  # type: ignore[arg-type]


def router_for(
    provider: MemoryProvider,
    limits: Mapping[str, Limits] | None = None,
    chains: Mapping[str, Sequence[str | Sequence[str]]] | None = None,
) -> Router:
    """The real router in virtual time, over the models of `limits`."""
    limits = limits or {"pro": Limits(rpm=Limit(4, per=2)), "lite": Limits(rpm=Limit(10, per=2))}
    chains = chains or {"hot": ["pro", "lite"], "standard": ["lite"], "bulk": ["lite"]}
    clock = asyncio.get_running_loop().time
    return Router(
        models=[Model(name, "memory", limits=each) for name, each in limits.items()],
        tiers=[Tier(name, chain) for name, chain in chains.items()],
        providers={"memory": provider},
        slow_start=None,
        clock=clock,
        wall_clock=clock,
    )


@pytest.fixture
def articles_jsonl() -> bytes:
    """Twelve articles with names that the embedded service finds."""
    rows = [
        {
            "id": f"a{number}",
            "title": f"Number {number}",
            "text": f"Angela Merkel met Emmanuel Macron in Paris on 3 May 2021. Report {number}.",
            "url": "https://news.example.org/x",
            "hotness": number,
        }
        for number in range(12)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
