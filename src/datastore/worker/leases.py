"""Claims, leases and results: the statements by which workers share the outbox.

Each function runs one transaction on a connection in autocommit mode, and is safe with any number of workers on any
machines. A worker holds a job by its name, a fence and a lease; a worker that no longer holds the job changes nothing
when it writes about it. Rows that someone else has locked (an operator in psql) are skipped and block nothing else.
`datastore.worker` calls these functions.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL

from datastore.jobs import COLUMNS, QUEUES, JobRecord, announce, reading
from datastore.locks import taking
from datastore.names import CLAIM_LOCK

_CLAIM: Final = QUEUES + SQL(
    """
    , running AS (
      SELECT coalesce(tenant_no, 0) AS tenant, count(*) AS jobs FROM store.jobs WHERE state = 'running' GROUP BY 1
    ), waiting AS (
      SELECT q.tenant, j.id, coalesce(j.backfill_id, 0) AS backfill,
             coalesce(r.jobs, 0)
             + row_number() OVER (PARTITION BY q.tenant ORDER BY q.priority DESC, j.due_at, j.id) AS turn
      FROM queues AS q LEFT JOIN running AS r ON r.tenant = q.tenant
      CROSS JOIN LATERAL (
        SELECT id, due_at, backfill_id FROM store.jobs
        WHERE state = 'queued' AND coalesce(tenant_no, 0) = q.tenant AND priority = q.priority AND due_at <= now()
          AND id <> ALL (%(but)s::bigint[]) AND (%(types)s::text[] IS NULL OR job_type = ANY (%(types)s))
          AND coalesce(backfill_id, 0) <> ALL (%(unreadable)s::bigint[])
        ORDER BY due_at, id LIMIT %(slots)s) AS j
      WHERE q.tenant = 0 OR EXISTS (SELECT FROM store.tenants AS t WHERE t.no = q.tenant AND t.disabled_at IS NULL)
    ), chosen AS MATERIALIZED (
      SELECT j.id, w.turn, w.tenant FROM waiting AS w JOIN store.jobs AS j ON j.id = w.id
      WHERE j.state = 'queued' AND w.backfill = ANY (%(readable)s::bigint[])
      ORDER BY w.turn, w.tenant <= %(last)s, w.tenant LIMIT %(slots)s FOR UPDATE OF j SKIP LOCKED
    ), claimed AS (
      UPDATE store.jobs AS j
      SET state = 'running', worker = %(worker)s, attempts = j.attempts + 1, fence = j.fence + 1,
          leased_until = clock_timestamp() + %(lease)s, started_at = clock_timestamp(), done = NULL, total = NULL
      FROM chosen AS c WHERE j.id = c.id RETURNING j.*
    )
    SELECT {}, j.fence, c.tenant AS whose, w.ids AS waiting, w.unseen
    FROM (
      SELECT array_agg(id) FILTER (WHERE backfill = ANY (%(readable)s)) AS ids,
             array_agg(DISTINCT backfill) FILTER (WHERE backfill <> ALL (%(readable)s)) AS unseen
      FROM waiting) AS w LEFT JOIN (
      claimed AS j JOIN chosen AS c ON c.id = j.id LEFT JOIN store.tenants AS t ON t.no = j.tenant_no) ON true
    ORDER BY c.turn, c.tenant <= %(last)s, c.tenant
    """
).format(COLUMNS)
"""Claim the jobs that are due next: from the tenant with the fewest running jobs first, tenants in turn, and within a
tenant by priority, then age. Claims only jobs of the given types, and of backfills that are known to be readable. Skips
jobs that are locked, because an operator is cancelling them. Every result row carries `waiting`, the ids that were
candidates, and `unseen`, the backfills that nobody has checked; there is always at least one row."""

_CLAIM_TURN: Final = taking(CLAIM_LOCK)
"""Wait until no other worker claims."""

_RENEW: Final = """
WITH held AS MATERIALIZED (
  SELECT j.id, v.done, v.total
  FROM unnest(%(ids)s::bigint[], %(fences)s::bigint[], %(done)s::bigint[], %(total)s::bigint[])
       AS v(id, fence, done, total)
  JOIN store.jobs AS j ON j.id = v.id AND j.fence = v.fence AND j.worker = %(worker)s AND j.state = 'running'
  FOR UPDATE OF j SKIP LOCKED
)
UPDATE store.jobs AS j SET leased_until = now() + %(lease)s, done = h.done, total = h.total
FROM held AS h WHERE j.id = h.id RETURNING j.id, j.cancel_requested
"""
"""Renew leases and store progress; returns the jobs that were written, and whether each is to be cancelled."""

_FINISH: Final = """
WITH held AS MATERIALIZED (
  SELECT j.id, v.*
  FROM unnest(%(ids)s::bigint[], %(fences)s::bigint[], %(states)s::text[], %(delays)s::interval[], %(back)s::int[],
              %(done)s::bigint[], %(total)s::bigint[], %(results)s::text[], %(errors)s::text[])
       AS v(job, fence, state, delay, back, done, total, result, error)
  JOIN store.jobs AS j ON j.id = v.job AND j.fence = v.fence AND j.worker = %(worker)s AND j.state = 'running'
  FOR UPDATE OF j SKIP LOCKED
)
UPDATE store.jobs AS j
SET state = CASE WHEN h.state = 'queued' AND j.cancel_requested THEN 'cancelled' ELSE h.state END,
    finished_at = CASE WHEN h.state = 'queued' AND NOT j.cancel_requested THEN NULL ELSE now() END,
    due_at = CASE WHEN h.state = 'queued' THEN now() + h.delay ELSE j.due_at END,
    attempts = j.attempts - h.back, leased_until = NULL, done = h.done, total = h.total, result = h.result::jsonb,
    error = CASE WHEN h.back > 0 THEN j.error ELSE h.error END
FROM held AS h WHERE j.id = h.id RETURNING j.id, j.state
"""
"""Record the outcomes of jobs that the worker still holds, and ignore the others."""

_LOOK: Final = """
SELECT j.id, j.state = 'running' AS held
FROM unnest(%(ids)s::bigint[], %(fences)s::bigint[]) AS v(job, fence)
JOIN store.jobs AS j ON j.id = v.job AND j.fence = v.fence AND j.worker = %(worker)s
"""
"""Select those jobs that have the same fence still: they are held, or a commit whose answer was lost recorded them."""

_TAKE_BACK: Final = """
WITH lost AS MATERIALIZED (
  SELECT id FROM store.jobs
  WHERE state = 'running' AND leased_until < now() AND (worker <> %(worker)s OR id <> ALL (%(held)s::bigint[]))
  ORDER BY leased_until LIMIT 1000 FOR UPDATE SKIP LOCKED
)
UPDATE store.jobs AS j
SET state = CASE WHEN cancel_requested THEN 'cancelled' WHEN attempts >= max_attempts THEN 'failed' ELSE 'queued' END,
    finished_at = CASE WHEN cancel_requested OR attempts >= max_attempts THEN now() END,
    due_at = now(), leased_until = NULL, fence = fence + 1,
    error = concat('its worker was lost in attempt ', attempts, ' of ', max_attempts)
FROM lost AS l WHERE j.id = l.id RETURNING j.id, j.state, j.job_type, j.worker
"""
"""Requeue jobs whose lease has expired, because their worker was killed or cannot reach the database. Leaves out the
jobs that the caller runs, but includes those that were claimed for it by a statement whose answer was lost."""

_NEXT: Final = QUEUES + SQL(
    """
    SELECT min(j.due_at) - now() FROM queues AS q CROSS JOIN LATERAL (
      SELECT due_at FROM store.jobs
      WHERE state = 'queued' AND coalesce(tenant_no, 0) = q.tenant AND priority = q.priority AND due_at > now()
      ORDER BY due_at, id LIMIT 1) AS j
    """
)
"""Select the time until the next job falls due."""


_TYPES: Final = """
WITH RECURSIVE types AS (
  (SELECT job_type FROM store.jobs WHERE state = 'queued' ORDER BY job_type LIMIT 1)
  UNION ALL
  SELECT n.job_type FROM types AS t CROSS JOIN LATERAL (
    SELECT job_type FROM store.jobs WHERE state = 'queued' AND job_type > t.job_type ORDER BY job_type LIMIT 1) AS n
)
SELECT job_type FROM types WHERE job_type <> ALL (%s::text[]) LIMIT %s
"""
"""Select the types of queued jobs, with one step of the index for each type."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed job with its fence."""

    job: JobRecord
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The result of a claim: `taken` in the order in which to begin; `locked` are due jobs that someone else has
    locked; `last` is the tenant whose turn it was last; `unseen` are backfills whose source must be checked first."""

    taken: list[Claimed]
    locked: list[int]
    last: int
    unseen: list[int]


@dataclass(frozen=True, slots=True)
class Held:
    """A job that a worker holds: id, fence and progress."""

    id: int
    fence: int
    done: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job: its new state, with its result as JSON text or its error.

    `queued` means another attempt after `delay`. With `given_back` the attempt does not count, because it did not fail.
    """

    held: Held
    state: Literal["succeeded", "failed", "cancelled", "queued"]
    result: str | None = None
    error: str | None = None
    delay: timedelta = timedelta(0)
    given_back: bool = False


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A job whose worker lost its lease, and its new state."""

    id: int
    state: str
    job_type: str
    worker: str


def claim(
    connection: psycopg.Connection[Any],
    worker: str,
    slots: int,
    lease: timedelta,
    last: int = 0,
    but: Sequence[int] = (),
    *,
    types: Sequence[str] | None = None,
    readable: Collection[int] = (),
    unreadable: Collection[int] = (),
) -> Claim:
    """Claim up to `slots` jobs.

    Args:
        connection: A connection in autocommit mode.
        worker: The name of the worker that claims.
        slots: The largest number of jobs to claim.
        lease: The duration of the lease.
        last: The tenant whose turn it was last.
        but: The ids of jobs not to claim, for example because they still run here although their lease was lost.
        types: The job types that the worker can do; None for any.
        readable: Backfills whose source the worker can read. It claims no job of another backfill.
        unreadable: Backfills whose source it cannot read. The search looks past their jobs.
    """
    parameters = {
        "worker": worker,
        "slots": slots,
        "lease": lease,
        "last": last,
        "but": list(but),
        "types": None if types is None else list(types),
        # 0 stands for jobs without a backfill.
        "readable": [0, *readable],
        "unreadable": list(unreadable),
    }
    # One worker claims at a time, so that each sees what the others hold. The pipeline sends the transaction's end
    # with its statements, so a worker that stalls here blocks nobody.
    with reading(connection.cursor(row_factory=dict_row)) as cursor:
        with connection.pipeline():
            connection.execute(_CLAIM_TURN)
            cursor.execute(_CLAIM, parameters)
        rows = cursor.fetchall()
    taken = []
    waiting: list[int] = []
    unseen: list[int] = []
    for row in rows:
        whose, waiting, fence = row.pop("whose"), row.pop("waiting") or [], row.pop("fence")
        unseen = row.pop("unseen") or []
        if fence is not None:
            taken.append(Claimed(JobRecord(**row), fence))
            last = whose
    # If slots are left, the jobs still waiting were skipped, and may have kept others from the head of their queue.
    has = {one.job.id for one in taken}
    locked = [id_ for id_ in waiting if id_ not in has] if len(taken) < slots else []
    return Claim(taken, locked, last, unseen)


def queued_types(connection: psycopg.Connection[Any], known: Sequence[str], limit: int) -> list[str]:
    """Return the types of queued jobs, without the known ones."""
    return [name for (name,) in connection.execute(_TYPES, (list(known), limit)).fetchall()]


def renew(connection: psycopg.Connection[Any], worker: str, jobs: Sequence[Held], lease: timedelta) -> dict[int, bool]:
    """Renew leases. Returns the ids of the jobs that were written, and whether each is to be cancelled.

    For the other jobs, `look` says whether they are lost.
    """
    found = connection.execute(
        _RENEW,
        {
            "worker": worker,
            "lease": lease,
            "ids": [job.id for job in jobs],
            "fences": [job.fence for job in jobs],
            "done": [job.done for job in jobs],
            "total": [job.total for job in jobs],
        },
    )
    return dict(found.fetchall())


def finish(connection: psycopg.Connection[Any], worker: str, outcomes: Sequence[Outcome]) -> dict[int, str]:
    """Record outcomes. Returns the ids of the jobs that were written, each with its new state.

    For the other jobs, `look` says whether they are still held. Raises psycopg.DataError, and records nothing, if a
    result cannot be stored.
    """
    with connection.transaction():
        found = connection.execute(
            _FINISH,
            {
                "worker": worker,
                "ids": [one.held.id for one in outcomes],
                "fences": [one.held.fence for one in outcomes],
                "states": [one.state for one in outcomes],
                "delays": [one.delay for one in outcomes],
                "back": [int(one.given_back) for one in outcomes],
                "done": [one.held.done for one in outcomes],
                "total": [one.held.total for one in outcomes],
                "results": [one.result for one in outcomes],
                "errors": [one.error for one in outcomes],
            },
        )
        states: dict[int, str] = dict(found.fetchall())
        if any(one.given_back for one in outcomes):
            announce(connection)
    return states


def look(connection: psycopg.Connection[Any], worker: str, jobs: Sequence[Held]) -> dict[int, bool]:
    """Return those jobs that nobody else has claimed since: True if the worker still holds it (the row was only
    locked), False if its end is recorded already."""
    parameters = {"worker": worker, "ids": [job.id for job in jobs], "fences": [job.fence for job in jobs]}
    return dict(connection.execute(_LOOK, parameters).fetchall())


def take_back(connection: psycopg.Connection[Any], worker: str, held: Sequence[int]) -> list[TakenBack]:
    """Requeue the jobs whose lease has expired, or fail those that have no attempt left.

    Args:
        connection: A connection in autocommit mode.
        worker: The name of the worker that calls.
        held: The ids of the jobs that it runs, which are left alone.
    """
    with connection.transaction():
        parameters = {"worker": worker, "held": list(held)}
        taken = [TakenBack(*row) for row in connection.execute(_TAKE_BACK, parameters).fetchall()]
        if taken:
            announce(connection)
    return taken


def until_next(connection: psycopg.Connection[Any]) -> timedelta | None:
    """Return the time until the next job falls due; None if there is none."""
    row = connection.execute(_NEXT).fetchone()
    assert row is not None
    wait: timedelta | None = row[0]
    return wait
