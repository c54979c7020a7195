"""`up`, `down`, `status`, `env`: the embedded server."""

import shlex
import sys
from pathlib import Path

import click

from datastore import reads
from datastore.commands.options import home_option, readable
from datastore.embedded import EmbeddedServer, PortTakenError
from mds_client.console import FAILED, json_option, plain, show_fields, show_json


@click.command()
@home_option
@click.option("--port", type=click.IntRange(1, 65535), help="The TCP port. [default: the last one, else a free one]")
@json_option
def up(home: Path, port: int | None, as_json: bool) -> None:
    """Start the embedded server if it does not run, and bring its schema to head.

    It listens on a unix socket and on 127.0.0.1 only. To use it in a shell: eval "$(datastore env)"
    """
    server = EmbeddedServer(home, port=port)
    from datastore import migration  # Alembic takes long to import

    try:
        status = server.up(migration.migrate)
    except PortTakenError as error:
        raise PortTakenError(f"--port {port}: {error}" if port else str(error)) from error
    show_fields(status.as_dict(), as_json)


@click.command()
@home_option
@json_option
def down(home: Path, as_json: bool) -> None:
    """Stop the embedded server. Its data stays."""
    stopped = EmbeddedServer(home).down()
    if as_json:
        show_json({"stopped": stopped})
    else:
        click.echo("stopped; the data stays" if stopped else "it was not running")


@click.command()
@click.option("--dsn", help="Show this database, not the embedded server's.")
@home_option
@json_option
def status(dsn: str | None, home: Path, as_json: bool) -> None:
    """Show whether the embedded server runs, where, since when and with which engine. Exit code 1 if it does not."""
    if dsn:
        show_fields(reads.describe(readable(dsn)), as_json)
        return
    server = EmbeddedServer(home)
    found = server.status()
    database = plain(reads.describe(server.dsn("mds_admin"))) if found.running else {}
    show_fields({**found.as_dict(), **database}, as_json)
    if not found.running:
        sys.exit(FAILED)


@click.command()
@home_option
@json_option
def env(home: Path, as_json: bool) -> None:
    """Print the embedded server's DSNs for a shell: eval "$(datastore env)"

    MDS_DSN is for applications, with a role that sees one tenant at a time. DATABASE_URL is for the control plane.
    Both contain passwords.
    """
    variables = EmbeddedServer(home).env()
    if as_json:
        show_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")
