"""Every store decides exactly as the one in this process does: same acts, same clock, same answers, pages and news."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ratelimit_router.clock import Clock
from ratelimit_router.stores.local import LocalStore
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.terms import (
    NOTHING,
    Amounts,
    Ask,
    End,
    Incident,
    Kind,
    Lesson,
    Offer,
    Ration,
    Record,
    Terms,
    Want,
)
from tests.ratelimit_router.stores.contract import MINUTE, SECOND, STORES, Desk

NAMES = ("model a", "model b", "pool")
QUOTAS = ("rpm", "in", "out", "tpm")
TIMES = st.sampled_from([0, 0, 1, 999_999, SECOND, 3 * SECOND + 7, 10 * SECOND, 31 * SECOND, MINUTE, 2 * MINUTE])
COSTS: st.SearchStrategy[Amounts] = st.tuples(st.just(1), st.integers(0, 8), st.integers(0, 8), st.integers(0, 16))


@st.composite
def rations(draw: st.DrawFn, now: int) -> tuple[Ration, ...]:
    """Quotas of one account, as one process may have configured them."""
    found = []
    for unit, name in enumerate(QUOTAS):
        if not draw(st.booleans()):
            continue
        amount, kind = draw(st.sampled_from([0, 1, 3, 7, 20])), draw(st.sampled_from(Kind))
        period = draw(st.sampled_from([SECOND, 10 * SECOND, MINUTE]))
        capacity = draw(st.sampled_from([amount, amount, max(amount // 2, 1)]))
        found.append(
            Ration(
                name=name if kind is Kind.ROLLING else f"{name} {kind.name}",
                unit=unit,
                kind=kind,
                amount=amount,
                period=period,
                capacity=capacity,
                ceiling=max(amount, capacity),
                guard=draw(st.sampled_from([0, 0, SECOND])),
                opens=now // period * period if kind is Kind.CALENDAR else 0,
                closes=now // period * period + period if kind is Kind.CALENDAR else 0,
            )
        )
    return tuple(found)


@st.composite
def chains(draw: st.DrawFn, now: int) -> tuple[tuple[Offer, ...], ...]:
    """One process's configuration of the accounts, and a chain of models, with the pool or without."""
    terms = {
        name: Terms(name=name, rations=draw(rations(now)), concurrency=draw(st.sampled_from([0, 0, 1, 2])))
        for name in NAMES
    }
    one, other = (
        Offer(accounts=tuple(terms[name] for name in (model, "pool")[: draw(st.integers(1, 2))])) for model in NAMES[:2]
    )
    return draw(st.sampled_from([((one,),), ((one,), (other,)), ((one, other),), ((other,), (one,))]))


class Alike(RuleBasedStateMachine):
    """The store in this process is the model; `others` have to say the same."""

    makers: dict[str, Callable[[Clock], SharedStore]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Desk(lambda clock: LocalStore(clock=clock), self.runner)
        self.others = {name: Desk(make, self.runner) for name, make in self.makers.items()}
        self.leases: list[str] = []
        self.asked: Ask | None = None
        self.epoch = dict.fromkeys(NAMES, 0)
        self.chain: tuple[tuple[Offer, ...], ...] = ()

    def same(self, act: Callable[[Desk], Any]) -> Any:
        """Do it everywhere, and demand the same answer, and the same news."""
        wanted = act(self.model)
        news = []
        while not self.model.unheard.empty():
            news.append(self.model.unheard.get_nowait())
        for name, desk in self.others.items():
            assert act(desk) == wanted, name
            assert [desk.news() for _ in news] == news, name
            assert desk.unheard.empty(), name
        return wanted

    def some_lease(self, data: st.DataObject) -> str:
        """Mostly one that is known."""
        return data.draw(st.sampled_from([*self.leases[-8:], "unknown"]), "lease")

    @initialize(data=st.data())
    def configure(self, data: st.DataObject) -> None:
        """The chain that most requests take."""
        self.renew_chain(data)

    @rule(data=st.data())
    def renew_chain(self, data: st.DataObject) -> None:
        """A process with another configuration."""
        self.chain = data.draw(chains(self.model.now), "chain")

    @rule(time=TIMES)
    def wait(self, time: int) -> None:
        """Time goes by, everywhere."""
        for desk in (self.model, *self.others.values()):
            desk.now += time

    @rule(data=st.data(), costs=st.lists(COSTS, max_size=3), line=st.sampled_from("xyz"))
    def admit(self, data: st.DataObject, costs: list[Amounts], line: str) -> None:
        """Ask, now and then with calls that have ended, or for something better than a booking."""
        wants = []
        for cost in costs:
            lease = f"lease {len(self.leases)}"
            self.leases.append(lease)
            wants.append(Want(lease=lease, cost=cost, within=data.draw(st.sampled_from([0, SECOND, 2 * MINUTE]))))
        ask = Ask(
            line=line,
            steps=_windows_at(self.chain, self.model.now),
            wants=tuple(wants),
            lasts=data.draw(st.sampled_from([SECOND, 30 * SECOND])),
            instead=data.draw(st.sampled_from(["", self.some_lease(data)])),
            ends=tuple(self.ends(data)) if data.draw(st.booleans()) else (),
            waits=data.draw(st.booleans()),
        )
        self.asked = ask
        self.same(lambda desk: desk.ask(ask))

    @rule(line=st.sampled_from(["", "z"]))
    def ask_again(self, line: str) -> None:
        """The answer was lost; or somebody else has taken over the line."""
        if self.asked is not None:
            ask = replace(self.asked, line=line or self.asked.line, waits=True)
            self.same(lambda desk: desk.ask(ask))

    def ends(self, data: st.DataObject) -> list[End]:
        """Ends of a few calls."""
        costs: st.SearchStrategy[Amounts | None] = st.one_of(st.none(), st.just(NOTHING), COSTS)
        return [
            End(lease=self.some_lease(data), cost=data.draw(costs), answered=data.draw(st.booleans()))
            for _ in range(data.draw(st.integers(1, 2)))
        ]

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """Calls are over."""
        ends = self.ends(data)
        self.same(lambda desk: desk.end(*ends))

    @rule(data=st.data(), lasts=st.sampled_from([SECOND, 30 * SECOND]))
    def renew(self, data: st.DataObject, lasts: int) -> None:
        """Calls are still in flight."""
        leases = [self.some_lease(data), self.some_lease(data)]
        self.same(lambda desk: desk.renew(*leases, lasts=lasts))

    @rule(data=st.data(), cost=COSTS, ago=st.integers(-3, 20), running=st.booleans())
    def restate(self, data: st.DataObject, cost: Amounts, ago: int, running: bool) -> None:
        """Somebody remembers a lease."""
        lease = data.draw(st.sampled_from([f"lease {len(self.leases)}", self.some_lease(data)]))
        self.leases.append(lease)
        accounts = data.draw(st.sampled_from([("model a",), ("model b", "pool")]))
        told = Record(
            lease=lease,
            line="x",
            accounts=accounts,
            epochs=(0,) * len(accounts),
            at=self.model.now - ago * SECOND,
            cost=cost,
            expires=self.model.now + 5 * SECOND,
            running=running,
            ended=not running,
        )
        self.same(lambda desk: desk.restate(told))

    @rule(
        name=st.sampled_from(NAMES),
        behind=st.integers(-1, 1),
        lasts=TIMES,
        extends=st.booleans(),
        verdict=TIMES,
        silence=st.booleans(),
    )
    def cool(self, name: str, behind: int, lasts: int, extends: bool, verdict: int, silence: bool) -> None:
        """A call was rejected, of this epoch, an earlier, or one that nobody knows."""
        found = Incident(
            account=name,
            epoch=max(self.epoch[name] - behind, 0),
            lasts=lasts,
            extends=extends,
            verdict=verdict,
            silence=silence,
            note=f"note {lasts}",
        )
        self.epoch[name] = self.same(lambda desk: desk.report(found)).epoch

    @rule(name=st.sampled_from(NAMES))
    def reopen(self, name: str) -> None:
        """The operator has changed something."""
        self.same(lambda desk: desk.reopen(name))

    @rule(
        name=st.sampled_from(NAMES),
        quota=st.sampled_from([*QUOTAS, "tpm CONTINUOUS"]),
        amount=st.sampled_from([0, 1, 2, 10]),
        version=st.integers(0, 2),
    )
    def teach(self, name: str, quota: str, amount: int, version: int) -> None:
        """Something was learned."""
        lesson = Lesson(account=name, quota=quota, version=version, amount=amount, capacity=amount, text="text")
        self.same(lambda desk: desk.teach(lesson))

    @invariant()
    def pages_are_the_same(self) -> None:
        """Everything that can be seen is equal."""
        self.same(lambda desk: desk.look(*NAMES))

    def teardown(self) -> None:
        """Close them all."""
        with contextlib.closing(self.runner):
            for desk in (self.model, *self.others.values()):
                desk.close()


def _windows_at(chain: tuple[tuple[Offer, ...], ...], now: int) -> tuple[tuple[Offer, ...], ...]:
    """The chain with the calendar windows that hold at that instant."""

    def turned(ration: Ration) -> Ration:
        if ration.kind is not Kind.CALENDAR:
            return ration
        opens = now // ration.period * ration.period
        return replace(ration, opens=opens, closes=opens + ration.period)

    def of_offer(offer: Offer) -> Offer:
        return Offer(accounts=tuple(replace(one, rations=tuple(map(turned, one.rations))) for one in offer.accounts))

    return tuple(tuple(map(of_offer, step)) for step in chain)


@pytest.mark.parametrize("name", sorted(STORES.keys() - {"local"}))
def test_every_store_decides_as_the_one_in_this_process(name: str, request: pytest.FixtureRequest) -> None:
    """Whatever is asked, in whatever order: equal answers, equal pages, equal news."""

    class Pair(Alike):
        makers = {name: lambda clock: STORES[name](request, clock)}  # noqa: RUF012 it is this test's own

    run_state_machine_as_test(
        Pair,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
