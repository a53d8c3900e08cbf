"""The command: help that teaches, a service that answers, a summary at the end, status 2 for what cannot work."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ratelimit_router_providers.fake_service.command import fake_service


def run(*arguments: str) -> Result:
    return CliRunner().invoke(fake_service, arguments)


def test_the_help_teaches() -> None:
    """How to point both SDKs at it, and that it is a simulation."""
    text = run("--help").output
    for word in ("HttpOptions(base_url=URL)", 'transport="rest"', "simulated", "--mirror", "x-fake-fault"):
        assert word in text


def test_it_starts_says_what_it_is_and_sums_up() -> None:
    """With quotas from flags, for a moment."""
    result = run("--model", "flash", "--rpm", "10", "--rpd", "20", "--window", "fixed", "--port", "0", "--for", "0")
    assert result.exit_code == 0
    assert result.output.startswith("SIMULATION of the Gemini API at http://127.0.0.1:")
    assert "flash: 10 rpm (fixed), 20 rpd (day)" in result.output
    assert "0 admitted, 0 answered 429" in result.output


def test_json_is_one_object_at_the_start_and_one_at_the_end() -> None:
    """Both say that it is simulated."""
    result = run("--json", "--port", "0", "--for", "0")
    start, end = map(json.loads, result.output.splitlines())
    assert start["simulated"] is end["simulated"] is True
    assert start["models"] == ["gemini-3.1-pro", "gemini-3.5-flash", "gemini-3.5-flash-lite"]
    assert end["requests"] == 0


def test_every_fault_is_listed() -> None:
    """By name, for people and for programs."""
    assert "unavailable" in run("--list-faults").output
    assert {fault["name"] for fault in json.loads(run("--list-faults", "--json").output)} > {"reset", "limit_zero"}


def test_a_routers_file_is_mirrored(tmp_path: Path) -> None:
    """Without its keys being set; with a factor its limits are believed to be higher than they are."""
    file = tmp_path / "router.toml"
    file.write_text(
        '[models.flash]\nprovider = "gemini"\nid = "gemini-3.5-flash"\nkey = "env:NOT_SET_ANYWHERE"\n'
        "limits = { rpm = 10 }\n[tiers.hot]\nchain = ['flash']\n",
        encoding="utf-8",
    )
    result = run("--mirror", str(file), "--factor", "0.5", "--port", "0", "--for", "0")
    assert result.exit_code == 0, result.output
    assert "gemini-3.5-flash: 5 rpm (rolling)" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--config", "missing.toml"), "missing.toml: No such file"),
        (("--model", "a", "--rpm", "-1"), "--rpm.amount: must be a finite number of 0 or more"),
        (("--model", "a", "--config", "b"), "give one of --config, --mirror and --model"),
        (("--outage", "soon"), "--outage: must be FROM-TO in seconds, like 4-7"),
        (("--outage", "7-4"), "--outage.end: must be later than start"),
        (("--fault", "nope=1"), "--fault.fault: no fault named 'nope'"),
        (("--fault", "slow=often"), "--fault: must be NAME=RATE"),
        (("--host", "0.0.0.0"), "host: binds loopback only"),
        (("--latency", "-1"), "median: must be a finite number"),
    ],
)
def test_what_cannot_work_ends_with_status_2_and_one_line(arguments: tuple[str, ...], told: str) -> None:
    """The line names the flag or the key."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in result.output
    assert len(result.output.splitlines()) == 1


def test_ctrl_c_ends_it_with_the_summary() -> None:
    """As a process of its own: it answers, and an interrupt shows what it has admitted and refused."""
    code = "from ratelimit_router_providers.fake_service.command import fake_service; fake_service()"
    arguments = [sys.executable, "-c", code, "--json", "--port", "0", "--model", "flash", "--rpm", "1"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        body = json.dumps({"contents": [{"parts": [{"text": "x"}]}]}).encode()
        request = urllib.request.Request(f"{url}/v1/models/flash:generateContent?key=any", data=body)
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.headers["x-simulated"] == "true"
        process.send_signal(signal.SIGINT)
        summary = json.loads(process.stdout.readline())
        assert process.wait(timeout=30) == 0
    assert (summary["requests"], summary["admitted"]) == (1, 1)
