"""Backfills: from what is missing to a plan, from a plan to jobs, and from their ends to a report.

A backfill is stored with its jobs in one transaction; what state it is in follows from theirs. What is missing is
`datastore.gaps`' to find; what a job does is in `datastore.filling`.
"""

import json
import re
import secrets
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, Self
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Composed, Literal
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import to_jsonable_python

from datastore import gaps, jobs, sources
from datastore.connections import connect
from datastore.control import ControlError, find_tenant
from datastore.gaps import Gap, Window
from datastore.jobs import CANCEL, JobRecord
from datastore.pages import Page, read_page
from mds_client import models
from mds_client.schema import OnConflict

KIND: Final = "bars"

JOB_TYPE: Final = "backfill"

MOST_JOBS: Final = 50_000
"""Jobs of one backfill at the most; with larger chunks it needs fewer."""

LISTED: Final = 100
"""Gaps that a report names, and rejects that a job's result names, at the most."""

_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


class BackfillError(ControlError):
    """A backfill cannot be done as asked; the message says why."""


class UnknownBackfill(BackfillError):
    """There is no such backfill, or it is another tenant's."""


class BackfillConflict(BackfillError):
    """A backfill with that idempotency key is there already, and it is another one."""


class BackfillSpec(BaseModel):
    """What to fill from where.

    `tenant` is a name or a uuid. `symbols` None are all series that the vendor has in the timeframe; what is named may
    be new. `start` and `end` (UTC where they have no zone) bound the beginnings of bars. `calendar` goes before those
    that are set. `source` has the `type` of a source and its settings. A job is of `chunk_days` days and at most
    `chunk_series` series. `on_conflict` says what a row does to a stored one, as in an upsert. `attempts` is how often
    a job is begun before it has failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(min_length=1)
    vendor: models.Name
    timeframe: models.Timeframe
    start: models.Instant
    end: models.Instant
    source: dict[str, Any]
    symbols: tuple[models.Symbol, ...] | None = Field(default=None, min_length=1)
    calendar: str | None = None
    chunk_days: int = Field(default=7, ge=1, le=3660)
    chunk_series: int = Field(default=50, ge=1, le=1000)
    on_conflict: OnConflict = "keep"
    priority: int = Field(default=30, ge=0, le=100)
    attempts: int = Field(default=5, ge=1, le=100)

    @field_validator("tenant", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, UUID) else value

    @field_validator("source")
    @classmethod
    def _can_be_stored(cls, source: dict[str, Any]) -> dict[str, Any]:
        try:
            text = json.dumps(source, ensure_ascii=False, allow_nan=False)
            text.encode()
        except (ValueError, TypeError, RecursionError):
            raise ValueError("it holds what JSON does not know") from None
        if _NUL.search(text):
            raise ValueError("text may not hold a NUL character")
        return source

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"end ({self.end.isoformat()}) is not after start ({self.start.isoformat()})")
        return self


class ChunkSpan(BaseModel):
    """A series' part of a chunk: from the first to the last bar (UTC, half-open) of which `missing` are not there."""

    model_config = ConfigDict(frozen=True)

    symbol: str
    start: datetime
    end: datetime
    missing: int


class Chunk(BaseModel):
    """What one job fills."""

    model_config = ConfigDict(frozen=True)

    calendar: str
    spans: list[ChunkSpan]

    @property
    def missing(self) -> int:
        """Bars that are not there."""
        return sum(span.missing for span in self.spans)

    @property
    def start(self) -> datetime:
        """The first bar's time."""
        return min(span.start for span in self.spans)

    @property
    def end(self) -> datetime:
        """Behind the last bar."""
        return max(span.end for span in self.spans)


class ChunkJob(Chunk):
    """A chunk as its job's payload."""

    backfill: int
    planned: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill would do: how many series lack how many bars in how many gaps, and the chunks of that."""

    tenant: UUID
    vendor: str
    timeframe: str
    start: datetime
    end: datetime
    series: int
    gaps: int
    missing: int
    chunks: list[Chunk]


@dataclass(frozen=True, slots=True)
class Report:
    """What was still missing at the end: bars, in how many gaps, and the first of these."""

    checked_at: datetime
    missing: int
    gaps: int
    first: list[Any]


@dataclass(frozen=True, slots=True)
class BackfillRecord:
    """A backfill as an operator sees it.

    `state`: queued (no job has begun), running, succeeded, failed (some job has), cancelled (some job was, none has
    failed). `series` and `missing` are as planned; `done` is how many bars' worth of that is through, `rows` how many
    were read and written, `rejected` how many records were no bars: one in a file that several chunks read counts once.
    `jobs` counts by state. `eta` is when it will be through at
    the pace so far; None where nothing can be said. `errors` are of the jobs that have failed, the first few. `report`
    is there once all jobs have ended and `get_backfill` was asked. `source` and `params` are what was asked for.
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
        """Whether no job is left to run."""
        return self.state not in ("queued", "running")


# Planning -------------------------------------------------------------------------------------------------------------


def plan(dsn: str, spec: BackfillSpec, *, now: datetime | None = None) -> Plan:
    """What a backfill would do now; nothing is stored.

    Raises what `gaps.check` raises; SourceError for a source that cannot be made from the spec, or is not permitted
    here; and BackfillError where it would take too many jobs.
    """
    sources.make(spec.source)
    now = now or datetime.now(UTC)
    found = gaps.check(
        dsn,
        tenant=spec.tenant,
        vendor=spec.vendor,
        timeframe=spec.timeframe,
        start=spec.start,
        end=spec.end,
        symbols=spec.symbols,
        calendar=spec.calendar,
        new=True,
        now=now,
    )
    with connect(dsn) as connection:
        tenant = find_tenant(connection, spec.tenant).id
    chunks = list(_chunks(spec, found, now))
    if len(chunks) > MOST_JOBS:
        raise BackfillError(
            f"that would be {len(chunks):,} jobs, and {MOST_JOBS:,} are the most:"
            " take larger chunks (chunk_days, chunk_series) or a part of it"
        )
    return Plan(
        tenant=tenant,
        vendor=spec.vendor,
        timeframe=spec.timeframe,
        start=spec.start,
        end=spec.end,
        series=len({gap.symbol for gap in found.gaps}),
        gaps=len(found.gaps),
        missing=found.missing,
        chunks=chunks,
    )


def _chunks(spec: BackfillSpec, found: gaps.Check, now: datetime) -> Iterator[Chunk]:
    """What is missing, cut at multiples of so many days, and a calendar's series together."""
    timeframe = gaps.parse_timeframe(spec.timeframe)
    due = {
        calendar: gaps.windows(calendar, timeframe, spec.start, spec.end, now)
        for calendar in sorted(set(found.calendars.values()))
    }
    width = timedelta(days=spec.chunk_days)
    spans: dict[tuple[int, str], dict[str, ChunkSpan]] = defaultdict(dict)
    for gap in found.gaps:
        calendar = found.calendars[gap.symbol]
        for window, start, end, missing in _by_window(due[calendar], timeframe.step, gap):
            of_chunk = spans[(window.start - _EPOCH) // width, calendar]
            before = of_chunk.get(gap.symbol)
            of_chunk[gap.symbol] = ChunkSpan(
                symbol=gap.symbol,
                start=before.start if before else start,
                end=end,
                missing=missing + (before.missing if before else 0),
            )
    for (_, calendar), of_chunk in sorted(spans.items()):
        of_it = list(of_chunk.values())
        for at in range(0, len(of_it), spec.chunk_series):
            yield Chunk(calendar=calendar, spans=of_it[at : at + spec.chunk_series])


def _by_window(
    due: Sequence[Window], step: timedelta | None, gap: Gap
) -> Iterator[tuple[Window, datetime, datetime, int]]:
    """The parts of a gap, a window each: where it begins and ends, and how many intervals that is."""
    number = bisect_right(due, gap.start, key=lambda window: window.start) - 1
    while number < len(due) and (window := due[number]).start < gap.end:
        start, end = max(gap.start, window.start), min(gap.end, window.end)
        yield window, start, end, 1 if step is None else (end - start) // step
        number += 1


# Starting and looking -------------------------------------------------------------------------------------------------


def start(dsn: str, spec: BackfillSpec, *, idempotency_key: str) -> BackfillRecord:
    """Plan a backfill and put it and its jobs down, all or nothing; workers do the rest.

    The same key of the same tenant is the same backfill for ever: the one that is there is returned. Raises
    BackfillConflict where that was asked for differently, BackfillError for an empty key, and what `plan` raises.
    """
    if not idempotency_key.strip():
        raise BackfillError("the idempotency key is empty")
    if (there := _same(dsn, spec, idempotency_key)) is not None:
        return there
    now = datetime.now(UTC)
    planned = plan(dsn, spec, now=now)
    with connect(dsn) as connection:
        tenant = find_tenant(connection, planned.tenant)
        made = connection.execute(
            """
            INSERT INTO store.backfills (tenant_no, idempotency_key, kind, vendor, timeframe, range_start, range_end,
                                         source, params, series, missing, created_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (tenant_no, idempotency_key) DO NOTHING RETURNING id
            """,
            (
                *(tenant.no, idempotency_key, KIND, spec.vendor, spec.timeframe, spec.start, spec.end),
                *(Jsonb(spec.source), Jsonb(_params(spec)), planned.series, planned.missing, now),
            ),
        ).fetchone()
        if made is not None:
            # The tenant chooses keys of the same jobs: one that could be guessed could be taken.
            key = f"backfill:{made[0]}:{secrets.token_hex(16)}"
            # In the order of time, so that what is written lies together, and what is read too.
            for number, chunk in enumerate(planned.chunks):
                jobs.enqueue(
                    connection,
                    JOB_TYPE,
                    ChunkJob(**dict(chunk), backfill=made[0], planned=chunk.missing),
                    tenant=tenant.id,
                    idempotency_key=f"{key}:{number}",
                    priority=spec.priority,
                    backfill=made[0],
                    max_attempts=spec.attempts,
                )
    there = _same(dsn, spec, idempotency_key)
    assert there is not None
    return there


def find_backfill(dsn: str, tenant: UUID | str, idempotency_key: str) -> BackfillRecord | None:
    """The backfill that a tenant (a name or a uuid) has under a key; None where there is none."""
    with connect(dsn) as connection:
        return _by_key(connection, find_tenant(connection, tenant).no, idempotency_key)


def _by_key(connection: psycopg.Connection[Any], tenant_no: int, key: str) -> BackfillRecord | None:
    return _one(connection, "b.tenant_no = %(no)s AND b.idempotency_key = %(key)s", no=tenant_no, key=key)


def _same(dsn: str, spec: BackfillSpec, idempotency_key: str) -> BackfillRecord | None:
    """The backfill with that key. Raises BackfillConflict where something else was asked for."""
    with connect(dsn) as connection:
        tenant = find_tenant(connection, spec.tenant)
        if (found := _by_key(connection, tenant.no, idempotency_key)) is None:
            return None
        # The database compares, as it has stored them: in Python, true is 1, and 1e23 is not 10 to the 23rd.
        same = connection.execute(
            "SELECT (vendor, timeframe, range_start, range_end, source, params)"
            " = (%s, %s, %s, %s, %s::jsonb, %s::jsonb) FROM store.backfills WHERE id = %s",
            (
                *(spec.vendor, spec.timeframe, spec.start, spec.end, Jsonb(spec.source), Jsonb(_params(spec))),
                found.id,
            ),
        ).fetchone()
    if same != (True,):
        raise BackfillConflict(f"backfill {idempotency_key!r} is there already, and something else: {found.id}")
    return found


_ELSEWHERE: Final = {"tenant", "vendor", "timeframe", "start", "end", "source"}


def _params(spec: BackfillSpec) -> dict[str, Any]:
    """What a spec says beside what has columns of its own."""
    return spec.model_dump(mode="json", exclude=_ELSEWHERE)


def list_backfills(
    dsn: str, *, tenant: UUID | None = None, after: int | None = None, limit: int = 100
) -> Page[BackfillRecord]:
    """Backfills, newest first, of one tenant or all.

    `after` is the id of the last one of the page before; at most `limit` come back, and fewer where they are large.
    """
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        found = read_page(
            connection,
            _select(
                "(%(tenant)s::uuid IS NULL OR t.id = %(tenant)s) AND (%(after)s::bigint IS NULL OR b.id < %(after)s)"
            ),
            {"tenant": tenant, "after": after},
            _Row,
            limit,
        )
    return Page([row.record() for row in found.items], found.more)


def get_backfill(dsn: str, id: int, *, tenant: UUID | None = None) -> BackfillRecord:  # noqa: A002
    """One backfill: how far it is, and, once all its jobs have ended, with a report of what is still missing.

    The report is a new gap check of what was planned, made and stored when it is first asked for. Raises
    UnknownBackfill where there is none of that id, or, with a tenant given, it is not that tenant's.
    """
    found = _get(dsn, id, tenant)
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
    return _get(dsn, id, tenant)


def cancel_backfill(dsn: str, id: int, *, tenant: UUID | None = None) -> BackfillRecord:  # noqa: A002
    """Cancel what has not ended: jobs that are queued at once, those that run as soon as they look.

    What is written stays. One that has ended is left as it is. Raises UnknownBackfill.
    """
    _get(dsn, id, tenant)
    with connect(dsn) as connection:
        connection.execute(
            """
            UPDATE store.jobs
            SET cancel_requested = true,
                state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
                finished_at = CASE WHEN state = 'queued' THEN now() END
            WHERE backfill_id = %s AND state IN ('queued', 'running')
            """,
            (id,),
        )
        jobs.announce(connection, CANCEL)
    return _get(dsn, id, tenant)


def resume_backfill(dsn: str, id: int, *, tenant: UUID | None = None) -> BackfillRecord:  # noqa: A002
    """Queue the jobs again that have failed or were cancelled; what has succeeded is not done again.

    Where there are none it is left as it is. Raises UnknownBackfill.
    """
    _get(dsn, id, tenant)
    with connect(dsn) as connection:
        connection.execute(
            """
            UPDATE store.jobs
            SET state = 'queued', attempts = 0, due_at = now(), finished_at = NULL, error = NULL, result = NULL,
                done = NULL, total = NULL, cancel_requested = false
            WHERE backfill_id = %s AND state IN ('failed', 'cancelled')
            """,
            (id,),
        )
        connection.execute("UPDATE store.backfills SET report = NULL, reported_at = NULL WHERE id = %s", (id,))
        jobs.announce(connection)
    return _get(dsn, id, tenant)


def _report(dsn: str, backfill: BackfillRecord) -> Report:
    """Check again what was planned: the same series by the same calendars, and what was due then."""
    with connect(dsn) as connection:
        # By the clock that the ends of jobs are told by.
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


def _get(dsn: str, id_: int, tenant: UUID | None) -> BackfillRecord:
    with connect(dsn) as connection:
        found = _one(
            connection, "b.id = %(id)s AND (%(tenant)s::uuid IS NULL OR t.id = %(tenant)s)", id=id_, tenant=tenant
        )
    if found is None:
        raise UnknownBackfill(f"there is no backfill {id_}")
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    """A backfill and what its jobs say together, as they are stored."""

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
        """At the pace of the jobs so far and with as many at once as now: what stood still does not count."""
        if not running or not self.done or not self.busy:
            return None
        return self.now + timedelta(seconds=(self.missing - self.done) * self.busy / self.done / running)


def _state(counts: dict[str, int], started_at: datetime | None) -> str:
    if counts["queued"] or counts["running"]:
        return "running" if counts["running"] or started_at is not None else "queued"
    return next((state for state in ("failed", "cancelled") if counts[state]), "succeeded")


_SELECT: Final = """
SELECT b.id, t.id AS tenant, b.idempotency_key, b.kind, b.vendor, b.timeframe, b.range_start AS start,
       b.range_end AS end, b.source, b.params, b.series, b.missing, b.created_at, b.report, b.reported_at,
       j.counts, j.done, j.busy, j.rows, j.rejected, j.started_at, j.finished_at, j.errors, now() AS now
FROM store.backfills AS b JOIN store.tenants AS t ON t.no = b.tenant_no
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


def _select(condition: LiteralString) -> Composed:
    counts = SQL(", ").join(SQL("count(*) FILTER (WHERE state = {})").format(Literal(state)) for state in jobs.STATES)
    return SQL(_SELECT).format(counts=counts, condition=SQL(condition))


def _one(connection: psycopg.Connection[Any], condition: LiteralString, **parameters: Any) -> BackfillRecord | None:
    connection.execute("SET LOCAL TimeZone TO 'UTC'")
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        found = cursor.execute(_select(condition), parameters).fetchone()
    return None if found is None else found.record()


def of_job(dsn: str, id_: int, job: JobRecord) -> BackfillRecord | None:
    """The job's backfill, where it is that one and of the same tenant."""
    with connect(dsn) as connection:
        return _one(
            connection,
            "b.id = %(id)s AND t.id = %(tenant)s"
            " AND EXISTS (SELECT FROM store.jobs WHERE id = %(job)s AND backfill_id = b.id)",
            id=id_,
            tenant=job.tenant,
            job=job.id,
        )
