"""Errors keep their facts and pickle; no key and no prompt shows anywhere."""

import asyncio
import copy
import math
import pickle
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ratelimit_router import (
    AttemptsExhausted,
    AuthError,
    BadRequest,
    BadResponse,
    BillingError,
    Chunk,
    ConfigError,
    Key,
    Limits,
    Model,
    ModelGone,
    NoCapacity,
    NotSent,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    Reason,
    Reply,
    Request,
    RequestTooLarge,
    RouterClosed,
    RouterError,
    RouteTimeout,
    Skipped,
    StoreUnavailable,
    UnknownTier,
    errors,
)
from ratelimit_router.observers.prometheus import PrometheusMetrics

WHY = (Skipped(model="a", reason=Reason.QUOTA, retry_at=5.0, quota="rpm"),)
ALL = [
    RouterError("x"),
    ConfigError("is wrong", key="limits.rpm", file="router.toml", line=3),
    UnknownTier("hot", ("bulk",)),
    RouterClosed(),
    StoreUnavailable("redis://localhost", "refused"),
    RequestTooLarge(WHY),
    NoCapacity(5.0, WHY, retry_after=2.0),
    RouteTimeout(5.0, WHY, retry_after=2.0),
    QuotaExhausted(5.0, WHY, retry_after=2.0, resets_at=1e9),
    AttemptsExhausted((("a", NotSent()), ("b", RateLimited(3.0, "rpm", 5)))),
    ProviderError("detail"),
    RateLimited(3.0, "rpm", 5, others=(("tpm", 9.0),)),
    Overloaded(2.0, detail="busy"),
    BillingError(),
    AuthError("refused"),
    ModelGone(),
    BadRequest(),
    BadResponse(),
    ProviderTimeout(),
    NotSent(),
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_errors_pickle_with_all_their_facts(error: RouterError) -> None:
    """Through pickle and copy: same class, same message, same attributes."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert repr(again.__dict__) == repr(error.__dict__)


def test_every_error_is_in_the_list_above() -> None:
    """One that is added has to pickle, too; all of them are one tree."""
    named = {getattr(errors, name) for name in errors.__all__}
    assert named == {type(error) for error in ALL}
    assert all(issubclass(cls, RouterError) for cls in named)


def test_time_is_up_is_a_timeout() -> None:
    """Code that catches the usual classes catches ours."""
    assert issubclass(RouteTimeout, TimeoutError)
    assert issubclass(ProviderTimeout, TimeoutError)
    assert issubclass(UnknownTier, LookupError)
    assert issubclass(ConfigError, ValueError)
    assert math.isinf(NoCapacity().retry_at)


def test_refusals_of_a_router_pickle(router: Any, virtual: Any) -> None:
    """As they are really raised, with reasons and causes."""

    async def main() -> NoCapacity:
        r = router({"a": Limits(rpm=1)})
        await r.route("t")
        with pytest.raises(RouteTimeout) as caught:
            await r.route("t", timeout=1)
        return caught.value

    error = virtual(main)
    again = pickle.loads(pickle.dumps(error))
    assert (again.retry_at, again.retry_after, again.reasons) == (60.0, 60.0, error.reasons)


KEY, PROMPT, ANSWER = "canary-key-7f3a", "canary-prompt-91c2", "canary-answer-55d0"


class Leaky:
    """A provider whose errors carry everything that must not come out."""

    async def generate(self, model: Model, request: Request) -> Reply:
        reply = Reply(text=ANSWER, model=model, raw={"text": ANSWER})
        for shown in (model, request, reply, Chunk(text=ANSWER)):
            assert not leaks(repr(shown) + str(shown) + f"{shown}")
        if model.name == "a":
            raise RateLimited(1.0, "rpm", 3, detail="")
        if model.name == "b":
            raise ValueError(f"{KEY} {request.prompt}")
        return reply

    def classify(self, error: BaseException) -> Any:
        from ratelimit_router import Kind, Outcome

        return Outcome(kind=Kind.AUTH, detail="refused")

    def estimate(self, request: Request) -> int:
        return len(request.prompt)


def leaks(text: str) -> list[str]:
    """Which secrets are in it."""
    return [one for one in (KEY, PROMPT, ANSWER) if one in text]


def test_canaries_come_out_nowhere(router: Any, virtual: Any, caplog: Any) -> None:
    """Key, prompt and answer: not in a repr, an event, a snapshot, a metric, a refusal or a log."""

    async def main() -> None:
        seen: list[Any] = []
        models = [Model(name, provider="leaky", key=KEY, limits=Limits(rpm=1)) for name in "ab"]
        models.append(Model("c", provider="leaky", key=Key(lambda: KEY), limits=Limits(rpm=1)))
        r = router(models, observers=[seen.append], providers={"leaky": Leaky()})
        registry = CollectorRegistry()
        PrometheusMetrics(r, registry)
        reply = await r.generate("t", Request(prompt=PROMPT, system=PROMPT, options={"x": PROMPT}))
        waiting = asyncio.ensure_future(r.generate("t", PROMPT))
        await asyncio.sleep(0.5)
        with pytest.raises(NoCapacity) as caught:
            r.route_nowait("t")
        texts = [repr(models), repr(reply), repr(caught.value), str(caught.value), repr(r.snapshot()), repr(seen)]
        texts += [str(event) for event in seen]
        texts += [generate_latest(registry).decode(), repr(r.route("t")), repr(r), str(pickle.dumps(caught.value))]
        assert [leaks(text) for text in texts] == [[]] * len(texts)
        assert len(seen) > 5
        waiting.cancel()
        await r.aclose()

    virtual(main)
    assert not leaks(caplog.text)


def test_a_key_shows_nothing_and_does_not_pickle() -> None:
    """Every way of showing it; two of the same are equal; a model that has one does not pickle either."""
    key = Key(KEY)
    assert not leaks(f"{key} {key!r} {key!s} {key:>40} {[key]} {Model('a', key=KEY)}")
    assert key == Key(KEY) != Key("other")
    assert Model("a", key=KEY).api_key() == KEY
    for one in (key, Model("a", key=KEY)):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(one)
