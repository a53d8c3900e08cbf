"""Seen from outside, a book never lets out more than there is: the rules are reckoned anew here, from charges alone.

A call counts at its instant with what it was charged, or with what it really used if that is less; a booking that was
given up before its instant counts nothing. Debts count against whoever is admitted after them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import count
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ratelimit_router.stores.book import Book
from ratelimit_router.stores.local import LocalPages
from ratelimit_router.stores.terms import (
    NOTHING,
    Amounts,
    Answer,
    Ask,
    End,
    Grant,
    Incident,
    Kind,
    Offer,
    Ration,
    Terms,
    Want,
)
from tests.ratelimit_router.stores.contract import MINUTE, SECOND, START

UNITS = ("rpm", "in", "out", "tpm")
EPSILON = Fraction(1, 10**6)


@dataclass(slots=True)
class Call:
    """A lease, as its holder knows it."""

    grant: Grant
    accounts: tuple[str, ...]
    charged: Amounts
    expires: int
    cost: Amounts
    ended: bool = False

    @property
    def counted(self) -> Amounts:
        """What of it is the book's doing."""
        one, two, three, four = (min(pair) for pair in zip(self.charged, self.cost, strict=True))
        return one, two, three, four


@dataclass(slots=True)
class World:
    """A book, its clock, and an audit of all that it does."""

    models: tuple[Terms, ...]
    pool: Terms | None
    pages: LocalPages = field(default_factory=LocalPages)
    now: int = START
    calls: dict[str, Call] = field(default_factory=dict)
    indebted: bool = False
    numbers: Any = field(default_factory=count)

    @property
    def terms(self) -> dict[str, Terms]:
        """All accounts."""
        return {one.name: one for one in (*self.models, *([self.pool] if self.pool else []))}

    # -- steps of a trace ----------------------------------------------------------------------------------------------

    def wait(self, time: int) -> None:
        """Time goes by."""
        self.now += time

    def ask(self, first: int, costs: Sequence[Amounts], instead: int, lasts: int, within: int) -> None:
        """Ask for leases, from one model on."""
        order = self.models[first % len(self.models) :] + self.models[: first % len(self.models)]
        chain = tuple(
            (Offer(accounts=tuple(map(self._present, (one, self.pool) if self.pool else (one,)))),) for one in order
        )
        wants = tuple(Want(lease=f"{next(self.numbers)}", cost=cost, within=within) for cost in costs)
        old = self._call(instead) if instead >= 0 else None
        ask = Ask(
            line="line",
            steps=chain,
            wants=wants,
            lasts=lasts,
            instead=old.grant.lease if old else "",
        )
        closed = {name: Book(self.pages, self.now).look([name])[0].until for name in self.terms}
        if old and not old.ended and old.grant.at > self.now and wants:
            self._over(old, NOTHING)
        answer = Book(self.pages, self.now).admit(ask)
        self._audit_answer(answer, ask, closed)

    def _present(self, terms: Terms) -> Terms:
        def turned(one: Ration) -> Ration:
            opens = self.now // one.period * one.period
            return replace(one, opens=opens, closes=opens + one.period) if one.kind is Kind.CALENDAR else one

        return replace(terms, rations=tuple(map(turned, terms.rations)))

    def _call(self, index: int) -> Call | None:
        return list(self.calls.values())[-1 - index % len(self.calls)] if self.calls else None

    def _over(self, call: Call, cost: Amounts) -> None:
        call.cost, call.ended = cost, True
        self.indebted |= any(used > charged for used, charged in zip(cost, call.charged, strict=True))

    def end(self, index: int, cost: Amounts | None) -> None:
        """A call is over."""
        if (call := self._call(index)) is None:
            return
        Book(self.pages, self.now).end([End(lease=call.grant.lease, cost=cost)])
        if not call.ended:
            if call.grant.at > self.now and cost is not None and cost != NOTHING:
                self.indebted = True  # nobody can end a call before it has begun: reckoned like a debt
            self._over(call, call.cost if cost is None else cost)

    def renew(self, index: int) -> None:
        """A call is still in flight."""
        if (call := self._call(index)) is not None and not call.ended and call.expires > self.now:
            Book(self.pages, self.now).renew([call.grant.lease], 20 * SECOND)
            call.expires = max(self.now, call.grant.at) + 20 * SECOND

    def cool(self, index: int, lasts: int) -> None:
        """A call was rejected."""
        if (call := self._call(index)) is None or call.grant.at > self.now:
            return
        for name, epoch in zip(call.accounts, call.grant.epochs, strict=True):
            before = Book(self.pages, self.now).look([name])[0]
            found = Incident(
                account=name, epoch=epoch, lasts=lasts, extends=False, verdict=5 * SECOND, silence=True, note=""
            )
            page = Book(self.pages, self.now).cool(found)
            if page.epoch == before.epoch:
                continue
            for other in self.calls.values():
                if name in other.accounts and other.grant.at > self.now and not other.ended:
                    self._over(other, NOTHING)

    # -- the audit -----------------------------------------------------------------------------------------------------

    def _audit_answer(self, answer: Answer, ask: Ask, closed: dict[str, int]) -> None:
        costs = {want.lease: want.cost for want in ask.wants}
        for grant in answer.grants:
            offer = [one for step in ask.steps for one in step][grant.offer]
            names = tuple(one.name for one in offer.accounts)
            cost = costs[grant.lease]
            call = Call(grant, names, charged=cost, expires=grant.at + ask.lasts, cost=cost)
            self.calls[grant.lease] = call
            assert grant.at >= answer.now == self.now
            for terms in offer.accounts:
                assert grant.at >= closed[terms.name], "granted to a closed account"
                self._audit_concurrency(terms)
                for ration in terms.rations:
                    if amount := cost[ration.unit]:
                        self.indebted |= amount > ration.capacity  # larger than a careful guess: meant to leave a debt
                        self._audit_grant(terms.name, ration, min(amount, ration.capacity), call)

    def _audit_concurrency(self, terms: Terms) -> None:
        running = [
            one
            for one in self.calls.values()
            if terms.name in one.accounts and not one.ended and one.expires > self.now
        ]
        assert not terms.concurrency or len(running) <= terms.concurrency

    def _charges(self, name: str, unit: int) -> list[tuple[int, int, Call]]:
        found = [(one.grant.at, one.cost[unit], one) for one in self.calls.values() if name in one.accounts]
        return sorted(found, key=lambda one: (one[0], int(one[2].grant.lease)))

    def _audit_grant(self, name: str, ration: Ration, needed: int, call: Call) -> None:
        """With everything that is known now, debts included, there is room for it at its instant."""
        charges, at = self._charges(name, ration.unit), call.grant.at
        if ration.kind is Kind.ROLLING:
            period = ration.period + ration.guard
            used = sum(cost for instant, cost, one in charges if instant > at - period and one is not call)
            assert used + needed <= ration.capacity, (name, ration.name)
        elif ration.kind is Kind.CALENDAR:
            opens = at // ration.period * ration.period
            used = sum(
                cost for instant, cost, one in charges if opens <= instant < opens + ration.period and one is not call
            )
            assert used + needed <= ration.capacity, (name, ration.name)
        else:
            lowest = min(level for level, one in _levels(charges, ration) if one is call)
            debt = call.cost[ration.unit] - needed
            assert lowest + debt >= -EPSILON, (name, ration.name, float(lowest))

    def audit_all(self) -> None:
        """In the end: whatever was estimated well enough was never too much, in any window there is."""
        if self.indebted:
            return
        for name, terms in self.terms.items():
            for ration in terms.rations:
                calls = [one for one in self.calls.values() if name in one.accounts]
                charges = sorted((one.grant.at, one.counted[ration.unit]) for one in calls)
                self._audit_windows(name, ration, charges)

    def _audit_windows(self, name: str, ration: Ration, charges: list[tuple[int, int]]) -> None:
        for first, (begin, _) in enumerate(charges):
            if ration.kind is Kind.CALENDAR:
                end = begin // ration.period * ration.period + ration.period
                total = sum(cost for at, cost in charges if end - ration.period <= at < end)
                assert total <= ration.capacity, (name, ration.name)
            elif ration.kind is Kind.ROLLING:
                total = sum(cost for at, cost in charges[first:] if at < begin + ration.period + ration.guard)
                assert total <= ration.capacity, (name, ration.name)
            else:
                total = 0
                for at, cost in charges[first:]:
                    total += cost
                    there = ration.capacity + Fraction(ration.amount * (at - begin), ration.period)
                    assert total <= there + EPSILON, (name, ration.name)


def _levels(charges: Iterable[tuple[int, int, Call]], ration: Ration) -> Iterable[tuple[Fraction, Call]]:
    """What is left of an even refill after each charge, exactly."""
    level, last = Fraction(ration.capacity), 0
    for at, cost, one in charges:
        level = min(level + Fraction(ration.amount * (at - last), ration.period), Fraction(ration.capacity)) - cost
        last = at
        yield level, one


@st.composite
def rations(draw: st.DrawFn, *, careful: bool) -> tuple[Ration, ...]:
    """Up to four quotas of any kind, in any unit."""
    found = []
    for unit, name in enumerate(UNITS):
        amount, kind = draw(st.sampled_from([0, 1, 3, 7, 13])), draw(st.sampled_from(Kind))
        if not amount:
            continue
        period = draw(st.sampled_from([SECOND, 10 * SECOND, MINUTE]))
        capacity = draw(st.sampled_from([amount, max(amount // 2, 1)])) if kind is Kind.CONTINUOUS else amount
        ceiling = capacity + draw(st.sampled_from([0, 3])) if careful else capacity
        guard = draw(st.sampled_from([0, 0, SECOND // 2]))
        found.append(
            Ration(
                name=name,
                unit=unit,
                kind=kind,
                amount=amount,
                period=period,
                capacity=capacity,
                ceiling=ceiling,
                guard=guard,
            )
        )
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn, *, careful: bool = False) -> World:
    """One or two models, with a pool or without."""

    def terms(name: str) -> Terms:
        return Terms(name=name, rations=draw(rations(careful=careful)), concurrency=draw(st.sampled_from([0, 0, 1, 3])))

    models = ("a", "b")[: draw(st.integers(1, 2))]
    return World(models=tuple(map(terms, models)), pool=terms("p") if draw(st.booleans()) else None)


TOKENS = st.integers(0, 7)
COSTS: st.SearchStrategy[Amounts] = st.tuples(st.just(1), TOKENS, TOKENS, TOKENS)
LESS: st.SearchStrategy[Amounts | None] = st.one_of(
    st.none(), st.just(NOTHING), st.tuples(st.integers(0, 1), st.just(0), st.just(0), st.integers(0, 1))
)
TIME = st.one_of(
    st.sampled_from([0, 1, SECOND // 2, SECOND, 5 * SECOND, 10 * SECOND, MINUTE]), st.integers(0, 20 * SECOND)
)
INDEX = st.integers(0, 7)


def _steps(ends: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    ask = st.tuples(
        st.just("ask"),
        st.integers(0, 1),
        st.lists(COSTS, min_size=1, max_size=3),
        st.integers(-6, 5),
        st.sampled_from([SECOND, 20 * SECOND, 20 * SECOND]),
        st.sampled_from([0, MINUTE, 5 * MINUTE]),
    )
    wait, end = st.tuples(st.just("wait"), TIME), st.tuples(st.just("end"), INDEX, ends)
    rare = st.one_of(st.tuples(st.just("renew"), INDEX), st.tuples(st.just("cool"), INDEX, TIME))
    return st.lists(st.one_of(ask, ask, ask, wait, wait, end, end, rare), min_size=1, max_size=50)


def play(world: World, steps: Iterable[tuple[Any, ...]]) -> World:
    """Take each step; every grant is audited."""
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.audit_all()
    return world


@settings(max_examples=400)
@given(world=worlds(), steps=_steps(LESS))
def test_no_window_ever_lets_out_more_than_its_quota(world: World, steps: list[tuple[Any, ...]]) -> None:
    """Under refunds, exchanged and cancelled bookings, cooldowns and expiry: every window of every dimension holds."""
    play(world, steps)


@settings(max_examples=400)
@given(world=worlds(careful=True), steps=_steps(st.one_of(LESS, COSTS)))
def test_nobody_is_admitted_before_a_debt_is_back(world: World, steps: list[tuple[Any, ...]]) -> None:
    """Calls that used more than they were charged count in full against whoever comes after them."""
    play(world, steps)


EVEN = Terms(
    name="a",
    rations=(Ration(name="tpm", unit=3, kind=Kind.CONTINUOUS, amount=60, period=MINUTE, capacity=9, ceiling=9),),
)
ASK_EVEN = st.tuples(
    st.just("ask"),
    st.just(0),
    st.lists(st.tuples(st.just(1), st.just(0), st.just(0), st.integers(1, 9)), min_size=1, max_size=2),
    st.integers(-3, 1),
    st.just(60 * SECOND),
    st.sampled_from([0, 0, MINUTE]),
)
END_EVEN = st.tuples(
    st.just("end"), st.integers(0, 4), st.sampled_from([NOTHING, NOTHING, (1, 0, 0, 1), (1, 0, 0, 4), None])
)
WAIT_EVEN = st.tuples(st.just("wait"), st.one_of(st.integers(1, 9).map(lambda one: one * SECOND), TIME))
SECOND_CALL = ("ask", 0, [(1, 0, 0, 7)], -1, 60 * SECOND, 0)


@settings(max_examples=400)
@given(steps=st.lists(st.one_of(ASK_EVEN, ASK_EVEN, END_EVEN, WAIT_EVEN), min_size=4, max_size=30))
@example(steps=[("ask", 0, [(1, 0, 0, 7)] * 3, -1, 20 * SECOND, MINUTE), ("end", 2, NOTHING), ("end", 0, NOTHING)])
@example(steps=[SECOND_CALL, ("wait", 8 * SECOND), SECOND_CALL, ("end", 1, NOTHING), SECOND_CALL])
@example(  # the first refund takes all that can be given back of what came before the second call
    steps=[
        ("ask", 0, [(1, 0, 0, 3), (1, 0, 0, 3)], -1, 60 * SECOND, 0),
        ("wait", 4 * SECOND),
        SECOND_CALL,
        *[("end", 2, NOTHING), ("end", 1, NOTHING), ("ask", 0, [(1, 0, 0, 4)], -1, 60 * SECOND, 0)],
    ]
)
def test_an_even_refill_never_gives_back_what_has_come_back_by_itself(steps: list[tuple[Any, ...]]) -> None:
    """Refunds of calls long ago, of bookings, and of calls before other bookings."""
    play(World(models=(EVEN,), pool=None), steps)


ASK_PLACE = st.tuples(
    st.just("ask"),
    st.integers(0, 1),
    st.lists(st.just((1, 0, 0, 0)), min_size=1, max_size=3),
    st.integers(-6, 2),
    st.sampled_from([SECOND, 5 * SECOND]),
    st.sampled_from([0, MINUTE]),
)


@settings(max_examples=200)
@given(
    places=st.integers(1, 2),
    steps=st.lists(
        st.one_of(
            ASK_PLACE,
            ASK_PLACE,
            st.tuples(st.just("end"), INDEX, st.sampled_from([NOTHING, None])),
            st.tuples(st.just("renew"), INDEX),
            st.tuples(st.just("wait"), st.sampled_from([1, SECOND, 3 * SECOND, 20 * SECOND])),
        ),
        min_size=4,
        max_size=30,
    ),
)
def test_no_more_calls_are_in_flight_than_there_are_places(places: int, steps: list[tuple[Any, ...]]) -> None:
    """Whatever expires, is renewed in time, ends, or ends after it has expired: a place is given back once."""
    rpm = Ration(name="rpm", unit=0, kind=Kind.ROLLING, amount=5, period=10 * SECOND, capacity=5, ceiling=5)
    models = (Terms(name="a", concurrency=places, rations=(rpm,)), Terms(name="b", concurrency=1))
    play(World(models=models, pool=Terms(name="p", concurrency=places)), steps)
