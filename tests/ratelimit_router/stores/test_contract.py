"""What every shared store promises, on every store there is, in virtual time."""

import pytest

from ratelimit_router.stores.terms import NEVER, NOTHING, Ask, Change, End, Kind, Lesson, Want, Why
from tests.ratelimit_router.stores.contract import (
    DAY,
    LASTS,
    MINUTE,
    SECOND,
    START,
    Desk,
    calendar,
    continuous,
    model,
    new_lease,
    pool,
    record,
    rolling,
)

# -- granting ----------------------------------------------------------------------------------------------------------


def test_whoever_fits_is_granted_at_once(desk: Desk) -> None:
    """A request within its quota gets the offer, charged now, and no denial."""
    answer = desk.admit(model("m", rolling(1)), lease="a")
    assert answer.now == START
    assert [(one.lease, one.offer, one.at) for one in answer.grants] == [("a", 0, START)]
    assert answer.denials == ()
    assert desk.page("m").charges == ((START, (1, 0, 0, 0)),)


def test_whoever_does_not_fit_is_booked_for_the_exact_instant(desk: Desk) -> None:
    """The next request is charged for the instant at which the first one is back, and told what it waits for."""
    desk.admit(model("m", rolling(1)))
    answer = desk.after(1).admit(model("m", rolling(1)))
    assert answer.grants[0].at == START + MINUTE
    (denial,) = answer.denials
    assert (denial.at, denial.why, denial.account, denial.quota) == (START + MINUTE, Why.QUOTA, "m", "rpm")


def test_bookings_queue_up_behind_each_other(desk: Desk) -> None:
    """Whoever asks later is booked later: each capacity is given away once."""
    offer = model("m", rolling(2))
    instants = [desk.after(1).admit(offer, line=f"line {number}").grants[0].at - START for number in range(6)]
    assert instants == [
        *(SECOND, 2 * SECOND),
        *(SECOND + MINUTE, 2 * SECOND + MINUTE),
        *(SECOND + 2 * MINUTE, 2 * SECOND + 2 * MINUTE),
    ]


def test_nobody_is_booked_further_ahead_than_it_is_of_use(desk: Desk) -> None:
    """A want says how far ahead a booking helps; beyond that it is only told the instant."""
    desk.admit(model("m", rolling(1)))
    answer = desk.admit(model("m", rolling(1)), within=MINUTE - 1)
    assert answer.grants == ()
    assert answer.denials[0].at == START + MINUTE
    assert len(desk.admit(model("m", rolling(1)), within=MINUTE).grants) == 1


def test_nobody_is_booked_more_than_two_minutes_ahead(desk: Desk) -> None:
    """A quota that is back tomorrow is not booked: everything may have changed by then."""
    desk.admit(model("m", rolling(1, period=DAY)))
    answer = desk.admit(model("m", rolling(1, period=DAY)))
    assert (answer.grants, answer.denials[0].at) == ((), START + DAY)


def test_a_quota_that_refills_evenly_is_booked_to_the_microsecond(desk: Desk) -> None:
    """Seven a minute: one more every 60/7 seconds, rounded up."""
    offer = model("m", continuous(7, capacity=1))
    instants = [desk.admit(offer).grants[0].at - START for _ in range(4)]
    assert instants[0] == 0
    for index, at in enumerate(instants):
        assert 0 <= at - index * MINUTE / 7 <= index + 1


def test_a_guard_lets_everything_come_back_so_much_later(desk: Desk) -> None:
    """What is spent is believed to be back a guard after its period."""
    desk.admit(model("m", rolling(1, guard=SECOND)))
    assert desk.admit(model("m", rolling(1, guard=SECOND))).grants[0].at == START + MINUTE + SECOND
    desk.admit(model("e", continuous(60, capacity=1, guard=SECOND)))
    assert desk.admit(model("e", continuous(60, capacity=1, guard=SECOND))).grants[0].at == START + 2 * SECOND


def test_the_first_wants_are_served_in_order_and_one_is_booked(desk: Desk) -> None:
    """Several at the head of a line are served in one act: those that fit, then one booking, then nobody."""
    wants = tuple(Want(lease=f"w{number}", cost=(1, 0, 0, 0)) for number in range(5))
    answer = desk.ask(Ask(line="line", steps=((model("m", rolling(2)),),), wants=wants, lasts=LASTS))
    assert [(one.lease, one.at - START) for one in answer.grants] == [("w0", 0), ("w1", 0), ("w2", MINUTE)]
    assert len(desk.page("m").charges) == 3


def test_a_chain_takes_the_first_step_that_is_free(desk: Desk) -> None:
    """Earlier steps first, and the answer says why those before were passed over."""
    chain = (model("first", rolling(1)), model("second", rolling(1)))
    assert [desk.admit(*chain).grants[0].offer for _ in range(2)] == [0, 1]
    answer = desk.after(1).admit(*chain)
    assert (answer.grants[0].offer, answer.grants[0].at) == (0, START + MINUTE)
    assert [one.account for one in answer.denials] == ["first", "second"]


def test_the_answer_tells_why_earlier_steps_were_passed_over(desk: Desk) -> None:
    """Only those before the offer that was taken are named."""
    chain = (model("first", rolling(1)), model("second", rolling(1)), model("third", rolling(1)))
    desk.admit(*chain)
    assert [one.account for one in desk.admit(*chain).denials] == ["first"]


def test_of_equals_the_one_with_the_most_left_is_taken(desk: Desk) -> None:
    """Within a step the tightest limit decides, then whoever was chosen longest ago."""
    equals = (model("small", rolling(4)), model("large", rolling(8)))
    chosen = [desk.after(1).admit(equals).grants[0].offer for _ in range(12)]
    assert (chosen.count(0), chosen.count(1)) == (4, 8)


def test_whoever_waits_is_booked_where_it_is_free_first(desk: Desk) -> None:
    """A booking goes to whichever candidate comes back first, whatever its step."""
    slow, quick = model("slow", rolling(1, period=2 * MINUTE)), model("quick", rolling(1, period=SECOND))
    desk.admit(slow), desk.admit(quick)
    assert desk.admit(slow, quick).grants[0].offer == 1


def test_every_dimension_has_to_fit(desk: Desk) -> None:
    """Requests, input, output and total tokens are separate quotas of one account; the latest decides."""
    units = [rolling(100, name, unit=unit) for unit, name in enumerate(("rpm", "in", "out", "tpm"))]
    desk.admit(model("m", *units), cost=(1, 60, 10, 70))
    denied = desk.admit(model("m", *units), cost=(1, 20, 20, 40)).denials[0]
    assert (denied.quota, denied.at) == ("tpm", START + MINUTE)


def test_pools_are_charged_with_the_model_or_not_at_all(desk: Desk) -> None:
    """A model that fits is not charged if its pool is empty."""
    shared = pool("p", rolling(1))
    assert desk.admit(model("a", rolling(9), pools=[shared])).grants[0].at == START
    answer = desk.admit(model("b", rolling(9), pools=[shared]), within=0)
    assert (answer.grants, answer.denials[0].account) == ((), "p")
    assert [len(page.charges) for page in desk.look("a", "b", "p")] == [1, 0, 1]


def test_a_denial_changes_nothing(desk: Desk) -> None:
    """Whoever is denied has spent nothing, anywhere, and can ask as often as they like."""
    offer = model("m", rolling(5), continuous(1), calendar(5))
    desk.admit(offer)
    before = desk.page("m")
    for _ in range(10):
        desk.admit(offer, within=0)
    assert desk.page("m") == before


def test_what_is_larger_than_a_quota_never_fits(desk: Desk) -> None:
    """The answer says so, and nothing is booked."""
    answer = desk.admit(model("m", rolling(5)), cost=(6, 0, 0, 0))
    assert (answer.grants, answer.denials[0].why, answer.denials[0].at) == ((), Why.TOO_LARGE, NEVER)


def test_a_careful_guess_of_a_capacity_locks_nobody_out(desk: Desk) -> None:
    """Up to the ceiling a request goes when the capacity is whole, and leaves a debt."""
    offer = model("m", rolling(5, ceiling=10))
    assert desk.admit(offer, cost=(10, 0, 0, 0)).grants[0].at == START
    assert desk.admit(offer).grants[0].at == START + MINUTE
    even = model("e", continuous(60, capacity=5, ceiling=10))
    assert desk.admit(even, cost=(10, 0, 0, 0)).grants[0].at == START
    assert desk.admit(even).grants[0].at == START + 6 * SECOND


@pytest.mark.parametrize("kind", Kind)
def test_a_quota_of_nothing_is_never_had(desk: Desk, kind: Kind) -> None:
    """An amount of 0: nothing of that unit can be spent, ever; a call that needs none of it can be made."""
    quota = {Kind.ROLLING: rolling, Kind.CONTINUOUS: continuous, Kind.CALENDAR: calendar}[kind]
    answer = desk.admit(model("m", quota(0, unit=1, ceiling=9)), cost=(1, 1, 0, 1), within=0)
    assert (answer.grants, answer.denials[0].at) == ((), NEVER)
    assert len(desk.admit(model("m", quota(0, unit=1)), cost=(1, 0, 0, 0)).grants) == 1


def test_a_burst_without_a_refill_is_no_quota_either(desk: Desk) -> None:
    """A rate of 0 with a capacity: nothing is known to come back, so nothing is spent."""
    offer = model("m", continuous(0, capacity=5, unit=1))
    assert desk.admit(offer, cost=(1, 1, 0, 1)).denials[0].at == NEVER
    assert len(desk.admit(offer, cost=(1, 0, 0, 0)).grants) == 1


# -- asking again ------------------------------------------------------------------------------------------------------


def test_asking_again_with_one_id_charges_once(desk: Desk) -> None:
    """A repeated message gets the same lease."""
    offer = model("m", rolling(9))
    first = desk.admit(offer, lease="a")
    assert desk.after(1).admit(offer, lease="a").grants == first.grants
    assert (len(desk.page("m").charges), desk.page("m").running) == (1, 1)


def test_asking_again_for_a_booking_keeps_it_and_the_place_in_line(desk: Desk) -> None:
    """The booking stands, is not made twice, and is still woken for something better."""
    offer = model("m", rolling(1))
    desk.admit(offer, lease="a", line="one")
    booked = desk.admit(offer, lease="b", line="two")
    again = desk.after(1).admit(offer, lease="b", line="two")
    assert (again.grants, len(again.denials)) == (booked.grants, 1)
    assert len(desk.page("m").charges) == 2
    desk.end(End(lease="a", cost=NOTHING))
    assert desk.news().wake == ("two",)


def test_asking_again_for_a_booking_when_something_else_is_free(desk: Desk) -> None:
    """The booking stands; the answer shows what could be had instead."""
    first, second = model("first", rolling(1)), model("second", rolling(1))
    desk.admit(first, lease="a", line="one")
    desk.after(1).admit(second, lease="b", line="one")
    desk.admit(first, second, lease="c")
    desk.end(End(lease="b", cost=NOTHING))
    again = desk.admit(first, second, lease="c")
    assert (again.grants[0].at, again.grants[0].offer) == (START + MINUTE, 0)
    assert again.denials[1].at == desk.now


def test_a_lease_that_has_ended_is_not_granted_again(desk: Desk) -> None:
    """A late copy of a message starts nothing, and charges nothing."""
    offer = model("m", rolling(9))
    desk.admit(offer, lease="a")
    desk.end(End(lease="a", cost=NOTHING))
    assert desk.admit(offer, lease="a").grants == ()
    assert (desk.page("m").charges, desk.page("m").running) == ((), 0)


def test_a_lease_for_what_is_not_offered_any_more_says_so(desk: Desk) -> None:
    """Whoever asks again after their chain has changed is told that the lease is for none of it."""
    desk.admit(model("old", rolling(9)), lease="a")
    assert desk.admit(model("new", rolling(9)), lease="a").grants[0].offer == -1


# -- ending ------------------------------------------------------------------------------------------------------------


def test_an_end_counts_once(desk: Desk) -> None:
    """Repeated, or with another cost, it changes nothing more."""
    desk.admit(model("m", rolling(9)), lease="a", cost=(1, 10, 10, 20))
    desk.end(End(lease="a", cost=(1, 5, 5, 10)))
    desk.end(End(lease="a", cost=(1, 5, 5, 10)), End(lease="a", cost=NOTHING), End(lease="unknown"))
    assert (desk.page("m").charges, desk.page("m").running) == (((START, (1, 5, 5, 10)),), 0)


def test_an_end_without_a_cost_leaves_the_charge(desk: Desk) -> None:
    """Nobody knows what it used: what was charged stands."""
    desk.admit(model("m", rolling(9)), lease="a", cost=(1, 10, 10, 20))
    desk.end(End(lease="a"))
    assert (desk.page("m").charges, desk.page("m").running) == (((START, (1, 10, 10, 20)),), 0)


def test_a_refund_is_back_at_once(desk: Desk) -> None:
    """What a call did not use can be spent by the next one."""
    tokens = [rolling(100, "tpm", unit=3), calendar(100, "tpd", unit=3), continuous(100, unit=3)]
    offer = model("m", *tokens)
    desk.admit(offer, lease="a", cost=(1, 0, 0, 100))
    desk.end(End(lease="a", cost=(1, 0, 0, 40)))
    assert desk.admit(offer, cost=(1, 0, 0, 60)).grants[0].at == START
    assert desk.admit(offer, cost=(1, 0, 0, 1), within=0).grants == ()


def test_a_refund_gives_nothing_back_twice(desk: Desk) -> None:
    """What came back by itself meanwhile is not given back again."""
    offer = model("m", continuous(60, capacity=10, unit=3))
    desk.admit(offer, lease="a", cost=(1, 0, 0, 10))
    desk.after(10).admit(offer, cost=(1, 0, 0, 10))
    desk.end(End(lease="a", cost=NOTHING))
    assert desk.admit(offer, cost=(1, 0, 0, 1), within=0).denials[0].at == desk.now + SECOND


def test_a_debt_is_waited_for(desk: Desk) -> None:
    """What a call used beyond its charge counts from the instant at which the call was made."""
    offer = model("m", rolling(100, "tpm", unit=3))
    desk.admit(offer, lease="a", cost=(1, 0, 0, 10))
    desk.after(5).end(End(lease="a", cost=(1, 0, 0, 150)))
    assert desk.admit(offer, cost=(1, 0, 0, 1)).grants[0].at == START + MINUTE


def test_a_booking_that_is_given_up_is_free_again(desk: Desk) -> None:
    """Nothing of it stays."""
    offer = model("m", rolling(1))
    desk.admit(offer)
    desk.admit(offer, lease="b")
    desk.end(End(lease="b", cost=NOTHING))
    assert desk.admit(offer, line="other").grants[0].at == START + MINUTE


def test_a_booking_is_exchanged_for_a_better_one(desk: Desk) -> None:
    """`instead`: the old one is given up first, in the same act, and its place can be had again."""
    offer = model("m", rolling(1))
    desk.admit(offer, lease="a", line="one")
    desk.admit(offer, lease="b", line="two")
    assert desk.admit(offer, lease="c", line="two", instead="b").grants[0].at == START + MINUTE
    desk.end(End(lease="a", cost=NOTHING))
    assert desk.admit(offer, lease="d", line="two", instead="c").grants[0].at == START
    assert desk.page("m").charges == ((START, (1, 0, 0, 0)),)


@pytest.mark.parametrize("burst", [1, 2])
def test_a_line_that_finds_nothing_better_keeps_its_place(desk: Desk, burst: int) -> None:
    """Whoever is booked and looks again is not put behind those who have booked since, however often it looks."""
    even = continuous(60, capacity=burst, ceiling=burst)
    offer = model("m", even)
    for number in range(burst):
        desk.admit(offer, lease=f"now{number}")
    assert desk.admit(offer, lease="a0", line="one").grants[0].at == START + SECOND
    assert desk.admit(offer, lease="b0", line="two").grants[0].at == START + 2 * SECOND
    for look in range(1, 6):
        assert desk.admit(offer, lease=f"a{look}", line="one", instead=f"a{look - 1}").grants[0].at == START + SECOND
        again = desk.admit(offer, lease=f"b{look}", line="two", instead=f"b{look - 1}")
        assert again.grants[0].at == START + 2 * SECOND
    assert desk.admit(offer, lease="c", line="three").grants[0].at == START + 3 * SECOND


def test_the_next_in_line_takes_the_place_of_one_that_is_served_elsewhere(desk: Desk) -> None:
    """The first gets what came back on another model; what was booked for it stays in the line."""
    even, slots = model("even", continuous(60, capacity=1, ceiling=1)), model("slots", concurrency=1)
    steps = [even, slots]
    desk.admit(*steps, lease="now")
    desk.admit(*steps, lease="slot")
    assert desk.admit(*steps, lease="a", line="one").grants[0].at == START + SECOND
    assert desk.admit(*steps, lease="b", line="two").grants[0].at == START + 2 * SECOND
    desk.end(End(lease="slot"))
    wants = [Want(lease="c", cost=(1, 0, 0, 0)), Want(lease="d", cost=(1, 0, 0, 0))]
    granted = desk.ask(Ask(line="one", steps=((even,), (slots,)), wants=tuple(wants), lasts=LASTS, instead="a")).grants
    assert [(one.offer, one.at) for one in granted] == [(1, START), (0, START + SECOND)]


def test_calls_that_ended_count_before_anybody_is_served(desk: Desk) -> None:
    """`ends` of an ask: one act settles the last call and admits the next."""
    offer = model("m", rolling(1), concurrency=1)
    desk.admit(offer, lease="a")
    answer = desk.admit(offer, ends=(End(lease="a", cost=NOTHING),))
    assert answer.grants[0].at == START


# -- calls in flight ---------------------------------------------------------------------------------------------------


def test_only_so_many_calls_are_in_flight(desk: Desk) -> None:
    """Beyond that nobody is granted or booked, until one ends."""
    offer = model("m", concurrency=2)
    desk.admit(offer, lease="a"), desk.admit(offer, lease="b")
    answer = desk.admit(offer)
    assert (answer.grants, answer.denials[0].why, answer.denials[0].at) == ((), Why.CONCURRENCY, NEVER)
    desk.end(End(lease="a"))
    assert desk.page("m").running == 1
    assert len(desk.admit(offer).grants) == 1


def test_what_a_dead_process_had_in_flight_comes_back_at_its_expiry(desk: Desk) -> None:
    """Not a microsecond earlier, and what it spent stays spent."""
    offer = model("m", rolling(2), concurrency=1)
    desk.admit(offer, lease="dead")
    desk.now += LASTS - 1
    assert desk.admit(offer, within=0).grants == ()
    desk.now += 1
    assert desk.admit(offer).grants[0].at == desk.now
    assert desk.admit(model("m", rolling(2)), within=0).denials[0].at == START + MINUTE


def test_a_booking_expires_so_long_after_its_instant(desk: Desk) -> None:
    """A lease is good for as long, whether it begins now or later."""
    offer = model("m", rolling(1), concurrency=2)
    desk.admit(offer, lease="a")
    desk.admit(offer, lease="b")
    desk.end(End(lease="a"))
    desk.now += MINUTE + LASTS - 1
    desk.renew()
    assert desk.page("m").running == 1
    desk.now += 1
    desk.renew()
    assert desk.page("m").running == 0


def test_a_call_that_is_renewed_keeps_its_place(desk: Desk) -> None:
    """For as long as it says, from then on."""
    offer = model("m", concurrency=1)
    desk.admit(offer, lease="long")
    for _ in range(5):
        assert desk.after(20).renew("long") == ()
    desk.now += LASTS - 1
    assert desk.admit(offer).grants == ()
    desk.now += 1
    assert len(desk.admit(offer).grants) == 1


def test_a_call_that_was_renewed_too_late_has_its_place_again(desk: Desk) -> None:
    """It is in flight, so it counts, also beyond the limit; its end frees it once."""
    offer = model("m", concurrency=1)
    desk.admit(offer, lease="slow")
    desk.after(40).admit(offer, lease="next")
    assert desk.renew("slow") == ()
    assert desk.page("m").running == 2
    desk.end(End(lease="slow"), End(lease="slow"))
    assert desk.page("m").running == 1


def test_an_end_after_the_expiry_corrects_the_charge_alone(desk: Desk) -> None:
    """Its place was free already."""
    offer = model("m", rolling(9), concurrency=5)
    desk.admit(offer, lease="a", cost=(2, 0, 0, 0))
    desk.after(40).renew()
    desk.end(End(lease="a", cost=(1, 0, 0, 0)))
    assert (desk.page("m").running, desk.page("m").charges) == (0, ((START, (1, 0, 0, 0)),))


def test_renewing_what_is_not_known_says_so(desk: Desk) -> None:
    """Whoever holds such a lease has to restate it."""
    desk.admit(model("m"), lease="known")
    assert desk.renew("known", "lost", "gone") == ("lost", "gone")


# -- restating ---------------------------------------------------------------------------------------------------------


def test_what_is_restated_counts_as_if_it_had_been_granted(desk: Desk) -> None:
    """Charges, calls in flight, and an end later on."""
    offer = model("m", rolling(1), concurrency=1)
    desk.admit(model("m", rolling(9)))
    desk.restate(record("lost", "m", at=START))
    assert (desk.page("m").running, len(desk.page("m").charges)) == (2, 2)
    assert desk.admit(offer, within=0).grants == ()
    desk.end(End(lease="lost", cost=NOTHING))
    assert (desk.page("m").running, len(desk.page("m").charges)) == (1, 1)


def test_what_is_known_is_not_restated(desk: Desk) -> None:
    """Telling it again changes nothing."""
    desk.admit(model("m", rolling(9)), lease="a")
    desk.restate(record("a", "m", at=START, cost=(5, 0, 0, 0)))
    desk.restate(record("b", "m", at=START)), desk.restate(record("b", "m", at=START))
    assert (desk.page("m").running, len(desk.page("m").charges)) == (2, 2)


@pytest.mark.parametrize("quota", [rolling(3), continuous(3), calendar(3)], ids=["rolling", "continuous", "calendar"])
def test_what_is_restated_before_anybody_asked_counts_too(desk: Desk, quota: object) -> None:
    """A store that has just begun hears of old calls first; other acts in between do not make it forget them."""
    desk.restate(record("a", "m", at=START - 1 if quota.name != "rpd" else START), record("b", "m", at=START))  # type: ignore[attr-defined]
    desk.end(End(lease="b"))
    desk.renew("a")
    offer = model("m", quota)  # type: ignore[arg-type]
    assert desk.admit(offer).grants[0].at == START
    assert desk.admit(offer, within=0).grants == ()


def test_a_restated_booking_is_charged_for_its_instant(desk: Desk) -> None:
    """What was booked in a store that has forgotten it is booked again."""
    desk.restate(record("a", "m", at=START + SECOND))
    assert desk.admit(model("m", rolling(1))).grants[0].at == START + SECOND + MINUTE


# -- calendars ---------------------------------------------------------------------------------------------------------


def test_a_calendar_quota_is_back_at_its_reset(desk: Desk) -> None:
    """It cannot be booked across the reset, and is whole at it."""
    today, tomorrow = calendar(2, period=DAY), calendar(2, opens=START + DAY, closes=START + 2 * DAY, period=DAY)
    for _ in range(2):
        desk.after(1).admit(model("m", today))
    answer = desk.admit(model("m", today))
    assert (answer.grants, answer.denials[0].at) == ((), START + DAY)
    desk.now = START + DAY
    assert [desk.admit(model("m", tomorrow), within=0).grants != () for _ in range(3)] == [True, True, False]


def test_a_window_that_is_not_the_present_one_is_stale(desk: Desk) -> None:
    """Nothing is done; the answer says what time it is."""
    for opens in (START - MINUTE, START + 1):
        answer = desk.admit(model("m", calendar(2, opens=opens, closes=opens + MINUTE)), lease="x")
        assert (answer.stale, answer.now, answer.grants, answer.denials) == (True, START, (), ())
    assert desk.page("m").charges == ()


def test_within_the_guard_a_call_counts_in_both_windows(desk: Desk) -> None:
    """The service may count it in the new one, and what it has left of the old one is all we may spend."""
    first = calendar(3, guard=SECOND)
    second = calendar(3, opens=START + MINUTE, closes=START + 2 * MINUTE, guard=SECOND)
    desk.admit(model("m", first), cost=(2, 0, 0, 0))
    desk.now = START + MINUTE
    assert desk.admit(model("m", second), cost=(1, 0, 0, 0)).grants[0].at == desk.now
    denied = desk.admit(model("m", second), cost=(1, 0, 0, 0))
    assert (denied.grants, denied.denials[0].at) == ((), START + MINUTE + SECOND)
    desk.after(1)
    assert desk.admit(model("m", second), cost=(2, 0, 0, 0), within=0).grants != ()
    assert desk.admit(model("m", second), cost=(1, 0, 0, 0), within=0).grants == ()


def test_a_refund_of_an_earlier_window_gives_nothing_back(desk: Desk) -> None:
    """That window is over."""
    second = model("m", calendar(1, opens=START + MINUTE, closes=START + 2 * MINUTE))
    desk.admit(model("m", calendar(1)), lease="a")
    desk.now = START + MINUTE
    desk.admit(second)
    desk.end(End(lease="a", cost=NOTHING))
    assert desk.admit(second, within=0).grants == ()


# -- cooldowns ---------------------------------------------------------------------------------------------------------


def test_a_closed_account_is_booked_for_its_end_by_one_probe(desk: Desk) -> None:
    """The first booking is the probe; nobody else goes until the verdict on it."""
    offer = model("m", rolling(9))
    page = desk.cool("m", 10, note="429")
    assert (page.epoch, page.until, page.note) == (1, START + 10 * SECOND, "429")
    probe = desk.admit(offer, lease="probe")
    assert (probe.grants[0].at, probe.grants[0].epochs, probe.denials[0].why) == (
        START + 10 * SECOND,
        (1,),
        Why.COOLING,
    )
    other = desk.admit(offer)
    assert (other.grants, other.denials[0].why, other.denials[0].at) == ((), Why.PROBING, START + 15 * SECOND)


def test_a_probe_that_was_answered_opens_the_account(desk: Desk) -> None:
    """For everybody, at once."""
    offer = model("m", rolling(9))
    desk.cool("m", 10)
    desk.after(10).admit(offer, lease="probe")
    desk.after(1).end(End(lease="probe"))
    assert desk.page("m").until == 0
    assert desk.admit(offer).grants[0].at == desk.now


def test_a_probe_that_was_never_made_leaves_it_to_the_next(desk: Desk) -> None:
    """It has shown nothing."""
    offer = model("m", rolling(9))
    desk.cool("m", 10)
    desk.after(10).admit(offer, lease="probe")
    desk.after(1).end(End(lease="probe", cost=NOTHING))
    assert len(desk.admit(offer).grants) == 1
    assert desk.admit(offer).grants == ()


@pytest.mark.parametrize("pooled", [False, True])
def test_a_booked_probe_that_is_given_up_leaves_it_to_the_next(desk: Desk, pooled: bool) -> None:
    """Also if it was exchanged for a better booking, or its model was closed: nobody waits for its verdict."""
    shared = pool("p", rolling(9))
    desk.cool("p", 10)
    desk.admit(model("m", pools=[shared]), lease="probe")
    if pooled:
        desk.cool("m", 60)
    else:
        desk.admit(model("elsewhere"), instead="probe")
    answer = desk.admit(model("other", pools=[shared]))
    assert (answer.grants[0].at, answer.denials[0].why) == (START + 10 * SECOND, Why.COOLING)


def test_silence_about_a_probe_is_a_good_sign_or_not(desk: Desk) -> None:
    """After `verdict`, the account is open if silence says so; else the next call is a probe again."""
    for name, silence, seconds_granted in (("yes", True, 2), ("no", False, 1)):
        desk.cool(name, 10, silence=silence)
        desk.after(10).admit(model(name))
        assert desk.admit(model(name)).grants == ()
        desk.after(5)
        assert sum(len(desk.admit(model(name)).grants) for _ in range(2)) == seconds_granted


def test_a_probe_without_a_good_answer_keeps_it_closed_to_others(desk: Desk) -> None:
    """It ended badly, for another reason than the quota: the next one is a probe as well, when the verdict is due."""
    offer = model("m", rolling(9))
    desk.cool("m", 10, silence=False)
    desk.after(10).admit(offer, lease="probe")
    desk.after(1).end(End(lease="probe", answered=False))
    assert desk.admit(offer, within=0).denials[0].why is Why.PROBING
    desk.after(4)
    assert len(desk.admit(offer).grants) == 1
    assert desk.admit(offer, within=0).grants == ()


def test_one_incident_closes_once(desk: Desk) -> None:
    """Those who report the same epoch later change nothing, unless they extend it."""
    desk.cool("m", 10)
    assert desk.after(1).cool("m", 60).until == START + 10 * SECOND
    assert desk.cool("m", 60, extends=True).until == desk.now + 60 * SECOND
    assert desk.cool("m", 5, extends=True).until == desk.now + 60 * SECOND
    assert desk.page("m").epoch == 1


def test_a_rejection_from_before_is_no_news_once_it_is_open_again(desk: Desk) -> None:
    """A late report of a call of an earlier epoch does not close what a probe has opened."""
    desk.cool("m", 10)
    desk.after(10).admit(model("m"), lease="probe")
    desk.end(End(lease="probe"))
    assert desk.cool("m", 60, epoch=0, extends=True).until == 0
    assert desk.cool("m", 60, epoch=1).until == desk.now + 60 * SECOND


def test_a_rejection_of_an_epoch_that_was_forgotten_closes(desk: Desk) -> None:
    """A store that has lost a cooldown believes those who remember it, and counts on from there."""
    assert desk.cool("m", 10, epoch=7).epoch == 8
    assert desk.cool("m", 60, epoch=7).until == START + 10 * SECOND


def test_a_rejected_probe_closes_again(desk: Desk) -> None:
    """With the next epoch."""
    desk.cool("m", 10)
    epochs = desk.after(10).admit(model("m"), lease="probe").grants[0].epochs
    page = desk.cool("m", 20, epoch=epochs[0])
    assert (page.epoch, page.until) == (2, desk.now + 20 * SECOND)
    desk.end(End(lease="probe", answered=False))
    assert desk.page("m").until == desk.now + 20 * SECOND


def test_bookings_of_a_closed_account_are_given_up(desk: Desk) -> None:
    """Nobody calls it then; whoever was booked is woken, and everything they held is free."""
    shared = pool("p", rolling(1))
    desk.admit(model("a", pools=[shared]))
    desk.admit(model("m", pools=[shared]), line="booked")
    desk.cool("m", 60)
    assert "booked" in desk.news().wake
    assert [page.running for page in desk.look("a", "m", "p")] == [1, 0, 1]
    assert desk.admit(model("b", pools=[shared])).grants[0].at == START + MINUTE


def test_a_cooldown_of_a_pool_closes_all_that_draw_on_it(desk: Desk) -> None:
    """And of a model only that one."""
    shared = pool("p")
    desk.cool("p", 10)
    assert desk.admit(model("a", pools=[shared]), within=0).denials[0].account == "p"
    assert len(desk.admit(model("b")).grants) == 1


def test_reopened_accounts_are_tried_at_once_with_a_probe(desk: Desk) -> None:
    """The operator has changed something."""
    desk.cool("m", 600)
    desk.reopen("m", "unknown")
    assert [len(desk.admit(model("m"), within=0).grants) for _ in range(2)] == [1, 0]


def test_for_a_long_time_is_not_for_ever(desk: Desk) -> None:
    """An instant beyond what can be counted is NEVER, and can still be reopened."""
    page = desk.cool("m", NEVER / 1e6)
    assert page.until == NEVER
    assert desk.admit(model("m")).denials[0].at == NEVER


# -- wakes -------------------------------------------------------------------------------------------------------------


def test_whoever_asked_first_is_woken_first(desk: Desk) -> None:
    """Each place that comes back is offered to one line, in the order in which they asked."""
    offer = model("m", concurrency=2)
    desk.admit(offer, lease="a", line="zero"), desk.admit(offer, lease="b", line="zero")
    for line in ("one", "two"):
        desk.admit(offer, line=line)
    desk.admit(offer, line="one")  # asking again does not move it
    desk.end(End(lease="a"))
    assert desk.news() == Change(wake=("one",))
    desk.end(End(lease="b"))
    assert desk.news() == Change(wake=("two",))


def test_whoever_was_served_is_woken_no_more(desk: Desk) -> None:
    """They stand in line no longer."""
    offer = model("m", concurrency=1)
    desk.admit(offer, lease="a", line="zero")
    desk.admit(offer, line="one")
    desk.admit(offer, line="two")
    desk.end(End(lease="a"))
    assert desk.news().wake == ("one",)
    desk.admit(offer, lease="b", line="one")
    desk.end(End(lease="b"))
    assert desk.news().wake == ("two",)


def test_whoever_waits_leaves_all_lines_when_served(desk: Desk) -> None:
    """Also those of models that need not have been looked at."""
    first, second = model("a", concurrency=1), model("b", concurrency=1)
    desk.admit(first, lease="a", line="zero"), desk.admit(second, lease="b", line="zero")
    for line in ("one", "two"):
        desk.admit(first, second, line=line)
    desk.end(End(lease="a"))
    assert desk.news().wake == ("one",)
    assert desk.admit(first, second, line="one", waits=True).grants[0].offer == 0
    desk.end(End(lease="b"))
    assert desk.news().wake == ("two",)


def test_whoever_waits_keeps_its_place_where_it_still_lacks_something(desk: Desk) -> None:
    """To ask again does not move it, whatever has changed elsewhere."""
    first, second = model("a", concurrency=1), model("b", concurrency=1)
    desk.admit(first, lease="a", line="zero"), desk.admit(second, lease="b", line="zero")
    for line, waits in (("one", False), ("two", False), ("one", True)):
        desk.admit(first, second, line=line, waits=waits)
    desk.end(End(lease="b"))
    assert desk.news().wake == ("one",)


def test_only_the_models_that_decide_are_looked_at(desk: Desk) -> None:
    """What the later steps of a chain allow does not matter while the first is free: they are as nobody had asked."""
    later = model("later", rolling(5), calendar(7))
    assert not desk.admit(model("first", rolling(1)), later).denials
    assert desk.page("later").calendar == ()
    assert [one.account for one in desk.admit(model("first", rolling(1)), later).denials] == ["first"]
    assert desk.page("later").calendar != ()


def test_whoever_lacks_something_else_is_not_woken(desk: Desk) -> None:
    """Tokens that come back are of no use to somebody who waits for a request."""
    offer = model("m", rolling(1), rolling(100, "tpm", unit=3))
    desk.admit(offer, lease="a", cost=(1, 0, 0, 60))
    desk.admit(offer, line="request", cost=(1, 0, 0, 10), within=0)
    desk.admit(model("m", rolling(100, "tpm", unit=3)), line="tokens", cost=(1, 0, 0, 50), within=0)
    desk.end(End(lease="a", cost=(1, 0, 0, 20)))
    assert desk.news().wake == ("tokens",)


def test_an_expired_place_is_offered_to_whoever_waits(desk: Desk) -> None:
    """By the next act that notices."""
    offer = model("m", concurrency=1)
    desk.admit(offer, lease="dead", line="dead")
    desk.admit(offer, line="waits")
    desk.after(40).renew()
    assert desk.news().wake == ("waits",)


def test_a_probe_that_opens_an_account_wakes_everybody(desk: Desk) -> None:
    """In their order."""
    desk.cool("m", 10)
    assert desk.news() == Change(accounts=("m",))
    desk.after(10).admit(model("m"), lease="probe", line="zero")
    for line in ("one", "two", "three"):
        desk.admit(model("m"), line=line)
    desk.end(End(lease="probe"))
    assert desk.news() == Change(wake=("one", "two", "three"), accounts=("m",))


def test_closing_reopening_and_teaching_are_told(desk: Desk) -> None:
    """Others look at the account then."""
    desk.cool("m", 10)
    desk.reopen("m", "open")
    desk.teach(Lesson(account="n", quota="rpm", version=0, amount=5, capacity=5))
    assert [desk.news() for _ in range(3)] == [Change(accounts=(name,)) for name in ("m", "m", "n")]


# -- lessons -----------------------------------------------------------------------------------------------------------


def test_a_lesson_holds_for_everybody(desk: Desk) -> None:
    """Never more than what an asker has configured, nor than what was learned."""
    stands = desk.teach(Lesson(account="m", quota="rpm", version=0, amount=2, capacity=2, text="seen"))
    assert (stands.version, desk.page("m").lessons) == (1, (stands,))
    assert [bool(desk.admit(model("m", rolling(5, ceiling=5)), within=0).grants) for _ in range(3)] == [
        True,
        True,
        False,
    ]


def test_the_first_of_two_lessons_stands(desk: Desk) -> None:
    """A lesson that builds upon an older one than the store has changes nothing; told again, neither."""
    first = desk.teach(Lesson(account="m", quota="rpm", version=0, amount=2, capacity=2))
    assert desk.teach(Lesson(account="m", quota="rpm", version=0, amount=9, capacity=9)) == first
    second = desk.teach(Lesson(account="m", quota="rpm", version=1, amount=3, capacity=3))
    assert (second.version, second.amount) == (2, 3)
    assert desk.page("m").lessons == (second,)


def test_a_lesson_can_be_taken_back(desk: Desk) -> None:
    """An amount of 0: as configured."""
    desk.teach(Lesson(account="m", quota="rpm", version=0, amount=1, capacity=1))
    desk.teach(Lesson(account="m", quota="rpm", version=1, amount=0, capacity=0))
    assert [bool(desk.admit(model("m", rolling(2)), within=0).grants) for _ in range(3)] == [True, True, False]


def test_a_lesson_slows_a_refill_from_then_on(desk: Desk) -> None:
    """What is missing stays missing; it comes back at the new rate."""
    offer = model("m", continuous(60, capacity=10))
    desk.admit(offer, cost=(10, 0, 0, 0))
    desk.after(5).teach(Lesson(account="m", quota="even", version=0, amount=30, capacity=10))
    at = desk.admit(offer, cost=(6, 0, 0, 0)).grants[0].at
    assert 0 <= at - (desk.now + 2 * SECOND) <= 1


# -- looking -----------------------------------------------------------------------------------------------------------


def test_looking_changes_nothing_and_shows_everything(desk: Desk) -> None:
    """Charges oldest first, the refill's instant, what of the day is used, calls in flight."""
    offer = model("m", rolling(9), continuous(60, capacity=10), calendar(9))
    desk.admit(offer, cost=(2, 0, 0, 0))
    desk.after(1).admit(offer, cost=(3, 0, 0, 0))
    first, unknown = desk.look("m", "unknown")
    assert first.charges == ((START, (2, 0, 0, 0)), (START + SECOND, (3, 0, 0, 0)))
    assert first.continuous == (("even", START + 5 * SECOND),)
    assert first.calendar == (("rpd", START, 5),)
    assert (first.now, first.running, first.until, first.epoch) == (desk.now, 2, 0, 0)
    assert (unknown.name, unknown.charges, unknown.lessons) == ("unknown", (), ())
    assert desk.look("m", "unknown") == (first, unknown)


def test_charges_that_no_window_needs_are_forgotten(desk: Desk) -> None:
    """A store stays small."""
    offer = model("m", rolling(1))
    for _ in range(5):
        desk.after(60).admit(offer)
    assert len(desk.page("m").charges) == 1


def test_a_clock_that_is_set_back_frees_nothing(desk: Desk) -> None:
    """The store's time stands still until the clock has caught up."""
    offer = model("m", rolling(1))
    desk.admit(offer)
    desk.after(-3600)
    answer = desk.admit(offer)
    assert (answer.now, answer.grants[0].at) == (START, START + MINUTE)


def test_names_are_only_names(desk: Desk) -> None:
    """Whatever characters they have, accounts, quotas, lines and leases are kept apart."""
    names = ["a:b", "a", "b", "ä", "'; DROP TABLE accounts; --", "a{b}", "\N{SNOWMAN}\n", "1", "01", " ", "a b", "%s"]
    for name in names:
        assert desk.admit(model(name, rolling(1, name)), lease=f"lease {name}", line=name).grants[0].at == START
    for name in names:
        assert desk.admit(model(name, rolling(1, name)), lease=f"again {name}", line=name).grants[0].at > START
        assert len(desk.page(name).charges) == 2
    desk.end(End(lease="lease a", cost=NOTHING))
    assert desk.news().wake == ("a",)


def test_large_amounts_are_exact(desk: Desk) -> None:
    """Up to the largest quota there can be."""
    largest = 10**15
    offer = model("m", rolling(largest, "tpm", unit=3))
    desk.admit(offer, cost=(1, 0, 0, largest - 1))
    assert desk.admit(offer, cost=(1, 0, 0, 1)).grants[0].at == START
    assert desk.admit(offer, cost=(1, 0, 0, 1), within=0).denials[0].at == START + MINUTE


def test_an_ask_without_wants_only_ends_and_leaves_the_line(desk: Desk) -> None:
    """Whoever needs nothing any more waits for nothing."""
    offer = model("m", concurrency=1)
    desk.admit(offer, lease="a", line="zero")
    desk.admit(offer, line="one")
    desk.admit(offer, line="two")
    desk.ask(Ask(line="one", steps=((offer,),), wants=(), lasts=LASTS, ends=(End(lease="a"),)))
    assert desk.news().wake == ("two",)
    assert len(desk.admit(offer, lease=new_lease(), line="two").grants) == 1
