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
    """A request about a job cannot be done; the message says why."""


class UnknownJob(JobError):
    """The job does not exist, or belongs to another tenant."""


class Conflict(JobError):
    """A job with that idempotency key exists already, with another type or payload."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as an operator sees it.

    `tenant` None is a job of the store itself. `priority` is from 0 to 100, and larger numbers run first; `attempts`
    is the number of started attempts; `due_at` is the earliest start; `worker` has the job or had it last; `done` and
    `total` are in the job's own units. Times are in UTC.
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
    """The number of jobs of a type that are queued, running or failed. Type None counts all other types together."""

    job_type: str | None
    state: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The state of the outbox: counts, and how long the oldest due job has waited for a worker (None: no job)."""

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

# Condition for one job, of any tenant or only of the given one.
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
"""The queues that hold a job: one for each tenant (0: the store itself) and priority. Takes one step of the index for
each queue, however many jobs it holds."""


@contextlib.contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Open a transaction in which times are in UTC; it is committed at the end."""
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        yield connection


class Unreadable(str):
    """The beginning of JSON that PostgreSQL stores but Python cannot read (huge numbers, deep nesting), and why."""

    why: str

    def __new__(cls, text: str, why: str) -> Self:
        made = super().__new__(cls, text[:_SHOWN])
        made.why = why
        return made

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.why


def loads(text: str | bytes) -> Any:
    """Parse JSON from the outbox. Never raises: a tenant may store anything, which must not stop a worker."""
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
"""The number of characters shown of JSON that cannot be read."""


def reading(cursor: psycopg.Cursor[T]) -> psycopg.Cursor[T]:
    """Make a cursor read any JSON of the outbox, and return it."""
    set_json_loads(loads, cursor)
    return cursor


def get_record(connection: psycopg.Connection[Any], id_: int, tenant: UUID | None) -> JobRecord:
    """Return one job, of any tenant or only of the given one. Raises UnknownJob."""
    found = read_records(connection, THIS_JOB, {"id": id_, "tenant": tenant})
    if not found:
        raise UnknownJob(f"there is no job {id_}")
    return found[0]


def read_records(
    connection: psycopg.Connection[Any], condition: Composable, parameters: dict[str, Any]
) -> list[JobRecord]:
    """Return the jobs that meet a condition."""
    with reading(connection.cursor(row_factory=class_row(JobRecord))) as cursor:
        return cursor.execute(SQL("{} WHERE {}").format(SELECT, condition), parameters).fetchall()
