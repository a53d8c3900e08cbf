"""What importing the router loads, and that every name is there nevertheless."""

import ast
import importlib
import inspect
import pickle
import subprocess
import sys
from types import ModuleType

import pytest

import ratelimit_router
from ratelimit_router import simulation

HEAVY = {
    "datetime",
    "zoneinfo",
    "difflib",
    "random",
    "importlib.metadata",
    "scipy",
    "tomllib",
    "click",
    "prometheus_client",
    "ratelimit_router.events",
    "ratelimit_router.guidance",
    "ratelimit_router.headers",
    "ratelimit_router.messages",
    "ratelimit_router.planner",
    "ratelimit_router.resets",
    "ratelimit_router.snapshot",
}
"""Needed by some routers only, each for something of its own."""


def loaded(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after asyncio and this."""
    program = f"import asyncio, sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


def test_the_package_alone_loads_nothing() -> None:
    """Only what it takes to import the rest, until a name is asked for."""
    found = {name for name in loaded("import ratelimit_router") if name.startswith("ratelimit_router")}
    assert found == {"ratelimit_router", "ratelimit_router.exports"}


def test_a_router_loads_what_every_router_needs() -> None:
    """What makes a router and its configuration, and nothing that most of them never use."""
    found = loaded("from ratelimit_router import Limits, Model, Router, Tier")
    assert "ratelimit_router.router" in found
    assert not HEAVY & found


PUBLIC = [(package, name) for package in (ratelimit_router, simulation) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_every_public_name_is_there(package: ModuleType, name: str) -> None:
    """By attribute, by `import *`, in `dir`; and it is the same each time."""
    assert getattr(package, name) is getattr(package, name)
    everything: dict[str, object] = {}
    exec(f"from {package.__name__} import *", everything)
    assert everything[name] is getattr(package, name)
    assert name in dir(package)


@pytest.mark.parametrize("package", [ratelimit_router, simulation])
def test_what_type_checkers_see_is_what_there_is(package: ModuleType) -> None:
    """The imports that only they read name the same objects, from the same modules."""
    tree = ast.parse(inspect.getsource(package))
    seen = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    paths = {alias.name: f"{node.module}.{alias.name}" for node in seen for alias in node.names}
    names = {name: path for name, path in paths.items() if path.startswith("ratelimit_router") and name != "lazily"}
    assert set(names) - {"PrometheusMetrics", "RedisStore", "StructlogObserver"} == set(package.__all__)
    for name, path in names.items():
        module, _, attribute = path.rpartition(".")
        found = getattr(package, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert path == f"{found.__module__}.{found.__qualname__}"
        else:
            assert found is getattr(importlib.import_module(module), attribute)


def test_a_name_that_is_none_is_refused() -> None:
    """As by any module."""
    with pytest.raises(AttributeError, match="module 'ratelimit_router' has no attribute 'Roter'"):
        ratelimit_router.Roter  # noqa: B018


def test_public_values_pickle_by_their_modules() -> None:
    """A fresh process finds the class again, though nothing is loaded there yet."""
    data = pickle.dumps(ratelimit_router.Limits(rpm=3))
    program = f"import pickle; print(pickle.loads({data!r}).rpm)"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "3\n"
