"""The group of all commands: lazy, patient with broken plugins, brief in its errors."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ratelimit_router import plugins
from ratelimit_router.cli.program import program

FINE = """\
import click
from ratelimit_router import errors

@click.command()
@click.argument("what")
def dance(what):
    \"\"\"Dance as you are told.\"\"\"
    if what == "config":
        raise errors.ConfigError("is\\nwrong", file="router.toml", line=3, key="models")
    if what == "router":
        raise errors.RouterClosed()
    if what == "bug":
        raise RuntimeError("a bug")
    click.echo(what)
"""


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution named `stranger` is installed, with one command that works and two that do not."""
    info = tmp_path / "stranger-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[ratelimit_router.commands]\ndance = cli_fine:dance\nsulk = cli_broken:sulk\nodd = cli_odd:odd\n"
    )
    (tmp_path / "cli_fine.py").write_text(FINE)
    (tmp_path / "cli_broken.py").write_text("import an_sdk_that_nobody_has\n")
    (tmp_path / "cli_odd.py").write_text("odd = 5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._entry_points.cache_clear()
    yield
    plugins._entry_points.cache_clear()
    for name in ("cli_fine", "cli_broken", "cli_odd"):
        sys.modules.pop(name, None)


def test_a_command_of_a_plugin_runs_beside_a_broken_one() -> None:
    """Only the command that is called is imported."""
    result = CliRunner().invoke(program, ["dance", "tango"])
    assert (result.exit_code, result.output) == (0, "tango\n")
    assert "cli_broken" not in sys.modules


def test_help_lists_every_command_and_says_which_is_broken() -> None:
    """The help of the whole still shows when one plugin cannot be loaded, and tells what that one lacks."""
    for flag in ("-h", "--help"):
        result = CliRunner().invoke(program, [flag])
        told = " ".join(result.output.split())
        assert result.exit_code == 0
        assert "Dance as you are told." in told
        assert "Check a configuration" in told
        assert "sulk (not available: stranger 1.2" in told
        assert "it needs the module an_sdk_that_nobody_has" in told
        assert "odd (not available: the command 'odd' is not a click command, but int)" in told


def test_calling_a_broken_command_is_one_line_and_status_2() -> None:
    """The line names the distribution to blame."""
    result = CliRunner().invoke(program, ["sulk"])
    assert result.exit_code == 2
    assert result.stderr.startswith("stranger 1.2 (cli_broken:sulk) cannot be loaded")
    assert result.stderr.count("\n") == 1


def test_a_config_error_is_one_line_and_status_2() -> None:
    """What a command raises about its configuration is told without a traceback."""
    result = CliRunner().invoke(program, ["dance", "config"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "router.toml:3: models: is\\nwrong\n"


def test_another_error_of_the_router_is_one_line_and_status_1() -> None:
    """The call was right; the run was not."""
    result = CliRunner().invoke(program, ["dance", "router"])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "the router is closed\n")


def test_a_bug_is_not_hidden() -> None:
    """An exception that is not ours keeps its traceback."""
    result = CliRunner().invoke(program, ["dance", "bug"])
    assert isinstance(result.exception, RuntimeError)


def test_an_unknown_command_is_status_2() -> None:
    """A wrong call ends like every wrong call."""
    assert CliRunner().invoke(program, ["frobnicate"]).exit_code == 2


def test_the_version_is_the_distributions() -> None:
    """`--version` names the command and a version."""
    result = CliRunner().invoke(program, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("ratelimit-router, version ")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_names_it(missing: str) -> None:
    """The library is installed without its command line: the console script says which extra brings it."""
    code = f"import sys; sys.modules[{missing!r}] = None; from ratelimit_router.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"ratelimit-router: the command line needs {missing}: pip install 'ratelimit-router[cli]'\n"


def test_importing_the_entry_point_needs_no_extra() -> None:
    """The module of the console script imports nothing that may be missing."""
    code = "import sys; import ratelimit_router.cli; assert not {'click', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
