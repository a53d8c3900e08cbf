"""What a loop of attempts does when models do not answer, and when the caller or a provider misbehaves."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ratelimit_router import (
    AttemptsExhausted,
    Chunk,
    ConfigError,
    Limits,
    Model,
    NotSent,
    Outcome,
    ProviderTimeout,
    RateLimited,
    Reply,
    Request,
    Usage,
)
from ratelimit_router.outcomes import outcome_of


class Plain:
    """A provider that can only generate."""

    def estimate(self, request: Request) -> Usage:
        return Usage(1, 1)

    def classify(self, error: BaseException) -> Outcome:
        return outcome_of(error)

    async def generate(self, model: Model, request: Request) -> Reply:
        raise NotSent


class Refusing(Plain):
    """One whose streams begin with a rejection."""

    async def stream(self, model: Model, request: Request) -> AsyncIterator[Chunk]:
        raise RateLimited(5.0)
        yield Chunk(text="never")


class Broken(Plain):
    """One that cannot classify."""

    def classify(self, error: BaseException) -> Outcome:
        raise KeyError("boom")


@pytest.mark.parametrize("silence", [NotSent, ProviderTimeout])
def test_after_a_silence_the_next_model_is_tried(silence: type[Exception], router: Any, virtual: Any) -> None:
    """A model that does not answer is left out of the same loop while another one is free."""

    async def main() -> None:
        tried = []

        async def ask(model: Model) -> str:
            tried.append(model.name)
            if model.name == "a":
                raise silence
            return model.name

        r = router({"a": None, "b": None})
        assert await r.call("t", ask) == "b"
        assert tried == ["a", "b"]

    virtual(main)


def test_three_calls_find_out_that_a_model_is_silent(router: Any, virtual: Any) -> None:
    """From the fourth on nobody pays for it: it cools, and the next model is taken at once."""

    async def main() -> None:
        tried = []

        async def ask(model: Model) -> str:
            tried.append(model.name)
            if model.name == "a":
                raise ProviderTimeout
            return model.name

        r = router({"a": None, "b": None})
        for _ in range(4):
            assert await r.call("t", ask) == "b"
        assert tried == ["a", "b"] * 3 + ["b"]
        assert r.snapshot().models["a"].state == "cooling"

    virtual(main)


def test_a_silent_model_is_tried_again_where_there_is_no_other(router: Any, virtual: Any) -> None:
    """Leaving it out is a preference: with nothing else free the attempts are used up on it."""

    async def main() -> None:
        async def ask(model: Model) -> None:
            raise NotSent

        r = router({"a": None})
        with pytest.raises(AttemptsExhausted) as told:
            await r.call("t", ask)
        assert [name for name, _ in told.value.errors] == ["a", "a", "a"]
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)


def test_a_rejection_after_settling_leaves_the_loop(router: Any, virtual: Any) -> None:
    """The lease was over: nothing cools, so going on would be a busy loop for ever."""

    async def main() -> None:
        r, entered = router({"a": None}), []

        async def go() -> None:
            async for attempt in r.attempts("t", timeout=5, max_attempts=2):
                async with attempt as lease:
                    entered.append(lease)
                    assert len(entered) < 10
                    lease.settle()
                    raise RateLimited(5.0)

        with pytest.raises(RateLimited):
            await go()
        assert len(entered) == 1
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)


def test_a_provider_without_streams_costs_no_lease(router: Any, virtual: Any) -> None:
    """The error says what is missing, and the lease is over."""

    async def main() -> None:
        models = [Model("a", provider="plain", limits=Limits(concurrency=1))]
        r = router(models, providers={"plain": Plain()})
        for _ in range(2):
            with pytest.raises(AttributeError, match="stream"):
                async for _ in r.stream("t", "text"):
                    pass
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)


@pytest.mark.parametrize("provider", [None, "not-installed"])
def test_a_stream_that_falls_to_a_model_that_cannot_be_called(provider: Any, router: Any, virtual: Any) -> None:
    """The first model refuses, the second has no provider: a ConfigError, and both leases are over."""

    async def main() -> None:
        models = [Model("a", provider="refusing"), Model("b", provider=provider)]
        r = router(models, providers={"refusing": Refusing()})
        with pytest.raises(ConfigError, match="provider"):
            async for _ in r.stream("t", "text"):
                pass
        assert {name: one.in_flight for name, one in r.snapshot().models.items()} == {"a": 0, "b": 0}

    virtual(main)


def test_a_provider_that_cannot_classify_does_not_hide_the_error(router: Any, virtual: Any) -> None:
    """The caller's own error comes through, and the lease is over."""

    async def main() -> None:
        models = [Model("a", provider="broken", limits=Limits(concurrency=1))]
        r = router(models, providers={"broken": Broken()})
        for _ in range(2):
            with pytest.raises(RuntimeError, match="mine"):
                async with r.route("t", timeout=0):
                    raise RuntimeError("mine")
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)


def test_a_stream_that_is_left_in_the_middle_ends_its_lease(router: Any, virtual: Any) -> None:
    """The caller closes it after the first piece."""

    class Slow(Plain):
        async def stream(self, model: Model, request: Request) -> AsyncIterator[Chunk]:
            for _ in range(3):
                await asyncio.sleep(1)
                yield Chunk(text="piece")

    async def main() -> None:
        r = router([Model("a", provider="slow", limits=Limits(concurrency=1))], providers={"slow": Slow()})
        for _ in range(2):
            pieces = r.stream("t", "text", timeout=0)
            assert (await anext(pieces)).text == "piece"
            await pieces.aclose()
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)
