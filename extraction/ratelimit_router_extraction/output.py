"""What comes out: one JSON line an article, complete on disk before the next; a file that survives kill -9.

- A record is one `write` of one whole line, unbuffered. What a kill can tear is the last line only: `--resume` cuts a
  torn line off (its article is done again), and ends a whole record that only lacks its newline.
- An article is held if the file has a record with its id and content hash. Held articles are not done again.
- The file is locked while it is written; the lock dies with the process.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader, FileIO, RawIOBase
from pathlib import Path
from typing import Any, Literal, Protocol

from ratelimit_router.errors import ConfigError
from ratelimit_router_extraction.records import Result, record_of

__all__ = ["Mode", "Output", "Sink", "open_output"]

Mode = Literal["new", "overwrite", "resume", "retry"]
"""new: refuse a file that holds something. resume: go on after it. retry: the same, without its failed records."""

_START = b'{"id": '

Held = set[tuple[str, str]]
"""Id and content hash of what the output already holds."""


class Sink(Protocol):
    """Where a line goes at once and whole; an unbuffered binary file is one."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of it; how many bytes."""
        ...


@dataclass(slots=True)
class Output:
    """An open output. `held`: what it had when it was opened; `repaired`: how its torn last line was mended, if so."""

    sink: Sink
    held: Held = field(default_factory=set)
    failed_before: int = 0
    repaired: str | None = None

    def write(self, result: Result) -> None:
        """One record, whole, or OSError."""
        line = json.dumps(record_of(result), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
        _write_whole(self.sink, line)


@contextlib.contextmanager
def open_output(path: Path, mode: Mode) -> Iterator[Output]:
    """The file at `path`, locked until the block ends; folders above it are made.

    Raises ConfigError if it holds something and `mode` is "new", if another process writes it, if a line of it is no
    record, or if it cannot be opened.
    """
    with contextlib.ExitStack() as opened:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = opened.enter_context(_open_locked(path))
            output = _prepared(file, path, mode)
            if mode == "retry" and output.failed_before:
                output = _without_failed(output, opened.enter_context(_open_locked(_beside(path))), file, path)
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from error
        yield output


def _open_locked(path: Path) -> FileIO:
    while True:
        file = FileIO(path, "ab+")
        try:
            _lock(file)
        except OSError:
            file.close()
            raise ConfigError("another process is writing it: wait, or choose another output", file=str(path)) from None
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # it was replaced between opening and locking


def _lock(file: FileIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no flock: there, two writers are not told from one another
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _prepared(file: FileIO, path: Path, mode: Mode) -> Output:
    if mode == "overwrite":
        file.truncate(0)
    elif mode == "new" and file.seek(0, os.SEEK_END) > 0:
        raise ConfigError("exists already: give --resume to go on with it, or --overwrite", file=str(path))
    if mode in ("new", "overwrite"):
        return Output(file)
    if not _is_ours(file):
        raise ConfigError("is no output of ours: choose another", file=str(path), line=1)
    repaired = _mend(file)
    held: Held = set()
    failed = 0
    for number, line in _lines(file):
        if (record := _record(line)) is None:
            raise ConfigError("is no record of ours: choose another output", file=str(path), line=number)
        held.add((record["id"], record["content_hash"]))
        failed += record.get("error") is not None
    return Output(file, held, failed, repaired)


def _is_ours(file: FileIO) -> bool:
    """Whether it begins as a record does, be it torn: nothing else is ever mended."""
    file.seek(0)
    start = file.read(len(_START))
    return _START.startswith(start)


def _mend(file: FileIO) -> str | None:
    """Make the last line whole or away; what was done, for people."""
    start, tail = _tail(file)
    if not tail:
        return None
    if _record(tail) is not None:
        file.write(b"\n")  # at the end: the file was opened for appending
        return "the last record lacked its newline"
    file.truncate(start)
    return f"a torn last line of {len(tail)} bytes was cut off: its article is done again"


def _tail(file: FileIO) -> tuple[int, bytes]:
    """Where the last line starts if it has no newline, and its bytes."""
    end = start = file.seek(0, os.SEEK_END)
    tail = b""
    while start > 0 and b"\n" not in tail:
        size = min(65_536, start)
        start -= size
        file.seek(start)
        tail = file.read(size) + tail
    tail = tail[tail.rfind(b"\n") + 1 :]
    return end - len(tail), tail


def _lines(file: FileIO) -> Iterator[tuple[int, bytes]]:
    file.seek(0)
    for number, line in enumerate(BufferedReader(_Borrowed(file)), start=1):
        if line.strip():
            yield number, line


class _Borrowed(RawIOBase):
    """A file for a reader that closes what it reads."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        return self._file.readinto(buffer)


def _record(line: bytes) -> Mapping[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("id", "content_hash"))
    return record if whole else None


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _without_failed(output: Output, beside: FileIO, file: FileIO, path: Path) -> Output:
    """The output without its failed records: written beside it, then put in its place in one step."""
    beside.truncate(0)
    new = Output(beside, repaired=output.repaired)
    for _, line in _lines(file):
        record = _record(line)
        if record is not None and record.get("error") is None:
            _write_whole(beside, line)
            new.held.add((record["id"], record["content_hash"]))
    os.fsync(beside.fileno())
    _beside(path).replace(path)
    return new


def _write_whole(sink: Sink, data: bytes) -> None:
    while data:
        data = data[sink.write(data) or 0 :]
