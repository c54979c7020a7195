"""Options that several commands share: the database, the embedded server's folder, an age."""

import glob
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
import psycopg
from click.shell_completion import CompletionItem
from psycopg.conninfo import conninfo_to_dict

from datastore import config, timescale_policies
from datastore.connections import connect
from datastore.tenants import find_tenant


def database_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--dsn`: the database, with a role that can change it."""
    option = click.option(
        "--dsn",
        callback=_database,
        help="DSN of the database, with a role that can change it. [DATABASE_URL]",
    )
    return option(command)


def _database(context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    return None if context.params.get("sql") else readable(value or config.load().dsn())


_DSN: Final = "datastore.dsn"


def named(context: click.Context) -> str | None:
    """Return the DSN that a command was given by an option or variable."""
    found: str | None = context.meta.get(_DSN)
    return found


def readable(dsn: str) -> str:
    """Check that a DSN can be parsed, remember it in the command's context, return it. Raises SettingsError."""
    click.get_current_context().meta[_DSN] = dsn
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # The driver's message repeats the text that it could not parse, which may hold a password.
        text = "the DSN cannot be read: neither a postgresql:// URL nor key=value text"
        raise config.SettingsError(text) from error
    return dsn


def home_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--home`: the embedded server's folder."""
    option = click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        callback=lambda _context, _option, value: value or config.load().home,
        help="The server's folder. [MDS_HOME; default: .mds]",
    )
    return option(command)


class Age(click.ParamType[timedelta | None]):
    """An age: a count and a unit (90d, 12h, 2w, 30m), or `off`."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        try:
            return timescale_policies.parse_age(value)
        except timescale_policies.PolicyError as error:
            return self.fail(str(error), param, ctx)


def cannot_listen(option: str, port: int, host: str, error: OSError) -> config.SettingsError:
    """Return the error of a command that cannot listen, with the option for the address."""
    why = error.strerror or str(error)
    if isinstance(error, socket.gaierror):
        return config.SettingsError(f"the address {host!r} cannot be listened on: {why}")
    return config.SettingsError(f"{option} {port} on {host} cannot be listened on: {why}")


def file_behind_at(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a file after @, which the shell's own completion would take for a part of the name."""
    if incomplete and not incomplete.startswith("@"):
        return []
    folder, _, begun = incomplete[1:].rpartition("/")
    begins = f"{folder}/" if "/" in incomplete else ""
    found = sorted(Path(begins or ".").glob(f"{glob.escape(begun)}*"))
    return [CompletionItem(f"@{begins}{path.name}{'/' if path.is_dir() else ''}") for path in found]


def tenant_option(description: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--tenant`, by name or UUID; the command gets the UUID, or None. The command must take `dsn`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def resolved(*arguments: Any, tenant: str | None, dsn: str, **options: Any) -> Any:
            return command(*arguments, tenant=None if tenant is None else tenant_id(dsn, tenant), dsn=dsn, **options)

        return click.option("--tenant", help=f"{description}, by name or UUID.")(resolved)

    return decorate


def tenant_id(dsn: str, tenant: str) -> UUID:
    """Return the UUID of a tenant given by name or UUID. Raises UnknownTenant."""
    with connect(dsn) as connection:
        return find_tenant(connection, tenant).id
