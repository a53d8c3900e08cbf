"""The group of all commands: each is imported when it is called, and a broken one disturbs no other."""

import importlib
from typing import Any

import click
import rich  # noqa: F401 -- every command shows tables with it: better missed here than in the middle of one

from ratelimit_router import plugins
from ratelimit_router.errors import ConfigError, RouterError
from ratelimit_router.toml_file import one_line

__all__ = ["program"]

BUILT_IN = {
    "check": "ratelimit_router.cli.check:check",
    "soak": "ratelimit_router.cli.soak:soak",
    "storm": "ratelimit_router.cli.storm:storm",
}
"""The router's own commands; those of other distributions come by entry point."""


class Commands(click.Group):
    """A click group that finds its commands by name and turns errors of ours into one line and an exit status.

    ConfigError: status 2, as for every wrong call; other RouterErrors: status 1.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands; none is imported."""
        return sorted({*BUILT_IN, *plugins.commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now. Raises ConfigError if it is installed and cannot be loaded."""
        if cmd_name in BUILT_IN:
            module, _, name = BUILT_IN[cmd_name].partition(":")
            return _as_command(getattr(importlib.import_module(module), name), cmd_name)
        entry = plugins.commands().get(cmd_name)
        return None if entry is None else _as_command(plugins.load(entry), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line a command; one that cannot be loaded says so instead."""
        width = formatter.width - 6 - max(map(len, self.list_commands(ctx)))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._short_help(ctx, name, width)) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of ours end here, without a traceback."""
        try:
            return super().invoke(ctx)
        except RouterError as error:
            click.echo(one_line(str(error)), err=True)
            ctx.exit(2 if isinstance(error, ConfigError) else 1)

    def _short_help(self, ctx: click.Context, name: str, width: int) -> str:
        try:
            command = self.get_command(ctx, name)
        except ConfigError as error:
            return f"(not available: {one_line(str(error))})"
        return command.get_short_help_str(width) if command else ""


def _as_command(found: object, name: str) -> click.Command:
    if not isinstance(found, click.Command):
        raise ConfigError(f"the command {name!r} is not a click command, but {type(found).__name__}")
    return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ratelimit-router", prog_name="ratelimit-router")
def program() -> None:
    """An embeddable quota scheduler for LLM calls."""
