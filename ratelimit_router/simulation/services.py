"""The services of a scenario, played in the time of the running loop: they judge calls, refuse, fail and answer late.

    sent ── network ──> judged ── refused ────────────── network ──> raises RateLimited, Overloaded, ...
                           └──── admitted ── latency ── network ──> the tokens that were used

They know nothing of the router, and share no arithmetic with its buckets.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from ratelimit_router.errors import (
    AuthError,
    BadResponse,
    ModelGone,
    NotSent,
    Overloaded,
    ProviderError,
    ProviderTimeout,
    RateLimited,
)
from ratelimit_router.limits import DAY, QUOTAS
from ratelimit_router.outcomes import outcome_of
from ratelimit_router.simulation.quota import ModelQuota, QuotaRule, Violation
from ratelimit_router.simulation.run import OK, Call, Level, Run
from ratelimit_router.simulation.scenario import WANDER, Account, Change, Scenario, Service, Task, Trouble

__all__ = ["CLIENT_TIMEOUT", "Services"]

CLIENT_TIMEOUT = 30.0
"""Seconds after which a client gives a silent service up."""

NEVER_HINT = 60.0
"""Seconds that a service tells to wait which will never admit such a call."""


class Owner:
    """The quotas of one service or account, with the changes and the calls of others that befall them."""

    def __init__(
        self, owner: Service | Account, foreign: Sequence[tuple[float, int, int]], now: Callable[[float], float]
    ):
        self.name, self._owner, self._clock = owner.name, owner, now
        self.rules = owner.quotas
        self.quota = ModelQuota(owner.quotas, concurrency=owner.concurrency)
        self._foreign = deque(foreign)
        self._changes = deque(sorted(owner.changes, key=lambda change: change.at))

    def bring_up_to(self, at: float) -> None:
        """Everything that others and the operator of the service have done until then."""
        foreign, changes = self._foreign, self._changes
        while foreign or changes:
            if changes and (not foreign or changes[0].at <= foreign[0][0]):
                if changes[0].at > at:
                    return
                self._change(changes.popleft())
            else:
                if foreign[0][0] > at:
                    return
                when, input_tokens, output_tokens = foreign.popleft()
                self.quota.spend(self._clock(when), input_tokens, output_tokens)

    def _change(self, change: Change) -> None:
        self.rules = tuple(_scaled(rule, change.factor) for rule in self._owner.quotas)
        self.quota.configure(self._clock(change.at), self.rules, concurrency=self._owner.concurrency)

    def levels(self, at: float) -> list[Level]:
        """What is left of every quota now."""
        self.bring_up_to(at)
        left = self.quota.left(self._clock(at))
        return [
            Level(owner=self.name, quota=rule.name, at=at, left=left[rule.name], amount=rule.holds())
            for rule in self.rules
        ]


class Services:
    """All services of one scenario. `calls` go to the record of the run."""

    def __init__(self, scenario: Scenario, tasks: Sequence[Task], run: Run):
        self._network = scenario.network
        self._run, self._tasks = run, run.tasks
        self._start = scenario.start + scenario.network.clock_offset
        foreign = scenario.consumption()
        accounts = {one.name: Owner(one, foreign[one.name], self._clock) for one in scenario.accounts}
        latencies = scenario.latencies(tasks)
        self._owners = [*accounts.values()]
        self._depths = _depths(scenario)
        self._services: dict[str, _Played] = {}
        for service in scenario.services:
            owner = Owner(service, foreign[service.name], self._clock)
            self._owners.append(owner)
            owners = (owner, *(accounts[name] for name in service.accounts))
            rng = Random(f"{scenario.seed}/service/{service.name}")
            self._services[service.name] = _Played(service, owners, latencies[service.name], rng)

    def _clock(self, at: float) -> float:
        """The services' own time, POSIX seconds. It never runs backwards."""
        wander = self._network.clock_jitter
        return self._start + at + (wander * math.sin(2 * math.pi * at / WANDER) if wander else 0.0)

    async def call(self, model: str, task: Task) -> tuple[int, int]:
        """Make the call. The tokens that it used: input, output. Raises what a provider would: RateLimited, ..."""
        loop, service = asyncio.get_running_loop(), self._services[model]
        sent = loop.time()
        record = self._tasks[task.number]
        record.sent, record.model, record.depth = sent, model, self._depths[task.tier, model]
        record.calls += 1
        judged, error = sent, None
        try:
            await self._travel(service.rng)
            judged = loop.time()
            error = await self._answer(service, task, judged)
            await self._travel(service.rng)
        except asyncio.CancelledError:
            self._note(task, model, sent, judged, loop.time(), "cancelled", None)
            raise
        self._note(task, model, sent, judged, loop.time(), _result(error), error)
        if error is not None:
            raise error
        return task.input_tokens, task.output_tokens

    async def _travel(self, rng: Random) -> None:
        network = self._network
        if delay := network.latency + (network.jitter * rng.random() if network.jitter else 0.0):
            await asyncio.sleep(delay)

    async def _answer(self, service: "_Played", task: Task, at: float) -> ProviderError | None:
        """What becomes of a call that has arrived; it has ended at the service when this returns."""
        trouble = service.strikes(at)
        if (refusal := service.refuses(trouble, at)) is not None:
            return refusal
        if (refusal := service.judge(task, at, self._clock(at))) is not None:
            return refusal
        try:
            if trouble is not None and trouble.kind == "silent":
                await asyncio.sleep(CLIENT_TIMEOUT)
                return ProviderTimeout()
            await asyncio.sleep(service.latencies[task.number])
        finally:
            for owner in service.owners:
                owner.quota.release()
        return BadResponse() if trouble is not None else None

    def _note(
        self, task: Task, model: str, sent: float, judged: float, ended: float, result: str, error: ProviderError | None
    ) -> None:
        charged = result in (OK, "timeout", "bad_response")
        also_input = result == "rate_limited" and self._services[model].charge_refused
        self._run.calls.append(
            Call(
                task=task.number,
                model=model,
                depth=self._depths[task.tier, model],
                sent=sent,
                judged=judged,
                ended=ended,
                result=result,
                quota=getattr(error, "quota", None),
                hint=None if error is None else error.retry_after,
                input_tokens=task.input_tokens if charged or also_input else 0,
                output_tokens=task.output_tokens if charged else 0,
            )
        )

    def levels(self, at: float) -> list[Level]:
        """What is left of every quota now."""
        return [level for owner in self._owners for level in owner.levels(at)]


class _Played:
    """One service at work."""

    def __init__(self, service: Service, owners: tuple[Owner, ...], latencies: list[float], rng: Random):
        self._service, self.owners, self.latencies, self.rng = service, owners, latencies, rng
        self.charge_refused = service.charge_refused

    def strikes(self, at: float) -> Trouble | None:
        """The trouble that befalls a call now, if any."""
        for trouble in self._service.troubles:
            if trouble.start <= at < trouble.end and (trouble.rate >= 1 or self.rng.random() < trouble.rate):
                return trouble
        return None

    def refuses(self, trouble: Trouble | None, at: float) -> ProviderError | None:
        """A refusal that has nothing to do with quotas."""
        if self._service.gone_at is not None and at >= self._service.gone_at:
            return ModelGone()
        match trouble.kind if trouble is not None else None:
            case "overloaded":
                return Overloaded(trouble.seconds if trouble else None)
            case "unreachable":
                return NotSent()
            case "key_refused":
                return AuthError()
        return None

    def judge(self, task: Task, at: float, clock: float) -> RateLimited | None:
        """Charge the call on every quota, or say on which it does not fit."""
        found = []
        for owner in self.owners:
            owner.bring_up_to(at)
            prefix = "" if owner is self.owners[0] else f"{owner.name}."
            found += [(prefix, violation) for violation in owner.quota.violations(clock, task.input_tokens)]
        if not found or self.charge_refused:
            for owner in self.owners:
                owner.quota.spend(clock, task.input_tokens, 0 if found else task.output_tokens)
        if not found:
            for owner in self.owners:
                owner.quota.in_flight += 1
            return None
        return self._refusal(found)

    def _refusal(self, found: list[tuple[str, Violation]]) -> RateLimited:
        found.sort(key=lambda one: _severity(one[1]), reverse=True)
        wait = max(violation.wait for _, violation in found)
        truth = wait if wait < math.inf else NEVER_HINT
        hint = {"right": truth, "truncated": float(int(truth)), "short": truth / 3, "long": truth * 3}
        named = [(prefix + one.name, one.amount) for prefix, one in found]
        if self._service.tells == "nothing":
            return RateLimited(hint.get(self._service.hint))
        if self._service.tells == "quota":
            named = [(name, None) for name, _ in named]  # type: ignore[misc]
        return RateLimited(hint.get(self._service.hint), named[0][0], named[0][1], others=tuple(named[1:]))


def _severity(violation: Violation) -> tuple[bool, bool, float]:
    """The worst comes first, as a provider would tell it: no quota at all, then a day's, then the longest wait."""
    daily = violation.name in QUOTAS and QUOTAS[violation.name][1] >= DAY
    return violation.amount == 0, daily, violation.wait


def _scaled(rule: QuotaRule, factor: float) -> QuotaRule:
    burst = rule.holds(factor) if rule.window == "continuous" else None
    return replace(rule, amount=rule.amount * factor, burst=burst)


def _result(error: ProviderError | None) -> str:
    return OK if error is None else outcome_of(error).kind.value


def _depths(scenario: Scenario) -> dict[tuple[str, str], int]:
    """The step of each model in the chain of each tier; a fallback comes after the last."""
    found = {}
    for tier in scenario.tiers:
        for model in scenario.models:
            steps = [depth for depth, step in enumerate(tier.chain) if model.name in step]
            found[tier.name, model.name] = steps[0] if steps else len(tier.chain)
    return found
