"""`ratelimit-router storm`: figures for people and programs, the same each time, and wrong calls in one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ratelimit_router.cli.program import program
from ratelimit_router.simulation.families import FAMILIES, family
from ratelimit_router.simulation.rivals.registry import POLICIES
from ratelimit_router.simulation.scenario_file import PACKAGED, load_scenario

SCENARIO = """\
[models.best]
limits = { rpm = 6 }

[models.rest]
limits = { rpm = 12 }

[tiers.hot]
chain = ["best", "rest"]

[tiers.bulk]
chain = ["rest"]

[services.best]
latency = { median = 2, sigma = 0.5 }

[scenario]
version = 1
seed = 7
"""
LOAD = """
[[load]]
tier = "hot"
tasks = 20

[[load]]
tier = "bulk"
tasks = 10
"""
VANISHING = """
[services.rest]
gone_at = 0.0
"""
KEYS = {
    "family", "seed", "policy", "ratio", "rejections_per_task", "first_choice_share", "wait_p99_seconds",
    "makespan_seconds", "bound_seconds", "done", "failed", "unfinished", "calls", "wait_p50_seconds",
    "wait_seconds_by_tier", "wasted_tokens", "fairness", "errors", "frontier_share",
}  # fmt: skip


def storm(*arguments: str | Path) -> Result:
    here = [] if "--jobs" in arguments else ["--jobs", "1"]
    return CliRunner().invoke(program, ["storm", *map(str, arguments), *here])


def figures(*arguments: str | Path) -> list[dict[str, Any]]:
    result = storm(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def rows(output: str) -> list[list[str]]:
    """The cells of every line."""
    return [line.split() for line in output.splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small scenario."""
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO + LOAD)
    return path


def test_the_table(file: Path) -> None:
    """A line a policy, with what it came to, and one for each of its tiers."""
    result = storm(file, "--seeds", 2, "--policy", "greedy", "--policy", "shared-plan")
    assert result.exit_code == 0, result.output
    shown = rows(result.output)
    assert shown[0] == ["Storms", "of", "2", "seeds", "from", "7", "on"]
    [greedy] = [row for row in shown if row[:2] == ["small", "greedy"] and len(row) > 8]
    assert 1.0 <= float(greedy[2]) <= float(greedy[3]) < 1.5
    assert greedy[4:6] == ["0.0000", "0.0000"]
    assert greedy[-2:] == ["0", "0"]
    assert [row[:4] for row in shown if "hot" in row] == [
        ["small", "greedy", "hot", "40"], ["small", "shared-plan", "hot", "40"],
    ]  # fmt: skip


def test_figures_for_programs(file: Path) -> None:
    """A list of objects, by scenario, seed and policy in the order in which they were named."""
    found = figures(file, "--seeds", 2, "--seed", 3, "--policy", "tenacity", "--policy", "greedy", "--frontier")
    assert [(one["family"], one["seed"], one["policy"]) for one in found] == [
        ("small", 3, "tenacity"), ("small", 3, "greedy"), ("small", 4, "tenacity"), ("small", 4, "greedy"),
    ]  # fmt: skip
    assert all(one.keys() >= KEYS for one in found)
    greedy = found[1]
    assert greedy["ratio"] == greedy["makespan_seconds"] / greedy["bound_seconds"] >= 1
    assert 0 < greedy["frontier_share"] <= 1
    assert (greedy["done"], greedy["failed"], greedy["rejections_per_task"]) == (30, 0, 0.0)


def test_families_begin_at_the_reported_seeds() -> None:
    """Without a seed a family's storms are those that the project reports on, and not those that it was tuned on."""
    [one] = figures("concurrency-bound", "--seeds", 1, "--policy", "greedy", "--no-bound")
    assert (one["family"], one["seed"], one["ratio"]) == ("concurrency-bound", 1000, None)


def test_ours_are_the_default(file: Path) -> None:
    """Without --policy it is our own that are measured, five seeds each."""
    found = figures(file, "--no-bound")
    assert {one["policy"] for one in found} == {name for name, entry in POLICIES.items() if entry.ours}
    assert {one["seed"] for one in found} == {7, 8, 9, 10, 11}


def test_any_number_of_processes_gives_the_same_bytes(file: Path) -> None:
    """The order is that of the call, whoever is done first."""
    call = (
        file,
        "gemini-free-tier",
        "--seeds",
        2,
        "--policy",
        "greedy",
        "--policy",
        "tenacity",
        "--json",
        "--no-bound",
    )
    alone, together = storm(*call, "--jobs", 1), storm(*call, "--jobs", 2)
    assert alone.exit_code == 0, alone.output
    assert alone.stdout == together.stdout


def test_the_list() -> None:
    """Every family, packaged scenario and policy, with a sentence."""
    result = storm("--list")
    assert result.exit_code == 0
    first = {row[0] for row in rows(result.output) if row}
    assert first >= {*FAMILIES, *PACKAGED, *POLICIES}


def test_a_trace_is_one_run(file: Path, tmp_path: Path) -> None:
    """Lines of JSON, the calls and then the tasks; the figures are shown besides."""
    path = tmp_path / "run.jsonl"
    result = storm(file, "--policy", "greedy", "--trace", path, "--no-bound")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum("judged" in line for line in lines) == 30
    assert sum("arrived" in line for line in lines) == 30
    assert "Storms of seed 7" in result.output


def test_a_dump_is_the_same_scenario(tmp_path: Path) -> None:
    """A family's storm as a file makes the same tasks; it is where one's own begins."""
    path = tmp_path / "mine.toml"
    result = storm("plain", "--dump", path)
    assert (result.exit_code, result.output) == (0, "")
    assert load_scenario(path).tasks() == family("plain", 1000).tasks()


def test_a_router_of_ones_own(tmp_path: Path) -> None:
    """A plain router.toml needs only a load: here without tokens, and with 100 of input and 10 of output each."""
    path = tmp_path / "router.toml"
    path.write_text(SCENARIO.partition("[services")[0])
    [one] = figures(path, "--load", "hot=12", "--load", "bulk=3:100:10", "--seeds", 1, "--policy", "greedy")
    assert (one["family"], one["done"]) == ("router", 15)


def test_the_storm_of_the_documentation(tmp_path: Path) -> None:
    """What the how-to puts at the end of a router.toml is a storm that our policies get through."""
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "storm.md"
    path = tmp_path / "storm.toml"
    models = "".join(f"[models.{name}]\nlimits = {{ rpm = 60 }}\n" for name in ("flash", "lite"))
    router = models + '[tiers.hot]\nchain = ["flash", "lite"]\n'
    path.write_text(router + guide.read_text().partition("```toml\n")[2].partition("```")[0])
    [one] = figures(path, "--seeds", 1, "--policy", "greedy")
    assert (one["seed"], one["done"]) == (7, 300)


def test_all_policies_by_one_word(file: Path) -> None:
    """`--policy all` is every one there is, ours first."""
    found = figures(file, "--seeds", 1, "--policy", "all", "--no-bound")
    assert [one["policy"] for one in found] == [*POLICIES]


def test_weather() -> None:
    """A random scenario is named by its seed; it fails tasks as it likes, so the exit status may be 1."""
    result = storm("weather", "--seed", 4, "--seeds", 1, "--policy", "greedy", "--no-bound", "--json")
    assert result.exit_code in (0, 1)
    assert json.loads(result.stdout)[0]["family"] == "weather"


def test_a_report(file: Path, tmp_path: Path) -> None:
    """One HTML file that names every policy; figures are printed all the same."""
    path = tmp_path / "storm.html"
    found = figures(file, "--seeds", 2, "--policy", "greedy", "--policy", "tenacity", "--report", path)
    assert len(found) == 4
    page = path.read_text()
    assert "<html" in page
    assert "tenacity" in page


def test_a_task_of_ours_that_is_left_undone_is_exit_status_1(file: Path) -> None:
    """When the only model of a tier vanishes its tasks are lost, and the status says so; of a rival it does not."""
    file.write_text(file.read_text() + VANISHING)
    ours, theirs = (
        storm(file, "--seeds", 1, "--no-bound", "--json", "--policy", name) for name in ("greedy", "tenacity")
    )
    assert (ours.exit_code, theirs.exit_code) == (1, 0)
    for result in (ours, theirs):
        [found] = json.loads(result.stdout)
        assert found["failed"] + found["unfinished"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plian"], "SCENARIO: no scenario is called 'plian', and no file ends so: did you mean 'plain'?"),
        (["plain", "--policy", "greddy"], "--policy: no policy is called 'greddy': did you mean 'greedy'?"),
        (["missing.toml"], "missing.toml: there is no such file"),
        (["plain", "--trace", "run.jsonl"], "--trace: holds one run: name one scenario, one --policy and one seed"),
        (["--dump", "mine.toml"], "--dump: holds one scenario: name it"),
        (["plain", "--load", "hot=3"], "--load: replaces the load of a file: name one"),
        (["x.toml", "--load", "hot"], "--load: must be like hot=200 or hot=200:1500:300, not 'hot'"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str], message: str) -> None:
    """What is wrong, where, and what may have been meant; exit status 2."""
    result = storm(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [message]


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--jobs", "many"], ["--unknown"]])
def test_a_wrong_option_is_exit_status_2(arguments: list[str]) -> None:
    """As every command of click."""
    assert storm("plain", *arguments).exit_code == 2


def test_a_path_that_cannot_be_written(file: Path, tmp_path: Path) -> None:
    """One line that names it."""
    result = storm(file, "--policy", "greedy", "--no-bound", "--trace", tmp_path / "no" / "run.jsonl")
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.stderr


def test_the_help_teaches() -> None:
    """Examples, the columns of the table, and where the families were tuned."""
    result = storm("--help")
    assert result.exit_code == 0
    for text in ("ratelimit-router storm outage --seeds 50", "Columns:", "tuned on seeds 0-49", "Exit status: 1"):
        assert text in result.output


@pytest.mark.parametrize(
    ("missing", "options", "message"),
    [
        ("scipy", [], "the fluid bound needs the extra: pip install 'ratelimit-router[storm]'"),
        ("scipy", ["--no-bound"], None),
        ("matplotlib", ["--no-bound"], None),
        ("matplotlib", ["--no-bound", "--report", "x.html"], "a storm's report needs the extra"),
        ("jinja2", ["--no-bound", "--report", "x.html"], "a storm's report needs the extra"),
        ("tenacity", ["--no-bound", "--policy", "tenacity"], "the policy tenacity needs the extra"),
        (
            "aiolimiter",
            ["--no-bound", "--policy", "aiolimiter", "--jobs", "1"],
            "the policy aiolimiter needs the extra",
        ),
        ("tomli_w", ["--dump", "x.toml"], "writing scenarios needs the extra"),
    ],
)
def test_a_missing_extra_is_one_line(
    file: Path, tmp_path: Path, missing: str, options: list[str], message: str | None
) -> None:
    """Each is needed only for what it does, and its absence names the extra that has it."""
    program = f"import sys; sys.modules[{missing!r}] = None; from ratelimit_router.cli import main; main()"
    call = [sys.executable, "-c", program, "storm", str(file), "--seeds", "1", *options]
    if "--policy" not in options:
        call += ["--policy", "greedy"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, check=False)
    if message is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert message in done.stderr
        assert "[storm]" in done.stderr
