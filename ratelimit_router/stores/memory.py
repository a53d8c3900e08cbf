"""State in this process: exact, lock-free, gone with the process. The default."""

from collections.abc import Callable, Sequence

from ratelimit_router.account import Account
from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import RefillDefaults
from ratelimit_router.models import Model, Pool
from ratelimit_router.topology import AccountFactory

__all__ = ["MemoryStore"]


class MemoryStore:
    """The accounts of one router's models and pools."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.pools: dict[str, Account] = {}
        self._taken = False

    def open(self) -> None:
        """A router takes the store as its own. Raises ConfigError if another one has it."""
        if self._taken:
            raise ConfigError("a MemoryStore belongs to one router: give each its own", key="store")
        self._taken = True

    def configure(
        self,
        models: Sequence[Model],
        pools: Sequence[Pool],
        factory: AccountFactory,
        defaults: Callable[[Model], RefillDefaults],
        now: float,
    ) -> None:
        """Have an account for each model and pool. Those that exist keep what was spent and what is in flight."""
        members = {pool.name: [model for model in models if pool.name in model.pools] for pool in pools}
        kept_pools, self.pools = self.pools, {}
        for pool in pools:
            refills = defaults(members[pool.name][0]) if members[pool.name] else RefillDefaults()
            account = factory.pool(pool, refills)
            self.pools[pool.name] = _carried_on(kept_pools.get(pool.name), account, now)
        kept, self.accounts = self.accounts, {}
        for model in models:
            account = factory.model(model, defaults(model), [self.pools[name] for name in model.pools])
            self.accounts[model.name] = _carried_on(kept.get(model.name), account, now)


def _carried_on(old: Account | None, new: Account, now: float) -> Account:
    if old is None:
        return new
    old.reconfigure(new, now)
    return old
