"""How workers share the outbox: what is claimed, for how long it is held, and how what came of it is recorded.

Each function is one transaction of its own on a connection in autocommit mode, and is safe whoever else is at work, on
whichever machine. A job is held by a worker's name, its attempt and a lease: what is written about it by a worker that
no longer holds it changes nothing. Who calls them, and when, is in `datastore.worker`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL

from datastore.jobs import COLUMNS, QUEUES, JobRecord, announce

_CLAIMING: Final = 0x6D64735F6A6F6273
"""The advisory lock under which jobs are claimed; any number that other programs will not take."""

_CLAIM: Final = QUEUES + SQL(
    """
    , running AS (
      SELECT coalesce(tenant_no, 0) AS tenant, count(*) AS jobs FROM store.jobs WHERE state = 'running' GROUP BY 1
    ), waiting AS (
      SELECT q.tenant, j.id,
             coalesce(r.jobs, 0)
             + row_number() OVER (PARTITION BY q.tenant ORDER BY q.priority DESC, j.due_at, j.id) AS turn
      FROM queues AS q LEFT JOIN running AS r ON r.tenant = q.tenant
      CROSS JOIN LATERAL (
        SELECT id, due_at FROM store.jobs
        WHERE state = 'queued' AND coalesce(tenant_no, 0) = q.tenant AND priority = q.priority AND due_at <= now()
        ORDER BY due_at, id LIMIT %(slots)s) AS j
      WHERE q.tenant = 0 OR EXISTS (SELECT FROM store.tenants AS t WHERE t.no = q.tenant AND t.disabled_at IS NULL)
    ), chosen AS MATERIALIZED (
      SELECT j.id, w.turn, w.tenant FROM waiting AS w JOIN store.jobs AS j ON j.id = w.id
      WHERE j.state = 'queued'
      ORDER BY w.turn, w.tenant <= %(last)s, w.tenant LIMIT %(slots)s FOR UPDATE OF j SKIP LOCKED
    ), claimed AS (
      UPDATE store.jobs AS j
      SET state = 'running', worker = %(worker)s, attempts = j.attempts + 1, leased_until = now() + %(lease)s,
          started_at = now(), done = NULL, total = NULL
      FROM chosen AS c WHERE j.id = c.id RETURNING j.*
    )
    SELECT {}, c.tenant AS whose
    FROM claimed AS j JOIN chosen AS c ON c.id = j.id LEFT JOIN store.tenants AS t ON t.no = j.tenant_no
    ORDER BY c.turn, c.tenant <= %(last)s, c.tenant
    """
).format(COLUMNS)
"""Take what is due next: of the tenant that has the fewest jobs running, tenants in turn, and of each tenant by
priority, then age. What somebody holds locked (an operator who cancels it just now) is passed over."""

_RENEW: Final = """
WITH held AS MATERIALIZED (
  SELECT j.id, v.done, v.total
  FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(done)s::bigint[], %(total)s::bigint[])
       AS v(id, attempt, done, total)
  JOIN store.jobs AS j ON j.id = v.id AND j.attempts = v.attempt AND j.worker = %(worker)s AND j.state = 'running'
  ORDER BY j.id FOR UPDATE OF j
)
UPDATE store.jobs AS j SET leased_until = now() + %(lease)s, done = h.done, total = h.total
FROM held AS h WHERE j.id = h.id RETURNING j.id, j.cancel_requested
"""
"""Hold on to jobs, and say how far they are; tells which are held still, and which are to be cancelled. Rows are locked
in the order of ids, as in the statement that records, so that the two cannot deadlock."""

_FINISH: Final = """
WITH held AS MATERIALIZED (
  SELECT j.id, v.*
  FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(states)s::text[], %(delays)s::interval[], %(back)s::int[],
              %(done)s::bigint[], %(total)s::bigint[], %(results)s::text[], %(errors)s::text[])
       AS v(job, attempt, state, delay, back, done, total, result, error)
  JOIN store.jobs AS j ON j.id = v.job AND j.attempts = v.attempt AND j.worker = %(worker)s AND j.state = 'running'
  ORDER BY j.id FOR UPDATE OF j
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

_RECORDED: Final = """
SELECT id FROM store.jobs AS j
WHERE worker = %s AND state <> 'running'
  AND (id, attempts) IN (SELECT * FROM unnest(%s::bigint[], %s::int[]))
"""
"""Which of these this worker has recorded already, in a transaction whose end it did not see."""

_TAKE_BACK: Final = """
WITH lost AS MATERIALIZED (
  SELECT id FROM store.jobs WHERE state = 'running' AND leased_until < now()
  ORDER BY leased_until LIMIT 1000 FOR UPDATE SKIP LOCKED
)
UPDATE store.jobs AS j
SET state = CASE WHEN cancel_requested THEN 'cancelled' WHEN attempts >= max_attempts THEN 'failed' ELSE 'queued' END,
    finished_at = CASE WHEN cancel_requested OR attempts >= max_attempts THEN now() END,
    due_at = now(), leased_until = NULL,
    error = concat('its worker was lost in attempt ', attempts, ' of ', max_attempts)
FROM lost AS l WHERE j.id = l.id RETURNING j.id, j.state, j.job_type, j.worker
"""
"""Queue again what nobody has held on to: its worker was killed, or cannot reach the database."""

_NEXT: Final = QUEUES + SQL(
    """
    SELECT min(j.due_at) - now() FROM queues AS q CROSS JOIN LATERAL (
      SELECT due_at FROM store.jobs
      WHERE state = 'queued' AND coalesce(tenant_no, 0) = q.tenant AND priority = q.priority AND due_at > now()
      ORDER BY due_at, id LIMIT 1) AS j
    """
)
"""In how long the next job is due that is not due yet."""


@dataclass(frozen=True, slots=True)
class Held:
    """A job that a worker holds, by its id and attempt; and how far it is."""

    id: int
    attempt: int
    done: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: the state it goes into, with its result as JSON text or what went wrong.

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
    connection: psycopg.Connection[Any], worker: str, slots: int, lease: timedelta, last: int
) -> tuple[list[JobRecord], int]:
    """Take up to so many jobs, in the order in which they ought to begin.

    `last` says whose turn it was (0 at first); the second value is what to say the next time.
    """
    # One claims at a time, so that each sees what the others have. A pipeline is one transaction, whose end the server
    # gets together with its statements: a worker that stalls here keeps nobody waiting.
    with connection.cursor(row_factory=dict_row) as cursor:
        with connection.pipeline():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CLAIMING,))
            cursor.execute(_CLAIM, {"worker": worker, "slots": slots, "lease": lease, "last": last})
        rows = cursor.fetchall()
    claimed = []
    for row in rows:
        last = row.pop("whose")
        claimed.append(JobRecord(**row))
    return claimed, last


def renew(connection: psycopg.Connection[Any], worker: str, jobs: Sequence[Held], lease: timedelta) -> dict[int, bool]:
    """Hold on to jobs: the ids of those that are held still, and whether each is to be cancelled."""
    found = connection.execute(
        _RENEW,
        {
            "worker": worker,
            "lease": lease,
            "ids": [job.id for job in jobs],
            "attempts": [job.attempt for job in jobs],
            "done": [job.done for job in jobs],
            "total": [job.total for job in jobs],
        },
    )
    return dict(found.fetchall())


def finish(connection: psycopg.Connection[Any], worker: str, outcomes: Sequence[Outcome]) -> dict[int, str]:
    """Record outcomes: the ids of those jobs that were held still, each with the state that it is in now.

    Raises psycopg.DataError, and records nothing, where a result cannot be stored.
    """
    with connection.transaction():
        found = connection.execute(
            _FINISH,
            {
                "worker": worker,
                "ids": [one.held.id for one in outcomes],
                "attempts": [one.held.attempt for one in outcomes],
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


def recorded(connection: psycopg.Connection[Any], worker: str, jobs: Sequence[Held]) -> set[int]:
    """Which of these jobs this worker has ended already."""
    found = connection.execute(_RECORDED, (worker, [job.id for job in jobs], [job.attempt for job in jobs]))
    return {row[0] for row in found.fetchall()}


def take_back(connection: psycopg.Connection[Any]) -> list[TakenBack]:
    """Put what nobody has held on to back into the queue; or end it, where it was the last attempt."""
    with connection.transaction():
        taken = [TakenBack(*row) for row in connection.execute(_TAKE_BACK).fetchall()]
        if taken:
            announce(connection)
    return taken


def until_next(connection: psycopg.Connection[Any]) -> timedelta | None:
    """In how long the next job is due that is not due yet; None where there is none."""
    row = connection.execute(_NEXT).fetchone()
    assert row is not None
    wait: timedelta | None = row[0]
    return wait
