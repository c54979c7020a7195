"""The command `mds import`: files of any format, by a column mapping, into a tenant's rows."""

import sys
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mds_client.client import MDS
from mds_client.config import Config
from mds_client.console import FAILED, INTERRUPTED, REJECTS, counted, fail, json_option, one_line, show_json, show_rows
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import FORMATS, Format, Input, Mapping, format_of_name, opened, rejects_path
from mds_client.imports import PART_ROWS, Import, Importing
from mds_client.mapping_options import check_mapping, mapping_options
from mds_client.options import settings_options
from mds_client.schema import KINDS, TENANT_COLUMN, Kind, OnConflict

SHOWN: int = 5
"""Rows of a file that a dry run shows."""


@click.command("import")
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format of the input. [default: detected from content and name]",
)
@click.option("--vendor", help="The same as --set vendor=….")
@click.option("--symbol", help="The same as --set symbol=….")
@click.option("--timeframe", help="The same as --set timeframe=….")
@mapping_options
@click.option(
    "--on-conflict",
    type=click.Choice(get_args(OnConflict)),
    default="replace",
    show_default=True,
    help="What happens to a stored row with the same key.",
)
@click.option(
    "--part-rows", type=click.IntRange(1), default=PART_ROWS, show_default=True, help="Rows in one transaction."
)
@click.option("--dry-run", is_flag=True, help="Write nothing; show the first rows of each file as stored.")
@settings_options
@json_option
def import_files(
    config: Config,
    kind: str,
    paths: tuple[str, ...],
    form: Format | None,
    vendor: str | None,
    symbol: str | None,
    timeframe: str | None,
    mapping: Mapping,
    on_conflict: OnConflict,
    part_rows: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the rows of files of one KIND.

    FILE is CSV, NDJSON, a JSON array, Parquet or Arrow, text also compressed; a folder stands for the files in it, and
    - for standard input. Columns are found by the names of the fields; --map and --set say where they have others.
    Times without a zone are UTC unless --time-zone says another. Invalid rows go to FILE.rejects.ndjson with their line
    and the reason, do not stop the others, and make the exit code 3. Running the same command again changes nothing,
    and completes a run that was stopped.

    Example: mds import bars AAPL.csv --vendor stooq --symbol AAPL --timeframe 1d --map ts=Date --map close_price=Close
    """
    declared = KINDS[kind]
    given = {"vendor": vendor, "symbol": symbol, "timeframe": timeframe}
    named = {name: value for name, value in given.items() if value is not None}
    mapping = mapping.model_copy(update={"constants": {**mapping.constants, **named}})
    check_mapping(declared, mapping)
    files = _files(paths, form)
    if dry_run:
        invalid = 0
        for path in files:
            with closing(opened(declared, path, form, mapping)) as source:
                invalid += _show(declared, source, as_json)
        sys.exit(REJECTS if invalid else 0)
    reports: list[Import] = []
    stopped: MDSError | KeyboardInterrupt | None = None
    with MDS(config) as client:
        for path in files:
            with closing(opened(declared, path, form, mapping)) as source:
                rejects = rejects_path(path)
                importing = Importing(client, source, declared, rejects, on_conflict=on_conflict, part_rows=part_rows)
                stopped = _watched(source, importing)
            reports.append(importing.report())
            if not as_json:
                click.echo(_sentence(reports[-1]), err=stopped is not None)
            if stopped is not None:
                break
    if as_json:
        said = str(stopped) or "interrupted" if stopped else None
        show_json({"files": [_fields(report) for report in reports], "error": said})
    if isinstance(stopped, KeyboardInterrupt):
        fail("interrupted; the same command again completes it", INTERRUPTED)
    if stopped is not None:
        fail(one_line(str(stopped)), REJECTS if isinstance(stopped, InvalidRow) else FAILED)
    if any(report.rejected for report in reports):
        sys.exit(REJECTS)


def _fields(report: Import) -> dict[str, Any]:
    return {**asdict(report), "rows_per_second": round(report.rows_per_second)}


def _files(paths: tuple[str, ...], form: Format | None) -> list[str]:
    """The files, in the order that is given; those of a folder by name."""
    files = []
    for path in paths:
        if path == "-" or not Path(path).is_dir():
            files.append(path)
            continue
        there = [one for one in sorted(Path(path).iterdir()) if one.is_file() and not one.name.startswith(".")]
        found = [str(one) for one in there if ".rejects." not in one.name and (form or format_of_name(one.name))]
        if not found:
            raise click.UsageError(f"{path}: there is no file whose name tells its format; name it with --format")
        files += found
    return files


def _watched(source: Input, importing: Importing) -> MDSError | KeyboardInterrupt | None:
    """Run to the end, with a progress bar on a terminal; what stopped it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(source.name, total=source.size)
        try:
            importing.run(lambda done, size: progress.update(task, completed=done, total=size))
        except (MDSError, KeyboardInterrupt) as stop:
            return stop
    return None


def _show(kind: Kind, source: Input, as_json: bool) -> int:
    """Show the first rows as they would be stored; give the number of invalid rows before them."""
    invalid: list[str] = []
    parts = source.parts(1_000, lambda line, why, _text: invalid.append(f"{source.unit} {line}: {why}"))
    rows = []
    for part in parts:
        rows += part.sifted(lambda line, why, _text: invalid.append(f"{source.unit} {line}: {why}")).rows
        if rows or len(invalid) >= SHOWN:
            break
    shown = [row.model_dump(mode="json", exclude={TENANT_COLUMN}, exclude_none=True) for row in islice(rows, SHOWN)]
    if as_json:
        show_json({"source": source.name, "kind": kind.name, "rows": shown, "invalid": invalid[:SHOWN]})
    else:
        click.echo(f"{source.name}: the first {counted(len(shown), 'row')} as stored; nothing is written")
        names = [name for name in kind.model.model_fields if any(name in row for row in shown)]
        show_rows([{name: row.get(name) for name in names} for row in shown], as_json=False)
        for said in invalid[:SHOWN]:
            click.echo(f"invalid: {one_line(said)}", err=True)
    return len(invalid)


def _sentence(report: Import) -> str:
    said = (
        f"{report.source}: {counted(report.rows, 'row')} of {report.kind} written in {report.seconds:.2f} s"
        f" ({report.rows_per_second:,.0f} rows/s), {report.rejected:,} rejected"
    )
    if report.replaced:
        said += f", {report.replaced:,} replaced by a later row with the same key and other values"
    return f"{said}, see {report.rejects}" if report.rejects else said
