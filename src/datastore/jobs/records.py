"""Jobs as they are stored and read."""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Composable
from psycopg.types.json import set_json_loads

from datastore.connections import connect
from datastore.errors import ControlError

STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")


class JobError(ControlError):
    """A job cannot do what you asked for; the message says why."""


class UnknownJob(JobError):
    """There is no such job, or it is another tenant's."""


class Conflict(JobError):
    """A job with that idempotency key is there already, of another type or payload."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as an operator sees it.

    `tenant` None is a job of the store itself. `priority` is from 0 to 100, the larger one first; `attempts` is how
    often it was begun; `due_at` is when it may begin; `worker` is who has it or had it last; `done` and `total` are in
    units of the job's own. Times are in UTC.
    """

    id: int
    tenant: UUID | None
    idempotency_key: str
    job_type: str
    payload: Any
    priority: int
    state: str
    attempts: int
    max_attempts: int
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    leased_until: datetime | None
    done: int | None
    total: int | None
    result: Any
    error: str | None
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many jobs of a type are in a state that someone waits for: queued, running or failed. No type: the others."""

    job_type: str | None
    state: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The content of the outbox: counts, and for how long the job has been due that has waited longest for a worker
    (None: none is due)."""

    counts: list[JobCount]
    oldest_due: timedelta | None


T = TypeVar("T")


# Every statement that reads a job reads these columns as a `JobRecord`.
COLUMNS: Final = SQL("""
j.id, t.id AS tenant, j.idempotency_key, j.job_type, j.payload, j.priority, j.state, j.attempts, j.max_attempts,
j.created_at, j.due_at, j.started_at, j.finished_at, j.worker, j.leased_until, j.done, j.total, j.result, j.error,
j.cancel_requested
""")
SELECT: Final = SQL("SELECT {} FROM store.jobs AS j LEFT JOIN store.tenants AS t ON t.no = j.tenant_no").format(COLUMNS)

# One job: any, or with a tenant given only that one's.
THIS_JOB: Final = SQL(
    "j.id = %(id)s AND (%(tenant)s::uuid IS NULL OR j.tenant_no = (SELECT no FROM store.tenants WHERE id = %(tenant)s))"
)


QUEUES: Final = SQL("""
WITH RECURSIVE queues AS (
  (SELECT coalesce(tenant_no, 0) AS tenant, priority FROM store.jobs WHERE state = 'queued'
   ORDER BY coalesce(tenant_no, 0), priority LIMIT 1)
  UNION ALL
  SELECT n.tenant, n.priority FROM queues AS q CROSS JOIN LATERAL (
    SELECT coalesce(tenant_no, 0) AS tenant, priority FROM store.jobs
    WHERE state = 'queued' AND (coalesce(tenant_no, 0), priority) > (q.tenant, q.priority)
    ORDER BY coalesce(tenant_no, 0), priority LIMIT 1) AS n
)
""")
"""The queues that hold a job: one for each tenant (0: the store itself) and priority. One step of the index each,
however many jobs they hold."""


@contextlib.contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction in which times come back in UTC, committed at the end."""
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        yield connection


class Unreadable(str):
    """JSON that PostgreSQL stores and Python does not read, as the beginning of its text, and why: numbers without
    bounds, endless nesting."""

    why: str

    def __new__(cls, text: str, why: str) -> Self:
        made = super().__new__(cls, text[:_SHOWN])
        made.why = why
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.why


def loads(text: str | bytes) -> Any:
    """Read JSON of the outbox. A tenant can put anything there, and nothing of it may stop a worker or a list."""
    try:
        return json.loads(text, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return Unreadable(text.decode() if isinstance(text, bytes) else text, str(error))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"a number of {len(text)} digits")
    return number


_SHOWN: Final = 1000
"""Characters of what cannot be read that are shown."""


def reading(cursor: psycopg.Cursor[T]) -> psycopg.Cursor[T]:
    """The cursor, which reads JSON of the outbox whatever it holds."""
    set_json_loads(loads, cursor)
    return cursor


def get_record(connection: psycopg.Connection[Any], id_: int, tenant: UUID | None) -> JobRecord:
    """One job, of any tenant or only of the given one. Raises UnknownJob."""
    found = read_records(connection, THIS_JOB, {"id": id_, "tenant": tenant})
    if not found:
        raise UnknownJob(f"there is no job {id_}")
    return found[0]


def read_records(
    connection: psycopg.Connection[Any], condition: Composable, parameters: dict[str, Any]
) -> list[JobRecord]:
    """The jobs that meet a condition."""
    with reading(connection.cursor(row_factory=class_row(JobRecord))) as cursor:
        return cursor.execute(SQL("{} WHERE {}").format(SELECT, condition), parameters).fetchall()
