"""What an SQLite file adds to the contract: other processes, their deaths, restarts, and files that cannot be used."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ratelimit_router.errors import ConfigError, StoreUnavailable
from ratelimit_router.stores import sqlite_file, sqlite_pages
from ratelimit_router.stores.sqlite import SqliteStore
from ratelimit_router.stores.terms import Ask, Change, End, Offer, Want
from tests.ratelimit_router.stores.contract import LASTS, SECOND, desk_of, model, rolling


def run(main: Any) -> Any:
    """Run a coroutine in real time: locks of other processes know no other."""
    return asyncio.run(main)


def ask(lease: str, offer: Offer | None = None, line: str = "line") -> Ask:
    """For one request."""
    return Ask(
        line=line,
        steps=((offer or model("m", rolling(10**6)),),),
        wants=(Want(lease=lease, cost=(1, 0, 0, 0), within=0),),
        lasts=LASTS,
    )


@contextlib.asynccontextmanager
async def opened(path: Path, heard: Callable[[Change], None] = lambda change: None, **options: Any) -> Any:
    """A store, closed in the end."""
    store = SqliteStore(path, **options)
    await store.open(heard)
    try:
        yield store
    finally:
        await store.aclose()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody who knows nothing of turnstiles writes, and takes their time."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def in_the_turnstile(path: Path) -> Iterator[None]:
    """Another process is in the turnstile, and stays there."""
    turnstile = sqlite_file.Turnstile(path.with_name(path.name + "-lock"))
    assert turnstile.enter()
    yield
    turnstile.close()


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )


WORKER = """
import asyncio, sys
from ratelimit_router.stores.sqlite import SqliteStore
from ratelimit_router.stores.terms import Ask, End, Want
from tests.ratelimit_router.stores.contract import LASTS, model, pool, rolling

async def main(path, name, amount, tries):
    store = SqliteStore(path)
    await store.open(lambda change: None)
    offer = model("m", rolling(amount), pools=[pool("p", rolling(amount))])
    print("open", flush=True)
    granted, ends = 0, ()
    for number in range(tries):
        want = Want(lease=f"{name}-{number}", cost=(1, 2, 3, 5), within=0)
        answer = await store.admit(Ask(line=name, steps=((offer,),), wants=(want,), lasts=LASTS, ends=ends))
        granted += len(answer.grants)
        ends = (End(lease=want.lease, cost=(1, 1, 1, 2)),)
    print(granted, flush=True)
    await store.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


# -- several processes -------------------------------------------------------------------------------------------------


def test_four_processes_share_one_quota_to_the_last_call(tmp_path: Path) -> None:
    """Together they get what there is, and not one call more; nobody finds the database locked."""
    path = tmp_path / "quotas.db"
    workers = [start(WORKER, path, name, 300, 150) for name in "abcd"]
    granted = [int(worker.communicate(timeout=60)[0].split()[1]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert sum(granted) == 300


def test_processes_that_are_killed_at_any_moment_leave_the_file_whole(tmp_path: Path) -> None:
    """Every act is there as a whole, or not at all; nothing is lost, and others go on at once."""
    path = tmp_path / "quotas.db"
    for round_number in range(4):
        workers = [start(WORKER, path, f"{round_number}-{name}", 10**6, 10**6) for name in "ab"]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "open\n"
        deadline = time.monotonic() + 0.15 + 0.03 * round_number
        while time.monotonic() < deadline:
            os.sched_yield()
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
    with desk_of(lambda clock: SqliteStore(path, timeout=1.0)) as desk:
        first, second = desk.look("m", "p")
        assert desk.admit(model("m", rolling(10**6))).grants
    assert len(first.charges) > 20
    assert first.charges == second.charges
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        leases = database.execute("SELECT count(*), sum(running) FROM leases").fetchone()
        assert leases == (len(first.charges) + 1, first.running + 1)


def test_a_process_that_leaves_does_not_delete_the_log_of_those_who_stay(tmp_path: Path) -> None:
    """SQLite's locks of one process are lost if it only opens and closes the file: nobody may do that."""
    path = tmp_path / "quotas.db"
    with desk_of(lambda clock: SqliteStore(path)) as desk, desk_of(lambda clock: SqliteStore(path)) as other:
        desk.admit(model("m", rolling(1)))
        log = path.with_name("quotas.db-wal").stat().st_ino
        worker = start(WORKER, path, "a", 10, 2)
        assert worker.communicate(timeout=30)[0].split() == ["open", "2"]
        assert path.with_name("quotas.db-wal").stat().st_ino == log
        assert len(other.page("m").charges) == 3


def test_what_a_killed_process_had_in_flight_comes_back_when_its_lease_expires(tmp_path: Path) -> None:
    """The slot is not lost for good, and not free too early."""
    path = tmp_path / "quotas.db"
    offer = model("m", concurrency=1)
    code = WORKER.replace(
        'model("m", rolling(amount), pools=[pool("p", rolling(amount))])', 'model("m", concurrency=1)'
    )
    worker = start(code.replace("print(granted, flush=True)", "print(granted, flush=True); input()"), path, "a", 1, 1)
    assert worker.stdout is not None
    assert [worker.stdout.readline() for _ in range(2)] == ["open\n", "1\n"]
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    with desk_of(lambda clock: SqliteStore(path, clock=clock), now=int(time.time() * SECOND)) as desk:
        assert desk.admit(offer).grants == ()
        assert len(desk.after(LASTS / SECOND).admit(offer).grants) == 1


def test_changes_of_another_process_are_heard_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    """In their order, and each once; one's own are heard at once."""

    async def main() -> None:
        path, news = tmp_path / "quotas.db", asyncio.Queue[tuple[float, Change]]()
        own: list[Change] = []
        async with (
            opened(path, own.append) as one,
            opened(path, lambda change: news.put_nowait((time.perf_counter(), change))),
        ):
            began = time.perf_counter()
            await one.reopen(["unknown"])
            await one.admit(ask("a", model("m", concurrency=1), line="x"))
            await one.admit(ask("b", model("m", concurrency=1), line="y"))
            await one.end([End(lease="a")])
            assert own == [Change(wake=("y",))]
            at, change = await asyncio.wait_for(news.get(), 5)
            assert change == own[0]
            assert at - began < 0.5  # a tenth, and some for a busy machine
            assert news.empty()

    run(main())


def test_whoever_missed_too_many_changes_is_told_to_look_at_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped for long hears of the latest changes, and that there were others."""
    monkeypatch.setattr(sqlite_pages, "HEARD", 2)

    async def main() -> None:
        path, news = tmp_path / "quotas.db", list[Change]()
        async with opened(path) as one, opened(path, news.append, poll=60.0) as other:
            for number in range(6):
                await one.admit(ask(f"{number}", model("m", concurrency=1), line="x"))
                await one.admit(ask(f"other {number}", model("m", concurrency=1), line=f"y{number}"))
                await one.end([End(lease=f"{number}")])
            with contextlib.closing(sqlite3.connect(path)) as database, database:
                sqlite_pages.SqlitePages(database).tidy(0)
            await other.look(["m"])
            assert news == [Change(anew=True), Change(wake=("y4",)), Change(wake=("y5",))]

    run(main())


# -- waiting for others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [locked, in_the_turnstile])
def test_the_event_loop_goes_on_while_another_process_writes(
    tmp_path: Path, lock: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    """The act waits in a thread, and is done when the other is."""

    async def main() -> None:
        async with opened(tmp_path / "quotas.db") as store:
            with lock(tmp_path / "quotas.db"):
                act = asyncio.create_task(store.admit(ask("a")))
                longest, last = 0.0, time.perf_counter()
                for _ in range(50):
                    await asyncio.sleep(0.001)
                    now = time.perf_counter()
                    longest, last = max(longest, now - last), now
                assert not act.done()
                assert longest < 0.25  # far less: some for a busy machine
                assert (await store.look(["m"]))[0].charges == ()  # whoever only looks waits for nobody
            assert len((await act).grants) == 1

    run(main())


@pytest.mark.parametrize("lock", [locked, in_the_turnstile])
def test_a_lock_that_is_not_to_be_had_is_an_error_that_says_so(
    tmp_path: Path, lock: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    """After `timeout`; nothing was done, and it goes on when the lock is free."""

    async def main() -> None:
        path = tmp_path / "quotas.db"
        async with opened(path, timeout=0.05) as store:
            with lock(path), pytest.raises(StoreUnavailable, match=r"quotas\.db.*locked it for more than 0\.05 s"):
                await store.admit(ask("a"))
            assert (await store.look(["m"]))[0].charges == ()
            assert len((await store.admit(ask("a"))).grants) == 1

    run(main())


def test_looking_waits_for_nobody(tmp_path: Path) -> None:
    """Whoever only reads needs no lock."""

    async def main() -> None:
        async with opened(tmp_path / "quotas.db", timeout=0.05) as store:
            with locked(tmp_path / "quotas.db"):
                assert (await store.look(["m"]))[0].name == "m"

    run(main())


def test_whoever_does_not_wait_any_more_is_not_admitted_but_an_end_is_done(tmp_path: Path) -> None:
    """A cancelled request that has not begun is dropped: nobody would end it. An end still counts."""

    async def main() -> None:
        path = tmp_path / "quotas.db"
        async with opened(path) as store:
            await store.admit(ask("old"))
            with locked(path):
                acts = [asyncio.create_task(one) for one in (store.look(["m"]), store.end([End(lease="old")]))]
                acts += [asyncio.create_task(store.admit(ask("new")))]
                await asyncio.sleep(0.01)
                for act in acts[1:]:
                    act.cancel()
                await asyncio.wait(acts)
            await store.renew(["old"], 1)
            (page,) = await store.look(["m"])
            assert (page.running, len(page.charges)) == (0, 1)

    run(main())


# -- one process after the other ---------------------------------------------------------------------------------------


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    """Charges, bookings, cooldowns, lessons; and time does not run backwards, whatever the clock says."""
    path, offer = tmp_path / "quotas.db", model("m", rolling(1))
    with desk_of(lambda clock: SqliteStore(path, clock=clock)) as desk:
        desk.admit(offer, lease="a")
        desk.admit(offer, lease="b")
        desk.cool("n", 60, note="closed")
        before = desk.look("m", "n")
    with desk_of(lambda clock: SqliteStore(path, clock=clock), now=1) as desk:
        assert desk.look("m", "n") == before
        assert desk.admit(offer, lease="b").grants[0].at == before[0].charges[1][0]


def test_the_file_is_private(tmp_path: Path) -> None:
    """So is everything beside it."""
    with desk_of(lambda clock: SqliteStore(tmp_path / "quotas.db", clock=clock)) as desk:
        desk.admit(model("m", rolling(1)))
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("quotas.db", "quotas.db-lock", "quotas.db-shm", "quotas.db-wal"), 0o600)


def test_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charges, leases and changes that nobody needs any more are deleted, and the log is folded into the file."""
    monkeypatch.setattr("ratelimit_router.stores.sqlite.TIDY", 0.0)
    monkeypatch.setattr(sqlite_pages, "HEARD", 10)
    path = tmp_path / "quotas.db"
    with desk_of(lambda clock: SqliteStore(path, clock=clock)) as desk:
        for number in range(1500):
            ends = (End(lease=f"{number - 1}"),)
            assert desk.after(1).admit(model("m", rolling(1000)), lease=f"{number}", ends=ends).grants
        desk.reopen("m")
        assert len(desk.page("m").charges) <= 60 + 60 // 16
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM leases").fetchone()[0] < 700
    assert path.stat().st_size < 500_000


def test_several_routers_of_one_process_share_a_store(tmp_path: Path) -> None:
    """All hear everything; the last one that closes it closes the file, and it can be opened again."""

    async def main() -> None:
        store, news = SqliteStore(tmp_path / "quotas.db"), list[str]()
        for name in ("one", "two"):
            await store.open(lambda change, name=name: news.append(name))  # type: ignore[misc]
        await store.admit(ask("a", model("m", rolling(9), concurrency=1), line="x"))
        await store.admit(ask("b", model("m", rolling(9), concurrency=1), line="y"))
        await store.end([End(lease="a")])
        assert news == ["one", "two"]
        await store.aclose()
        await store.renew(["a"], 1)
        await store.aclose()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.look(["m"])
        await store.open(lambda change: None)
        assert len((await store.look(["m"]))[0].charges) == 1
        await store.aclose()

    run(main())


def test_a_process_that_was_forked_off_is_told_to_make_its_own(tmp_path: Path) -> None:
    """Its parent's store is of no use to it, and it keeps nobody out when its parent dies."""
    code = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore")
from ratelimit_router.errors import ConfigError
from ratelimit_router.stores.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open(lambda change: None)
    assert store._clerk._database.begin(writes=True)
    if not os.fork():
        try:
            await store.look(["m"])
        except ConfigError as error:
            print(error, flush=True)
        sys.stdin.read()
        os._exit(0)
    await asyncio.sleep(0.2)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""
    path = tmp_path / "quotas.db"
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert worker.stdout is not None
    assert "make a SqliteStore in each process" in worker.stdout.readline()
    assert worker.wait(20) == -signal.SIGKILL  # and its child still lives
    with desk_of(lambda clock: SqliteStore(path, clock=clock, timeout=0.5)) as desk:
        assert desk.admit(model("m", rolling(1))).grants
    worker.communicate()


# -- what cannot be used -----------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    """What is said of a path."""

    async def main() -> str:
        store = SqliteStore(path, timeout=0.1)
        with pytest.raises(ConfigError) as caught:
            await store.open(lambda change: None)
        assert (caught.value.key, caught.value.file) == ("store", str(path))
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.look(["m"])
        return caught.value.problem

    message: str = run(main())
    return message


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    """It is not made: the path is probably wrong."""
    assert "does not exist: make it" in refusal(tmp_path / "nowhere" / "quotas.db")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    """A directory, say."""
    assert "not a file" in refusal(tmp_path)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 500)
    assert "no SQLite database" in refusal(path)
    assert path.read_text() == "dear diary " * 500


@pytest.mark.parametrize(
    "mark", ["CREATE TABLE bookmarks (url)", "PRAGMA application_id = 77", "PRAGMA user_version = 3"]
)
def test_a_database_of_another_application(tmp_path: Path, mark: str) -> None:
    """It is left as it is, also if it is empty."""
    path = tmp_path / "firefox.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(mark)
    before = path.read_bytes()
    assert "another application" in refusal(path)
    assert path.read_bytes() == before


def test_a_newer_schema(tmp_path: Path) -> None:
    """An older version does not guess at it."""
    path = tmp_path / "quotas.db"
    with desk_of(lambda clock: SqliteStore(path, clock=clock)):
        pass
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    assert "newer version" in refusal(path)


def test_a_damaged_file(tmp_path: Path) -> None:
    """It is said that it is damaged, and what that means."""
    path = tmp_path / "quotas.db"
    with desk_of(lambda clock: SqliteStore(path, clock=clock)):
        pass
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\x99" * 8192)
    with pytest.raises((ConfigError, StoreUnavailable)) as caught, desk_of(lambda clock: SqliteStore(path)) as desk:
        desk.admit(model("m"))
    assert str(path) in str(caught.value)


def test_a_place_where_the_log_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system, say: here, one that knows no shared memory."""
    original = sqlite_file._uri
    monkeypatch.setattr(sqlite_file, "_uri", lambda path: original(path) + "?vfs=unix-dotfile")
    assert "write-ahead log does not work: put it on a local disk" in refusal(tmp_path / "quotas.db")


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    """Acting as a user who may not write everywhere, if we are root; else as ourselves."""

    @contextlib.contextmanager
    def acting() -> Iterator[None]:
        if os.geteuid():
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    places = [tmp_path, *tmp_path.parents]
    modes = [(place, stat.S_IMODE(place.stat().st_mode)) for place in places if "pytest" in str(place)]
    for place, mode in modes if not os.geteuid() else ():
        place.chmod(mode | 0o055)
    yield acting
    for place, mode in modes:
        place.chmod(mode)


def test_a_file_that_must_not_be_written(tmp_path: Path, nobody: Any) -> None:
    """Whoever may only read it cannot take part."""
    place = tmp_path / "place"
    place.mkdir()
    path = place / "quotas.db"
    with desk_of(lambda clock: SqliteStore(path, clock=clock)):
        pass
    path.chmod(0o444)
    place.chmod(0o777)
    with nobody():
        assert "the file cannot be written" in refusal(path)


def test_a_directory_that_must_not_be_written(tmp_path: Path, nobody: Any) -> None:
    """SQLite's log has to be beside the file."""
    place = tmp_path / "place"
    place.mkdir()
    path = place / "quotas.db"
    with desk_of(lambda clock: SqliteStore(path, clock=clock)):
        pass
    path.chmod(0o666)
    place.chmod(0o555)
    with nobody():
        assert "nothing can be written in the directory" in refusal(path)
    place.chmod(0o755)


def test_nothing_that_is_kept_is_a_secret(tmp_path: Path) -> None:
    """What is written are the names, numbers and notes that a router gives, and its own ids."""
    with desk_of(lambda clock: SqliteStore(tmp_path / "quotas.db", clock=clock)) as own:
        own.admit(model("m", rolling(1)))
    with contextlib.closing(sqlite3.connect(tmp_path / "quotas.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"meta", "accounts", "charges", "leases", "changes"}
