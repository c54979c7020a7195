"""The job outbox for operators: enqueue, list, retry and cancel jobs.

Applications enqueue jobs through their own view (`mds_client.jobs`). `datastore.worker` runs them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.sql import SQL
from psycopg.types.json import Jsonb
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from datastore.jobs.records import (
    QUEUES,
    SELECT,
    THIS_JOB,
    Backlog,
    Conflict,
    JobCount,
    JobError,
    JobRecord,
    connected,
    get_record,
    loads,
    read_records,
)
from datastore.names import FULLEST_QUEUE, JOBS_CHANNEL, MAX_ATTEMPTS
from datastore.pages import ListPage, read_page

CANCEL: Final = "cancel"
"""The payload of an announcement that a running job is to be cancelled."""


def enqueue(
    connection: psycopg.Connection[Any],
    job_type: str,
    payload: BaseModel | dict[str, Any],
    *,
    tenant: UUID | None,
    idempotency_key: str,
    priority: int = 50,
    due_at: datetime | None = None,
    backfill: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
) -> JobRecord:
    """Enqueue a job in the caller's transaction, and return it. With `tenant` None it is a job of the store itself.

    A tenant's idempotency key always stands for the same job: if the job exists, it is returned in its current state.
    Raises Conflict if that job has another type or payload, and JobError for an unknown tenant, an empty key or type, a
    priority that is not from 0 to 100, or a value that is too long (`datastore.schema`).
    """
    for name, value in (("idempotency key", idempotency_key), ("job type", job_type)):
        if not value.strip():
            raise JobError(f"the {name} is empty")
    if not 0 <= priority <= 100:
        raise JobError(f"a priority must be from 0 to 100, not {priority}")
    body = Jsonb(to_jsonable_python(payload))
    no = _tenant_no(connection, tenant)
    try:
        # Waits for any other transaction that is inserting the same job.
        connection.execute(
            """
            INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, payload, priority, due_at, backfill_id,
                                    max_attempts)
            VALUES (%s, %s, %s, %s, %s, coalesce(%s, now()), %s, %s)
            ON CONFLICT DO NOTHING
            """,
            (no, idempotency_key, job_type, body, priority, due_at, backfill, max_attempts),
        )
    except errors.CheckViolation as error:
        raise JobError(error.diag.message_primary or str(error)) from error
    # IS NOT DISTINCT FROM would cover both cases, but no index serves it.
    this = SQL("tenant_no {} AND idempotency_key = %(key)s").format(SQL("IS NULL" if no is None else "= %(no)s"))
    found = read_records(connection, this, {"no": no, "key": idempotency_key})
    if not found:
        raise JobError(f"job {idempotency_key!r} was created by someone else just now: try again in a new transaction")
    job = found[0]
    # Compare in the database: in Python, true equals 1, and a number may come back from JSON as another one.
    same = connection.execute(
        "SELECT job_type = %s AND payload = %s FROM store.jobs WHERE id = %s", (job_type, body, job.id)
    ).fetchone()
    if same != (True,):
        raise Conflict(f"job {idempotency_key!r} already exists with another type or payload: {job.job_type}")
    return job


def list_jobs(
    dsn: str,
    *,
    tenant: UUID | None = None,
    state: str | None = None,
    job_type: str | None = None,
    after: int | None = None,
    limit: int = 100,
) -> ListPage[JobRecord]:
    """List jobs, newest first, optionally only those of one tenant, state or type.

    `after` is the id of the last job of the page before. Returns at most `limit` jobs, and fewer if they are large.
    """
    # Only the conditions that are asked for, so that an index serves them.
    conditions = [
        SQL(condition)
        for value, condition in (
            (tenant, "tenant_no = (SELECT no FROM store.tenants WHERE id = %(tenant)s)"),
            (state, "state = %(state)s"),
            (job_type, "job_type = %(job_type)s"),
            (after, "j.id < %(after)s"),
        )
        if value is not None
    ]
    with connected(dsn) as connection:
        return read_page(
            connection,
            SQL("{} WHERE {}").format(SELECT, SQL(" AND ").join(conditions) if conditions else SQL("true")),
            {"tenant": tenant, "state": state, "job_type": job_type, "after": after},
            JobRecord,
            limit,
            loads,
        )


def get_job(dsn: str, id: int, *, tenant: UUID | None = None) -> JobRecord:  # noqa: A002
    """Return a job. Raises UnknownJob if the id does not exist or belongs to another tenant than the given one."""
    with connected(dsn) as connection:
        return get_record(connection, id, tenant)


def retry_job(dsn: str, id: int, *, tenant: UUID | None = None) -> JobRecord:  # noqa: A002
    """Requeue a failed or cancelled job with all its attempts, or make a queued one due now.

    Raises UnknownJob, and JobError if it is running or has succeeded.
    """
    with connected(dsn) as connection:
        changed = connection.execute(
            SQL("""
            UPDATE store.jobs AS j
            SET state = 'queued', due_at = now(), finished_at = NULL, error = NULL, result = NULL, done = NULL,
                total = NULL, cancel_requested = false,
                attempts = CASE WHEN j.state = 'queued' THEN j.attempts ELSE 0 END
            WHERE {} AND j.state IN ('queued', 'failed', 'cancelled')
            """).format(THIS_JOB),
            {"id": id, "tenant": tenant},
        ).rowcount
        job = get_record(connection, id, tenant)
        if not changed:
            raise JobError(f"job {id} is {job.state}: only a failed, cancelled or waiting job can be tried again")
        announce(connection)
        return job


def cancel_job(dsn: str, id: int, *, tenant: UUID | None = None) -> JobRecord:  # noqa: A002
    """Cancel a job: a queued one at once, a running one as soon as its function checks.

    A job that is cancelled already stays as it is. Raises UnknownJob, and JobError if it has ended otherwise.
    """
    with connected(dsn) as connection:
        changed = connection.execute(
            SQL("""
            UPDATE store.jobs AS j
            SET cancel_requested = true,
                state = CASE WHEN j.state = 'queued' THEN 'cancelled' ELSE j.state END,
                finished_at = CASE WHEN j.state = 'queued' THEN now() END
            WHERE {} AND j.state IN ('queued', 'running')
            """).format(THIS_JOB),
            {"id": id, "tenant": tenant},
        ).rowcount
        job = get_record(connection, id, tenant)
        if not changed and job.state != "cancelled":
            raise JobError(f"job {id} has {job.state} already")
        announce(connection, CANCEL)
        return job


def announce(connection: psycopg.Connection[Any], what: str = "") -> None:
    """Notify the workers when the transaction commits, unless the server's queue of notifications is filling up."""
    connection.execute(
        "SELECT pg_notify(%s, %s) WHERE pg_notification_queue_usage() < %s", (JOBS_CHANNEL, what, FULLEST_QUEUE)
    )


def backlog(connection: psycopg.Connection[Any], types: Sequence[str]) -> Backlog:
    """Return the state of the outbox for metrics; jobs of types that are not listed are counted together.

    Reads only the index entries of the jobs that it counts. Jobs that succeeded or were cancelled are not counted and
    cost nothing, however many there are.
    """
    counts = connection.execute(
        "SELECT CASE WHEN job_type = ANY(%s) THEN job_type END, state, count(*) FROM store.jobs"
        " WHERE state IN ('queued', 'running', 'failed') GROUP BY 1, 2 ORDER BY 1, 2",
        (list(types),),
    ).fetchall()
    oldest = connection.execute(
        QUEUES
        + SQL(
            "SELECT now() - min(j.due_at) FROM queues AS q CROSS JOIN LATERAL ("
            "SELECT due_at FROM store.jobs WHERE state = 'queued' AND coalesce(tenant_no, 0) = q.tenant"
            " AND priority = q.priority AND due_at <= now() ORDER BY due_at, id LIMIT 1) AS j"
            # Jobs of a disabled tenant wait for the tenant, not for a worker.
            " WHERE q.tenant = 0"
            " OR EXISTS (SELECT FROM store.tenants AS t WHERE t.no = q.tenant AND t.disabled_at IS NULL)"
        )
    ).fetchone()
    assert oldest is not None
    return Backlog([JobCount(*row) for row in counts], oldest[0])


def _tenant_no(connection: psycopg.Connection[Any], tenant: UUID | None) -> int | None:
    if tenant is None:
        return None
    row = connection.execute("SELECT no FROM store.tenants WHERE id = %s", (tenant,)).fetchone()
    if row is None:
        raise JobError(f"there is no tenant {tenant}")
    return int(row[0])
