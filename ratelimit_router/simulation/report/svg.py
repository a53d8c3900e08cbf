"""A drawing as SVG that can stand in a page: text as text, colours as CSS variables, no more bytes than it needs.

matplotlib writes the SVG; nothing that depends on the day, on the machine's settings or on chance gets into it.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib import style
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ratelimit_router.simulation.report.palette import COLOURS, INK

__all__ = ["Picture", "drawing"]

NAMESPACE = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
SETTINGS = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are a user's: a dollar sign is a dollar sign
    "font.size": 8.5,
    "text.color": INK,
    "lines.solid_capstyle": "butt",
    "path.simplify": False,
}
_FONT = re.compile(r"font: ?(\d* )?([\d.]+px)[^;]*")  # as matplotlib before 3.11 writes it
_NUMBERS = {"transform", "x", "y", "width", "height"}
_NOTHING = ("stroke-linejoin:", "stroke-linecap:", "font-family:")
ALONE = "svg{background:#fff} text{font-family:%s} @media (prefers-color-scheme:dark){svg{background:#12161b}}"


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in here: whatever the machine's settings are, ours hold."""
    with style.context(["default", SETTINGS], after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's font may have it
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing with its words. `name`: unique in its page; `title`, `description`: for those who do not see it."""

    name: str
    title: str
    description: str
    figure: Figure

    def inline(self) -> Markup:
        """For an HTML page, which has the colours."""
        return Markup(self._text(alone=False))  # noqa: S704 -- ElementTree has escaped every text

    def alone(self) -> str:
        """A file of its own, in light and dark."""
        return self._text(alone=True) + "\n"

    def _text(self, *, alone: bool) -> str:
        root = ElementTree.fromstring(self._drawn())  # noqa: S314 -- matplotlib wrote it
        _tidy(root, _references(root))
        self._name(root)
        if alone:
            root.set("xmlns", NAMESPACE)
            root.insert(0, _element("style", f"{_variables()} {ALONE % FONT}"))
        return ElementTree.tostring(_coloured(root), encoding="unicode")

    def _drawn(self) -> str:
        file = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": self.name}):
            no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            FigureCanvasSVG(self.figure).print_svg(file, metadata=no_metadata)  # type: ignore[no-untyped-call]
        return file.getvalue()

    def _name(self, root: ElementTree.Element) -> None:
        title, description = _element("title", self.title), _element("desc", self.description)
        title.set("id", f"{self.name}-title")
        description.set("id", f"{self.name}-desc")
        root[:0] = [title, description]
        root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img"}
        root.set("aria-labelledby", f"{self.name}-title {self.name}-desc")


def _element(tag: str, text: str) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    element.text = text
    return element


def _references(root: ElementTree.Element) -> set[str]:
    """Every id that something points to."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    return {found for value in values for found in re.findall(r"#([\w-]+)", value)}


def _tidy(element: ElementTree.Element, wanted: set[str]) -> None:
    """No namespaces, no groups that say nothing, no styles for the whole page."""
    element.tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    _tidy_attributes(element, wanted)
    children: list[ElementTree.Element] = []
    for child in element:
        _tidy(child, wanted)
        child.tail = None
        if child.tag == "g" and not child.attrib:
            children += child
        elif child.tag not in ("metadata", "style") and (child.tag != "defs" or len(child)):
            children.append(child)
    element[:] = children
    if element.tag != "text":
        element.text = None


def _tidy_attributes(element: ElementTree.Element, wanted: set[str]) -> None:
    """No ids that nobody asks for, no fonts, no digits that nobody sees."""
    if element.get("id") not in wanted:
        element.attrib.pop("id", None)
    if LINK in element.attrib:
        element.set("href", element.attrib.pop(LINK))
    for name in _NUMBERS.intersection(element.keys()):
        element.set(name, _rounded(element.attrib[name]))
    if "d" in element.attrib:
        element.set("d", _shortened(element.attrib["d"]))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if "style" in element.attrib:
        element.set("style", _FONT.sub(r"font-size: \2; font-weight: \1", element.attrib["style"]))


def _rounded(numbers: str) -> str:
    """A tenth of a pixel is enough."""
    return re.sub(r"-?\d+\.\d+", lambda found: _tenths(float(found[0])), numbers)


def _tenths(number: float) -> str:
    return f"{round(number, 1) + 0.0:g}"


def _shortened(path: str) -> str:
    """Of a path of straight lines: those straight up or across with one number, none that goes nowhere."""
    x, y, found = "", "", []
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        if command not in "MLzZ":
            return path
        point = [_tenths(float(number)) for number in numbers.split()]
        if command == "L" and point == [x, y]:
            continue
        if not point:
            found.append("z")
        elif command == "L" and point[1] == y:
            found.append(f"H{point[0]}")
        elif command == "L" and point[0] == x:
            found.append(f"V{point[1]}")
        else:
            found.append(f"{command}{point[0]} {point[1]}")
        x, y = point or ("", "")
    return "".join(found)


def _coloured(root: ElementTree.Element) -> ElementTree.Element:
    """The colours of the palette as variables, in attributes only: a name may well be `#0072b2`."""
    names = {colour.light: f"var(--{colour.name})" for colour in COLOURS}
    for element in root.iter():
        if "style" in element.attrib:
            look = re.sub(r"#[0-9a-f]{6}", lambda found: names.get(found[0], found[0]), element.attrib["style"])
            parts = (part.strip().replace(": ", ":") for part in look.split(";"))
            element.set("style", ";".join(part for part in parts if not part.startswith(_NOTHING) and part[-1:] != ":"))
    return root


def _variables() -> str:
    light = ";".join(f"--{colour.name}:{colour.light}" for colour in COLOURS)
    dark = ";".join(f"--{colour.name}:{colour.dark}" for colour in COLOURS)
    return f"svg{{{light}}} @media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
