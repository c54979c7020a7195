"""How workers share the outbox: what is claimed, for how long it is held, and how what came of it is recorded.

Each function is one transaction of its own on a connection in autocommit mode, and is safe whoever else is at work, on
whichever machine. A job is held by a worker's name, a fence and a lease: what is written about it by a worker that no
longer holds it changes nothing. What someone else has locked (an operator at a psql) is passed over, and keeps nothing
else from being written. Who calls them, and when, is in `datastore.worker`.
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
tenant by priority, then age. Only of the given types, and of backfills that are known to be readable. Jobs that are
locked, because an operator cancels them just now, are skipped. Every result row carries `waiting`, the ids that were
candidates, and `unseen`, the backfills that nobody has looked at; there is always at least one row."""

_CLAIM_TURN: Final = taking(CLAIM_LOCK)
"""Wait until nobody else claims."""

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
"""Hold on to jobs, and say how far they are; tells which that was written of, and which are to be cancelled."""

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
"""Record what came of jobs that are held still; of the others, nothing."""

_LOOK: Final = """
SELECT j.id, j.state = 'running' AS held
FROM unnest(%(ids)s::bigint[], %(fences)s::bigint[]) AS v(job, fence)
JOIN store.jobs AS j ON j.id = v.job AND j.fence = v.fence AND j.worker = %(worker)s
"""
"""Which of these jobs have the same fence still: held, or recorded in a transaction whose end was not seen."""

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
"""Requeue jobs whose lease has expired: their worker was killed, or cannot reach the database. Not those that the
caller holds, because it is alive; but those that were claimed for it by a statement whose answer was lost."""

_NEXT: Final = QUEUES + SQL(
    """
    SELECT min(j.due_at) - now() FROM queues AS q CROSS JOIN LATERAL (
      SELECT due_at FROM store.jobs
      WHERE state = 'queued' AND coalesce(tenant_no, 0) = q.tenant AND priority = q.priority AND due_at > now()
      ORDER BY due_at, id LIMIT 1) AS j
    """
)
"""In how long the next job is due that is not due yet."""


_TYPES: Final = """
WITH RECURSIVE types AS (
  (SELECT job_type FROM store.jobs WHERE state = 'queued' ORDER BY job_type LIMIT 1)
  UNION ALL
  SELECT n.job_type FROM types AS t CROSS JOIN LATERAL (
    SELECT job_type FROM store.jobs WHERE state = 'queued' AND job_type > t.job_type ORDER BY job_type LIMIT 1) AS n
)
SELECT job_type FROM types WHERE job_type <> ALL (%s::text[]) LIMIT %s
"""
"""Of which types jobs wait. One step of the index for each type."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that was taken, and the fence that it is held by."""

    job: JobRecord
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What was taken, in the order in which it ought to begin; what was due and could not be, because someone has it
    locked; whose turn it was last; and the backfills of which has to be said first whether their source is readable."""

    taken: list[Claimed]
    locked: list[int]
    last: int
    unseen: list[int]


@dataclass(frozen=True, slots=True)
class Held:
    """A job that a worker holds, by its id and fence; and how far it is."""

    id: int
    fence: int
    done: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job: its next state, with its result as JSON text or the error.

    `queued` is for another attempt after `delay`. With `given_back` this one does not count: nobody's fault ended it.
    """

    held: Held
    state: Literal["succeeded", "failed", "cancelled", "queued"]
    result: str | None = None
    error: str | None = None
    delay: timedelta = timedelta(0)
    given_back: bool = False


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A job that its worker did not hold on to, and the state it is in now."""

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
    """Take up to so many jobs, and none `but` those: what this worker runs still, though it was taken from it.

    Args:
        connection: Where to.
        worker: Who asks.
        slots: How many jobs at the most.
        lease: For how long.
        last: Whose turn it was last.
        but: The ids of jobs that are not taken.
        types: The job types that the worker can do. None is any.
        readable: Backfills whose source it can read. No job of another backfill is taken.
        unreadable: Backfills whose source it cannot read: what stands behind their jobs is looked at.
    """
    parameters = {
        "worker": worker,
        "slots": slots,
        "lease": lease,
        "last": last,
        "but": list(but),
        "types": None if types is None else list(types),
        # 0 is of no backfill.
        "readable": [0, *readable],
        "unreadable": list(unreadable),
    }
    # One claims at a time, so that each sees what the others have. A pipeline is one transaction, whose end the server
    # gets together with its statements: a worker that stalls here keeps nobody waiting.
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
    # With slots left over, what is waiting still was passed over, and may have kept others out of its queue's head.
    has = {one.job.id for one in taken}
    locked = [id_ for id_ in waiting if id_ not in has] if len(taken) < slots else []
    return Claim(taken, locked, last, unseen)


def queued_types(connection: psycopg.Connection[Any], known: Sequence[str], limit: int) -> list[str]:
    """The types of jobs that wait, without those that are known."""
    return [name for (name,) in connection.execute(_TYPES, (list(known), limit)).fetchall()]


def renew(connection: psycopg.Connection[Any], worker: str, jobs: Sequence[Held], lease: timedelta) -> dict[int, bool]:
    """Hold on to jobs: the ids of those of which that was written, and whether each is to be cancelled.

    Of the others `look` says whether they are lost.
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
    """Record outcomes: the ids of those jobs of which that was written, each with the state that it is in now.

    Of the others `look` says whether they are held still. Raises psycopg.DataError, and records nothing, where a result
    cannot be stored.
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
    """Which of these jobs nobody else has had since: True for those that are held still, and were only locked just
    now; False for those whose end is recorded already."""
    parameters = {"worker": worker, "ids": [job.id for job in jobs], "fences": [job.fence for job in jobs]}
    return dict(connection.execute(_LOOK, parameters).fetchall())


def take_back(connection: psycopg.Connection[Any], worker: str, held: Sequence[int]) -> list[TakenBack]:
    """Requeue the jobs whose lease has expired; or end those whose last attempt it was.

    Args:
        connection: Where to.
        worker: Who asks.
        held: The jobs that it holds, which are left alone.
    """
    with connection.transaction():
        parameters = {"worker": worker, "held": list(held)}
        taken = [TakenBack(*row) for row in connection.execute(_TAKE_BACK, parameters).fetchall()]
        if taken:
            announce(connection)
    return taken


def until_next(connection: psycopg.Connection[Any]) -> timedelta | None:
    """In how long the next job is due that is not due yet; None if there is none."""
    row = connection.execute(_NEXT).fetchone()
    assert row is not None
    wait: timedelta | None = row[0]
    return wait
