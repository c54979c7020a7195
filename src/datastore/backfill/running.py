"""Start, cancel and resume backfills."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from datastore import jobs, vendors
from datastore.backfill.planning import plan
from datastore.backfill.records import BackfillRecord, get_record, record_by_key
from datastore.backfill.spec import JOB_TYPE, KIND, BackfillConflict, BackfillError, BackfillSpec, ChunkJob, params
from datastore.connections import connect
from datastore.jobs import CANCEL
from datastore.tenants import find_tenant

# Starting and looking -------------------------------------------------------------------------------------------------


def start(dsn: str, spec: BackfillSpec, *, idempotency_key: str) -> BackfillRecord:
    """Plan a backfill, and store it with all its jobs or not at all; workers do the rest.

    A tenant's idempotency key always stands for the same backfill: if it exists, it is returned. Raises
    BackfillConflict if that one was requested differently, BackfillError for an empty key, and what `plan` raises.
    """
    if not idempotency_key.strip():
        raise BackfillError("the idempotency key is empty")
    spec = _spelled(dsn, spec)
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
            # A tenant chooses keys for its own jobs, and could take a key that can be guessed.
            key = f"backfill:{made[0]}:{secrets.token_hex(16)}"
            # In the order of time, so that reads and writes are close together.
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


def _spelled(dsn: str, spec: BackfillSpec) -> BackfillSpec:
    """Return a spec with the symbols as the vendor's series have them."""
    if spec.symbols is None:
        return spec
    with connect(dsn) as connection:
        found = vendors.spelling(connection)
    return spec.model_copy(update={"symbols": tuple(found.stored(spec.vendor, symbol) for symbol in spec.symbols)})


def _same(dsn: str, spec: BackfillSpec, idempotency_key: str) -> BackfillRecord | None:
    """Return the backfill with that key, or None. Raises BackfillConflict if it was requested differently."""
    with connect(dsn) as connection:
        tenant = find_tenant(connection, spec.tenant)
        if (found := record_by_key(connection, tenant.no, idempotency_key)) is None:
            return None
        # Compare the stored values in the database: in Python, true is 1, and 1e23 is not 10 to the 23rd.
        same = connection.execute(
            "SELECT (vendor, timeframe, range_start, range_end, source, params)"
            " = (%s, %s, %s, %s, %s::jsonb, %s::jsonb) FROM store.backfills WHERE id = %s",
            (
                *(spec.vendor, spec.timeframe, spec.start, spec.end, Jsonb(spec.source), Jsonb(params(spec))),
                found.id,
            ),
        ).fetchone()
    if same != (True,):
        raise BackfillConflict(f"backfill {idempotency_key!r} already exists with other settings: {found.id}")
    return found


def cancel_backfill(dsn: str, id: int, *, tenant: UUID | None = None) -> BackfillRecord:  # noqa: A002
    """Cancel the unfinished jobs of a backfill: queued ones at once, running ones as soon as they check.

    Written rows stay. A backfill that has ended stays as it is. Raises UnknownBackfill.
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
    """Requeue the failed and cancelled jobs of a backfill; jobs that succeeded do not run again.

    Without such jobs the backfill stays as it is. Raises UnknownBackfill.
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
