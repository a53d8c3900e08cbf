"""Random routers in random weather: whatever happens, quotas hold, everybody gets an answer, and nothing is left over.

A storm is made from one number, so `storm(number)` plays the same one again. This is the older and plainer of two such
tests, with services and books of its own; `simulation/test_weathered.py` plays more, and looks closer.
"""

import asyncio
import contextlib
import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from ratelimit_router import (
    BadRequest,
    BadResponse,
    Kind,
    Lease,
    Limit,
    Limits,
    Model,
    NotSent,
    Outcome,
    Overloaded,
    Pool,
    ProviderTimeout,
    RateLimited,
    Router,
    RouterError,
    Tier,
    Usage,
)
from ratelimit_router.bucket import UNITS
from ratelimit_router.dispatch import Dispatcher
from ratelimit_router.simulation import virtual_time

WALL = 1_790_035_200.0  # midnight, UTC
DAY = 86_400.0
LONGEST_CALL = 90.0
BATCHES, STORMS = 3, 60


@dataclass
class Held:
    """One lease as the test saw it. `least`: the smallest charge it ever had; `era`: of the configuration."""

    lease: Lease
    era: int
    estimate: tuple[float, ...]
    pools: tuple[str, ...]
    ended: float = math.inf

    def end(self) -> None:
        """It is over now, if it was not before."""
        self.ended = min(self.ended, asyncio.get_running_loop().time())

    @property
    def least(self) -> tuple[float, ...]:
        """No bucket ever had less charged for it than this."""
        return tuple(map(min, self.estimate, self.lease.cost))


class Service:
    """What really happens behind one model: limits of its own, outages, calls that hang."""

    def __init__(self, rng: random.Random, configured: float | None):
        self.rng = rng
        self.rpm = rng.choice([None, None, configured, math.ceil((configured or 20) / 2)])
        self.rpd = rng.choice([None, None, None, 15, 40])
        self.hint = rng.choice(["right", "none", "zero", "short", "long"])
        self.names_quota = rng.random() < 0.5
        self.states_limit = rng.random() < 0.3
        self.outages = [
            (start, start + rng.choice([5, 60, 200])) for start in rng.sample(range(300), rng.randint(0, 2))
        ]
        self.hangs = rng.choice([0.0, 0.0, 0.05, 0.3])
        self.admitted: list[float] = []

    async def call(self) -> None:
        """Raises one of our own errors, or takes its time and goes well."""
        loop, rng = asyncio.get_running_loop(), self.rng
        await asyncio.sleep(rng.choice([0.0, 0.05, 0.2]))
        now = loop.time()
        if any(start <= now < end for start, end in self.outages):
            raise rng.choice([Overloaded(), Overloaded(10.0), NotSent(), ProviderTimeout()])
        for quota, limit, period in (("rpm", self.rpm, 60.0), ("rpd", self.rpd, DAY)):
            recent = [at for at in self.admitted if at + period > now]
            if limit is not None and len(recent) >= limit:
                raise self._refusal(quota, limit, recent[-limit] + period - now)
        self.admitted.append(now)
        if rng.random() < self.hangs:
            await asyncio.sleep(LONGEST_CALL)
            raise rng.choice([ProviderTimeout(), TimeoutError()])
        await asyncio.sleep(rng.choice([0.0, 0.5, 3.0, 20.0]))
        if rng.random() < 0.05:
            raise rng.choice([BadResponse(), BadRequest(), NotSent(), ValueError("the caller's own")])

    def _refusal(self, quota: str, limit: int, left: float) -> RateLimited:
        hints = {"right": left, "none": None, "zero": 0.0, "short": left / 4, "long": min(2 * left, left + 100)}
        hint = hints[self.hint]
        if not self.names_quota:
            return RateLimited(hint)
        return RateLimited(hint, quota, limit if self.states_limit else None)


@dataclass
class Storm:
    """Everything that one number decides."""

    number: int
    rng: random.Random = field(init=False)
    names: list[str] = field(init=False)
    eras: list[tuple[dict[str, Limits], dict[str, Limits]]] = field(default_factory=list)  # limits of models and pools
    leases: list[Held] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)
    firings: Counter[float] = field(default_factory=Counter)
    router: Router = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.number)
        self.names = [f"m{index}" for index in range(self.rng.randint(1, 4))]

    # -- what there is -------------------------------------------------------------------------------------------------

    def limits(self) -> Limits:
        """Of a model."""
        rng, refill = self.rng, self.rng.choice(["rolling", "continuous", "calendar"])
        daily = (
            None if rng.random() < 0.7 else Limit(rng.choice([30, 120]), refill=rng.choice(["rolling", "continuous"]))
        )
        if daily is not None and rng.random() < 0.5:
            daily = Limit(daily.amount, refill="calendar", resets="00:00 UTC")
        return Limits(
            rpm=rng.choice([None, 3, 20, 60]),
            tpm=rng.choice([None, None, 1_000, 5_000]),
            input_tpm=rng.choice([None, None, None, 900]),
            rpd=daily,
            concurrency=rng.choice([None, None, 1, 4]),
            refill=refill,
        )

    def pool(self) -> Limits:
        """Of a pool."""
        rng = self.rng
        return Limits(
            rpm=rng.choice([None, 30, Limit(30, refill="continuous")]),
            tpm=rng.choice([None, 3_000]),
            concurrency=rng.choice([None, 3, 8]),
        )

    def models(self) -> list[Model]:
        """Every model anew."""
        share = self.rng.choice([0.0, 0.6, 1.0])
        return [
            Model(name, limits=self.limits(), pools=("p",) if self.rng.random() < share else ()) for name in self.names
        ]

    def chain(self) -> list[str | tuple[str, ...]]:
        """Some of the models in any order; sometimes with equals."""
        names = self.rng.sample(self.names, self.rng.randint(1, len(self.names)))
        return [names[0], tuple(names[1:])] if len(names) > 2 and self.rng.random() < 0.5 else list(names)

    def tiers(self) -> list[Tier]:
        """One to three."""
        rng = self.rng
        return [
            Tier(f"t{index}", self.chain(), patience=rng.choice([0, 0, 5, math.inf]), weight=rng.choice([1, 1, 5]))
            for index in range(rng.randint(1, 3))
        ]

    def begin_era(self, models: list[Model], pools: list[Pool]) -> None:
        """From now on these limits hold."""
        self.eras.append(({model.name: model.limits for model in models}, {pool.name: pool.limits for pool in pools}))

    # -- what happens --------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """All of it, to the end."""
        rng, loop = self.rng, asyncio.get_running_loop()
        models, pools = self.models(), [Pool("p", self.pool())]
        tiers = self.tiers()
        self.tier_names = [tier.name for tier in tiers]
        self.services = {one.name: Service(rng, one.limits.rpm) for one in models}  # type: ignore[arg-type]
        self.begin_era(models, pools)
        self.router = Router(
            models=models,
            tiers=tiers,
            pools=pools,
            fallback=rng.choice([None, self.names[0]]),
            observers=rng.choice([(), (self.meddle,)]),
            clock=loop.time,
            wall_clock=lambda: WALL + loop.time(),
            rng=random.Random(self.number),
            slow_start=rng.choice([None, 2, 64]),
        )
        ways = [self.enter, self.enter, self.hold_long, self.loop, self.at_once]
        tasks = [asyncio.ensure_future(self.one(rng.choice(ways))) for _ in range(rng.choice([20, 60, 120]))]
        for task in tasks:
            if rng.random() < 0.15:
                loop.call_later(rng.choice([0, 1, 60, rng.uniform(0, 300)]), task.cancel)
        if rng.random() < 0.5:
            tasks.append(asyncio.ensure_future(self.change()))
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
                raise ended

    async def one(self, way: Any) -> None:
        """Somebody comes, and ends with a result or with an error of the tree."""
        rng = self.rng
        await asyncio.sleep(rng.choice([0, 60, 60, 120, rng.uniform(0, 300), rng.uniform(0, 300)]))
        chain = rng.choice(self.tier_names) if rng.random() < 0.8 else self.chain()
        tokens = rng.choice([0, 10, 200, 900, Usage(100, 100)])
        wish = {
            "timeout": rng.choice([None, None, 0, 30, 60, 600]),
            "patience": rng.choice([None, None, 0, 3, 60]),
            "priority": rng.choice([0, 0, 1, -1]),
        }
        try:
            await way(chain, tokens, wish)
            self.answers["served"] += 1
        except (RouterError, TimeoutError) as error:
            self.answers[type(error).__name__] += 1
        except ValueError as error:
            assert str(error) == "the caller's own"  # noqa: PT017 -- anything else is a failure of the router
            self.answers["own"] += 1

    async def enter(self, chain: Any, tokens: Any, wish: Any) -> None:
        """`async with`, ended inside in one way or another."""
        async with self.router.route(chain, tokens=tokens, **wish) as lease:
            held, rng = self.note(lease), self.rng
            try:
                if rng.random() < 0.1:
                    lease.cancel()
                    return
                await self.services[lease.model.name].call()
                if rng.random() < 0.1:
                    lease.observe({"x-ratelimit-remaining-requests": str(rng.randint(0, 20))})
                if rng.random() < 0.5:
                    lease.settle(
                        input_tokens=rng.choice([None, 0, 50, 1_500, math.nan]), output_tokens=rng.choice([None, 7])
                    )
            finally:
                held.end()

    async def hold_long(self, chain: Any, tokens: Any, wish: Any) -> None:
        """Awaited, and settled or failed late, whatever has happened to the router meanwhile."""
        lease = await self.router.route(chain, tokens=tokens, **wish)
        held, rng = self.note(lease), self.rng
        try:
            await asyncio.sleep(rng.choice([1.0, 100.0]))
        finally:
            outcome = Outcome(kind=rng.choice([*Kind]), retry_after=rng.choice([None, 2.0]))
            fatal = outcome.kind in (Kind.AUTH, Kind.BILLING, Kind.MODEL_GONE) and rng.random() < 0.8
            if fatal or rng.random() < 0.6:
                lease.settle(input_tokens=rng.choice([None, 2_000]))
            else:
                lease.fail(outcome)
            held.end()

    async def loop(self, chain: Any, tokens: Any, wish: Any) -> None:
        """`attempts`, to the end or left in the middle."""
        left = self.rng.random() < 0.1
        async for attempt in self.router.attempts(chain, tokens=tokens, **wish):
            async with attempt as lease:
                held = self.note(lease)
                try:
                    if left:
                        break
                    await self.services[lease.model.name].call()
                finally:
                    held.end()

    async def at_once(self, chain: Any, tokens: Any, wish: Any) -> None:
        """`route_nowait`."""
        lease = self.router.route_nowait(chain, tokens=tokens)
        held = self.note(lease)
        async with lease:
            try:
                await self.services[lease.model.name].call()
            finally:
                held.end()

    def note(self, lease: Lease) -> Held:
        """A lease was had."""
        era = bisect_era(self.begun, lease.at) if self.begun else 0
        held = Held(lease, era, lease.cost, lease.model.pools)
        self.leases.append(held)
        return held

    begun: list[float] = field(default_factory=list)
    """When the later eras began."""

    async def change(self) -> None:
        """Other limits, pools, tiers, in the middle; sometimes a change that cannot be."""
        rng, loop = self.rng, asyncio.get_running_loop()
        await asyncio.sleep(rng.uniform(0, 200))
        with contextlib.suppress(RouterError):
            self.router.reconfigure(models=[Model("m0", limits=Limits(rpm=0.5))])
        models, pools = self.models(), [Pool("p", self.pool())]
        self.begin_era(models, pools)
        self.begun.append(loop.time())
        tiers = rng.choice([None, [Tier(name, self.chain()) for name in self.tier_names]])
        self.router.reconfigure(models=models, pools=pools, tiers=tiers)

    def meddle(self, event: Any) -> None:
        """An observer that uses the router."""
        try:
            self.use(self.rng.random())
        except Exception as error:  # noqa: BLE001 -- the router would only log it
            self.strange.append(repr(error))

    def use(self, what: float) -> None:
        """In one way or another, or not at all."""
        if what < 0.05:
            self.router.snapshot()
        elif what < 0.1:
            assert self.router.eta(self.tier_names[0], tokens=10) >= 0.0
        elif what < 0.15:
            with contextlib.suppress(RouterError):
                self.router.route_nowait(self.tier_names[-1]).cancel()
        elif what < 0.17:
            open_ones = [held for held in self.leases if held.ended == math.inf]
            if open_ones:
                held = self.rng.choice(open_ones)
                held.end()
                held.lease.settle()

    # -- what must hold ------------------------------------------------------------------------------------------------

    def left_over(self) -> list[str]:
        """What should be gone when everybody is."""
        found, seen, core = [], self.router.snapshot(), self.router._dispatcher
        found += [f"{name}: {one.in_flight} in flight" for name, one in seen.models.items() if one.in_flight]
        found += [f"pool {name}: {one.in_flight} in flight" for name, one in seen.pools.items() if one.in_flight]
        found += [f"{name}: {one.queued} in line" for name, one in seen.tiers.items() if one.queued]
        if core.queue.length or core.queue.lines or core.queue.next_alarm() < math.inf:
            found.append("the queue is not empty")
        if core._timer is not None:
            found.append(f"a timer is set in {core._timer_at - core.clock()} s")
        if self.firings and max(self.firings.values()) > 5:
            found.append(f"the timer spins: {self.firings.most_common(2)}")
        return found

    def broken(self) -> list[str]:
        """Quotas that were exceeded, at whatever window."""
        found = []
        for era, (models, pools) in enumerate(self.eras):
            held = [one for one in self.leases if one.era == era]
            for name, limits in models.items():
                found += exceeded(name, limits, [one for one in held if one.lease.model.name == name], self.leases)
            for name, limits in pools.items():
                found += exceeded(name, limits, [one for one in held if name in one.pools], self.leases)
        return found


def bisect_era(begun: list[float], at: float) -> int:
    """Which configuration was in force; leases of the instant of a change are left out of account."""
    return -1 if at in begun else sum(start <= at for start in begun)


def exceeded(name: str, limits: Limits, held: list[Held], everybody: list[Held]) -> list[str]:
    """Which of an account's quotas these leases have exceeded."""
    held = sorted(held, key=lambda one: one.lease.at)
    found = []
    for quota in limits.quotas():
        unit = UNITS.index(quota.unit)
        rows = [(one.lease.at, one.least[unit]) for one in held if one.least[unit]]
        if quota.refill == "calendar":
            used: Counter[float] = Counter()
            for at, amount in rows:
                used[(WALL + at + 1e-6) // quota.period] += amount  # type: ignore[assignment]
            over = max(used.values(), default=0.0) > quota.amount
        else:
            over = any(_over(quota, window) for window in _windows(rows, quota))
        if over:
            found.append(f"{name}: {quota.name} {quota.refill} {quota.amount:g} exceeded")
    if limits.concurrency is not None and _crowded(held, everybody) > limits.concurrency:
        found.append(f"{name}: {_crowded(held, everybody)} calls in flight")
    return found


def _windows(rows: list[tuple[float, float]], quota: Any) -> Any:
    """Every run of leases, as seconds and the sum of its charges; for a rolling quota those within one period."""
    for first, (start, _) in enumerate(rows):
        total = 0.0
        for at, amount in itertools.islice(rows, first, None):
            if quota.refill == "rolling" and at - start >= quota.period - 1e-9:
                break
            total += amount
            yield at - start, total


def _over(quota: Any, window: tuple[float, float]) -> bool:
    seconds, total = window
    if quota.refill == "rolling":
        return bool(total > quota.amount)
    return bool(total > quota.capacity + seconds * quota.amount / quota.period + 1e-6)


def _crowded(held: list[Held], everybody: list[Held]) -> int:
    """The most that were in flight at once, counted when one of them began."""
    lasting = [one for one in held if one.ended > one.lease.at]
    return max((sum(two.lease.at <= one.lease.at < two.ended for two in lasting) for one in lasting), default=0)


def storm(number: int) -> list[str]:
    """Play one, and tell what was wrong."""
    one = Storm(number)
    fire = Dispatcher._on_timer

    def counted(self: Dispatcher) -> None:
        one.firings[self.clock()] += 1
        fire(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatcher, "_on_timer", counted)
        virtual_time.run(checked(one))
    return one.strange


async def checked(one: Storm) -> None:
    """Play it, and look while its loop is still there."""
    await one.play()
    one.strange += one.left_over() + one.broken()


@pytest.mark.parametrize("number", [980, 2160, 2328, 4396])
def test_storms_that_once_did_harm(number: int) -> None:
    """Waiters stood in line twice after a change of their chain; a configured quota was taken for a stated one."""
    assert storm(number) == []


@pytest.mark.parametrize("batch", range(BATCHES))
def test_storms(batch: int) -> None:
    """No quota is exceeded in any window, everybody is served or told why not, nothing is left, nothing hangs."""
    for number in range(batch * STORMS, (batch + 1) * STORMS):
        try:
            strange = storm(number)
        except Exception as error:
            raise AssertionError(f"storm({number})") from error
        assert strange == [], f"storm({number})"
