"""Move whole months of rows from the table into files."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Composable, Identifier

from datastore.cold.owning import claim
from datastore.cold.records import (
    Due,
    NewFile,
    Step,
    age,
    alone,
    due,
    fence,
    has_rows,
    kinds,
    listed,
    months,
    nobody,
    put_on_list,
    separately,
    series_of,
    tenants,
    with_rows,
)
from datastore.cold.writing import VerificationError, fields_of, removed_on_error, write_file
from datastore.connections import as_owner
from datastore.engines import Driver, Engine
from datastore.names import STORE
from datastore.reads import series_range
from datastore.tenants import Tenant, await_older_writers
from mds_client import sql
from mds_client.cold.places import Place, place
from mds_client.config import Config
from mds_client.protocol.operations import CopyOut, Execute, Group, More, Session
from mds_client.reading import packed
from mds_client.schema import Kind


@dataclass(frozen=True, slots=True)
class Moved:
    """A month of a tenant that was moved into a file."""

    tenant: UUID
    kind: str
    start: datetime
    end: datetime
    rows: int
    bytes: int
    path: str


def run(
    dsn: str,
    url: str,
    *,
    tenant: UUID | None = None,
    kind: str | None = None,
    now: datetime | None = None,
    reached: Step = nobody,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Moved]:
    """Move the months whose rows are all older than `cold_after` into files, and yield each.

    You can stop it at any moment, and call it again. A failure of one tenant does not stop the others.

    Args:
        dsn: The control plane's DSN.
        url: The place of the files.
        tenant: Only this tenant's rows.
        kind: Only rows of this kind.
        now: The time from which ages are counted; the default is now.
        reached: Called with the name of the last step.
        check: Called often; it may raise.

    Raises:
        ControlError: A transaction from before the move of the fence does not end, or the folder is another store's.
        VerificationError: Rows or a file are not as expected. Nothing of that month has changed.
        ConfigurationError: The URL is not that of a supported place.
    """
    target = place(url)
    now = now or datetime.now(UTC)
    with as_owner(dsn) as (_, driver):
        some = due(driver, tenants(dsn, tenant), kinds(kind))
    if not some:
        return
    with alone(dsn) as (_, driver):
        claim(target, driver)
        driver.execute("UPDATE store.cold_fences SET restoring = false WHERE restoring")
        driver.commit()
        waiting = _with_work(driver, some, now)

    def moved(one: Due) -> Iterator[Moved]:
        with alone(dsn) as (engine, driver):
            check()
            if _fenced(driver, one.tenant, one.kind, now, reached, check):
                yield from _months(engine, driver, target, one.tenant, one.kind, reached, check)

    # A connection and a lock for each tenant with work, so that other commands get their turn between two of them.
    yield from separately(partial(moved, one) for one in waiting)


def _until(after: timedelta, now: datetime) -> datetime:
    """Return the time before which rows move: the beginning of the month of the newest rows of that age."""
    return (now - after).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _with_work(driver: Driver, some: Sequence[Due], now: datetime) -> list[Due]:
    """Return those whose fence has to move, or of which rows from before it are in the table."""
    untils = {}
    for one in some:
        known = [] if one.cold_before is None else [one.cold_before]
        untils[one.tenant.no, one.kind.name] = max(
            known if one.cold_after is None else [*known, _until(one.cold_after, now)]
        )
    there = {
        (no, kind.name)
        for kind in {one.kind.name: one.kind for one in some}.values()
        for no in with_rows(driver, kind, {no: until for (no, name), until in untils.items() if name == kind.name})
    }
    return [
        one
        for one in some
        if (key := (one.tenant.no, one.kind.name)) in there
        or (one.cold_before is not None and one.cold_before < untils[key])
    ]


def _fenced(
    driver: Driver, tenant: Tenant, kind: Kind, now: datetime, reached: Step, check: Callable[[], object]
) -> bool:
    """Move the fence to its new time, and wait for transactions that may not have seen it. False if there is none."""
    there, after = fence(driver, tenant, kind), age(driver, tenant, kind)
    if after is not None:
        until = _until(after, now)
        # Without rows to move, the tenant needs no fence.
        if (there is None and has_rows(driver, kind, tenant, until)) or (there is not None and there < until):
            driver.execute(
                "INSERT INTO store.cold_fences (tenant_no, kind, cold_before) VALUES (%s, %s, %s)"
                " ON CONFLICT (tenant_no, kind) DO UPDATE SET cold_before = excluded.cold_before",
                (tenant.no, kind.name, until),
            )
            there = until
    driver.commit()
    if there is None or not has_rows(driver, kind, tenant, there):
        driver.commit()
        return False
    reached("fenced")
    # Also if the fence was moved before, because the process that waited then may have been stopped.
    await_older_writers(check, driver, tenant.no)
    return True


def _months(
    engine: Engine,
    driver: Driver,
    target: Place,
    tenant: Tenant,
    kind: Kind,
    reached: Step,
    check: Callable[[], object],
) -> Iterator[Moved]:
    until = fence(driver, tenant, kind)
    assert until is not None
    have = listed(driver, tenant, kind)
    waiting = months(driver, kind.name, kind, tenant, until)
    driver.commit()
    for period in waiting:
        check()
        if of_it := [file.path for file in have if file.period_start <= period[0] < file.period_end]:
            raise VerificationError(
                f"tenant {tenant.id} has {kind.name} of {period[0]:%Y-%m} in {of_it[0]} and in the table:"
                " someone has written past the doors"
            )
        yield _move(engine, driver, target, tenant, kind, period, reached)


def _move(
    engine: Engine,
    driver: Driver,
    target: Place,
    tenant: Tenant,
    kind: Kind,
    period: tuple[datetime, datetime],
    reached: Step,
) -> Moved:
    driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    driver.execute(sql.USE_TENANT, (tenant.id,))
    expected = driver.execute(
        SQL(
            "SELECT {} FROM {} AS r WHERE r.series_id >= %s AND r.series_id < %s AND r.{time} >= %s AND r.{time} < %s"
        ).format(_hash(kind), Identifier(STORE, kind.name), time=Identifier(kind.time)),
        (*series_range(tenant.no), *period),
    ).fetchone()
    reached("read")
    file = write_file(target, tenant, kind, period, _rows(driver, tenant, kind, period), reached)
    driver.commit()
    try:
        condition, parameters = engine.period_of_series(driver, kind, series_range(tenant.no), period)
        gone = driver.execute(
            SQL("WITH r AS (DELETE FROM {} AS r WHERE {} RETURNING {}) SELECT {} FROM r").format(
                Identifier(STORE, kind.name), condition, _columns(kind), _hash(kind)
            ),
            parameters,
        ).fetchone()
        _check(file, expected, gone)
        put_on_list(driver, tenant, file)
        reached("deleted")
        driver.commit()
    except VerificationError as error:
        driver.rollback()
        removed_on_error(target, file, error)
        raise
    reached("committed")
    return Moved(tenant.id, kind.name, *period, file.rows, file.bytes, file.path)


def _check(file: NewFile, expected: Any, gone: Any) -> None:
    """Raise VerificationError if the deleted rows are not those in the file."""
    if expected is None or file.rows != expected[0]:
        raise VerificationError(f"{file.path} has {file.rows} rows, and the table {expected and expected[0]}")
    if gone != expected:
        raise VerificationError(
            f"{file.kind.name} of {file.period[0]:%Y-%m} have changed while they were moved: someone has written past"
            " the doors"
        )


def _columns(kind: Kind) -> Composable:
    return SQL(", ").join(Identifier("r", name) for name in sql.table_columns(kind))


def _hash(kind: Kind) -> Composable:
    """Return expressions for the number of rows, and for a hash that changes with any value."""
    return SQL("count(*), sum(hash_record_extended(ROW({}), 0))").format(_columns(kind))


def _rows(driver: Driver, tenant: Tenant, kind: Kind, period: tuple[datetime, datetime]) -> Iterator[Any]:
    """Yield the rows of a period by the names of their series, as the tenant sees them."""
    series = series_of(driver, tenant, kind)
    asked = packed.Asked(kind, series, period, kind.column_names, fields_of(kind), plain=True, only_hot=False)
    session = Session(
        Config.load(dsn="", environment={}), {}, wanted=str(tenant.id), tenant_id=str(tenant.id), snapshot=True
    )
    plan = packed.Plan(asked)
    while (piece := plan.take()) is not None:
        plan.settle(piece, drive(driver, packed.reading(session, asked, piece)))
        while (batch := plan.ready()) is not None:
            yield batch


def drive(driver: Driver, talk: Any) -> Any:
    """Run an operation of the client on a connection of the control plane."""
    results: list[Any] | None = None
    while True:
        try:
            said = next(talk) if results is None else talk.send(results)
        except StopIteration as end:
            return end.value
        assert isinstance(said, Group)
        results = []
        for step in said.steps:
            if isinstance(step, CopyOut):
                with driver.cursor().copy(step.statement, step.parameters) as copying:
                    results.append([(bytearray().join(copying), array("i"))])
            elif isinstance(step, More):
                results.append([])
            else:
                assert isinstance(step, Execute)
                results.append(driver.execute(step.statement, step.parameters).fetchall())
