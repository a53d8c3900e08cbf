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

    def take(self) -> None:
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
        """Have an account for each model and pool. Those that exist keep what was spent and what is in flight.

        Raises ConfigError, and changes nothing, if one of them cannot be.
        """
        members = {pool.name: [model for model in models if pool.name in model.pools] for pool in pools}
        fresh_pools = {
            pool.name: factory.pool(pool, defaults(members[pool.name][0]) if members[pool.name] else RefillDefaults())
            for pool in pools
        }
        fresh = {model.name: factory.model(model, defaults(model), ()) for model in models}
        self.pools = {name: _carried_on(self.pools.get(name), account, now) for name, account in fresh_pools.items()}
        for model in models:
            fresh[model.name].pools = tuple(self.pools[name] for name in model.pools)
        self.accounts = {name: _carried_on(self.accounts.get(name), account, now) for name, account in fresh.items()}


def _carried_on(old: Account | None, new: Account, now: float) -> Account:
    if old is None:
        new.rebuild()
        return new
    old.reconfigure(new, now)
    return old
