"""`load`: files into a tenant's rows, in bulk."""

import sys
from pathlib import Path

import click
from rich.progress import TimeRemainingColumn

from datastore import load as loader
from datastore.commands.follow import bar
from datastore.commands.options import database_option
from datastore.errors import ControlError
from datastore.load import FORMATS, Format, opened
from mds_client import KINDS
from mds_client.console import FAILED, INTERRUPTED, REJECTS, counted, fail, json_option, one_line, plain, show_json
from mds_client.errors import MDSError
from mds_client.schema import OnConflict
from mds_client.utils import rejects_path


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.argument("path", metavar="FILE|-")
@click.option("--tenant", required=True, help="Whose rows they are: a tenant's name or uuid.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="What the input is. [default: told by content and name]"
)
@click.option(
    "--on-conflict",
    type=click.Choice(["replace", "keep", "fill"]),
    default="replace",
    show_default=True,
    help="What a row does to a stored row of the same key.",
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where rows go that are none. [default: FILE.rejects.ndjson]",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1),
    default=loader.PART_ROWS,
    show_default=True,
    help="Rows of one transaction, which are in memory at once.",
)
@database_option
@json_option
def load(
    kind: str,
    path: str,
    tenant: str,
    form: Format | None,
    on_conflict: OnConflict,
    rejects: Path | None,
    part_rows: int,
    dsn: str,
    as_json: bool,
) -> None:
    """Load a file of one KIND into a tenant, with the owner's rights: faster than any client can.

    Parquet, Arrow IPC, CSV with a header, NDJSON; the last two also packed with gzip or zstd; - is standard input. The
    columns are the kind's fields. Rows are copied straight into the table; a part that meets a row which is there is
    merged. What is no row goes to the rejects file with its line and the reason, does not stop the others, and makes
    the exit code 3. Running the same command again changes nothing, and completes a run that was stopped. Stored
    rollups are refreshed over what was loaded.

    Example: datastore load bars ./bars.parquet --tenant demo
    """
    declared = KINDS[kind]
    if rejects is not None and path != "-" and rejects.exists() and Path(path).exists() and rejects.samefile(path):
        raise click.BadParameter("the input itself cannot take its rejects", param_hint="--rejects")
    source = opened(declared, path, form)
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
    if report.rollups:
        said += f"; refreshed {', '.join(report.rollups)}"
    return f"{said}; {report.rejected:,} rejected, see {report.rejects}" if report.rejects else said
