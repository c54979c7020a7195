"""Read a tenant's rows as the owner of the tables, including those that are kept in files.

The rows of a tenant that is disabled can be read, too. Needs PyArrow: import this module only where rows are read.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
from psycopg.sql import SQL, Identifier

from datastore.engines import Driver
from datastore.names import STORE
from datastore.reads import series_range
from datastore.tenants.lifecycle import count
from datastore.tenants.registry import Tenant
from mds_client import sql
from mds_client.cold import merging
from mds_client.cold.reading import ColdFiles
from mds_client.schema import Kind

ROWS_AT_ONCE: Final = 500_000
"""The approximate number of rows of files and of the table that are in memory at once."""


def rows(
    driver: Driver,
    url: str,
    tenant: Tenant,
    kind: Kind,
    series: Mapping[int, tuple[str | None, ...]],
    span: tuple[datetime, datetime],
    columns: Sequence[str],
) -> "pa.Table":
    """Return all rows of these series in a span, ordered by series, in the given order, and time.

    They are from files, the table and the log of late rows. The caller's transaction has one snapshot.

    Raises:
        FileMissing: A file cannot be read.
    """
    listed = driver.execute(
        "SELECT path, period_start, period_end FROM store.cold_periods WHERE tenant_no = %s AND kind = %s"
        " AND replaced_at IS NULL AND period_end > %s AND period_start < %s ORDER BY period_start",
        (tenant.no, kind.name, *span),
    ).fetchall()
    time = Identifier(kind.time)
    late = driver.execute(
        SQL(
            "SELECT series_id, {columns}, until, mode FROM {late} WHERE series_id = ANY(%s) AND {time} >= %s"
            " AND {time} < %s AND ({time} >= %s OR until > %s) ORDER BY seq"
        ).format(columns=sql.selected(kind), late=Identifier(STORE, f"late_{kind.name}"), time=time),
        sql.late_since(list(series), span, None)[:-1],
    ).fetchall()
    hot = driver.execute(
        SQL("SELECT series_id, {} FROM {} WHERE series_id = ANY(%s) AND {time} >= %s AND {time} < %s").format(
            sql.selected(kind, tuple(columns)), Identifier(STORE, kind.name), time=time
        ),
        (list(series), *span),
    ).fetchall()
    table = merging.table_of(kind, columns, hot)
    return ColdFiles(kind, url, tuple(listed)).merged(series, span, columns, table, late)


def chunks(
    driver: Driver, tenant: Tenant, kind: Kind, series: Mapping[int, tuple[str | None, ...]]
) -> Iterator[dict[int, tuple[str | None, ...]]]:
    """Divide series into groups whose rows fit into memory, in the order of their ids."""
    found = driver.execute(
        "SELECT coalesce(sum(rows), 0)::bigint FROM store.cold_periods"
        " WHERE tenant_no = %s AND kind = %s AND replaced_at IS NULL",
        (tenant.no, kind.name),
    ).fetchone()
    assert found is not None
    there = found[0] + count(driver, (STORE, kind.name), series_range(tenant.no))
    size = max(1, ROWS_AT_ONCE * len(series) // max(there, 1))
    ids = sorted(series)
    for at in range(0, len(ids), size):
        yield {id_: series[id_] for id_ in ids[at : at + size]}


def tuples(table: "pa.Table", most: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of a table as tuples, at most so many at once."""
    for batch in table.to_batches(max_chunksize=most):
        yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
