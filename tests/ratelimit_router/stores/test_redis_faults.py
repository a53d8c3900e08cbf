"""What a store on a server does when the network, the server, or its memory fails."""

import asyncio
import logging
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import cast
from uuid import uuid4

import pytest
import redis
import trustme
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from ratelimit_router.clock import Clock
from ratelimit_router.errors import StoreUnavailable
from ratelimit_router.stores.local import LocalPages, LocalStore
from ratelimit_router.stores.redis import RedisStore
from ratelimit_router.stores.scripts import script
from ratelimit_router.stores.terms import Change, End, Incident, Want, Why
from tests.ratelimit_router.stores.contract import MINUTE, SECOND, START, calendar, continuous, model, rolling
from tests.ratelimit_router.stores.faults import Proxy
from tests.ratelimit_router.stores.servers import SERVERS, Server, servers
from tests.ratelimit_router.stores.test_redis import ask, opened
from tests.ratelimit_router.stores.test_stores_decide_alike import Alike

OFFER = model("m", rolling(10))


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, server_of: Callable[[str], Server]) -> Server:
    """Each server that there is."""
    return server_of(request.param)


@pytest.fixture(params=sorted(SERVERS))
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One that the test may kill; it keeps nothing."""
    with servers(request.param) as server:
        yield server


@pytest.fixture(params=sorted(SERVERS))
def lasting(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One that the test may kill; it keeps a log."""
    with servers(request.param, "--appendonly", "yes", "--appendfsync", "everysec") as server:
        yield server


# -- the network -------------------------------------------------------------------------------------------------------


def test_a_slow_network_is_no_fault(server: Server) -> None:
    """Answers that take 50 ms are waited for, several at a time."""

    async def play() -> None:
        async with Proxy(server.port) as proxy, opened(proxy.url) as store:
            proxy.latency = 0.05
            begun = monotonic()
            await asyncio.gather(*(store.admit(ask(str(number))) for number in range(5)))
            assert monotonic() - begun < 0.25

    asyncio.run(play())


def test_a_connection_over_a_slow_network(server: Server) -> None:
    """The timeout is for each answer, also of those that are needed before anybody can ask."""

    async def play() -> None:
        async with Proxy(server.port) as proxy:
            proxy.latency = 0.06
            async with opened(proxy.url, timeout=0.15) as store:
                assert (await store.admit(ask("a"))).grants

    asyncio.run(play())


def test_a_black_hole_is_noticed_in_time(server: Server) -> None:
    """StoreUnavailable after the timeout, also while connecting; when the network is back, so is the store."""

    async def play() -> None:
        async with Proxy(server.port) as proxy, opened(proxy.url, timeout=0.1) as store:
            proxy.silent = True
            for _ in range(3):
                begun = monotonic()
                with pytest.raises(StoreUnavailable):
                    await store.admit(ask("a"))
                assert monotonic() - begun < 0.3
            proxy.silent = False
            proxy.reset()
            assert (await store.admit(ask("b"))).grants

    asyncio.run(play())


def test_a_connection_that_was_cut_is_replaced(server: Server) -> None:
    """An act on it is repeated on a new one."""

    async def play() -> None:
        async with Proxy(server.port) as proxy, opened(proxy.url) as store:
            for lease in ("a", "b", "c"):
                proxy.reset()
                assert (await store.admit(ask(lease, OFFER))).grants
            assert (await store.look(("m",)))[0].running == 3

    asyncio.run(play())


def test_an_answer_that_was_lost_charges_once(server: Server) -> None:
    """The act is repeated, and the store knows the lease; a second loss is reported."""

    async def play() -> None:
        async with Proxy(server.port) as proxy, opened(proxy.url) as store:
            await store.admit(ask("a", OFFER))
            proxy.lose = 1
            assert [one.lease for one in (await store.admit(ask("b", OFFER))).grants] == ["b"]
            proxy.lose = 1
            await store.end((End(lease="b"),))
            page = (await store.look(("m",)))[0]
            assert (page.running, len(page.charges)) == (1, 2)
            proxy.lose = 5
            with pytest.raises(StoreUnavailable):
                await store.admit(ask("c", OFFER))

    asyncio.run(play())


def test_a_line_whose_first_answer_was_lost_waits_nowhere_once_it_is_served(server: Server) -> None:
    """It was denied at first, and is served when the act is repeated: others are woken then, not it."""
    now, pace = START / 1e6, 0.0

    def clock() -> float:
        nonlocal now
        now += pace
        return now - pace

    async def play() -> None:
        nonlocal pace
        heard: asyncio.Queue[Change] = asyncio.Queue()
        first, second, lasts = model("a", rolling(1)), model("b", concurrency=1), 3600 * SECOND
        async with Proxy(server.port) as proxy, opened(proxy.url, heard.put_nowait, clock=clock) as store:
            await store.admit(ask("x", first, lasts=lasts))
            await store.admit(ask("y", second, lasts=lasts))
            proxy.lose, pace = 1, 61.0
            wants = (Want(lease="z", cost=(1, 0, 0, 0), within=0),)
            assert [
                one.offer for one in (await store.admit(ask("", first, second, line="one", wants=wants))).grants
            ] == [0]
            pace = 0.0
            await store.admit(ask("w", second, line="two"))
            await store.end((End(lease="y"),))
            while not (woken := (await asyncio.wait_for(heard.get(), 5)).wake):
                pass
            assert woken == ("two",)

    asyncio.run(play())


def test_tls(server: Server, tmp_path: Path) -> None:
    """A server whose certificate is trusted is used; one whose is not, or that does not speak TLS, is not available."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))

    async def play() -> None:
        async with Proxy(server.port, context) as proxy:
            async with opened(f"{proxy.url}?ssl_ca_certs={trusted}", timeout=2) as store:
                assert (await store.admit(ask("a"))).grants
            for url in (proxy.url, server.url.replace("redis:", "rediss:")):
                with pytest.raises(StoreUnavailable):
                    async with opened(url):
                        pass

    asyncio.run(play())


def test_a_loop_that_was_busy_is_not_a_store_that_is_late(server: Server) -> None:
    """If this process had no time to read the answer, the answer still counts."""

    async def play() -> None:
        async with opened(server.url, timeout=0.1) as store:
            act = asyncio.create_task(store.admit(ask("a")))
            await asyncio.sleep(0)
            busy = monotonic() + 0.2
            while monotonic() < busy:
                pass
            assert (await act).grants

    asyncio.run(play())


# -- the server --------------------------------------------------------------------------------------------------------


def test_a_server_that_stands_still(own: Server) -> None:
    """StoreUnavailable within the timeout; when it goes on, so does the store."""

    async def play() -> None:
        async with opened(own.url, timeout=0.1) as store:
            own.signal(signal.SIGSTOP)
            begun = monotonic()
            with pytest.raises(StoreUnavailable):
                await store.admit(ask("a"))
            assert monotonic() - begun < 0.3
            own.signal(signal.SIGCONT)
            for _ in range(20):
                try:
                    assert (await store.admit(ask("a"))).grants
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
            assert (await store.look(("m",)))[0].running == 1

    asyncio.run(play())


def test_a_server_that_lost_everything_hands_out_nothing(own: Server, caplog: pytest.LogCaptureFixture) -> None:
    """kill -9 without a log: quotas count as spent for another 1.5 s, in which all routers hear of it and give up what
    they had booked, and come back as they refill; the operator is told once."""
    day = 86_400 * SECOND

    async def play() -> None:
        news: list[Change] = []
        store = RedisStore(own.url, prefix="p")
        await store.open(news.append)
        offers = (model("rolling", rolling(10)), model("even", continuous(10)))
        await store.admit(ask("a", *offers))
        own.kill()
        with pytest.raises(StoreUnavailable):
            await store.admit(ask("b", *offers))
        own.start()
        daily = model("daily", calendar(10, period=day, opens=SECOND, closes=2**52))
        answer = await store.admit(ask("b", *offers, daily))
        born = answer.now
        assert [(denial.why, denial.at - born) for denial in answer.denials] == [
            (Why.QUOTA, pytest.approx(MINUTE + 1.5 * SECOND, abs=SECOND)),
            (Why.QUOTA, pytest.approx(7.5 * SECOND, abs=SECOND)),
            (Why.QUOTA, 2**52 - born),
        ]
        assert answer.grants[0].at > born  # booked, for when it will be there
        assert Change(anew=True) in news
        await store.aclose()
        async with opened(own.url, prefix="p", blank="careful") as other:  # a newcomer believes it
            assert (await other.admit(ask("c", model("rolling", rolling(10))))).denials

    with caplog.at_level(logging.WARNING):
        asyncio.run(play())
    assert sum("lost its state" in record.message for record in caplog.records) == 1


def test_the_operator_may_say_that_nothing_was_spent(own: Server) -> None:
    """`blank="full"`: quotas are full after a loss."""

    async def play() -> None:
        async with opened(own.url) as store:
            await store.admit(ask("a", OFFER))
            own.kill()
            own.start()
            assert (await store.admit(ask("b", OFFER))).denials == ()

    asyncio.run(play())


def test_a_server_with_a_log_is_trusted(lasting: Server) -> None:
    """kill -9 with a log: what was spent is known, the rest can be had at once, and the listener asks to look anew."""

    async def play() -> None:
        news: asyncio.Queue[Change] = asyncio.Queue()
        offer = model("m", rolling(2))
        async with opened(lasting.url, news.put_nowait, blank="full", prefix="p") as store:
            await store.admit(ask("a", offer))
        async with opened(lasting.url, news.put_nowait, blank="careful", prefix="p") as store:
            lasting.kill()
            lasting.start()
            assert (await store.admit(ask("b", offer))).denials == ()
            assert (await store.admit(ask("c", offer))).denials != ()
            assert await asyncio.wait_for(news.get(), 5) == Change(anew=True)

    asyncio.run(play())


def test_a_wiped_store_is_noticed_at_the_next_act(own: Server) -> None:
    """FLUSHALL under a living connection: everything counts as spent."""

    async def play() -> None:
        async with opened(own.url, prefix="p") as store:
            await store.admit(ask("a", OFFER))
        async with opened(own.url, prefix="p", blank="careful") as store:
            assert (await store.admit(ask("b", OFFER))).denials == ()
            own.say("FLUSHALL")
            assert (await store.admit(ask("c", OFFER))).denials != ()

    asyncio.run(play())


def test_whoever_knew_more_empties_what_was_begun_in_ignorance(own: Server) -> None:
    """A newcomer finds nothing and begins; one who knew the old store says that it was lost."""

    async def play() -> None:
        async with opened(own.url, prefix="p") as first:
            await first.admit(ask("a", OFFER))
        async with opened(own.url, prefix="p", blank="careful") as knowing:
            await knowing.admit(ask("b", OFFER))
            own.say("FLUSHALL")
            news: list[Change] = []
            async with opened(own.url, news.append, prefix="p", blank="full") as ignorant:
                assert (await ignorant.admit(ask("c", OFFER))).denials == ()
                assert (await knowing.admit(ask("d", OFFER))).denials != ()
                assert (await ignorant.admit(ask("e", OFFER))).denials != ()

    asyncio.run(play())


def test_a_young_server_is_believed_to_be_empty(own: Server) -> None:
    """First start, or a restart without any router that knew it: quotas shorter than the server's uptime are full."""

    async def play() -> None:
        async with opened(own.url, blank="careful") as store:
            answer = await store.admit(ask("a", model("m", rolling(10), concurrency=5)))
            assert answer.denials[0].why is Why.QUOTA
            assert answer.now + 55 * SECOND < answer.denials[0].at <= answer.now + MINUTE

    asyncio.run(play())


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_replica_that_takes_over_waits_for_what_is_in_flight(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """No admission for 1.5 s, in which survivors restate; then it goes on."""
    fast = ("--repl-diskless-sync-delay", "0")
    with (
        servers(name, *fast) as first,
        servers(name, *fast, "--replicaof", "127.0.0.1", str(first.port)) as second,
    ):

        async def play() -> None:
            news: list[Change] = []
            async with Proxy(first.port) as proxy:
                async with opened(proxy.url, prefix="p"):
                    pass
                async with opened(proxy.url, news.append, prefix="p", blank="careful", timeout=2) as store:
                    for _ in range(100):
                        if b"master_link_status:up" in second.say("INFO replication"):
                            break
                        await asyncio.sleep(0.05)
                    await asyncio.sleep(2.1)  # uptimes are whole seconds
                    await store.admit(ask("a", OFFER))
                    for _ in range(100):
                        if b"lease:a" in second.say("KEYS *lease:a"):
                            break
                        await asyncio.sleep(0.01)
                    first.kill()
                    second.say("REPLICAOF NO ONE")
                    proxy.port = second.port
                    proxy.reset()
                    answer = await store.admit(ask("b", OFFER))
                    assert answer.grants == ()
                    assert answer.denials[0].at - answer.now <= 1.5 * SECOND
                    assert Change(anew=True) in news
                    await asyncio.sleep((answer.denials[0].at - answer.now) / 1e6)
                    assert (await store.admit(ask("b", OFFER))).grants

        with caplog.at_level(logging.WARNING):
            asyncio.run(play())
        assert any("taken over" in record.message for record in caplog.records)


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_store_that_has_lost_something_decides_as_the_book_says(
    name: str, server_of: Callable[[str], Server]
) -> None:
    """Not only full quotas are the same as in this process: also those of which nothing is known."""
    url, greeting = server_of(name).url, script("greet").text

    def begun_blank(clock: Clock) -> RedisStore:
        prefix = uuid4().hex
        with redis.Redis.from_url(url) as client:
            client.eval(greeting, 1, f"{{{prefix}}}:store", START, "known before", "anew", "run", 0, 1, 0, 0)
        return RedisStore(url, prefix=prefix, timeout=5, blank="full", clock=clock)

    class Pair(Alike):
        makers = {name: begun_blank}  # noqa: RUF012 it is this test's own

        def __init__(self) -> None:
            super().__init__()
            cast("LocalStore", self.model.store)._pages = LocalPages(START + 3 * SECOND // 2, lost=True)

    run_state_machine_as_test(
        Pair,
        settings=settings(
            max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_another_node_of_a_cluster_has_the_keys() -> None:
    """The store follows the redirection, and hears what is published there."""
    with servers("valkey", "--cluster-enabled", "yes") as empty, servers("valkey", "--cluster-enabled", "yes") as owner:

        async def play() -> None:
            owner.say("CLUSTER ADDSLOTSRANGE 0 16383")
            empty.say(f"CLUSTER MEET 127.0.0.1 {owner.port}")
            for _ in range(200):
                if all(b"cluster_state:ok" in one.say("CLUSTER INFO") for one in (empty, owner)):
                    break
                await asyncio.sleep(0.05)
            heard: asyncio.Queue[Change] = asyncio.Queue()
            async with opened(empty.url, heard.put_nowait) as store:
                assert (await store.admit(ask("a", OFFER))).grants
                await store.cool(Incident(account="m", epoch=0, lasts=1, extends=False, verdict=SECOND, silence=True))
                assert await asyncio.wait_for(heard.get(), 5) == Change(accounts=("m",))

        asyncio.run(play())


def test_keys_of_other_prefixes_stay(server: Server) -> None:
    """Closing leaves everything where it is."""

    async def play() -> None:
        prefix = uuid4().hex
        async with opened(server.url, prefix=prefix) as store:
            await store.admit(ask("a", OFFER))
        async with opened(server.url, prefix=prefix) as store:
            assert (await store.look(("m",)))[0].running == 1

    asyncio.run(play())
