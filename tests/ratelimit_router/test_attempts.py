"""Trying again along the chain: what is absorbed, what uses up attempts, what goes to the caller."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ratelimit_router import (
    AttemptsExhausted,
    AuthError,
    BadRequest,
    BadResponse,
    BillingError,
    Chunk,
    ConfigError,
    Kind,
    Limits,
    Model,
    ModelGone,
    NoCapacity,
    NotSent,
    Outcome,
    Overloaded,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    Reply,
    Request,
    RouteTimeout,
    Usage,
)
from ratelimit_router.outcomes import outcome_of

REJECTIONS = [RateLimited(30.0), Overloaded(30.0), AuthError(), BillingError(), ModelGone()]
FAILURES = [ProviderTimeout(), BadResponse(), NotSent()]


class Scripted:
    """A provider that answers by the model's name: with a reply, an error, or pieces of a stream."""

    def __init__(self, **script: Any):
        self.script, self.called, self.closed = script, [], 0

    def _next(self, model: Model) -> Any:
        self.called.append(model.name)
        found = self.script[model.name]
        return found.pop(0) if isinstance(found, list) else found

    async def generate(self, model: Model, request: Request) -> Reply:
        found = self._next(model)
        if isinstance(found, BaseException):
            raise found
        return Reply(text=found, model=model, usage=Usage(7, 3))

    async def stream(self, model: Model, request: Request) -> AsyncIterator[Chunk]:
        try:
            for piece in self._next(model):
                if isinstance(piece, BaseException):
                    raise piece
                yield Chunk(text=piece, usage=Usage(7, len(piece)))
        finally:
            self.closed += 1

    def classify(self, error: BaseException) -> Outcome:
        return Outcome(kind=Kind.OVERLOADED, retry_after=5.0) if isinstance(error, OSError) else outcome_of(error)

    def estimate(self, request: Request) -> Usage:
        return Usage(len(request.prompt), 50)


def models(*names: str, **limits: Any) -> list[Model]:
    """Models of the scripted provider."""
    return [Model(name, provider="s", limits=Limits(**limits), key=f"key-{name}") for name in names]


@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: type(error).__name__)
def test_a_rejection_is_absorbed_and_costs_no_attempt(error: Exception, router: Any, virtual: Any) -> None:
    """The loop goes on with the next model, in the same instant, even with a single attempt."""

    async def main() -> None:
        r, used = router(models("a", "b", "c"), providers={"s": Scripted()}), []
        async for attempt in r.attempts("t", max_attempts=1):
            async with attempt as lease:
                used.append((attempt.number, lease.model.name))
                if lease.model.name != "c":
                    raise error
        assert used == [(1, "a"), (2, "b"), (3, "c")]
        assert asyncio.get_running_loop().time() == 0.0
        assert r.snapshot().models["c"].settled == 1

    virtual(main)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_other_failures_use_attempts_up(error: Exception, router: Any, virtual: Any) -> None:
    """The last error is the cause; every one is listed with its model."""

    async def main() -> None:
        r = router({"a": None})
        calls = []

        async def fn(model: Model) -> None:
            calls.append(model.name)
            raise error

        with pytest.raises(AttemptsExhausted) as caught:
            await r.call("t", fn, max_attempts=4)
        assert calls == ["a"] * 4
        assert caught.value.errors == (("a", error),) * 4
        assert caught.value.__cause__ is error
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)


@pytest.mark.parametrize("error", [BadRequest(), KeyError("mine"), asyncio.CancelledError()], ids=repr)
def test_everything_else_goes_to_the_caller_at_once(error: BaseException, router: Any, virtual: Any) -> None:
    """The caller's request, the caller's code, the caller's cancellation."""

    async def main() -> None:
        r, calls = router({"a": None, "b": None}), []

        async def fn(model: Model) -> None:
            calls.append(model.name)
            raise error

        with pytest.raises(type(error)):
            await r.call("t", fn)
        assert calls == ["a"]
        assert r.snapshot().models["a"].in_flight == 0

    virtual(main)


def test_the_timeout_bounds_all_attempts_together(router: Any, virtual: Any) -> None:
    """What earlier attempts waited is gone; the last rejection is the refusal's cause."""

    async def main() -> None:
        r = router({"a": None})
        error = RateLimited(20.0)

        async def fn(model: Model) -> None:
            raise error

        with pytest.raises(RouteTimeout) as caught:
            await r.call("t", fn, timeout=50)
        assert asyncio.get_running_loop().time() == 40.0  # at 0, 20 and 40; 60 would be too late
        assert caught.value.__cause__ is error

    virtual(main)


def test_when_nothing_is_left(router: Any, virtual: Any) -> None:
    """Every model gone: NoCapacity at once, the reason behind it as its cause."""

    async def main() -> None:
        r = router({"a": None, "b": None})

        async def fn(model: Model) -> None:
            raise ModelGone

        with pytest.raises(NoCapacity) as caught:
            await r.call("t", fn)
        assert isinstance(caught.value.__cause__, ModelGone)
        assert not isinstance(caught.value, QuotaExhausted)

    virtual(main)


def test_a_loop_that_is_left_early_leaks_nothing(router: Any, virtual: Any) -> None:
    """`break` inside the block settles; attempts below one are refused."""

    async def main() -> None:
        r = router({"a": Limits(concurrency=1)})
        async for attempt in r.attempts("t"):
            async with attempt:
                break
        assert r.snapshot().models["a"].in_flight == 0
        with pytest.raises(ValueError, match="at least 1"):
            r.attempts("t", max_attempts=0)

    virtual(main)


def test_generate_goes_along_the_chain_and_settles_with_the_usage(router: Any, virtual: Any) -> None:
    """The provider's estimate is charged, its report replaces it, its own errors are classified by it."""

    async def main() -> None:
        provider = Scripted(a=ConnectionResetError(), b="answer")
        r = router(models("a", "b", input_tpm=1_000, output_tpm=1_000), providers={"s": provider})
        reply = await r.generate("t", "a question")
        assert (reply.text, reply.model.name, provider.called) == ("answer", "b", ["a", "b"])
        now = r.snapshot().models
        assert (now["a"].state, now["a"].cooldown.left) == ("cooling", 5.0)
        assert (now["a"].quotas["input_tpm"].remaining, now["a"].quotas["output_tpm"].remaining) == (990, 950)
        assert (now["b"].quotas["input_tpm"].remaining, now["b"].quotas["output_tpm"].remaining) == (993, 997)
        await r.generate("t", Request(prompt="x"), tokens=5)
        assert r.snapshot().models["b"].input_tokens == 14

    virtual(main)


def test_generate_without_a_provider(router: Any, virtual: Any) -> None:
    """Routing needs none; generating says which model lacks it."""

    async def main() -> None:
        r = router([Model("a"), Model("b", provider="nobody-has-this")], {"t": ["a"], "u": ["b"]})
        for tier, match in (("t", "a.provider"), ("u", "b.provider")):
            with pytest.raises(ConfigError, match=match):
                await r.generate(tier, "x")
        async with r.route("u"):
            pass

    virtual(main)


def test_stream_moves_on_before_the_first_piece_only(router: Any, virtual: Any) -> None:
    """A rejection before it: the next model. After it: the error goes to the caller, and nothing is sent twice."""

    async def main() -> None:
        provider = Scripted(a=[[Overloaded(1.0)]], b=[["one", "two"], ["one", BadResponse()]])
        r = router(models("a", "b"), providers={"s": provider})
        assert [chunk.text async for chunk in r.stream("t", "x")] == ["one", "two"]
        assert (provider.called, provider.closed) == (["a", "b"], 2)
        assert r.snapshot().models["b"].output_tokens == 3
        stream = r.stream("t", "x")
        assert (await anext(stream)).text == "one"
        with pytest.raises(BadResponse):
            await anext(stream)
        assert provider.called == ["a", "b", "b"]
        assert all(model.in_flight == 0 for model in r.snapshot().models.values())

    virtual(main)


def test_a_stream_that_is_given_up_is_closed(router: Any, virtual: Any) -> None:
    """The lease ends, the charge stays, the provider's generator is closed in the same turn."""

    async def main() -> None:
        provider = Scripted(a=[["one", "two"]])
        r = router(models("a", tpm=1_000), providers={"s": provider})
        stream = r.stream("t", "x", tokens=100)
        assert (await anext(stream)).text == "one"
        await stream.aclose()
        model = r.snapshot().models["a"]
        assert (model.in_flight, model.quotas["tpm"].remaining, provider.closed) == (0, 900, 1)

    virtual(main)


def test_a_stream_gives_up_after_max_attempts(router: Any, virtual: Any) -> None:
    """Failures before the first piece use attempts up like anywhere else."""

    async def main() -> None:
        provider = Scripted(a=[[NotSent()], [NotSent()], [NotSent()]])
        r = router(models("a"), providers={"s": provider})
        with pytest.raises(AttemptsExhausted):
            await anext(r.stream("t", "x", max_attempts=2))
        assert provider.called == ["a", "a"]
        assert provider.closed == 2

    virtual(main)
