"""A judge that condemns nobody is of no use: one call too many, one microsecond too early, and it is found."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.ratelimit_router.processes.judge import Call, Verdict, judge, read
from tests.ratelimit_router.processes.quotas import COST, scheme

START = 1_790_000_000_000_000
SECOND = 1_000_000


def call(model: str, at: float, **more: Any) -> Call:
    """At so many seconds after the start; it takes 10 ms."""
    instant = START + round(at * SECOND)
    facts = {"at": instant, "made": instant, "tokens": COST, "ended": instant + 10_000} | more
    return Call(model=model, steady=facts["made"] - START, **facts)


def judged(calls: Iterable[Call], lease: float = 30.0) -> Verdict:
    """What becomes of them."""
    return judge(sorted(calls, key=lambda one: one.at), [], scheme(), lease=lease, go=0.0, until=4.0)


@pytest.mark.parametrize(
    ("model", "quota", "fits", "again"),
    [
        ("rpm", "rpm.rpm", 30, 1.0),
        ("tpm", "tpm.tpm", 40, 1.5),
        ("left", "left.rpm", 20, 1.0),
        ("even", "even.rpm", 8, 0.05),
        ("clock", "clock.rpm", 30, 2.0),
    ],
)
def test_one_more_than_fits_is_too_much(model: str, quota: str, fits: int, again: float) -> None:
    """In any window; at its end, but not a microsecond before, there is room for another."""
    full = [call(model, 0.0) for _ in range(fits)]
    too_much = 1 if quota != "tpm.tpm" else COST
    assert judged(full).excess == 0
    assert judged([*full, call(model, again)]).excess == 0
    assert judged([*full, call(model, again - 1e-6)]).over[quota] == too_much
    assert judged([*full, call(model, 0.0)]).over[quota] == too_much


def test_pools_and_days_count() -> None:
    """What both models of a pool have used together; a daily quota once."""
    calls = [*(call("left", 0.0) for _ in range(20)), *(call("right", 0.3) for _ in range(10))]
    assert judged(calls).excess == 0
    assert judged([*calls, call("right", 0.5)]).over["pair.rpm"] == 1
    assert judged(call("daily", number / 20) for number in range(52)).over["daily.rpd"] == 2


def test_calls_in_flight_count_until_they_end_or_their_lease_does() -> None:
    """A call without an end was its worker's last: it counts as long as the lease is good for."""
    calls = [call("slots", 0.0), call("slots", 0.0), call("slots", 0.0, ended=None)]
    assert judged([*calls, call("slots", 0.005)]).over["slots.concurrency"] == 1
    later = [call("slots", 1.0) for _ in range(3)]
    assert judged([*calls, *later[:2]], lease=1.5).excess == 0
    assert judged([*calls, *later], lease=1.5).over["slots.concurrency"] == 1
    assert judged([*calls, *later], lease=1.0).excess == 0


def test_late_is_jitter_and_early_is_not() -> None:
    """A call that is made after its instant is told apart; one that is made before is a fault."""
    full = [call("rpm", 0.0, made=START + 20_000) for _ in range(30)]
    verdict = judged([*full, call("rpm", 1.0)])
    assert (verdict.excess, verdict.jitter) == (0, 20.0)
    assert verdict.late[2] == 20.0
    assert judged([call("rpm", 0.0, made=START - 3)]).early == 1


def test_what_is_used_is_reckoned_from_what_is_possible() -> None:
    """All of a window in four, half of another."""
    calls = [call("rpm", second) for second in (0.0, 1.0) for _ in range(15)]
    assert judged(calls).share["rpm.rpm"] == pytest.approx(0.25)
    assert judged(calls).busy["rpm.rpm"] == pytest.approx(0.25)


def test_a_line_that_was_not_finished_is_left_out(tmp_path: Path) -> None:
    """All others are read."""
    file = tmp_path / "1"
    file.write_text('G 1 rpm 7 8 9 10\nE 1 12 5\nG 2 rpm 20 21 22 10\nS {"calls": 2, "acts": {}}\nG 3 rp')
    calls, told = read([file])
    assert [(one.at, one.made, one.steady, one.tokens, one.ended) for one in calls] == [
        (7, 8, 9, 5, 12),
        (20, 21, 22, 10, None),
    ]
    assert told == [{"calls": 2, "acts": Counter()}]
