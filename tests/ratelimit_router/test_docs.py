"""What the documentation shows as a configuration is one, and what it lists is all there is."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from ratelimit_router import config as configuration
from ratelimit_router.config import load_config, parse_config
from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import Limit, Limits
from ratelimit_router.toml_file import parse_toml

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "configuration.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```toml\n(# router\.toml\n.*?)^```", re.MULTILINE | re.DOTALL)

BLOCKS = [(page, block) for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("page", "block"), BLOCKS, ids=[f"{page.relative_to(ROOT)}-{place}" for place, (page, _) in enumerate(BLOCKS)]
)
def test_every_configuration_in_the_documentation_loads(page: Path, block: str) -> None:
    """A TOML block that begins with `# router.toml` is a whole configuration, without its keys."""
    config = parse_config(parse_toml(block, str(page)), str(page), source=block)
    assert config.models
    assert config.tiers


def test_the_reference_has_examples() -> None:
    """The pattern above does find the blocks of the reference."""
    assert sum(page == REFERENCE for page, _ in BLOCKS) >= 5


def test_the_reference_names_every_key() -> None:
    """Each key that the loader accepts has a row in the reference, and no row names a key that it refuses."""
    listed = set(re.findall(r"^\| `(\w+)` \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    limits = {each.name for each in fields(Limits)} | {each.name for each in fields(Limit)}
    tiers = {"chain", "patience", "weight"}
    router = {"fallback", "store", "outage", "processes", "slow_start", "guard", "stretch"}
    assert listed == set(configuration._MODEL) | limits | tiers | router


def test_the_defect_in_the_reference_is_a_real_one() -> None:
    """The message that the reference shows is what a file with that defect says."""
    source = "\n" * 9 + '[models.flash]\n[tiers.hot]\nchain = ["flahs"]\n'
    with pytest.raises(ConfigError) as caught:
        parse_config(parse_toml(source, "router.toml"), "router.toml", source=source)
    assert f"\n{caught.value}\n" in REFERENCE.read_text(encoding="utf-8")


def test_the_example_loads() -> None:
    """The file that the README runs is right."""
    config = load_config(ROOT / "examples" / "router.toml", {}, require_keys=False)
    assert len(config.tiers) == 3
