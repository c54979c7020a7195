"""Start, cancel and resume backfills."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from datastore import jobs
from datastore.backfill.planning import plan
from datastore.backfill.records import BackfillRecord, get_record, record_by_key
from datastore.backfill.spec import JOB_TYPE, KIND, BackfillConflict, BackfillError, BackfillSpec, ChunkJob, params
from datastore.connections import connect
from datastore.jobs import CANCEL
from datastore.tenants import find_tenant

# Starting and looking -------------------------------------------------------------------------------------------------


def start(dsn: str, spec: BackfillSpec, *, idempotency_key: str) -> BackfillRecord:
    """Plan a backfill and put it and its jobs down, all or nothing; workers do the rest.

    The same key of the same tenant is always the same backfill: the one that is there is returned. Raises
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
                *(Jsonb(spec.source), Jsonb(params(spec)), planned.series, planned.missing, now),
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


def _same(dsn: str, spec: BackfillSpec, idempotency_key: str) -> BackfillRecord | None:
    """The backfill with that key. Raises BackfillConflict if something else was asked for."""
    with connect(dsn) as connection:
        tenant = find_tenant(connection, spec.tenant)
        if (found := record_by_key(connection, tenant.no, idempotency_key)) is None:
            return None
        # The database compares, as it has stored them: in Python, true is 1, and 1e23 is not 10 to the 23rd.
        same = connection.execute(
            "SELECT (vendor, timeframe, range_start, range_end, source, params)"
            " = (%s, %s, %s, %s, %s::jsonb, %s::jsonb) FROM store.backfills WHERE id = %s",
            (
                *(spec.vendor, spec.timeframe, spec.start, spec.end, Jsonb(spec.source), Jsonb(params(spec))),
                found.id,
            ),
        ).fetchone()
    if same != (True,):
        raise BackfillConflict(f"backfill {idempotency_key!r} is there already, and something else: {found.id}")
    return found


def cancel_backfill(dsn: str, id: int, *, tenant: UUID | None = None) -> BackfillRecord:  # noqa: A002
    """Cancel what has not ended: jobs that are queued at once, those that run as soon as they look.

    What is written stays. One that has ended is left as it is. Raises UnknownBackfill.
    """
    get_record(dsn, id, tenant)
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
    return get_record(dsn, id, tenant)


def resume_backfill(dsn: str, id: int, *, tenant: UUID | None = None) -> BackfillRecord:  # noqa: A002
    """Queue the jobs again that have failed or were cancelled; what has succeeded is not done again.

    If there are none it is left as it is. Raises UnknownBackfill.
    """
    get_record(dsn, id, tenant)
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
    return get_record(dsn, id, tenant)
