"""Stored backfills, with their progress and report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Composable, Composed, Literal
from psycopg.types.json import Jsonb
from pydantic_core import to_jsonable_python

from datastore import gaps, jobs
from datastore.backfill.spec import UnknownBackfill
from datastore.connections import connect
from datastore.jobs import JobRecord
from datastore.pages import ListPage, read_page
from datastore.tenants import find_tenant

LISTED: Final = 100
"""The largest number of gaps that a report names, and of rejects that a job's result names."""


@dataclass(frozen=True, slots=True)
class Report:
    """The bars that were still missing at the end: how many, in how many gaps, and the first of these gaps."""

    checked_at: datetime
    missing: int
    gaps: int
    first: list[Any]


@dataclass(frozen=True, slots=True)
class BackfillRecord:
    """A backfill as an operator sees it.

    `state`: queued (no job has begun), running, succeeded, failed (a job has failed), cancelled (a job was cancelled,
    none has failed). `series` and `missing` are the planned numbers; `done` is how many of the missing bars the jobs
    have handled, `rows` how many rows were read and written, `rejected` how many records were invalid (one in a file
    that several chunks read counts once). `jobs` counts jobs by state. `eta` is the expected end at the pace so far;
    None if it cannot be estimated. `errors` are those of the first few failed jobs. `report` exists once all jobs have
    ended and `get_backfill` was called. `source` and `params` are those of the request.
    """

    id: int
    tenant: UUID
    idempotency_key: str
    kind: str
    vendor: str
    timeframe: str
    start: datetime
    end: datetime
    state: str
    series: int
    missing: int
    done: int
    rows: int
    rejected: int
    jobs: dict[str, int]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    eta: datetime | None
    errors: list[str]
    report: Report | None
    source: dict[str, Any]
    params: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether all jobs have ended."""
        return self.state not in ("queued", "running")


def find_backfill(dsn: str, tenant: UUID | str, idempotency_key: str) -> BackfillRecord | None:
    """Return the backfill that a tenant (a name or a uuid) has under a key; None if there is none."""
    with connect(dsn) as connection:
        return record_by_key(connection, find_tenant(connection, tenant).no, idempotency_key)


def record_by_key(connection: psycopg.Connection[Any], tenant_no: int, key: str) -> BackfillRecord | None:
    """Return a tenant's backfill with that key; None if there is none."""
    return _one(connection, "b.tenant_no = %(no)s AND b.idempotency_key = %(key)s", no=tenant_no, key=key)


def list_backfills(
    dsn: str, *, tenant: UUID | None = None, after: int | None = None, limit: int = 100
) -> ListPage[BackfillRecord]:
    """List backfills, newest first, of one tenant or all.

    `after` is the id of the last backfill of the page before. Returns at most `limit`, and fewer if they are large.
    """
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        return page(connection, tenant, after, limit)


def page(
    connection: psycopg.Connection[Any], tenant: UUID | None, after: int | None, limit: int
) -> ListPage[BackfillRecord]:
    """Return a page of backfills; reads only the jobs of these."""
    conditions = [
        SQL(condition)
        for value, condition in (
            (tenant, "tenant_no = (SELECT no FROM store.tenants WHERE id = %(tenant)s)"),
            (after, "id < %(after)s"),
        )
        if value is not None
    ]
    source = SQL("(SELECT * FROM store.backfills WHERE {} ORDER BY id DESC LIMIT {})").format(
        SQL(" AND ").join(conditions) if conditions else SQL("true"), Literal(limit + 1)
    )
    found = read_page(connection, _select("true", source), {"tenant": tenant, "after": after}, _Row, limit)
    return ListPage([row.record() for row in found.items], found.more)


def get_backfill(dsn: str, id: int, *, tenant: UUID | None = None) -> BackfillRecord:  # noqa: A002
    """Return a backfill with its progress and, once all its jobs have ended, a report of what is still missing.

    The report is a new gap check of the planned series, made and stored at the first call after the end. Raises
    UnknownBackfill if the id does not exist or belongs to another tenant than the given one.
    """
    found = get_record(dsn, id, tenant)
    if not found.finished or (
        found.report is not None and (found.finished_at is None or found.report.checked_at >= found.finished_at)
    ):
        return found
    report = _report(dsn, found)
    with connect(dsn) as connection:
        connection.execute(
            "UPDATE store.backfills SET report = %s, reported_at = %s WHERE id = %s",
            (Jsonb({"missing": report.missing, "gaps": report.gaps, "first": report.first}), report.checked_at, id),
        )
    return get_record(dsn, id, tenant)


def _report(dsn: str, backfill: BackfillRecord) -> Report:
    """Check the planned series again, by the same calendars, for the bars that were due when it was planned."""
    with connect(dsn) as connection:
        # Use the database's clock, which also sets the end times of jobs.
        clock = connection.execute("SELECT clock_timestamp()").fetchone()
        assert clock is not None
        planned = connection.execute(
            "SELECT j.payload ->> 'calendar', array_agg(DISTINCT s ->> 'symbol') FROM store.jobs AS j"
            " CROSS JOIN LATERAL jsonb_array_elements(j.payload -> 'spans') AS s WHERE j.backfill_id = %s GROUP BY 1",
            (backfill.id,),
        ).fetchall()
    found = [
        gap
        for calendar, symbols in planned
        for gap in gaps.check(
            dsn,
            tenant=backfill.tenant,
            vendor=backfill.vendor,
            timeframe=backfill.timeframe,
            start=backfill.start,
            end=backfill.end,
            symbols=symbols,
            calendar=calendar,
            new=True,
            now=backfill.created_at,
        ).gaps
    ]
    return Report(
        checked_at=clock[0],
        missing=sum(gap.missing for gap in found),
        gaps=len(found),
        first=[to_jsonable_python(asdict(gap)) for gap in found[:LISTED]],
    )


def get_record(dsn: str, id_: int, tenant: UUID | None) -> BackfillRecord:
    """Return one backfill, of any tenant or only of the given one. Raises UnknownBackfill."""
    with connect(dsn) as connection:
        found = _one(
            connection, "b.id = %(id)s AND (%(tenant)s::uuid IS NULL OR t.id = %(tenant)s)", id=id_, tenant=tenant
        )
    if found is None:
        raise UnknownBackfill(f"there is no backfill {id_}")
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    """A stored backfill with the totals of its jobs."""

    id: int
    tenant: UUID
    idempotency_key: str
    kind: str
    vendor: str
    timeframe: str
    start: datetime
    end: datetime
    source: Any
    params: Any
    series: int
    missing: int
    created_at: datetime
    report: Any
    reported_at: datetime | None
    counts: list[int]
    done: int
    busy: float
    rows: int
    rejected: int
    started_at: datetime | None
    finished_at: datetime | None
    errors: list[str]
    now: datetime

    def record(self) -> BackfillRecord:
        counts = dict(zip(jobs.STATES, self.counts, strict=True))
        state = _state(counts, self.started_at)
        return BackfillRecord(
            id=self.id,
            tenant=self.tenant,
            idempotency_key=self.idempotency_key,
            kind=self.kind,
            vendor=self.vendor,
            timeframe=self.timeframe,
            start=self.start,
            end=self.end,
            state=state,
            series=self.series,
            missing=self.missing,
            done=self.done,
            rows=self.rows,
            rejected=self.rejected,
            jobs=counts,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at if state not in ("queued", "running") else None,
            eta=self._eta(counts["running"]),
            errors=self.errors,
            report=None if self.reported_at is None else Report(checked_at=self.reported_at, **self.report),
            source=self.source,
            params=self.params,
        )

    def _eta(self, running: int) -> datetime | None:
        """Estimate the end from the pace of the jobs so far and the number that run now; idle time does not count."""
        if not running or not self.done or not self.busy:
            return None
        return self.now + timedelta(seconds=(self.missing - self.done) * self.busy / self.done / running)


def _state(counts: dict[str, int], started_at: datetime | None) -> str:
    if counts["queued"] or counts["running"]:
        return "running" if counts["running"] or started_at is not None else "queued"
    return next((state for state in ("failed", "cancelled") if counts[state]), "succeeded")


_BACKFILLS: Final = SQL("store.backfills")

_SELECT: Final = """
SELECT b.id, t.id AS tenant, b.idempotency_key, b.kind, b.vendor, b.timeframe, b.range_start AS start,
       b.range_end AS end, b.source, b.params, b.series, b.missing, b.created_at, b.report, b.reported_at,
       j.counts, j.done, j.busy, j.rows, j.rejected, j.started_at, j.finished_at, j.errors, now() AS now
FROM {source} AS b JOIN store.tenants AS t ON t.no = b.tenant_no
CROSS JOIN LATERAL (
  WITH its AS (
    SELECT state, done, started_at, finished_at, error, result, (payload ->> 'planned')::bigint AS planned
    FROM store.jobs WHERE backfill_id = b.id
  ), again AS (
    -- What several jobs have read is rejected by each of them.
    SELECT sum(count::bigint) - max(count::bigint) AS rejected
    FROM its CROSS JOIN LATERAL jsonb_each_text(its.result -> 'rejected_in') AS r(whole, count) GROUP BY whole
  )
  SELECT ARRAY[{counts}]::int[] AS counts,
         coalesce(sum(CASE state WHEN 'succeeded' THEN planned
                                 WHEN 'running' THEN least(coalesce(done, 0), planned) END), 0)::bigint AS done,
         coalesce(sum(extract(epoch FROM coalesce(finished_at, now()) - started_at))
                  FILTER (WHERE state IN ('succeeded', 'running')), 0)::float8 AS busy,
         coalesce(sum((result ->> 'rows')::bigint), 0)::bigint AS rows,
         (coalesce(sum((result ->> 'rejected')::bigint), 0)
          - (SELECT coalesce(sum(rejected), 0) FROM again))::bigint AS rejected,
         min(started_at) AS started_at, max(finished_at) AS finished_at,
         coalesce((array_agg(DISTINCT error) FILTER (WHERE state = 'failed'))[:5], '{{}}') AS errors
  FROM its
) AS j
WHERE {condition}
"""


def _select(condition: LiteralString, source: Composable = _BACKFILLS) -> Composed:
    counts = SQL(", ").join(SQL("count(*) FILTER (WHERE state = {})").format(Literal(state)) for state in jobs.STATES)
    return SQL(_SELECT).format(counts=counts, source=source, condition=SQL(condition))


def _one(connection: psycopg.Connection[Any], condition: LiteralString, **parameters: Any) -> BackfillRecord | None:
    connection.execute("SET LOCAL TimeZone TO 'UTC'")
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        found = cursor.execute(_select(condition), parameters).fetchone()
    return None if found is None else found.record()


def of_job(dsn: str, id_: int, job: JobRecord) -> BackfillRecord | None:
    """Return a backfill if the job belongs to it and both have the same tenant; otherwise None."""
    with connect(dsn) as connection:
        return _one(
            connection,
            "b.id = %(id)s AND t.id = %(tenant)s"
            " AND EXISTS (SELECT FROM store.jobs WHERE id = %(job)s AND backfill_id = b.id)",
            id=id_,
            tenant=job.tenant,
            job=job.id,
        )


def sources_of(
    connection: psycopg.Connection[Any], ids: Sequence[int], *, waiting: bool = False
) -> dict[int, dict[str, Any]]:
    """Return the sources of backfills by id; with `waiting`, only of those that have a queued job."""
    found = connection.execute(
        "SELECT id, source FROM store.backfills AS b WHERE id = ANY(%s) AND (NOT %s OR EXISTS"
        " (SELECT FROM store.jobs WHERE backfill_id = b.id AND state = 'queued'))",
        (list(ids), waiting),
    )
    return dict(found.fetchall())
