"""What limits the calls of a scenario: the quotas of services and accounts as time goes on, and the calls in flight."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, pi, sin

import numpy as np
from numpy.typing import NDArray

from ratelimit_router.simulation.bound.supply import Course, Floats
from ratelimit_router.simulation.scenario import WANDER, Account, Scenario, Service

__all__ = ["InFlight", "Metered", "Quotas", "quotas_of"]

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceClock:
    """The clock of the services, from the start of the run."""

    wander: float

    def shows(self, at: float) -> float:
        """What it shows at an instant of the run."""
        return at + self.ahead(at)

    def ahead(self, at: float) -> float:
        """Seconds by which it is then ahead of its average."""
        return self.wander * sin(2 * pi * at / WANDER) if self.wander and at < inf else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A quota, and the models (by their place) that draw on it. `course` is in seconds by the services' clock."""

    name: str
    models: tuple[int, ...]
    course: Course


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Calls in flight at one time, at most, over those models. `dark`: (from, until) in which none begins."""

    name: str
    models: tuple[int, ...]
    calls: int
    dark: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """All of them. `dark`: by model, (from, until) in seconds of the run, in which it admits nothing useful."""

    models: tuple[str, ...]
    metered: tuple[Metered, ...]
    in_flight: tuple[InFlight, ...]
    dark: tuple[tuple[Span, ...], ...]
    clock: ServiceClock

    def fits(self, model: int, input_tokens: Floats) -> NDArray[np.bool_]:
        """Whether such calls can ever be admitted."""
        found = np.ones(len(input_tokens), dtype=bool)
        for quota in self.metered:
            if model in quota.models:
                rule, most = quota.course.rule, quota.course.largest + 1e-6
                brings = input_tokens if rule.unit in ("input", "total") else float(rule.unit == "requests")
                found &= brings <= most
        return found

    def opening(self, model: int, at: Floats) -> Floats:
        """The first instants from then on at which the model admits anything."""
        found = at.copy()
        for start, end in self.dark[model]:
            found[(found >= start) & (found < end)] = end
        return found


def quotas_of(scenario: Scenario) -> Quotas:
    """The limits of a scenario, with everything that befalls them."""
    services, foreign = scenario.services, scenario.consumption()
    clock, dark = ServiceClock(wander=scenario.network.clock_jitter), tuple(map(_darkness, services))
    metered: list[Metered] = []
    flying: list[InFlight] = []
    owners: list[Service | Account] = [*services, *scenario.accounts]
    for owner in owners:
        models = tuple(place for place, one in enumerate(services) if owner is one or owner.name in one.accounts)
        if not models:
            continue
        shut = _common([dark[place] for place in models])
        name = f"{owner.name}.concurrency"
        metered += _metered(scenario, clock, owner, models, shut, foreign[owner.name])
        if owner.concurrency is not None:
            flying.append(InFlight(name=name, models=models, calls=owner.concurrency, dark=shut))
    names = tuple(service.name for service in services)
    return Quotas(models=names, metered=tuple(metered), in_flight=tuple(flying), dark=dark, clock=clock)


def _metered(
    scenario: Scenario,
    clock: ServiceClock,
    owner: Service | Account,
    models: tuple[int, ...],
    dark: Sequence[Span],
    foreign: Sequence[tuple[float, int, int]],
) -> Iterator[Metered]:
    for rule in owner.quotas:
        used = [(clock.shows(at), rule.cost(*tokens)) for at, *tokens in foreign]
        course = Course(
            rule,
            origin=scenario.start + scenario.network.clock_offset,
            changes=sorted((clock.shows(change.at), change.factor) for change in owner.changes),
            dark=[(clock.shows(start), clock.shows(end)) for start, end in dark],
            foreign=[(at, use) for at, use in used if use],
        )
        yield Metered(name=f"{owner.name}.{rule.name}", models=models, course=course)


def _darkness(service: Service) -> tuple[Span, ...]:
    """When nothing useful is admitted, as spans apart from one another."""
    spans = [(trouble.start, trouble.end) for trouble in service.troubles if trouble.rate >= 1]
    if service.gone_at is not None:
        spans.append((service.gone_at, inf))
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _common(darkness: Sequence[Sequence[Span]]) -> tuple[Span, ...]:
    """When all of them are dark."""
    if not darkness:
        return ()
    common = list(darkness[0])
    for spans in darkness[1:]:
        common = [
            (max(start, other[0]), min(end, other[1]))
            for start, end in common
            for other in spans
            if max(start, other[0]) < min(end, other[1])
        ]
    return tuple(common)
