"""Durations as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.durations import parse_duration
from ratelimit_router.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("5s", 5),
        ("500ms", 0.5),
        ("2m", 120),
        ("1.5 h", 5_400),
        ("1d", 86_400),
        ("0s", 0),
        (" inf ", math.inf),
        (7, 7),
        (0.25, 0.25),
        (math.inf, math.inf),
        (10**400, math.inf),
    ],
)
def test_a_duration_is_read_in_its_unit(written: object, seconds: float) -> None:
    """Texts need a unit, numbers are seconds, both may be endless."""
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["5", "s", "-5s", "5 s 3", "", "٥s", "1e3s", True, -1, math.nan, -math.inf, None, [5]]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    """No guessing: a text without a unit, a negative number and anything else raise ConfigError."""
    with pytest.raises(ConfigError, match=r"^must be "):
        parse_duration(written)


@given(st.integers(0, 10**9), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]))
def test_every_whole_number_of_every_unit_is_exact_enough(count: int, unit: tuple[str, float]) -> None:
    """Nothing is lost or rounded on the way but the last bit of a float."""
    assert parse_duration(f"{count}{unit[0]}") == pytest.approx(count * unit[1])
