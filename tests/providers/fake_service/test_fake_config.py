"""The TOML file: what it can say, and one precise line for what it cannot."""

import tomllib
from pathlib import Path

import pytest

from ratelimit_router.errors import ConfigError
from ratelimit_router_providers.fake_service.config_file import load_config, parse_config, parse_script
from ratelimit_router_providers.fake_service.faults import FAULTS

WHOLE = """
seed = 7
leeway = 0.25
invalid_keys = ["wrong"]

[[faults]]
fault = "internal"
rate = 0.01

[models."gemini-3.5-flash"]
rpm = 10
window = "fixed"
input_tpm = { amount = 250_000, window = "continuous", burst = 50_000 }
rpd = { amount = 250, resets = "00:00 UTC" }
concurrency = 4
latency = { median = 0.4, spread = 0.3 }
hint = "truncated"
headers = "none"
paid = true

[[models."gemini-3.5-flash".faults]]
fault = "unavailable"
start = 4.0
end = 7

[[models."gemini-3.5-flash".faults]]
fault = "slow"
requests = [3, 9]
seconds = 12

[models.lite]
rpm = { amount = 3, per = 5 }
latency = 0.1

[models.even]
latency = { least = 0.05, most = 0.2 }
"""


def load(tmp_path: Path, text: str) -> object:
    file = tmp_path / "service.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file)


def test_a_file_says_everything(tmp_path: Path) -> None:
    """Quotas as numbers or tables, windows by default or each, faults by time, by count and at random."""
    file = tmp_path / "service.toml"
    file.write_text(WHOLE, encoding="utf-8")
    config = load_config(file)
    flash, lite, even = config.models.values()
    assert [(rule.name, rule.window, rule.amount, rule.burst) for rule in flash.quotas] == [
        ("rpm", "fixed", 10, None),
        ("input_tpm", "continuous", 250_000, 50_000),
        ("rpd", "day", 250, None),
    ]
    assert flash.quotas[2].resets == "00:00 UTC"
    assert (flash.concurrency, flash.latency.median, flash.latency.spread) == (4, 0.4, 0.3)
    assert (flash.hint, flash.headers, flash.paid) == ("truncated", "none", True)
    assert [(rule.fault, rule.start, rule.end, rule.requests) for rule in flash.faults] == [
        ("unavailable", 4.0, 7, ()),
        ("slow", 0.0, None, (3, 9)),
    ]
    assert (lite.quotas[0].period, lite.latency.median) == (5, 0.1)
    assert (even.latency.least, even.latency.most) == (0.05, 0.2)
    assert (config.seed, config.leeway, config.faults[0].rate) == (7, 0.25, 0.01)
    assert config.invalid_keys == {"wrong"}
    assert "wrong" not in repr(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "models: the service needs at least one model"),
        ("models = 3", "models: must be a table, not int"),
        ("modles = {}", "modles: is not known here; known are: models, faults, seed"),
        ("[models.a]\nrpm = -1", "models.a.rpm.amount: must be a finite number of 0 or more, not -1"),
        ('[models.a]\nrpm = "ten"', "models.a.rpm.amount: must be a number, not str"),
        ("[models.a]\nrpm = { per = 5 }", "models.a.rpm: needs an amount"),
        ("[models.a]\nrpm = { amount = 5, burst = 3 }", "models.a.rpm.burst: only a continuous window has a burst"),
        ("[models.a]\nrpm = { amount = 5, per = 'week' }", "models.a.rpm.per: must be one of second, minute"),
        ("[models.a]\nrpm = { amount = 5, per = 0 }", "models.a.rpm.period: must be a finite number above 0"),
        ("[models.a]\nrpm = 5\nwindow = 'sliding'", "models.a.rpm.window: must be one of continuous, rolling"),
        ("[models.a]\nrpd = { amount = 5, resets = 'noon' }", "models.a.rpd.resets: must be a time"),
        ("[models.a]\nqps = 5", "models.a.qps: is not known here"),
        ("[models.a]\nconcurrency = 0", "models.a.concurrency: must be 1 or more, not 0"),
        ("[models.a]\nconcurrency = 1.5", "models.a.concurrency: must be int, not float"),
        ("[models.a]\nhint = 'wrong'", "models.a.hint: must be one of right, truncated, short, missing"),
        ("[models.a]\nheaders = 'some'", "models.a.headers: must be one of all, retry-after, none, not 'some'"),
        ("[models.a]\nlatency = { least = 1 }", "models.a.latency.most: is missing: a uniform latency has both ends"),
        ("[models.a]\nlatency = { least = 2, most = 1 }", "models.a.latency.most: must be at least `least` (2), not 1"),
        ("[models.a]\nlatency = { median = 1, most = 2 }", "models.a.latency.median: a latency has a median and a"),
        ("[models.a]\nlatency = -1", "models.a.latency.median: must be a finite number"),
        ("[models.a]\nfaults = 3", "models.a.faults: must be a list of tables, not int"),
        ("[[models.a.faults]]\nfault = 'nope'", "models.a.faults[1].fault: no fault named 'nope'"),
        ("[[models.a.faults]]\nrate = 0.5", "models.a.faults[1].fault: needs the name of a fault"),
        ("[[models.a.faults]]\nfault = 'slow'\nrate = 2", "models.a.faults[1].rate: must be a probability"),
        ("[[models.a.faults]]\nfault = 'slow'\nstart = 4\nend = 4", "models.a.faults[1].end: must be later than"),
        ("[[models.a.faults]]\nfault = 'slow'\nrequests = [0]", "models.a.faults[1].requests: must be 1 or more"),
        ("[models.a]\nrpm = 1\n[models.'models/a']\nrpm = 1", "models.models/a: two models have this id"),
        ("seed = true\n[models.a]\nrpm = 1", "seed: must be int, not bool"),
        ("invalid_keys = [3]\n[models.a]\nrpm = 1", "invalid_keys: must be a list of strings"),
        ("[models.a", "Expected ']'"),
    ],
)
def test_what_cannot_work_is_one_line_with_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    """The place comes first, then what is wrong with it."""
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'service.toml'}: {told}")
    assert "\n" not in message


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """The system's own words, with the file."""
    with pytest.raises(ConfigError, match=r"missing\.toml: No such file"):
        load_config(tmp_path / "missing.toml")


def test_a_script_changes_only_what_it_names(tmp_path: Path) -> None:
    """One quota of one model is replaced; everything else of the model stays."""
    file = tmp_path / "service.toml"
    file.write_text(WHOLE, encoding="utf-8")
    before = load_config(file).models
    changed, faults = parse_script({"models": {"gemini-3.5-flash": {"rpm": 2}}}, before)
    flash = changed["gemini-3.5-flash"]
    assert [(rule.name, rule.amount) for rule in flash.quotas] == [("rpm", 2), ("input_tpm", 250_000), ("rpd", 250)]
    assert flash.concurrency == 4
    assert len(flash.faults) == 2
    assert faults is None


def test_the_documentation_is_right() -> None:
    """Its example loads, and it names every fault that there is."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "fake-service.md"
    text = page.read_text(encoding="utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]
    assert parse_config(tomllib.loads(example)).models["gemini-3.5-flash"].concurrency == 4
    assert [name for name in FAULTS if f"`{name}`" not in text] == []
