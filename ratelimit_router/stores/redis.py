"""A shared store on a Redis or Valkey server, for processes on any number of machines: one script an act.

- The scripts decide, on the server's clock; see `Book`. All keys of one application share a hash tag (one slot of a
  cluster), and expire by themselves, long after everything in them is over.
- A command is sent once. If the connection is lost before the answer, the act is repeated once on a new one, which
  changes nothing if it had happened; without an answer in time it is not.
- Missing state means that everything is spent, unless the server has run for longer than the quota's period. State that
  survived a restart is trusted if the server keeps an append-only file. Where a replica has taken over, nothing is
  admitted for 1.5 s, in which the routers restate what they have in flight.

What it does badly: state that is wiped (FLUSHALL) while no router runs looks like a server that nothing was spent on.
"""

import asyncio
import json
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal
from uuid import uuid4

from ratelimit_router.clock import Clock
from ratelimit_router.errors import ConfigError, StoreUnavailable
from ratelimit_router.stores.replies import flat_ends, flat_wants, read_answer, read_lesson, read_page
from ratelimit_router.stores.shared import LEASE, check_lease
from ratelimit_router.stores.terms import Answer, Ask, Change, End, Incident, Lesson, Offer, Page, Record

try:
    from redis.exceptions import MovedError, NoPermissionError, NoScriptError, RedisError, ResponseError

    from ratelimit_router.stores.link import Dropped, Link, Raw, packed
    from ratelimit_router.stores.scripts import Script, digest_of, library, packed_chain, packed_records, script
    from ratelimit_router.stores.server import Address, Facts, translated
except ImportError as error:
    raise ConfigError("needs the extra: pip install 'ratelimit-router[redis]'", key="store") from error

__all__ = ["RedisStore"]

log = logging.getLogger("ratelimit_router")

QUIET = 5.0
"""Seconds without news after which the listener asks whether its connection still stands."""
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to listen again, at the most."""
WAITS = 4
"""Which of the arguments of an admission says whether its line waits."""
CHAINS = 256
"""How many packed chains are kept."""

Heard = Callable[[Change], None]


class RedisStore:
    """See `SharedStore`.

    `url`: `redis://`, `rediss://` (TLS) or `unix://`, with user and password if there are any. `prefix`: one for each
    application. `timeout`: seconds for one answer, and for connecting. `blank`: what state that is missing means:
    `"careful"` that everything was spent; `"full"` that nothing was, by your word: after a loss of the server's data,
    or a failover, up to a whole quota more is spent than there is. `lease`: see `SharedStore`.
    `clock`: for tests, instead of the server's.

    Raises ConfigError for a URL that cannot work. Belongs to the event loop on which it is opened.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "ratelimit-router",
        timeout: float = 0.5,
        blank: Literal["careful", "full"] = "careful",
        lease: float = LEASE,
        clock: Clock | None = None,
    ):
        if not prefix or "{" in prefix or "}" in prefix:
            raise ConfigError(f"the prefix {prefix!r} must not be empty, and have no braces", key="store")
        if blank not in ("careful", "full"):
            raise ConfigError(f"`blank` is 'careful' or 'full', not {blank!r}", key="store")
        self.lease = check_lease(lease)
        self._address = Address(url, timeout)
        self._timeout, self._blank, self._clock = timeout, blank, clock
        self._key, self._channel = f"{{{prefix}}}:store", f"{{{prefix}}}:news"
        self._generation = ""
        self._functions = True
        self._heard: Heard | None = None
        self._is_open = False
        self._link: Link | None = None
        self._linking: asyncio.Task[Link] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._warned: set[str] = set()
        self._chains: dict[int, tuple[tuple[tuple[Offer, ...], ...], bytes, str]] = {}

    def __repr__(self) -> str:
        return f"RedisStore({self._address.name!r})"

    # -- acts ----------------------------------------------------------------------------------------------------------

    async def open(self, heard: Heard) -> None:
        """See `SharedStore`. After StoreUnavailable it may be called again."""
        if self._is_open:
            raise ConfigError("a RedisStore belongs to one router: give each its own", key="store")
        self._heard, self._is_open = heard, True
        try:
            await self._linked()
            ready = asyncio.get_running_loop().create_future()
            self._listening = asyncio.create_task(self._listen(ready))
            await asyncio.shield(ready)
        except BaseException:
            await self.aclose()
            raise

    async def admit(self, ask: Ask) -> Answer:
        """See `SharedStore`."""
        chain, digest = self._packed(ask.steps)
        arguments: list[str | bytes | int] = [
            chain,
            ask.line,
            ask.lasts,
            ask.instead,
            int(ask.waits),
            len(ask.wants),
        ]
        arguments += flat_wants(ask.wants)
        if ask.ends:
            arguments += flat_ends(ask.ends)
        return read_answer(await self._act(_ADMIT, *arguments, digest=digest if ask.wants else ""))

    async def end(self, ends: Sequence[End]) -> None:
        """See `SharedStore`."""
        await self._act(_END, *flat_ends(ends))

    async def renew(self, leases: Sequence[str], lasts: int) -> tuple[str, ...]:
        """See `SharedStore`."""
        return tuple(lease.decode() for lease in await self._act(_RENEW, lasts, *leases))

    async def restate(self, records: Sequence[Record]) -> None:
        """See `SharedStore`."""
        await self._act(_RESTATE, packed_records(tuple(records)))

    async def cool(self, found: Incident) -> Page:
        """See `SharedStore`."""
        facts = (found.account, found.epoch, found.lasts, int(found.extends), found.verdict, int(found.silence))
        return read_page(await self._act(_COOL, *facts, found.note))

    async def reopen(self, names: Sequence[str]) -> None:
        """See `SharedStore`."""
        await self._act(_REOPEN, *names)

    async def teach(self, lesson: Lesson) -> Lesson:
        """See `SharedStore`."""
        facts = (lesson.account, lesson.quota, lesson.version, lesson.amount, lesson.capacity, lesson.text)
        return read_lesson(lesson.account, await self._act(_TEACH, *facts))

    async def look(self, names: Sequence[str]) -> tuple[Page, ...]:
        """See `SharedStore`."""
        return tuple(read_page(page) for page in await self._act(_LOOK, *names))

    async def aclose(self) -> None:
        """See `SharedStore`."""
        self._is_open = False
        if (listening := self._listening) is not None:
            listening.cancel()
            await asyncio.wait((listening,))
        if (linking := self._linking) is not None:  # others wait for it; it does not take long
            await asyncio.wait((linking,))
        link, self._link, self._listening = self._link, None, None
        if link is not None:
            await link.aclose()

    def _packed(self, steps: tuple[tuple[Offer, ...], ...]) -> tuple[bytes, str]:
        known = self._chains.get(id(steps))
        if known is None or known[0] is not steps:
            if len(self._chains) >= CHAINS:
                self._chains.clear()
            packed_steps = packed_chain(steps)
            known = self._chains[id(steps)] = steps, packed_steps, digest_of(packed_steps)
        return known[1:]

    async def _act(self, act: Script, *arguments: str | bytes | int, digest: str = "") -> Any:
        """Have a script carried out. A cancelled caller leaves everything in step. `digest`: of the first argument."""
        fresh = moved = False
        while True:
            link = self._link
            if link is None or not link.is_up:
                link = await self._linked()
            try:
                return await self._run(link, act, arguments, digest)
            except (Dropped, RedisError) as error:
                again = isinstance(error, Dropped) and not (error.late or fresh)
                if isinstance(error, MovedError) and not moved:
                    self._address.move(error.host, int(error.port))
                    await link.aclose()
                elif not again:
                    raise translated(error, self._address.name) from None
                fresh, moved = fresh or again, moved or not again
                if act is _ADMIT:  # the line may stand in waiting lists since the first time
                    arguments = (*arguments[:WAITS], 1, *arguments[WAITS + 1 :])

    async def _run(self, link: Link, act: Script, arguments: tuple[str | bytes | int, ...], digest: str) -> Any:
        attempts = 4
        while True:
            attempts -= 1
            now = "" if self._clock is None else round(self._clock() * 1e6)
            call = ("FCALL", act.function) if self._functions else ("EVALSHA", act.digest)
            told = (digest, *arguments[1:]) if digest and self._functions else arguments
            try:
                return await link.ask(*call, 1, self._key, now, self._generation, *told)
            except ResponseError as error:
                if not attempts:
                    raise
                if isinstance(error, NoScriptError):
                    await link.ask("SCRIPT", "LOAD", act.text)
                elif "Function not found" in str(error):
                    await link.ask("FUNCTION", "LOAD", "REPLACE", library())
                elif str(error).startswith("CHAIN"):
                    digest = ""
                elif str(error).startswith("BLANK"):
                    await self._greet(link)
                elif isinstance(error, NoPermissionError) and self._functions:
                    self._functions = False
                else:
                    raise

    # -- connections ---------------------------------------------------------------------------------------------------

    async def _linked(self) -> Link:
        """The connection; a new one if there is none, for all who wait for it."""
        if not self._is_open:
            raise StoreUnavailable(self._address.name, "it is not open")
        if self._link is not None and self._link.is_up:
            return self._link
        if self._linking is None:
            self._linking = asyncio.create_task(self._connect())
            self._linking.add_done_callback(self._connected)
        return await asyncio.shield(self._linking)

    def _connected(self, task: "asyncio.Task[Link]") -> None:
        self._linking = None
        if not task.cancelled():
            task.exception()  # whoever waited for it was told

    async def _connect(self, hops: int = 3) -> Link:
        raw = self._address.connection()
        link: Link | None = None
        try:
            async with asyncio.timeout(self._timeout):
                await raw.connect()
            link = Link(raw, self._timeout)
            await self._greet(link)  # several answers, each of which may take as long
        except BaseException as error:
            await (raw.disconnect(nowait=True) if link is None else link.aclose())
            if isinstance(error, MovedError) and hops:
                self._address.move(error.host, int(error.port))
                return await self._connect(hops - 1)
            self._address.forget_move()
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(self._address.name, f"no connection within {self._timeout:g} s") from None
            if isinstance(error, Dropped | RedisError | OSError):
                raise translated(error, self._address.name) from None
            raise
        self._link = link
        return link

    async def _greet(self, link: Link) -> None:
        """Find out whether this is the store that we know; if it lost anything, say so."""
        facts = Facts.read(await link.ask("INFO"))
        self._functions = self._functions and facts.has_functions
        now = "" if self._clock is None else round(self._clock() * 1e6)
        trusted, replica, full = int(facts.keeps_log), int(facts.can_be_replica), int(self._blank == "full")
        told = (facts.run, facts.uptime * 1_000_000, trusted, replica, full)
        command = ("EVALSHA", _GREET.digest, 1, self._key, now, self._generation, uuid4().hex, *told)
        try:
            generation, found = await link.ask(*command)
        except NoScriptError:
            await link.ask("SCRIPT", "LOAD", _GREET.text)
            generation, found = await link.ask(*command)
        before, self._generation = self._generation, generation.decode()
        self._warn(found.decode(), facts)
        if found in (b"lost", b"takeover") or before not in ("", self._generation):
            self._tell(Change(anew=True))

    def _warn(self, found: str, facts: Facts) -> None:
        if found == "lost":
            log.warning(
                "the store %s has lost its state: every quota counts as spent, and comes back as it refills; keep an"
                " append-only file (appendonly yes)",
                self._address.name,
            )
        elif found == "takeover":
            log.warning("another server has taken over as the store %s: asking what is in flight", self._address.name)
        if facts.evicts and "evicts" not in self._warned:
            self._warned.add("evicts")
            log.warning(
                "the store %s evicts keys (maxmemory-policy %s), and with them what was spent: set noeviction",
                self._address.name,
                facts.evicts,
            )

    # -- news ----------------------------------------------------------------------------------------------------------

    def _tell(self, change: Change) -> None:
        try:
            if self._heard is not None:
                self._heard(change)
        except Exception:
            log.exception("what %s told could not be heard", self._address.name)

    async def _listen(self, ready: "asyncio.Future[None]") -> None:
        """Hear of what others do, for ever. `ready`: told of the first attempt."""
        failures = 0
        while True:
            raw = self._address.connection()
            try:
                async with asyncio.timeout(self._timeout):
                    await raw.connect()
                    await raw.send_packed_command(packed(("SUBSCRIBE", self._channel)), check_health=False)
                    await raw.read_response()
                failures = 0
                if ready.done():
                    self._tell(Change(anew=True))
                else:
                    ready.set_result(None)
                await self._hear(raw)
            except (RedisError, OSError) as error:
                if not ready.done():
                    ready.set_exception(translated(error, self._address.name))
                    return
            finally:
                await raw.disconnect(nowait=True)
            failures += 1
            await asyncio.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.05 * 2**failures)))

    async def _hear(self, raw: Raw) -> None:
        """Until the connection is lost, or as good as."""
        silent = False
        while True:
            message = await raw.read_response(timeout=QUIET)
            if message is None:
                if silent:
                    return
                silent = True
                await raw.send_packed_command(packed(("PING",)), check_health=False)
                continue
            silent = False
            if message[0] == b"message":
                try:
                    wake, accounts = json.loads(message[2])
                    change = Change(wake=tuple(wake), accounts=tuple(accounts))
                except (ValueError, TypeError):
                    change = Change(anew=True)  # not ours
                self._tell(change)


_ADMIT, _END, _RENEW, _RESTATE, _COOL, _REOPEN, _TEACH, _LOOK, _GREET = map(
    script, ("admit", "end", "renew", "restate", "cool", "reopen", "teach", "look", "greet")
)
