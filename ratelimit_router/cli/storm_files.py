"""The files that `storm` writes, and what has to be installed for them."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ratelimit_router.cli.storm_play import Played, Storm, storm_scenario
from ratelimit_router.cli.storm_request import FIRST_SEED
from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.measures import summarize
from ratelimit_router.simulation.scenario_file import dump_scenario

__all__ = ["extras_named", "require", "write_pictures", "write_scenario", "write_trace"]


@contextmanager
def extras_named() -> Iterator[None]:
    """What is not installed becomes a ConfigError of one line that names the extra."""
    try:
        yield
    except ImportError as error:
        if "pip install" in str(error):
            raise ConfigError(str(error)) from error
        raise


def require(*, bound: bool, report: Path | None, trace: Path | None, storms: Sequence[Storm]) -> None:
    """Say now, rather than after minutes of play, what cannot be done. Raises ConfigError, ImportError."""
    if trace is not None and len(storms) * len(storms[0].policies) > 1:
        raise ConfigError("holds one run: name one scenario, one --policy and one seed", key="--trace")
    if bound:
        importlib.import_module("ratelimit_router.simulation.bound")
    if report is not None:
        importlib.import_module("ratelimit_router.simulation.report")


def write_trace(played: Sequence[Played], path: Path | None) -> None:
    """The only run, a JSON object a line."""
    if path is not None:
        _write(path, "".join(f"{line}\n" for line in played[0].runs[0].trace()))


def write_pictures(played: Sequence[Played], path: Path | None) -> None:
    """One HTML file with the runs that were kept, and the figures of all."""
    if path is None:
        return
    from ratelimit_router.simulation.report import Shown, write_report  # needs matplotlib and jinja2

    shown = [
        Shown(run=run, measures=measures, binding=each.binding)
        for each in played
        for run, measures in zip(each.runs, each.measures, strict=False)  # of most storms only the figures were kept
    ]
    with _writable(path):
        write_report(path, shown, summarize(one for each in played for one in each.measures))


def write_scenario(sources: Sequence[str | Path], seed: int | None, path: Path) -> None:
    """The only scenario, as TOML."""
    if len(sources) > 1:
        raise ConfigError("holds one scenario: name it", key="--dump")
    first = FIRST_SEED if isinstance(sources[0], str) and seed is None else seed
    _write(path, dump_scenario(storm_scenario(sources[0], first)))


def _write(path: Path, text: str) -> None:
    with _writable(path):
        path.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", file=str(path)) from error
