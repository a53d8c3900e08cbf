"""What importing the router loads, and that every name is there nevertheless."""

import ast
import inspect
import pickle
import subprocess
import sys

import pytest

import ratelimit_router

HEAVY = {
    "datetime",
    "zoneinfo",
    "difflib",
    "random",
    "importlib.metadata",
    "tomllib",
    "click",
    "prometheus_client",
    "ratelimit_router.events",
    "ratelimit_router.headers",
    "ratelimit_router.messages",
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
    """No module of its own, until a name is asked for."""
    assert {name for name in loaded("import ratelimit_router") if name.startswith("ratelimit_router")} == {
        "ratelimit_router"
    }


def test_a_router_loads_what_every_router_needs() -> None:
    """What makes a router and its configuration, and nothing that most of them never use."""
    found = loaded("from ratelimit_router import Limits, Model, Router, Tier")
    assert "ratelimit_router.router" in found
    assert not HEAVY & found


@pytest.mark.parametrize("name", ratelimit_router.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """By attribute, by `import *`, in `dir`; and it is the same each time."""
    assert getattr(ratelimit_router, name) is getattr(ratelimit_router, name)
    everything: dict[str, object] = {}
    exec("from ratelimit_router import *", everything)
    assert everything[name] is getattr(ratelimit_router, name)
    assert name in dir(ratelimit_router)


def test_what_type_checkers_see_is_what_there_is() -> None:
    """The imports that only they read name the same objects, from the same modules."""
    tree = ast.parse(inspect.getsource(ratelimit_router))
    seen = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    names = {alias.name: f"{node.module}.{alias.name}" for node in seen for alias in node.names if node.module}
    del names["import_module"]
    assert set(names) == {*ratelimit_router.__all__, "PrometheusMetrics", "StructlogObserver"}
    for name, path in names.items():
        found = getattr(ratelimit_router, name)
        assert path == (found.__name__ if inspect.ismodule(found) else f"{found.__module__}.{found.__qualname__}")


def test_a_name_that_is_none_is_refused() -> None:
    """As by any module."""
    with pytest.raises(AttributeError, match="module 'ratelimit_router' has no attribute 'Roter'"):
        ratelimit_router.Roter  # noqa: B018


def test_public_values_pickle_by_their_modules() -> None:
    """A fresh process finds the class again, though nothing is loaded there yet."""
    data = pickle.dumps(ratelimit_router.Limits(rpm=3))
    program = f"import pickle; print(pickle.loads({data!r}).rpm)"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "3\n"
