"""`backfill`: plan, start, watch, cancel and resume the filling of gaps."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args
from uuid import UUID, uuid4

import click
from pydantic import ValidationError

from datastore import backfill as backfills
from datastore import worker
from datastore.backfill import BackfillError, BackfillRecord, BackfillSpec
from datastore.commands import options
from datastore.commands.follow import Step, follow_option, followed, nobody_works
from datastore.commands.gaps import series_options
from datastore.commands.listing import show_page
from datastore.commands.options import database_option, file_behind_at
from datastore.sources import wrong
from mds_client.console import FAILED, counted, json_option, plain, show_fields, show_json, show_rows
from mds_client.schema import OnConflict

_LIST_COLUMNS: Final = ("id", "tenant", "vendor", "timeframe", "start", "end", "state", "missing", "done", "created_at")


def _of_spec(name: str, said: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option for a number of a backfill, with its declared bounds and default."""
    field = BackfillSpec.model_fields[name]
    least, most = (next(getattr(m, bound) for m in field.metadata if hasattr(m, bound)) for bound in ("ge", "le"))
    return click.option(
        f"--{name.replace('_', '-')}",
        type=click.IntRange(least, most),
        default=field.default,
        show_default=True,
        help=said,
    )


def spec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what to fill."""
    for option in (
        _of_spec("attempts", "Maximum number of attempts of a job."),
        _of_spec("priority", "Priority of the jobs; larger numbers run first."),
        _of_spec("chunk_series", "Maximum number of series of one job."),
        _of_spec("chunk_days", "Days of one job."),
        click.option("--on-conflict", type=click.Choice(get_args(OnConflict)), show_default=True,
                     default=BackfillSpec.model_fields["on_conflict"].default,
                     help="What happens to a stored row with the same key."),
        click.option("--source", required=True, metavar="JSON|@FILE", shell_complete=file_behind_at,
                     help='The source as JSON: {"type": "files", "path": "bars/{symbol}.csv"}, or @FILE.'),
    ):  # fmt: skip
        command = option(command)
    return series_options(command)


@click.group()
def backfill() -> None:
    """Fill gaps from files or over HTTP: plan, start, watch, cancel, resume. Workers do the work."""


@backfill.command("plan")
@spec_options
@database_option
@json_option
def plan_backfill(dsn: str, as_json: bool, **asked: Any) -> None:
    """Show what a backfill would do: its chunks, and what is missing in each. Stores nothing."""
    planned = backfills.plan(dsn, _spec(**asked))
    if as_json:
        show_json({**plain(planned), "jobs": len(planned.chunks)})
        return
    rows = [
        {"start": chunk.start, "end": chunk.end, "calendar": chunk.calendar, "series": len(chunk.spans),
         "missing": chunk.missing}
        for chunk in planned.chunks
    ]  # fmt: skip
    show_rows(rows, as_json=False, empty="nothing is missing")
    click.echo(
        f"{counted(planned.missing, 'bar')} of {counted(planned.series, 'series')} in {counted(planned.gaps, 'gap')}:"
        f" {counted(len(planned.chunks), 'job')}"
    )


@backfill.command("start")
@spec_options
@click.option("--key", help="Idempotency key: the same key is the same backfill. [default: a random one]")
@follow_option
@database_option
@json_option
def start_backfill(key: str | None, follow: bool, dsn: str, as_json: bool, **asked: Any) -> None:
    """Store a backfill and enqueue its jobs.

    Example: datastore backfill start --tenant default --vendor acme --start 2024-01-01 --calendar XNYS --source @f.json
    """
    if key is not None and asked["end"] is None:
        # The same command a second later must be the same backfill, not one with another end.
        before = backfills.find_backfill(dsn, asked["tenant"], key)
        asked["end"] = before.end if before is not None else None
    made = backfills.start(dsn, _spec(**asked), idempotency_key=key or str(uuid4()))
    if not follow and not made.finished and (why := worker.unserved(dsn, made.source)) is not None:
        click.echo(f"warning: {why}", err=True)
    _show(_followed(dsn, made.id, None) if follow else made, as_json)


tenant_option = options.tenant_option("Only a backfill of this tenant")
"""`--tenant`: only a backfill of this tenant."""


@backfill.command("status")
@click.argument("id_", metavar="ID", type=int)
@tenant_option
@follow_option
@database_option
@json_option
def backfill_status(id_: int, tenant: UUID | None, follow: bool, dsn: str, as_json: bool) -> None:
    """Show the progress of a backfill, and at its end what is still missing. Exit code 1 if jobs have failed."""
    _show(
        _followed(dsn, id_, tenant) if follow else backfills.get_backfill(dsn, id_, tenant=tenant),
        as_json,
    )


@backfill.command("list")
@tenant_option
@click.option("--after", type=int, help="Only backfills older than this id, the last one of the previous page.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number of results."
)
@database_option
@json_option
def list_backfills(tenant: UUID | None, after: int | None, limit: int, dsn: str, as_json: bool) -> None:
    """Print backfills, the newest first."""
    found = backfills.list_backfills(dsn, tenant=tenant, after=after, limit=limit)
    show_page(found, as_json, _LIST_COLUMNS, empty="no backfills")


@backfill.command("cancel")
@click.argument("id_", metavar="ID", type=int)
@tenant_option
@database_option
@json_option
def cancel_backfill(id_: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:
    """Cancel the unfinished jobs of a backfill. Rows that are written stay."""
    show_fields(_fields(backfills.cancel_backfill(dsn, id_, tenant=tenant), as_json), as_json)


@backfill.command("resume")
@click.argument("id_", metavar="ID", type=int)
@tenant_option
@follow_option
@database_option
@json_option
def resume_backfill(id_: int, tenant: UUID | None, follow: bool, dsn: str, as_json: bool) -> None:
    """Enqueue the failed and cancelled jobs of a backfill again."""
    found = backfills.resume_backfill(dsn, id_, tenant=tenant)
    if follow:
        _show(_followed(dsn, id_, tenant), as_json)
    else:
        show_fields(_fields(found, as_json), as_json)


def _spec(
    *,
    tenant: str,
    vendor: str,
    timeframe: str,
    start: datetime,
    end: datetime | None,
    symbols: tuple[str, ...],
    calendar: str | None,
    source: str,
    on_conflict: OnConflict,
    chunk_days: int,
    chunk_series: int,
    priority: int,
    attempts: int,
) -> BackfillSpec:
    try:
        text = Path(source[1:]).read_text(encoding="utf-8") if source.startswith("@") else source
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BackfillError(f"--source is not JSON: {error}") from error
    if not isinstance(settings, dict):
        # Do not repeat it, because it may be a secret.
        raise BackfillError("--source must be a JSON object")
    try:
        return BackfillSpec(
            tenant=tenant,
            vendor=vendor,
            timeframe=timeframe,
            start=start,
            end=end or datetime.now(UTC),
            symbols=symbols or None,
            calendar=calendar,
            source=settings,
            on_conflict=on_conflict,
            chunk_days=chunk_days,
            chunk_series=chunk_series,
            priority=priority,
            attempts=attempts,
        )
    except ValidationError as error:
        raise BackfillError(wrong(error)) from None


def _followed(dsn: str, id_: int, tenant: UUID | None) -> BackfillRecord:
    """Show the progress of a backfill until it ends, and return it."""

    def step(found: BackfillRecord) -> Step | None:
        if found.finished:
            return None
        said = f"until about {found.eta:%H:%M:%S} UTC" if found.eta else found.state
        idle = None
        if found.state == "queued":
            idle = worker.unserved(dsn, found.source) or nobody_works(dsn)
        return Step(found.done, found.missing or None, said, idle)

    return followed(f"backfill {id_}", lambda: backfills.get_backfill(dsn, id_, tenant=tenant), step)


def _show(found: BackfillRecord, as_json: bool) -> None:
    show_fields(_fields(found, as_json), as_json)
    if found.state == "failed":
        sys.exit(FAILED)


def _fields(found: BackfillRecord, as_json: bool) -> dict[str, Any]:
    """Return a record as it is printed; for people, composite values are on one line."""
    fields: dict[str, Any] = plain(found)
    if as_json:
        return fields
    fields["jobs"] = ", ".join(f"{count} {state}" for state, count in found.jobs.items() if count)
    for name in ("source", "params"):
        fields[name] = json.dumps(fields[name], ensure_ascii=False)
    if found.report is not None:
        fields["report"] = (
            f"{counted(found.report.missing, 'bar')} still missing, in {counted(found.report.gaps, 'gap')}"
        )
    return fields
