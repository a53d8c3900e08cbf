"""What the scripts of a Redis store are told, and what they answer, as values."""

import struct
from collections.abc import Sequence
from typing import Any

from ratelimit_router.stores.terms import Amounts, Answer, Denial, End, Grant, Lesson, Page, Want, Why

__all__ = ["flat_ends", "flat_wants", "read_answer", "read_lesson", "read_page"]

_pack_cost = struct.Struct(">4Q").pack


def flat_wants(wants: Sequence[Want]) -> list[str | bytes | int]:
    """Wants, as `admit.lua` takes them: three arguments each."""
    flat: list[str | bytes | int] = []
    for one in wants:
        flat += (one.lease, _pack_cost(*one.cost), one.within)
    return flat


def flat_ends(ends: Sequence[End]) -> list[str | bytes | int]:
    """Ends, as the scripts take them: two arguments each."""
    flat: list[str | bytes | int] = []
    for one in ends:
        how = b"1" if one.answered else b"0"
        flat += (one.lease, how if one.cost is None else how + _pack_cost(*one.cost))
    return flat


def read_answer(told: list[Any]) -> Answer:
    """See `admit.lua`."""
    if len(told) == 1:
        return Answer(now=told[0], stale=True)
    now, grants, denials = told
    return Answer(
        now=now,
        grants=tuple(
            Grant(lease=lease.decode(), offer=offer, at=at, epochs=tuple(epochs))
            for lease, offer, at, *epochs in grants
        ),
        denials=tuple(
            Denial(at=at, why=Why(why), account=account.decode(), quota=quota.decode())
            for at, why, account, quota in denials
        ),
    )


def read_page(told: list[Any]) -> Page:
    """See `page.lua`."""
    name, now, epoch, until, note, running, charges, continuous, calendars, lessons = told
    return Page(
        name=name.decode(),
        now=now,
        epoch=epoch,
        until=until,
        note=note.decode(),
        running=running,
        charges=tuple((at, _amounts(cost)) for at, *cost in charges),
        continuous=tuple((quota.decode(), full_at) for quota, full_at in continuous),
        calendar=tuple((quota.decode(), opens, used) for quota, opens, used in calendars),
        lessons=tuple(read_lesson(name.decode(), lesson) for lesson in lessons),
    )


def _amounts(told: Sequence[int]) -> Amounts:
    requests, inputs, outputs, total = told
    return requests, inputs, outputs, total


def read_lesson(account: str, told: list[Any]) -> Lesson:
    """See `teach.lua`."""
    quota, version, amount, capacity, text = told
    return Lesson(
        account=account,
        quota=quota.decode(),
        version=version,
        amount=amount,
        capacity=capacity,
        text=text.decode(),
    )
