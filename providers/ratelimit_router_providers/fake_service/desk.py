"""Decides what becomes of one request: refusal or answer, with which fault, how late. `now` goes in; nothing waits.

The order is Gemini's, whatever the wire: the key, the model, the faults at the front, the request itself, its quotas,
the answer.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.quota import ModelQuota
from ratelimit_router_providers.fake_service.answers import answer_text
from ratelimit_router_providers.fake_service.config import FakeModel, ServiceConfig
from ratelimit_router_providers.fake_service.exchange import Ask, Draft, MalformedRequestError, Refusal, draft
from ratelimit_router_providers.fake_service.faults import FaultRule, Strike, choose, parse_strike
from ratelimit_router_providers.fake_service.wire import GEMINI, Wire

__all__ = ["Arrival", "Desk", "Ticket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One generating request as it came in. `fault`: what its `x-fake-fault` header asks for."""

    model_id: str
    version: str
    key: str | None = field(repr=False)
    body: object = field(repr=False)
    fault: str | None = None
    wire: Wire = GEMINI


@dataclass(slots=True, kw_only=True)
class Ticket:
    """What was decided. Either `refusal`, or `body` (blocked prompts), or `draft` is set; `close` it when it is over.

    `delay`: seconds until the answer is complete.
    """

    key: int = 0
    model: FakeModel | None = None
    refusal: Refusal | None = None
    body: dict[str, Any] | None = None
    draft: Draft | None = None
    wire: Wire = GEMINI
    strike: Strike | None = None
    delay: float = 0.0
    refused: tuple[str, ...] = ()
    input_tokens: int = 0
    in_flight: int = 0
    response_id: str = ""
    quota: ModelQuota | None = None

    @property
    def fault(self) -> str | None:
        """The name of the fault that struck."""
        return self.strike.fault.name if self.strike else None

    def close(self) -> None:
        """The exchange is over: an admitted call is no longer in flight. Closing again does nothing."""
        if self.quota is not None:
            self.quota.release()
            self.quota = None


class Desk:
    """The service's state without its sockets: the quotas of every key, and how often each model was asked."""

    def __init__(self, config: ServiceConfig, started: float):
        self._started, self._seed = started, config.seed
        self._invalid, self._leeway = config.invalid_keys, config.leeway
        self.models: dict[str, FakeModel] = dict(config.models)
        self._faults: tuple[FaultRule, ...] = config.faults
        self._keys: dict[str, int] = {}
        self._quotas: dict[tuple[int, str], ModelQuota] = {}
        self._asked: Counter[str] = Counter()

    def number_of(self, key: str | None, wire: Wire = GEMINI) -> tuple[int, Refusal | None]:
        """The number of a key, in order of first use, and the refusal it earns, if it does."""
        if not key:
            return 0, wire.refusals.no_key()
        number = self._keys.setdefault(key, len(self._keys) + 1)
        return number, wire.refusals.wrong_key() if key in self._invalid else None

    def find(self, model_id: str, version: str, wire: Wire = GEMINI) -> FakeModel | Refusal:
        """The model, or the 404."""
        return self.models.get(model_id) or wire.refusals.model_not_found(model_id, version)

    def receive(self, now: float, arrival: Arrival) -> Ticket:
        """Decide about one generating request at `now` (POSIX seconds)."""
        number, refusal = self.number_of(arrival.key, arrival.wire)
        ticket = Ticket(key=number, refusal=refusal, wire=arrival.wire)
        if refusal is not None:
            return ticket
        model = self.find(arrival.model_id, arrival.version, arrival.wire)
        if isinstance(model, Refusal):
            ticket.refusal = model
            return ticket
        ticket.model = model
        self._asked[model.id] += 1
        nth = self._asked[model.id]
        ticket.response_id = f"simulated-{model.id}-{nth}"
        rng = Random(f"{self._seed}:{model.id}:{nth}")  # its own, so that no interleaving changes it
        latency = model.latency.sample(rng)
        try:
            ticket.strike = self._strike(arrival, model, nth, now, rng)
        except ConfigError as error:
            ticket.refusal = arrival.wire.refusals.bad_request(str(error))
            return ticket
        if ticket.strike is not None and ticket.strike.fault.stage == "front":
            ticket.refusal = arrival.wire.refusals.for_strike(ticket.strike, model, arrival.version)
            return ticket
        return self._admit(now, ticket, model, arrival, latency)

    def _strike(self, arrival: Arrival, model: FakeModel, nth: int, now: float, rng: Random) -> Strike | None:
        if arrival.fault:
            return parse_strike(arrival.fault)
        return choose((*model.faults, *self._faults), nth, now - self._started, rng)

    def _admit(self, now: float, ticket: Ticket, model: FakeModel, arrival: Arrival, latency: float) -> Ticket:
        try:
            ask = arrival.wire.talk.parse(arrival.body)
        except MalformedRequestError as error:
            ticket.refusal = arrival.wire.refusals.bad_request(str(error))
            return ticket
        ticket.input_tokens = ask.input_tokens
        answer = self._draft(ask, ticket)
        quota = self._quota(ticket.key, model)
        decision = quota.admit(now, ask.input_tokens, answer.output_tokens)
        if not decision.admitted:
            ticket.refused = tuple(violation.name for violation in decision.violations)
            ticket.refusal = arrival.wire.refusals.for_decision(model, decision)
            ticket.strike = None
            return ticket
        ticket.quota, ticket.in_flight = quota, quota.in_flight
        ticket.delay = latency + (ticket.strike.seconds if ticket.fault == "slow" and ticket.strike else 0.0)
        if ask.input_tokens > model.input_token_limit or ticket.fault == "too_long":
            limit = min(model.input_token_limit, ask.input_tokens)
            ticket.refusal = arrival.wire.refusals.too_long(max(ask.input_tokens, limit + 1), limit)
        elif ticket.fault == "blocked":
            ticket.body = arrival.wire.talk.blocked(model, ask, ticket.response_id)
        else:
            ticket.draft = answer
        return ticket

    def _draft(self, ask: Ask, ticket: Ticket) -> Draft:
        match ticket.fault:
            case "bad_answer":
                return draft(ask, "Certainly! Here is what I found: {entities: [PERSON")
            case "blocked" | "too_long":
                return draft(ask, "")
            case "safety":
                return replace(draft(ask, answer_text(ask)[:40]), finish="SAFETY")
            case _:
                return draft(ask, answer_text(ask))

    def _quota(self, key: int, model: FakeModel) -> ModelQuota:
        if (key, model.id) not in self._quotas:
            self._quotas[key, model.id] = ModelQuota(model.quotas, **self._terms(model))
        return self._quotas[key, model.id]

    def _terms(self, model: FakeModel) -> dict[str, Any]:
        return {"concurrency": model.concurrency, "charge_refused": model.charge_refused, "leeway": self._leeway}

    def script(self, now: float, models: Mapping[str, FakeModel], faults: tuple[FaultRule, ...] | None = None) -> None:
        """Change models and faults from `now` on; what was spent stays spent. A new model may be added this way."""
        for model in models.values():
            self.models[model.id] = model
            for (_, model_id), quota in self._quotas.items():
                if model_id == model.id:
                    quota.configure(now, model.quotas, **self._terms(model))
        if faults is not None:
            self._faults = faults

    def left(self, now: float) -> dict[str, dict[str, dict[str, float]]]:
        """What every quota could still give: by model, then by key, then by quota."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (key, model_id), quota in self._quotas.items():
            found.setdefault(model_id, {})[str(key)] = quota.left(now)
        return found
