"""The report on storms: one file that says and shows what the records hold, whatever the names in it."""

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from ratelimit_router.limits import Limits
from ratelimit_router.models import Model, Pool, Tier
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.measures import measure, summarize
from ratelimit_router.simulation.mirror import mirror_account, mirror_service
from ratelimit_router.simulation.policies import greedy
from ratelimit_router.simulation.report import Shown, save_pictures, write_report
from ratelimit_router.simulation.run import Call, Run, TaskRecord
from ratelimit_router.simulation.scenario import Change, Consumer, Distribution, Load, Scenario, Trouble

HOSTILE = "<script>alert(1)</script>"
MATHS = "m$x^2$&'\""
POOL = "pool ]]> --"
TIERS = ("hot <b>", "bulk")
MODELS = (
    Model(HOSTILE, limits=Limits(rpm=30, tpm=3_000), pools=(POOL,)),
    Model(MATHS, limits=Limits(rpm=60), pools=(POOL,)),
    Model("模型", limits=Limits(rpm=20)),
)
SCENARIO = Scenario(
    name="names & <worse>",
    family="<i>family</i>",
    about="Every name is somebody's <em>attack</em>.",
    models=MODELS,
    tiers=(Tier(TIERS[0], (HOSTILE, MATHS)), Tier(TIERS[1], (MATHS, "模型"))),
    pools=(Pool(POOL, Limits(rpm=80)),),
    accounts=(mirror_account(Pool(POOL, Limits(rpm=80)), changes=(Change(at=30, factor=0.5),)),),
    services=(
        mirror_service(MODELS[0], troubles=(Trouble(kind="overloaded", start=20, end=60),)),
        mirror_service(MODELS[1], consumers=(Consumer(rate=0.5),)),
        mirror_service(MODELS[2], gone_at=90.0),
    ),
    loads=(
        Load(tier=TIERS[0], tasks=60, input_tokens=Distribution(median=50)),
        Load(tier=TIERS[1], tasks=60, arrive="evenly", over=60, input_tokens=Distribution(median=50)),
    ),
)
BOUND = SimpleNamespace(makespan=70.0)


class Page(HTMLParser):
    """What is in a page: its elements, their attributes, the text of each tag."""

    VOID = frozenset({"meta", "link", "br", "img", "path", "use"})

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def ids(self) -> Counter[str]:
        return Counter(value for name, value in self.attributes if name == "id")


def shown(scenario: Scenario = SCENARIO, policy: str = "greedy", makespan: float = BOUND.makespan) -> Shown:
    """One run, watched."""
    run = play(scenario, greedy, policy, watch=True)
    return Shown(run=run, measures=measure(run, SimpleNamespace(makespan=makespan)), binding="modest.rpm")


@pytest.fixture(scope="module")
def one() -> Shown:
    """The run of the hostile scenario."""
    return shown()


@pytest.fixture(scope="module")
def text(one: Shown, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of that run alone."""
    return written([one], tmp_path_factory.mktemp("report"))


def written(several: Sequence[Shown], directory: Path) -> str:
    """The page of these runs."""
    write_report(directory / "report.html", several, summarize(each.measures for each in several))
    return (directory / "report.html").read_text("utf-8")


def synthetic(calls: int) -> Shown:
    """A run of one-second calls, five at once, every tenth refused first; made up, so that its size is as wanted."""
    model = Model("m", limits=Limits(rpm=300))
    scenario = Scenario(
        name="large",
        models=(model,),
        tiers=(Tier("t", ("m",)),),
        services=(mirror_service(model),),
        loads=(Load(tier="t", tasks=calls),),
        horizon=math.ceil(calls / 5) + 10.0,
    )
    tasks = [
        TaskRecord(number=n, tier="t", arrived=0.0, sent=n / 5, ended=n / 5 + 1, calls=1, model="m", depth=0)
        for n in range(calls)
    ]

    def made() -> Iterator[Call]:
        for n in range(calls):
            for result in ("rate_limited", "ok") if n % 10 == 0 else ("ok",):
                yield Call(task=n, model="m", depth=0, sent=n / 5, judged=n / 5, ended=n / 5 + 1, result=result)

    run = Run(scenario=scenario, policy="p", tasks=tasks, calls=list(made()))
    return Shown(run=run, measures=measure(run, SimpleNamespace(makespan=calls / 5)))


def test_a_page_is_well_formed_html_that_has_every_id_once(text: str) -> None:
    """Each element is closed in its turn, and every link within the page leads somewhere."""
    page = Page(text)
    assert page.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert set(page.ids().values()) == {1}
    links = {value[1:] for name, value in page.attributes if name == "href"}
    assert links
    assert links <= set(page.ids())


def test_a_page_needs_nothing_from_anywhere(text: str) -> None:
    """No address, no script, no file: it works without a network."""
    page = Page(text)
    assert "http:" not in text
    assert "https:" not in text
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text


def test_names_are_text_wherever_they_stand(text: str, one: Shown) -> None:
    """A model called <script> makes no script, a dollar no formula; each name is there to be read."""
    page = Page(text)
    assert not {"b", "i"} & set(page.tags)
    read = " ".join(page.texts["text"])
    for name in (*TIERS, *(model.name for model in MODELS), POOL):
        assert name in read
        assert any(head.startswith(name) for head in page.texts["th"])
    assert SCENARIO.family in page.texts["h2"]
    assert one.run.scenario.about in page.texts["p"]


def test_what_a_picture_says_is_in_words_too(text: str, one: Shown) -> None:
    """Every picture has a title and a description with figures, and names both."""
    page = Page(text)
    assert page.tags["svg"] == page.tags["desc"] == page.tags["title"] - 1 == 3
    assert ("role", "img") in page.attributes
    labels = {label for name, value in page.attributes if name == "aria-labelledby" for label in value.split()}
    assert labels <= set(page.ids())
    calls = [sum(call.model == model.name for call in one.run.calls) for model in MODELS]
    for model, number in zip(MODELS, calls, strict=True):
        assert any(f"{model.name}: {number} calls" in words for words in page.texts["desc"])


def test_the_headline_is_what_was_measured(text: str, one: Shown) -> None:
    """Tasks, minutes, how far over the least possible, refusals."""
    measures = one.measures
    assert measures.ratio is not None
    refusals = round(measures.rejections_per_task * len(one.run.tasks))
    minutes, seconds = divmod(round(measures.makespan_seconds), 60)
    over = f"{100 * (measures.ratio - 1):.1f}% over the least possible"
    assert Page(text).texts["h1"] == [f"120 tasks in {minutes}:{seconds:02}, {over}; {refusals} refusals"]


def test_the_headline_says_what_was_left_undone(one: Shown, tmp_path: Path) -> None:
    """Not how soon the rest was done, as if that were all."""
    tasks = [replace(task, ended=math.inf) if task.number < 20 else task for task in one.run.tasks]
    run = replace(one.run, tasks=tasks)
    page = Page(written([Shown(run=run, measures=measure(run))], tmp_path))
    assert page.texts["h1"][0].startswith("100 of 120 tasks done in 4:00:00; ")


def test_the_same_run_makes_the_same_bytes(text: str, tmp_path: Path) -> None:
    """Played and drawn again."""
    assert written([shown()], tmp_path) == text


def test_a_page_follows_the_theme_of_its_reader(text: str) -> None:
    """The colours of pictures are variables, which the page sets for light and for dark."""
    page = Page(text)
    styles = [value for name, value in page.attributes if name == "style"]
    assert not any("#" in style.replace("url(#", "") for style in styles)
    assert text.count("--blue:") == 2
    assert "prefers-color-scheme: dark" in text


def test_ten_thousand_calls_stay_small(tmp_path: Path) -> None:
    """What nobody can see is not drawn."""
    assert len(written([synthetic(10_000)], tmp_path)) < 200_000


def test_several_policies_stand_in_one_table_and_one_picture(one: Shown, tmp_path: Path) -> None:
    """Each is a row with a link to its pictures; their curves are compared in one, the headline is the first one's."""
    page = Page(written([one, shown(policy="other"), shown(policy="third")], tmp_path))
    assert page.tags["svg"] == 1 + 1 + 3 * 3
    assert {"greedy", "other", "third"} <= set(page.texts["th"])
    assert {("href", f"#run-{index}") for index in range(3)} <= set(page.attributes)
    assert any("third 1" in " ".join(words.split()) for words in page.texts["text"])
    assert page.texts["h1"][0].startswith("greedy: ")


def test_a_family_without_pictures_is_a_row_all_the_same(one: Shown, tmp_path: Path) -> None:
    """Only what was kept can be drawn."""
    rows = summarize([one.measures, replace(one.measures, family="elsewhere", ratio=None, failed=3)])
    write_report(tmp_path / "report.html", [one], rows)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "elsewhere" in page.texts["th"]
    assert "elsewhere" not in page.texts["a"]
    assert "–" in page.texts["td"]


def test_runs_without_a_bound_have_pictures_too(one: Shown, tmp_path: Path) -> None:
    """They say nothing of what would be possible."""
    free = [Shown(run=one.run, measures=measure(one.run)), Shown(run=one.run, measures=measure(one.run))]
    page = Page(written(free, tmp_path))
    assert page.texts["h1"][0].startswith("greedy: in 2 runs")
    assert not any("least possible" in words for words in page.texts["desc"])


def test_pictures_for_documents_stand_alone(one: Shown, tmp_path: Path) -> None:
    """Two SVG files of fixed names, each with its own colours and words; drawn again they are the same."""
    several = [one, shown(replace(SCENARIO, family="other")), shown(policy="<script>")]
    rows = summarize(each.measures for each in several)
    paths = save_pictures(tmp_path / "pictures", several, rows)
    assert [path.name for path in paths] == ["completed.svg", "ratios.svg"]
    for path in paths:
        root = ElementTree.fromstring(path.read_bytes())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "<script>" in " ".join(root.itertext())
        assert "script" not in {element.tag.partition("}")[2] for element in root.iter()}
    again = save_pictures(tmp_path / "again", several, rows)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_without_the_extra_one_line_names_it(missing: str) -> None:
    """The import fails with the command that mends it."""
    code = f"import sys; sys.modules[{missing!r}] = None; import ratelimit_router.simulation.report"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'ratelimit-router[storm]'" in done.stderr.strip().splitlines()[-1]
