"""Configuration to setup: what stands in the file, what the command line changes, when the service is embedded."""

from pathlib import Path

import pytest

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import Limit, Limits
from ratelimit_router.models import Model
from ratelimit_router.toml_tables import Table
from ratelimit_router_extraction.preparation import load_domains, load_setup, providers_of
from ratelimit_router_extraction.service import (
    check_simulated,
    needs_simulation,
    redirected,
    service_config,
    simulation_of,
)
from ratelimit_router_extraction.settings import numbers_of, pairs_of, seconds_of, shares_of

BASE = """\
[models.pro]
provider = "gemini"
key = "env:GEMINI_API_KEY"
limits = { rpm = 10 }

[models.lite]
provider = "gemini"

[tiers.hot]
chain = ["pro"]

[tiers.bulk]
chain = ["lite"]

"""


def config(folder: Path, more: str = "") -> str:
    path = folder / "router.toml"
    path.write_text(BASE + more)
    return str(path)


def test_packaged_configuration_is_whole_and_always_simulated() -> None:
    """Without a file it just works, and never calls a real service, whatever keys are set."""
    setup = load_setup(None, {}, environ={"GEMINI_API_KEY": "secret"})
    assert setup.simulation is not None
    assert setup.settings.tiers == ("hot", "standard", "bulk")
    assert setup.settings.mix == {"hot": 5, "standard": 3, "bulk": 2}


def test_file_settings_and_domains_beside_it(tmp_path: Path) -> None:
    """Durations as people write them; the domain table is looked for beside the configuration."""
    (tmp_path / "d.toml").write_text("default = 0.2\n[domains]\nexample.org = 1\n")
    more = '[extract]\ndomains = "d.toml"\nstagger = "250ms"\ncuts = [0.6]\nmap = { text = "Body" }\n'
    setup = load_setup(config(tmp_path, more), {}, environ={})
    assert (setup.settings.stagger, setup.settings.cuts.at) == (0.25, (0.6,))
    assert setup.settings.columns == {"text": "Body"}
    assert setup.domains.look_up("example.org") == (1.0, "example.org")


def test_command_line_is_stronger_than_the_file(tmp_path: Path) -> None:
    """Quantiles on the command line also replace cuts in the file."""
    path = config(tmp_path, "[extract]\nbatch_size = 3\ncuts = [0.6]\n")
    settings = load_setup(path, {"quantiles": [0.2], "batch_size": 7}, environ={}).settings
    assert (settings.cuts.by, settings.cuts.at, settings.batch_size) == ("quantile", (0.2,), 7)


def test_with_its_key_the_real_service_is_called(tmp_path: Path) -> None:
    """With a key and a file: no simulation, unless the file or the command line wants it."""
    environ = {"GEMINI_API_KEY": "secret"}
    assert load_setup(config(tmp_path), {}, environ=environ).simulation is None
    assert load_setup(config(tmp_path), {}, simulate=True, environ=environ).simulation is not None
    assert load_setup(config(tmp_path, "[simulation]\nalways = true\n"), {}, environ=environ).simulation is not None
    assert load_setup(config(tmp_path), {}, environ={}).simulation is not None


def test_one_of_several_keys_missing_is_an_error(tmp_path: Path) -> None:
    """Some keys set means that the real service is meant: the missing one is named."""
    with pytest.raises(ConfigError, match=r"models\.pro\.key: the environment variable GEMINI_API_KEY is not set"):
        load_setup(config(tmp_path), {}, environ={"GOOGLE_API_KEY": "secret"})


def test_models_of_other_providers_are_never_simulated() -> None:
    """The embedded service speaks Gemini only."""
    other = Model("local", "somebody")
    assert not needs_simulation([other, Model("pro", "gemini")], {})
    with pytest.raises(ConfigError, match=r"models\.local\.provider"):
        check_simulated([other])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("[extract]\nbatch_size = 0\n", "router.toml:16: extract.batch_size: must be a whole number"),
        ("[extract]\nmix = { warm = 1 }\n", "router.toml:16: extract.mix: no tier named 'warm'"),
        ("[extract]\ncuts = [0.6, 0.3]\n", "router.toml:16: extract.cuts: 2 tiers need 1 cuts, not 2"),
        ("[extract]\ncuts = 0.6\n", "router.toml:16: extract.cuts: must be a list"),
        ('[extract]\ncuts = ["x"]\n', "router.toml:16: extract.cuts: must be numbers from 0 to 1"),
        ("[extract]\ncuts = [0.6]\nquantiles = [0.5]\n", "router.toml:17: extract.quantiles: give cuts"),
        ('[extract]\ntiers = ["hot", "warm"]\n', "router.toml:16: extract.tiers: 'warm' must be a tier"),
        ("[extract]\ntimeout = 0\n", "router.toml:16: extract.timeout: must be more than 0"),
        ("[extract]\nwieghts = {}\n", "router.toml:16: extract.wieghts: there is no such key"),
        ("[extract]\nweights = { hotness = 0, goodness = 0 }\n", "router.toml:16: extract.weights"),
        ('[extract]\nmap = { tilte = "T" }\n', "router.toml:16: extract.map.tilte: there is no such key"),
        ('[extract]\ndomains = "none.toml"\n', "none.toml: there is no such file"),
        ("[simulation]\nlimits_factor = 0\n", "router.toml:16: simulation.limits_factor: must be more than 0"),
        ('[simulation]\nalways = "yes"\n', "router.toml:16: simulation.always: must be true or false"),
        ("[simulation]\noutage = { model = 'x', lasts = 1 }\n", "router.toml:16: simulation.outage.model"),
        ("[simulation]\noutage = { model = 'pro' }\n", "router.toml:16: simulation.outage.lasts"),
    ],
)
def test_defect_is_one_line_with_file_line_and_key(tmp_path: Path, more: str, told: str) -> None:
    """Whatever is wrong in the tables that belong to this command."""
    with pytest.raises(ConfigError) as refused:
        load_setup(config(tmp_path, more), {}, environ={})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_defect_on_the_command_line_names_the_option(tmp_path: Path) -> None:
    """Not a key of a file that does not have it."""
    with pytest.raises(ConfigError, match=r"^--mix: no tier named 'warm'"):
        load_setup(config(tmp_path), {"mix": {"warm": 1}}, environ={})


def test_defect_in_the_domain_table_names_its_file(tmp_path: Path) -> None:
    """With the line and the key."""
    path = tmp_path / "d.toml"
    path.write_text('[domains]\n"a.org" = 0.4\n"b.org" = 7\n')
    with pytest.raises(ConfigError, match=r"d\.toml:3: domains\.b\.org: must be from 0 to 1"):
        load_domains(str(path))


def test_provider_that_is_not_installed_is_told() -> None:
    """With those that are."""
    with pytest.raises(ConfigError, match=r"no provider 'nobody' is installed; there are: .*gemini"):
        providers_of([Model("x", "nobody")])


def test_service_mirrors_the_limits_with_its_factor_and_outage() -> None:
    """Half of what is configured, and 503 from after to after + lasts, on that model only."""
    table = {
        "limits_factor": 0.5,
        "latency": {"median": "200ms", "spread": 0.3},
        "outage": {"model": "pro", "after": "3s", "lasts": 4},
        "leeway": 0.05,
    }
    models = [Model("pro", "gemini", "pro-id", limits=Limits(rpm=Limit(10, per=5))), Model("lite", "gemini", "lite-id")]
    service = service_config(models, simulation_of(Table((), table), ["pro", "lite"]))
    assert (service.models["pro-id"].quotas[0].amount, service.models["pro-id"].quotas[0].period) == (5, 5)
    (rule,) = service.models["pro-id"].faults
    assert (rule.fault, rule.start, rule.end) == ("unavailable", 3.0, 7.0)
    assert not service.models["lite-id"].faults
    assert service.models["lite-id"].latency.median == 0.2


def test_redirected_models_keep_everything_but_address_and_key() -> None:
    """Models that share a key still share one, and no real key is left."""
    models = [
        Model("a", "gemini", key="env:K1"),
        Model("b", "gemini", key="env:K1"),
        Model("c", "gemini", key="env:K2"),
    ]
    found = redirected(models, "http://127.0.0.1:9")
    assert [model.api_key() for model in found] == ["simulation-0", "simulation-0", "simulation-1"]
    assert {model.base_url for model in found} == {"http://127.0.0.1:9"}
    assert [model.name for model in found] == ["a", "b", "c"]


def test_values_of_options() -> None:
    """Pairs, numbers, shares and seconds; each mistake names its option."""
    assert pairs_of("id=ArticleID, text = Body", "--map") == {"id": "ArticleID", "text": "Body"}
    assert numbers_of("0.7,0.4", "--cuts") == [0.7, 0.4]
    assert shares_of("hot=5,bulk=2", "--mix") == {"hot": 5, "bulk": 2}
    assert [seconds_of(text, "--stagger") for text in ("0.5", "250ms", "2m", "inf")] == [0.5, 0.25, 120.0, float("inf")]
    for parse, text in (
        (pairs_of, "id"),
        (numbers_of, "x"),
        (shares_of, "hot=x"),
        (shares_of, "hot"),
        (seconds_of, "-1"),
    ):
        with pytest.raises(ConfigError, match=r"^--option: must be"):
            parse(text, "--option")
