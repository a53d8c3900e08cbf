"""Scenarios as files: a router.toml with tables of its own (docs/reference/scenarios.md has them all), or that as JSON.

Every defect is a ConfigError of one line, `storm.toml:7: load.0.tier: problem and cure`.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ratelimit_router.config import parse_config
from ratelimit_router.errors import ConfigError
from ratelimit_router.simulation.scenario import Load, Scenario
from ratelimit_router.simulation.scenario_tables import OWN, read_scenario
from ratelimit_router.toml_file import one_line, parse_toml, read_text
from ratelimit_router.toml_lines import Path as Keys
from ratelimit_router.toml_lines import defined_keys, line_of
from ratelimit_router.toml_tables import Defect, Table

__all__ = ["PACKAGED", "dump_scenario", "load_scenario", "parse_scenario"]

PACKAGED = {path.stem: path for path in sorted((Path(__file__).parent / "scenarios").glob("*.toml"))}
"""The files of scenarios that come with this package, by name."""


def load_scenario(path: str | os.PathLike[str], *, loads: Iterable[Load] | None = None) -> Scenario:
    """The scenario in a file of at most 1 MB; JSON if its name ends in `.json`, else TOML.

    `loads` take the place of those in the file; with them any router.toml is a scenario. Raises ConfigError, with file,
    line and key, for everything that cannot work.
    """
    file = one_line(os.fspath(path))
    source = read_text(path, file)
    parse = _parse_json if file.endswith(".json") else parse_toml
    return parse_scenario(parse(source, file), file, source=source, loads=loads)


def dump_scenario(scenario: Scenario) -> str:
    """The text of a TOML file from which `load_scenario` makes the same scenario, but for the keys of its models.

    Raises ImportError if the extra `storm` is missing.
    """
    from ratelimit_router.simulation.scenario_text import scenario_text

    return scenario_text(scenario)


def parse_scenario(
    document: dict[str, Any], file: str = "scenario", *, source: str = "", loads: Iterable[Load] | None = None
) -> Scenario:
    """The scenario in a parsed document; `file` and its text `source` only tell errors where they stand.

    Raises ConfigError for everything that cannot work.
    """
    router = {key: value for key, value in document.items() if key not in OWN}
    config = parse_config(router, file, source=source, known_tables=OWN)
    try:
        return read_scenario(Table((), document), config, Path(file).stem, loads)
    except Defect as defect:
        line = _line_of(source, defect.path)
        key = one_line(".".join(defect.path)) or None
        raise ConfigError(one_line(defect.problem), key=key, file=file, line=line) from None


def _parse_json(source: str, file: str) -> dict[str, Any]:
    try:
        document = json.loads(source)
    except RecursionError:
        raise ConfigError("is nested too deeply", file=file) from None
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise ConfigError(one_line(f"this is not JSON: {error}"), file=file, line=line) from None
    if not isinstance(document, dict):
        raise ConfigError("must be an object, with the tables of a scenario", file=file)
    return document


def _line_of(source: str, path: Keys) -> int | None:
    """As `line_of`; a number in the path is the place of a table among those of the same name."""
    place = next((place for place, key in enumerate(path) if key.isdecimal()), None)
    if place is None:
        return line_of(source, path)
    array, wanted, best = path[:place], path[:place] + path[place + 1 :], None
    left = int(path[place])
    for found, line in defined_keys(source):
        if found == array:
            left -= 1
            best = line if left == -1 else best
        if left == -1 and found == wanted:
            return line
    return best or line_of(source, array)
