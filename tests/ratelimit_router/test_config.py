"""A configuration loads as values; every defect is one line that says where and what to do."""

import datetime
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.config import Config, check_keys, load_config, parse_config
from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import Limit, Limits
from ratelimit_router.models import Model, Pool, Tier

WHOLE = """\
[models.pro]
provider = "gemini"
id = "gemini-3.1-pro"
limits = { rpm = 5 }

[models.flash]
provider = "gemini"
id = "gemini-3.5-flash"
key = "env:GEMINI_API_KEY"
base_url = "http://127.0.0.1:8080/v1"
pools = ["account"]
options = { thinking = false }

[models.flash.limits]
rpm = 10
input_tpm = { amount = 250_000, per = "minute", refill = "continuous", burst = 1_000 }
rpd = { amount = 250, refill = "calendar", resets = "00:00 America/Los_Angeles" }
concurrency = 8
refill = "rolling"

[models.lite]

[pools.account]
limits = { rpd = 1_000, tpm = { amount = 5, per = 30 } }

[tiers.hot]
chain = ["pro", ["flash", "lite"]]
patience = "500ms"
weight = 5

[tiers.bulk]
chain = ["lite"]
patience = inf

[router]
fallback = "lite"
store = "memory:"
slow_start = 16

[simulation]
seed = 7
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "router.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problem(folder: Path, text: str, **kwargs: Any) -> str:
    """The message for a file that holds `text`, without its folder."""
    with pytest.raises(ConfigError) as caught:
        load_config(written(folder, text), {}, **kwargs)
    return str(caught.value).replace(f"{folder}{os.sep}", "")


def outcome(load: Callable[[], Config]) -> Config | ConfigError:
    """What `load` returns, or the one kind of error that it may raise."""
    try:
        return load()
    except ConfigError as error:
        return error


def test_a_whole_file_becomes_the_same_values_as_code(tmp_path: Path) -> None:
    """Every key ends up where the constructors put it."""
    config = load_config(written(tmp_path, WHOLE), {"GEMINI_API_KEY": "x"})
    flash = Limits(
        rpm=10,
        input_tpm=Limit(250_000, per="minute", refill="continuous", burst=1_000),
        rpd=Limit(250, refill="calendar", resets="00:00 America/Los_Angeles"),
        concurrency=8,
        refill="rolling",
    )
    assert config.models == (
        Model("pro", "gemini", "gemini-3.1-pro", limits=Limits(rpm=5)),
        Model(
            "flash",
            "gemini",
            "gemini-3.5-flash",
            limits=flash,
            pools=("account",),
            key="env:GEMINI_API_KEY",
            base_url="http://127.0.0.1:8080/v1",
            options={"thinking": False},
        ),
        Model("lite"),
    )
    assert config.pools == (Pool("account", Limits(rpd=1_000, tpm=Limit(5, per=30))),)
    assert config.tiers == (
        Tier("hot", ["pro", ("flash", "lite")], patience=0.5, weight=5),
        Tier("bulk", ["lite"], patience=math.inf),
    )
    assert (config.fallback, config.store, config.slow_start) == ("lite", "memory:", 16)
    assert config.tables == {"simulation": {"seed": 7}}


def test_what_is_left_out_has_the_documented_default() -> None:
    """No fallback, the memory store, a slow start of 3, no pools, no foreign tables."""
    config = parse_config({"models": {"m": {}}, "tiers": {"t": {"chain": ["m"]}}})
    assert config == Config(models=(Model("m"),), tiers=(Tier("t", ["m"]),))
    assert (config.fallback, config.store, config.slow_start, config.tables) == (None, "memory:", 3, {})


def test_a_reset_time_makes_a_limit_a_calendar_one() -> None:
    """A limit that names its reset time comes back then, whatever the default of the table or the provider."""
    rpd = {"amount": 5, "resets": "09:00 Europe/Rome"}
    config = parse_config(
        {"models": {"m": {"limits": {"rpd": rpd, "refill": "rolling"}}}, "tiers": {"t": {"chain": ["m"]}}}
    )
    (quota,) = config.models[0].limits.quotas()
    assert (quota.refill, quota.resets) == ("calendar", "09:00 Europe/Rome")


def test_the_smallest_of_everything_is_accepted() -> None:
    """One call at once, a burst of one, a slow start of one, a burst below one where the amount is no more."""
    limits = {"rpm": {"amount": 5, "burst": 1}, "tpm": {"amount": 0.5, "burst": 0.5}, "concurrency": 1}
    document = {"models": {"m": {"limits": limits}}, "tiers": {"t": {"chain": ["m"]}}, "router": {"slow_start": 1}}
    config = parse_config(document)
    assert config.models[0].limits == Limits(rpm=Limit(5, burst=1), tpm=Limit(0.5, burst=0.5), concurrency=1)
    assert config.slow_start == 1


def test_the_slow_start_can_be_switched_off() -> None:
    """`false` lets a fresh model take any number of unanswered calls; `true` says nothing and is refused."""
    document = {"models": {"m": {}}, "tiers": {"t": {"chain": ["m"]}}, "router": {"slow_start": False}}
    assert parse_config(document).slow_start is None
    with pytest.raises(ConfigError, match=r"^router\.slow_start: must be a number, not true or false"):
        parse_config(document | {"router": {"slow_start": True}})


GOOD = '[models.flash]\nlimits = { rpm = 10 }\n[models.lite]\n[tiers.hot]\nchain = ["flash"]\n'

STORES = "there are memory:, sqlite:PATH, redis://..., rediss://..., unix://..., and env:NAME for one of them"
DEFECTS = {
    "unknown model in a chain": (
        '[models.flash]\n[tiers.hot]\nchain = ["flahs"]',
        "router.toml:3: tiers.hot.chain: no model is called 'flahs': did you mean 'flash'?",
    ),
    "unknown model among equals": (
        '[models.flash]\n[tiers.hot]\nchain = ["flash", ["zzz"]]',
        "router.toml:3: tiers.hot.chain: no model is called 'zzz': there are flash",
    ),
    "unknown pool": (
        '[models.flash]\npools = ["acount"]\n[pools.account]\n[tiers.hot]\nchain = ["flash"]',
        "router.toml:2: models.flash.pools: no pool is called 'acount': did you mean 'account'?",
    ),
    "no pools at all": (
        '[models.flash]\npools = ["account"]\n[tiers.hot]\nchain = ["flash"]',
        "router.toml:2: models.flash.pools: no pool is called 'account': there are none",
    ),
    "the same pool twice": (
        '[models.flash]\npools = ["a", "a"]\n[pools.a]\n[tiers.hot]\nchain = ["flash"]',
        "router.toml:2: models.flash.pools: names the pool 'a' twice",
    ),
    "unknown fallback": (
        GOOD + '[router]\nfallback = "lit"',
        "router.toml:7: router.fallback: no model is called 'lit': did you mean 'lite'?",
    ),
    "empty chain": (
        "[models.flash]\n[tiers.hot]\nchain = []",
        "router.toml:3: tiers.hot.chain: must name at least one model in every step",
    ),
    "empty step": (
        '[models.flash]\n[tiers.hot]\nchain = ["flash", []]',
        "router.toml:3: tiers.hot.chain: must name at least one model in every step",
    ),
    "missing chain": (
        "[models.flash]\n[tiers.hot]\nweight = 2",
        'router.toml:2: tiers.hot.chain: is missing: name the models to try, best first: ["MODEL", ...]',
    ),
    "a chain that is a text": (
        '[models.flash]\n[tiers.hot]\nchain = "flash"',
        "router.toml:3: tiers.hot.chain: must be a list of models, not text",
    ),
    "a chain of numbers": (
        "[models.flash]\n[tiers.hot]\nchain = [1]",
        "router.toml:3: tiers.hot.chain: must hold names of models, or lists of equals, not a number",
    ),
    "a list in a list in a list": (
        '[models.flash]\n[tiers.hot]\nchain = [[["flash"]]]',
        "router.toml:3: tiers.hot.chain: must hold names of models, or lists of equals, not a list",
    ),
    "the same model twice in a chain": (
        '[models.flash]\n[models.lite]\n[tiers.hot]\nchain = ["flash", ["lite", "flash"]]',
        "router.toml:4: tiers.hot.chain: names the model 'flash' twice",
    ),
    "negative limit": (
        "[models.flash]\nlimits = { rpm = -1 }",
        "router.toml:2: models.flash.limits.rpm: must not be negative",
    ),
    "negative limit in a table": (
        "[models.flash.limits]\nrpm = { amount = -0.5 }",
        "router.toml:2: models.flash.limits.rpm.amount: must not be negative",
    ),
    "a limit that is not a number": (
        "[models.flash.limits]\nrpm = nan",
        "router.toml:2: models.flash.limits.rpm: must be a finite number, not nan: leave the key out for no limit",
    ),
    "an infinite limit": (
        "[models.flash.limits]\nrpm = inf",
        "router.toml:2: models.flash.limits.rpm: must be a finite number, not inf: leave the key out for no limit",
    ),
    "an absurd limit": (
        f"[models.flash.limits]\nrpm = 1{'0' * 400}",
        "router.toml:2: models.flash.limits.rpm: is larger than any real limit: leave the key out for no limit",
    ),
    "true as a number": (
        "[models.flash.limits]\nrpm = true",
        "router.toml:2: models.flash.limits.rpm: must be a number, not true or false",
    ),
    "a text as a number": (
        '[models.flash.limits]\nrpm = "10"',
        "router.toml:2: models.flash.limits.rpm: must be a number or a table such as { amount = 10 }, not text",
    ),
    "a date as a number": (
        "[models.flash.limits]\nrpm = 2026-01-01",
        "router.toml:2: models.flash.limits.rpm: must be a number, not a date or time",
    ),
    "a limit without an amount": (
        '[models.flash.limits]\nrpm = { per = "day" }',
        "router.toml:2: models.flash.limits.rpm.amount: is missing: how much is allowed in a period?",
    ),
    "a limit that never admits": (
        "[models.flash.limits]\nrpm = 0.5",
        "router.toml:2: models.flash.limits.rpm: 0.5 requests never admit one: write Limit(1, per=120)",
    ),
    "a burst that never admits": (
        "[models.flash.limits]\nrpm = { amount = 5, burst = 0.5 }",
        "router.toml:2: models.flash.limits.rpm.burst: must be at least 1: a smaller bucket never admits a request",
    ),
    "a burst of a rolling limit": (
        '[models.flash.limits]\nrpm = { amount = 5, burst = 2, refill = "rolling" }',
        "router.toml:2: models.flash.limits.rpm.burst: only a continuous limit has a burst, not a rolling one",
    ),
    "half a call at once": (
        "[models.flash.limits]\nconcurrency = 1.5",
        "router.toml:2: models.flash.limits.concurrency: must be a whole number of at least 1",
    ),
    "no call at once": (
        "[models.flash.limits]\nconcurrency = 0",
        "router.toml:2: models.flash.limits.concurrency: must be a whole number of at least 1",
    ),
    "unknown refill": (
        '[models.flash.limits]\nrefill = "contiguous"',
        "router.toml:2: models.flash.limits.refill: must be one of continuous, rolling, calendar, not 'contiguous'",
    ),
    "unknown refill of one limit": (
        '[models.flash.limits]\nrpd = { amount = 5, refill = "daily" }',
        "router.toml:2: models.flash.limits.rpd.refill: must be one of continuous, rolling, calendar, not 'daily'",
    ),
    "unknown period": (
        '[models.flash.limits]\nrpd = { amount = 5, per = "fortnight" }',
        "router.toml:2: models.flash.limits.rpd.per: must be one of second, minute, hour, day, or seconds, "
        "not 'fortnight'",
    ),
    "a period of nothing": (
        "[models.flash.limits]\nrpd = { amount = 5, per = 0 }",
        "router.toml:2: models.flash.limits.rpd.per: must be more than 0 seconds",
    ),
    "bad time zone": (
        '[models.flash.limits]\nrpd = { amount = 5, resets = "00:00 America/Los_Angels" }',
        "router.toml:2: models.flash.limits.rpd.resets: no time zone is called 'America/Los_Angels': "
        'give an IANA name such as "America/Los_Angeles"',
    ),
    "a continent as a time zone": (
        '[models.flash.limits]\nrpd = { amount = 5, resets = "00:00 America" }',
        "router.toml:2: models.flash.limits.rpd.resets: no time zone is called 'America': "
        'give an IANA name such as "America/Los_Angeles"',
    ),
    "bad time of day": (
        '[models.flash.limits]\nrpd = { amount = 5, resets = "midnight" }',
        "router.toml:2: models.flash.limits.rpd.resets: must be a time and an IANA time zone such as "
        "\"00:00 America/Los_Angeles\", not 'midnight'",
    ),
    "a reset by the minute": (
        '[models.flash.limits]\nrpm = { amount = 5, resets = "00:00 UTC" }',
        "router.toml:2: models.flash.limits.rpm.resets: only a daily limit has a reset time",
    ),
    "a reset of a rolling limit": (
        '[models.flash.limits]\nrpd = { amount = 5, refill = "rolling", resets = "00:00 UTC" }',
        "router.toml:2: models.flash.limits.rpd.resets: only a calendar limit has a reset time, not a rolling one",
    ),
    "negative limit of a pool": (
        '[pools.account]\nlimits = { rpd = -1 }\n[models.m]\n[tiers.t]\nchain = ["m"]',
        "router.toml:2: pools.account.limits.rpd: must not be negative",
    ),
    "duplicate model": (
        "[models.flash]\n\n[models.flash]\n",
        "router.toml:3: this is not TOML: Cannot declare ('models', 'flash') twice: "
        "the name is defined twice, keep one",
    ),
    "duplicate key": (
        "[models.flash]\nid = 'a'\nid = 'b'\n",
        "router.toml:3: this is not TOML: Cannot overwrite a value: the name is defined twice, keep one",
    ),
    "not TOML": (
        "[models.flash]\nid = gemini\n",
        "router.toml:2: this is not TOML: Invalid value",
    ),
    "unfinished TOML": (
        "[models.flash]\nid =",
        "router.toml:2: this is not TOML: Invalid value",
    ),
    "a secret in the file": (
        '[models.flash]\nkey = "AIzaSyD-not-a-real-key"\n',
        'router.toml:2: models.flash.key: must be "env:NAME", the variable that holds the secret: '
        "a secret has no place in this file",
    ),
    "a variable that cannot be one": (
        '[models.flash]\nkey = "env:AIza-not-a-real-key"\n',
        'router.toml:2: models.flash.key: must be "env:NAME", the variable that holds the secret: '
        "a secret has no place in this file",
    ),
    "missing key variable": (
        '[models.flash]\nprovider = "gemini"\nkey = "env:GEMINI_API_KEY"\n[tiers.hot]\nchain = ["flash"]',
        "router.toml:3: models.flash.key: the environment variable GEMINI_API_KEY is not set: "
        "export it, or leave the key out",
    ),
    "a password in the URL": (
        '[models.flash]\nbase_url = "https://me:secret@example.org"\n',
        "router.toml:2: models.flash.base_url: must be http:// or https://, a host and perhaps a path, "
        "without user, password or query",
    ),
    "a number as a name": (
        "[models.flash]\nprovider = 5\n",
        "router.toml:2: models.flash.provider: must be text, not a number",
    ),
    "an empty name": (
        '[models.flash]\nid = " "\n',
        "router.toml:2: models.flash.id: must not be empty",
    ),
    "options that are no table": (
        "[models.flash]\noptions = [1]\n",
        "router.toml:2: models.flash.options: must be a table, not a list",
    ),
    "a model that is no table": (
        "[models]\nflash = 5\n",
        "router.toml:2: models.flash: must be a table, not a number",
    ),
    "a model without a name": (
        '[models.""]\nid = "x"\n',
        'router.toml:1: models."": a model needs a name that is not empty',
    ),
    "models that are no table": (
        "models = 5\n",
        "router.toml:1: models: must be a table, not a number",
    ),
    "unknown key of a model": (
        '[models.flash]\nprovidr = "gemini"\n',
        "router.toml:2: models.flash.providr: there is no such key: did you mean 'provider'?",
    ),
    "unknown key of a limit": (
        "[models.flash]\nlimits = { rmp = 5 }\n",
        "router.toml:2: models.flash.limits.rmp: there is no such key: did you mean 'rpm'?",
    ),
    "unknown key of a tier": (
        GOOD + "patiance = 5\n",
        "router.toml:6: tiers.hot.patiance: there is no such key: did you mean 'patience'?",
    ),
    "unknown key of the router": (
        GOOD + '[router]\nfall_back = "lite"',
        "router.toml:7: router.fall_back: there is no such key: did you mean 'fallback'?",
    ),
    "unknown table": (
        "[model.flash]\n",
        "router.toml:1: model: there is no such key: did you mean 'models'?",
    ),
    "no models": (
        "# nothing\n",
        "router.toml: models: there are none: add a table [models.NAME] with its provider and limits",
    ),
    "no tiers": (
        "[models.flash]\n",
        'router.toml: tiers: there are none: add a table [tiers.NAME] with its chain = ["MODEL", ...]',
    ),
    "bad patience": (
        GOOD + 'patience = "5 parsecs"\n',
        'router.toml:6: tiers.hot.patience: must be a duration such as "5s", "500ms", "2m" or "inf", not \'5 parsecs\'',
    ),
    "negative patience": (
        GOOD + "patience = -1\n",
        "router.toml:6: tiers.hot.patience: must be 0 or more seconds, not -1",
    ),
    "patience that is not a number": (
        GOOD + "patience = nan\n",
        "router.toml:6: tiers.hot.patience: must be 0 or more seconds, not nan",
    ),
    "no weight": (
        GOOD + "weight = 0\n",
        "router.toml:6: tiers.hot.weight: must be a finite number above 0, not 0",
    ),
    "a store that nobody knows": (
        GOOD + '[router]\nstore = "etcd://:secret@example.org"',
        f'router.toml:7: router.store: there is no store "etcd:": {STORES}',
    ),
    "a password in the file": (
        GOOD + '[router]\nstore = "redis://:secret@example.org"',
        'router.toml:7: router.store: holds a password: write "env:NAME", and put the URL into that variable',
    ),
    "a store that is no URL": (
        GOOD + '[router]\nstore = "memory"',
        f"router.toml:7: router.store: must be the URL of a store: {STORES}",
    ),
    "a file without a path": (
        GOOD + '[router]\nstore = "sqlite:"',
        'router.toml:7: router.store: "sqlite:" wants a path behind it',
    ),
    "a policy for outages that does not exist": (
        GOOD + '[router]\nstore = "sqlite:state.db"\noutage = "pray"',
        'router.toml:8: router.outage: must be "strict" (spend nothing while the store is away) or "share"',
    ),
    "a share of nobody knows how many": (
        GOOD + '[router]\nstore = "sqlite:state.db"\noutage = "share"',
        'router.toml:6: router.processes: is missing: with outage = "share", how many processes use this store?',
    ),
    "processes that share nothing": (
        GOOD + '[router]\nstore = "sqlite:state.db"\nprocesses = 4',
        'router.toml:8: router.processes: counts only with outage = "share"',
    ),
    "an outage of this process": (
        GOOD + '[router]\noutage = "share"\nprocesses = 4',
        'router.toml:7: router.outage: "memory:" is never away: leave it out',
    ),
    "a slow start of nothing": (
        GOOD + "[router]\nslow_start = 0",
        "router.toml:7: router.slow_start: must be a whole number of at least 1",
    ),
    "a stretch below what is configured": (
        GOOD + "[router]\nstretch = 0.5",
        "router.toml:7: router.stretch: must be from 1 (never above what is configured) to 100",
    ),
    "a foreign table that is no table": (
        "simulation = 1\n" + GOOD,
        "router.toml:1: simulation: must be a table, not a number",
    ),
    "nested too deeply": (
        "x = " + "[" * 100_000,
        "router.toml: is nested too deeply",
    ),
    "a number of 5000 digits": (
        f"x = {'1' * 5_000}",
        "router.toml: holds a number of thousands of digits",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_one_line_with_file_line_key_and_cure(tmp_path: Path, name: str) -> None:
    """The message says where the defect stands, what it is and, where that is not plain, what to do."""
    text, expected = DEFECTS[name]
    assert problem(tmp_path, text) == expected


def test_a_secret_or_a_password_is_never_repeated(tmp_path: Path) -> None:
    """What might be a secret does not show in the message that refuses it."""
    for name in (
        "a secret in the file",
        "a variable that cannot be one",
        "a password in the URL",
        "a store that nobody knows",
        "a password in the file",
    ):
        message = problem(tmp_path, DEFECTS[name][0])
        assert "AIza" not in message
        assert "secret@" not in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message starts with the path that was asked for."""
    with pytest.raises(ConfigError, match=r"missing\.toml: there is no such file$"):
        load_config(tmp_path / "missing.toml")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    """A folder is refused with the cure."""
    with pytest.raises(ConfigError, match=r"is a directory: name the TOML file in it$"):
        load_config(tmp_path)


def test_a_path_that_no_system_opens_is_refused() -> None:
    """A NUL in a path is a ConfigError of one line like everything else."""
    with pytest.raises(ConfigError, match="cannot be read: ") as caught:
        load_config("router\0.toml")
    assert str(caught.value).isprintable()


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    """Latin-1 and the like are refused at the first line that shows it."""
    path = tmp_path / "router.toml"
    path.write_bytes(b'[models.m]\nid = "caf\xe9"\n')
    with pytest.raises(ConfigError, match=r"router\.toml:2: is not UTF-8: save it in that encoding$"):
        load_config(path)


def test_a_file_over_a_megabyte_is_no_configuration(tmp_path: Path) -> None:
    """A file named by mistake is refused before it is parsed."""
    with pytest.raises(ConfigError, match=r"router\.toml: is larger than 1 MB: that is no configuration$"):
        load_config(written(tmp_path, GOOD + "#" * 1_000_000))


def test_a_file_of_exactly_a_megabyte_is_read(tmp_path: Path) -> None:
    """The limit is a megabyte, not a byte less."""
    assert load_config(written(tmp_path, GOOD + "#" * (1_000_000 - len(GOOD)))).tiers


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    """A text of any length makes a line that fits a screen."""
    assert len(problem(tmp_path, f'[models.m]\n[tiers.t]\nchain = ["{"m" * 100_000}"]')) < 200
    assert len(problem(tmp_path, f'[models.m]\nlimits = {{ refill = "{"m" * 100_000}" }}')) < 500
    assert len(problem(tmp_path, f'[models."{"m" * 100_000}"]\nid = 5')) < 200


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    """What an editor on Windows writes loads like any other file, and lines are counted alike."""
    path = tmp_path / "router.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_config(path).tiers == (Tier("hot", ["flash"]),)
    path.write_bytes(GOOD.replace("\n", "\r\n").encode() + b"weight = 0\r\n")
    with pytest.raises(ConfigError, match=r"router\.toml:6: "):
        load_config(path)


def test_keys_can_be_left_for_later(tmp_path: Path) -> None:
    """Without `require_keys` a file loads whose variables are not set; `check_keys` asks for them afterwards."""
    path = written(tmp_path, WHOLE)
    config = load_config(path, {}, require_keys=False)
    with pytest.raises(ConfigError, match=r"router\.toml:9: models\.flash\.key: .* GEMINI_API_KEY is not set"):
        check_keys(config, {"GEMINI_API_KEY": "  "})
    check_keys(config, {"GEMINI_API_KEY": "x"})


def test_tables_of_others_must_be_announced(tmp_path: Path) -> None:
    """A table that no command and no caller owns is a mistake; an announced one is handed through as it stands."""
    text = GOOD + "[mine]\nx = { y = [1] }\n"
    assert problem(tmp_path, text).startswith("router.toml:6: mine: there is no such key")
    config = load_config(written(tmp_path, text), {}, known_tables=("mine",))
    assert config.tables == {"mine": {"x": {"y": [1]}}}


def test_an_installed_command_owns_the_table_of_its_name(tmp_path: Path) -> None:
    """`[extract]` belongs to the command `extract`, which need not be loaded for that."""
    assert load_config(written(tmp_path, GOOD + "[extract]\nmix = 5\n")).tables == {"extract": {"mix": 5}}


def test_a_name_with_line_breaks_stays_on_one_line(tmp_path: Path) -> None:
    """Names are the user's: whatever they hold, the message has no line break in it."""
    message = problem(tmp_path, '["models"."a\\nb\\u2028"]\nid = 5\n')
    assert message == 'router.toml:1: models."a\\nb\\u2028".id: must be text, not a number'.replace("toml:1", "toml:2")


def test_a_configuration_cannot_be_changed() -> None:
    """It is a value: neither its fields nor its tables can be assigned to."""
    config = parse_config({"models": {"m": {}}, "tiers": {"t": {"chain": ["m"]}}, "simulation": {}})
    with pytest.raises(AttributeError):
        config.store = "other:"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.tables["x"] = {}  # type: ignore[index]


WORDS = st.sampled_from(
    """
    models pools tiers router simulation flash lite chain patience weight limits rpm input_tpm rpd concurrency refill
    amount per burst resets key provider id base_url options fallback store slow_start stretch memory: env:X rolling
    calendar day minute inf 5s https://x 00:00
    """.split()  # noqa: SIM905 -- forty words read better so
)
SCALARS = st.one_of(
    WORDS,
    st.text(max_size=5),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**400),
    st.floats(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.just(datetime.UTC)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def table_of(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A table in which each known key is absent, plausible, or anything."""
    return st.fixed_dictionaries({}, optional={name: plausible | VALUES for name, plausible in known.items()})


NUMBERS = st.integers(1, 500) | st.floats(1, 1e6)
REFILLS = st.sampled_from(["continuous", "rolling", "calendar"])
LIMIT = NUMBERS | table_of(
    amount=NUMBERS, per=st.sampled_from(["day", 5]), refill=REFILLS, burst=NUMBERS, resets=st.just("09:00 UTC")
)
LIMITS = table_of(rpm=LIMIT, input_tpm=LIMIT, rpd=LIMIT, concurrency=st.integers(1, 5), refill=REFILLS)
NAMES = st.sampled_from(["flash", "lite"])
MODEL = table_of(provider=st.just("x"), key=st.just("env:X"), limits=LIMITS, pools=st.just([]), options=st.just({}))
TIER = table_of(chain=st.lists(NAMES | st.lists(NAMES, max_size=2), max_size=2), patience=NUMBERS, weight=NUMBERS)
DOCUMENT = table_of(
    models=st.dictionaries(NAMES, MODEL, min_size=1),
    pools=st.dictionaries(NAMES, table_of(limits=LIMITS)),
    tiers=st.dictionaries(NAMES, TIER, min_size=1),
    router=table_of(fallback=NAMES, store=st.just("memory:"), slow_start=st.integers(1, 9)),
    simulation=table_of(seed=VALUES),
)


@given(DOCUMENT | st.dictionaries(WORDS, VALUES, max_size=4))
def test_any_document_is_a_configuration_or_a_config_error(document: dict[str, Any]) -> None:
    """Whatever TOML can say either loads or is refused in one line; nothing else is ever raised."""
    loaded = outcome(lambda: parse_config(document, "router.toml"))
    if isinstance(loaded, ConfigError):
        assert str(loaded).startswith("router.toml: ")
        assert str(loaded).isprintable()
    else:
        names = {model.name for model in loaded.models}
        assert names
        assert loaded.tiers
        assert all(name in names for tier in loaded.tiers for step in tier.chain for name in step)


LINES = st.sampled_from(
    [*WHOLE.splitlines(), "", "[[models]]", "'''", '"""', "a.b.c = [", "]", '"x\\u0000y" = 1', "= 5", "{"]
)


@given(st.lists(LINES | st.text(max_size=20), max_size=12).map("\n".join))
def test_any_text_is_a_configuration_or_a_config_error(source: str) -> None:
    """Files of shuffled lines and noise are refused with a line that exists, or load."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.toml"
        path.write_bytes(source.encode("utf-8", "surrogatepass"))
        loaded = outcome(lambda: load_config(path, {}))
    if isinstance(loaded, ConfigError):
        assert str(loaded).isprintable()
        assert loaded.line is None or 1 <= loaded.line <= source.count("\n") + 1
