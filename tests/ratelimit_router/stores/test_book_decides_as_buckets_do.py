"""For one process without bookings, a book decides what the buckets in its memory would: same grants, same instants.

A book reckons in whole microseconds and rounds against the asker: it may be late by one for every charge that an even
refill has not brought back yet. All instants here are multiples of 1/64 s, so that seconds are exact on both sides.
"""

import random
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit_router.account import Account
from ratelimit_router.bucket import Charge
from ratelimit_router.limits import Limit, Limits, Quota, RefillDefaults
from ratelimit_router.stores.book import Book
from ratelimit_router.stores.local import LocalPages
from ratelimit_router.stores.terms import NOTHING, Amounts, Ask, End, Kind, Offer, Ration, Terms, Want
from tests.ratelimit_router.stores.contract import SECOND

TICK = SECOND // 64
NAMES = ("rpm", "input_tpm", "output_tpm", "tpm")
KINDS = {"continuous": Kind.CONTINUOUS, "rolling": Kind.ROLLING, "calendar": Kind.CALENDAR}


def next_reset(quota: Quota) -> Callable[[float], float]:
    """Aligned to the clock's zero."""
    return lambda now: (now // quota.period + 1) * quota.period


def account_of(limits: Limits, guard: float, pools: tuple[Account, ...] = (), name: str = "m") -> Account:
    """An account as a router has it in its memory."""
    return Account(
        name,
        limits,
        defaults=RefillDefaults(),
        now=0.0,
        rng=random.Random(0),
        next_reset=next_reset,
        day_reset=lambda now: now,
        pools=pools,
        guard=guard,
    )


def terms_of(name: str, limits: Limits, guard: float, now: int) -> Terms:
    """The same limits for a book."""
    return Terms(
        name=name,
        concurrency=limits.concurrency or 0,
        rations=tuple(
            Ration(
                name=one.name,
                unit=NAMES.index(one.name),
                kind=KINDS[one.refill],
                amount=int(one.amount),
                period=round(one.period * SECOND),
                capacity=int(one.capacity),
                ceiling=int(one.capacity),
                guard=round(guard * SECOND),
                opens=now // round(one.period * SECOND) * round(one.period * SECOND),
                closes=(now // round(one.period * SECOND) + 1) * round(one.period * SECOND),
            )
            for one in limits.quotas()
        ),
    )


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Any four quotas."""
    found: dict[str, Any] = {"concurrency": draw(st.sampled_from([None, None, 2]))}
    for name in NAMES:
        if amount := draw(st.sampled_from([0, 1, 3, 8, 15, 60])):
            refill = draw(st.sampled_from(sorted(KINDS)))
            burst = draw(st.sampled_from([None, max(amount // 2, 1)])) if refill == "continuous" else None
            found[name] = Limit(amount, per=draw(st.sampled_from([1.0, 8.0, 60.0])), refill=refill, burst=burst)
    return Limits(**found)


COSTS: st.SearchStrategy[Amounts] = st.builds(
    lambda inputs, outputs: (1, inputs, outputs, inputs + outputs), st.integers(0, 9), st.integers(0, 9)
)
WAIT = st.tuples(st.just("wait"), st.one_of(st.integers(0, 64), st.integers(0, 64 * 70)))
ASK = st.tuples(st.just("ask"), COSTS)
ENDING = st.tuples(st.just("end"), st.tuples(st.integers(0, 5), st.one_of(st.none(), st.just(NOTHING), COSTS)))


class Both:
    """One trace, decided twice."""

    def __init__(self, model: Limits, pool: Limits | None, guard: float):
        self.limits, self.pool_limits, self.guard = model, pool, guard
        self.pool = None if pool is None else account_of(pool, guard, name="p")
        self.account = account_of(model, guard, (self.pool,) if self.pool else ())
        self.accounts = [self.account, *([self.pool] if self.pool else [])]
        self.pages = LocalPages()
        self.now = 64 * SECOND  # a book begins at an instant later than 0
        self.calls: list[tuple[str, list[Charge], Amounts]] = []
        self.number = 0

    def wait(self, ticks: int) -> None:
        """Time goes by."""
        self.now += ticks * TICK

    def ask(self, cost: Amounts) -> None:
        """Ask both."""
        self.number += 1
        terms = [terms_of("m", self.limits, self.guard, self.now)]
        if self.pool_limits is not None:
            terms.append(terms_of("p", self.pool_limits, self.guard, self.now))
        want = Want(lease=f"{self.number}", cost=cost, within=0)
        ask = Ask(line="x", steps=((Offer(accounts=tuple(terms)),),), wants=(want,), lasts=10**12)
        answer = Book(self.pages, self.now).admit(ask)
        assert not answer.stale
        seconds = self.now / SECOND
        fits = self.account.fits(cost, seconds)
        late = 2 + self.number
        if answer.grants:
            assert fits or self.account.free_at(cost, seconds) * SECOND <= self.now + 0.5, "the book is too generous"
            charges = []
            for account in self.accounts:
                charge = Charge()
                account.start(charge, cost, seconds)
                charges.append(charge)
            self.calls.append((want.lease, charges, cost))
            return
        at = answer.denials[0].at
        if fits:
            assert at <= self.now + late, "the book is too strict"
            return
        wanted = self.account.free_at(cost, seconds)
        if wanted == float("inf"):
            assert at > 10**15
        elif self._guarded:
            assert at <= wanted * SECOND + late  # a reset does not tell what is spent of the next window already
        else:
            assert abs(at - wanted * SECOND) <= late, (at, wanted * SECOND)

    @property
    def _guarded(self) -> bool:
        quotas = [*self.limits.quotas(), *(self.pool_limits.quotas() if self.pool_limits else ())]
        return self.guard > 0 and any(one.refill == "calendar" for one in quotas)

    def end(self, index: int, cost: Amounts | None) -> None:
        """A call is over."""
        if not self.calls:
            return
        lease, charges, charged = self.calls.pop(-1 - index % len(self.calls))
        Book(self.pages, self.now).end([End(lease=lease, cost=cost)])
        for account, charge in zip(self.accounts, charges, strict=True):
            account.in_flight -= 1
            account.correct(charge, charged if cost is None else cost)


@settings(max_examples=250)
@given(
    model=limits(),
    pool=st.one_of(st.none(), limits()),
    guard=st.sampled_from([0.0, 0.0, 0.25]),
    steps=st.lists(st.one_of(ASK, ASK, WAIT, ENDING), min_size=1, max_size=50),
)
def test_a_book_decides_what_buckets_do(
    model: Limits, pool: Limits | None, guard: float, steps: list[tuple[str, Any]]
) -> None:
    """Grants are the same, and so are the instants that are named, to the microsecond or so."""
    both = Both(model, pool, guard)
    for name, argument in steps:
        getattr(both, name)(*(argument if name == "end" else (argument,)))
