"""`migrate`, `stamp-head`, `seed`, `check`, `revision`: the database's schema.

Alembic takes long to import: each command imports `datastore.migration` when it runs.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from datastore import tenants
from datastore.commands.follow import bar
from datastore.commands.options import database_option
from mds_client.console import FAILED, json_option, show_json, show_rows

if TYPE_CHECKING:
    from rich.progress import TaskID

    from datastore.migration import LongStep


@click.command()
@database_option
@click.option("--sql", is_flag=True, is_eager=True, help="Print the SQL for an empty database, and run nothing.")
@json_option
def migrate(dsn: str | None, sql: bool, as_json: bool) -> None:
    """Bring the database to head: roles, tables, views, grants. Running it again changes nothing."""
    from rich.progress import TimeRemainingColumn

    from datastore import migration

    if sql or dsn is None:
        text = migration.migrate_sql()
        show_json({"sql": text}) if as_json else click.echo(text)
        return
    with bar(TimeRemainingColumn()) as shown:
        tasks: dict[str, TaskID] = {}

        def told(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=total)
            shown.update(tasks[name], completed=done, total=total, refresh=True)

        done = migration.migrate(dsn, ahead=_say, told=told)
    if as_json:
        show_json(done)
    elif done.before == done.after and not done.objects:
        click.echo(f"at head already ({done.after})")
    else:
        click.echo(f"migrated from {done.before or 'nothing'} to {done.after}, {len(done.objects)} objects made")


_WORK: Final = {
    "convert": "the table {name} becomes a hypertable: writers wait until it is done",
    "replace": "the stored rollup {name} gets columns: its rows are copied while readers and writers continue",
    "store": "the rollup {name} is stored: it is computed from all rows while readers and writers continue",
}


def _say(steps: "list[LongStep]") -> None:
    """Print what takes long, before it begins."""
    for step in steps:
        size = f"about {step.rows:,} rows, {step.bytes / 1e6:,.0f} MB, {timedelta(seconds=round(step.seconds))}"
        click.echo(f"{_WORK[step.work].format(name=step.name)} ({size})", err=True)
    if steps:
        whole = timedelta(seconds=round(sum(step.seconds for step in steps)))
        click.echo(
            f"about {whole} in total; you can interrupt the command and run it again, and it continues where it was",
            err=True,
        )


@click.command("stamp-head")
@database_option
@json_option
def stamp_head(dsn: str, as_json: bool) -> None:
    """Mark a database that was set up with `datastore migrate --sql` as being at head."""
    from datastore import migration

    version = migration.stamp_head(dsn)
    show_json({"schema_version": version}) if as_json else click.echo(f"stamped {version}")


@click.command()
@database_option
@click.option("--tenant", "names", multiple=True, default=("default",), show_default=True, help="A tenant's name.")
@json_option
def seed(dsn: str, names: tuple[str, ...], as_json: bool) -> None:
    """Create tenants that do not exist yet."""
    show_rows(tenants.seed(dsn, names), as_json)


@click.command()
@database_option
@json_option
def check(dsn: str, as_json: bool) -> None:
    """Compare the database with the declarations; print each difference, and exit with 1 if there is one."""
    from datastore import migration

    drift = migration.check(dsn)
    if as_json:
        show_json({"drift": drift})
    else:
        click.echo("\n".join(drift) or "the database is as declared")
    if drift:
        sys.exit(FAILED)


@click.command()
@database_option
@click.option("-m", "--message", required=True, help="What changes, in a few words.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the migration. [default: the package's]",
)
@json_option
def revision(dsn: str, message: str, folder: Path | None, as_json: bool) -> None:
    """Write a migration from a database at head to the declarations. Review it before you commit it."""
    from datastore import migration

    path = migration.revision(dsn, message, folder)
    show_json({"path": path}) if as_json else click.echo(path)
