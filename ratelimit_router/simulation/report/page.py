"""The page: a headline, the table of policies by family, then each family and each of its runs in pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from ratelimit_router.cooldown import Provenance
from ratelimit_router.simulation.measures import Summary
from ratelimit_router.simulation.report.lanes import Lane, lanes
from ratelimit_router.simulation.report.palette import COLOURS
from ratelimit_router.simulation.report.progress import comparison, progress, queues
from ratelimit_router.simulation.report.ratios import ratios
from ratelimit_router.simulation.report.shown import Shown, policies_of
from ratelimit_router.simulation.report.svg import Picture, drawing
from ratelimit_router.simulation.report.timeline import CLOSED, timeline
from ratelimit_router.simulation.report.words import figure, headline, overall, percent, span

__all__ = ["write_report"]


WHO_SAID = {
    Provenance.SERVER: "closed for as long as the service said",
    Provenance.QUOTA: "closed until a quota comes back",
    Provenance.HEURISTIC: "closed by our own backoff",
}
_NAMES = {colour.light: colour.name for colour in COLOURS}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """One run. `anchor`: where links to it lead. `closed` to `events`: what the key must explain."""

    anchor: str
    shown: Shown
    headline: str
    pictures: tuple[Picture, ...]
    lanes: tuple[Lane, ...]
    closed: tuple[tuple[str, str], ...]
    refused: bool
    failed: bool
    events: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySection:
    """The runs of one family. `picture`: of all of them together, if they are several and of the same scenario."""

    anchor: str
    family: str
    about: str
    picture: Picture | None
    runs: tuple[RunSection, ...]


def write_report(path: Path, shown: Sequence[Shown], summaries: Sequence[Summary]) -> None:
    """Write one HTML file that needs nothing else.

    `shown`: the runs to draw, each played with `watch=True`; one of each family and policy will do. `summaries`: the
    rows of the table, as `measures.summarize` makes them; the headline is about the policy of the first. Raises OSError
    if the file cannot be written.
    """
    policies = policies_of(shown, summaries)
    with drawing():
        families, table = _families(shown, policies), _by_family(summaries)
        page = _template().render(
            headline=_headline(shown, summaries),
            table=table,
            best={family: _best(rows) for family, rows in table.items()},
            anchors={(one.family, one.policy): f"run-{index}" for index, one in enumerate(shown)},
            single=_single(shown, summaries),
            ratios=ratios(summaries, "ratios", policies) if len(summaries) > 1 else None,
            families=families,
            family_anchors={each.family: each.anchor for each in families},
            palette=COLOURS,
        )
    path.write_text(page, encoding="utf-8", newline="\n")


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(figure=figure, percent=percent, ratio=_ratio, span=span)
    return environment.from_string(
        files("ratelimit_router.simulation.report").joinpath("template.html.j2").read_text("utf-8")
    )


def _headline(shown: Sequence[Shown], summaries: Sequence[Summary]) -> str:
    """Of the only run, or else of the first policy over all of them."""
    if _single(shown, summaries):
        return headline(shown[0].run, shown[0].measures)
    return overall([one for one in summaries if one.policy == summaries[0].policy])


def _single(shown: Sequence[Shown], summaries: Sequence[Summary]) -> bool:
    """Whether the whole report is about one run."""
    return len(shown) == 1 and len(summaries) == 1 and summaries[0].runs == 1


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.3f}"


def _by_family(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    found: dict[str, list[Summary]] = {}
    for one in summaries:
        found.setdefault(one.family, []).append(one)
    return found


def _best(rows: Sequence[Summary]) -> tuple[float, float]:
    """Ratio and refusals per task, the best among those that left the fewest tasks unanswered."""
    fewest = min(one.failed + one.unfinished for one in rows)
    served = [one for one in rows if one.failed + one.unfinished == fewest]
    ratios_ = [one.ratio for one in served if one.ratio is not None]
    return min(ratios_, default=0.0), min(one.rejections_per_task for one in served)


def _families(shown: Sequence[Shown], policies: Sequence[str]) -> list[FamilySection]:
    groups: dict[str, list[tuple[int, Shown]]] = {}
    for index, one in enumerate(shown):
        groups.setdefault(one.family, []).append((index, one))
    found = []
    for number, (family, group) in enumerate(groups.items()):
        own = [one for _, one in group]
        same = len(own) > 1 and all(one.run.scenario == own[0].run.scenario for one in own)
        found.append(
            FamilySection(
                anchor=f"family-{number}",
                family=family,
                about=own[0].run.scenario.about,
                picture=comparison([own], f"family-{number}-done", policies) if same else None,
                runs=tuple(_run(f"run-{index}", one) for index, one in group),
            )
        )
    return found


def _run(anchor: str, one: Shown) -> RunSection:
    own, seen = lanes(one.run), {cooling.provenance for cooling in one.run.coolings}
    return RunSection(
        anchor=anchor,
        shown=one,
        headline=headline(one.run, one.measures),
        pictures=(
            progress(one, f"{anchor}-done"),
            queues(one, f"{anchor}-waiting"),
            timeline(one, own, f"{anchor}-models"),
        ),
        lanes=tuple(own),
        closed=tuple((_NAMES[CLOSED[each]], words) for each, words in WHO_SAID.items() if each in seen),
        refused=any(lane.refused for lane in own),
        failed=any(lane.failed for lane in own),
        events=any(lane.events for lane in own),
    )
