"""The job outbox as the control plane sees it: what a job is, its types, and what an operator does with it.

A job type is a plain function, `job_type("name")` on it, that a third party may bring by the entry point group
`datastore.jobs`. Applications put jobs down through their own view (`mds_client.jobs`); the control plane through
`enqueue`. Who runs them is in `datastore.worker`, what runs at regular times in `datastore.maintenance`.
"""

import contextlib
import importlib
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import entry_points
from typing import Annotated, Any, Final, Self, TypeVar, get_type_hints
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.rows import class_row
from psycopg.sql import SQL, Composable
from psycopg.types.json import Jsonb, set_json_loads
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from datastore.connections import connect
from datastore.control import ControlError
from datastore.objects import JOBS_CHANNEL
from datastore.pages import Page, read_page
from datastore.schema import MAX_ATTEMPTS
from mds_client import KINDS

ENTRY_POINTS: Final = "datastore.jobs"
"""The entry point group: each names a module, or something in one, whose import registers job types."""

BUILT_IN: Final = (
    "datastore.filling",
    "datastore.gaps",
    "datastore.maintenance",
    "datastore.service_jobs",
    "datastore.tenants",
)
"""The modules of this distribution that register job types."""

STATES: Final = ("queued", "running", "succeeded", "failed", "cancelled")

CANCEL: Final = "cancel"
"""What is sent beside the announcement of new jobs: that some running job is to be cancelled."""


class JobError(ControlError):
    """What was asked of a job cannot be done; the message says why."""


class UnknownJob(JobError):
    """There is no such job, or it is another tenant's."""


class Conflict(JobError):
    """A job with that idempotency key is there already, of another type or payload."""


class JobFailed(Exception):
    """Raised by a job's function where trying again would not help: the job has failed, with this message."""


class Cancelled(BaseException):
    """Raised within a job's function that has to end: it was cancelled, its lease was lost, or its worker ends.

    No Exception, so that a function's own handlers of errors let it pass.
    """


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
    """How many jobs of a type are in a state that somebody waits for: queued, running or failed."""

    job_type: str
    state: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the outbox holds: counts, and for how long the job has been due that has waited longest for a worker (None:
    none is due)."""

    counts: list[JobCount]
    oldest_due: timedelta | None


def _nobody_listens(_done: int | None, _total: int | None) -> None:
    """Outside of a worker there is nobody to tell, and nobody who cancels."""


@dataclass
class JobContext:
    """What a job's function gets beside its payload: the job, and the control plane's DSN."""

    job: JobRecord
    dsn: str = field(repr=False)
    report: Callable[[int | None, int | None], None] = field(default=_nobody_listens, repr=False)

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far it is; stored within a second. Costs next to nothing: call it as often as you like.

        Raises Cancelled where the function has to end.
        """
        self.report(done, total)

    def check(self) -> None:
        """Raise Cancelled where the function has to end: what it has done stays, and it may be called again."""
        self.report(None, None)


Function = Callable[[JobContext, Any], Any]
AnyFunction = TypeVar("AnyFunction", bound=Function)
T = TypeVar("T")


class Order(BaseModel):
    """What a job of the store's is told: no more than is known, so that nothing misspelt is left out."""

    model_config = ConfigDict(extra="forbid")


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; there are: {', '.join(KINDS)}")
    return kind


KindName = Annotated[str, AfterValidator(_known)]


@dataclass(frozen=True, slots=True)
class JobType:
    """A sort of job: its function, what reads its payload, and how long to wait after its first failure.

    Each further failure doubles that, up to `MAX_BACKOFF`; up to half of it is taken off at random, so that jobs that
    failed together do not come back together. A type that is `store_only` is for the store's own jobs: a tenant may put
    down a job of any type, and one of such a type fails. A job that runs longer than `timeout` is ended, which counts
    as a failure; None is no limit.
    """

    name: str
    function: Function
    payload: TypeAdapter[Any]
    backoff: timedelta
    store_only: bool
    timeout: timedelta | None = None

    @property
    def where(self) -> str:
        """The function's module and name."""
        return f"{self.function.__module__}:{self.function.__qualname__}"


BACKOFF: Final = timedelta(seconds=5)
MAX_BACKOFF: Final = timedelta(minutes=15)

_types: dict[str, JobType] = {}


def job_type(
    name: str, *, backoff: timedelta = BACKOFF, store_only: bool = False, timeout: timedelta | None = None
) -> Callable[[AnyFunction], AnyFunction]:
    """Register a function as what runs jobs of this type.

    It takes a `JobContext` and a payload, whose annotation (a pydantic model, or anything that pydantic reads) says
    what a payload has to be; what it returns is stored as the job's result and must be what JSON knows. It runs in the
    main thread of a process that the worker keeps for jobs. It must be idempotent: after a worker was killed, its jobs
    run again. It has the control plane's rights: what it does has to be for `context.job.tenant`, whatever the payload
    says.

    Args:
        name: The type's name.
        backoff: How long to wait after the first failure; each further one doubles that.
        store_only: Whether it is never called for a tenant's job.
        timeout: How long a job may run. Then `Cancelled` is raised when the function reports or checks; if it does
            neither, its process is killed a second later. The attempt has failed. None is no limit.

    Raises:
        JobError: The name is taken by another function, or the function cannot run jobs.
    """

    def register(function: AnyFunction) -> AnyFunction:
        payload = _payload_of(function)
        made = JobType(name, function, payload, backoff, store_only, timeout)
        if (there := _types.get(name)) is not None and there.where != made.where:
            raise JobError(f"job type {name!r} is {there.where} already, and cannot be {made.where} too")
        _types[name] = made
        return function

    return register


def _payload_of(function: Function) -> TypeAdapter[Any]:
    where = f"{function.__module__}:{function.__qualname__}"
    parameters = list(inspect.signature(function).parameters)
    if inspect.iscoroutinefunction(function) or len(parameters) != 2:
        raise JobError(f"{where} cannot run jobs: a plain function of a context and a payload does")
    annotation = get_type_hints(function).get(parameters[1])
    if annotation is None:
        raise JobError(f"{where} cannot run jobs: the annotation of {parameters[1]!r} says what a payload is")
    return TypeAdapter(annotation)


class JobTypes(dict[str, JobType]):
    """Job types by name, and the modules to import for the same types in another process."""

    def __init__(self, types: Mapping[str, JobType], modules: Sequence[str]) -> None:
        super().__init__(types)
        self.modules = tuple(modules)


def load(*modules: str) -> JobTypes:
    """Every job type there is, by name: the store's own, those of entry points, and what importing `modules` registers.

    Raises JobError where one cannot be loaded: a worker that lacks a type would give up its jobs.
    """
    for module in (*BUILT_IN, *modules):
        _loaded(module, partial(importlib.import_module, module))
    for entry in entry_points(group=ENTRY_POINTS):
        _loaded(f"{entry.value} (entry point {entry.name!r})", entry.load)
    return JobTypes(dict(sorted(_types.items())), modules)


def _loaded(what: str, load_it: Callable[[], object]) -> None:
    try:
        load_it()
    except JobError:
        raise
    except Exception as error:
        raise JobError(f"job types of {what} cannot be loaded: {type(error).__name__}: {error}") from error


# Every statement that reads a job reads these columns as a `JobRecord`.
COLUMNS: Final = SQL("""
j.id, t.id AS tenant, j.idempotency_key, j.job_type, j.payload, j.priority, j.state, j.attempts, j.max_attempts,
j.created_at, j.due_at, j.started_at, j.finished_at, j.worker, j.leased_until, j.done, j.total, j.result, j.error,
j.cancel_requested
""")
_SELECT: Final = SQL("SELECT {} FROM store.jobs AS j LEFT JOIN store.tenants AS t ON t.no = j.tenant_no").format(
    COLUMNS
)

# One job: any, or with a tenant given only that one's.
_THIS: Final = SQL(
    "j.id = %(id)s AND (%(tenant)s::uuid IS NULL OR j.tenant_no = (SELECT no FROM store.tenants WHERE id = %(tenant)s))"
)


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
    """Put a job into the outbox, in the caller's transaction, and return it. `tenant` None is the store itself.

    The same key of the same tenant is the same job for ever: the one that is there is returned as it is by now.
    Raises Conflict where that one is of another type or payload, and JobError for an unknown tenant, an empty key or
    type, a priority that is not from 0 to 100, or what is too long (`datastore.objects`).
    """
    for name, value in (("idempotency key", idempotency_key), ("job type", job_type)):
        if not value.strip():
            raise JobError(f"the {name} is empty")
    if not 0 <= priority <= 100:
        raise JobError(f"a priority is from 0 to 100, not {priority}")
    body = Jsonb(to_jsonable_python(payload))
    no = _tenant_no(connection, tenant)
    try:
        # Whoever else is making the same job just now is waited for.
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
    # IS NOT DISTINCT FROM would say both, and no index serves it.
    this = SQL("tenant_no {} AND idempotency_key = %(key)s").format(SQL("IS NULL" if no is None else "= %(no)s"))
    found = _records(connection, this, {"no": no, "key": idempotency_key})
    if not found:
        raise JobError(f"job {idempotency_key!r} was made by somebody else just now: try again in a new transaction")
    job = found[0]
    # As the database has it: to Python true is 1, and a number that came back from there may be another one.
    same = connection.execute(
        "SELECT job_type = %s AND payload = %s FROM store.jobs WHERE id = %s", (job_type, body, job.id)
    ).fetchone()
    if same != (True,):
        raise Conflict(f"job {idempotency_key!r} is there already with another type or payload: {job.job_type}")
    return job


def list_jobs(
    dsn: str,
    *,
    tenant: UUID | None = None,
    state: str | None = None,
    job_type: str | None = None,
    after: int | None = None,
    limit: int = 100,
) -> Page[JobRecord]:
    """Jobs, newest first: of one tenant or all, in one state or any, of one type or any.

    `after` is the id of the last one of the page before; at most `limit` come back, and fewer where they are large.
    """
    # Only what is asked for, so that an index serves it.
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
    with _connected(dsn) as connection:
        return read_page(
            connection,
            SQL("{} WHERE {}").format(_SELECT, SQL(" AND ").join(conditions) if conditions else SQL("true")),
            {"tenant": tenant, "state": state, "job_type": job_type, "after": after},
            JobRecord,
            limit,
            _loads,
        )


def get_job(dsn: str, id: int, *, tenant: UUID | None = None) -> JobRecord:  # noqa: A002
    """One job. Raises UnknownJob where there is none of that id, or, with a tenant given, it is not that tenant's."""
    with _connected(dsn) as connection:
        return _get(connection, id, tenant)


def retry_job(dsn: str, id: int, *, tenant: UUID | None = None) -> JobRecord:  # noqa: A002
    """Queue a job again that has failed or was cancelled, with all its attempts; or have one begin that waits.

    Raises UnknownJob, and JobError where it is running or has succeeded.
    """
    with _connected(dsn) as connection:
        changed = connection.execute(
            SQL("""
            UPDATE store.jobs AS j
            SET state = 'queued', due_at = now(), finished_at = NULL, error = NULL, result = NULL, done = NULL,
                total = NULL, cancel_requested = false,
                attempts = CASE WHEN j.state = 'queued' THEN j.attempts ELSE 0 END
            WHERE {} AND j.state IN ('queued', 'failed', 'cancelled')
            """).format(_THIS),
            {"id": id, "tenant": tenant},
        ).rowcount
        job = _get(connection, id, tenant)
        if not changed:
            raise JobError(f"job {id} is {job.state}: only one that has failed, was cancelled or waits is tried again")
        announce(connection)
        return job


def cancel_job(dsn: str, id: int, *, tenant: UUID | None = None) -> JobRecord:  # noqa: A002
    """Cancel a job: one that is queued at once, one that is running as soon as its function looks.

    One that is cancelled already is left as it is. Raises UnknownJob, and JobError where it has ended otherwise.
    """
    with _connected(dsn) as connection:
        changed = connection.execute(
            SQL("""
            UPDATE store.jobs AS j
            SET cancel_requested = true,
                state = CASE WHEN j.state = 'queued' THEN 'cancelled' ELSE j.state END,
                finished_at = CASE WHEN j.state = 'queued' THEN now() END
            WHERE {} AND j.state IN ('queued', 'running')
            """).format(_THIS),
            {"id": id, "tenant": tenant},
        ).rowcount
        job = _get(connection, id, tenant)
        if not changed and job.state != "cancelled":
            raise JobError(f"job {id} has {job.state} already")
        announce(connection, CANCEL)
        return job


def announce(connection: psycopg.Connection[Any], what: str = "") -> None:
    """Have the workers look, once the transaction commits."""
    connection.execute("SELECT pg_notify(%s, %s)", (JOBS_CHANNEL, what))


def backlog(connection: psycopg.Connection[Any]) -> Backlog:
    """What the outbox holds, for metrics.

    Reads the index entries of the jobs that it counts: what has ended well or was cancelled is not counted, and costs
    nothing however much there is of it.
    """
    counts = connection.execute(
        "SELECT job_type, state, count(*) FROM store.jobs WHERE state IN ('queued', 'running', 'failed')"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    oldest = connection.execute(
        QUEUES
        + SQL(
            "SELECT now() - min(j.due_at) FROM queues AS q CROSS JOIN LATERAL ("
            "SELECT due_at FROM store.jobs WHERE state = 'queued' AND coalesce(tenant_no, 0) = q.tenant"
            " AND priority = q.priority AND due_at <= now() ORDER BY due_at, id LIMIT 1) AS j"
            # Jobs of a tenant that is disabled wait for it, and for no worker.
            " WHERE q.tenant = 0"
            " OR EXISTS (SELECT FROM store.tenants AS t WHERE t.no = q.tenant AND t.disabled_at IS NULL)"
        )
    ).fetchone()
    assert oldest is not None
    return Backlog([JobCount(*row) for row in counts], oldest[0])


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


def accepted(kind: JobType, job: JobRecord) -> Any:
    """A job's payload as the type's function takes it. Raises JobFailed, in one line, where it takes no such job."""
    if kind.store_only and job.tenant is not None:
        raise JobFailed(f"jobs of type {kind.name!r} are the store's own: a tenant has none")
    if isinstance(job.payload, Unreadable):
        raise JobFailed(f"the payload cannot be read: {job.payload.why}")
    try:
        return kind.payload.validate_json(json.dumps(job.payload))
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        )
        raise JobFailed(f"the payload is none that {kind.name!r} takes: {said}") from error


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
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


def _loads(text: str | bytes) -> Any:
    """What JSON of the outbox says. A tenant may put anything there: none of it may stop a worker or a list."""
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
    set_json_loads(_loads, cursor)
    return cursor


def _tenant_no(connection: psycopg.Connection[Any], tenant: UUID | None) -> int | None:
    if tenant is None:
        return None
    row = connection.execute("SELECT no FROM store.tenants WHERE id = %s", (tenant,)).fetchone()
    if row is None:
        raise JobError(f"there is no tenant {tenant}")
    return int(row[0])


def _get(connection: psycopg.Connection[Any], id_: int, tenant: UUID | None) -> JobRecord:
    found = _records(connection, _THIS, {"id": id_, "tenant": tenant})
    if not found:
        raise UnknownJob(f"there is no job {id_}")
    return found[0]


def _records(connection: psycopg.Connection[Any], condition: Composable, parameters: dict[str, Any]) -> list[JobRecord]:
    with reading(connection.cursor(row_factory=class_row(JobRecord))) as cursor:
        return cursor.execute(SQL("{} WHERE {}").format(_SELECT, condition), parameters).fetchall()
