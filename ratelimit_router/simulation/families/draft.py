"""What families start from: models of different sizes, tiers with overlapping chains, and a load that fills them.

The load is planned backwards. Each model's room for `seconds` is shared out at random among the tiers that may use it,
so that the least possible makespan is about that, and every model is needed until then.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random

from ratelimit_router.limits import Limit, Limits, Refill
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.simulation.families.room import mean, room
from ratelimit_router.simulation.mirror import mirror_service
from ratelimit_router.simulation.scenario import Account, Arrival, Distribution, Load, Network, Scenario, Service

__all__ = ["MIDNIGHT", "Draft", "Sizes", "base", "draw_chains", "draw_limit", "draw_sizes"]

MIDNIGHT = 1_790_035_200.0
"""POSIX seconds of a midnight, UTC; 17 o'clock of the day before in Los Angeles."""

MODELS = ("pro", "flash", "lite", "mini", "nano")
TIERS = ("hot", "standard", "bulk", "archive")
LEAST_RPM = 5
MOST_TASKS = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Requests a minute of each model, best first, and how many seconds the load is to take."""

    rpm: Mapping[str, int]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A scenario without its load. `shares`: by model, which part of its room each tier gets (default: at random).

    `crowd`: the load as a multiple of the room. All the rest as in Scenario and Load.
    """

    seconds: float
    models: tuple[Model, ...]
    tiers: tuple[Tier, ...]
    services: tuple[Service, ...]
    input_tokens: Distribution
    output_tokens: Distribution
    pools: tuple[Pool, ...] = ()
    accounts: tuple[Account, ...] = ()
    fallback: str | None = None
    network: Network = field(default_factory=Network)
    guard: float = 0.0
    start: float = MIDNIGHT
    arrive: Arrival = "at once"
    crowd: float = 1.0
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def scenario(self, rng: Random, family: str, about: str, seed: int) -> Scenario:
        """The whole storm, with a load for each tier."""
        return Scenario(
            name=f"{family}-{seed}",
            family=family,
            about=about,
            seed=seed,
            models=self.models,
            tiers=self.tiers,
            pools=self.pools,
            fallback=self.fallback,
            services=self.services,
            accounts=self.accounts,
            network=self.network,
            guard=self.guard,
            start=self.start,
            loads=tuple(self._loads(rng)),
        )

    def _loads(self, rng: Random) -> Iterator[Load]:
        rooms, tasks = self._rooms(), dict.fromkeys((tier.name for tier in self.tiers), 0.0)
        for model, space in rooms.items():
            shares = self.shares.get(model) or {name: rng.gammavariate(0.7, 1.0) for name in self._users(model)}
            for tier, share in shares.items():
                tasks[tier] += space * share / sum(shares.values())
        for tier, number in tasks.items():
            yield Load(
                tier=tier,
                tasks=max(1, math.floor(number * self.crowd)),
                arrive=self.arrive,
                over=0.0 if self.arrive == "at once" else self.seconds,
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
            )

    def _rooms(self) -> dict[str, float]:
        """By model, the requests that it can answer; models on a small account get their part of that."""
        found = {service.name: self._room(service) for service in self.services}
        for account in self.accounts:
            members = [service.name for service in self.services if account.name in service.accounts]
            part = min(1.0, self._room(account) / sum(found[name] for name in members))
            found |= {name: found[name] * part for name in members}
        return found

    def _room(self, owner: Service | Account) -> float:
        tokens = mean(self.input_tokens), mean(self.output_tokens)
        return room(owner, start=self.start, seconds=self.seconds, input_tokens=tokens[0], output_tokens=tokens[1])

    def _users(self, model: str) -> list[str]:
        """The tiers that may use a model."""
        return [tier.name for tier in self.tiers if model == self.fallback or any(model in step for step in tier.chain)]


def draw_sizes(rng: Random, *, minutes: tuple[int, int] = (8, 30), steepest: float = 2.0) -> Sizes:
    """Three to five models, each up to `steepest` times as large as the one before, and 300 to 1,500 requests."""
    names = MODELS[: rng.randint(3, 5)]
    weights = [1.0]
    for _ in names[1:]:
        weights.append(weights[-1] * rng.uniform(1.0, steepest))
    parts = [weight / sum(weights) for weight in weights]
    least = LEAST_RPM / parts[0]
    span = rng.randint(minutes[0], max(minutes[0], min(minutes[1], int(MOST_TASKS / least) - 1)))
    least = max(least, 300 / (span + 1))
    total = rng.uniform(least, max(least, MOST_TASKS / (span + 1)))
    rpm = (max(LEAST_RPM, round(total * part)) for part in parts)
    return Sizes(rpm=dict(zip(names, rpm, strict=True)), seconds=60.0 * span)


def draw_chains(rng: Random, names: tuple[str, ...]) -> tuple[Tier, ...]:
    """Two to four tiers, each of a stretch of the models; the next begins further down, within reach of this one."""
    count = rng.randint(2, min(len(TIERS), len(names)))
    starts = [0, *sorted(rng.sample(range(1, len(names)), count - 1))]
    ends = [rng.randint(start + 1, len(names)) for start in starts[1:]] + [len(names)]
    return tuple(
        Tier(name, _steps(rng, names[start:end]), weight=rng.choice((1.0, 1.0, 2.0, 3.0, 5.0)))
        for name, start, end in zip(TIERS[:count], starts, ends, strict=True)
    )


def _steps(rng: Random, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A chain of them; now and then two neighbours are equals."""
    steps: list[tuple[str, ...]] = [(name,) for name in names]
    if len(steps) > 1 and rng.random() < 0.3:
        place = rng.randrange(len(steps) - 1)
        steps[place : place + 2] = [names[place : place + 2]]
    return steps


def draw_limit(rng: Random, amount: float, refill: Refill, least: float = 1.0) -> Limit:
    """So much a minute; a continuous one has a bucket of `least`, or of a fifth of the amount, up to all of it."""
    if refill != "continuous":
        return Limit(amount, refill=refill)
    return Limit(amount, refill=refill, burst=max(least, round(amount * rng.uniform(0.2, 1.0))))


def _either(rng: Random) -> Refill:
    return "rolling" if rng.random() < 0.5 else "continuous"


def draw_latency(rng: Random) -> Distribution:
    """Seconds that one service takes to answer."""
    return Distribution(
        median=round(rng.uniform(0.7, 2.5), 2), sigma=round(rng.uniform(0.1, 0.4), 2), least=0.5, most=4.0
    )


def draw_tokens(rng: Random) -> tuple[Distribution, Distribution]:
    """The sizes of input and output."""
    return _sizes_of_text(rng, 300, 2_000), _sizes_of_text(rng, 50, 400)


def _sizes_of_text(rng: Random, low: int, high: int) -> Distribution:
    median = rng.randint(low, high)
    return Distribution(median=median, sigma=round(rng.uniform(0.3, 0.7), 2), most=6 * median)


def base(
    rng: Random, sizes: Sizes | None = None, *, refill: Refill | None = None, tiers: tuple[Tier, ...] | None = None
) -> Draft:
    """Limits by the minute that are right, requests bound: the services are what the router was told.

    Half of the drafts have limits on input tokens too, about three times as many as are needed.
    """
    sizes = sizes or draw_sizes(rng)
    input_tokens, output_tokens = draw_tokens(rng)
    counted = input_tokens if rng.random() < 0.5 else None
    models = [Model(name, limits=_limits(rng, rpm, refill, counted)) for name, rpm in sizes.rpm.items()]
    return Draft(
        seconds=sizes.seconds,
        models=tuple(models),
        tiers=tiers or draw_chains(rng, tuple(sizes.rpm)),
        services=tuple(mirror_service(model, latency=draw_latency(rng)) for model in models),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        fallback=models[-1].name if rng.random() < 0.2 else None,
    )


def _limits(rng: Random, rpm: int, refill: Refill | None, counted: Distribution | None) -> Limits:
    each = refill or _either(rng)
    limits = Limits(rpm=draw_limit(rng, rpm, each))
    if counted is None:
        return limits
    return replace(limits, input_tpm=Limit(round(max(3 * mean(counted) * rpm, 2 * counted.most)), refill=each))
