"""A scenario comes out of its file as it went in; every defect is one line that says where and what to do."""

import json
import re
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import QUOTAS
from ratelimit_router.simulation import scenario_readers
from ratelimit_router.simulation.families import FAMILIES, family
from ratelimit_router.simulation.lab import play
from ratelimit_router.simulation.mirror import mirror_account, mirror_service
from ratelimit_router.simulation.policies import greedy
from ratelimit_router.simulation.quota import QuotaRule
from ratelimit_router.simulation.scenario import Account, Change, Distribution, Load, Scenario, Trouble
from ratelimit_router.simulation.scenario_file import PACKAGED, dump_scenario, load_scenario, parse_scenario
from ratelimit_router.simulation.shrinking import shrink
from ratelimit_router.simulation.weather import random_scenario

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference" / "scenarios.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"^```toml\n(# storm\.toml\n.*?)^```", REFERENCE, re.MULTILINE | re.DOTALL)
assert EXAMPLE is not None
STORM = EXAMPLE[1]

ROUTER = """\
[models.pro]
key = "env:A_KEY_THAT_IS_NOT_SET"
limits = { rpm = 10, rpd = { amount = 100, refill = "calendar" } }
pools = ["account"]
[pools.account]
limits = { rpm = 8 }
[tiers.hot]
chain = ["pro"]
"""
HEAD = "[scenario]\nversion = 1\n"
LOAD = '[[load]]\ntier = "hot"\ntasks = 2\n'


def parsed(source: str) -> Scenario:
    """The scenario of a TOML text."""
    return parse_scenario(tomllib.loads(source), "storm.toml", source=source)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(min_value=0))
def test_whatever_is_written_is_read_again(seed: int) -> None:
    """Exactly, for random weather."""
    scenario = random_scenario(seed)
    assert parsed(dump_scenario(scenario)) == scenario


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_read_as_they_were_written(name: str) -> None:
    """Exactly, and as JSON, too."""
    scenario = family(name, 1_001)
    text = dump_scenario(scenario)
    assert parsed(text) == scenario
    assert parse_scenario(json.loads(json.dumps(tomllib.loads(text)))) == scenario


@pytest.mark.parametrize("seed", range(8))
def test_shrunk_scenarios_are_read_as_they_were_written(seed: int) -> None:
    """Exactly, on every step of the way down."""

    def fails(scenario: Scenario) -> bool:
        return parsed(dump_scenario(scenario)) == scenario

    assert len(shrink(random_scenario(seed), fails).tasks()) == 1


def test_the_order_of_services_and_accounts_is_kept() -> None:
    """Also where it is not that of models and pools, and where an account is no pool or not drawn on."""
    scenario = family("pooled", 3)
    accounts = (Account(name="hidden"), *scenario.accounts, Account(name="idle", concurrency=3))
    first = replace(scenario.services[0], accounts=("hidden",))
    turned = replace(scenario, services=(*scenario.services[1:], first), accounts=accounts)
    assert parsed(dump_scenario(turned)) == turned
    unused = replace(turned, services=tuple(replace(service, accounts=()) for service in turned.services))
    assert parsed(dump_scenario(unused)) == unused


def test_only_what_matters_is_written() -> None:
    """Services that are as configured, and everything at its default, are left out."""
    text = dump_scenario(parsed(HEAD + LOAD + ROUTER.replace('key = "env:A_KEY_THAT_IS_NOT_SET"\n', "")))
    assert set(tomllib.loads(text)) == {"scenario", "models", "pools", "tiers", "load"}
    assert "KEY" not in text


def test_writing_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing can be installed."""
    monkeypatch.setitem(sys.modules, "tomli_w", None)
    monkeypatch.delitem(sys.modules, "ratelimit_router.simulation.scenario_text", raising=False)
    with pytest.raises(ImportError, match=r"ratelimit-router\[storm\]"):
        dump_scenario(random_scenario(0))


def test_a_router_is_a_scenario_with_loads_of_the_callers(tmp_path: Path) -> None:
    """Its services are what it was told, its name is the file's, and its keys are left alone."""
    path = tmp_path / "router.toml"
    path.write_text(ROUTER, encoding="utf-8")
    loads = [Load(tier="hot", tasks=5)]
    scenario = load_scenario(path, loads=loads)
    (model,) = scenario.models
    assert scenario.name == "router"
    assert scenario.services == (mirror_service(model),)
    assert scenario.accounts == tuple(map(mirror_account, scenario.pools))
    assert scenario.loads == tuple(loads)
    assert model.key is None
    assert all(task.done for task in play(scenario, greedy).tasks)


def test_the_example_of_the_router_is_one() -> None:
    """The file that the README runs, with its provider and tables of commands."""
    scenario = load_scenario(ROOT / "examples" / "router.toml", loads=[Load(tier="hot", tasks=5)])
    assert {rule.period for service in scenario.services for rule in service.quotas} == {5.0}


def test_the_example_of_the_reference_says_what_it_seems_to() -> None:
    """Every table of it, as values."""
    scenario = parsed(STORM)
    large, small = scenario.services
    assert [(rule.name, rule.amount, rule.window) for rule in large.quotas] == [
        ("rpm", 30.0, "rolling"),
        ("input_tpm", 200_000.0, "rolling"),
    ]
    assert large.latency == Distribution(median=1.5, sigma=0.4, most=20.0)
    assert large.changes == (Change(at=300.0, factor=0.6), Change(at=600.0, factor=1))
    assert large.troubles == (Trouble(kind="overloaded", start=120.0, end=180.0, seconds=10.0),)
    assert (large.hint, large.tells, large.accounts) == ("short", "quota", ("account",))
    assert small.quotas == (QuotaRule(name="rpm", amount=100, window="fixed"),)
    assert (small.concurrency, small.latency) == (3, Distribution(median=0.8))
    assert scenario.accounts == (Account(name="account", quotas=(QuotaRule(name="rpm", amount=140),)),)
    assert (scenario.start, scenario.horizon, scenario.guard) == (1_790_064_000.0, 7_200.0, 0.1)
    assert scenario.loads[1] == Load(
        tier="bulk", tasks=300, arrive="poisson", start=60.0, over=300.0, timeout=600.0, priority=-1
    )
    assert all(task.done for task in play(scenario, greedy).tasks)


def test_the_reference_names_every_key() -> None:
    """Each key that a file may have has a row, and no row names another."""
    listed = {
        name
        for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", REFERENCE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    tables = [held for name, held in vars(scenario_readers).items() if name.isupper() and isinstance(held, dict)]
    read = {key for table in tables for key in table} | {each.name for each in fields(Distribution)}
    assert listed == read - set(QUOTAS) - {"at"}  # as for the router; of changes, which stand in one row


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_scenarios_can_be_weathered(name: str) -> None:
    """Each loads under its own name, has something to say, and the router brings nearly all of it home in time."""
    scenario = load_scenario(PACKAGED[name])
    assert scenario.name == name
    assert scenario.about
    run = play(scenario, greedy)
    assert sum(task.done for task in run.tasks) > 0.99 * len(run.tasks)
    assert run.makespan < 1_200


def test_there_are_packaged_scenarios() -> None:
    """By the names that the reference tells."""
    assert set(PACKAGED) == {"busy-key", "gemini-free-tier", "morning-outage"}
    assert all(name in REFERENCE for name in PACKAGED)


def test_a_json_file_is_read_by_the_same_checker(tmp_path: Path) -> None:
    """Values and defects alike; a defect has no line."""
    path = tmp_path / "storm.json"
    document = tomllib.loads(ROUTER + LOAD) | {"scenario": {"version": 1, "start": "2026-09-22T08:00:00Z"}}
    path.write_text(json.dumps(document), encoding="utf-8")
    assert load_scenario(path).start == 1_790_064_000.0
    path.write_text(json.dumps(document | {"load": [{"tier": "cold", "tasks": 1}]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"storm\.json: load\.0\.tier: no tier is called 'cold'"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "storm.json:1: this is not JSON: "),
        ("[]", "storm.json: must be an object"),
        ("[" * 100_000, "storm.json: is nested too deeply"),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """In one line."""
    path = tmp_path / "storm.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\A[^\n]+\Z") as caught:
        load_scenario(path)
    assert told in str(caught.value)


GOOD = HEAD + LOAD
PRO = GOOD + "[services.pro]\n"
DEFECTS = [
    (LOAD, "scenario.version: must be 1, the version of this form of scenarios"),
    (HEAD, "load: there is none: add [[load]] with a tier and a number of tasks"),
    ("load = []\n" + HEAD, "load: there is none: nobody asks for anything"),
    ("load = 3\n" + HEAD, "load: must be a list of tables, [[load]], not a number"),
    ("load = [3]\n" + HEAD, "load.0: must be a table, not a number"),
    ("[scenario]\nversion = 2\n" + LOAD, "scenario.version: must be 1, the version of this form of scenarios"),
    (HEAD + "sead = 3\n" + LOAD, "scenario.sead: there is no such key: did you mean 'seed'?"),
    (HEAD + "seed = 1.5\n" + LOAD, "scenario.seed: must be a whole number"),
    (HEAD + "name = 3\n" + LOAD, "scenario.name: must be text, not a number"),
    (HEAD + 'horizon = "long"\n' + LOAD, "scenario.horizon: must be a duration such as"),
    (HEAD + "horizon = inf\n" + LOAD, "scenario.horizon: must be finite"),
    (HEAD + 'start = "noon"\n' + LOAD, "scenario.start: must be a date and time such as"),
    (HEAD + "start = 2026-09-22T08:00:00\n" + LOAD, "scenario.start: must say its offset"),
    (HEAD + "start = 2026-09-22\n" + LOAD, "scenario.start: must be a number, not a date or time"),
    (GOOD + "tier = 3\n", "this is not TOML"),
    (HEAD + '[[load]]\ntier = "hot"\n', "load.0.tasks: is missing"),
    (GOOD + '[[load]]\ntier = "hto"\ntasks = 1\n', "load.1.tier: no tier is called 'hto'"),
    (GOOD + "priority = true\n", "load.0.priority: must be a whole number"),
    (GOOD + 'arrive = "late"\nover = 3\n', "load.0.arrive: must be one of at once, poisson, evenly, not 'late'"),
    (GOOD + "input_tokens = { sigma = 1 }\n", "load.0.input_tokens.median: is missing"),
    (GOOD + 'input_tokens = "5s"\n', "load.0.input_tokens: must be a number, not text"),
    (GOOD + "estimate = { median = 1, tail = 0 }\n", "load.0.estimate.tail: must be a finite number above 0"),
    (GOOD + "[network]\njitter = -1\n", "network.jitter: must be 0 or more seconds"),
    (GOOD + '[network]\nclock_offset = "x"\n', "network.clock_offset: must be a duration"),
    (GOOD + "[netwrok]\njitter = 1\n", "netwrok: there is no such key: did you mean 'network'?"),
    (GOOD + "[services.por]\n", "services.por: no model is called 'por': did you mean 'pro'?"),
    (GOOD + "[services]\npro = 3\n", "services.pro: must be a table, not a number"),
    (
        PRO + "factor = 2\nlimits = { rpm = 3 }\n",
        "services.pro.factor: goes with the",
    ),
    (
        PRO + "limits = { rmp = 3 }\n",
        "services.pro.limits.rmp: there is no such key: did you",
    ),
    (GOOD + "[services.pro.limits]\nrpm = { period = 3 }\n", "services.pro.limits.rpm.amount: is missing"),
    (
        PRO + "limits = { rpm = { amount = 3, burst = 3 } }\n",
        "services.pro.limits.rpm.burst: only a",
    ),
    (PRO + 'limits = { rpm = "3" }\n', "services.pro.limits.rpm: must be a number, not text"),
    (
        PRO + "concurrency = true\n",
        "services.pro.concurrency: must be a number, not true",
    ),
    (
        PRO + "charge_refused = 1\n",
        "services.pro.charge_refused: must be true or false",
    ),
    (PRO + 'accounts = ["acount"]\n', "services.pro.accounts: no account is called 'acount'"),
    (
        GOOD + '[[services.pro.troubles]]\nkind = "sad"\n',
        "services.pro.troubles.0.kind: must be one of",
    ),
    (GOOD + "[[services.pro.changes]]\nat = 3\n", "services.pro.changes.0.factor: is missing"),
    (
        GOOD + "[accounts.account]\nlatency = 3\n",
        "accounts.account.latency: there is no such key",
    ),
    (GOOD + "[accounts.account]\nfactor = -1\n", "accounts.account.factor: must not be negative"),
    (GOOD + '[models.flash]\nlimits = { rpm = "3" }\n', "models.flash.limits.rpm: must be a number or a table"),
]


@pytest.mark.parametrize(("text", "told"), DEFECTS, ids=range(len(DEFECTS)))
def test_a_defect_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    """File, key, problem and cure."""
    path = tmp_path / "storm.toml"
    path.write_text(text + ROUTER, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_scenario(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("mine", "line", "told"),
    [
        ('tier = "hto"', 15, "load.1.tier"),
        ("tasks = 0", 16, "load.1.tasks"),
        ('kind = "sad"', 20, "services.pro.troubles.1.kind"),
        ("rate = 2", 21, "services.pro.troubles.1.rate"),
        ("latency = -1", 23, "services.pro.latency"),
    ],
)
def test_a_defect_names_its_line(mine: str, line: int, told: str) -> None:
    """Also within the second table of a list."""
    lines = (ROUTER + HEAD + LOAD).splitlines()[:13]
    lines += ["[[load]]", 'tier = "hot"', "tasks = 1", "[[services.pro.troubles]]", 'kind = "silent"']
    lines += ["[[services.pro.troubles]]", 'kind = "silent"', "rate = 1", "[services.pro]", "latency = 1"]
    assert lines[10] == "[[load]]"
    lines[line - 1] = mine
    source = "\n".join([*lines[:16], *lines[16:]])
    with pytest.raises(ConfigError) as caught:
        parsed(source)
    assert (caught.value.line, caught.value.key) == (line, told)


def test_the_defects_in_the_reference_are_real_ones() -> None:
    """The messages that it shows are what files with those defects say."""
    models = '[models.large]\n[tiers.bulk]\nchain = ["large"]\n'
    first = models + HEAD + '[[load]]\ntier = "bulk"\ntasks = 1\n\n[[load]]\n\ntier = "blk"\ntasks = 1\n'
    second = "[scenario]\nversion = 1\n[services.large]\nhint = 'shrt'\n" + LOAD.replace("hot", "bulk") + models
    for source in (first, second):
        with pytest.raises(ConfigError) as caught:
            parsed(source)
        assert f"\n{caught.value}\n" in REFERENCE
