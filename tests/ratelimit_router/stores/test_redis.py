"""What a store on a server promises besides the contract: its keys, its errors, its secrets, and what it hears."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest
import redis
from redis.crc import key_slot

from ratelimit_router.errors import ConfigError, StoreUnavailable
from ratelimit_router.stores.redis import RedisStore
from ratelimit_router.stores.server import Facts
from ratelimit_router.stores.shared import SharedStore
from ratelimit_router.stores.terms import NOTHING, Answer, Ask, Change, End, Incident, Lesson, Want
from tests.ratelimit_router.stores.contract import MINUTE, SECOND, calendar, continuous, model, pool, rolling
from tests.ratelimit_router.stores.servers import SERVERS, Server, servers


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, server_of: Callable[[str], Server]) -> Server:
    """Each server that there is."""
    return server_of(request.param)


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """Somebody else's client of it."""
    with redis.Redis(port=server.port) as client:
        yield client


@asynccontextmanager
async def opened(
    url: str, heard: Callable[[Change], None] = lambda change: None, **options: object
) -> AsyncIterator[RedisStore]:
    """A store; with a prefix of its own, and full quotas, unless told otherwise."""
    store = RedisStore(url, **({"prefix": uuid4().hex, "blank": "full"} | options))  # type: ignore[arg-type]
    await store.open(heard)
    try:
        yield store
    finally:
        await store.aclose()


def ask(lease: str, *offers: object, **more: object) -> Ask:
    """For one lease."""
    chain = tuple((offer,) for offer in offers or (model("m", rolling(1000)),))
    facts = {"line": "line", "lasts": 30 * SECOND, "wants": (Want(lease=lease, cost=(1, 2, 3, 5)),)} | more
    return Ask(steps=chain, **facts)  # type: ignore[arg-type]


def test_it_is_a_shared_store(server: Server) -> None:
    """It has every act."""
    assert isinstance(RedisStore(server.url), SharedStore)


def _forget_scripts(client: redis.Redis) -> None:
    client.script_flush()
    with suppress(redis.ResponseError):  # there are none in 6.2
        client.function_flush()


def test_scripts_that_the_server_has_forgotten_are_sent_again(server: Server, client: redis.Redis) -> None:
    """SCRIPT FLUSH between two acts is not noticed."""

    async def play() -> None:
        async with opened(server.url) as store:
            for lease in ("a", "b", "c"):
                _forget_scripts(client)
                assert [one.lease for one in (await store.admit(ask(lease))).grants] == [lease]
            _forget_scripts(client)
            await store.end((End(lease="a", cost=NOTHING),))
            assert (await store.look(("m",)))[0].running == 2

    asyncio.run(play())


def test_cancelled_acts_leave_the_connection_in_step(server: Server) -> None:
    """After a thousand admissions that were cancelled on their way, each answer still belongs to its question."""

    async def play() -> None:
        async with opened(server.url, timeout=5) as store:
            for number in range(1000):
                act = asyncio.create_task(store.admit(ask(f"cancelled {number}")))
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                act.cancel()
                if number % 10 == 0:
                    answer = await store.admit(ask(f"kept {number}"))
                    assert [one.lease for one in answer.grants] == [f"kept {number}"]
                await asyncio.gather(act, return_exceptions=True)
            await store.end([End(lease=f"cancelled {number}", cost=NOTHING) for number in range(1000)])
            assert (await store.look(("m",)))[0].running == 100  # nothing that was cancelled is in flight

    asyncio.run(play())


def test_many_acts_at_once_share_the_connection(server: Server) -> None:
    """Everybody gets the answer to their own question."""

    async def play() -> None:
        async with opened(server.url, timeout=5) as store:
            answers = await asyncio.gather(*(store.admit(ask(f"lease {number}")) for number in range(200)))
            assert [answer.grants[0].lease for answer in answers] == [f"lease {number}" for number in range(200)]

    asyncio.run(play())


def test_two_routers_hear_of_each_other(server: Server) -> None:
    """A cooldown reaches the other process at once; so does the end of what somebody waits for."""

    async def play() -> None:
        heard: asyncio.Queue[Change] = asyncio.Queue()
        prefix, offer = uuid4().hex, model("m", rolling(1000), concurrency=1)
        async with (
            opened(server.url, prefix=prefix) as one,
            opened(server.url, heard.put_nowait, prefix=prefix) as other,
        ):
            await one.cool(Incident(account="m", epoch=0, lasts=1, extends=False, verdict=SECOND, silence=True))
            assert await asyncio.wait_for(heard.get(), 1) == Change(accounts=("m",))
            await one.admit(ask("a", offer))
            assert (await other.admit(ask("b", offer, line="theirs"))).grants == ()
            await one.end((End(lease="a"),))
            assert "theirs" in (await asyncio.wait_for(heard.get(), 1)).wake

    asyncio.run(play())


def test_a_listener_that_was_cut_off_comes_back_and_says_so(server: Server, client: redis.Redis) -> None:
    """News may have been missed: `anew`."""

    async def play() -> None:
        heard: asyncio.Queue[Change] = asyncio.Queue()
        async with opened(server.url, heard.put_nowait) as store:
            client.client_kill_filter(_type="pubsub")
            assert await asyncio.wait_for(heard.get(), 5) == Change(anew=True)
            await store.teach(Lesson(account="m", quota="rpm", version=0, amount=1, capacity=1))
            assert await asyncio.wait_for(heard.get(), 5) == Change(accounts=("m",))

    asyncio.run(play())


def test_news_that_cannot_be_heard_do_no_harm(
    server: Server, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the router does with them, or somebody else publishes: the listener goes on."""
    prefix, heard = uuid4().hex, asyncio.Queue[Change]()

    def hear(change: Change) -> None:
        heard.put_nowait(change)
        raise RuntimeError("a bug")

    async def play() -> None:
        async with opened(server.url, hear, prefix=prefix) as store:
            for text in ("nonsense", "[1, 2]", "3"):
                client.publish(f"{{{prefix}}}:news", text)
                assert await asyncio.wait_for(heard.get(), 5) == Change(anew=True)
            await store.teach(Lesson(account="m", quota="rpm", version=0, amount=1, capacity=1))
            assert await asyncio.wait_for(heard.get(), 5) == Change(accounts=("m",))

    asyncio.run(play())
    assert "a bug" in caplog.text


def test_any_number_of_ends_at_once(server: Server) -> None:
    """Ten thousand calls ended while the store was away."""

    async def play() -> None:
        async with opened(server.url, timeout=5) as store:
            await store.admit(ask("a"))
            ends = tuple(End(lease=f"lease {number}") for number in range(10_000))
            assert (await store.admit(ask("b", ends=(*ends, End(lease="a"))))).grants
            assert (await store.look(("m",)))[0].running == 1

    asyncio.run(play())


def test_a_store_that_is_closed_meanwhile(server: Server) -> None:
    """Acts under way end with StoreUnavailable, or their answer; nothing is opened again, unless it is asked for."""

    async def play() -> None:
        store = RedisStore(server.url, prefix=uuid4().hex, blank="full")
        await store.open(print)
        acts = [asyncio.create_task(store.admit(ask(str(number)))) for number in range(20)]
        await asyncio.sleep(0)
        await store.aclose()
        for result in await asyncio.gather(*acts, return_exceptions=True):
            assert isinstance(result, Answer | StoreUnavailable)
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.admit(ask("late"))
        await store.open(print)
        assert (await store.admit(ask("again"))).grants
        await store.aclose()

    asyncio.run(play())


def test_applications_do_not_share_by_accident(server: Server) -> None:
    """Another prefix, another quota; the same prefix, the same."""

    async def play() -> None:
        offer = model("m", rolling(1))
        here, there = uuid4().hex, uuid4().hex
        async with (
            opened(server.url, prefix=here) as one,
            opened(server.url, prefix=here) as same,
            opened(server.url, prefix=there) as other,
        ):
            assert (await one.admit(ask("a", offer))).denials == ()
            assert (await same.admit(ask("b", offer))).denials != ()
            assert (await other.admit(ask("a", offer))).denials == ()

    asyncio.run(play())


def test_all_keys_are_in_one_slot_and_expire_late_enough(server: Server, client: redis.Redis) -> None:
    """One slot of a cluster; every key has an expiry, which is later than the last moment at which it matters."""
    prefix = uuid4().hex

    async def play() -> None:
        async with opened(server.url, prefix=prefix) as store:
            shared = pool("pool", continuous(10, period=60 * MINUTE))
            offer = model("m", rolling(3, guard=SECOND), calendar(9, opens=0, closes=2**52), pools=(shared,))
            for number in range(4):
                await store.admit(ask(f"lease {number}", offer, lasts=3600 * SECOND))
            await store.end((End(lease="lease 0", cost=(1, 1, 1, 2)), End(lease="lease 1", cost=NOTHING)))
            await store.cool(Incident(account="m", epoch=0, lasts=1, extends=False, verdict=SECOND, silence=True))
            await store.teach(Lesson(account="m", quota="rpm", version=0, amount=1, capacity=1))

    asyncio.run(play())
    keys = [key.decode() for key in client.scan_iter(f"*{prefix}*")]
    assert {key.partition("}:")[2].partition(":")[0] for key in keys} == {
        *("store", "account", "charges", "lease", "running")
    }
    assert len({key_slot(key.encode()) for key in keys}) == 1
    for key in keys:
        needed = 3600 + 600 if ":lease:" in key or key.endswith("running") else 2 * 3600
        assert client.ttl(key) > (600 if key.endswith(":lease:lease 1") else needed) - 5, key


def test_a_place_in_flight_outlives_its_lease_key(server: Server, client: redis.Redis) -> None:
    """The record of a lease in flight is kept for as long as its place may have to be given back."""
    prefix = uuid4().hex

    async def play() -> None:
        async with opened(server.url, prefix=prefix) as store:
            await store.admit(ask("a", lasts=SECOND))
            assert client.ttl(f"{{{prefix}}}:lease:a") > 20 * 86_400

    asyncio.run(play())


# -- errors ------------------------------------------------------------------------------------------------------------


def refused(url: str, **options: object) -> Exception:
    """What opening a store there comes to."""

    async def play() -> None:
        async with opened(url, **options):
            pass

    with pytest.raises((ConfigError, StoreUnavailable)) as caught:
        asyncio.run(play())
    return caught.value


def test_nobody_there(server: Server) -> None:
    """A server that is not there is not available; the store can be opened later."""
    error = refused("redis://127.0.0.1:1")
    assert isinstance(error, StoreUnavailable)
    assert error.store == "redis://127.0.0.1:1"


@pytest.mark.parametrize("url", ["http://host", "redis://:secret@host:port", "nonsense", "redis://host?nonsense=1"])
def test_what_is_no_url_of_a_server(url: str) -> None:
    """A ConfigError, without the password."""
    error = refused(url)
    assert isinstance(error, ConfigError)
    assert "secret" not in str(error)


def test_what_cannot_be_a_prefix() -> None:
    """The prefix is within braces."""
    for prefix in ("", "a{b", "a}b"):
        with pytest.raises(ConfigError, match="prefix"):
            RedisStore("redis://host", prefix=prefix)


def test_a_password_is_never_shown() -> None:
    """Not in what the store looks like, not in what it raises, right or wrong."""
    with servers("valkey", "--requirepass", "open sesame") as server:
        right = f"redis://:open%20sesame@127.0.0.1:{server.port}/3"
        wrong = right.replace("open%20sesame", "open%20barley")
        assert "sesame" not in repr(RedisStore(right)) + repr(vars(RedisStore(right))["_address"])
        for url in (wrong, server.url):
            error = refused(url)
            assert isinstance(error, ConfigError)
            assert "password" in str(error)
            assert "barley" not in str(error) + repr(error) + repr(error.__cause__)

        async def play() -> None:
            async with opened(right) as store:
                assert (await store.admit(ask("a"))).grants
                server.signal(signal.SIGSTOP)
                with pytest.raises(StoreUnavailable) as caught:
                    await store.admit(ask("b"))
                server.signal(signal.SIGCONT)
                assert caught.value.store == f"redis://127.0.0.1:{server.port}/3"
                assert "sesame" not in str(caught.value) + repr(caught.value.__dict__)

        asyncio.run(play())


def test_a_user_who_may_do_only_what_is_needed(server: Server, client: redis.Redis) -> None:
    """By ACL: the documented rights are enough; without them the error says which are needed."""
    rules = "on >word resetkeys ~{mine}:* resetchannels &{mine}:* -@all +info +evalsha +script|load +@scripting"
    rules += " +subscribe +ping +get +mget +set +time +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +pexpire"
    client.execute_command("ACL", "SETUSER", "router", *rules.split(), "+publish", "+client|setinfo", "+select")
    client.execute_command("ACL", "SETUSER", "nobody", "on", ">word", "-@all")
    place = f"127.0.0.1:{server.port}"

    async def play() -> None:
        async with opened(f"redis://router:word@{place}", prefix="mine") as store:
            assert (await store.admit(ask(uuid4().hex))).grants
            await store.cool(Incident(account="m", epoch=0, lasts=1, extends=False, verdict=SECOND, silence=True))

    asyncio.run(play())
    error = refused(f"redis://nobody:word@{place}")
    assert isinstance(error, ConfigError)
    assert "+evalsha" in str(error)


def test_data_of_something_else(server: Server, client: redis.Redis) -> None:
    """Foreign keys under our prefix, or a store of another version, are left alone."""
    client.hset("{hash}:store", "a", "b")
    client.set("{text}:store", "a text")
    client.set("{list}:store", b"\x92\x63\x01")
    client.set("{later}:store", b"\x99\x63\xa1g\x00\x00\x00\xa1r\x00\x00\x00")
    for prefix, words in (("hash", "something else"), ("text", "else"), ("list", "else"), ("later", "another version")):
        error = refused(server.url, prefix=prefix)
        assert isinstance(error, ConfigError)
        assert words in str(error)


def test_a_server_that_is_too_old() -> None:
    """Says which one is needed."""
    with pytest.raises(ConfigError, match=r"6\.2 or later"):
        Facts.read(b"# Server\r\nredis_version:6.0.16\r\n")


def unavailable(server: Server, act: Callable[[RedisStore], Awaitable[object]], *commands: str) -> StoreUnavailable:
    """What an act comes to after these commands."""
    found: list[StoreUnavailable] = []

    async def play() -> None:
        async with opened(server.url) as store:
            for command in commands:
                assert b"+OK" in server.say(command)
            with pytest.raises(StoreUnavailable) as caught:
                await act(store)
            found.append(caught.value)

    asyncio.run(play())
    return found[0]


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_server_that_cannot_write_now(name: str) -> None:
    """A replica, or a server that is full: not available, for as long as it lasts; and nothing was half done."""
    with servers(name) as server:
        error = unavailable(server, lambda store: store.admit(ask("a")), "REPLICAOF 127.0.0.1 1")
        assert "replica" in error.detail
        server.say("REPLICAOF NO ONE")
        error = unavailable(server, lambda store: store.admit(ask("a")), "CONFIG SET maxmemory 1")
        assert "memory" in error.detail


def test_a_server_that_evicts_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """What was spent must not be evicted."""
    with servers("valkey", "--maxmemory-policy", "allkeys-lru") as server, caplog.at_level(logging.WARNING):

        async def play() -> None:
            async with opened(server.url) as store:
                server.say("CLIENT KILL TYPE normal")
                await store.admit(ask("a"))

        asyncio.run(play())
    assert sum("allkeys-lru" in record.message for record in caplog.records) == 1


def test_a_unix_socket(server: Server) -> None:
    """By its path."""

    async def play() -> None:
        async with opened(f"unix://{server.socket}?db=1") as store:
            assert (await store.admit(ask("a"))).grants
            assert server.socket in repr(store)

    asyncio.run(play())


def test_a_store_that_is_opened_twice(server: Server) -> None:
    """Belongs to one router."""

    async def play() -> None:
        async with opened(server.url) as store:
            with pytest.raises(ConfigError, match="one router"):
                await store.open(print)

    asyncio.run(play())
