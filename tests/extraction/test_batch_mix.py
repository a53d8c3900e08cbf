"""Batches: the mix holds, dry tiers pass their share on, nothing is lost."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.errors import ConfigError
from ratelimit_router_extraction.batches import Turns, check_mix, compose, interleave

MIX = {"hot": 5, "standard": 3, "bulk": 2}
shares = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 100), min_size=1)


def lanes(**sizes: int) -> dict[str, list[tuple[str, int]]]:
    return {tier: [(tier, number) for number in range(size)] for tier, size in sizes.items()}


def test_batches_of_ten_have_the_mix_exactly() -> None:
    """5:3:2 in every batch of ten, as long as all tiers have work."""
    batches = list(compose(lanes(hot=50, standard=30, bulk=20), MIX, 10))
    assert [Counter(tier for tier, _ in batch) for batch in batches] == [Counter(hot=5, standard=3, bulk=2)] * 10


@given(shares, st.integers(1, 300))
def test_at_every_point_each_tier_is_within_one_article_of_its_share(mix: dict[str, int], count: int) -> None:
    """For any mix and any length: the count of a tier never differs from its share by one or more."""
    turns, taken, whole = Turns(mix), Counter[str](), sum(mix.values())
    for turn in range(1, count + 1):
        taken[turns.take()] += 1
        for tier, share in mix.items():
            assert abs(taken[tier] - Fraction(turn * share, whole)) < 1


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 40)), shares, st.integers(1, 12))
def test_nothing_is_lost_doubled_or_reordered(sizes: dict[str, int], mix: dict[str, int], size: int) -> None:
    """Every article is in exactly one batch, in its tier's order, and all batches but the last are full."""
    work = lanes(**sizes)
    batches = list(compose(work, mix, size))
    flat = [item for batch in batches for item in batch]
    assert sorted(flat) == sorted(item for lane in work.values() for item in lane)
    for tier, items in work.items():
        assert [item for item in flat if item[0] == tier] == items
    assert all(len(batch) == size for batch in batches[:-1])


def test_share_of_a_dry_tier_goes_to_the_others_in_proportion() -> None:
    """Without hot work, standard and bulk go on as 3:2."""
    flat = [tier for tier, _ in interleave(lanes(hot=5, standard=33, bulk=22), MIX)]
    assert Counter(flat[:10]) == Counter(hot=5, standard=3, bulk=2)
    for start in range(10, 60, 5):
        assert Counter(flat[start : start + 5]) == Counter(standard=3, bulk=2)


def test_tier_without_a_share_comes_last() -> None:
    """A share of 0, or none, is served when all others are dry."""
    flat = [tier for tier, _ in interleave(lanes(other=2, hot=2, bulk=2), {"hot": 1, "bulk": 0})]
    assert flat[:2] == ["hot", "hot"]
    assert sorted(flat[2:]) == ["bulk", "bulk", "other", "other"]


def test_same_input_same_batches() -> None:
    """Nothing is left to chance."""
    work = lanes(hot=13, standard=20, bulk=31)
    assert list(compose(work, MIX, 7)) == list(compose(work, MIX, 7))


@pytest.mark.parametrize(("mix", "key"), [({"warm": 1}, "mix"), ({"hot": 1.5}, "mix.hot"), ({"hot": -1}, "mix.hot")])
def test_wrong_mix_is_refused(mix: dict[str, object], key: str) -> None:
    """A tier that is not there, a share that is not whole."""
    with pytest.raises(ConfigError) as refused:
        check_mix(mix, MIX)
    assert refused.value.key == key
