"""`worker` and `jobs`: jobs of the outbox, and the worker that runs them."""

import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import click

from datastore import jobs as outbox
from datastore.commands import follow, options
from datastore.commands.listing import show_page
from datastore.commands.options import database_option
from datastore.config import SettingsError
from datastore.connections import connect
from datastore.worker import Watch, Worker, WorkerSettings
from mds_client.console import Instant, json_option, plain, show_fields, show_rows

_LISTED = ("id", "tenant", "job_type", "priority", "state", "attempts", "due_at", "done", "total", "error")


def import_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--import`: further modules that register job types."""
    option = click.option(
        "--import",
        "modules",
        multiple=True,
        metavar="MODULE",
        help="A module that registers job types, beside those of installed packages. Repeatable.",
    )
    return option(command)


tenant_option = options.tenant_option("Only jobs of this tenant")
"""`--tenant`: only jobs of this tenant."""


class Seconds(click.ParamType[timedelta]):
    """A duration in seconds."""

    name = "seconds"

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        with contextlib.suppress(ValueError):
            if self.least <= float(value) <= 86400:
                return timedelta(seconds=float(value))
        return self.fail(f"{value!r} is not a number of seconds from {self.least:g} to 86400", param, ctx)


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Jobs at once.")
@click.option("--grace", type=Seconds(0), default=30, show_default=True,
              help="Seconds that running jobs have to end on SIGTERM. The rest is queued again.")  # fmt: skip
@click.option("--lease", type=Seconds(1), default=30, show_default=True,
              help="Seconds until another worker takes over the jobs of one that was killed.")  # fmt: skip
@click.option("--poll", type=Seconds(0.05), default=5, show_default=True,
              help="Seconds between polls if no notification arrives.")  # fmt: skip
@click.option("--process-jobs", type=click.IntRange(1), default=1000, show_default=True,
              help="Jobs after which a job process is replaced.")  # fmt: skip
@click.option("--process-memory", type=click.IntRange(1), default=512, show_default=True,
              help="MB of memory after which a job process is replaced.")  # fmt: skip
@click.option("--until-idle", is_flag=True, help="End when no job is due and none runs.")
@click.option("--no-upkeep", is_flag=True, help="Do not enqueue the store's own periodic jobs.")
@click.option("--verbose", is_flag=True, help="Log tracebacks of failures.")
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Port for Prometheus metrics. [default: no metrics]"
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address for Prometheus metrics.")
@import_option
@database_option
@json_option
def worker(
    concurrency: int,
    grace: timedelta,
    lease: timedelta,
    poll: timedelta,
    process_jobs: int,
    process_memory: int,
    until_idle: bool,
    no_upkeep: bool,
    verbose: bool,
    metrics_port: int | None,
    metrics_host: str,
    modules: tuple[str, ...],
    dsn: str,
    as_json: bool,
) -> None:
    """Run jobs of the outbox until SIGTERM or SIGINT. A second signal ends the grace. You can run several workers.

    Logs one line for each job to stderr. At the end it prints the number of jobs by state (queued: to be tried again).
    """
    # Log only warnings of other libraries: their other messages may hold secrets, for example in a whole URL.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("datastore").setLevel(logging.DEBUG if verbose else logging.INFO)
    settings = WorkerSettings(
        concurrency, lease, poll, grace, until_idle, not no_upkeep, process_jobs, process_memory=process_memory << 20
    )
    types = outbox.load(*modules)
    with contextlib.ExitStack() as stack:
        watch = _watching(types, metrics_host, metrics_port, stack) if metrics_port else None
        working = Worker(dsn, types, settings, watch)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: working.stop())
        counts = working.run()
    show_fields({state: counts[state] for state in outbox.STATES if state != "running"}, as_json)


def _watching(types: Collection[str], host: str, port: int, stack: contextlib.ExitStack) -> Watch:
    """Count the worker's jobs, and answer Prometheus until the stack is left."""
    try:
        from datastore.metrics import WorkerMetrics
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is missing: install the extra metrics (see Installing)") from error
    watch = WorkerMetrics(types)
    try:
        server = watch.serve(port, host)
    except OSError as error:
        raise options.cannot_listen("--metrics-port", port, host, error) from error
    stack.enter_context(contextlib.closing(server))
    return watch


@click.group()
def jobs() -> None:
    """List, show, follow, retry, cancel and enqueue jobs."""


@jobs.command("list")
@tenant_option
@click.option("--state", type=click.Choice(outbox.STATES), help="Only jobs in this state.")
@click.option("--type", "job_type", help="Only jobs of this type.")
@click.option("--after", type=int, help="Only jobs older than this id, the last one of the previous page.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Maximum number of results."
)
@database_option
@json_option
def list_jobs(
    tenant: UUID | None, state: str | None, job_type: str | None, after: int | None, limit: int, dsn: str, as_json: bool
) -> None:
    """Print jobs, the newest first."""
    found = outbox.list_jobs(dsn, tenant=tenant, state=state, job_type=job_type, after=after, limit=limit)
    show_page(found, as_json, _LISTED, empty="no jobs")


@jobs.command("show")
@click.argument("id", type=int)
@tenant_option
@database_option
@json_option
def show_job(id: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:  # noqa: A002
    """Print a job: payload, progress, result."""
    _show(outbox.get_job(dsn, id, tenant=tenant), as_json)


@jobs.command("follow")
@click.argument("id", type=int)
@tenant_option
@database_option
@json_option
def follow_job(id: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:  # noqa: A002
    """Wait until a job ends, show its progress, and print it. Exit code 1 if it failed or was cancelled."""
    found = follow.job(dsn, id, tenant)
    _show(found, as_json)
    follow.end(found)


@jobs.command("retry")
@click.argument("id", type=int)
@tenant_option
@database_option
@json_option
def retry_job(id: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:  # noqa: A002
    """Enqueue a failed or cancelled job again. A job that waits for its next attempt starts now."""
    _show(outbox.retry_job(dsn, id, tenant=tenant), as_json)


@jobs.command("cancel")
@click.argument("id", type=int)
@tenant_option
@database_option
@json_option
def cancel_job(id: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:  # noqa: A002
    """Cancel a job. A running job ends when its function checks for it, or is killed."""
    _show(outbox.cancel_job(dsn, id, tenant=tenant), as_json)


@jobs.command("types")
@import_option
@json_option
def list_types(modules: tuple[str, ...], as_json: bool) -> None:
    """Print every job type that a worker would know, with its function and the schema of its payload."""
    found = [
        {"job_type": kind.name, "function": kind.where, "payload": schema if as_json else ", ".join(properties)}
        for kind in outbox.load(*modules).values()
        for schema in [kind.payload.json_schema()]
        for properties in [schema.get("properties", {})]
    ]
    show_rows(found, as_json)


@jobs.command("enqueue")
@click.argument("job_type")
@options.tenant_option("The tenant of the job, none for a job of the store itself")
@click.option("--idempotency-key", required=True, help="The same key of a tenant is always the same job.")
@click.option("--payload", default="{}", show_default=True, help="A JSON object.")
@click.option(
    "--priority", type=click.IntRange(0, 100), default=50, show_default=True, help="Larger numbers run first."
)
@click.option("--due", type=Instant(), help="Earliest start, ISO. [default: now]")
@database_option
@json_option
def enqueue(
    job_type: str,
    tenant: UUID | None,
    idempotency_key: str,
    payload: str,
    priority: int,
    due: datetime | None,
    dsn: str,
    as_json: bool,
) -> None:
    """Enqueue a job and print it. If the key exists, print that job.

    Example: datastore jobs enqueue maintain-retention --idempotency-key now-please
    """
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--payload") from error
    if not isinstance(body, dict):
        raise click.BadParameter("no JSON object", param_hint="--payload")
    with connect(dsn) as connection:
        job = outbox.enqueue(
            connection,
            job_type,
            body,
            tenant=tenant,
            idempotency_key=idempotency_key,
            priority=priority,
            due_at=due,
        )
    _show(job, as_json)


def _show(job: outbox.JobRecord, as_json: bool) -> None:
    fields = plain(job)
    if not as_json:
        fields |= {name: json.dumps(fields[name]) for name in ("payload", "result") if fields[name] is not None}
    show_fields(fields, as_json)
