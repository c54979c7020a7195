"""The command `datastore`, put together.

Each command calls one function of the control plane and prints what it returns; they are in `datastore.commands`.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

import click
import psycopg
from psycopg import errors

from datastore import config
from datastore.commands import options
from datastore.connections import not_the_operators
from datastore.errors import ControlError, UnsupportedServer
from mds_client import __version__
from mds_client.console import guarded, summarised
from mds_client.errors import MDSOperationalError, RLSDenied, mapped

COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "server": ("up", "down", "status", "env"),
    "schema": ("migrate", "stamp-head", "seed", "check", "revision"),
    "tenants": ("tenants", "series", "freshness"),
    "load": ("load", "delete"),
    "policies": ("policies", "aggregates"),
    "cold": ("cold",),
    "backfills": ("gaps", "backfill", "calendars"),
    "jobs": ("worker", "jobs"),
    "service": ("serve", "token"),
}
"""Every command of the first level, by the module of `datastore.commands` that has it."""


class _Commands(click.Group):
    """A group in which the driver's errors become the client's, which say what to do."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except psycopg.Error as error:
            raise _understood(ctx, mapped(error)) from error
        except RLSDenied as error:
            raise _understood(ctx, error) from error


def _understood(context: click.Context, error: MDSOperationalError) -> Exception:
    """An error, or in its place that the login is an application's: another DSN is what helps."""
    dsn = options.named(context)
    refused = isinstance(error, RLSDenied) and error.sqlstate == errors.InsufficientPrivilege.sqlstate
    said = not_the_operators(dsn) if refused and dsn is not None else None
    return error if said is None else config.ConfigurationError(said)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="datastore")
def datastore() -> None:
    """Set up and run a market-data store: an embedded server, migrations, tenants."""


def command_line(first: str | None = None) -> click.Group:
    """`datastore`, whose database errors are the client's.

    Args:
        first: The command that is to run. Only its module is imported, which halves the time until it does. None, and
            a name that is not a command's, stand for all of them.
    """
    mine = [module for module, names in COMMANDS.items() if first in names] or list(COMMANDS)
    for module in mine:
        imported = import_module(f"datastore.commands.{module}")
        for name in COMMANDS[module]:
            datastore.add_command(getattr(imported, name.replace("-", "_")))
    return summarised(datastore)


def _first(arguments: Iterable[str]) -> str | None:
    """The first command of a command line."""
    return next((argument for argument in arguments if not argument.startswith("-")), None)


main = guarded(
    lambda: command_line(_first(sys.argv[1:])),
    ControlError,
    UnsupportedServer,
    config.ConfigurationError,
)

if __name__ == "__main__":
    main()
