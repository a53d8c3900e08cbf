"""Who goes where: every article scored and given its tier, best first within each; and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ratelimit_router_extraction.articles import Article
from ratelimit_router_extraction.batches import compose
from ratelimit_router_extraction.priority import Domains, Score, highest_hotness, score
from ratelimit_router_extraction.settings import Settings
from ratelimit_router_extraction.tiering import tiers_by

__all__ = ["Job", "batches_of", "explain", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One article with its tier. `rank`: its place among all by score, from 1."""

    article: Article
    tier: str
    score: Score
    rank: int


def plan(articles: Sequence[Article], settings: Settings, domains: Domains) -> list[Job]:
    """A job for every article, in the order of the input. Scores and quantiles are taken over all of them."""
    most = settings.hotness_max if settings.hotness_max is not None else highest_hotness(articles)
    scores = [score(article, settings.weights, domains, most) for article in articles]
    values = [each.value for each in scores]
    tiers = tiers_by(settings.cuts, values, settings.tiers)
    ranks = {place: rank for rank, place in enumerate(sorted(range(len(values)), key=lambda at: -values[at]), start=1)}
    return [
        Job(article=article, tier=tier, score=each, rank=ranks[place])
        for place, (article, tier, each) in enumerate(zip(articles, tiers, scores, strict=True))
    ]


def batches_of(jobs: Sequence[Job], settings: Settings) -> Iterator[list[Job]]:
    """The jobs in batches of the defined mix; within a tier the higher score first."""
    ordered = sorted(jobs, key=lambda job: job.rank)
    lanes = {tier: [job for job in ordered if job.tier == tier] for tier in settings.tiers}
    return compose(lanes, settings.mix, settings.batch_size)


def explain(job: Job, jobs: Sequence[Job], settings: Settings) -> str:
    """Why an article is in its tier, for people, in a few lines."""
    article, each, weights = job.article, job.score, settings.weights
    most = settings.hotness_max if settings.hotness_max is not None else highest_hotness([one.article for one in jobs])
    given = "none given, counts as 0" if article.hotness is None else f"{article.hotness:g} of at most {most:g}"
    whole = weights.hotness + weights.goodness
    return "\n".join(
        [
            f"{article.id} (line {article.line}) is in tier {job.tier}: score {each.value:.3f}",
            f"  hotness   {each.hotness:.3f} x weight {weights.hotness / whole:.2f}   cluster hotness {given}",
            f"  goodness  {each.goodness:.3f} x weight {weights.goodness / whole:.2f}   {_source(job)}",
            f"  rank      {job.rank} of {len(jobs)}",
            f"  cuts      {_cuts(settings, len(jobs))}",
        ]
    )


def _source(job: Job) -> str:
    if job.score.from_article:
        return "given with the article"
    domain = job.article.domain or "no domain"
    return f"{domain}: " + (f"entry {job.score.entry}" if job.score.entry else "not in the table, the default")


def _cuts(settings: Settings, count: int) -> str:
    if not settings.cuts.at:
        return f"none: everything is {settings.tiers[0]}"
    if settings.cuts.by == "score":
        told = [f"{tier} from {cut:g}" for tier, cut in zip(settings.tiers, settings.cuts.at, strict=False)]
    else:
        told = [
            f"{tier} to rank {cut * count:.0f}" for tier, cut in zip(settings.tiers, settings.cuts.at, strict=False)
        ]
    return ", ".join([*told, f"{settings.tiers[-1]} below"])
