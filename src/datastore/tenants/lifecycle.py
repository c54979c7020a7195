"""The later life of a tenant: disable, enable and delete it with all its data.

A deletion is a job: it takes as long as there are rows, reports its progress, and may be killed and run again.
`datastore.tenants.registry` creates and lists tenants, `datastore.tenants.roles` binds roles.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from psycopg.sql import SQL, Identifier

from datastore import aggregates, config, jobs
from datastore.connections import as_owner
from datastore.engines import Driver, Engine, one
from datastore.errors import ControlError, UnknownTenant
from datastore.jobs import JobContext, JobFailed, JobRecord, Order, job_type
from datastore.names import LOCKS, STORE
from datastore.reads import series_range
from datastore.tenants.registry import Tenant, get_tenant
from datastore.tenants.roles import OpenSessions, drop_binding, revoke_right
from mds_client import KINDS

DELETE: Final = "delete-tenant"


@dataclass(frozen=True, slots=True)
class Deletion:
    """The extent of a deletion: rows of each kind, stored rows of each rollup, series, rows of the tenant's other
    tables (including jobs), files with old rows, and the roles that lose their right to the views."""

    tenant: UUID
    name: str
    rows: dict[str, int]
    rollups: dict[str, int]
    series: int
    records: dict[str, int]
    files: int
    roles: list[str]


class DeletionOrder(Order):
    """The payload of a deletion: the tenant's id and, to prevent mistakes, its name and number.

    Only the number is never used again: a tenant created later with the same id and name is another one.
    """

    tenant: UUID
    name: str
    no: int


def disable_tenant(dsn: str, tenant: UUID) -> Tenant:
    """Disable a tenant: from the next statement on, nobody reads or writes as it. Its data stays. You can repeat it.

    Raises UnknownTenant.
    """
    with as_owner(dsn) as (_, driver):
        driver.execute("UPDATE store.tenants SET disabled_at = coalesce(disabled_at, now()) WHERE id = %s", (tenant,))
    return get_tenant(dsn, tenant)


def enable_tenant(dsn: str, tenant: UUID) -> Tenant:
    """Enable a disabled tenant. You can repeat it.

    Raises UnknownTenant, and ControlError if it is being deleted, or if a deletion failed and part of it may be gone.
    """
    with as_owner(dsn) as (_, driver):
        if (deletion := _deletion(driver, tenant)) is not None:
            id_, state = deletion
            begun = "is being deleted" if state != "failed" else "was being deleted when that failed"
            first = "cancel" if state != "failed" else "retry and cancel"
            raise ControlError(f"tenant {tenant} {begun}: {first} job {id_} first")
        driver.execute("UPDATE store.tenants SET disabled_at = NULL WHERE id = %s", (tenant,))
    return get_tenant(dsn, tenant)


def plan_deletion(dsn: str, tenant: UUID) -> Deletion:
    """Return what a deletion would remove now. Counts every row of the tenant, which takes as long as reading them.

    Raises UnknownTenant.
    """
    found = get_tenant(dsn, tenant)
    with as_owner(dsn) as (engine, driver):
        return _planned(engine, driver, found)


def delete_tenant(dsn: str, tenant: UUID, *, name: str) -> JobRecord:
    """Disable a tenant now, and enqueue and return the job that removes it with its data. `name` must be the tenant's.

    The same call resumes a deletion that did not finish. Raises UnknownTenant, and ControlError if the tenant has
    another name.
    """
    found = get_tenant(dsn, tenant)
    if name != found.name:
        raise ControlError(f"tenant {tenant} is not named {name!r}: nothing was deleted")
    with as_owner(dsn) as (_, driver):
        driver.execute("UPDATE store.tenants SET disabled_at = coalesce(disabled_at, now()) WHERE id = %s", (tenant,))
        order = DeletionOrder(tenant=tenant, name=name, no=found.no)
        job = jobs.enqueue(driver, DELETE, order, tenant=None, idempotency_key=f"{DELETE} {found.no}")
    return jobs.retry_job(dsn, job.id) if job.state in ("failed", "cancelled") else job


@job_type(DELETE, store_only=True)
def run_deletion(context: JobContext, order: DeletionOrder) -> dict[str, Any]:
    """Remove a tenant in steps, each in a transaction: rows, rollups, series, its other records, and the tenant itself.

    The job may be killed at any moment and run again. A login that was bound to the tenant loses its right to the
    views, because without its binding it could choose any tenant.
    """
    try:
        tenant = get_tenant(context.dsn, order.tenant)
    except UnknownTenant:
        return {"tenant": str(order.tenant), "removed": "before"}
    if (tenant.name, tenant.no) != (order.name, order.no):
        raise JobFailed(
            f"tenant {order.tenant} is not the tenant {order.name!r} that this job was created for: nothing was deleted"
        )
    disable_tenant(context.dsn, order.tenant)
    with as_owner(context.dsn) as (engine, driver):
        await_older_writers(context.check, driver, tenant.no)
        plan = _planned(engine, driver, tenant)
        files = _files(driver, tenant.no)
        driver.commit()
        place = _place_of_files() if files else ""
        total = sum(plan.rows.values()) + sum(plan.rollups.values())
        context.progress(0, total)
        done = 0
        for count in _removing(engine, driver, tenant.no):
            done += count
            context.progress(done, max(total, done))
        context.check()
        _close(context, driver, tenant)
    if files:
        _remove_files(place, files)
    return {**asdict(plan), "tenant": str(plan.tenant)}


def _planned(engine: Engine, driver: Driver, tenant: Tenant) -> Deletion:
    span = series_range(tenant.no)
    rollups = {
        aggregates.relation(kind, rollup): engine.stored_rollup(driver, kind, rollup)
        for kind, rollup in aggregates.rollups()
    }
    return Deletion(
        tenant=tenant.id,
        name=tenant.name,
        rows={name: count(driver, (STORE, name), span) for name in KINDS},
        rollups={name: count(driver, table, span) for name, table in rollups.items() if table},
        series=count(driver, (STORE, "series"), span),
        records={name: _count_records(driver, name, tenant.no) for name in _tables("tenant_no")},
        files=len(_files(driver, tenant.no)),
        roles=tenant.roles,
    )


def count(driver: Driver, table: tuple[str, str], span: tuple[int, int]) -> int:
    """Return the number of rows in a range of series ids."""
    where = SQL("series_id >= %s AND series_id < %s")
    return int(one(driver.execute(SQL("SELECT count(*) FROM {} WHERE {}").format(Identifier(*table), where), span)))


def _count_records(driver: Driver, table: str, no: int) -> int:
    statement = SQL("SELECT count(*) FROM {} WHERE tenant_no = %s").format(Identifier(STORE, table))
    return int(one(driver.execute(statement, (no,))))


def _files(driver: Driver, no: int) -> list[str]:
    """Return the files with old rows of a tenant, including replaced ones."""
    found = driver.execute("SELECT path FROM store.cold_periods WHERE tenant_no = %s ORDER BY path", (no,))
    return [path for (path,) in found.fetchall()]


def _place_of_files() -> str:
    found = config.load().cold_url
    if found is None:
        raise JobFailed(
            "old rows of the tenant are kept in files, and this worker does not know where: set DATASTORE_COLD_URL"
            " where it runs, and retry the job"
        )
    return found


def _remove_files(place_of: str, paths: list[str]) -> None:
    """Remove files that are on no list any more. If this is stopped, `datastore cold sweep` removes the others."""
    from mds_client.cold.places import place  # needs PyArrow

    for path in paths:
        place(place_of).remove(path)


def _tables(column: str) -> list[str]:
    """Return the declared tables with that column, each before the tables that it refers to."""
    kept = {"tenant_roles", "series", *KINDS}
    from datastore.schema import metadata  # SQLAlchemy takes long to import

    tables = reversed(metadata().sorted_tables)
    return [table.name for table in tables if column in table.c and table.name not in kept]


def _removing(engine: Engine, driver: Driver, no: int) -> Iterator[int]:
    """Remove the rows of all series, then those of the tenant. Yields the number of rows after each transaction."""
    span = series_range(no)
    for kind in KINDS.values():
        yield from engine.remove_series(driver, (STORE, kind.name), kind.time, span)
    for kind, rollup in aggregates.rollups():
        if stored := engine.stored_rollup(driver, kind, rollup):
            # A refresh that runs now may have read the rows before they were removed: wait for it, and let no other
            # begin.
            with driver.transaction():
                driver.execute(SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(Identifier(*stored)))
            yield from engine.remove_series(driver, stored, kind.time, span)
    plain = Engine(engine.server_version)
    for table in (*_tables("series_id"), "series"):
        for _ in plain.remove_series(driver, (STORE, table), "", span):
            yield 0
    for table in _tables("tenant_no"):
        statement = SQL(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE tenant_no = %s LIMIT 10000))"
        ).format(table=Identifier(STORE, table))
        while driver.execute(statement, (no,)).rowcount:
            driver.commit()
            yield 0
        driver.commit()


_PATIENCE: Final = 60.0
"""The longest time in seconds that a deletion waits for transactions from before the tenant was disabled, and for
sessions of its logins to end."""

_LOOK: Final = 0.05
"""Seconds between two checks while waiting."""


def await_older_writers(check: Callable[[], object], driver: Driver, no: int, *, table: str | None = None) -> None:
    """Wait until all current transactions have ended that may write as a tenant, because they may not see a change that
    was just committed, for example that the tenant is disabled.

    Includes transactions that have only read so far or wait in their first statement.

    Args:
        check: Called meanwhile; it may raise.
        driver: A connection as the owner.
        no: The tenant's number.
        table: Wait only for transactions that have written to this table of the store.

    Raises:
        ControlError: One did not end for a while. Try again later.
    """
    deadline = time.monotonic() + _PATIENCE
    driver.commit()
    written = None if table is None else f"{STORE}.{table}"
    about = {"no": no, "locks": [f"{STORE}.{lock}" for lock in LOCKS], "table": written}
    older = set(driver.execute(_TRANSACTIONS, about).fetchall())
    driver.commit()
    while older:
        if time.monotonic() > deadline:
            raise ControlError("a transaction from before the change is still open: end it")
        check()
        time.sleep(_LOOK)
        older &= set(driver.execute(_TRANSACTIONS, about).fetchall())
        driver.commit()


_TRANSACTIONS: Final = """
WITH others AS (SELECT role FROM store.tenant_roles WHERE tenant_no <> %(no)s)
SELECT l.virtualtransaction FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'virtualxid' AND a.datname = current_database() AND l.pid <> pg_backend_pid()
  AND NOT EXISTS (SELECT FROM others WHERE role = a.usename)
  AND NOT EXISTS (SELECT FROM pg_locks AS k WHERE k.pid = l.pid AND k.locktype = 'relation' AND k.granted
                    AND k.mode = 'ShareUpdateExclusiveLock' AND k.relation = ANY (%(locks)s::regclass[]))
  AND (%(table)s::regclass IS NULL
       OR EXISTS (SELECT FROM pg_locks AS k WHERE k.pid = l.pid AND k.locktype = 'relation' AND k.granted
                     AND k.mode = 'RowExclusiveLock' AND k.relation = %(table)s::regclass))
UNION ALL
SELECT gid FROM pg_prepared_xacts
WHERE database = current_database() AND NOT EXISTS (SELECT FROM others WHERE role = owner)
"""
"""Select the transactions of other sessions, each of which holds a lock on itself, and prepared ones. Leaves out logins
that are bound to another tenant, which write nothing as this one and must not be able to delay it, and sessions that
hold a lock of the store (`datastore.locks`), which only its owner can take and which write no rows."""


def _close(context: JobContext, driver: Driver, tenant: Tenant) -> None:
    """Take the last steps: revoke the logins' right to the views, drop their bindings, and delete the tenant itself.

    Raises OpenSessions if a login is still logged in after a while; the job is then tried again.
    """
    driver.execute("RESET ROLE")
    bound = "SELECT role FROM store.tenant_roles WHERE tenant_no = %s ORDER BY 1"
    roles = [role for (role,) in driver.execute(bound, (tenant.no,)).fetchall()]
    for role in roles:
        revoke_right(driver, role)
    deadline = time.monotonic() + _PATIENCE
    for role in roles:
        while True:
            try:
                drop_binding(driver, role)
            except OpenSessions:
                driver.rollback()
                if time.monotonic() > deadline:
                    raise
                context.check()
                time.sleep(_LOOK)
            else:
                driver.commit()
                break
    driver.execute("DELETE FROM store.tenants WHERE no = %s", (tenant.no,))
    driver.commit()


def _deletion(driver: Driver, tenant: UUID) -> tuple[int, str] | None:
    """Return the id and state of the job that deletes the tenant, if it was not cancelled; None without one."""
    return driver.execute(
        "SELECT id, state FROM store.jobs WHERE tenant_no IS NULL AND job_type = %s"
        " AND (payload ->> 'no')::int = (SELECT no FROM store.tenants WHERE id = %s)"
        " AND state IN ('queued', 'running', 'failed')",
        (DELETE, tenant),
    ).fetchone()
