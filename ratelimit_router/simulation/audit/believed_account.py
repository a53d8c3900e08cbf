"""What the router believes about one model or pool, and every call on it that is not over."""

from collections.abc import Iterator
from itertools import chain

from ratelimit_router.account import Account
from ratelimit_router.bucket import Cost
from ratelimit_router.simulation.audit.believed import BelievedQuota
from ratelimit_router.simulation.audit.breach import Invariant
from ratelimit_router.simulation.audit.door import Door
from ratelimit_router.simulation.audit.held import Held
from ratelimit_router.simulation.audit.spends import Clocks

__all__ = ["BelievedAccount"]

Found = Iterator[tuple[Invariant, str]]


class BelievedAccount:
    """`quotas` by name, `in_flight`, `door`; `granted` and `ended` count calls, and what they used."""

    def __init__(self, account: Account, now: float, guard: float, clocks: Clocks):
        self.account, self._guard, self._clocks = account, guard, clocks
        self.door = Door(account)
        self.in_flight: set[Held] = set()
        self.granted = 0
        self.input_tokens = self.output_tokens = 0.0
        self.quotas: dict[str, BelievedQuota] = {}
        self.believe(now)

    def believe(self, now: float, refused: Held | None = None) -> None:
        """Take over what is believed by now. `refused`: the call that a service has just refused."""
        meters = self.account.meters
        for name, meter in meters.items():
            known = self.quotas.get(name)
            if known is not None and known.meter is meter:
                known.believe(now, refused.cost[known.unit] if refused is not None else 0.0)
            else:
                self.quotas[name] = BelievedQuota(meter, now, self._guard, self._clocks)
                if known is not None:
                    self.quotas[name].carry(known, now)
        if len(self.quotas) > len(meters):
            self.quotas = {name: quota for name, quota in self.quotas.items() if name in meters}

    # -- calls ---------------------------------------------------------------------------------------------------------

    def start(self, held: Held) -> None:
        """A call has begun."""
        held.seen[self.door] = self.door.incidents
        self.in_flight.add(held)
        self.granted += 1
        for quota in self.quotas.values():
            quota.spend(held, held.cost[quota.unit], held.at)

    def end(self, held: Held, actual: Cost, now: float) -> None:
        """It is over, and has used that."""
        self.in_flight.discard(held)
        for quota in self.quotas.values():
            quota.correct(held, actual[quota.unit] - held.cost[quota.unit], now)

    def used(self, actual: Cost) -> None:
        """A call on this model went well, and used that."""
        self.input_tokens += actual[1]
        self.output_tokens += actual[2]

    # -- what may be, and what has to be -------------------------------------------------------------------------------

    def obstacles(self, cost: Cost, now: float) -> Found:
        """Why a call that is let through should not be."""
        name = self.account.name
        for quota in self.quotas.values():
            if not quota.may(cost[quota.unit], now):
                left = quota.levels(now)[1]
                yield (
                    Invariant.WINDOW,
                    f"{name} admits {cost[quota.unit]:g} on {quota.quota.name}, which has {left:.9g}",
                )
        if len(self.in_flight) >= self.account.concurrency:
            yield Invariant.IN_FLIGHT, f"{name} has {len(self.in_flight)} in flight, and admits one more"

    def has_slot(self) -> bool:
        """Whether one more call may be in flight."""
        return len(self.in_flight) < self.account.concurrency

    def may(self, cost: Cost, now: float) -> bool:
        """Whether quotas could allow a call then, if nothing else is spent."""
        return all(quota.may(cost[quota.unit], now) for quota in self.quotas.values())

    def must(self, cost: Cost, now: float) -> bool:
        """Whether quotas have to allow a call then."""
        return all(quota.must(cost[quota.unit], now) for quota in self.quotas.values())

    # -- what the router says ------------------------------------------------------------------------------------------

    def counts(self) -> Found:
        """Its counts beside our own."""
        account = self.account
        if account.in_flight != len(self.in_flight):
            yield Invariant.CHARGES, f"{account.name} counts {account.in_flight} in flight, not {len(self.in_flight)}"
        if account.granted != self.granted:
            yield Invariant.CHARGES, f"{account.name} counts {account.granted} leases, not {self.granted}"
        for direction in ("input_tokens", "output_tokens"):
            told, known = getattr(account, direction), getattr(self, direction)
            if abs(told - known) > 1e-6 * max(known, 1.0):
                yield Invariant.CHARGES, f"{account.name} counts {told:g} {direction}, not {known:g}"

    def levels(self, now: float) -> Found:
        """Its levels beside our own. To look at them is allowed, but changes what the router has to remember."""
        account = self.account
        for name, quota in self.quotas.items():
            level, (least, most) = account.level(quota.meter, now), quota.levels(now)
            capacity, configured = quota.meter.bucket.capacity, quota.quota.capacity
            if not level <= capacity <= configured:
                yield Invariant.CAPACITY, f"{account.name} has {level:g} of {capacity:g} {name}, of {configured:g}"
            slack = 1e-6 * max(capacity, 1.0)
            if not least - slack <= level <= most + slack:
                yield Invariant.CHARGES, f"{account.name} has {level:.9g} {name}, not {least:.9g} to {most:.9g}"


def with_pools(account: Account) -> Iterator[Account]:
    """An account, and those of its pools."""
    return chain((account,), account.pools)
