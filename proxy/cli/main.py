"""The command line: finds the command, and imports it only then, so that every command starts fast."""

import importlib
from collections.abc import Mapping
from typing import Final

import click

from proxy import __version__

COMMANDS: Final[Mapping[str, str]] = {
    "run": "Run the sidecar.",
    "stdio": "Launch an MCP server and stand between it and its client.",
    "demo": "Watch one exchange in each cohort, then keep serving.",
    "bridge": "Run the development Bridge.",
    "check": "Check a configuration file and print what it means.",
    "flags": "Read and change the feature flags of a running sidecar.",
    "keys": "Make, show, replace and revoke the keys by which agents sign.",
    "audit": "Read, check and export the audit trail.",
    "report": "Write a report about a sidecar.",
    "version": "Print the version.",
}
"""Command name to its line in `--help`; the command lives in `proxy.cli.<name>` as `command`."""


class LazyCommands(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the name is click's
        """All commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        """The command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"proxy.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"proxy.cli.{cmd_name}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        """The list in `--help`, without importing what it lists."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="elicit-sidecar")
def main() -> None:
    """Serve legacy waits by elicitation: a proxy beside each agent, agent by agent, percent by percent."""
