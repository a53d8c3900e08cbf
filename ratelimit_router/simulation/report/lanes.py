"""What there is to see of each model, pool and account: who draws on it, when it was closed, what befell it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ratelimit_router.outcomes import Kind
from ratelimit_router.simulation.report.series import Steps, in_flight, quota_levels
from ratelimit_router.simulation.report.words import clock, count, figure, percent, span
from ratelimit_router.simulation.run import OK, Call, Run
from ratelimit_router.simulation.scenario import Account, Scenario, Service

__all__ = ["Closed", "Event", "Lane", "closures", "events", "lanes"]

TROUBLES = {
    "overloaded": "overloaded",
    "silent": "does not answer",
    "unreachable": "unreachable",
    "garbled": "answers are garbled",
    "key_refused": "key refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The client kept a lane closed. `provenance`: who said how long (see `cooldown.Provenance`)."""

    start: float
    end: float
    provenance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that the scenario has in store."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A model, or what several models share.

    `refused`, `failed`: when calls were refused by a quota, or ended badly for another reason. `levels`: by quota, the
    share of it that was left.
    """

    name: str
    shared: bool
    calls: int
    flying: Steps
    refused: tuple[float, ...]
    failed: tuple[float, ...]
    closed: tuple[Closed, ...]
    events: tuple[Event, ...]
    levels: Mapping[str, Steps]

    @property
    def seconds_closed(self) -> float:
        """All together."""
        return sum(each.end - each.start for each in self.closed)

    def words(self) -> str:
        """What it comes to, in one line."""
        parts = [count(self.calls, "call"), f"{len(self.refused):,} refused"]
        if self.failed:
            parts.append(f"{len(self.failed):,} failed")
        parts.append(f"at most {figure(self.flying.peak)} in flight")
        if self.closed:
            parts.append(f"closed for {span(self.seconds_closed)}")
        return ", ".join(parts)


def lanes(run: Run) -> list[Lane]:
    """Every model, then every pool of the router and account of the services, which mostly are the same."""
    scenario = run.scenario
    calls: dict[str, list[Call]] = {model.name: [] for model in scenario.models}
    for call in run.calls:
        calls[call.model].append(call)
    found = [_lane(run, name, own) for name, own in calls.items()]
    shared = dict.fromkeys([*(one.name for one in scenario.accounts), *(one.name for one in scenario.pools)])
    drawing = [(service.name, service.accounts) for service in scenario.services]
    drawing += [(model.name, model.pools) for model in scenario.models]
    for name in shared:
        models = {model for model, accounts in drawing if name in accounts}
        found.append(_lane(run, name, [call for model in sorted(models) for call in calls[model]], shared=True))
    return found


def _lane(run: Run, name: str, calls: Sequence[Call], *, shared: bool = False) -> Lane:
    bad = [call for call in calls if call.result != OK]
    return Lane(
        name=name,
        shared=shared,
        calls=len(calls),
        flying=in_flight(calls),
        refused=tuple(call.judged for call in bad if call.result == Kind.RATE_LIMITED),
        failed=tuple(call.judged for call in bad if call.result != Kind.RATE_LIMITED),
        closed=tuple(closures(run, name)),
        events=tuple(events(run.scenario, name)),
        levels=quota_levels(run, name),
    )


def closures(run: Run, name: str) -> list[Closed]:
    """One after the other, without a gap counted twice; where they overlap the later decision holds."""
    found: list[Closed] = []
    for cooling in run.coolings:
        if cooling.model != name or cooling.at >= run.makespan:
            continue
        end = min(cooling.until, run.makespan)
        if found and found[-1].end >= cooling.at:
            before = found.pop()
            end = max(end, before.end)
            if before.provenance == cooling.provenance:
                found.append(Closed(start=before.start, end=end, provenance=before.provenance))
                continue
            found.append(Closed(start=before.start, end=cooling.at, provenance=before.provenance))
        found.append(Closed(start=cooling.at, end=end, provenance=cooling.provenance))
    return found


def events(scenario: Scenario, name: str) -> list[Event]:
    """What befalls the service or account of that name, by its start."""
    owners: list[Service | Account] = [*scenario.services, *scenario.accounts]
    found = [event for owner in owners if owner.name == name for event in _events(owner)]
    return sorted(found, key=lambda event: (event.start, event.end, event.text))


def _events(owner: Service | Account) -> Iterator[Event]:
    changes = sorted(owner.changes, key=lambda change: change.at)
    ends = [*(change.at for change in changes[1:]), math.inf]
    for change, end in zip(changes, ends, strict=bool(changes)):
        if change.factor != 1:
            yield Event(start=change.at, end=end, text=f"quotas × {figure(change.factor)}")
    for consumer in owner.consumers:
        text = f"others make {figure(consumer.rate * 60)} calls a minute"
        yield Event(start=consumer.start, end=consumer.end, text=text)
    if isinstance(owner, Service):
        for trouble in owner.troubles:
            share = "" if trouble.rate == 1 else f" ({percent(trouble.rate)} of calls)"
            yield Event(start=trouble.start, end=trouble.end, text=TROUBLES[trouble.kind] + share)
        if owner.gone_at is not None:
            yield Event(start=owner.gone_at, end=math.inf, text=f"gone from {clock(owner.gone_at)} on")
