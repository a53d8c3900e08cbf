"""A storm as a value: what the router is told, what the services really do, and who asks for what.

The router sees `models`, `pools`, `tiers` and `fallback` as any application would configure them. The services see only
`services` and `accounts`, which may say something else: that is where storms come from. All instants are seconds from
the start of the run unless a name says POSIX; the same scenario always gives the same tasks, faults and jitter.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from ratelimit_router.errors import ConfigError
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.simulation.checks import check_count, check_number
from ratelimit_router.simulation.quota import QuotaRule

__all__ = [
    "VERSION",
    "WANDER",
    "Account",
    "Arrival",
    "Change",
    "Consumer",
    "Distribution",
    "Hint",
    "Load",
    "Network",
    "Scenario",
    "Service",
    "Task",
    "Told",
    "Trouble",
    "TroubleKind",
]

VERSION = 1
"""Of the form of scenarios: another one is another form."""

WANDER = 600.0
"""Seconds in which a wandering clock comes back to where it was."""

Hint = Literal["right", "truncated", "short", "long", "missing"]
"""What a 429 tells about the wait: the truth, whole seconds rounded down, a third, three times as much, or nothing."""

Told = Literal["limit", "quota", "nothing"]
"""What else a 429 tells: the quota by name and its true amount, the name alone, or neither."""

TroubleKind = Literal["overloaded", "silent", "unreachable", "garbled", "key_refused"]
"""503; no answer at all; never sent; an answer that cannot be used; 401."""

Arrival = Literal["at once", "poisson", "evenly"]
"""All at the start of their load; at random, or in equal steps, over its `over` seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Positive numbers around `median`: log-normal with `sigma` (0: always the median), kept within `least`..`most`.

    With `tail` (a Pareto index; 1.5 is very heavy) it is Pareto instead, with that median.
    """

    median: float
    sigma: float = 0.0
    tail: float | None = None
    least: float = 0.0
    most: float = math.inf

    def __post_init__(self) -> None:
        for name in ("median", "sigma", "least"):
            check_number(getattr(self, name), name)
        if self.tail is not None:
            check_number(self.tail, "tail", above_zero=True)
            if self.sigma:
                raise ConfigError("a distribution has a sigma or a tail, not both", key="tail")
        if not self.most >= self.least:
            raise ConfigError(f"must be at least `least` ({self.least:g}), not {self.most:g}", key="most")

    def draw(self, rng: Random) -> float:
        """One of them. Always uses the same amount of chance, so that a change of shape moves nothing else."""
        chance = rng.random()
        if self.tail is not None:
            value: float = self.median * (2.0 * (1.0 - chance)) ** (-1.0 / self.tail)
        elif self.sigma:
            value = self.median * math.exp(self.sigma * _normal(chance))
        else:
            value = self.median
        return min(max(value, self.least), self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From `at` on the amounts of every quota are `factor` times what they were at the start."""

    at: float
    factor: float

    def __post_init__(self) -> None:
        check_number(self.at, "at")
        check_number(self.factor, "factor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """From `start` to `end` a call meets this with probability `rate`, before any quota is looked at.

    `seconds`: the hint of a 503 (None: there is none). Silence and garbled answers come only to calls that were
    admitted, so they cost their quota.
    """

    kind: TroubleKind
    start: float = 0.0
    end: float = math.inf
    rate: float = 1.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(TroubleKind):
            raise ConfigError(f"must be one of {', '.join(get_args(TroubleKind))}, not {self.kind!r}", key="kind")
        check_number(self.start, "start")
        if not self.end > self.start:
            raise ConfigError(f"must be after `start` ({self.start:g}), not {self.end:g}", key="end")
        check_number(self.rate, "rate")
        if self.rate > 1:
            raise ConfigError(f"must be a probability from 0 to 1, not {self.rate:g}", key="rate")
        if self.seconds is not None:
            check_number(self.seconds, "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Somebody else's calls on the same quota: `rate` a second, at random, each of so many tokens.

    They come first: they are charged whether they fit or not.
    """

    rate: float
    start: float = 0.0
    end: float = math.inf
    input_tokens: Distribution = Distribution(median=0.0)
    output_tokens: Distribution = Distribution(median=0.0)

    def __post_init__(self) -> None:
        check_number(self.rate, "rate", above_zero=True)
        check_number(self.start, "start")
        if not self.end > self.start:
            raise ConfigError(f"must be after `start` ({self.start:g}), not {self.end:g}", key="end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How one model really behaves. `name` is the model's name in the router.

    `quotas` and `concurrency` (calls in flight) are enforced; `accounts` names those that it draws on besides.
    `latency`: seconds from admission to answer. `hint` and `tells`: what its 429s say. `charge_refused`: a refused call
    uses quota, too. `gone_at`: from then on it answers 404. `consumers`: others who draw on the same quotas.
    """

    name: str
    quotas: tuple[QuotaRule, ...] = ()
    concurrency: int | None = None
    accounts: tuple[str, ...] = ()
    latency: Distribution = Distribution(median=1.0)
    hint: Hint = "right"
    tells: Told = "limit"
    charge_refused: bool = False
    gone_at: float | None = None
    changes: tuple[Change, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    consumers: tuple[Consumer, ...] = ()

    def __post_init__(self) -> None:
        if self.concurrency is not None:
            check_count(self.concurrency, "concurrency")
        if self.hint not in get_args(Hint):
            raise ConfigError(f"must be one of {', '.join(get_args(Hint))}, not {self.hint!r}", key="hint")
        if self.tells not in get_args(Told):
            raise ConfigError(f"must be one of {', '.join(get_args(Told))}, not {self.tells!r}", key="tells")
        if self.gone_at is not None:
            check_number(self.gone_at, "gone_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Quotas that several services draw on together; a refusal names them `NAME.QUOTA`, as for a router's pool."""

    name: str
    quotas: tuple[QuotaRule, ...] = ()
    concurrency: int | None = None
    changes: tuple[Change, ...] = ()
    consumers: tuple[Consumer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Between client and service. `latency`: seconds each way; `jitter`: up to so many more, uniformly, each way.

    `clock_offset`: how far the services' clocks are ahead of the client's; `clock_jitter`: they wander by up to so many
    seconds to either side of that, and back again within `WANDER` seconds.
    """

    latency: float = 0.02
    jitter: float = 0.0
    clock_offset: float = 0.0
    clock_jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("latency", "jitter", "clock_jitter"):
            check_number(getattr(self, name), name)
        if not math.isfinite(self.clock_offset):
            raise ConfigError(f"must be a finite number of seconds, not {self.clock_offset}", key="clock_offset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Tasks that ask for one tier. `tasks`: how many; they arrive from `start` on, over `over` seconds.

    `input_tokens`, `output_tokens`: what each really uses. `estimate`: what the client believes, as a multiple of that.
    `timeout`: seconds that a task waits for quota at most (None: any). `patience`, `priority`: as for `Router.route`.
    """

    tier: str
    tasks: int
    arrive: Arrival = "at once"
    start: float = 0.0
    over: float = 0.0
    input_tokens: Distribution = Distribution(median=0.0)
    output_tokens: Distribution = Distribution(median=0.0)
    estimate: Distribution = Distribution(median=1.0)
    timeout: float | None = None
    patience: float | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        check_count(self.tasks, "tasks")
        check_number(self.start, "start")
        if self.arrive not in get_args(Arrival):
            raise ConfigError(f"must be one of {', '.join(get_args(Arrival))}, not {self.arrive!r}", key="arrive")
        check_number(self.over, "over", above_zero=self.arrive != "at once")
        if self.timeout is not None:
            check_number(self.timeout, "timeout")
        if self.patience is not None and not self.patience >= 0:
            raise ConfigError(f"must be 0 or more seconds, not {self.patience}", key="patience")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call to be made. `number`: from 0, by arrival. Tokens as really used, and as estimated by the client."""

    number: int
    load: Load
    arrives: float
    input_tokens: int
    output_tokens: int
    estimated_input: int
    estimated_output: int

    @property
    def tier(self) -> str:
        """The tier that it asks for."""
        return self.load.tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole storm. `start`: POSIX seconds at which it begins. `horizon`: seconds after which it is given up.

    `guard`, `slow_start`: as for the Router. `slack`: how much longer, as a share, the batch may take so that more of
    it gets its first choice (only guided policies heed it).
    """

    name: str
    models: tuple[Model, ...]
    tiers: tuple[Tier, ...]
    services: tuple[Service, ...]
    loads: tuple[Load, ...]
    pools: tuple[Pool, ...] = ()
    fallback: str | None = None
    accounts: tuple[Account, ...] = ()
    network: Network = Network()
    family: str = ""
    about: str = ""
    seed: int = 0
    start: float = 1_790_035_200.0
    horizon: float = 4 * 3_600.0
    guard: float = 0.0
    slow_start: int | None = 3
    slack: float = 0.0

    def __post_init__(self) -> None:
        for key in ("start", "horizon", "guard", "slack"):
            check_number(getattr(self, key), key)
        models = [model.name for model in self.models]
        if sorted(models) != sorted(service.name for service in self.services):
            raise ConfigError("every model needs one service of its name, and every service a model", key="services")
        accounts = {account.name for account in self.accounts}
        if both := accounts & set(models):
            raise ConfigError("an account cannot have the name of a model", key=f"accounts.{min(both)}")
        for service in self.services:
            if unknown := set(service.accounts) - accounts:
                raise ConfigError(f"no account is called {min(unknown)!r}", key=f"services.{service.name}.accounts")
        tiers = {tier.name for tier in self.tiers}
        for index, load in enumerate(self.loads):
            if load.tier not in tiers:
                raise ConfigError(f"no tier is called {load.tier!r}", key=f"load.{index}.tier")
        if not self.loads:
            raise ConfigError("there is none: nobody asks for anything", key="load")

    def tasks(self) -> tuple[Task, ...]:
        """Every task, by arrival; those that arrive together in the order of the loads, mixed."""
        found = [task for index, load in enumerate(self.loads) for task in self._of(index, load)]
        found.sort(key=lambda one: one[:2])
        return tuple(
            Task(
                number=number,
                load=load,
                arrives=arrives,
                input_tokens=tokens[0],
                output_tokens=tokens[1],
                estimated_input=math.ceil(tokens[0] * factor),
                estimated_output=math.ceil(tokens[1] * factor),
            )
            for number, (arrives, _, load, tokens, factor) in enumerate(found)
        )

    def latencies(self, tasks: Sequence[Task]) -> dict[str, list[float]]:
        """By service, the seconds that each task takes there, whoever schedules it and however often.

        A task that is slow at one service is as slow at all of them, as far as their distributions go: it is the work.
        """
        found = {}
        for service in self.services:
            rng = Random(f"{self.seed}/latency")
            found[service.name] = [service.latency.draw(rng) for _ in tasks]
        return found

    def consumption(self) -> dict[str, list[tuple[float, int, int]]]:
        """By service or account, the calls of others: (instant, input tokens, output tokens), in order of instants."""
        owners: list[Service | Account] = [*self.services, *self.accounts]
        return {owner.name: self._foreign(owner) for owner in owners}

    def _foreign(self, owner: Service | Account) -> list[tuple[float, int, int]]:
        found = []
        for index, consumer in enumerate(owner.consumers):
            rng = Random(f"{self.seed}/consumer/{owner.name}/{index}")
            end = min(consumer.end, self.horizon)
            at = consumer.start + rng.expovariate(consumer.rate)
            while at < end:
                tokens = round(consumer.input_tokens.draw(rng)), round(consumer.output_tokens.draw(rng))
                found.append((at, *tokens))
                at += rng.expovariate(consumer.rate)
        return sorted(found)

    def _of(self, index: int, load: Load) -> Iterator[tuple[float, float, Load, tuple[int, int], float]]:
        rng = Random(f"{self.seed}/load/{index}")  # a text: the same on every machine and version
        for number in range(load.tasks):
            mixed = (number + rng.random()) / load.tasks
            share = {"at once": 0.0, "poisson": rng.random(), "evenly": number / load.tasks}[load.arrive]
            tokens = (round(load.input_tokens.draw(rng)), round(load.output_tokens.draw(rng)))
            yield load.start + load.over * share, mixed, load, tokens, load.estimate.draw(rng)


def _normal(chance: float) -> float:
    """The standard normal distribution's value at that probability."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(min(max(chance, 1e-12), 1.0 - 1e-12))
