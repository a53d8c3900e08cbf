"""The output: whole lines only, resumed from any torn end, never written by two."""

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit_router.errors import ConfigError
from ratelimit_router_extraction.entities import Entity, Extraction
from ratelimit_router_extraction.output import Mode, Output, open_output
from ratelimit_router_extraction.records import Failure, Result, record_of
from tests.extraction.conftest import job


def result(identity: str, *, failed: bool = False) -> Result:
    entity = Entity(type="place", text="東京 \ud83d", count=1, offset=0)
    if failed:
        return Result(job=job(identity), failure=Failure(kind="RouteTimeout", message="no model"))
    return Result(job=job(identity), extraction=Extraction(entities=(entity,)), model="pro", depth=0, attempts=1)


def write(path: Path, mode: Mode, *identities: str) -> Output:
    with open_output(path, mode) as output:
        for identity in identities:
            if (identity, job(identity).article.content_hash) not in output.held:
                output.write(result(identity))
    return output


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def test_record_has_everything_and_no_text() -> None:
    """One flat object an article; the article's own text is not repeated."""
    record = record_of(result("a"))
    assert set(record) == {
        *("id", "content_hash", "tier", "priority", "entities", "unfound", "model", "depth", "waited", "called"),
        *("attempts", "input_tokens", "output_tokens", "truncated", "prompt_version", "error"),
    }
    assert record["error"] is None
    assert "Ada writes" not in json.dumps(record)
    assert record_of(result("b", failed=True))["error"] == {"kind": "RouteTimeout", "message": "no model"}


def test_record_is_on_disk_before_the_next(tmp_path: Path) -> None:
    """Another reader sees it while the file is still open."""
    path = tmp_path / "deep" / "out.jsonl"
    with open_output(path, "new") as output:
        output.write(result("a"))
        assert ids(path) == ["a"]


def test_existing_output_is_refused_unless_told(tmp_path: Path) -> None:
    """--resume goes on after it, --overwrite begins anew; an empty file is nobody's loss."""
    path = tmp_path / "out.jsonl"
    path.touch()
    write(path, "new", "a")
    with pytest.raises(ConfigError, match=r"out\.jsonl: exists already: give --resume"):
        write(path, "new", "b")
    write(path, "resume", "a", "b")
    assert ids(path) == ["a", "b"]
    write(path, "overwrite", "c")
    assert ids(path) == ["c"]


@settings(max_examples=150, deadline=None)
@given(cut=st.floats(0, 1))
def test_resume_after_any_kill_loses_nothing_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, cut: float
) -> None:
    """The file is cut at any byte; after --resume every article is in it exactly once and every line is whole."""
    path = tmp_path_factory.mktemp("kill") / "out.jsonl"
    write(path, "new", "a", "b", "c")
    whole = path.read_bytes()
    path.write_bytes(whole[: round(cut * len(whole))])
    write(path, "resume", "a", "b", "c", "d")
    assert ids(path) == ["a", "b", "c", "d"]
    assert path.read_bytes().startswith(whole)


def test_whole_record_without_newline_is_kept(tmp_path: Path) -> None:
    """Only its newline is missing: it is not done again."""
    path = tmp_path / "out.jsonl"
    write(path, "new", "a")
    path.write_bytes(path.read_bytes()[:-1])
    output = write(path, "resume", "a", "b")
    assert ids(path) == ["a", "b"]
    assert output.repaired == "the last record lacked its newline"


def test_article_that_was_edited_is_not_held(tmp_path: Path) -> None:
    """The same id with another content is another article."""
    path = tmp_path / "out.jsonl"
    write(path, "new", "a")
    with open_output(path, "resume") as output:
        assert ("a", job("a").article.content_hash) in output.held
        assert ("a", job("b").article.content_hash) not in output.held


def test_failed_records_are_held_unless_they_are_retried(tmp_path: Path) -> None:
    """--resume leaves them; --retry-failed takes them out, and only them."""
    path = tmp_path / "out.jsonl"
    with open_output(path, "new") as output:
        for identity in "abc":
            output.write(result(identity, failed=identity == "b"))
    assert write(path, "resume", "a", "b", "c").failed_before == 1
    assert ids(path) == ["a", "b", "c"]
    write(path, "retry", "a", "b", "c")
    assert ids(path) == ["a", "c", "b"]
    assert all(json.loads(line)["error"] is None for line in path.read_bytes().splitlines())
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("content", [b"my precious notes", b"{}\n", b'{"id": "a", "content_hash": "x"}\nnotes\n'])
def test_file_that_is_not_ours_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """--resume never cuts or appends to what is no output of ours."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    for mode in ("resume", "retry"):
        with pytest.raises(ConfigError, match=r"of ours: choose another"):
            write(path, mode, "a")  # type: ignore[arg-type]
        assert path.read_bytes() == content


def test_second_writer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """The lock holds for every mode, and ends with its holder."""
    path = tmp_path / "out.jsonl"
    with open_output(path, "new") as output:
        output.write(result("a"))
        for mode in ("new", "resume", "overwrite", "retry"):
            with pytest.raises(ConfigError, match="another process is writing it"):
                write(path, mode, "b")  # type: ignore[arg-type]
    assert ids(path) == ["a"]
    write(path, "resume", "b")
    assert ids(path) == ["a", "b"]


def test_partial_writes_are_completed() -> None:
    """A sink that takes a few bytes at a time still gets whole lines."""

    class Dribble(bytearray):
        def write(self, data: bytes, /) -> int:
            self.extend(data[:7])
            return min(7, len(data))

    sink = Dribble()
    Output(sink).write(result("a"))
    assert json.loads(sink)["entities"][0]["text"] == "東京 \ud83d"
    assert sink.endswith(b"}\n")


def test_lock_is_seen_by_another_process(tmp_path: Path) -> None:
    """Not only by this one."""
    path = tmp_path / "out.jsonl"
    with open_output(path, "new"), multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_refused, (path,)) is True


def _refused(path: Path) -> bool:
    try:
        write(path, "resume")
    except ConfigError:
        return True
    return False
