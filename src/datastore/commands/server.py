"""`up`, `down`, `status`, `env`: the embedded server."""

import shlex
import sys
from pathlib import Path
from types import ModuleType

import click

from datastore import reads
from datastore.commands.options import home_option, readable
from datastore.embedded import EmbeddedServer, PortTakenError
from mds_client.console import FAILED, json_option, plain, show_fields, show_json


@click.command()
@home_option
@click.option("--port", type=click.IntRange(1, 65535), help="The TCP port. [default: the last one, else a free one]")
@click.option("--tenant", "new_tenant", help="Create a tenant of this name, too, if there is none.")
@json_option
def up(home: Path, port: int | None, new_tenant: str | None, as_json: bool) -> None:
    """Start the embedded server if it does not run, and bring its schema to head.

    It listens on a unix socket and on 127.0.0.1 only. To use it in a shell: eval "$(datastore env)"
    """
    server = EmbeddedServer(home, port=port)
    from datastore import migration  # Alembic takes long to import

    try:
        status = server.up(migration.migrate)
    except PortTakenError as error:
        raise PortTakenError(f"--port {port}: {error}" if port else str(error)) from error
    made = {}
    if new_tenant is not None:
        made["tenant_id"] = _tenants().create_tenant(_admin(server), new_tenant, if_absent=True).id
    show_fields({**status.as_dict(), **made}, as_json)


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
@click.option("--tenant", help="Print MDS_TENANT_ID of this tenant, too, by name or UUID.")
@home_option
@json_option
def env(tenant: str | None, home: Path, as_json: bool) -> None:
    """Print the embedded server's DSNs for a shell: eval "$(datastore env)"

    MDS_DSN is for applications, with a role that sees one tenant at a time. DATABASE_URL is for the control plane.
    Both contain passwords.
    """
    server = EmbeddedServer(home)
    variables = server.env()
    if tenant is not None:
        variables = {**variables, "MDS_TENANT_ID": str(_tenants().get_tenant(_admin(server), tenant).id)}
    if as_json:
        show_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _admin(server: EmbeddedServer) -> str:
    return server.dsn("mds_admin")


def _tenants() -> ModuleType:
    from datastore.tenants import registry  # not for commands that need no database

    return registry
