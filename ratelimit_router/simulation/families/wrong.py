"""Families in which something is not as the router was told, or goes wrong in mid-run."""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from random import Random
from typing import Any, get_args

from ratelimit_router.limits import Limit, Limits, Refill
from ratelimit_router.simulation.families.draft import Draft, base, draw_sizes
from ratelimit_router.simulation.families.room import mean
from ratelimit_router.simulation.mirror import mirror_service
from ratelimit_router.simulation.scenario import Change, Consumer, Distribution, Hint, Service, Told, Trouble

__all__ = ["heavy_tail", "misconfigured", "no_hint", "outage", "shared_key", "shrinking", "wrong_hint"]

TOLD: tuple[Told, ...] = get_args(Told)


def misconfigured(rng: Random) -> Draft:
    """Every limit is believed to be twice what it is; the 429s tell the limit, the quota's name, or nothing."""
    draft = _believing(base(rng), lambda: 2.0)
    return _but(draft, lambda service: replace(service, tells=rng.choice(TOLD)))


def shared_key(rng: Random) -> Draft:
    """Others take 10 to 40% of the quotas of some models, in phases."""
    draft = base(rng)

    def shared(service: Service) -> Service:
        return replace(service, tells=rng.choice(TOLD), consumers=_phases(rng, service, draft))

    return _some(rng, draft, shared)


def shrinking(rng: Random) -> Draft:
    """The quotas of some models drop to 30 to 70% in mid-run; sometimes they recover."""
    draft = base(rng)

    def shrunk(service: Service) -> Service:
        changes = [Change(at=round(draft.seconds * rng.uniform(0.2, 0.5)), factor=round(rng.uniform(0.3, 0.7), 2))]
        if rng.random() < 0.4:
            changes.append(Change(at=round(draft.seconds * rng.uniform(0.6, 0.85)), factor=1.0))
        return replace(service, tells=rng.choice(TOLD), changes=tuple(changes))

    return _some(rng, draft, shrunk)


def outage(rng: Random) -> Draft:
    """One of the two largest models answers 503 for minutes, with or without a hint."""
    draft = base(rng)
    largest = sorted(draft.services, key=lambda service: service.quotas[0].amount)[-2:]
    struck = rng.choice(largest).name
    start = round(draft.seconds * rng.uniform(0.1, 0.5))
    end = start + rng.randint(90, max(120, round(draft.seconds * 0.35)))
    hint = rng.choice((None, None, 2.0, 10.0, 30.0))
    trouble = Trouble(kind="overloaded", start=start, end=end, seconds=hint)
    return _but(draft, lambda service: replace(service, troubles=(trouble,)) if service.name == struck else service)


def no_hint(rng: Random) -> Draft:
    """Limits are believed to be 1.2 to 2 times what they are, and the 429s do not tell how long to wait."""
    return _hinting(rng, ("missing",))


def wrong_hint(rng: Random) -> Draft:
    """Limits are believed to be 1.2 to 2 times what they are, and the 429s tell a wait that is not true."""
    return _hinting(rng, ("short", "truncated", "long"))


def heavy_tail(rng: Random) -> Draft:
    """A few calls take very long, a few requests are very large; tokens and calls in flight are limited."""
    sizes = draw_sizes(rng)
    draft = base(rng, sizes)
    median = rng.randint(300, 1_500)
    tokens = Distribution(median=median, tail=round(rng.uniform(1.3, 2.0), 2), most=15 * median)
    models, services = [], []
    for model, rpm in zip(draft.models, sizes.rpm.values(), strict=True):
        latency = Distribution(median=round(rng.uniform(0.5, 1.5), 2), tail=round(rng.uniform(1.3, 2.2), 2), most=25.0)
        most = max(mean(tokens) * rpm * rng.uniform(1.0, 1.5), 2 * tokens.most)
        flying = max(2, round(rpm / 60 * mean(latency) * rng.uniform(1.0, 2.5)) + 1)
        refill: Refill = rng.choice(("rolling", "continuous"))
        limits = Limits(rpm=rpm, input_tpm=round(most), concurrency=flying, refill=refill)
        models.append(replace(model, limits=limits))
        services.append(mirror_service(models[-1], latency=latency))
    return replace(draft, models=tuple(models), services=tuple(services), input_tokens=tokens)


def _hinting(rng: Random, hints: tuple[Hint, ...]) -> Draft:
    draft = _believing(base(rng), lambda: rng.uniform(1.2, 2.0))
    told: tuple[Told, ...] = ("quota", "nothing")
    return _but(draft, lambda service: replace(service, hint=rng.choice(hints), tells=rng.choice(told)))


def _phases(rng: Random, service: Service, draft: Draft) -> tuple[Consumer, ...]:
    """Who else calls when: one to three stretches of the run, in each a part of the requests by the minute."""
    rpm = next(rule.amount for rule in service.quotas if rule.name == "rpm")
    cuts = sorted(round(draft.seconds * rng.uniform(0.0, 1.0)) for _ in range(rng.randint(0, 2)))
    bounds = [0.0, *(float(cut) for cut in cuts), 2 * draft.seconds]
    return tuple(
        Consumer(
            rate=round(rpm / 60 * rng.uniform(0.1, 0.4), 4),
            start=start,
            end=end,
            input_tokens=draft.input_tokens,
            output_tokens=draft.output_tokens,
        )
        for start, end in pairwise(bounds)
        if end > start and (len(bounds) == 2 or rng.random() < 0.8)
    )


def _but(draft: Draft, change: Callable[[Service], Service]) -> Draft:
    """The same with changed services."""
    return replace(draft, services=tuple(change(service) for service in draft.services))


def _some(rng: Random, draft: Draft, change: Callable[[Service], Service]) -> Draft:
    """The same with some services changed, at least one."""
    chosen = rng.sample(range(len(draft.services)), rng.randint(1, len(draft.services)))
    services = tuple(change(one) if place in chosen else one for place, one in enumerate(draft.services))
    return replace(draft, services=services)


def _believing(draft: Draft, factor: Callable[[], float]) -> Draft:
    """The same, but each model's limits are believed to be that many times what they are."""
    models = (replace(model, limits=_times(model.limits, factor())) for model in draft.models)
    return replace(draft, models=tuple(models))


def _times(limits: Limits, factor: float) -> Limits:
    found = {each.name: getattr(limits, each.name) for each in fields(limits)}
    quotas: dict[str, Any] = {name: _more(limit, factor) for name, limit in found.items() if isinstance(limit, Limit)}
    return replace(limits, **quotas)


def _more(limit: Limit, factor: float) -> Limit:
    burst = None if limit.burst is None else round(limit.burst * factor)
    return replace(limit, amount=round(limit.amount * factor), burst=burst)
