"""A store of which it is known that it has forgotten something: nothing is full until it must have come back."""

import pytest

from ratelimit_router.stores.book import GRACE, Book
from ratelimit_router.stores.local import LocalPages
from ratelimit_router.stores.terms import Answer, Ask, Offer, Want, Why
from tests.ratelimit_router.stores.contract import (
    DAY,
    LASTS,
    MINUTE,
    SECOND,
    START,
    calendar,
    continuous,
    model,
    new_lease,
    record,
    rolling,
)


def admit(pages: LocalPages, offer: Offer, now: int, cost: int = 1) -> Answer:
    """Ask for one lease, without a booking."""
    want = Want(lease=new_lease(), cost=(cost, 0, 0, 0), within=0)
    return Book(pages, now).admit(Ask(line="line", steps=((offer,),), wants=(want,), lasts=LASTS))


@pytest.mark.parametrize(("quota", "wait"), [(rolling(3), MINUTE), (continuous(60, capacity=3), 3 * SECOND + 1)])
def test_a_blank_account_is_empty_as_of_its_birth(quota: object, wait: int) -> None:
    """Not a microsecond before everything that may have been spent is back, the whole capacity is not there."""
    pages, offer = LocalPages(START, lost=True), model("m", quota)  # type: ignore[arg-type]
    assert admit(pages, offer, START, cost=3).denials[0].at == START + wait
    assert admit(pages, offer, START + wait - 1, cost=3).grants == ()
    assert len(admit(pages, offer, START + wait, cost=3).grants) == 1


@pytest.mark.parametrize("lost", [True, False])
def test_a_day_of_a_blank_account_is_used_up_only_if_something_was_lost(lost: bool) -> None:
    """A store that is begun for the first time waits a minute, not a day."""
    pages, offer = LocalPages(START + SECOND, lost=lost), model("m", calendar(3, period=DAY))
    answer = admit(pages, offer, START + SECOND)
    assert bool(answer.grants) != lost
    if lost:
        assert answer.denials[0].at == START + DAY
    tomorrow = model("m", calendar(3, period=DAY, opens=START + DAY, closes=START + 2 * DAY))
    assert len(admit(pages, tomorrow, START + DAY, cost=3 if lost else 1).grants) == 1


def test_a_window_that_opened_after_the_birth_is_whole() -> None:
    """What was spent before it opened does not count in it."""
    assert admit(LocalPages(START - 1, lost=True), model("m", calendar(3)), START, cost=3).grants


def test_calls_in_flight_are_waited_for_to_be_told() -> None:
    """A limit of calls in flight admits nobody until every process has had time to restate its own."""
    pages, offer = LocalPages(START, lost=True), model("m", concurrency=1)
    denied = admit(pages, offer, START).denials[0]
    assert (denied.why, denied.at) == (Why.CONCURRENCY, START + GRACE)
    Book(pages, START + SECOND).restate([record("old", "m", at=START - SECOND)])
    assert admit(pages, offer, START + GRACE).grants == ()
    assert Book(pages, START + LASTS).renew([], 1) == ()
    assert len(admit(pages, offer, START + LASTS).grants) == 1


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("quota", [rolling(3), continuous(3), calendar(3, period=DAY)])
def test_what_is_restated_after_the_birth_counts_besides(quota: object, first: bool) -> None:
    """A booking that was restated is charged for its instant, whether its gauge was there before or not."""
    pages, offer = LocalPages(START, lost=False), model("m", quota)  # type: ignore[arg-type]
    if first:
        admit(pages, offer, START, cost=9)
    Book(pages, START).restate([record("booked", "m", at=START + 59 * SECOND, cost=(2, 0, 0, 0))])
    assert admit(pages, offer, START + 61 * SECOND, cost=2).grants == ()
    assert len(admit(pages, offer, START + 61 * SECOND, cost=1).grants) == 1
