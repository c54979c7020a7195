"""A tenant's life after it is made: its logins unbound, disabled, enabled, exported, deleted with all that is its own.

Export and deletion are jobs: they take as long as there are rows, show how far they are, and may be killed and run
again. Making tenants, listing them and binding roles is in `datastore.control`; the worker is `datastore.jobs`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import Table

from datastore import aggregates, config, jobs
from datastore.connections import connect
from datastore.control import ControlError, Tenant, UnknownTenant, as_owner, find_tenant, get_tenant
from datastore.engine import Driver, Engine, one
from datastore.jobs import JobContext, JobFailed, JobRecord, KindName, Order, job_type
from datastore.objects import APP
from datastore.reads import series_range
from datastore.schema import STORE, metadata
from mds_client import KINDS, export
from mds_client.models import Row, built_of_series
from mds_client.schema import Kind

DELETE: Final = "delete-tenant"
EXPORT: Final = "export-tenant"

Format = Literal["ndjson", "ndjson.zst", "parquet"]

_WRITERS: Final[dict[Format, Callable[..., export.Dump]]] = {
    "ndjson": export.dump_ndjson,
    "ndjson.zst": export.dump_ndjson,
    "parquet": export.dump_parquet,
}


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion removes of a tenant: rows of each kind, stored rows of each rollup, series, rows of its other
    tables (jobs among them), and the roles that lose their right to the views."""

    tenant: UUID
    name: str
    rows: dict[str, int]
    rollups: dict[str, int]
    series: int
    records: dict[str, int]
    roles: list[str]


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written of a kind, below the folder for exports, and its number of rows."""

    kind: str
    path: str
    rows: int


class OpenSessions(ControlError):
    """A login is to lose its binding and is logged in."""

    def __init__(self, role: str, sessions: int) -> None:
        super().__init__(
            f"role {role!r} has lost its right to the views, and stays bound while it is logged in:"
            f" end its sessions ({sessions} now; pg_terminate_backend), and try again"
        )


class DeletionOrder(Order):
    """The payload of a deletion: the tenant by its id and, so that none is deleted by mistake, by its name and number.

    Only the number is never given again: a tenant of the same id and name that is made later is another one.
    """

    tenant: UUID
    name: str
    no: int


class ExportOrder(Order):
    """The payload of an export: what is written as what. No kind: every one.

    `tenant` is for a job of the store itself; whose rows a tenant's own job exports is not its payload's to say.
    """

    format: Format = "ndjson"
    kinds: list[KindName] | None = None
    tenant: UUID | None = None


def unbind_role(dsn: str, tenant: str, role: str) -> Tenant:
    """Take back the binding of a login role to a tenant, by name or uuid, and before that its right to the views:
    without a binding it could choose any tenant.

    Raises ControlError where there is no such tenant, the role is not bound to it, or it would keep the right in
    another way; and OpenSessions while it is logged in: then the right is gone, and the binding is not.
    """
    with connect(dsn) as connection:
        found = find_tenant(connection, tenant)
        if role not in found.roles:
            raise ControlError(f"role {role!r} is not bound to tenant {found.name!r}")
        revoke_right(connection, role)
        drop_binding(connection, role)
        return find_tenant(connection, str(found.id))


def revoke_right(connection: psycopg.Connection[Any], role: str) -> None:
    """Take from a bound login its right to the views, and commit. Raises ControlError where it has it in another way.

    In a transaction before the one that drops the binding: nobody may see that without this.
    """
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount:
        connection.execute(SQL("REVOKE {} FROM {}").format(Identifier(APP), Identifier(role)))
        if _has_right(connection, role):
            raise ControlError(
                f"role {role!r} is a member of {APP} in another way than by its binding, and without one it could"
                " choose any tenant: take that from it, or drop it, and try again"
            )
    connection.commit()


def drop_binding(connection: psycopg.Connection[Any], role: str) -> None:
    """Drop the binding of a login whose right is gone. Raises OpenSessions while it is logged in.

    A session that has done `SET ROLE` before keeps the right until it ends: only the binding holds it to its tenant.
    """
    # Whoever binds it anew at the same time holds this row, and grants before letting go of it.
    connection.execute("SELECT FROM store.tenant_roles WHERE role = %s FOR UPDATE", (role,))
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount and _has_right(connection, role):
        raise ControlError(f"role {role!r} was bound by somebody else just now")
    sessions = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND datname = current_database()", (role,)
    ).fetchone()
    assert sessions is not None
    if sessions[0]:
        raise OpenSessions(role, sessions[0])
    connection.execute("DELETE FROM store.tenant_roles WHERE role = %s", (role,))


def _has_right(connection: psycopg.Connection[Any], role: str) -> bool:
    row = connection.execute("SELECT pg_has_role(%s, %s, 'MEMBER')", (role, APP)).fetchone()
    assert row is not None
    return bool(row[0])


def disable_tenant(dsn: str, tenant: UUID) -> Tenant:
    """From the next statement on, nobody reads or writes as this tenant; its data stays. Again is harmless.

    Raises UnknownTenant.
    """
    with as_owner(dsn) as (_, driver):
        driver.execute("UPDATE store.tenants SET disabled_at = coalesce(disabled_at, now()) WHERE id = %s", (tenant,))
    return get_tenant(dsn, tenant)


def enable_tenant(dsn: str, tenant: UUID) -> Tenant:
    """Take back what `disable_tenant` did. Again is harmless.

    Raises UnknownTenant, and ControlError where it is being deleted, or a deletion has failed: some of it may be gone.
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
    """What a deletion would remove now. Counts every row of the tenant: it takes as long as reading them does.

    Raises UnknownTenant.
    """
    found = get_tenant(dsn, tenant)
    with as_owner(dsn) as (engine, driver):
        return _planned(engine, driver, found)


def delete_tenant(dsn: str, tenant: UUID, *, name: str) -> JobRecord:
    """Disable a tenant now, and have a worker remove it with all that is its own: the job. `name` is the tenant's.

    What a worker did not finish is begun again by the same call. Raises UnknownTenant, and ControlError
    where the tenant's name is another.
    """
    found = get_tenant(dsn, tenant)
    if name != found.name:
        raise ControlError(f"tenant {tenant} has another name than {name!r}: nothing is deleted")
    with as_owner(dsn) as (_, driver):
        driver.execute("UPDATE store.tenants SET disabled_at = coalesce(disabled_at, now()) WHERE id = %s", (tenant,))
        order = DeletionOrder(tenant=tenant, name=name, no=found.no)
        job = jobs.enqueue(driver, DELETE, order, tenant=None, idempotency_key=f"{DELETE} {found.no}")
    return jobs.retry_job(dsn, job.id) if job.state in ("failed", "cancelled") else job


def export_tenant(
    dsn: str,
    tenant: UUID,
    *,
    idempotency_key: str,
    format: Format = "ndjson",  # noqa: A002
    kinds: list[str] | None = None,
) -> JobRecord:
    """Have a worker write a tenant's rows into files, one for each kind, and return the job.

    They come to lie in the folder that the worker is set up with (`DATASTORE_EXPORTS`), below the tenant's id and the
    job's number, all of the same moment; NDJSON as `mds ingest-ndjson` reads it. Also of a tenant that is disabled: its
    own jobs wait until it is enabled, so this one is the store's. Raises UnknownTenant, and ControlError where there is
    no such kind or format.
    """
    found = get_tenant(dsn, tenant)
    if unknown := set(kinds or ()) - set(KINDS):
        raise ControlError(f"no kind {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
    if format not in _WRITERS:
        raise ControlError(f"no format {format!r}; there are: {', '.join(_WRITERS)}")
    with as_owner(dsn) as (_, driver):
        if found.disabled_at is None:
            own = {"format": format, "kinds": kinds}
            return jobs.enqueue(driver, EXPORT, own, tenant=tenant, idempotency_key=idempotency_key)
        order = ExportOrder(format=format, kinds=kinds, tenant=tenant)
        return jobs.enqueue(driver, EXPORT, order, tenant=None, idempotency_key=f"{idempotency_key} of {found.no}")


@job_type(DELETE, store_only=True)
def run_deletion(context: JobContext, order: DeletionOrder) -> dict[str, Any]:
    """Remove a tenant in steps that are each a transaction: rows, rollups, series, what else it has, and itself.

    It may be killed at any moment and run again. A login that was bound to the tenant loses its right to the views,
    because without its binding it could choose any tenant.
    """
    try:
        tenant = get_tenant(context.dsn, order.tenant)
    except UnknownTenant:
        return {"tenant": str(order.tenant), "removed": "before"}
    if (tenant.name, tenant.no) != (order.name, order.no):
        raise JobFailed(f"tenant {order.tenant} is another one than {order.name!r} was: nothing is deleted")
    disable_tenant(context.dsn, order.tenant)
    with as_owner(context.dsn) as (engine, driver):
        _await_older_writers(context, driver, tenant.no)
        plan = _planned(engine, driver, tenant)
        driver.commit()
        total = sum(plan.rows.values()) + sum(plan.rollups.values())
        context.progress(0, total)
        done = 0
        for count in _removing(engine, driver, tenant.no):
            done += count
            context.progress(done, max(total, done))
        context.check()
        _close(context, driver, tenant)
    return {**asdict(plan), "tenant": str(plan.tenant)}


@job_type(EXPORT)
def run_export(context: JobContext, order: ExportOrder) -> dict[str, Any]:
    """Write the files of an export; a second run writes them anew."""
    whose = context.job.tenant or order.tenant
    if whose is None:
        raise JobFailed("an export is of a tenant's rows")
    root = config.load().exports
    if root is None:
        raise JobFailed("no folder for exports: set DATASTORE_EXPORTS where the worker runs")
    tenant = get_tenant(context.dsn, whose)
    folder = root / str(tenant.id) / str(context.job.id)
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(".*"):
        part.unlink()  # of a run that was killed
    kinds = [KINDS[name] for name in order.kinds or KINDS]
    files = []
    with as_owner(context.dsn) as (_, driver):
        driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        span = series_range(tenant.no)
        reader = _Everything(driver, tenant, context, sum(_count(driver, (STORE, kind.name), span) for kind in kinds))
        for kind in kinds:
            path = folder / f"{kind.name}.{order.format}"
            dump = _WRITERS[order.format](reader, kind.name, str(path))
            files.append(asdict(Exported(kind.name, path.relative_to(root).as_posix(), dump.rows)))
    # Its tenant reads this: where the worker keeps its files is not its business.
    return {"folder": folder.relative_to(root).as_posix(), "files": files}


class _Everything:
    """A tenant's rows as the owner of the tables sees them, so that a tenant that is disabled has them, too; read as a
    client is (`mds_client.export`)."""

    def __init__(self, driver: Driver, tenant: Tenant, context: JobContext, total: int) -> None:
        self._driver = driver
        self._tenant = tenant
        self._context = context
        self._done = 0
        self._total = total

    def iter_rows(self, kind: Kind, *_always: datetime | None, batch_rows: int) -> Iterator[list[Row]]:
        """Every row of a kind, by series and then by key."""
        span = series_range(self._tenant.no)
        constants = self._constants(kind, span)
        model = cast("type[Row]", kind.model)
        statement = SQL("SELECT series_id, {} FROM {} WHERE series_id >= %s AND series_id < %s ORDER BY {}").format(
            SQL(", ").join(
                SQL("{}::text" if column.type == "uuid" else "{}").format(Identifier(column.name))
                for column in kind.columns
            ),
            Identifier(STORE, kind.name),
            SQL(", ").join(map(Identifier, ("series_id", *kind.key))),
        )
        with self._driver.cursor(name=f"export_{kind.name}") as cursor:
            cursor.execute(statement, span)
            while rows := cursor.fetchmany(batch_rows):
                yield built_of_series(model, constants, kind.column_names, rows)
                self._done += len(rows)
                self._context.progress(self._done, self._total)

    def _constants(self, kind: Kind, span: tuple[int, int]) -> dict[int, dict[str, Any]]:
        """What all rows of a series have in common, and every other field, in the model's order."""
        found = self._driver.execute(
            SQL("SELECT series_id, {} FROM store.series WHERE kind = %s AND series_id >= %s AND series_id < %s").format(
                SQL(", ").join(map(Identifier, kind.series))
            ),
            (kind.name, *span),
        ).fetchall()
        empty = {**dict.fromkeys(kind.model.model_fields), "tenant_id": str(self._tenant.id)}
        return {series_id: {**empty, **dict(zip(kind.series, names, strict=True))} for series_id, *names in found}


def _planned(engine: Engine, driver: Driver, tenant: Tenant) -> Deletion:
    span = series_range(tenant.no)
    rollups = {
        aggregates.relation(kind, rollup): engine.stored_rollup(driver, kind, rollup)
        for kind, rollup in aggregates.rollups()
    }
    return Deletion(
        tenant=tenant.id,
        name=tenant.name,
        rows={name: _count(driver, (STORE, name), span) for name in KINDS},
        rollups={name: _count(driver, table, span) for name, table in rollups.items() if table},
        series=_count(driver, (STORE, "series"), span),
        records={table.name: _count_records(driver, table, tenant.no) for table in _tables("tenant_no")},
        roles=tenant.roles,
    )


def _count(driver: Driver, table: tuple[str, str], span: tuple[int, int]) -> int:
    where = SQL("series_id >= %s AND series_id < %s")
    return int(one(driver.execute(SQL("SELECT count(*) FROM {} WHERE {}").format(Identifier(*table), where), span)))


def _count_records(driver: Driver, table: Table, no: int) -> int:
    name = Identifier(STORE, table.name)
    return int(one(driver.execute(SQL("SELECT count(*) FROM {} WHERE tenant_no = %s").format(name), (no,))))


def _tables(column: str) -> list[Table]:
    """The declared tables with that column, what refers to another before what it refers to."""
    kept = {"tenant_roles", "series", *KINDS}
    return [table for table in reversed(metadata().sorted_tables) if column in table.c and table.name not in kept]


def _removing(engine: Engine, driver: Driver, no: int) -> Iterator[int]:
    """Remove everything that has a series, and then what has the tenant: a transaction a step, and its rows."""
    span = series_range(no)
    for kind in KINDS.values():
        yield from engine.remove_series(driver, (STORE, kind.name), kind.time, span)
    for kind, rollup in aggregates.rollups():
        if stored := engine.stored_rollup(driver, kind, rollup):
            # What is being refreshed now was read before the rows were gone: it is waited for, and no other begins.
            with driver.transaction():
                driver.execute(SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(Identifier(*stored)))
            yield from engine.remove_series(driver, stored, kind.time, span)
    plain = Engine(engine.server_version)
    for table in (*_tables("series_id"), metadata().tables[f"{STORE}.series"]):
        for _ in plain.remove_series(driver, (STORE, table.name), "", span):
            yield 0
    for table in _tables("tenant_no"):
        statement = SQL(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE tenant_no = %s LIMIT 10000))"
        ).format(table=Identifier(STORE, table.name))
        while driver.execute(statement, (no,)).rowcount:
            driver.commit()
            yield 0
        driver.commit()


_PATIENCE: Final = 60.0
"""How long, in seconds, a deletion waits for transactions from before the tenant was disabled, and for its logins'
sessions to end."""

_LOOK: Final = 0.05
"""Seconds between two looks at what is waited for."""


def _await_older_writers(context: JobContext, driver: Driver, no: int) -> None:
    """Wait until every transaction has ended that was there before the tenant was disabled: it may still write as it.

    Also one that has only read so far, or waits within its first statement: it may see the tenant as it was. Raises
    ControlError after a while; the job is then tried again.
    """
    deadline = time.monotonic() + _PATIENCE
    driver.commit()
    older = set(driver.execute(_TRANSACTIONS, {"no": no}).fetchall())
    driver.commit()
    while older:
        if time.monotonic() > deadline:
            raise ControlError("a transaction from before the tenant was disabled is still open: end it")
        context.check()
        time.sleep(_LOOK)
        older &= set(driver.execute(_TRANSACTIONS, {"no": no}).fetchall())
        driver.commit()


_TRANSACTIONS: Final = """
WITH others AS (SELECT role FROM store.tenant_roles WHERE tenant_no <> %(no)s)
SELECT l.virtualtransaction FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'virtualxid' AND a.datname = current_database() AND l.pid <> pg_backend_pid()
  AND NOT EXISTS (SELECT FROM others WHERE role = a.usename)
UNION ALL
SELECT gid FROM pg_prepared_xacts
WHERE database = current_database() AND NOT EXISTS (SELECT FROM others WHERE role = owner)
"""
"""The transactions of other sessions, each of which holds a lock on itself, and those that are prepared; not of logins
that are bound to another tenant, which write nothing as this one and must not be able to hold it."""


def _close(context: JobContext, driver: Driver, tenant: Tenant) -> None:
    """The last steps: the logins' right to the views, their bindings, and the tenant itself.

    Raises ControlError where a login is still logged in after a while; the job is then tried again.
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
    """The job, by its id and state, that removes the tenant or has not finished that, and was not cancelled."""
    return driver.execute(
        "SELECT id, state FROM store.jobs WHERE tenant_no IS NULL AND job_type = %s"
        " AND (payload ->> 'no')::int = (SELECT no FROM store.tenants WHERE id = %s)"
        " AND state IN ('queued', 'running', 'failed')",
        (DELETE, tenant),
    ).fetchone()
