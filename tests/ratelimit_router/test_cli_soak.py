"""`ratelimit-router soak`: what held, and what to do about what did not."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ratelimit_router.cli.program import program
from ratelimit_router.dispatch import Dispatcher
from ratelimit_router.simulation.scenario_file import dump_scenario, load_scenario
from ratelimit_router.simulation.weather import random_scenario


def soak(*arguments: str) -> tuple[int, str]:
    """Its exit status and what it prints."""
    result = CliRunner().invoke(program, ["soak", "--jobs", "1", *arguments])
    return result.exit_code, result.output


def test_what_held_is_one_line() -> None:
    """How many storms, and how long."""
    status, output = soak("--seeds", "3", "--seed", "20")
    assert status == 0
    assert output.startswith("6 storms (2 of them played twice), ")
    assert output.endswith("every invariant held\n")


def test_json_is_one_object() -> None:
    """With the same figures each time, but for the seconds."""
    first, second = (json.loads(soak("--seeds", "2", "--policy", "greedy", "--json")[1]) for _ in range(2))
    assert first.pop("seconds") >= 0.0
    second.pop("seconds")
    assert first == second
    assert (first["storms"], first["failed"], first["failures"]) == (2, 0, [])


def test_minutes_end_it() -> None:
    """It stops when they have gone by."""
    status, output = soak("--minutes", "0.001", "--json")
    assert status == 0
    assert json.loads(output)["storms"] < 50


def broken(monkeypatch: pytest.MonkeyPatch) -> int:
    """A router without timers, and a seed that shows it."""
    monkeypatch.setattr(Dispatcher, "_set_timer", lambda self, wake, now: None)
    found = json.loads(soak("--seeds", "20", "--policy", "greedy", "--json")[1])
    return int(found["failures"][0]["seed"])


def test_a_failure_says_what_how_again_and_how_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The invariant in words, one command, and a smaller storm as a file that fails as well."""
    seed = broken(monkeypatch)
    status, output = soak("--seeds", "1", "--seed", str(seed), "--policy", "greedy")
    assert status == 1
    assert f"again: ratelimit-router soak --seed {seed} --seeds 1 --policy greedy\n" in output
    assert f"Seed {seed}, greedy:\n  2. whoever can be served" in output or "5. nobody waits" in output
    file = tmp_path / "small.toml"
    file.write_text(output[output.index("# Seed") : output.rindex("1 storms")])
    assert load_scenario(file).seed == seed
    assert soak(str(file), "--policy", "greedy")[0] == 1
    monkeypatch.undo()
    assert soak(str(file), "--policy", "greedy")[0] == 0


def test_a_storm_from_a_file_is_the_storm(tmp_path: Path) -> None:
    """What is dumped plays as what it was dumped from."""
    file = tmp_path / "storm.toml"
    file.write_text(dump_scenario(random_scenario(3)))
    of_file = json.loads(soak(str(file), "--policy", "greedy", "--json")[1])
    of_seed = json.loads(soak("--seed", "3", "--seeds", "1", "--policy", "greedy", "--json")[1])
    assert (of_file["tasks"], of_file["calls"]) == (of_seed["tasks"], of_seed["calls"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--seeds", "2", "--minutes", "1"), "not both"), (("nowhere.toml",), "nowhere.toml")],
)
def test_a_wrong_call_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    """And exit status 2."""
    status, output = soak(*arguments)
    assert status == 2
    assert words in output
    assert "Traceback" not in output
