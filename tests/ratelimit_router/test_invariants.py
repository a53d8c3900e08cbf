"""The invariants of the router, each under its own name, on random traces of the real one."""

import asyncio
import contextlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ratelimit_router import (
    Kind,
    Lease,
    Limit,
    Limits,
    Model,
    NoCapacity,
    Outcome,
    Pool,
    RequestTooLarge,
    Router,
    RouterClosed,
    RouterError,
    Tier,
    UnknownTier,
    Usage,
)
from ratelimit_router.dispatch import Dispatcher
from ratelimit_router.simulation import virtual_time

PERIOD, WALL = (
    60.0,
    1_790_000_040.0,
)  # a whole number of minutes: calendar windows begin at multiples of 60 on our clock
KINDS = ("continuous", "rolling", "calendar")
UNITS = {"rpm": 0, "input_tpm": 1, "output_tpm": 2, "tpm": 3}


@dataclass
class Trace:
    """A router on a clock that is set by hand, and everything it ever admitted."""

    router: Router
    models: list[Model]
    pools: list[Pool]
    now: list[float]
    leases: list[tuple[Lease, float, tuple[float, ...]]] = field(default_factory=list)  # with instant and charge
    used: dict[int, tuple[float, ...]] = field(default_factory=dict)  # lease -> what it came to, if that is less


def limits_of(refills: tuple[str, ...], amounts: tuple[int, ...]) -> Limits:
    """One limit for each unit; 0 leaves it out."""
    named = zip(UNITS, amounts, refills, strict=True)
    return Limits(**{name: Limit(amount, refill=refill) for name, amount, refill in named if amount})  # type: ignore[arg-type]


LIMITS = st.builds(
    limits_of,
    st.tuples(*[st.sampled_from(KINDS)] * 4),
    st.tuples(st.integers(0, 6), st.sampled_from([0, 30, 64]), st.sampled_from([0, 30, 64]), st.sampled_from([0, 70])),
)
OUTCOMES = [
    Outcome(kind=Kind.RATE_LIMITED, retry_after=7.0, quota="rpm"),
    Outcome(kind=Kind.RATE_LIMITED),
    Outcome(kind=Kind.RATE_LIMITED, quota="p.rpm", retry_after=2.5),
    Outcome(kind=Kind.RATE_LIMITED, quota="input_tpm", limit=20.0, retry_after=0.1),
    Outcome(kind=Kind.OVERLOADED),
    Outcome(kind=Kind.OVERLOADED, retry_after=3.0),
    *(Outcome(kind=kind) for kind in (Kind.BAD_REQUEST, Kind.BAD_RESPONSE, Kind.TIMEOUT, Kind.NOT_SENT)),
    *(Outcome(kind=kind) for kind in (Kind.CANCELLED, Kind.UNKNOWN)),
]
ASK = st.tuples(st.just("ask"), st.integers(0, 30), st.integers(0, 30))
STEPS = st.lists(
    st.one_of(
        ASK,
        ASK,
        ASK,
        st.tuples(st.just("wait"), st.floats(0, 45), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 1.0, 30.0, 60.0, 61.0]), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 99), st.integers(0, 60)),
        st.tuples(st.just("cancel"), st.integers(0, 99), st.just(0)),
        st.tuples(st.just("fail"), st.integers(0, 99), st.integers(0, len(OUTCOMES) - 1)),
        st.tuples(st.just("look"), st.just(0), st.just(0)),
    ),
    max_size=50,
)


def begin(limits: list[Limits], pool: Limits) -> Trace:
    """The first two models share a pool."""
    models = [
        Model(name, limits=one, pools=("p",) if name in "ab" else ()) for name, one in zip("abc", limits, strict=False)
    ]
    now = [0.0]
    router = Router(
        models=models,
        tiers=[Tier("t", [model.name for model in models])],
        pools=[Pool("p", pool)],
        clock=lambda: now[0],
        wall_clock=lambda: WALL + now[0],
        rng=random.Random(0),
        slow_start=None,
    )
    return Trace(router, models, [Pool("p", pool)], now)


def play(trace: Trace, steps: list[tuple[str, float, float]]) -> Iterator[NoCapacity | None]:
    """Do each step; what was refused is handed out."""
    for what, one, two in steps:
        refused = None
        held = [entry for entry in trace.leases if id(entry[0]) not in trace.used]
        if what == "wait":
            trace.now[0] += one
        elif what == "look":
            trace.router.snapshot()
        elif what == "ask":
            try:
                lease = trace.router.route_nowait("t", tokens=Usage(int(one), int(two)))
            except NoCapacity as error:
                refused = error
            except RequestTooLarge:
                pass
            else:
                trace.leases.append((lease, trace.now[0], (1.0, one, two, one + two)))
        elif held:
            end(trace, held[int(one) % len(held)], what, two)
        yield refused


def end(trace: Trace, entry: tuple[Lease, float, tuple[float, ...]], what: str, number: float) -> None:
    lease, _, charged = entry
    trace.used[id(lease)] = charged
    if what == "settle":
        lease.settle(input_tokens=number, output_tokens=60 - number)
        trace.used[id(lease)] = tuple(map(min, charged, (1.0, number, 60 - number, 60.0)))
    elif what == "cancel":
        lease.cancel()
        trace.used[id(lease)] = (0.0,) * 4
    else:
        lease.fail(OUTCOMES[int(number)])
        if OUTCOMES[int(number)].kind is Kind.NOT_SENT:
            trace.used[id(lease)] = (0.0,) * 4


def check_windows(spends: list[tuple[float, float]], limit: Limit) -> None:
    """Never more in any window than this refill allows."""
    amount = limit.amount
    for index, (last, _) in enumerate(spends):
        until = spends[: index + 1]
        if limit.refill == "rolling":
            assert sum(spent for at, spent in until if at + PERIOD > last) <= amount
        elif limit.refill == "calendar":
            assert sum(spent for at, spent in until if at // PERIOD == last // PERIOD) <= amount
        else:
            for first, _ in until:
                allowed = amount * (1 + (last - first) / PERIOD)
                assert sum(spent for at, spent in until if at >= first) <= allowed * (1 + 1e-9) + 1e-6


def check_admitted(trace: Trace) -> None:
    """Every dimension of every model and pool."""
    owners: list[tuple[set[str], Limits]] = [({model.name}, model.limits) for model in trace.models]
    owners += [({"a", "b"}, pool.limits) for pool in trace.pools]
    for names, limits in owners:
        for quota, unit in UNITS.items():
            if (limit := getattr(limits, quota)) is not None:
                used = [
                    (at, trace.used.get(id(one), cost)[unit])
                    for one, at, cost in trace.leases
                    if one.model.name in names
                ]
                check_windows(used, limit)


@settings(max_examples=250)
@given(limits=st.lists(LIMITS, min_size=1, max_size=3), pool=LIMITS, steps=STEPS)
@example(  # refunded after it had come back by itself
    limits=[Limits(input_tpm=Limit(30, refill="continuous"))],
    pool=Limits(),
    steps=[
        ("ask", 30, 0), ("look", 0, 0), ("wait", 60.0, 0), ("ask", 30, 0), ("look", 0, 0),
        ("cancel", 0, 0), ("ask", 30, 0),
    ],
)  # fmt: skip
def test_invariant_1_never_more_in_a_window_than_the_refill_allows(
    limits: list[Limits], pool: Limits, steps: list[tuple[str, float, float]]
) -> None:
    """For every dimension, model and pool, whatever is settled, refunded, refused or cooled in between."""
    trace = begin(limits, pool)
    for _ in play(trace, steps):
        pass
    check_admitted(trace)


@settings(max_examples=250)
@given(limits=st.lists(LIMITS, min_size=1, max_size=3), pool=LIMITS, steps=STEPS, last=ASK)
@example(  # larger than what is left of a burst that was cut
    limits=[Limits(tpm=Limit(70, refill="continuous"))],
    pool=Limits(),
    steps=[("ask", 0, 0), ("fail", 0, 1)],
    last=("ask", 0, 18),
)
def test_invariant_2_not_before_the_advertised_instant_but_exactly_at_it(
    limits: list[Limits], pool: Limits, steps: list[tuple[str, float, float]], last: tuple[str, int, int]
) -> None:
    """`retry_at` of a refusal: refused again at the float just below it, admitted at it."""
    trace = begin(limits, pool)
    for _ in play(trace, steps):
        pass
    usage = Usage(last[1], last[2])
    for _ in range(40):
        try:
            trace.router.route_nowait("t", tokens=usage)
        except NoCapacity as error:
            retry_at = error.retry_at
            if math.isinf(retry_at):
                return
            trace.now[0] = max(math.nextafter(retry_at, -math.inf), trace.now[0])
            with pytest.raises(NoCapacity):
                trace.router.route_nowait("t", tokens=usage)
            trace.now[0] = retry_at
            assert trace.router.eta("t", tokens=usage) == 0.0
            trace.router.route_nowait("t", tokens=usage)
        except RequestTooLarge:
            return


def state(router: Router) -> tuple[Any, ...]:
    """Everything that a denial must leave alone."""
    now = router.snapshot()
    buckets = [
        {name: getattr(bucket, name) for name in bucket.__slots__ if name not in ("_coming", "_next_reset")}
        for account in (*router._dispatcher.accounts.values(), *router._dispatcher.pools.values())
        for bucket in account.buckets
    ]
    return now.models, now.pools, now.routes, repr(buckets), [tier.queued for tier in now.tiers.values()]


@settings(max_examples=150)
@given(limits=st.lists(LIMITS, min_size=1, max_size=3), pool=LIMITS, steps=STEPS)
def test_invariant_3_a_denial_mutates_nothing(
    limits: list[Limits], pool: Limits, steps: list[tuple[str, float, float]]
) -> None:
    """Refused once or many times: no bucket, count, cooldown or line changes."""
    trace = begin(limits, pool)
    for refused in play(trace, steps):
        if refused is not None:
            ask = Usage(30, 30)
            before = state(trace.router)
            for _ in range(3):
                deny(trace.router, ask)
            assert state(trace.router) == before


def deny(router: Router, usage: Usage) -> None:
    """Ask in vain."""
    for ask in (router.route_nowait, router.eta):
        with contextlib.suppress(NoCapacity, RequestTooLarge):
            assert ask("t", tokens=usage) == pytest.approx(router.eta("t", tokens=usage)) != 0.0


@given(
    ends=st.lists(st.sampled_from(["settle", "cancel", "fail"]), min_size=2, max_size=5),
    first=st.integers(0, len(OUTCOMES) - 1),
    second=st.integers(0, len(OUTCOMES) - 1),
)
def test_invariant_3_a_lease_ends_once(ends: list[str], first: int, second: int) -> None:
    """Whatever comes after the first settle, fail or cancel changes nothing."""
    trace = begin([Limits(rpm=5, tpm=100)], Limits(rpm=5))
    lease = trace.router.route_nowait("t", tokens=30)
    outcomes = iter([first, *[second] * 5])

    def finish(how: str) -> None:
        number = next(outcomes)
        if how == "settle":
            lease.settle(input_tokens=20 + number)
        elif how == "cancel":
            lease.cancel()
        else:
            lease.fail(OUTCOMES[number])

    finish(ends[0])
    before = state(trace.router)
    for how in ends[1:]:
        finish(how)
    assert state(trace.router) == before


@given(steps=st.lists(st.tuples(st.sampled_from(["ask", "settle", "cancel", "fail"]), st.integers(0, 30)), max_size=30))
def test_invariant_3_charged_is_used_and_refunded_and_in_flight(steps: list[tuple[str, int]]) -> None:
    """Within one period nothing comes back: what is missing is what was used or is still held, in every unit."""
    big = limits_of(("rolling", "continuous", "calendar", "rolling"), (1_000, 10_000, 10_000, 20_000))
    trace = begin([big], big)
    kept: list[Any] = []
    held: list[tuple[Lease, int]] = []
    for what, number in steps:
        if what == "ask":
            held.append((trace.router.route_nowait("t", tokens=Usage(number, 2)), number))
        elif held:
            lease, charged = held.pop(number % len(held))
            if what == "settle":
                lease.settle(input_tokens=number + 3, output_tokens=1)
                kept.append((number + 3, 1))
            elif what == "cancel":
                lease.cancel()
            else:
                lease.fail(Outcome(kind=Kind.UNKNOWN))
                kept.append((charged, 2))
    used = kept + [(charged, 2) for _, charged in held]
    now = trace.router.snapshot()
    assert now.models["a"].in_flight == now.pools["p"].in_flight == len(held)
    for quotas in (now.models["a"].quotas, now.pools["p"].quotas):
        assert 1_000 - quotas["rpm"].remaining == len(used)
        assert 10_000 - quotas["input_tpm"].remaining == pytest.approx(sum(one for one, _ in used))
        assert 10_000 - quotas["output_tpm"].remaining == sum(two for _, two in used)
        assert 20_000 - quotas["tpm"].remaining == sum(map(sum, used))


@settings(max_examples=150)
@given(
    limits=st.lists(LIMITS, min_size=2, max_size=2),
    pools=st.lists(LIMITS, min_size=2, max_size=2),
    steps=STEPS,
    changes=st.sets(st.integers(0, 49)),
    back=st.sets(st.integers(0, 49)),
)
@example(  # a lease from before a quota was configured is given back
    limits=[Limits(rpm=5), limits_of(("rolling", "calendar", "rolling", "calendar"), (5, 30, 30, 70))],
    pools=[Limits(), Limits()],
    steps=[("ask", 20, 20), ("wait", 1.0, 0), ("cancel", 0, 0), ("look", 0, 0)],
    changes={1},
    back=set(),
)
def test_invariant_4_never_more_than_the_capacity(
    limits: list[Limits], pools: list[Limits], steps: list[tuple[str, float, float]], changes: set[int], back: set[int]
) -> None:
    """Refunds, debts, a clock that runs backwards and changed limits: no bucket ever shows more than there can be."""
    trace = begin(limits[:1], pools[0])
    for index, _ in enumerate(play(trace, steps)):
        if index in back:
            trace.now[0] -= 20.0
        if index in changes:
            turn = index % 2
            models = [Model("a", limits=limits[turn], pools=("p",) if index % 3 else ())]
            trace.router.reconfigure(models=models, pools=[Pool("p", pools[turn])])
        now = trace.router.snapshot()
        for one in (*now.models.values(), *now.pools.values()):
            assert one.in_flight >= 0
            for quota in one.quotas.values():
                assert quota.remaining <= quota.capacity <= quota.configured
    for entry in [entry for entry in trace.leases if id(entry[0]) not in trace.used]:
        end(trace, entry, "settle", 5)
    now = trace.router.snapshot()
    assert all(one.in_flight == 0 for one in (*now.models.values(), *now.pools.values()))


# -- 6: decides like a slow model that is obviously right ----------------------------------------------------------


@dataclass
class Slow:
    """Every charge in a list; every decision recomputed from all of them."""

    models: list[Model]
    pools: list[Pool]
    charges: list[list[Any]] = field(default_factory=list)  # [instant, model, cost], corrected in place

    def choose(self, cost: tuple[float, ...], now: float) -> str | None:
        """The first model of the chain whose every quota, and whose pools' every quota, has room."""
        return next((model.name for model in self.models if self.fits(model, cost, now)), None)

    def fits(self, model: Model, cost: tuple[float, ...], now: float) -> bool:
        owners = [({model.name}, model.limits)]
        if model.pools:
            owners.append(({"a", "b"}, self.pools[0].limits))
        return all(
            cost[unit] <= self.left(getattr(limits, quota), names, unit, now)
            for names, limits in owners
            for quota, unit in UNITS.items()
            if getattr(limits, quota) is not None
        )

    def left(self, limit: Limit, names: set[str], unit: int, now: float) -> float:
        spends = [(at, cost[unit]) for at, name, cost in self.charges if name in names]
        if limit.refill == "rolling":
            return limit.amount - sum(spent for at, spent in spends if at + PERIOD > now)
        if limit.refill == "calendar":
            return limit.amount - sum(spent for at, spent in spends if at // PERIOD == now // PERIOD)
        missing, last, rate = 0.0, 0.0, limit.amount / PERIOD
        for at, spent in spends:
            missing, last = max(missing - (at - last) * rate, 0.0) + spent, at
        return limit.amount - max(missing - (now - last) * rate, 0.0)


EXACT = st.builds(  # amounts by which continuous refills are exact in floats at quarters of a second
    limits_of,
    st.tuples(*[st.sampled_from(KINDS)] * 4),
    st.tuples(
        st.sampled_from([0, 4, 15]), st.sampled_from([0, 30, 60]), st.sampled_from([0, 60]), st.sampled_from([0, 60])
    ),
)


@settings(max_examples=250)
@given(
    limits=st.lists(EXACT, min_size=1, max_size=3),
    pool=EXACT,
    steps=st.lists(
        st.one_of(
            ASK,
            ASK,
            st.tuples(st.just("wait"), st.integers(0, 260).map(lambda quarters: quarters / 4), st.just(0)),
            st.tuples(st.just("settle"), st.integers(0, 99), st.just(0)),
            st.tuples(st.just("cancel"), st.integers(0, 99), st.just(0)),
            st.tuples(st.just("look"), st.just(0), st.just(0)),
        ),
        max_size=60,
    ),
)
def test_invariant_6_decides_like_a_slow_and_obviously_right_model(
    limits: list[Limits], pool: Limits, steps: list[tuple[str, float, float]]
) -> None:
    """The same model chosen, or nothing, at every step; after refunds and smaller usage, too."""
    trace = begin(limits, pool)
    slow = Slow(trace.models, trace.pools)
    open_charges: list[tuple[Lease, list[Any]]] = []
    for what, one, two in steps:
        if what == "wait":
            trace.now[0] += one
        elif what == "look":
            trace.router.snapshot()
        elif what == "ask":
            cost = (1.0, one, two, one + two)
            expected = slow.choose(cost, trace.now[0])
            try:
                lease = trace.router.route_nowait("t", tokens=Usage(int(one), int(two)))
            except (NoCapacity, RequestTooLarge):
                assert expected is None
            else:
                assert lease.model.name == expected
                slow.charges.append([trace.now[0], expected, cost])
                open_charges.append((lease, slow.charges[-1]))
        elif open_charges:
            lease, charge = open_charges.pop(int(one) % len(open_charges))
            inputs, outputs = charge[2][1] // 2, charge[2][2] // 3
            if what == "settle":
                lease.settle(input_tokens=inputs, output_tokens=outputs)
                charge[2] = (1.0, inputs, outputs, inputs + outputs)
            else:
                lease.cancel()
                charge[2] = (0.0, 0.0, 0.0, 0.0)


# -- 5 and 7: waiters and the timer ---------------------------------------------------------------------------------


def timers() -> int:
    """Timers of the router that will still fire."""
    handles = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    ours = [one for one in handles if getattr(one._callback, "__func__", None) is Dispatcher._on_timer]
    return sum(not one.cancelled() for one in ours)


LAST = [
    Outcome(kind=Kind.AUTH),
    Outcome(kind=Kind.BILLING),
    Outcome(kind=Kind.MODEL_GONE),
    Outcome(kind=Kind.RATE_LIMITED, limit=0.0, quota="rpd"),
    Outcome(kind=Kind.RATE_LIMITED, quota="rpd", retry_after=1.0),
]
INTERLEAVINGS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 11), st.integers(0, 60)),
        st.tuples(st.just("ask"), st.integers(0, 11), st.integers(0, 60)),
        st.tuples(st.just("now"), st.integers(0, 2), st.integers(0, 60)),
        st.tuples(st.just("wait"), st.sampled_from([0, 0, 0.1, 0.3, 5, 30, 60, 90]), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 99), st.integers(0, 80)),
        st.tuples(st.just("drop"), st.integers(0, 99), st.just(0)),
        st.tuples(st.just("fail"), st.integers(0, 99), st.integers(0, len(OUTCOMES + LAST) - 1)),
        st.tuples(st.just("change"), st.integers(0, 5), st.just(0)),
        st.tuples(st.sampled_from(["wait", "wait", "wait", "close"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class Crowd:
    """Tasks that wait on the real router, and what became of them."""

    def __init__(self, observed: bool):
        loop = asyncio.get_running_loop()
        self.events: list[Any] = []
        self.router = Router(
            **self.configuration(0),
            clock=loop.time,
            wall_clock=lambda: WALL + loop.time(),
            rng=random.Random(1),
            slow_start=4,
            observers=[self.events.append] if observed else [],
        )
        self.tasks: list[asyncio.Task[None]] = []
        self.held: list[Lease] = []
        self.served: dict[tuple[str, int, int], list[int]] = {}
        self.closed = False

    @staticmethod
    def configuration(turn: int) -> dict[str, Any]:
        """Six of them: other limits, chains, pools, tiers."""
        pools = ("p",) if turn % 2 else ()
        models = [
            Model(
                "a", limits=Limits(rpm=2 + turn, tpm=100, concurrency=1 + turn % 3), pools=pools, key="k", provider="x"
            ),
            Model("b", limits=Limits(rpm=Limit(3, refill="continuous"), rpd=500), pools=("p",), key="k", provider="x"),
            Model("c", limits=Limits(tpm=Limit(90, refill="calendar"), concurrency=2)),
        ]
        tiers = [Tier("hot", ["a", "b"], patience=20, weight=3), Tier("std", [("b", "c")])]
        tiers += [Tier("bulk", ["c", "a"], patience=math.inf)] if turn != 5 else []
        return {"models": models, "tiers": tiers, "pools": [Pool("p", Limits(rpm=4 + turn, concurrency=3))]}

    def ask(self, how: int, tokens: int) -> None:
        tier, priority = ("hot", "std", "bulk")[how % 3], how // 3 % 2
        timeout = (None, None, 45.0, 0.0)[how // 3 % 4]
        number = len(self.tasks)

        async def task() -> None:
            try:
                lease = await self.router.route(tier, tokens=tokens, priority=priority, timeout=timeout)
            except RouterError:
                return
            self.held.append(lease)
            self.served.setdefault((tier, priority, tokens), []).append(number)

        self.tasks.append(asyncio.ensure_future(task()))

    def step(self, what: str, one: float, two: float) -> None:
        if what == "ask":
            self.ask(int(one), int(two))
        elif what == "now":
            with contextlib.suppress(RouterError):
                self.held.append(self.router.route_nowait(("hot", "std", "bulk")[int(one)], tokens=int(two)))
        elif what == "drop" and self.tasks:
            self.tasks[int(one) % len(self.tasks)].cancel()
        elif what == "change":
            self.router.reconfigure(**self.configuration(int(one)))
        elif self.held and what in ("settle", "fail"):
            lease = self.held.pop(int(one) % len(self.held))
            lease.settle(input_tokens=two) if what == "settle" else lease.fail((OUTCOMES + LAST)[int(two)])

    def check(self) -> None:
        """At every step: at most one timer, and flags that tell the truth."""
        dispatcher = self.router._dispatcher
        assert timers() <= 1
        assert timers() == 0 or dispatcher.queue.length
        assert dispatcher.quiet == (
            not (dispatcher.queue.length or self.events or self.closed or dispatcher.herald.heard)
        )
        assert dispatcher.queue.length == sum(line.length for line in dispatcher.queue.lines)
        assert all(line.length for line in dispatcher.queue.lines)

    async def finish(self) -> None:
        """Settle whatever is granted until everybody has been served or refused."""
        self.router.reconfigure(**self.configuration(1))  # what was closed for good is tried again
        for _ in range(5_000):
            while self.held:
                self.held.pop().settle()
            if all(task.done() for task in self.tasks):
                return
            await asyncio.sleep(7.0)
            self.check()
        raise AssertionError("somebody waits for ever")


@settings(max_examples=200)
@given(steps=INTERLEAVINGS, observed=st.booleans())
def test_invariants_5_and_7_no_waiter_is_lost_and_one_timer_does(
    steps: list[tuple[str, float, float]], observed: bool
) -> None:
    """Any interleaving of asking, cancelling, settling, failing, reconfiguring and closing.

    Everybody is served, refused or gone in the end, in order; nothing is left in line, in flight or on the clock.
    """

    async def main() -> None:
        crowd = Crowd(observed)
        for what, one, two in steps:
            if what == "close":
                crowd.closed = True
                await crowd.router.aclose()
            elif what == "wait":
                await asyncio.sleep(one)
            else:
                crowd.step(what, one, two)
            crowd.check()
        await crowd.finish()
        await asyncio.gather(*crowd.tasks, return_exceptions=True)
        while crowd.held:
            crowd.held.pop().settle()
        assert timers() == 0
        dispatcher, now = crowd.router._dispatcher, crowd.router.snapshot()
        assert (dispatcher.queue.length, dispatcher.queue.lines, dispatcher.queue.next_alarm()) == (0, {}, math.inf)
        for one in (*now.models.values(), *now.pools.values()):
            assert one.in_flight == 0
        for account in dispatcher.accounts.values():
            assert account.granted == account.settled + account.failed
        assert dispatcher.quiet == (not observed and not crowd.closed)
        for numbers in crowd.served.values():  # equal requests of one tier and priority
            assert numbers == sorted(numbers) or any(what == "change" for what, _, _ in steps)

    virtual_time.run(main())


def test_invariant_7_no_timer_while_nobody_waits() -> None:
    """Cooldowns, probes, empty buckets: all of that needs no timer as long as nobody is in line."""

    async def main() -> None:
        crowd = Crowd(observed=False)
        for outcome in OUTCOMES:
            try:
                crowd.router.route_nowait("hot").fail(outcome)
            except NoCapacity:
                await asyncio.sleep(30.0)
            assert timers() == 0

    virtual_time.run(main())


def test_a_tier_that_is_gone_ends_its_waiters_only() -> None:
    """Everybody else keeps the place in line."""

    async def main() -> None:
        crowd = Crowd(observed=False)
        held = [crowd.router.route_nowait("bulk", tokens=45) for _ in range(2)]
        tasks = [
            asyncio.ensure_future(crowd.router.route(tier, tokens=60).__aenter__()) for tier in ("bulk", "std", "bulk")
        ]
        await asyncio.sleep(0)
        crowd.router.reconfigure(**crowd.configuration(5))
        for index in (0, 2):
            with pytest.raises(UnknownTier, match="bulk"):
                await tasks[index]
        for lease in held:
            lease.settle()
        (await tasks[1]).settle()
        await crowd.router.aclose()
        with pytest.raises(RouterClosed):
            await crowd.router.route("hot")

    virtual_time.run(main())
