"""`load` and `delete`: load files into a tenant in bulk, and delete its rows."""

import sys
from datetime import datetime
from pathlib import Path

import click
from rich.progress import TimeRemainingColumn

from datastore import load as loader
from datastore import tenants
from datastore.commands.follow import bar
from datastore.commands.options import database_option
from datastore.connections import connect
from datastore.errors import ControlError
from mds_client import KINDS, MDS
from mds_client.commands.mapping import check_mapping, mapping_options
from mds_client.commands.options import on_conflict_option
from mds_client.console import (
    FAILED,
    INTERRUPTED,
    REJECTS,
    FileName,
    Instant,
    confirmed_delete,
    counted,
    fail,
    json_option,
    one_line,
    plain,
    show_json,
)
from mds_client.errors import MDSError
from mds_client.files import FORMATS, Format, Mapping, detected, rejects_path
from mds_client.profiles import Profile
from mds_client.schema import OnConflict


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.argument("path", metavar="FILE|-", type=FileName())
@click.option("--tenant", required=True, help="The tenant, by name or UUID.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format of the input. [default: detected from content and name]",
)
@on_conflict_option
@mapping_options
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for rejected rows. [default: FILE.rejects.ndjson]",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1),
    default=loader.PART_ROWS,
    show_default=True,
    help="Rows in one transaction, which are in memory at once.",
)
@database_option
@json_option
def load(
    kind: str,
    path: str,
    tenant: str,
    form: Format | None,
    on_conflict: OnConflict,
    mapping: Mapping,
    profile: Profile | None,
    rejects: Path | None,
    part_rows: int,
    dsn: str,
    as_json: bool,
) -> None:
    """Load a file of one KIND into a tenant in bulk, faster than a client can.

    FILE is of any format that mds import reads; - is standard input. The columns are the fields of the kind, or those
    of a vendor's profile. Rows are copied straight into the table. A part with a row that exists is
    merged. Invalid rows go to the rejects file with their line and the reason, do not stop the others, and make the
    exit code 3. Running the same command again changes nothing, and completes a run that was stopped. Stored rollups
    are refreshed.

    Example: datastore load bars ./bars.parquet --tenant demo
    """
    declared = KINDS[kind]
    if rejects is not None and path != "-" and rejects.exists() and Path(path).exists() and rejects.samefile(path):
        raise click.BadParameter("the rejects file must not be the input file", param_hint="--rejects")
    check_mapping(declared, mapping)
    found = detected(declared, path, form, mapping, profile)
    source = found.open()
    for note in found.notes:
        click.echo(f"{source.name}: {note}", err=True)
    stopped: MDSError | ControlError | KeyboardInterrupt | None = None
    try:
        loading = loader.Loading(
            dsn, tenant, source, declared, rejects or rejects_path(path), on_conflict=on_conflict, part_rows=part_rows
        )
        with bar(TimeRemainingColumn()) as progress:
            task = progress.add_task(source.name, total=source.size)
            try:
                loading.run(lambda done, size: progress.update(task, completed=done, total=size))
            except (MDSError, ControlError, KeyboardInterrupt) as stop:
                stopped = stop
    finally:
        source.close()
    report = loading.report()
    if as_json:
        said = str(stopped) or "interrupted" if stopped else None
        show_json({**plain(report), "rows_per_second": round(report.rows_per_second), "error": said})
    else:
        click.echo(_sentence(report), err=stopped is not None)
    if isinstance(stopped, KeyboardInterrupt):
        fail("interrupted; the same command again completes it", INTERRUPTED)
    if stopped is not None:
        fail(one_line(str(stopped)), FAILED)
    if report.rejected:
        sys.exit(REJECTS)


def _sentence(report: loader.Load) -> str:
    said = (
        f"{report.kind}: {counted(report.rows, 'row')} loaded in {report.seconds:.2f} s"
        f" ({report.rows_per_second:,.0f} rows/s) in {counted(report.parts, 'part')}, {report.merged} of them merged"
    )
    if report.replaced:
        said += f", {report.replaced:,} rows replaced by a later one with the same key and other values"
    if report.rollups:
        said += f"; refreshed {', '.join(report.rollups)}"
    return f"{said}; {report.rejected:,} rejected, see {report.rejects}" if report.rejects else said


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.option("--tenant", required=True, help="The tenant, by name or UUID.")
@click.option("--vendor", required=True, help="Vendor of the rows.")
@click.option("--symbol", "symbols", multiple=True, help="Only this symbol. Repeatable. [default: all symbols]")
@click.option("--timeframe", help="Only this timeframe.")
@click.option("--start", type=Instant(), help="Start of the range, inclusive, ISO.")
@click.option("--end", type=Instant(), help="End of the range, exclusive, ISO.")
@click.option("--dry-run", is_flag=True, help="Delete nothing; print what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
@json_option
def delete(
    kind: str,
    tenant: str,
    vendor: str,
    symbols: tuple[str, ...],
    timeframe: str | None,
    start: datetime | None,
    end: datetime | None,
    dry_run: bool,
    yes: bool,
    dsn: str,
    as_json: bool,
) -> None:
    """Delete rows of a tenant for good. Prints what it deletes, and asks first.

    Where rollups are stored, a job of a worker refreshes them.

    Example: datastore delete bars --tenant demo --vendor ibkr --symbol AAPL --start 2261-01-01 --dry-run
    """
    with connect(dsn) as connection:
        owner = tenants.find_tenant(connection, tenant).id
    with MDS(dsn=dsn, tenant_id=str(owner), app_name="datastore delete", pool_min=1, pool_max=1) as client:
        confirmed_delete(
            client,
            kind,
            {"vendor": vendor, "symbol": list(symbols) or None, "timeframe": timeframe, "start": start, "end": end},
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
        )
