"""Fold late rows into the files of their months, and bring rows from files back into the table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
from psycopg.sql import SQL, Identifier

from datastore import aggregates, jobs
from datastore.cold.owning import claim
from datastore.cold.records import (
    ColdFile,
    Step,
    age,
    alone,
    count_rows,
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
    take_off_list,
    tenants,
)
from datastore.cold.writing import VerificationError, fields_of, write_file
from datastore.connections import as_owner
from datastore.engines import Driver, Engine, one
from datastore.errors import ControlError
from datastore.names import REFRESH_JOB, STORE, TENANT_BITS
from datastore.reads import series_range
from datastore.tenants import Tenant, await_older_writers, get_tenant
from mds_client import sql
from mds_client.cold import files, merging
from mds_client.cold.places import place
from mds_client.columns.arrow import SERIES_ID
from mds_client.reading.packed import schema_of
from mds_client.schema import Kind, stored

Period = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Folded:
    """A month whose late rows were folded into a new file; `rows` is the number of rows of that file.

    `path` is None if all rows of the month were deleted: there is no file then.
    """

    tenant: UUID
    kind: str
    start: datetime
    late: int
    rows: int
    path: str | None


@dataclass(frozen=True, slots=True)
class Restored:
    """A month whose rows are back in the table."""

    tenant: UUID
    kind: str
    start: datetime
    rows: int


def fold(
    dsn: str,
    url: str,
    *,
    tenant: UUID | None = None,
    kind: str | None = None,
    reached: Step = nobody,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Folded]:
    """Write new files that include the late rows, and yield each.

    A month is in memory as a whole. You can stop it at any moment, and call it again. Late rows that are written
    meanwhile stay late rows. A failure of one tenant does not stop the others.

    Raises:
        VerificationError: A file does not match the list. Nothing of that month has changed.
    """

    def folded(whose: Tenant, one: Kind) -> Iterator[Folded]:
        with alone(dsn) as (_, driver):
            until = fence(driver, whose, one)
            late = [] if until is None else months(driver, f"late_{one.name}", one, whose, until)
            periods = sorted(_with_files(listed(driver, whose, one), late))
            last = _last_late(driver, whose, one)
            # A row with a lower number may not be committed yet. If it stayed a late row, it would be applied after
            # rows that were written after it.
            await_older_writers(check, driver, whose.no, table=f"late_{one.name}")
            for period in periods:
                check()
                # A month that is still in the table must be moved first, and is folded later.
                if not has_rows(driver, one, whose, period[1]):
                    yield _fold(driver, url, whose, one, period, last, reached)
                driver.commit()

    with as_owner(dsn) as (_, driver):
        some = due(driver, tenants(dsn, tenant), kinds(kind))
        late = {(no, one.name) for one in kinds(kind) for no in _with_late_rows(driver, one)}
    if not some:
        return
    with alone(dsn) as (_, driver):
        claim(place(url), driver)
    yield from separately(
        partial(folded, one.tenant, one.kind) for one in some if (one.tenant.no, one.kind.name) in late
    )


def _with_late_rows(driver: Driver, kind: Kind) -> list[int]:
    """Return the numbers of the tenants with late rows."""
    statement = SQL("SELECT DISTINCT series_id >> %s FROM {}").format(_late_table(kind))
    return [no for (no,) in driver.execute(statement, (TENANT_BITS,))]


def _last_late(driver: Driver, tenant: Tenant, kind: Kind) -> int:
    """Return the number of the last late row of a tenant that is committed; 0 without one."""
    statement = SQL("SELECT coalesce(max(seq), 0) FROM {} WHERE series_id >= %s AND series_id < %s")
    return int(one(driver.execute(statement.format(_late_table(kind)), series_range(tenant.no))))


def _fold(driver: Driver, url: str, tenant: Tenant, kind: Kind, period: Period, last: int, reached: Step) -> Folded:
    driver.commit()
    driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    series = series_of(driver, tenant, kind)
    late, numbers = _late(driver, tenant, kind, period, last)
    table = _period(driver, url, tenant, kind, period, series, late)
    driver.commit()
    reached("read")
    file = None
    if table.num_rows:
        file = write_file(place(url), tenant, kind, period, named(kind, table, series), reached)
        put_on_list(driver, tenant, file)
    else:
        take_off_list(driver, tenant, kind, period[0])
    _remove_late(driver, tenant, kind, numbers)
    reached("deleted")
    driver.commit()
    reached("committed")
    return Folded(tenant.id, kind.name, period[0], len(numbers), table.num_rows, None if file is None else file.path)


def _late(
    driver: Driver, tenant: Tenant, kind: Kind, period: Period, last: int | None = None
) -> tuple[list[Any], list[int]]:
    """Return late rows in the order of their writing, and their numbers; only up to the number `last`, if given."""
    found = driver.execute(
        SQL(
            "SELECT series_id, {columns}, until, mode, seq FROM {late} WHERE series_id >= %s AND series_id < %s"
            " AND {time} >= %s AND {time} < %s AND seq <= coalesce(%s, seq) ORDER BY seq"
        ).format(columns=sql.selected(kind), late=_late_table(kind), time=Identifier(kind.time)),
        (*series_range(tenant.no), *period, last),
    ).fetchall()
    return [row[:-1] for row in found], [row[-1] for row in found]


def _remove_late(driver: Driver, tenant: Tenant, kind: Kind, numbers: list[int]) -> None:
    driver.execute(
        SQL("DELETE FROM {} WHERE series_id >= %s AND series_id < %s AND seq = ANY(%s)").format(_late_table(kind)),
        (*series_range(tenant.no), numbers),
    )


def _late_table(kind: Kind) -> Identifier:
    return Identifier(STORE, f"late_{kind.name}")


def _period(
    driver: Driver,
    url: str,
    tenant: Tenant,
    kind: Kind,
    period: Period,
    series: dict[int, tuple[str, ...]],
    late: list[Any],
) -> "pa.Table":
    """Return all rows of a month that are not in the table. Raises VerificationError."""
    there = [file for file in listed(driver, tenant, kind) if file.period_start == period[0]]
    tables = [rows_of_file(url, file, kind, series) for file in there]
    return merging.merged(kind, list(series), kind.column_names, tables, late)


def rows_of_file(url: str, file: ColdFile, kind: Kind, series: dict[int, tuple[str, ...]]) -> "pa.Table":
    """Return all rows of a file. Raises VerificationError if they are not as many as on the list."""
    period = file.period_start, file.period_end
    rows = files.rows_of(url, file.path, kind, series, period, kind.column_names)
    if rows.num_rows != file.rows:
        raise VerificationError(
            f"{file.path} has {rows.num_rows} rows of series that there are, and the list says {file.rows}"
        )
    return rows


def _with_files(there: list[ColdFile], months_: list[Period]) -> set[Period]:
    """Return the periods of the files of these months, and the months without a file."""
    return {
        next(
            ((file.period_start, file.period_end) for file in there if file.period_start <= begin < file.period_end),
            (begin, end),
        )
        for begin, end in months_
    }


def named(kind: Kind, table: "pa.Table", series: dict[int, tuple[str, ...]]) -> Iterator[Any]:
    """Yield the rows as a file stores them."""
    fields = fields_of(kind)
    schema = schema_of(kind, fields, plain=True)
    at = {series_id: number for number, series_id in enumerate(series)}
    names = list(series.values())
    for batch in table.to_batches(max_chunksize=65_536):
        codes = pa.array([at[series_id] for series_id in batch.column(SERIES_ID.name).to_pylist()], pa.int32())

        def column(name: str, batch: Any = batch, codes: Any = codes) -> Any:
            if name not in kind.series:
                return batch.column(name)
            words = pa.array([one[kind.series.index(name)] for one in names], pa.string())
            return words.take(codes)

        yield pa.record_batch([column(name) for name in fields], schema=schema)


def restore(
    dsn: str,
    url: str,
    *,
    tenant: UUID,
    kind: str,
    since: datetime,
    reached: Step = nobody,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Restored]:
    """Bring the months from that of `since` on back into the table, the newest first, and yield each.

    A year whose months are in one file comes back as a whole.

    The tenant's `cold_after` must be off, or the rows would move again. Meanwhile late rows are refused with an error
    that clients retry. You can stop it at any moment, and call it again.

    Raises:
        ControlError: Rows of the tenant would move again, or a transaction does not end.
        VerificationError: A file does not match the list. Nothing of that month has changed.
    """
    whose = get_tenant(dsn, tenant)
    (one,) = kinds(kind)
    with alone(dsn) as (engine, driver):
        if age(driver, whose, one) is not None:
            raise ControlError(
                f"{kind} of tenant {tenant} would move again: datastore policies set {kind} cold_after off"
                f" --tenant {whose.name}"
            )
        until = fence(driver, whose, one)
        if until is None:
            return
        if has_rows(driver, one, whose, until):
            raise ControlError(
                f"{kind} of tenant {tenant} are on their way into files: finish that first (datastore cold run)"
            )
        try:
            _set_restoring(driver, whose, one, restoring=True)
            # Transactions that write a late row now have not seen this; their rows must be brought back, too.
            await_older_writers(check, driver, whose.no)
            for period in _newest_first(driver, whose, one, until, since):
                check()
                yield _restore(engine, driver, url, whose, one, period, reached)
                if one.rollups:
                    # Stored rollups know only what was in the table.
                    aggregates.refresh(dsn, *period, [aggregates.relation(one, rollup) for rollup in one.rollups])
            # Late rows of a month without a file need the fence.
            if not listed(driver, whose, one) and not count_rows(driver, f"late_{one.name}", whose):
                driver.execute(
                    "UPDATE store.cold_fences SET cold_before = NULL WHERE tenant_no = %s AND kind = %s",
                    (whose.no, one.name),
                )
                driver.commit()
        finally:
            driver.rollback()
            _set_restoring(driver, whose, one, restoring=False)


def _set_restoring(driver: Driver, tenant: Tenant, kind: Kind, *, restoring: bool) -> None:
    driver.execute(
        "UPDATE store.cold_fences SET restoring = %s WHERE tenant_no = %s AND kind = %s",
        (restoring, tenant.no, kind.name),
    )
    driver.commit()


def _newest_first(driver: Driver, tenant: Tenant, kind: Kind, until: datetime, since: datetime) -> list[Period]:
    late = months(driver, f"late_{kind.name}", kind, tenant, until)
    there = listed(driver, tenant, kind)
    periods = _with_files(there, late) | {(file.period_start, file.period_end) for file in there}
    driver.commit()
    return [period for period in sorted(periods, reverse=True) if period[1] > since]


def _restore(
    engine: Engine, driver: Driver, url: str, tenant: Tenant, kind: Kind, period: Period, reached: Step
) -> Restored:
    engine.prepare_writes(driver)
    series = series_of(driver, tenant, kind)
    late, numbers = _late(driver, tenant, kind, period)
    table = _period(driver, url, tenant, kind, period, series, late)
    columns = sql.table_columns(kind)
    statement = SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(Identifier(STORE, kind.name), sql.names(columns))
    types = ["bigint", *(column.type for column in kind.in_table)]
    with driver.cursor().copy(statement) as copying:
        copying.set_types(types)
        for row in _table_rows(kind, table):
            copying.write_row(row)
    take_off_list(driver, tenant, kind, period[0])
    _remove_late(driver, tenant, kind, numbers)
    driver.execute(
        "UPDATE store.cold_fences SET cold_before = %s WHERE tenant_no = %s AND kind = %s",
        (period[0], tenant.no, kind.name),
    )
    if kind.rollups and engine.materialized():
        # They are refreshed right after this. The job is for a process that is stopped before that.
        key = f"{kind.name} of {period[0]:%Y-%m} are back, {uuid4()}"
        jobs.enqueue(driver, REFRESH_JOB, {"start": period[0], "end": period[1]}, tenant=None, idempotency_key=key)
    reached("deleted")
    driver.commit()
    reached("committed")
    return Restored(tenant.id, kind.name, period[0], table.num_rows)


def _table_rows(kind: Kind, table: "pa.Table") -> Iterator[list[Any]]:
    """Yield rows with the columns of the table, where an amount has two."""
    amounts = {amount.name: amount.fraction for amount in kind.amounts}
    for batch in table.to_batches(max_chunksize=65_536):
        for row in batch.to_pylist():
            for name, fraction in amounts.items():
                value = row[name]
                row[name] = None if value is None else int(value)
                rest = None if value is None else value - int(value)
                row[fraction] = rest or None
            yield [row[SERIES_ID.name], *(stored(row[column.name], column) for column in kind.in_table)]
