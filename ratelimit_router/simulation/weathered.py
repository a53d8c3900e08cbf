"""A client in bad weather: it does all that a router's users may do, at the worst of times, and is watched doing it."""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from random import Random
from typing import Any

from ratelimit_router.batch import Batch
from ratelimit_router.catalogue import CUSTOM
from ratelimit_router.errors import RouterError
from ratelimit_router.events import Event
from ratelimit_router.lease import HELD, Lease
from ratelimit_router.messages import Usage
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.outcomes import Kind, Outcome
from ratelimit_router.simulation.audit import Auditor, Breach, Invariant, WatchedRouter
from ratelimit_router.simulation.mood import Mood
from ratelimit_router.simulation.scenario import Scenario, Task
from ratelimit_router.simulation.services import Services
from ratelimit_router.simulation.weather import random_scenario
from ratelimit_router.snapshot import RouterSnapshot

__all__ = ["AT_THE_END", "Weathered"]

ATTEMPTS = 5
AT_THE_END = 1.0
"""Seconds before the horizon at which everybody is sent home."""
LONGEST_HOLD = 100.0
FATAL = (Kind.AUTH, Kind.BILLING, Kind.MODEL_GONE)


class CallersOwn(Exception):
    """Something that went wrong in the caller's own code."""


class Dropped(Exception):
    """A task was cancelled by whoever had set it to work."""


class Weathered:
    """The client of one run."""

    def __init__(self, scenario: Scenario, mood: Mood, services: Services, tasks: Sequence[Task], auditor: Auditor):
        self._scenario, self._mood, self._services, self._auditor = scenario, mood, services, auditor
        self._loop = loop = asyncio.get_running_loop()
        self._rng = Random(f"{scenario.seed}/client")
        self._router_ahead = self._wall_ahead = 0.0
        self._running: dict[int, asyncio.Task[Any]] = {}
        self._dropped: set[asyncio.Task[Any]] = set()
        self._leases: list[Lease] = []
        self._batches: list[Batch] = []
        self._busy = False
        self._meddled = 0
        self.router = WatchedRouter(
            auditor,
            models=scenario.models,
            tiers=scenario.tiers,
            pools=scenario.pools,
            fallback=scenario.fallback,
            observers=[self._observe] if mood.observed else [],
            clock=lambda: loop.time() + self._router_ahead,
            wall_clock=lambda: scenario.start + loop.time() + self._wall_ahead,
            rng=Random(f"{scenario.seed}/router"),
            slow_start=scenario.slow_start,
            guard=scenario.guard,
        )
        self._plan(tasks)

    def _plan(self, tasks: Sequence[Task]) -> None:
        """Set a clock for everything that is to come."""
        mood = self._mood
        for start, end in mood.batches:
            calls = {tier.name: sum(one.tier == tier.name for one in tasks) for tier in self._scenario.tiers}
            self._at(start, self._announce, calls, end)
        for at in mood.probes:
            self._at(at, self._probe)
        for number, at in enumerate(mood.reconfigures):
            self._at(at, self._reconfigure, number)
        for at, seconds in mood.router_steps:
            self._at(at, self._set_clocks, seconds, seconds)
        for at, seconds in mood.wall_steps:
            self._at(at, self._set_clocks, 0.0, seconds)
        if mood.closes_at is not None:
            self._at(mood.closes_at, lambda: self.router._dispatcher.close())
        self._at(self._scenario.horizon - AT_THE_END, self._drop_all)

    def _at(self, at: float, what: Callable[..., None], *how: Any) -> None:
        self._loop.call_at(at, self._do, what, *how)

    def _do(self, what: Callable[..., None], *how: Any) -> None:
        """Whatever the router raises that is no error of ours is a finding."""
        with self._judged():
            what(*how)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except RouterError:
            pass
        except Exception as error:  # noqa: BLE001 -- it is reported
            self._blame(Invariant.ENDS, _unexpected(error))

    # -- tasks ---------------------------------------------------------------------------------------------------------

    async def perform(self, task: Task) -> None:
        """See `lab.Client`."""
        rng, mood = Random(f"{self._scenario.seed}/client/{task.number}"), self._mood
        me = asyncio.current_task()
        assert me is not None
        if rng.random() < mood.cancels:
            self._loop.call_later(rng.choice((0.0, 1.0, rng.uniform(0.0, 200.0))), self._drop, me)
        self._running[task.number] = me
        ways = (self._once, self._at_once, self._hold, self._give_back)
        way = rng.choice(ways) if rng.random() < mood.strays else self._attempts
        try:
            await way(task, rng)
        except asyncio.CancelledError:
            if me in self._dropped:
                raise Dropped from None
            raise
        except (RouterError, CallersOwn):
            raise
        except Exception as error:
            self._blame(Invariant.ENDS, _unexpected(error))
            raise
        finally:
            del self._running[task.number]

    def _drop_all(self) -> None:
        """Who is not done by now never will be. In order: the loop itself would cancel them in any."""
        for _, task in sorted(self._running.items()):
            self._drop(task)

    def _drop(self, task: "asyncio.Task[Any]") -> None:
        self._dropped.add(task)
        task.cancel()

    def _wishes(self, task: Task) -> dict[str, Any]:
        load = task.load
        tokens = Usage(input_tokens=task.estimated_input, output_tokens=task.estimated_output)
        return {"tokens": tokens, "timeout": load.timeout, "patience": load.patience, "priority": load.priority}

    def _chain(self, task: Task, rng: Random) -> Any:
        names = [model.name for model in self._scenario.models]
        return task.tier if rng.random() < 0.7 else rng.sample(names, rng.randint(1, len(names)))

    async def _attempts(self, task: Task, rng: Random) -> None:
        """As one should."""
        async for attempt in self.router.attempts(task.tier, max_attempts=ATTEMPTS, **self._wishes(task)):
            async with attempt as lease:
                with self._kept(lease):
                    used = await self._services.call(lease.model.name, task)
                    lease.settle(input_tokens=used[0], output_tokens=used[1])
                    self._repeat(lease, rng)

    async def _once(self, task: Task, rng: Random) -> None:
        """In a block of its own; one's own code may fail in it, and report what makes no sense."""
        async with self.router.route(self._chain(task, rng), **self._wishes(task)) as lease:
            with self._kept(lease):
                used = await self._services.call(lease.model.name, task)
                if rng.random() < 0.3:
                    lease.observe({"x-ratelimit-remaining-requests": str(rng.randint(0, 20))})
                if rng.random() < 0.2:
                    raise CallersOwn
                lease.settle(input_tokens=rng.choice((None, used[0], 0, math.nan, -5)), output_tokens=used[1])
                self._repeat(lease, rng)

    async def _at_once(self, task: Task, rng: Random) -> None:
        """Now or never."""
        lease = self.router.route_nowait(self._chain(task, rng), tokens=task.estimated_input)
        async with lease:
            with self._kept(lease):
                await self._services.call(lease.model.name, task)
                lease.settle(input_tokens=rng.choice((None, 0)))

    async def _hold(self, task: Task, rng: Random) -> None:
        """For long, whatever happens to the router meanwhile, and ended in any way."""
        lease = await self.router.route(self._chain(task, rng), **self._wishes(task))
        try:
            await asyncio.sleep(rng.choice((0.0, 1.0, LONGEST_HOLD)))
        finally:
            self._end(lease, rng)
            self._repeat(lease, rng)

    async def _give_back(self, task: Task, rng: Random) -> None:
        """Never mind."""
        lease = await self.router.route(self._chain(task, rng), **self._wishes(task))
        lease.cancel()
        self._repeat(lease, rng)

    @contextmanager
    def _kept(self, lease: Lease) -> Iterator[None]:
        """While it is held, others may end it."""
        self._leases.append(lease)
        try:
            yield
        finally:
            self._leases.remove(lease)

    def _end(self, lease: Lease, rng: Random) -> None:
        outcome = Outcome(kind=rng.choice(list(Kind)), retry_after=rng.choice((None, 2.0)))
        if (outcome.kind in FATAL and rng.random() < 0.8) or rng.random() < 0.5:
            lease.settle(input_tokens=rng.choice((None, 2_000)))
        else:
            lease.fail(outcome)

    def _repeat(self, lease: Lease, rng: Random) -> None:
        """End it again: that must change nothing."""
        if rng.random() >= self._mood.repeats or lease.state == HELD:
            return
        before = self._seen()
        for _ in range(2):
            rng.choice((lease.settle, lease.cancel, lambda: self._end(lease, rng)))()
        self._compare(before, Invariant.ENDS_ONCE, "a lease was ended once more")

    # -- looks ---------------------------------------------------------------------------------------------------------

    def _seen(self) -> dict[str, object]:
        """Everything that can be seen but the counts of refusals; nothing if nobody looks in this run: a case, too."""
        return facts(self.router.snapshot()) | {"": self._meddled} if self._mood.looks else {}

    def _compare(self, before: dict[str, object], invariant: Invariant, what: str) -> None:
        if not before:
            return
        after = self._seen()
        if before.get("") != after.get(""):
            return  # an observer has used the router
        for name in before.keys() | after.keys():
            if (was := before.get(name)) != (now := after.get(name)):
                self._blame(invariant, f"{what}, and {name} went from {was} to {now}")

    def _blame(self, invariant: Invariant, what: str) -> None:
        self._auditor.breaches.append(Breach(invariant=invariant, at=self._loop.time(), what=what))

    # -- what else happens ---------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Somebody asks without waiting, and asks again when he was told to."""
        rng = self._rng
        chain = rng.choice([*(tier.name for tier in self._scenario.tiers), [self._scenario.models[0].name]])
        tokens = rng.choice((0, 100, 1_000, Usage(input_tokens=100, output_tokens=300)))
        for _ in range(2):  # what is due at this instant: somebody may be served, and a plan be made
            self.router._dispatcher.drain()
        alone = not self.router._dispatcher.queue.length  # if not, order may be decided anew for the sake of one more
        before = self._seen() if alone else {}
        self.router.eta(chain, tokens=tokens)
        self._compare(before, Invariant.DENIAL, "somebody asked when a model would be free")
        try:
            lease = self.router.route_nowait(chain, tokens=tokens)
        except RouterError as error:
            self._compare(before, Invariant.DENIAL, "somebody was refused")
            if (retry_at := getattr(error, "retry_at", math.inf)) < self._loop.time() + 60.0:
                self._at(retry_at - self._router_ahead, self._probe)
            return
        if rng.random() < 0.5:
            lease.cancel()
        else:
            self._leases.append(lease)
            self._loop.call_later(rng.uniform(0.0, 20.0), self._do, self._release, lease)

    def _release(self, lease: Lease) -> None:
        if lease in self._leases:
            self._leases.remove(lease)
            self._end(lease, self._rng)

    def _set_clocks(self, router: float, wall: float) -> None:
        self._router_ahead += router
        self._wall_ahead += wall

    def _announce(self, calls: dict[str, int], end: float) -> None:
        batch = self.router.batch(calls, slack=self._rng.choice((0.0, 0.2)))
        self._batches.append(batch)
        batch.__enter__()
        self._at(end, self._revoke, batch)

    def _revoke(self, batch: Batch) -> None:
        if batch in self._batches:
            self._batches.remove(batch)
            batch.__exit__(None, None, None)

    def _reconfigure(self, number: int) -> None:
        """Limits of another storm, other pools, other chains; sometimes what cannot be."""
        rng, scenario = self._rng, self._scenario
        other = random_scenario(scenario.seed + 1_000_003 * (number + 1))
        models, pools = _other_models(rng, scenario, other), _other_pools(scenario, other)
        tiers = _other_tiers(rng, scenario) if rng.random() < 0.5 else scenario.tiers
        if rng.random() < 0.2:
            models = models[1:]
        self.router.reconfigure(models=models, pools=pools, tiers=tiers)

    def _observe(self, event: Event) -> None:
        """An observer that uses the router."""
        self._auditor.note(str(event))
        if not self._busy and self._rng.random() < self._mood.meddles:
            self._busy, self._meddled = True, self._meddled + 1
            self._do(self._meddle)
            self._busy = False

    def _meddle(self) -> None:
        what = self._rng.random()
        if what < 0.2:
            self.router.snapshot()
        elif what < 0.4:
            self.router.eta(self._scenario.tiers[0].name, tokens=10)
        elif what < 0.8:
            self.router.route_nowait(self._scenario.tiers[-1].name).cancel()
        elif self._leases:
            self._rng.choice(self._leases).settle()

    async def aclose(self) -> None:
        """See `lab.Client`."""
        for lease in list(self._leases):
            lease.settle()
        for batch in list(self._batches):
            self._revoke(batch)
        with suppress(RouterError):
            await self.router.aclose()
        self._auditor.finish()


def facts(seen: RouterSnapshot) -> dict[str, object]:
    """A snapshot as plain facts, without those that are there, or are counted, for every question."""
    found: dict[str, object] = {f"route {route}": count for route, count in seen.routes.items() if count}
    for kind in ("models", "pools", "tiers"):
        for name, one in getattr(seen, kind).items():
            if name != CUSTOM:
                found |= {
                    f"{name}.{each.name}": getattr(one, each.name) for each in fields(one) if each.name != "refusals"
                }
    return found


def _unexpected(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}: {error}{where}"


def _other_models(rng: Random, scenario: Scenario, other: Scenario) -> tuple[Model, ...]:
    limits = {model.name: model.limits for model in other.models}
    return tuple(
        replace(one, limits=limits.get(one.name, one.limits), pools=one.pools if rng.random() < 0.8 else ())
        for one in scenario.models
    )


def _other_pools(scenario: Scenario, other: Scenario) -> tuple[Pool, ...]:
    limits = {pool.name: pool.limits for pool in other.pools}
    return tuple(replace(one, limits=limits.get(one.name, one.limits)) for one in scenario.pools)


def _other_tiers(rng: Random, scenario: Scenario) -> tuple[Tier, ...]:
    tiers = tuple(
        replace(one, chain=tuple(reversed(one.chain)), patience=rng.choice((0.0, 5.0))) for one in scenario.tiers
    )
    return tiers[1:] if len(tiers) > 1 and rng.random() < 0.3 else tiers
