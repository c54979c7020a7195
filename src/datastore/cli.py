"""The command `datastore`.

Each command calls one function of the control plane and prints its result; the commands are in `datastore.commands`. A
command's module is imported when the command runs. The list of commands is generated from the modules.
"""

from importlib import import_module
from typing import Any

import click

from datastore import config
from datastore.commands.summaries import SUMMARIES
from datastore.errors import ControlError, UnsupportedServer
from mds_client import __version__
from mds_client.console import guarded, summarised


class _Commands(click.Group):
    """A group that imports a command when it is called, and explains the database's errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return sorted(SUMMARIES)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as click calls it
        if cmd_name not in SUMMARIES:
            return None
        module = import_module(f"datastore.commands.{SUMMARIES[cmd_name].module}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return summarised(command) if isinstance(command, click.Group) else command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name].text) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        from datastore.commands.failures import explained  # imports the driver, which help does without

        with explained(ctx):
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="datastore")
def datastore() -> None:
    """Set up and run a market-data store: an embedded server, migrations, tenants."""


def command_line() -> click.Group:
    """Return `datastore` with every command imported."""
    datastore.commands = {name: command for name in SUMMARIES if (command := datastore.get_command(None, name))}
    return datastore


main = guarded(lambda: datastore, ControlError, UnsupportedServer, config.SettingsError)

if __name__ == "__main__":
    main()
