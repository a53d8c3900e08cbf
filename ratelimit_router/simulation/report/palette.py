"""The few colours of all pictures, told apart by colour-blind eyes too (after Okabe and Ito, "Color Universal Design").

A picture is drawn in the light ones. In a page each becomes a CSS variable, and so follows the reader's theme.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AMBER",
    "BLUE",
    "COLOURS",
    "DASHES",
    "FAINT",
    "GREEN",
    "GREY",
    "INK",
    "MUTED",
    "ORANGE",
    "PURPLE",
    "Colour",
    "Look",
    "policy_styles",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """`name`: of its CSS variable."""

    name: str
    light: str
    dark: str


COLOURS = tuple(
    Colour(name=name, light=light, dark=dark)
    for name, light, dark in (
        ("ink", "#1b1f24", "#e8ecf1"),
        ("muted", "#57606a", "#a0a9b3"),
        ("faint", "#d3d9e0", "#3a424c"),
        ("blue", "#0072b2", "#58aef0"),
        ("orange", "#d55e00", "#ff8f4d"),
        ("green", "#00896a", "#36cba0"),
        ("purple", "#b5589a", "#e79fd0"),
        ("amber", "#dd9a00", "#f2b63c"),
        ("sky", "#56b4e9", "#a5dcfa"),
        ("grey", "#7b858f", "#8f99a4"),
    )
)
INK, MUTED, FAINT, BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, GREY = (each.light for each in COLOURS)

DASHES = ("-", "--", ":", "-.")
_LINES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, GREY)
_MARKS = "os^DvPX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Of one policy, the same in every picture."""

    colour: str
    dash: str
    mark: str


def policy_styles(policies: Sequence[str]) -> dict[str, Look]:
    """No two alike up to 28."""
    return {
        name: Look(
            colour=_LINES[index % len(_LINES)],
            dash=DASHES[index // len(_LINES) % len(DASHES)],
            mark=_MARKS[index % len(_MARKS)],
        )
        for index, name in enumerate(policies)
    }
