"""`ratelimit-router check`: right configurations are explained, wrong ones are one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ratelimit_router.cli.program import program

CONFIG = """\
[models.pro]
provider = "gemini"
id = "gemini-3.1-pro"
limits = { rpm = 5, rpd = 100, refill = "continuous" }

[models.flash]
provider = "gemini"
key = "env:CHECK_TEST_KEY"
pools = ["account"]
limits.rpm = 10
limits.input_tpm = { amount = 250_000, burst = 1_000 }
limits.rpd = { amount = 9, resets = "01:00 UTC" }
limits.concurrency = 8

[models.lite]
provider = "gemin"
limits = { tpm = { amount = 5, per = 30 } }

[pools.account]
limits = { rpd = 1_000 }

[tiers.hot]
chain = ["pro", ["flash", "pro2"]]
patience = "500ms"
weight = 5

[models."[red]pro2"]

[tiers.bulk]
chain = ["lite"]
patience = inf

[router]
fallback = "lite"
""".replace('"pro2"', '"[red]pro2"')


def run(path: Path, *arguments: str, key: str = "x") -> Result:
    return CliRunner(env={"CHECK_TEST_KEY": key}).invoke(program, ["check", str(path), *arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file that is right, with everything in it that can be shown."""
    path = tmp_path / "router.toml"
    path.write_text(CONFIG)
    return path


def rows(output: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines() if "│" in line]


def test_the_tables_show_what_the_file_comes_to(config: Path) -> None:
    """Models, limits with refill, pools, and chains with the fallback; defaults are filled in and marked."""
    result = run(config)
    assert result.exit_code == 0, result.output
    shown = rows(result.output)
    assert ["flash", "gemini", "flash", "env:CHECK_TEST_KEY", "account"] in shown
    assert ["pro", "rpm", "5", "minute", "continuous", "burst 5"] in shown
    assert ["flash", "rpm", "10", "minute", "rolling (default)", "-"] in shown
    assert ["flash", "input_tpm", "250,000", "minute", "continuous", "burst 1,000"] in shown
    assert ["flash", "rpd", "9", "day", "calendar", "resets 01:00 UTC"] in shown
    assert ["flash", "concurrency", "8", "at once", "-", "-"] in shown
    assert ["lite", "tpm", "5", "30 s", "rolling (default)", "-"] in shown
    assert ["account", "rpd", "1,000", "day", "calendar (default)", "resets 00:00 America/Los_Angeles"] in shown
    assert ["hot", "pro -> (flash | [red]pro2) -> lite (fallback)", "0.5 s", "5"] in shown
    assert ["bulk", "lite", "inf", "1"] in shown
    assert "is right: store memory:, slow start 3, fallback lite" in result.output


def test_what_will_not_work_although_the_file_is_right_is_noted(config: Path) -> None:
    """A provider that is not installed and a model without limits are no defects, but worth a remark."""
    output = run(config).output
    assert "note: provider 'gemin' is not installed; routing works without it: did you mean 'gemini'?" in output
    assert "note: model '[red]pro2' has no limits: it is never waited for" in output


def test_json_holds_the_same_for_programs(config: Path) -> None:
    """One object, valid JSON also where the file says `inf`."""
    result = run(config, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [model["name"] for model in report["models"]] == ["pro", "flash", "lite", "[red]pro2"]
    assert report["models"][1]["limits"][0] == {
        "quota": "rpm",
        "counts": "requests",
        "amount": 10,
        "period": 60.0,
        "refill": "rolling",
        "refill_from": "default",
    }
    assert report["tiers"][0] == {
        "name": "hot",
        "chain": [["pro"], ["flash", "[red]pro2"], ["lite"]],
        "falls_back_to": "lite",
        "patience": 0.5,
        "weight": 5,
    }
    assert report["tiers"][1]["patience"] == "inf"
    assert report["pools"][0]["models"] == ["flash"]
    assert len(report["notes"]) == 2


def test_a_missing_key_is_a_defect_unless_keys_are_left_out(config: Path) -> None:
    """`--no-keys` checks the rest, for instance where the secrets are not."""
    refused = run(config, key="")
    assert refused.exit_code == 2
    assert refused.stderr.endswith(
        "router.toml:8: models.flash.key: the environment variable CHECK_TEST_KEY is not set: "
        "export it, or leave the key out\n"
    )
    assert run(config, "--no-keys", key="").exit_code == 0


def test_a_defect_is_one_line_on_stderr_and_status_2(config: Path) -> None:
    """Through the real console script: no traceback, nothing on stdout."""
    config.write_text(CONFIG.replace("rpm = 10", "rpm = -10"))
    script = Path(sys.executable).with_name("ratelimit-router")
    result = subprocess.run(
        [str(script), "check", "router.toml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=config.parent,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "router.toml:10: models.flash.limits.rpm: must not be negative\n"


def test_a_reader_that_goes_away_is_no_error(config: Path) -> None:
    """`check --json | head` prints no traceback and no complaint about the pipe."""
    script = Path(sys.executable).with_name("ratelimit-router")
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [str(script), "check", str(config), "--no-keys", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 1


def test_a_file_that_is_missing_is_the_same_one_line(tmp_path: Path) -> None:
    """No usage text of the command line's own: the same message that `load_config` gives."""
    result = run(tmp_path / "no.toml")
    assert (result.exit_code, result.stderr) == (2, f"{tmp_path / 'no.toml'}: there is no such file\n")
