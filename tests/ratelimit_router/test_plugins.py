"""Providers and commands of other distributions, found by their entry points."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratelimit_router import plugins
from ratelimit_router.errors import ConfigError

ENTRY_POINTS = """\
[ratelimit_router.providers]
fine = plugin_fine:Provider
absent = plugin_missing:Provider
needy = plugin_needy:Provider
broken = plugin_broken:Provider
nameless = plugin_fine:Nothing
number = plugin_fine:NUMBER

[ratelimit_router.commands]
dance = plugin_broken:dance
"""


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution named `stranger` is installed, with good and bad plugins."""
    info = tmp_path / "stranger-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "plugin_fine.py").write_text("class Provider: pass\nNUMBER = 5\n")
    (tmp_path / "plugin_needy.py").write_text("import an_sdk_that_nobody_has\n")
    (tmp_path / "plugin_broken.py").write_text("raise RuntimeError('out\\nof order')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._entry_points.cache_clear()
    yield
    plugins._entry_points.cache_clear()
    for name in ("plugin_fine", "plugin_needy", "plugin_broken"):
        sys.modules.pop(name, None)


def test_a_provider_is_found_by_name() -> None:
    """An installed provider comes back as its class, not as an instance."""
    found = plugins.provider_class("fine")
    assert found is not None
    assert found.__name__ == "Provider"
    assert found.__module__ == "plugin_fine"


def test_a_provider_that_is_not_installed_is_none() -> None:
    """That is no error: a model without an installed provider can be routed."""
    assert plugins.provider_class("nobody") is None


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("absent", r"ModuleNotFoundError: No module named 'plugin_missing'"),
        ("needy", r"it needs the module an_sdk_that_nobody_has; install it with the extra stranger\[needy\]"),
        ("broken", r"RuntimeError: out of order"),
        ("nameless", r"AttributeError: .*Nothing.*"),
    ],
)
def test_a_broken_provider_names_its_distribution(name: str, cause: str) -> None:
    """The message says whose plugin it is and why it cannot be loaded, in one line."""
    with pytest.raises(ConfigError, match=rf"^stranger 1\.2 \(plugin_\w+:\w+\) cannot be loaded as '{name}': {cause}$"):
        plugins.provider_class(name)


def test_a_provider_that_cannot_be_called_is_refused() -> None:
    """An entry point that names a value instead of a class is told apart at once."""
    with pytest.raises(ConfigError, match=r"the provider 'number' of stranger 1\.2 .* is not a class, but int"):
        plugins.provider_class("number")


def test_listing_loads_nothing() -> None:
    """Names are known without an import, so a broken plugin disturbs nobody who does not use it."""
    assert {"fine", "broken", "gemini"} <= set(plugins.providers())
    assert {"dance", "extract"} <= set(plugins.commands())
    assert "plugin_broken" not in sys.modules


def test_the_metadata_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look-up does not ask the installed distributions again."""
    plugins.providers()
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: pytest.fail("read again"))
    assert "fine" in plugins.providers()


def test_what_is_found_is_read_only() -> None:
    """The mapping cannot be changed by those who get it."""
    with pytest.raises(TypeError):
        plugins.providers()["x"] = None  # type: ignore[index]
