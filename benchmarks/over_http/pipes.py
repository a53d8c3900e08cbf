"""A Python module in a process of its own, spoken to in lines: words of ours, or JSON."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Pipes", "started"]


class Pipes:
    """The two ends of a process."""

    def __init__(self, process: "subprocess.Popen[str]"):
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def say(self, line: Any) -> None:
        """One line; what is no text goes as JSON."""
        self._stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
        self._stdin.flush()

    def hear(self) -> Any:
        """The next line that is JSON, as a value, or our word `ready`: some libraries chat on stdout."""
        for line in self._stdout:
            if line.strip() == "ready":
                return "ready"
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("the process has ended without an answer; stderr says why")

    def end(self) -> None:
        """Nothing more will be said."""
        self._stdin.close()


@contextmanager
def started(module: str, *arguments: str) -> Iterator[Pipes]:
    """`python -m module arguments`, ended at the latest with the block. Warnings of others' code are not shown."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Pipes(process)
        finally:
            process.terminate()
