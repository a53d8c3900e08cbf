"""Families whose router was told the truth: whatever it loses, it loses by how it shares out and when it sends."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from ratelimit_router.limits import DAY, DEFAULT_RESET, Limit, Limits, Refill
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.resets import next_reset
from ratelimit_router.simulation.families.draft import MIDNIGHT, Draft, base, draw_limit, draw_sizes
from ratelimit_router.simulation.families.room import mean
from ratelimit_router.simulation.mirror import mirror_account, mirror_service
from ratelimit_router.simulation.scenario import Distribution, Network, Service
from ratelimit_router.simulation.windows import WindowKind

__all__ = [
    "concurrency_bound",
    "day_bound",
    "mixed_windows",
    "plain",
    "poisson",
    "pooled",
    "skewed_tiers",
    "token_bound",
    "windows",
]


def plain(rng: Random) -> Draft:
    """Requests by the minute are what there is too little of."""
    return base(rng)


def token_bound(rng: Random) -> Draft:
    """Twice as many requests are allowed as the tokens by the minute are enough for."""
    sizes = draw_sizes(rng, minutes=(8, 14), steepest=1.6)
    draft = base(rng, sizes)
    whole = rng.random() < 0.5  # or input alone
    used = mean(draft.input_tokens) + (mean(draft.output_tokens) if whole else 0.0)
    largest = draft.input_tokens.most + draft.output_tokens.most
    models = []
    for name, rpm in sizes.rpm.items():
        refill: Refill = rng.choice(("rolling", "continuous", "continuous"))
        tokens = draw_limit(rng, round(max(rpm * used, 2 * largest)), refill, least=2 * largest)
        requests = Limit(round(2 * tokens.amount / used), refill=refill)
        limits = Limits(rpm=requests, tpm=tokens if whole else None)
        models.append(Model(name, limits=limits if whole else replace(limits, input_tpm=tokens)))
    return _of(draft, models)


def day_bound(rng: Random) -> Draft:
    """The best models run out of their requests for the day in mid-run; some get them back before its end."""
    draft = base(rng, refill=rng.choice(("rolling", "continuous")))
    poor = min(rng.randint(1, len(draft.models) - 1), min(_last(draft, tier) for tier in draft.tiers))
    models = [_by_day(rng, model, draft.seconds) for model in draft.models[:poor]] + [*draft.models[poor:]]
    midnight = next_reset(DEFAULT_RESET, DAY, MIDNIGHT)
    before = rng.uniform(0.5, 0.8) * draft.seconds if rng.random() < 0.4 else rng.uniform(2 * 3_600.0, 23 * 3_600.0)
    return replace(_of(draft, models), start=midnight - round(before))


def concurrency_bound(rng: Random) -> Draft:
    """So few calls may be in flight that the answers set the pace; requests by the minute would allow more."""
    sizes = draw_sizes(rng, minutes=(8, 14))
    draft = base(rng, sizes)
    models, services, sigma = [], [], round(rng.uniform(0.1, 0.3), 2)
    for place, rpm in enumerate(sizes.rpm.values()):
        flying = max(1, round(rpm / 60 * 2.5))
        seconds = flying * 60 / rpm
        latency = Distribution(median=seconds, sigma=sigma, least=seconds / 2, most=2 * seconds)
        limits = Limits(rpm=Limit(2 * rpm, refill=rng.choice(("rolling", "continuous"))), concurrency=flying)
        models.append(replace(draft.models[place], limits=limits))
        services.append(mirror_service(models[-1], latency=latency))
    return replace(draft, models=tuple(models), services=tuple(services), network=Network(latency=0.005))


def poisson(rng: Random) -> Draft:
    """Calls arrive at random over ten to twenty minutes: a little fewer than can be answered, or more."""
    draft = base(rng, draw_sizes(rng, minutes=(10, 20)))
    crowd = rng.uniform(0.7, 0.97) if rng.random() < 0.5 else rng.uniform(1.05, 1.4)
    return replace(draft, arrive="poisson", crowd=crowd)


def windows(rng: Random) -> Draft:
    """Services count by the minute of the clock, or by the last minute; calls overtake each other by up to 50 ms.

    The router is careful in one of two ways: it counts by the last minute, or it knows that the clock decides.
    """
    refill: Refill = rng.choice(("rolling", "rolling", "calendar"))
    draft = base(rng, refill=refill)
    by_clock = refill == "calendar" or rng.random() < 0.5
    phase = rng.uniform(1, 58) if refill == "calendar" else rng.uniform(0, 5)
    return replace(
        draft,
        services=tuple(_counting(service, "fixed" if by_clock else "rolling") for service in draft.services),
        network=Network(jitter=0.05, clock_offset=rng.uniform(-0.03, 0.03), clock_jitter=rng.uniform(0.0, 0.02)),
        guard=0.1,
        start=MIDNIGHT + round(phase, 3),
    )


def mixed_windows(rng: Random) -> Draft:
    """Each model's quota comes back in another way: evenly, after a minute, with the clock's minute, with the day."""
    draft = base(rng, refill="rolling")
    kinds = rng.sample(("continuous", "rolling", "calendar", "day", "rolling"), len(draft.models))
    if kinds[-1] == "day":
        kinds[0], kinds[-1] = kinds[-1], kinds[0]
    models = [_counted(rng, model, kind, draft.seconds) for model, kind in zip(draft.models, kinds, strict=True)]
    return replace(_of(draft, models), start=MIDNIGHT + rng.randrange(60), guard=0.05)


def pooled(rng: Random) -> Draft:
    """Several models draw on one account, which allows less than they do together."""
    refill: Refill = rng.choice(("rolling", "continuous"))
    draft = base(rng, refill=refill)
    members = rng.sample(draft.models, rng.randint(2, len(draft.models)))
    rpm = round(sum(map(_rpm, members)) * rng.uniform(0.5, 0.8))
    pool = Pool("account", Limits(rpm=draw_limit(rng, rpm, refill)))
    models = [replace(model, pools=(pool.name,)) if model in members else model for model in draft.models]
    return replace(_of(draft, models), pools=(pool,), accounts=(mirror_account(pool),))


def skewed_tiers(rng: Random) -> Draft:
    """The middle tier may use the only models that the low tier may use, and eats them if nobody plans ahead."""
    sizes = draw_sizes(rng, minutes=(8, 20))
    names = tuple(sizes.rpm)
    first = rng.randint(2, len(names) - 1)  # of the low tier's models
    upper, low = names[:first], names[first:]
    tiers = (
        Tier("hot", upper),
        Tier("standard", (*upper[1:], *low), weight=rng.choice((2.0, 3.0, 5.0))),
        Tier("bulk", low),
    )
    kept = rng.uniform(0.85, 1.0)
    shares = {name: {"bulk": kept, "standard": 1.0 - kept} for name in low}
    return replace(base(rng, sizes, tiers=tiers), fallback=None, shares=shares)


def _of(draft: Draft, models: Sequence[Model]) -> Draft:
    """The same with other models, mirrored by services that are as fast as before."""
    latencies = [service.latency for service in draft.services]
    mirrored = (mirror_service(model, latency=latency) for model, latency in zip(models, latencies, strict=True))
    return replace(draft, models=tuple(models), services=tuple(mirrored))


def _last(draft: Draft, tier: Tier) -> int:
    """The place among the models of the last one that the tier may use."""
    return max(place for place, model in enumerate(draft.models) if any(model.name in step for step in tier.chain))


def _by_day(rng: Random, model: Model, seconds: float) -> Model:
    """The same with requests for the day that end after a third to two thirds of the run."""
    requests = round(_rpm(model) * seconds / 60 * rng.uniform(0.3, 0.6))
    return replace(model, limits=replace(model.limits, rpd=Limit(requests, refill="calendar")))


def _rpm(model: Model) -> float:
    """Requests by the minute."""
    rpm = model.limits.rpm
    return rpm.amount if isinstance(rpm, Limit) else rpm or 0.0


def _counting(service: Service, window: WindowKind) -> Service:
    """The same service with windows of that kind."""
    return replace(service, quotas=tuple(replace(rule, window=window, burst=None) for rule in service.quotas))


def _counted(rng: Random, model: Model, kind: str, seconds: float) -> Model:
    """The same model with requests that come back in that way."""
    if kind == "day":
        return _by_day(rng, model, seconds)
    refill: Refill = "continuous" if kind == "continuous" else "calendar" if kind == "calendar" else "rolling"
    return replace(model, limits=replace(model.limits, rpm=draw_limit(rng, _rpm(model), refill)))
