"""The command from end to end, on the embedded service and through the real SDK."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ratelimit_router_extraction.command import extract

FAST = """\
[models.pro]
provider = "gemini"
id = "gemini-3.1-pro-preview"
key = "env:GEMINI_API_KEY"
limits = { rpm = { amount = 200, per = 1 } }

[tiers.hot]
chain = ["pro"]

[tiers.bulk]
chain = ["pro"]

[extract]
stagger = 0

[simulation]
always = true
latency = { median = LATENCY, spread = 0 }
leeway = "500ms"
"""


@pytest.fixture
def folder(tmp_path: Path, articles_jsonl: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with twelve articles and a fast service."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "articles.jsonl").write_bytes(articles_jsonl)
    (tmp_path / "fast.toml").write_text(FAST.replace("LATENCY", "0"))
    return tmp_path


def call(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(extract, [*words], input=stdin)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_articles_become_records_and_a_summary(folder: Path) -> None:
    """One record an article with entities at their places; the first line says that it is a simulation."""
    done = call("articles.jsonl", "--config", "fast.toml")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(
        "SIMULATION: no key, or none wanted, so pro are played by an embedded fake service at"
    )
    assert "12 of 12 articles done, 0 failed" in done.stdout
    assert "answered 0 with 429" in done.stdout
    found = records(folder / "entities.jsonl")
    articles = {row["id"]: row for row in records(folder / "articles.jsonl")}
    assert sorted(record["id"] for record in found) == sorted(articles)
    for record in found:
        assert record["error"] is None
        assert {"Angela Merkel", "Paris"} <= {entity["text"] for entity in record["entities"]}
        for entity in record["entities"]:
            text = articles[record["id"]][entity["field"]]
            assert text[entity["offset"] : entity["offset"] + len(entity["text"])] == entity["text"]
        assert record["input_tokens"] > 0
        assert record["model"] == "pro"


def test_json_is_all_that_stands_on_standard_output(folder: Path) -> None:
    """A program can read it as it is."""
    done = call("articles.jsonl", "--config", "fast.toml", "--json", "--limit", "3")
    report = json.loads(done.stdout)
    assert (report["articles"], report["done"], report["failed"], report["interrupted"]) == (3, 3, 0, False)
    assert report["simulation"]["rejected"] == 0
    assert report["all_calls"]["calls"] == 3


def test_a_run_goes_by_a_plan_and_says_what_came_of_it(folder: Path) -> None:
    """For people in one line, for programs in the report."""
    done = call("articles.jsonl", "--config", "fast.toml", "--slack", "0.25")
    told = "Under a plan with slack 0.25: 12 of 12 articles done by the first choice of their tier."
    assert told in done.stdout
    report = json.loads(call("articles.jsonl", "--config", "fast.toml", "--json", "--overwrite").stdout)
    assert (report["plan"], report["first_choices"]) == ({"slack": 0.0}, 12)


def test_without_the_extra_for_plans_a_run_is_greedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before there were plans; but whoever asks for slack is told the extra's name."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    done = call("articles.jsonl", "--config", "fast.toml", "--limit", "4")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "No plan: 4 of 4 articles done by the first choice of their tier." in done.stdout
    refused = call("articles.jsonl", "--config", "fast.toml", "--slack", "0", "--output", "other.jsonl")
    needs = "--slack: planning needs SciPy: pip install 'ratelimit-router[plan]'\n"
    assert (refused.exit_code, refused.stderr) == (2, needs)
    (folder / "slack.toml").write_text((folder / "fast.toml").read_text().replace("stagger = 0", "slack = 0.1"))
    assert call("articles.jsonl", "--config", "slack.toml").stderr == f"slack.toml:14: extract.{needs[2:]}"


def test_nothing_to_do_needs_no_plan(folder: Path) -> None:
    """An empty input, or an output that holds everything already."""
    (folder / "empty.jsonl").write_bytes(b"")
    assert call("empty.jsonl", "--config", "fast.toml").exit_code == 0
    assert call("articles.jsonl", "--config", "fast.toml", "--overwrite").exit_code == 0
    done = call("articles.jsonl", "--config", "fast.toml", "--resume", "--json")
    assert (done.exit_code, json.loads(done.stdout)["plan"]) == (0, None)


def test_standard_input_to_standard_output(folder: Path, articles_jsonl: bytes) -> None:
    """`-` in, `-` out: records only; what is for people goes to standard error."""
    done = call("-", "--config", "fast.toml", "--output", "-", stdin=articles_jsonl)
    assert done.exit_code == 0
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 12
    assert "12 of 12 articles done" in done.stderr
    assert not (folder / "entities.jsonl").exists()


def test_bad_rows_are_reported_counted_and_skipped(folder: Path) -> None:
    """With line and reason; the rest goes on."""
    with (folder / "articles.jsonl").open("ab") as file:
        file.write(b'oops\n{"id": "a3", "text": "again"}\n')
    done = call("articles.jsonl", "--config", "fast.toml")
    assert done.exit_code == 0
    assert "articles.jsonl: line 13: not JSON" in done.stderr
    assert "articles.jsonl: line 14: the id is that of line 4; skipped" in done.stderr
    assert "2 bad rows skipped" in done.stdout


def test_csv_with_mapped_columns(folder: Path) -> None:
    """Other column names, given on the command line."""
    (folder / "a.csv").write_text('Key,Body\n1,"Angela Merkel, in Paris"\n')
    done = call("a.csv", "--config", "fast.toml", "--map", "id=Key", "--map", "text=Body", "--output", "-")
    (record,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert record["id"] == "1"


def test_explain_tells_why_and_calls_nobody(folder: Path) -> None:
    """Neither output nor service is touched."""
    done = call("articles.jsonl", "--config", "fast.toml", "--explain", "a11")
    assert done.exit_code == 0
    assert done.stdout.startswith("a11 (line 12) is in tier hot: score 0.800")
    assert not (folder / "entities.jsonl").exists()
    missing = call("articles.jsonl", "--config", "fast.toml", "--explain", "zz")
    assert (missing.exit_code, missing.stderr) == (2, "articles.jsonl: --explain: no article has the id 'zz'\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("none.jsonl",), "none.jsonl: No such file"),
        (("articles.jsonl", "--config", "none.toml"), "none.toml: there is no such file"),
        (("articles.jsonl", "--config", "broken.toml"), "broken.toml:14: extract.stagger: must be 0 or more"),
        (("articles.jsonl", "--mix", "warm=1"), "--mix: no tier named 'warm'"),
        (("articles.jsonl", "--cuts", "0.5"), "--cuts: 3 tiers need 2 cuts"),
        (("articles.jsonl", "--timeout", "soon"), "--timeout: must be a duration"),
        (("articles.jsonl", "--slack", "-0.1"), "--slack: must not be negative"),
        (("articles.jsonl", "--slack", "0.1", "--max-wait", "5"), "--slack: needs a plan"),
        (("articles.jsonl", "--batch-size", "0"), "--batch-size: must be a whole number"),
        (("articles.jsonl", "--map", "id"), "--map: must be NAME=VALUE"),
        (("articles.jsonl", "--domains", "none.toml"), "none.toml: there is no such file"),
        (("articles.jsonl", "--resume", "--overwrite"), "--overwrite: "),
        (("articles.jsonl", "--output", "-", "--resume"), "--output: "),
        (("articles.jsonl", "--output", "articles.jsonl", "--overwrite"), "articles.jsonl: --output: is the input"),
        (("articles.jsonl", "--output", "full.jsonl"), "full.jsonl: exists already"),
    ],
)
def test_wrong_call_is_one_line_and_status_2(folder: Path, words: Sequence[str], told: str) -> None:
    """With the file and the key, or the option; nothing is written."""
    before = (folder / "articles.jsonl").read_bytes()
    (folder / "full.jsonl").write_text("something")
    (folder / "broken.toml").write_text(FAST.replace("stagger = 0", "stagger = -1").replace("LATENCY", "0"))
    refused = call(*words)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert told in refused.stderr
    assert (folder / "articles.jsonl").read_bytes() == before
    assert (folder / "full.jsonl").read_text() == "something"


def test_resume_makes_no_call_for_what_is_held(folder: Path) -> None:
    """The second run does the rest only."""
    call("articles.jsonl", "--config", "fast.toml", "--limit", "5")
    done = call("articles.jsonl", "--config", "fast.toml", "--resume", "--json")
    report = json.loads(done.stdout)
    assert (report["already_held"], report["done"], report["all_calls"]["calls"]) == (5, 7, 7)
    assert len(records(folder / "entities.jsonl")) == 12


def test_failed_articles_give_status_1(folder: Path) -> None:
    """Each with a record that says why; --retry-failed does them again."""
    (folder / "gone.toml").write_text(FAST.replace("LATENCY", "0") + 'outage = { model = "pro", lasts = "1h" }\n')
    words = ("articles.jsonl", "--config", "gone.toml", "--max-wait", "0", "--limit", "2")
    assert call(*words).exit_code == 1
    assert all(record["error"]["kind"] for record in records(folder / "entities.jsonl"))
    assert call("articles.jsonl", "--config", "fast.toml", "--limit", "2", "--resume").exit_code == 0
    assert call("articles.jsonl", "--config", "fast.toml", "--limit", "2", "--retry-failed").exit_code == 0
    assert [record["error"] for record in records(folder / "entities.jsonl")] == [None, None]


def test_events_are_logged_as_json_without_texts(folder: Path) -> None:
    """One object a line; no article's text in it."""
    call("articles.jsonl", "--config", "fast.toml", "--log-json", "events.jsonl")
    events = records(folder / "events.jsonl")
    assert Counter(event["event"] for event in events)["routed"] == 12
    assert b"Merkel" not in (folder / "events.jsonl").read_bytes()


# -- real processes ----------------------------------------------------------------------------------------------------


class Process:
    """The command in a process of its own, slow enough to be met in the middle."""

    def __init__(self, folder: Path):
        (folder / "slow.toml").write_text(FAST.replace("LATENCY", "0.5") + "\n")
        words = [sys.executable, "-c", "from ratelimit_router_extraction.command import extract; extract()"]
        words += ["articles.jsonl", "--config", "slow.toml", "--concurrency", "2"]
        environ = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
        self.process = subprocess.Popen(
            words, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def send_after(self, count: int, *signals: signal.Signals) -> tuple[int, str, str]:
        """The exit status and what was printed, after the signals were sent at the nth article."""
        assert self.process.stdout is not None
        head = []
        while sum(line.startswith("+ ") for line in head) < count:
            line = self.process.stdout.readline()
            assert line, "it ended before its signal"
            head.append(line)
        for each in signals:
            self.process.send_signal(each)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, "".join(head) + out, err


def test_killed_in_the_middle_it_resumes_without_loss_or_double(folder: Path) -> None:
    """kill -9 after some articles, then --resume: every article once, and only the missing ones are called."""
    status, _, _ = Process(folder).send_after(4, signal.SIGKILL)
    assert status == -signal.SIGKILL
    kept = len((folder / "entities.jsonl").read_bytes().splitlines())
    assert 4 <= kept < 12
    done = call("articles.jsonl", "--config", "fast.toml", "--resume", "--json")
    report = json.loads(done.stdout)
    assert report["already_held"] + report["done"] == 12
    assert report["all_calls"]["calls"] == report["done"]
    assert sorted(Counter(record["id"] for record in records(folder / "entities.jsonl")).values()) == [1] * 12


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_interrupted_it_keeps_what_is_done_and_says_how_to_go_on(
    folder: Path, signals: Sequence[signal.Signals]
) -> None:
    """Status 130; what was in flight has ended or was cancelled; the printed command does the rest."""
    status, _, err = Process(folder).send_after(4, *signals)
    assert status == 130, err
    assert "articles are left. To go on: " in err
    assert "articles.jsonl --config slow.toml --concurrency 2 --resume" in err
    assert "Traceback" not in err
    kept = records(folder / "entities.jsonl")
    assert 4 <= len(kept) < 12
    assert all(record["error"] is None for record in kept)
    assert call("articles.jsonl", "--config", "fast.toml", "--resume").exit_code == 0
    assert sorted(Counter(record["id"] for record in records(folder / "entities.jsonl")).values()) == [1] * 12
