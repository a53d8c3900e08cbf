"""What can be called, and in which order: models, pools, tiers, and the keys that open them."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import Limits

__all__ = ["Key", "Model", "Pool", "Step", "Tier", "chain_steps"]

Step = tuple[str, ...]
"""One step of a chain: the names of models that are equals."""


class Key:
    """A secret. Every way of showing it shows `***`, and it refuses to be pickled.

    Made from `env:NAME` (read when needed), from the secret itself, or from a callable that returns it.
    """

    __slots__ = ("_source",)

    def __init__(self, source: "str | Callable[[], str] | Key"):
        self._source: str | Callable[[], str] = source._source if isinstance(source, Key) else source

    @property
    def variable(self) -> str | None:
        """The environment variable that it is read from, if it is."""
        source = self._source
        return source[4:] if isinstance(source, str) and source.startswith("env:") else None

    def reveal(self) -> str:
        """The secret itself. Raises ConfigError if the environment variable is missing or empty."""
        if (variable := self.variable) is not None:
            if not (secret := os.environ.get(variable, "").strip()):
                raise ConfigError(f"the environment variable {variable} is not set", key="key")
            return secret
        return self._source if isinstance(self._source, str) else self._source()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled: give it as env:NAME and read it where it is used")


@dataclass(frozen=True, slots=True)
class Model:
    """Something that can be called: a provider, the provider's id for the model, and a key.

    `name` is what chains and metrics call it; `id` (default: the name) is what the provider calls it. `provider` names
    an entry point of the group `ratelimit_router.providers`; none is needed to route. `key`: "env:NAME", a `Key`, the
    secret itself or a callable; None leaves it to the SDK. `pools`: names of the `Pool`s that it also draws on.
    `base_url` and `options` go to the provider.
    """

    name: str
    provider: str | None = None
    id: str = ""
    limits: Limits = field(default_factory=Limits, kw_only=True)
    pools: tuple[str, ...] = field(default=(), kw_only=True)
    key: str | Callable[[], str] | Key | None = field(default=None, kw_only=True)
    base_url: str | None = field(default=None, kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True, repr=False, hash=False)

    def __post_init__(self) -> None:
        _check_name(self.name, "a model")
        if not self.id:
            object.__setattr__(self, "id", self.name)
        if self.key is not None and not isinstance(self.key, Key):
            object.__setattr__(self, "key", Key(self.key))
        if len(set(self.pools)) < len(self.pools):
            raise ConfigError("must be a list that names each pool once", key="pools")
        object.__setattr__(self, "pools", tuple(self.pools))

    def api_key(self) -> str | None:
        """The secret itself, for the provider alone; None leaves it to the SDK. Raises ConfigError if it is missing."""
        return None if self.key is None else Key(self.key).reveal()


@dataclass(frozen=True, slots=True)
class Pool:
    """A quota that several models share: an account, a project, a budget."""

    name: str
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        _check_name(self.name, "a pool")


@dataclass(frozen=True, slots=True)
class Tier:
    """A named fallback chain, best first; a step is a model's name or a sequence of equals.

    `patience`: seconds that a better step may be waited for (0: never wait for it; inf: never fall). `weight`: this
    tier's share when several tiers wait for the same models.

    Raises ConfigError for an empty chain, a model named twice, and numbers that make no sense.
    """

    name: str
    chain: Sequence[str | Sequence[str]]
    patience: float = field(default=0.0, kw_only=True)
    weight: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        _check_name(self.name, "a tier")
        object.__setattr__(self, "chain", chain_steps(self.chain))
        check_patience(self.patience)
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float):
            raise ConfigError(f"must be a number, not {type(self.weight).__name__}", key="weight")
        if not 0 < self.weight < math.inf:
            raise ConfigError(f"must be a finite number above 0, not {self.weight}", key="weight")


def chain_steps(chain: Sequence[str | Sequence[str]]) -> tuple[Step, ...]:
    """A chain in its plain form, each step a tuple of equals. Raises ConfigError if it is empty or repeats a model."""
    if isinstance(chain, str):
        raise ConfigError(f'must be a list of models, not the text "{chain}"', key="chain")
    try:
        steps = tuple((step,) if isinstance(step, str) else tuple(step) for step in chain)
    except TypeError:
        raise ConfigError("must be a list of names of models, or of lists of them", key="chain") from None
    if not steps or not all(steps):
        raise ConfigError("must name at least one model in every step", key="chain")
    names = [name for step in steps for name in step]
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"must hold names of models, not {type(name).__name__}", key="chain")
        if names.count(name) > 1:
            raise ConfigError(f"names the model {name!r} twice", key="chain")
    return steps


def check_patience(patience: float) -> None:
    """Raises ConfigError unless it is a number of seconds from 0 to infinity."""
    if isinstance(patience, bool) or not isinstance(patience, int | float):
        raise ConfigError(f"must be seconds, not {type(patience).__name__}", key="patience")
    if not patience >= 0:
        raise ConfigError(f"must be 0 or more seconds, not {patience}", key="patience")


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{what} needs a name that is not empty")
