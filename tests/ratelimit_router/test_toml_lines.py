"""Which line a key stands on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.toml_lines import line_of

SOURCE = '''\
# [models.comment]
top.dotted = 1

[models.flash]   # the header
limits = { rpm = 5,
  rpd = 6 }
"quoted \\"key\\"" = 1
text = """
[models.fake]
id = "not a key"
"""
[ "models" . 'lite' ]
limits.rpm = 5
[[steps]]
a = 1
[pools.account.limits]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top", "dotted"), 2),
        (("top",), 2),
        (("models",), 4),
        (("models", "flash"), 4),
        (("models", "flash", "missing"), 4),
        (("models", "flash", "limits", "rpm"), 5),
        (("models", "flash", 'quoted "key"'), 7),
        (("models", "flash", "text"), 8),
        (("models", "fake"), None),
        (("models", "lite", "limits", "rpm"), 13),
        (("models", "lite", "limits"), 13),
        (("steps", "a"), 15),
        (("pools", "account"), 16),
        (("tiers", "hot"), None),
        ((), None),
    ],
)
def test_the_line_is_the_keys_own_or_the_nearest(path: tuple[str, ...], line: int | None) -> None:
    """The key itself, else the first key below it, else the innermost table around it, else none."""
    assert line_of(SOURCE, path) == line


@given(st.text(alphabet="[]=.\"' ab\\\n{},"), st.lists(st.sampled_from(["a", "b", ""]), max_size=3))
def test_any_text_has_a_line_or_none(source: str, path: list[str]) -> None:
    """Text that is not TOML raises nothing, and a line that is found exists."""
    line = line_of(source, tuple(path))
    assert line is None or 1 <= line <= source.count("\n") + 1
