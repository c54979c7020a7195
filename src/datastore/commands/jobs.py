"""`worker` and `jobs`: what is put down in the outbox, and who does it."""

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
from datastore.commands import follow
from datastore.commands.listing import show_page
from datastore.commands.options import database_option
from datastore.config import ConfigurationError
from datastore.connections import connect
from datastore.worker import Settings, Watch, Worker
from mds_client.console import Instant, json_option, plain, show_fields, show_rows

_LISTED = ("id", "tenant", "job_type", "priority", "state", "attempts", "due_at", "done", "total", "error")


def import_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--import`: where else job types are."""
    option = click.option(
        "--import",
        "modules",
        multiple=True,
        metavar="MODULE",
        help="A module that registers job types, beside those of installed packages. Repeatable.",
    )
    return option(command)


def tenant_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--tenant`: only that one's jobs."""
    return click.option("--tenant", type=click.UUID, help="Only jobs of this tenant.")(command)


class Seconds(click.ParamType[timedelta]):
    """A span of time in seconds."""

    name = "seconds"

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        with contextlib.suppress(ValueError):
            if self.least <= float(value) <= 86400:
                return timedelta(seconds=float(value))
        return self.fail(f"{value!r} is no number of seconds from {self.least:g} to 86400", param, ctx)


@click.command()
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Jobs at once.")
@click.option("--grace", type=Seconds(0), default=30, show_default=True,
              help="Seconds that running jobs have to end on SIGTERM; the rest is given back.")  # fmt: skip
@click.option("--lease", type=Seconds(1), default=30, show_default=True,
              help="Seconds until another worker takes over the jobs of one that was killed.")  # fmt: skip
@click.option("--poll", type=Seconds(0.05), default=5, show_default=True,
              help="Seconds between looks where no announcement comes through.")  # fmt: skip
@click.option("--process-jobs", type=click.IntRange(1), default=1000, show_default=True,
              help="Jobs after which a job process is replaced.")  # fmt: skip
@click.option("--process-memory", type=click.IntRange(1), default=512, show_default=True,
              help="MB of memory after which a job process is replaced.")  # fmt: skip
@click.option("--until-idle", is_flag=True, help="End once nothing is due and nothing runs.")
@click.option("--no-upkeep", is_flag=True, help="Put down no periodic jobs of the store's own.")
@click.option("--verbose", is_flag=True, help="Log tracebacks of what fails, too.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Answer Prometheus there. [default: not at all]")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address for that.")
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
    """Do the jobs of the outbox, until SIGTERM or SIGINT; a second one ends the grace. As many at once as you like.

    Logs a line a job to stderr; at the end prints how many ended in which state (queued: to be tried again).
    """
    # Of other libraries only what is wrong: what they log beside that may hold secrets, as a whole URL does.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("datastore").setLevel(logging.DEBUG if verbose else logging.INFO)
    settings = Settings(
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
    """What counts the worker's jobs, and answers Prometheus until the stack is left."""
    try:
        from datastore.metrics import WorkerMetrics
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{error.name} is missing: install the extra metrics (see Installing)") from error
    watch = WorkerMetrics(types)
    try:
        server = watch.serve(port, host)
    except OSError as error:
        raise ConfigurationError(
            f"--metrics-port {port} on {host} cannot be listened on: {error.strerror or error}"
        ) from error
    stack.enter_context(contextlib.closing(server))
    return watch


@click.group()
def jobs() -> None:
    """The jobs of the outbox: look at them, try them again, cancel them, put one down."""


@jobs.command("list")
@tenant_option
@click.option("--state", type=click.Choice(outbox.STATES), help="Only jobs in this state.")
@click.option("--type", "job_type", help="Only jobs of this type.")
@click.option("--after", type=int, help="Only older ones than the job of this id: the last one of the page before.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
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
    """Print a job: its payload, how far it is, what came of it."""
    _show(outbox.get_job(dsn, id, tenant=tenant), as_json)


@jobs.command("follow")
@click.argument("id", type=int)
@tenant_option
@database_option
@json_option
def follow_job(id: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:  # noqa: A002
    """Wait for a job's end, show how far it is, and print it; exit code 1 where it has failed or was cancelled."""
    found = follow.job(dsn, id, tenant)
    _show(found, as_json)
    follow.end(found)


@jobs.command("retry")
@click.argument("id", type=int)
@tenant_option
@database_option
@json_option
def retry_job(id: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:  # noqa: A002
    """Queue a job again that has failed or was cancelled; have one that waits to be tried again begin now."""
    _show(outbox.retry_job(dsn, id, tenant=tenant), as_json)


@jobs.command("cancel")
@click.argument("id", type=int)
@tenant_option
@database_option
@json_option
def cancel_job(id: int, tenant: UUID | None, dsn: str, as_json: bool) -> None:  # noqa: A002
    """Cancel a job: a queued one at once, a running one as soon as its function looks."""
    _show(outbox.cancel_job(dsn, id, tenant=tenant), as_json)


@jobs.command("types")
@import_option
@json_option
def list_types(modules: tuple[str, ...], as_json: bool) -> None:
    """Print every job type that a worker here would know, its function, and what a payload has to be."""
    found = [
        {"job_type": kind.name, "function": kind.where, "payload": schema if as_json else ", ".join(properties)}
        for kind in outbox.load(*modules).values()
        for schema in [kind.payload.json_schema()]
        for properties in [schema.get("properties", {})]
    ]
    show_rows(found, as_json)


@jobs.command("enqueue")
@click.argument("job_type")
@click.option("--tenant", type=click.UUID, help="Whose job it is. [default: the store's own]")
@click.option("--idempotency-key", required=True, help="The same key of a tenant is the same job for ever.")
@click.option("--payload", default="{}", show_default=True, help="A JSON object.")
@click.option("--priority", type=click.IntRange(0, 100), default=50, show_default=True, help="The larger one first.")
@click.option("--due", type=Instant(), help="Not before this time, ISO. [default: now]")
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
    """Put a job down, and print it; with a key that is there already, print that job.

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
