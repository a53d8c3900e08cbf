"""What can go wrong, by name, and the rules that say when.

A fault at the `front` is answered before quota is looked at and uses none; one of the `answer` strikes a request that
was admitted, so it has cost its quota.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Literal

from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.checks import check_count, check_number

__all__ = ["FAULTS", "Fault", "FaultRule", "Strike", "choose", "parse_strike"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault: its name, where it strikes, what the client sees, and its usual `seconds`, if it has any."""

    name: str
    stage: Literal["front", "answer"]
    about: str
    seconds: float = 0.0


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("internal", "front", "500 INTERNAL"),
        Fault("unavailable", "front", "503 UNAVAILABLE, the model is overloaded"),
        Fault("html_502", "front", "502 with a page of HTML from a proxy"),
        Fault("bad_key", "front", "400 with ErrorInfo API_KEY_INVALID"),
        Fault("forbidden", "front", "403 PERMISSION_DENIED"),
        Fault("prepay_depleted", "front", "402, the account has no money left"),
        Fault("model_gone", "front", "404 NOT_FOUND for this model"),
        Fault("bad_request", "front", "400 INVALID_ARGUMENT, the request's own fault"),
        Fault("minute_quota", "front", "429 on requests per minute, although the quota had room", 20.0),
        Fault("day_quota", "front", "429 on requests per day with a hint of hours", 35_640.0),
        Fault("day_quota_short_hint", "front", "429 on requests per day with a hint of 36 s", 36.0),
        Fault("limit_zero", "front", "429 with quotaValue 0: this account has no quota for the model", 36.0),
        Fault("limit_zero_prose", "front", "the same, but only the message says `limit: 0`", 36.0),
        Fault("several_violations", "front", "429 that names minute, day and token quotas at once", 20.0),
        Fault("bare_429", "front", "429 without details"),
        Fault("prose_429", "front", "429 without details, the wait only in the message", 37_025.7),
        Fault("shared_capacity", "front", "429 as Vertex AI words it: the service is full, the account is not"),
        Fault("slow", "answer", "the right answer, this many seconds late", 30.0),
        Fault("reset", "answer", "the connection is reset before any byte of the answer"),
        Fault("cut_body", "answer", "the connection closes in the middle of the body"),
        Fault("cut_stream", "answer", "the stream ends early without a finish reason (unary: as cut_body)"),
        Fault("malformed_json", "answer", "200 with JSON that stops in the middle"),
        Fault("malformed_sse", "answer", "a stream with an event that is no JSON (unary: as malformed_json)"),
        Fault("empty", "answer", "200 with no body at all"),
        Fault("error_in_stream", "answer", "an error object after the first chunk (unary: as internal)"),
        Fault("blocked", "answer", "the prompt is blocked: no candidates, blockReason SAFETY"),
        Fault("safety", "answer", "an answer stopped with finishReason SAFETY"),
        Fault("bad_answer", "answer", "a whole 200 whose text is not the JSON that was asked for"),
        Fault("too_long", "answer", "400 because the prompt is too long; charged all the same"),
    )
}
"""Every fault by name."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault that strikes one request. `seconds`: the delay, or the hint, that goes with it."""

    fault: Fault
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """When a fault strikes: all conditions that are given must hold; none means always.

    `requests`: the nth requests to the model, counted from 1. `start`, `end`: seconds since the service started.
    `rate`: probability from 0 to 1. `seconds`: for faults with a delay or a hint.
    """

    fault: str
    requests: tuple[int, ...] = ()
    start: float = 0.0
    end: float | None = None
    rate: float = 1.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ConfigError(f"no fault named {self.fault!r}; there are: {', '.join(FAULTS)}", key="fault")
        for number in self.requests:
            check_count(number, "requests")
        check_number(self.start, "start")
        if self.end is not None:
            check_number(self.end, "end")
            if self.end <= self.start:
                raise ConfigError(f"must be later than start ({self.start:g}), not {self.end:g}", key="end")
        check_number(self.rate, "rate")
        if self.rate > 1:
            raise ConfigError(f"must be a probability from 0 to 1, not {self.rate:g}", key="rate")
        if self.seconds is not None:
            check_number(self.seconds, "seconds")

    def strikes(self, nth: int, elapsed: float, chance: float) -> bool:
        """Whether it strikes the `nth` request, `elapsed` seconds after the start, for a draw from [0, 1)."""
        timely = self.start <= elapsed and (self.end is None or elapsed < self.end)
        return timely and (not self.requests or nth in self.requests) and chance < self.rate

    def strike(self) -> Strike:
        """The fault with its seconds."""
        fault = FAULTS[self.fault]
        return Strike(fault, fault.seconds if self.seconds is None else self.seconds)


def choose(rules: Iterable[FaultRule], nth: int, elapsed: float, rng: Random) -> Strike | None:
    """The first rule that strikes; every rule draws its own chance."""
    struck = [rule for rule in rules if rule.strikes(nth, elapsed, rng.random())]
    return struck[0].strike() if struck else None


def parse_strike(text: str) -> Strike:
    """A request header's `name` or `name=seconds`. Raises ConfigError."""
    name, _, seconds = text.strip().partition("=")
    try:
        return FaultRule(fault=name, seconds=float(seconds) if seconds else None).strike()
    except ValueError as error:  # ConfigError is one
        problem = error.problem if isinstance(error, ConfigError) else "seconds must be a number"
        raise ConfigError(problem, key="x-fake-fault") from error
