"""The command `ratelimit-router`. Nothing heavier than this module is imported before it is known to be installed."""

import sys

__all__ = ["main"]

_NEEDED = ("click", "rich")


def main() -> None:
    """The entry point of the console script: runs the command line, or says which extra is missing (exit status 2)."""
    try:
        from ratelimit_router.cli.program import program
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write(
            f"ratelimit-router: the command line needs {error.name}: pip install 'ratelimit-router[cli]'\n"
        )
        raise SystemExit(2) from None
    program(prog_name="ratelimit-router")
