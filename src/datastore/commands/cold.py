"""`cold`: old rows in files."""

from datetime import datetime, timedelta
from uuid import UUID

import click

from datastore import cold as files
from datastore.commands.options import Age, database_option, tenant_id, tenant_option
from datastore.connections import as_owner
from datastore.errors import ControlError
from mds_client import KINDS
from mds_client.console import Instant, json_option, show_json, show_rows

_KINDS = [kind.name for kind in KINDS.values() if kind.cold]


@click.group()
def cold() -> None:
    """Keep old rows in Parquet files, and move them there and back.

    The files are in DATASTORE_COLD_URL, a folder or s3://bucket/prefix.
    """


def _place(dsn: str) -> str:
    """Return the place of the files, after checking that the login is an operator's."""
    with as_owner(dsn):
        return files.url()


def _publish_again(dsn: str, where: str, tenant: UUID | None) -> None:
    for _ in files.published_again(dsn, where, tenant=tenant):
        pass


@cold.command("status")
@tenant_option("Only of this tenant")
@database_option
@json_option
def cold_status(tenant: UUID | None, dsn: str, as_json: bool) -> None:
    """Print what each tenant has in files: the fence, files, rows, and late rows that wait to be folded."""
    show_rows(files.status(dsn, tenant), as_json, empty="nothing is kept in files")


@cold.command("run")
@tenant_option("Only of this tenant")
@click.option("--kind", type=click.Choice(_KINDS), help="Only this kind.")
@database_option
@json_option
def cold_run(tenant: UUID | None, kind: str | None, dsn: str, as_json: bool) -> None:
    """Move the months that are older than cold_after into files. The worker does this once a day.

    It can be stopped at any moment, and run again.
    """
    from datastore.cold import exporting

    where = _place(dsn)
    done = list(exporting.run(dsn, where, tenant=tenant, kind=kind))
    show_rows(done, as_json, empty="nothing to move")
    _publish_again(dsn, where, tenant)


@cold.command("fold")
@tenant_option("Only of this tenant")
@click.option("--kind", type=click.Choice(_KINDS), help="Only this kind.")
@database_option
@json_option
def cold_fold(tenant: UUID | None, kind: str | None, dsn: str, as_json: bool) -> None:
    """Write new files with the rows that came late. The worker does this once a day."""
    from datastore.cold import folding

    where = _place(dsn)
    done = list(folding.fold(dsn, where, tenant=tenant, kind=kind))
    show_rows(done, as_json, empty="no late rows")
    _publish_again(dsn, where, tenant)


@cold.command("publish")
@tenant_option("Only tables of this tenant")
@click.option("--kind", type=click.Choice(_KINDS), help="Only this kind.")
@click.option("--show", "engine", type=click.Choice(files.ENGINES),
              help="Do not publish. Print the settings for an engine, and how it reads each table.")  # fmt: skip
@database_option
@json_option
def cold_publish(tenant: UUID | None, kind: str | None, engine: str | None, dsn: str, as_json: bool) -> None:
    """Publish the files as Iceberg tables, one for each tenant and kind. Needs the extra `lake`.

    A table that was published once follows its files from then on: the worker publishes it again, as do run, fold,
    compact and restore. Example: datastore cold publish --tenant acme
    """
    where = _place(dsn)
    if engine is not None:
        text = files.settings(dsn, where, engine, tenant=tenant)
        show_json({"settings": text}) if as_json else click.echo(text, nl=False)
        return
    from datastore.cold import publishing

    done = list(publishing.publish(dsn, where, tenant=tenant, kind=kind))
    show_rows(done, as_json, empty="every table is up to date")


@cold.command("compact")
@tenant_option("Only of this tenant")
@click.option("--kind", type=click.Choice(_KINDS), help="Only this kind.")
@database_option
@json_option
def cold_compact(tenant: UUID | None, kind: str | None, dsn: str, as_json: bool) -> None:
    """Write the small files of a year's months as one file. The worker does this once a day."""
    from datastore.cold import compacting

    where = _place(dsn)
    done = list(compacting.compact(dsn, where, tenant=tenant, kind=kind))
    show_rows(done, as_json, empty="no small files to join")
    _publish_again(dsn, where, tenant)


@cold.command("restore")
@click.argument("tenant")
@click.argument("kind", type=click.Choice(_KINDS))
@click.option("--since", type=Instant(), required=True, help="From the month of this time on, ISO.")
@database_option
@json_option
def cold_restore(tenant: str, kind: str, since: datetime, dsn: str, as_json: bool) -> None:
    """Bring rows of a TENANT, by name or UUID, back from files into the table, the newest month first.

    Switch cold_after off for the tenant first. Example: datastore cold restore acme bars --since 2025-01-01
    """
    from datastore.cold import folding

    where, whose = _place(dsn), tenant_id(dsn, tenant)
    done = list(folding.restore(dsn, where, tenant=whose, kind=kind, since=since))
    show_rows(done, as_json, empty="nothing to restore")
    _publish_again(dsn, where, whose)


@cold.command("verify")
@tenant_option("Only of this tenant")
@database_option
@json_option
def cold_verify(tenant: UUID | None, dsn: str, as_json: bool) -> None:
    """Read every file, and compare it with what the store knows of it. Ends with 1 if one is wrong."""
    from datastore.cold import keeping

    found = keeping.verify(dsn, _place(dsn), tenant=tenant)
    show_rows(found, as_json, empty="no files")
    if wrong := sum(one.problem is not None for one in found):
        raise ControlError(f"{wrong} of {len(found)} files are missing or damaged")


@cold.command("sweep")
@click.option("--older-than", type=Age(), default="1d", show_default=True,
              help="How old a file is at least, and how long ago it was replaced.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@database_option
@json_option
def cold_sweep(older_than: timedelta | None, dry_run: bool, dsn: str, as_json: bool) -> None:
    """Remove files that are on no list: of a run that was stopped, of deleted tenants, and replaced ones."""
    from datastore.cold import keeping

    done = keeping.sweep(dsn, _place(dsn), older_than=older_than or keeping.GRACE, dry_run=dry_run)
    show_rows(done, as_json, empty="nothing to remove")
