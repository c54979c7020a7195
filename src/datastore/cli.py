"""The command `datastore`: the embedded server, migrations, tenants, from a shell.

Each command calls one function of the control plane and prints what it returns.
"""

import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import psycopg
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from datastore import config, control
from datastore.embedded import EmbeddedServer, EmbeddedServerError
from datastore.engine import UnsupportedServer
from datastore.timescale_policies import POLICIES, PolicyError
from mds_client import KINDS, __version__
from mds_client.console import FAILED, Instant, guarded, json_option, plain, show_fields, show_json, show_rows
from mds_client.errors import mapped


def database_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--dsn`: the database, with a role that may change it."""
    option = click.option(
        "--dsn",
        callback=_database,
        help="Where the database is, with a role that may change it. [DATABASE_URL]",
    )
    return option(command)


def _database(context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    return None if context.params.get("sql") else _readable(value or config.load().dsn())


def _readable(dsn: str) -> str:
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        # The driver's message repeats the text that it could not read, which may hold a password.
        text = "the DSN cannot be read: neither a postgresql:// URL nor key=value text"
        raise config.ConfigurationError(text) from error
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


class _Commands(click.Group):
    """A group in which the driver's errors become the client's, which say what to do."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DBAPIError as error:
            raise (mapped(error.orig) if isinstance(error.orig, psycopg.Error) else error) from error
        except psycopg.Error as error:
            raise mapped(error) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="datastore")
def datastore() -> None:
    """Set up and run a market-data store: an embedded server, migrations, tenants."""


@datastore.command()
@home_option
@click.option("--port", type=click.IntRange(1, 65535), help="The TCP port. [default: the last one, else a free one]")
@json_option
def up(home: Path, port: int | None, as_json: bool) -> None:
    """Start the embedded server, or find it running, and bring its schema to head.

    It listens on a unix socket and on 127.0.0.1 only. What a shell needs to use it: eval "$(datastore env)"
    """
    server = EmbeddedServer(home, port=port)
    status = server.up(control.migrate)
    show_fields(status.as_dict(), as_json)


@datastore.command()
@home_option
@json_option
def down(home: Path, as_json: bool) -> None:
    """Stop the embedded server. Its data stays."""
    stopped = EmbeddedServer(home).down()
    if as_json:
        show_json({"stopped": stopped})
    else:
        click.echo("stopped; the data stays" if stopped else "it was not running")


@datastore.command()
@click.option("--dsn", help="A database to look at, in place of the embedded server's.")
@home_option
@json_option
def status(dsn: str | None, home: Path, as_json: bool) -> None:
    """Say whether the embedded server runs, where, since when, with which engine; exit code 1 where it does not."""
    if dsn:
        show_fields(control.describe(dsn), as_json)
        return
    server = EmbeddedServer(home)
    found = server.status()
    database = plain(control.describe(server.dsn("mds_admin"))) if found.running else {}
    show_fields({**found.as_dict(), **database}, as_json)
    if not found.running:
        sys.exit(FAILED)


@datastore.command()
@home_option
@json_option
def env(home: Path, as_json: bool) -> None:
    """Print the embedded server's DSNs for a shell: eval "$(datastore env)"

    MDS_DSN is for applications: a service role that sees what its tenant may see. DATABASE_URL is for the control
    plane. Both hold passwords.
    """
    variables = EmbeddedServer(home).env()
    if as_json:
        show_json(variables)
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@datastore.command()
@database_option
@click.option("--sql", is_flag=True, is_eager=True, help="Print what would run on an empty database, and run nothing.")
@json_option
def migrate(dsn: str | None, sql: bool, as_json: bool) -> None:
    """Bring the database to head: roles, tables, views, grants. Running it again changes nothing."""
    if sql or dsn is None:
        text = control.migrate_sql()
        show_json({"sql": text}) if as_json else click.echo(text)
        return
    done = control.migrate(dsn)
    if as_json:
        show_json(done)
    elif done.before == done.after and not done.objects:
        click.echo(f"at head already ({done.after})")
    else:
        click.echo(f"migrated from {done.before or 'nothing'} to {done.after}, {len(done.objects)} objects made")


@datastore.command("stamp-head")
@database_option
@json_option
def stamp_head(dsn: str, as_json: bool) -> None:
    """Record a database that was set up from `datastore migrate --sql` as being at head."""
    version = control.stamp_head(dsn)
    show_json({"schema_version": version}) if as_json else click.echo(f"stamped {version}")


@datastore.command()
@database_option
@click.option("--tenant", "names", multiple=True, default=("default",), show_default=True, help="A tenant's name.")
@json_option
def seed(dsn: str, names: tuple[str, ...], as_json: bool) -> None:
    """Make sure that these tenants are there; what is there stays as it is."""
    show_rows(control.seed(dsn, names), as_json)


@datastore.command()
@database_option
@json_option
def check(dsn: str, as_json: bool) -> None:
    """Compare the database with the declarations; print each difference, and exit with 1 if there is one."""
    drift = control.check(dsn)
    if as_json:
        show_json({"drift": drift})
    else:
        click.echo("\n".join(drift) or "the database is as declared")
    if drift:
        sys.exit(FAILED)


@datastore.command()
@database_option
@click.option("-m", "--message", required=True, help="What changes, in a few words.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where to write it. [the package's]")
@json_option
def revision(dsn: str, message: str, folder: Path | None, as_json: bool) -> None:
    """Write the migration from a database at head to what the declarations say. Read it before you commit it."""
    path = control.revision(dsn, message, folder)
    show_json({"path": path}) if as_json else click.echo(path)


@datastore.group()
def tenants() -> None:
    """Make tenants, list them, and bind login roles to them."""


@tenants.command("create")
@click.argument("name")
@click.option("--id", "id_", type=click.UUID, help="Its uuid. [default: a random one]")
@click.option("--if-absent", is_flag=True, help="If it is there already, that is fine.")
@database_option
@json_option
def create_tenant(name: str, id_: UUID | None, if_absent: bool, dsn: str, as_json: bool) -> None:
    """Make a tenant and print it."""
    show_fields(control.create_tenant(dsn, name, id=id_, if_absent=if_absent), as_json)


@tenants.command("list")
@database_option
@json_option
def list_tenants(dsn: str, as_json: bool) -> None:
    """Print every tenant."""
    show_rows(control.list_tenants(dsn), as_json, empty="no tenants")


@tenants.command("bind-role")
@click.argument("tenant")
@click.argument("role")
@database_option
@json_option
def bind_role(tenant: str, role: str, dsn: str, as_json: bool) -> None:
    """Bind a login ROLE to a TENANT, by name or uuid: every session of that role is that tenant, whatever it sets."""
    show_fields(control.bind_role(dsn, tenant, role), as_json)


class Age(click.ParamType[timedelta | None]):
    """An age: a count and a unit (90d, 12h, 2w, 30m), or `off`."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | None:
        if value == "off":
            return None
        unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}.get(value[-1:])
        count = int(value[:-1]) if value[:-1].isdecimal() else None
        try:
            if unit is not None and count is not None:
                return timedelta(**{unit: count})
        except OverflowError:
            pass
        return self.fail(f"{value!r} is no age: a count and m, h, d or w, as 90d; or off", param, ctx)


@datastore.group(invoke_without_command=True)
@click.pass_context
def policies(context: click.Context) -> None:
    """What happens to rows of a certain age: columnstore, retention, and how far back rollups are refreshed.

    Without a command: apply.
    """
    if context.invoked_subcommand is None:
        context.invoke(apply_policies, dsn=_readable(config.load().dsn()), as_json=False)


@policies.command("show")
@database_option
@json_option
def show_policies(dsn: str, as_json: bool) -> None:
    """Print every policy: declared, in effect, kept by whom, and what the server's own job has.

    An age of - is off; for refresh_within it is: however old.
    """
    show_rows(control.policies(dsn), as_json)


@policies.command("set")
@click.argument("relation")
@click.argument("policy", type=click.Choice(POLICIES))
@click.argument("age", type=Age())
@database_option
@json_option
def set_policy(relation: str, policy: str, age: timedelta | None, dsn: str, as_json: bool) -> None:
    """Set a policy of a kind or rollup apart from its declaration. It survives a migrate.

    Example: datastore policies set bars retention_after 400d
    """
    show_rows(control.set_policy(dsn, relation, policy, age), as_json)


@policies.command("unset")
@click.argument("relation")
@click.argument("policy", type=click.Choice(POLICIES))
@database_option
@json_option
def unset_policy(relation: str, policy: str, dsn: str, as_json: bool) -> None:
    """Go back to what is declared."""
    show_rows(control.unset_policy(dsn, relation, policy), as_json)


@policies.command("apply")
@database_option
@json_option
def apply_policies(dsn: str, as_json: bool) -> None:
    """Have the server keep every policy, where it can. A migrate does this too."""
    show_rows(control.apply_policies(dsn), as_json)


@policies.command("expire")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only this kind. [default: every one with retention]")
@click.option("--dry-run", is_flag=True, help="Only say how many rows it would be.")
@database_option
@json_option
def expire(kind: str | None, dry_run: bool, dsn: str, as_json: bool) -> None:
    """Remove the rows that retention gives up, where the server does not do it by itself."""
    show_rows(control.expire(dsn, kind, dry_run=dry_run), as_json, empty="no kind has retention")


@datastore.group()
def aggregates() -> None:
    """Rollups: bars of longer timeframes, derived from 1m bars."""


@aggregates.command("list")
@database_option
@json_option
def list_aggregates(dsn: str, as_json: bool) -> None:
    """Print every rollup, what it is derived from, and whether it is stored or computed when it is read."""
    show_rows(control.list_aggregates(dsn), as_json)


@aggregates.command("refresh")
@click.argument("names", nargs=-1, metavar="[ROLLUP]...")
@click.option("--start", type=Instant(), help="From this time on, ISO. [default: the first row]")
@click.option("--end", type=Instant(), help="Until before this time, ISO. [default: the last row]")
@database_option
@json_option
def refresh(names: tuple[str, ...], start: datetime | None, end: datetime | None, dsn: str, as_json: bool) -> None:
    """Bring stored rollups up to the rows of a span, as after a backfill into the past.

    Example: datastore aggregates refresh bars_1h bars_1d --start 2024-01-01 --end 2024-02-01
    """
    done = control.refresh(dsn, start, end, names or None)
    show_rows(done, as_json, empty="rollups are computed when they are read here: nothing to refresh")


def command_line() -> click.Group:
    """`datastore`, whose database errors are the client's."""
    return datastore


main = guarded(
    command_line,
    EmbeddedServerError,
    control.ControlError,
    PolicyError,
    UnsupportedServer,
    config.ConfigurationError,
    CommandError,
    SQLAlchemyError,
)

if __name__ == "__main__":
    main()
