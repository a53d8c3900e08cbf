"""Observers that call the router again from inside an event."""

import asyncio
from typing import Any

from ratelimit_router import Limits, RateLimited
from ratelimit_router import events as ev


def test_settling_from_an_event_wakes_the_next_in_line(router: Any, virtual: Any) -> None:
    """A lease that an observer settles while others are being served frees its model for who waits for it."""

    async def main() -> None:
        held: list[Any] = []

        def settle(event: Any) -> None:
            if isinstance(event, ev.Routed) and event.tier == "t" and held:
                held.pop().settle()

        limits = {"a": Limits(concurrency=1), "b": Limits(concurrency=1)}
        r = router(limits, {"t": ["a"], "u": ["b"]}, observers=[settle])
        first, second = await r.route("t"), await r.route("u")
        other = asyncio.ensure_future(r.route("u").__aenter__())
        await asyncio.sleep(0)
        one = asyncio.ensure_future(r.route("t").__aenter__())
        await asyncio.sleep(1)
        held.append(second)
        first.settle()
        await asyncio.sleep(1)
        assert (one.done(), other.done()) == (True, True)  # although nothing else has happened since
        for task in (one, other):
            task.result().settle()
        assert all(one.in_flight == 0 for one in r.snapshot().models.values())

    virtual(main)


def test_a_lease_taken_in_the_middle_of_a_grant(router: Any, virtual: Any) -> None:
    """Told of a fallback, an observer asks for the same model: both are charged, or it is refused; nothing breaks."""

    async def main() -> None:
        taken: list[Any] = []

        def take(event: Any) -> None:
            if isinstance(event, ev.FellBack) and not taken:
                taken.append(None)
                try:
                    taken.append(r.route_nowait(["b"]))
                except Exception as error:  # noqa: BLE001 -- looked at below
                    taken.append(error)

        r = router({"a": Limits(rpm=1), "b": Limits(rpm=2)}, observers=[take])
        await r.route("t")
        lease = await r.route("t")
        assert lease.model.name == taken[1].model.name == "b"
        seen = r.snapshot().models["b"]
        assert (seen.in_flight, seen.quotas["rpm"].remaining) == (2, 0)
        lease.settle()
        taken[1].settle()
        assert r.snapshot().models["b"].in_flight == 0

    virtual(main)


def test_events_come_in_order_although_observers_answer(router: Any, virtual: Any) -> None:
    """What an observer causes is told after what it was told of, to every observer."""

    async def main() -> None:
        told: list[str] = []

        def answer(event: Any) -> None:
            if isinstance(event, ev.Settled) and event.tier == "t":
                r.route_nowait("u").settle()

        def note(event: Any) -> None:
            told.append(f"{type(event).__name__} {event.tier}")

        r = router({"a": None}, {"t": ["a"], "u": ["a"]}, observers=[answer, note])
        (await r.route("t")).settle()
        assert told == ["Routed t", "Settled t", "Routed u", "Settled u"]

    virtual(main)


def test_there_is_one_probe_although_observers_ask_for_more(router: Any, virtual: Any) -> None:
    """From inside `Probed`, the next lease is already refused."""

    async def main() -> None:
        seen: list[Any] = []

        def ask(event: Any) -> None:
            if isinstance(event, ev.Probed):
                try:
                    seen.append(r.route_nowait("t"))
                except Exception as error:  # noqa: BLE001 -- looked at below
                    seen.append(type(error).__name__)

        r = router({"a": None}, observers=[ask])
        r.route_nowait("t").fail(RateLimited(1.0))
        await asyncio.sleep(2)
        r.route_nowait("t")
        assert seen == ["NoCapacity"]
        assert r.snapshot().models["a"].in_flight == 1

    virtual(main)


def test_an_observer_that_fails_harms_nobody(router: Any, virtual: Any, caplog: Any) -> None:
    """The others are told, and the events after it, too."""

    async def main() -> None:
        told: list[str] = []

        def fail(event: Any) -> None:
            raise ValueError("no")

        r = router({"a": None}, observers=[fail, lambda event: told.append(type(event).__name__)])
        (await r.route("t")).settle()
        assert told == ["Routed", "Settled"]

    virtual(main)
    assert len(caplog.records) == 2
