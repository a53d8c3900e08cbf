"""Packages whose names are imported when they are first asked for, so that nobody pays for what is not used."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

__all__ = ["lazily"]


def lazily(
    namespace: "dict[str, Any]", homes: "Mapping[str, Collection[str]]"
) -> "tuple[Callable[[str], object], Callable[[], list[str]]]":
    """`__getattr__` and `__dir__` of the package with that `namespace`; `homes`: which of its modules defines what."""

    def find(name: str) -> object:
        from importlib import import_module

        package = namespace["__name__"]
        for home, names in homes.items():
            if name in names:
                module = import_module(f"{package}.{home}")
                value = namespace[name] = module if name == home else getattr(module, name)
                return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted({*namespace, *namespace["__all__"]})
