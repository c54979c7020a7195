"""The commands `mds ingest-ndjson` and `mds ingest-ndjson-async`: options, progress and report."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mds_client.aclient import AMDS
from mds_client.batch import BatchConfig
from mds_client.client import MDS
from mds_client.commands.options import connection_options, on_conflict_option, settings_options
from mds_client.config import Config
from mds_client.console import FAILED, INTERRUPTED, REJECTS, FileName, counted, fail, json_option, one_line, show_json
from mds_client.errors import InvalidRow, MDSError, RetryableError, TimeoutExceeded
from mds_client.mapping import Extra
from mds_client.schema import KINDS
from mds_client.utils import AsyncIngestion, Ingest, Ingestion, Source, rejects_path


def _known_kind(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if name not in KINDS:
        raise click.BadParameter(KINDS.unknown(name))
    return name


def ingest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of both ingest commands."""
    for option in reversed(_INGEST_OPTIONS):
        command = option(command)
    return command


_INGEST_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.argument("kind", metavar="KIND", callback=_known_kind),
    click.argument("path", metavar="FILE|-", type=FileName()),
    click.option("--max-rows", type=click.IntRange(1), default=10_000, show_default=True, help="Rows in one batch."),
    click.option(
        "--max-ms",
        type=click.IntRange(1),
        default=3_000,
        show_default=True,
        help="The longest time a row waits, in milliseconds.",
    ),
    click.option(
        "--rejects",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File for rejected lines. [default: FILE.rejects.ndjson]",
    ),
    click.option("--strict", is_flag=True, help="Stop at the first invalid line."),
    on_conflict_option,
    click.option(
        "--extra",
        type=click.Choice(get_args(Extra)),
        default="error",
        show_default=True,
        help="What to do with fields that the kind does not have: reject the row, or leave them out.",
    ),
)


@click.command("ingest-ndjson")
@ingest_options
@connection_options
@json_option
def ingest_ndjson(
    client: MDS, kind: str, path: str, rejects: Path | None, max_rows: int, max_ms: int, as_json: bool, **options: Any
) -> None:
    """Write the rows of an NDJSON file of one kind, or of standard input for -. Compression is detected.

    Blank lines and lines that begin with # are skipped. An invalid line goes to the rejects file with its number
    and the reason, does not stop the others, and makes the exit code 3. Running the same command again changes
    nothing, and completes a run that was stopped.

    Example: mds ingest-ndjson bars ./bars.ndjson.gz --max-rows 20000
    """
    batch = BatchConfig(max_rows=max_rows, max_ms=max_ms)
    with _source(path, rejects) as (source, target):
        ingestion = Ingestion(client, kind, source, target, batch=batch, **options)
        _watch(source, ingestion.run, ingestion.report, as_json)


@click.command("ingest-ndjson-async")
@ingest_options
@settings_options
@json_option
def ingest_ndjson_async(
    config: Config,
    kind: str,
    path: str,
    rejects: Path | None,
    max_rows: int,
    max_ms: int,
    as_json: bool,
    **options: Any,
) -> None:
    """The same as ingest-ndjson, through the asynchronous client and its batch processor.

    Example: mds ingest-ndjson-async bars ./bars.ndjson.gz
    """
    batch = BatchConfig(max_rows=max_rows, max_ms=max_ms)
    begun: list[AsyncIngestion] = []

    async def ingest(progress: Callable[[], None]) -> None:
        async with AMDS(config) as client:
            begun.append(AsyncIngestion(client, kind, source, target, batch=batch, **options))
            await begun[0].run(progress)

    with _source(path, rejects) as (source, target):
        _watch(
            source,
            lambda progress: asyncio.run(ingest(progress)),
            lambda: begun[0].report() if begun else None,
            as_json,
        )


@contextmanager
def _source(path: str, rejects: Path | None) -> Iterator[tuple[Source, Path]]:
    """Open the input, and return it with the path for its rejects. Closes it at the end."""
    if rejects is not None and path != "-" and rejects.exists() and Path(path).exists() and rejects.samefile(path):
        raise click.BadParameter("the rejects file must not be the input file", param_hint="--rejects")
    with Source(path) as source:
        yield source, rejects or rejects_path(path)


def _watch(
    source: Source, run: Callable[[Callable[[], None]], object], reported: Callable[[], Ingest | None], as_json: bool
) -> None:
    """Run an ingest, with a progress bar on a terminal, and always print what was committed."""
    error = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    stopped: MDSError | KeyboardInterrupt | None = None
    with Progress(*columns, console=error, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(source.name, total=source.size)
        try:
            run(lambda: progress.update(task, completed=source.position))
        except (MDSError, KeyboardInterrupt) as stop:
            stopped = stop
    report = reported()
    if report is None:
        # The ingest stopped before anything was read.
        raise stopped or AssertionError("an ingest without a report")
    if as_json:
        show_json({**_fields(report), "error": str(stopped) or "interrupted" if stopped else None})
    else:
        click.echo(_sentence(report), err=stopped is not None)
    if isinstance(stopped, KeyboardInterrupt):
        fail("interrupted; the same command again completes it", INTERRUPTED)
    if isinstance(stopped, InvalidRow):
        fail(one_line(str(stopped)), REJECTS)
    if stopped is not None:
        passing = isinstance(stopped, RetryableError | TimeoutExceeded)
        fail(one_line(str(stopped)) + ("; the same command again completes it" if passing else ""), FAILED)
    if report.rejected:
        sys.exit(REJECTS)


def _fields(report: Ingest) -> dict[str, Any]:
    fields = {name: getattr(report, name) for name in report.__dataclass_fields__}
    return {**fields, "rows_per_second": round(report.rows_per_second)}


def _sentence(report: Ingest) -> str:
    said = (
        f"{report.kind}: {counted(report.written, 'row')} written from {counted(report.lines, 'line')}"
        f" in {report.seconds:.2f} s ({report.rows_per_second:,.0f} rows/s), {report.rejected:,} rejected"
    )
    if report.replaced:
        said += f", {report.replaced:,} replaced by a later row with the same key and other values"
    return f"{said}, see {report.rejects}" if report.rejects else said
