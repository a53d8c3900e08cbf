"""What a client does to its router besides calling models: drawn from a seed, as the weather is."""

from dataclasses import dataclass
from random import Random

__all__ = ["Mood", "random_mood"]

SPAN = 300.0
"""Seconds in which most of what happens begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """Instants are seconds from the start of the run, chances those of each task or call.

    `observed`: an observer listens; with chance `meddles` it calls the router from within. `looks`: close looks at all
    levels. `cancels`: tasks that are cancelled, in line or in a call. `repeats`: leases that are ended once more.
    `strays`: tasks that go other ways than `attempts`. `probes`, `batches`, `reconfigures`, `closes_at`: when somebody
    asks without waiting, announces a batch (and until when), changes the configuration, closes the router.
    `router_steps`, `wall_steps`: (at, seconds) by which the router's clock, and the clock on the wall, is set.
    """

    observed: bool = False
    meddles: float = 0.0
    looks: float = 0.0
    cancels: float = 0.0
    repeats: float = 0.0
    strays: float = 0.0
    probes: tuple[float, ...] = ()
    batches: tuple[tuple[float, float], ...] = ()
    reconfigures: tuple[float, ...] = ()
    router_steps: tuple[tuple[float, float], ...] = ()
    wall_steps: tuple[tuple[float, float], ...] = ()
    closes_at: float | None = None

    @property
    def lateness(self) -> float:
        """Seconds by which a timer may be late: none is told that a clock was set."""
        return 2e-6 + sum(abs(seconds) + 2e-3 for _, seconds in self.router_steps)


def random_mood(seed: int, *, guided: bool) -> Mood:
    """The mood of that seed. Only one that is `guided` announces batches from the start."""
    rng = Random(f"mood/{seed}")
    batches = [_stretch(rng)] if rng.random() < 0.1 else []
    if guided:
        batches.append((0.0, rng.uniform(20.0, SPAN)))
    return Mood(
        observed=rng.random() < 0.6,
        meddles=rng.choice((0.0, 0.0, 0.05, 0.3)),
        looks=rng.choice((0.0, 0.0, 0.1, 1.0)),
        cancels=rng.choice((0.0, 0.0, 0.1, 0.5)),
        repeats=rng.choice((0.0, 0.1, 0.5)),
        strays=rng.choice((0.0, 0.1, 0.5)),
        probes=_instants(rng, rng.choice((0, 0, 5, 40))),
        batches=tuple(batches),
        reconfigures=_instants(rng, rng.choice((0, 0, 0, 1, 3))),
        router_steps=_steps(rng, 0.1),
        wall_steps=_steps(rng, 0.1),
        closes_at=rng.uniform(0.0, SPAN) if rng.random() < 0.04 else None,
    )


def _instants(rng: Random, number: int) -> tuple[float, ...]:
    """Some of them whole seconds, at which other things happen, too."""
    return tuple(rng.choice((rng.uniform(0.0, SPAN), float(rng.randint(0, 120)))) for _ in range(number))


def _stretch(rng: Random) -> tuple[float, float]:
    start = rng.uniform(0.0, SPAN)
    return start, start + rng.uniform(1.0, 60.0)


def _steps(rng: Random, chance: float) -> tuple[tuple[float, float], ...]:
    if rng.random() >= chance:
        return ()
    return tuple((rng.uniform(0.0, SPAN), rng.choice((-30.0, -1.0, 0.5, 10.0, 3_600.0))) for _ in range(2))
