"""Scores, domain tables, cuts: which article goes to which tier, and how that is explained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.errors import ConfigError
from ratelimit_router_extraction.articles import Article
from ratelimit_router_extraction.plan import batches_of, explain, plan
from ratelimit_router_extraction.priority import Domains, Weights, domains_of, score
from ratelimit_router_extraction.settings import Settings
from ratelimit_router_extraction.tiering import Cuts, even_cuts, tiers_by

TIERS = ("hot", "standard", "bulk")
MIX = {"hot": 5, "standard": 3, "bulk": 2}


def article(
    identity: str = "a", *, hotness: float | None = None, domain: str = "", goodness: float | None = None
) -> Article:
    return Article(id=identity, text="x", hotness=hotness, domain=domain, goodness=goodness)


def settings(**changes: object) -> Settings:
    return Settings(**{"tiers": TIERS, "cuts": Cuts(at=(0.7, 0.4)), "mix": MIX, **changes})  # type: ignore[arg-type]


def test_score_is_the_weighted_mean_of_both() -> None:
    """Hotness over the most there can be, goodness over its scale, weighted by their ratio."""
    domains = Domains(goodness={"example.org": 8}, scale=10, default=2)
    found = score(article(hotness=30, domain="news.example.org"), Weights(hotness=3, goodness=1), domains, 40)
    assert (found.hotness, found.goodness, found.entry) == (0.75, 0.8, "example.org")
    assert found.value == pytest.approx((3 * 0.75 + 0.8) / 4)


@given(
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.floats(0, 1e6),
)
def test_score_stays_within_0_and_1(hotness: float | None, goodness: float | None, most: float) -> None:
    """Whatever the input claims."""
    found = score(article(hotness=hotness, goodness=goodness), Weights(), Domains(), most)
    assert 0 <= found.value <= 1


def test_longest_domain_entry_wins_and_only_whole_labels_count() -> None:
    """A subdomain's own entry is stronger than its parent's; notexample.org is not example.org."""
    domains = Domains(goodness={"example.org": 0.9, "blog.example.org": 0.2}, default=0.4)
    assert domains.look_up("a.blog.example.org") == (0.2, "blog.example.org")
    assert domains.look_up("news.example.org") == (0.9, "example.org")
    assert domains.look_up("notexample.org") == (0.4, None)


def test_domain_table_reads_quoted_and_bare_names() -> None:
    """TOML reads a bare name as nested tables; both mean the same."""
    domains = domains_of({"default": 0.3, "domains": {"bbc.co.uk": 0.9, "example": {"org": 0.8}}})
    assert domains.goodness == {"bbc.co.uk": 0.9, "example.org": 0.8}
    assert domains.default == 0.3


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"default": 2}, "default"),
        ({"scale": 0}, "scale"),
        ({"domains": {"a.org": "good"}}, "domains.a.org"),
        ({"domains": {"a": {"org": -1}}}, "domains.a.org"),
        ({"domains": 3}, "domains"),
        ({"other": 1}, "other"),
    ],
)
def test_wrong_domain_table_names_the_key(table: dict[str, object], key: str) -> None:
    """Each defect says where it stands."""
    with pytest.raises(ConfigError) as refused:
        domains_of(table)
    assert refused.value.key == key


@pytest.mark.parametrize("weights", [{"hotness": -1}, {"hotness": 0, "goodness": 0}, {"goodness": float("inf")}])
def test_weights_must_be_weights(weights: dict[str, float]) -> None:
    """Not negative, not infinite, not both nothing."""
    with pytest.raises(ConfigError):
        Weights(**weights)


def test_cuts_by_score() -> None:
    """An article at a cut is above it."""
    assert tiers_by(Cuts(at=(0.7, 0.4)), [0.7, 0.69, 0.4, 0.39], TIERS) == ["hot", "standard", "standard", "bulk"]


def test_quantiles_give_exact_shares_even_among_equals() -> None:
    """Ten equal scores, cuts at 0.2 and 0.5: two, three and five, in the order of the input."""
    found = tiers_by(Cuts(at=(0.2, 0.5), by="quantile"), [0.5] * 10, TIERS)
    assert found == ["hot"] * 2 + ["standard"] * 3 + ["bulk"] * 5


@given(st.lists(st.floats(0, 1), max_size=50), st.sampled_from(["score", "quantile"]))
def test_a_higher_score_is_never_in_a_lower_tier(scores: list[float], by: str) -> None:
    """Whatever the cuts, tiers follow scores."""
    cuts = Cuts(at=(0.7, 0.4)) if by == "score" else Cuts(at=(0.3, 0.6), by="quantile")
    tiers = [TIERS.index(tier) for tier in tiers_by(cuts, scores, TIERS)]
    for mine, my_tier in zip(scores, tiers, strict=True):
        assert all(my_tier <= tier for other, tier in zip(scores, tiers, strict=True) if mine > other)


@pytest.mark.parametrize(
    ("at", "by"),
    [((0.4, 0.7), "score"), ((0.7, 0.4), "quantile"), ((1.2,), "score"), ((-0.1,), "quantile"), (("x",), "score")],
)
def test_wrong_cuts_are_refused(at: tuple[float, ...], by: str) -> None:
    """In the wrong order, or out of range."""
    with pytest.raises(ConfigError):
        Cuts(at=at, by=by)  # type: ignore[arg-type]


def test_as_many_cuts_as_borders() -> None:
    """Three tiers have two borders; even cuts fit any number of tiers."""
    with pytest.raises(ConfigError, match="3 tiers need 2 cuts, not 1"):
        tiers_by(Cuts(at=(0.5,)), [], TIERS)
    assert even_cuts(("a", "b")).at == (0.5,)
    assert tiers_by(even_cuts(("only",)), [0.1, 0.9], ("only",)) == ["only", "only"]


def test_plan_scores_ranks_and_keeps_the_order_of_the_input() -> None:
    """Hotness is relative to the highest in the input unless the settings give a maximum."""
    articles = [article("cold", hotness=0), article("warm", hotness=20), article("hot", hotness=40)]
    jobs = plan(articles, settings(weights=Weights(hotness=1, goodness=0)), Domains())
    assert [(job.article.id, job.tier, job.rank) for job in jobs] == [
        ("cold", "bulk", 3),
        ("warm", "standard", 2),
        ("hot", "hot", 1),
    ]
    jobs = plan(articles, settings(weights=Weights(hotness=1, goodness=0), hotness_max=100), Domains())
    assert [job.tier for job in jobs] == ["bulk", "bulk", "standard"]


def test_batches_take_the_best_of_each_tier_first() -> None:
    """Within a tier the higher score comes first."""
    articles = [article(str(heat), hotness=heat) for heat in (71, 100, 90, 75)]
    jobs = plan(articles, settings(weights=Weights(hotness=1, goodness=0)), Domains())
    (batch,) = batches_of(jobs, settings())
    assert [job.article.id for job in batch] == ["100", "90", "75", "71"]


def test_explanation_names_everything_that_counted() -> None:
    """Score, parts, weights, the entry of the domain table, the rank and the cuts."""
    articles = [article("a", hotness=30, domain="news.example.org"), article("b", hotness=40)]
    domains = Domains(goodness={"example.org": 0.9})
    jobs = plan(articles, settings(), domains)
    told = explain(jobs[0], jobs, settings())
    for part in (
        "tier hot",
        "0.810",
        "0.750 x weight 0.60",
        "30 of at most 40",
        "entry example.org",
        "1 of 2",
        "hot from 0.7",
    ):
        assert part in told
    assert "not in the table, the default" in explain(jobs[1], jobs, settings())
