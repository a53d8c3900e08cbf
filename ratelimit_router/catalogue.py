"""The models, pools and tiers a router has at the moment, and the line of each chain that is asked for."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from ratelimit_router.dispatch import Dispatcher
from ratelimit_router.errors import ConfigError, UnknownTier
from ratelimit_router.limits import RefillDefaults
from ratelimit_router.models import Model, Pool, Tier, chain_steps
from ratelimit_router.queue import Line
from ratelimit_router.selection import Steps
from ratelimit_router.stores.memory import MemoryStore
from ratelimit_router.topology import AccountFactory, check, resolve, unknown

__all__ = ["CUSTOM", "Catalogue"]

CUSTOM = "custom"
"""What chains of one's own are called in metrics and events."""
REMEMBERED = 128
"""Chains of one's own whose lines are kept for the next request while nobody waits in them."""


class Catalogue:
    """What there is. `chosen` keeps the counts of candidates that are no longer in any chain."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        store: MemoryStore,
        factory: AccountFactory,
        refill: Callable[[Model], RefillDefaults],
    ):
        self._dispatcher, self._store, self._factory, self._refill = dispatcher, store, factory, refill
        self.models: tuple[Model, ...] = ()
        self.pools: tuple[Pool, ...] = ()
        self.tiers: tuple[Tier, ...] = ()
        self.fallback: str | None = None
        self.lines: dict[str, Line] = {}
        dispatcher.find_line = self.line
        self._custom: OrderedDict[tuple[tuple[str, ...], ...], Line] = OrderedDict()
        self.chosen: dict[tuple[str, str, int], int] = {}

    def configure(
        self, models: tuple[Model, ...], pools: tuple[Pool, ...], tiers: tuple[Tier, ...], fallback: str | None
    ) -> None:
        """Replace everything, keeping what was spent and who waits. Raises ConfigError before anything is changed."""
        check(models, pools, tiers, fallback)
        self._store.configure(models, pools, self._factory, self._refill, self._dispatcher.clock())
        self.models, self.pools, self.tiers, self.fallback = models, pools, tiers, fallback
        self._dispatcher.models = {model.name: model for model in models}
        self._dispatcher.accounts = self._store.accounts
        self._dispatcher.pools = self._store.pools
        gone = self._configure_lines() + self._configure_custom()
        self._dispatcher.lines = self.lines
        if (guide := self._dispatcher.guide) is not None:
            guide.reconfigured(gone)
        if (remote := self._dispatcher.remote) is not None:
            remote.reconfigured()
        self._dispatcher.dismiss(gone, lambda line: UnknownTier(line.name, tuple(self.lines)))
        self._dispatcher.drain()

    def _configure_lines(self) -> list[Line]:
        kept, self.lines = self.lines, {}
        for tier in self.tiers:
            chain = chain_steps(tier.chain)
            line = kept.pop(tier.name, None)
            if line is None:
                line = Line(tier.name, chain, self._steps(chain, tier.name))
            else:
                self._retire(line)
                line.change_steps(chain, self._steps(chain, tier.name))
            line.behave(patience=tier.patience, weight=tier.weight)
            self.lines[tier.name] = line
        for line in kept.values():
            self._retire(line)
        return list(kept.values())

    def _configure_custom(self) -> list[Line]:
        kept, self._custom = self._custom, OrderedDict()
        gone = []
        for chain, line in kept.items():
            self._retire(line)
            if all(name in self._store.accounts for step in chain for name in step):
                line.change_steps(chain, self._steps(chain, CUSTOM))
                self._custom[chain] = line
            else:
                gone.append(line)
        return gone

    def _steps(self, chain: Sequence[tuple[str, ...]], tier: str) -> Steps:
        return resolve(chain, self.fallback, self._dispatcher.models, self._store.accounts, tier)

    def _retire(self, line: Line) -> None:
        for one in (one for step in line.steps for one in step):
            key = (one.tier, one.model.name, one.depth)
            self.chosen[key] = self.chosen.get(key, 0) + one.chosen

    def line(self, chain: str | Sequence[str | Sequence[str]]) -> Line:
        """The line of a tier, or of a chain of one's own. Raises UnknownTier, and ConfigError for a wrong chain."""
        if isinstance(chain, str):
            if (found := self.lines.get(chain)) is None:
                raise UnknownTier(chain, tuple(self.lines))
            return found
        steps = chain_steps(chain)
        if (line := self._custom.get(steps)) is None:
            for name in (name for step in steps for name in step):
                if name not in self._store.accounts:
                    raise ConfigError(unknown("model", name, self._store.accounts), key="chain")
            line = self._custom[steps] = Line(CUSTOM, steps, self._steps(steps, CUSTOM))
            self._forget_some()
        else:
            self._custom.move_to_end(steps)
        return line

    def _forget_some(self) -> None:
        if len(self._custom) > REMEMBERED:
            for chain, line in list(self._custom.items()):
                if not line.length:
                    self._retire(self._custom.pop(chain))
                    return

    def routes(self) -> dict[tuple[str, str, int], int]:
        """How often each model was chosen: (tier, model, depth) -> count."""
        found = dict(self.chosen)
        for line in (*self.lines.values(), *self._custom.values()):
            for one in (one for step in line.steps for one in step):
                key = (one.tier, one.model.name, one.depth)
                found[key] = found.get(key, 0) + one.chosen
        return found

    def waiting(self) -> list[Line]:
        """Every line that may have somebody in it."""
        return [*self.lines.values(), *self._custom.values()]
