"""The router as its users see it: ask for a model, retry along a chain, call through a provider, look inside.

It is not thread-safe: one router belongs to one event loop. What it decides stands in `dispatch` and below. What only
some routers need (messages, snapshots, chance) is imported when it is first asked for.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from ratelimit_router.account import Account
from ratelimit_router.attempts import Attempt, Attempts
from ratelimit_router.catalogue import Catalogue
from ratelimit_router.clock import Clock, monotonic, wall
from ratelimit_router.dispatch import Dispatcher
from ratelimit_router.errors import ConfigError, RouterClosed
from ratelimit_router.lease import PROMISED, Chain, Lease, cost_of, wish
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.registry import Registry
from ratelimit_router.stores.memory import MemoryStore
from ratelimit_router.topology import AccountFactory

if TYPE_CHECKING:
    import random

    from ratelimit_router.batch import Batch
    from ratelimit_router.events import Observer
    from ratelimit_router.messages import Chunk, Reply, Request, Usage
    from ratelimit_router.provider import Provider
    from ratelimit_router.snapshot import RouterSnapshot
    from ratelimit_router.stores.shared import SharedStore

__all__ = ["Router"]

T = TypeVar("T")

LONGEST_GUARD = 60.0
"""Seconds. More would be a quota of its own."""
MOST_STRETCH = 100.0
"""Times the configured limits. More would be no limit."""

_KEEP: Literal["keep"] = "keep"


class Router:
    """Which model next, and when.

    `models`, `pools`, `tiers`: what there is. `fallback`: the model that ends every chain. `providers`: instances by
    name, in place of installed ones. `observers`: see `events`. `slow_start`: how many unanswered calls a fresh model
    may have at first (the window then grows with every answer; None: no such limit). `guard`: seconds by which quotas
    are believed to come back later than they should; a little more than the network's jitter keeps a call that
    overtakes another from arriving too early. `stretch`: to how many times their configured amount quotas may grow
    while they hold calls back and nothing is refused (1.0: never above it). `clock`, `wall_clock` (seconds), `rng`:
    time and chance.

    Raises ConfigError for names that are double or lead nowhere.
    """

    def __init__(
        self,
        *,
        models: Iterable[Model],
        tiers: Iterable[Tier],
        pools: Iterable[Pool] = (),
        fallback: str | None = None,
        providers: "Mapping[str, Provider] | None" = None,
        store: "MemoryStore | SharedStore | None" = None,
        observers: "Iterable[Observer]" = (),
        clock: Clock = monotonic,
        wall_clock: Clock = wall,
        rng: "random.Random | None" = None,
        slow_start: int | None = 3,
        guard: float = 0.0,
        stretch: float = 1.0,
    ):
        if slow_start is not None and not slow_start >= 1:
            raise ConfigError(f"must be at least 1, or None, not {slow_start}", key="slow_start")
        if not 0 <= guard <= LONGEST_GUARD:
            raise ConfigError(f"must be from 0 to {LONGEST_GUARD:g} seconds, not {guard}", key="guard")
        if not 1 <= stretch <= MOST_STRETCH:
            raise ConfigError(f"must be from 1 to {MOST_STRETCH:g}, not {stretch}", key="stretch")
        self._providers = Registry(providers or {})
        self._dispatcher = Dispatcher(
            clock=clock, wall_clock=wall_clock, classify=self._providers.classify, observers=observers
        )
        factory = AccountFactory(
            clock=clock,
            wall_clock=wall_clock,
            rng=rng or _random(),
            slow_start=slow_start,
            guard=guard,
            stretch=stretch,
            make=_kind(store),
        )
        if isinstance(store, MemoryStore) or store is None:
            store = store or MemoryStore()
            store.take()
        else:
            self._dispatcher.share(store)
            store = MemoryStore()  # of what this router knows itself
        self._catalogue = Catalogue(self._dispatcher, store, factory, self._providers.refill)
        self._catalogue.configure(tuple(models), tuple(pools), tuple(tiers), fallback)
        self._line = self._catalogue.line

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ, **options: Any
    ) -> Self:
        """The router that a TOML file describes; `options` as for the class, and stronger than the file.

        Raises ConfigError, with file and key, for everything that cannot work.
        """
        from ratelimit_router.config import load_config
        from ratelimit_router.stores.urls import MEMORY, open_store

        config = load_config(path, environ)
        if config.store != MEMORY and "store" not in options:
            options["store"] = open_store(config.store, environ, processes=config.processes)
        described: dict[str, Any] = {
            "models": config.models,
            "tiers": config.tiers,
            "pools": config.pools,
            "fallback": config.fallback,
            "slow_start": config.slow_start,
            "guard": config.guard,
            "stretch": config.stretch,
        }
        return cls(**(described | options))

    # -- ask for a model -----------------------------------------------------------------------------------------------

    def route(
        self,
        chain: Chain,
        *,
        tokens: "int | Usage" = 0,
        timeout: float | None = None,
        patience: float | None = None,
        priority: int = 0,
    ) -> Lease:
        """A lease on the best available model along the chain, when it is this request's turn.

        `tokens`: what the call will probably use; a number counts as input. `timeout`: seconds that it may take until
        there is a lease (None: any). `patience`: seconds that a better step is waited for (None: the tier's). A higher
        `priority` is served first within the tier.

        Awaiting it raises UnknownTier, RouteTimeout (as soon as it is known), QuotaExhausted, RequestTooLarge,
        NoCapacity (nothing can ever serve this), RouterClosed.
        """
        lease = Lease()  # filled in here: an __init__ would cost as much as all of this
        lease.ledger = self._dispatcher
        lease.chain = chain
        lease.tokens = tokens
        lease.wish = None if timeout is patience is None and not priority else wish(timeout, patience, priority)
        lease.state = PROMISED
        return lease

    def route_nowait(self, chain: Chain, *, tokens: "int | Usage" = 0) -> Lease:
        """A lease at once, or NoCapacity with the instant at which to try again. Nobody in line is overtaken."""
        lease, line, cost = self.route(chain, tokens=tokens), self._line(chain), cost_of(tokens)
        if not self._dispatcher.admit(lease, line, cost, -1):
            self._dispatcher.admit_or_refuse(lease, line, cost)
        return lease

    def eta(self, chain: Chain, *, tokens: "int | Usage" = 0) -> float:
        """Seconds until a model would be free for a newcomer; 0.0 = now, infinity = not by itself, or not yet known."""
        return self._dispatcher.eta(self._line(chain), cost_of(tokens))

    # -- a batch of calls ----------------------------------------------------------------------------------------------

    def batch(
        self,
        calls: Mapping[str, int],
        *,
        tokens: "Mapping[str, int | Usage] | None" = None,
        slack: float = 0.0,
        urgent: Collection[str] = (),
    ) -> "Batch":
        """`with router.batch({"hot": 300, "bulk": 2_000}, slack=0.1): ...` announces calls that are to come.

        While it is open, a plan that is made anew every few seconds says which tier may take which model, so that all
        of it ends as early as possible and, within `slack` (a share of the least time), as many calls as possible get
        an early step of their chain. `calls`: how many, by tier (0: as they come; the plan counts who is in line).
        `tokens`: what one will use on average, as for `route`. `urgent`: tiers that are to be done as early as they can
        be without putting off the end of all, whatever step of their chain that takes. The tiers' patience does not
        hold meanwhile; a call whose timeout ends before the plan does takes what is free.

        Raises UnknownTier, and ConfigError without the extra `[plan]` or for numbers that make no sense.
        """
        return self._dispatcher.guided().batch(calls, tokens or {}, slack, urgent)

    # -- retry along the chain -----------------------------------------------------------------------------------------

    def attempts(
        self,
        chain: Chain,
        *,
        tokens: "int | Usage" = 0,
        timeout: float | None = None,
        patience: float | None = None,
        priority: int = 0,
        max_attempts: int = 3,
    ) -> AsyncIterator[Attempt]:
        """`async for attempt in router.attempts(...): async with attempt as lease: ...`

        A rejection is absorbed and the loop goes on with the next model; rejections do not count against
        `max_attempts`. `timeout` bounds the waiting of all attempts together. Raises AttemptsExhausted, and what
        `route` raises.
        """
        return self._attempts(chain, tokens, timeout, patience, priority, max_attempts)

    def _attempts(
        self,
        chain: Chain,
        tokens: "int | Usage" = 0,
        timeout: float | None = None,
        patience: float | None = None,
        priority: int = 0,
        max_attempts: int = 3,
    ) -> Attempts:
        self._line(chain)  # an unknown tier is known now

        def route(left: float | None) -> Lease:
            return self.route(chain, tokens=tokens, timeout=left, patience=patience, priority=priority)

        return Attempts(route, clock=self._dispatcher.clock, timeout=timeout, max_attempts=max_attempts)

    async def call(self, chain: Chain, fn: Callable[[Model], Awaitable[T]], **how: Any) -> T:
        """`fn(model)`, tried along the chain. `how`: as for `attempts`. A `Reply` settles with its own usage."""
        from ratelimit_router.messages import Reply

        async for attempt in self.attempts(chain, **how):
            async with attempt as lease:
                result = await fn(lease.model)
                if isinstance(result, Reply):
                    _settle(lease, result.usage)
                return result
        raise RouterClosed  # the loop above only ends by returning or raising

    # -- through a provider --------------------------------------------------------------------------------------------

    async def generate(
        self, chain: Chain, request: "str | Request", *, tokens: "int | Usage | None" = None, **how: Any
    ) -> "Reply":
        """The whole answer, from the best available model. `tokens`: by default the provider's own estimate.

        Raises what `attempts` raises, BadRequest, and ConfigError for a model whose provider is not installed.
        """
        from ratelimit_router.messages import Request

        asked = Request.of(request)

        async def ask(model: Model) -> "Reply":
            return await self._providers.of(model).generate(model, asked)

        return await self.call(chain, ask, tokens=self._estimate(chain, asked, tokens), **how)

    async def stream(
        self, chain: Chain, request: "str | Request", *, tokens: "int | Usage | None" = None, **how: Any
    ) -> "AsyncIterator[Chunk]":
        """The answer piece by piece. Another model is tried only while no piece has reached the caller."""
        from ratelimit_router.messages import Request

        asked = Request.of(request)
        attempts = self._attempts(chain, tokens=self._estimate(chain, asked, tokens), **how)
        while True:
            lease = await attempts.lease()
            usage, begun, pieces = None, False, None
            try:
                pieces = self._providers.of(lease.model).stream(lease.model, asked)
                async for chunk in pieces:
                    usage, begun = chunk.usage or usage, True
                    yield chunk
            except BaseException as error:
                if begun or not attempts.failed(lease, error):
                    lease.fail(error)
                    raise
            else:
                _settle(lease, usage)
                return
            finally:
                if (close := getattr(pieces, "aclose", None)) is not None:
                    await close()

    def _estimate(self, chain: Chain, request: "Request", tokens: "int | Usage | None") -> "int | Usage":
        if tokens is not None:
            return tokens
        first = self._line(chain).steps[0][0].model
        return self._providers.of(first).estimate(request)

    # -- look inside, change, close ------------------------------------------------------------------------------------

    def snapshot(self) -> "RouterSnapshot":
        """Everything as it is now, as frozen values."""
        from ratelimit_router.inspection import snapshot

        return snapshot(self._dispatcher, self._catalogue)

    def reconfigure(
        self,
        *,
        models: Iterable[Model] | None = None,
        tiers: Iterable[Tier] | None = None,
        pools: Iterable[Pool] | None = None,
        fallback: str | None = _KEEP,
    ) -> None:
        """Other models, tiers, pools or fallback from now on; None (or nothing) keeps what there is.

        What was spent stays spent, who waits stays in line, closed models and keys are tried again. Waiters of a tier
        that is gone end with UnknownTier. Raises ConfigError, and changes nothing, if the new whole does not fit.
        """
        now = self._catalogue
        self._catalogue.configure(
            now.models if models is None else tuple(models),
            now.pools if pools is None else tuple(pools),
            now.tiers if tiers is None else tuple(tiers),
            now.fallback if fallback == _KEEP else fallback,
        )

    async def aclose(self) -> None:
        """End every waiter with RouterClosed and release what the providers hold. Leases in flight may still settle."""
        self._dispatcher.close()
        if (remote := self._dispatcher.remote) is not None:
            await remote.aclose()
        await self._providers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def _settle(lease: Lease, usage: "Usage | None") -> None:
    if usage is not None and usage.total_tokens > 0:
        lease.settle(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    else:
        lease.settle()


def _kind(store: object) -> type[Account]:
    """Of which kind the accounts are. What only shared stores need is imported for them alone."""
    if store is None or isinstance(store, MemoryStore):
        return Account
    from ratelimit_router.stores.shared_account import SharedAccount

    return SharedAccount


def _random() -> "random.Random":
    from random import Random

    return Random()
