"""Reads of the control plane: series, the age of their data, and a tenant's rows of a window.

Reads across tenants use only the series table, which keeps the needed values. Rows are read only as a tenant, through
the client. Nothing is written.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from datastore.connections import connect, head, schema_version
from datastore.engines import detect
from datastore.errors import ControlError, UnknownTenant
from datastore.names import TENANT_BITS
from mds_client import KINDS
from mds_client.models import Row

if TYPE_CHECKING:
    from mds_client import MDS

_BATCH_ROWS: Final = 5_000


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """A series as an operator sees it. `last_ts` (UTC) is the time of its newest row, None if it never had one;
    `last_price` is the newest price, and `last_price_ts` its time."""

    id: int
    tenant: UUID
    kind: str
    vendor: str
    symbol: str | None
    timeframe: str | None
    root: str | None
    last_ts: datetime | None
    last_price: float | None
    last_price_ts: datetime | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """The age of a vendor's data of one kind and timeframe: the number of series, the time of the newest row of any
    (UTC), that of the series furthest behind, and the age of the newest. None: no row yet."""

    kind: str
    vendor: str
    timeframe: str | None
    series: int
    newest: datetime | None
    furthest_behind: datetime | None
    age: timedelta | None


def list_series(
    dsn: str,
    *,
    tenant: UUID | None = None,
    kind: str | None = None,
    vendor: str | None = None,
    after: int | None = None,
    limit: int = 100,
) -> list[SeriesRecord]:
    """List series by id, so by tenant and then by when each was first seen; `after` is the last id of the page before.

    Raises UnknownTenant, and ControlError for an unknown kind or a limit below 1.
    """
    _check_limit(limit)
    if kind is not None:
        known_kind(kind)
    with connect(dsn) as connection, connection.cursor(row_factory=class_row(SeriesRecord)) as cursor:
        cursor.execute("SET LOCAL TimeZone TO 'UTC'")
        floor, ceiling = range_of(connection, tenant)
        return cursor.execute(
            """
            SELECT s.series_id AS id, t.id AS tenant, s.kind, s.vendor, s.symbol, s.timeframe, s.root,
                   s.last_ts, s.last_price, s.last_price_ts
            FROM store.series AS s JOIN store.tenants AS t ON t.no = s.series_id >> %(bits)s
            WHERE s.series_id >= %(floor)s AND s.series_id < %(ceiling)s AND s.series_id > %(after)s
              AND (%(kind)s::text IS NULL OR s.kind = %(kind)s)
              AND (%(vendor)s::text IS NULL OR s.vendor = %(vendor)s)
            ORDER BY s.series_id LIMIT %(limit)s
            """,
            {
                "floor": floor,
                "ceiling": ceiling,
                "after": -1 if after is None else after,
                "kind": kind,
                "vendor": vendor,
                "limit": limit,
                "bits": TENANT_BITS,
            },
        ).fetchall()


def some_series(dsn: str, ids: Sequence[int], *, tenant: UUID | None = None) -> list[SeriesRecord]:
    """Return the series with these ids, by id, without those that do not exist or are not the tenant's.

    Raises UnknownTenant.
    """
    with connect(dsn) as connection, connection.cursor(row_factory=class_row(SeriesRecord)) as cursor:
        cursor.execute("SET LOCAL TimeZone TO 'UTC'")
        floor, ceiling = range_of(connection, tenant)
        return cursor.execute(
            """
            SELECT s.series_id AS id, t.id AS tenant, s.kind, s.vendor, s.symbol, s.timeframe, s.root,
                   s.last_ts, s.last_price, s.last_price_ts
            FROM store.series AS s JOIN store.tenants AS t ON t.no = s.series_id >> %s
            WHERE s.series_id = ANY(%s) AND s.series_id >= %s AND s.series_id < %s ORDER BY s.series_id
            """,
            (TENANT_BITS, list(ids), floor, ceiling),
        ).fetchall()


def freshness(dsn: str, *, tenant: UUID | None = None, vendor: str | None = None) -> list[Freshness]:
    """Return the age of the data by kind, vendor and timeframe. Reads only the series table.

    Raises UnknownTenant.
    """
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        floor, ceiling = range_of(connection, tenant)
        # Groups of one text take a quarter less time than groups of three. Kinds and timeframes never contain the
        # separator, and the vendor is the last part, so the text is unambiguous.
        rows = connection.execute(
            """
            SELECT kind || chr(1) || coalesce(timeframe, '') || chr(1) || vendor,
                   count(*), max(last_ts), min(last_ts), now() - max(last_ts)
            FROM store.series
            WHERE series_id >= %s AND series_id < %s AND (%s::text IS NULL OR vendor = %s)
            GROUP BY 1
            """,
            (floor, ceiling, vendor, vendor),
        ).fetchall()
    found = []
    for names, *figures in rows:
        kind, timeframe, named = names.split("\x01", 2)
        found.append(Freshness(kind, named, timeframe or None, *figures))
    return sorted(found, key=lambda each: (each.kind, each.vendor, each.timeframe is None, each.timeframe or ""))


def extent(dsn: str, series: int) -> tuple[datetime | None, datetime | None]:
    """Return the times of the first and the last bar of a series (UTC), from its primary key; None if it has no bar.

    Args:
        dsn: The control plane's DSN.
        series: The series' id. Whether the caller may see it is for the caller to check.
    """
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        # Two look-ups, because the planner would read the whole series for both aggregates in one query.
        row = connection.execute(
            "SELECT (SELECT min(ts) FROM store.bars WHERE series_id = %(id)s),"
            " (SELECT max(ts) FROM store.bars WHERE series_id = %(id)s)",
            {"id": series},
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def window(
    client: "MDS",
    kind: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    vendor: str | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: str | None = None,
    limit: int | None = None,
    batch_rows: int = _BATCH_ROWS,
) -> Iterator[Row]:
    """Yield rows of a kind with `start <= time < end` (no zone: UTC) of the client's tenant, by series and then time.

    Uses a server-side cursor, so neither side holds more than `batch_rows` rows. Yields at most `limit` rows, if
    given. Raises ControlError for an unknown kind or a limit below 1, and the client's errors: RLSDenied if the tenant
    is unknown or disabled.
    """
    if limit is not None:
        _check_limit(limit)
    left = limit
    batches = cast(
        "Generator[list[Row]]",
        client.iter_rows(
            known_kind(kind),
            start,
            end,
            vendor=vendor,
            symbols=symbols,
            timeframe=timeframe,
            batch_rows=min(limit or batch_rows, batch_rows),
        ),
    )
    with closing(batches):
        for batch in batches:
            yield from batch if left is None else batch[:left]
            if left is not None and (left := left - len(batch)) <= 0:
                return


def series_range(no: int) -> tuple[int, int]:
    """Return the range of a tenant's series ids: from the first on, and below the second."""
    return no << TENANT_BITS, (no + 1) << TENANT_BITS


def known_kind(kind: str) -> str:
    """Return the kind. Raises ControlError if there is no such kind."""
    if kind not in KINDS:
        raise ControlError(KINDS.unknown(kind))
    return kind


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise ControlError(f"limit must be at least 1, not {limit}")


def range_of(connection: psycopg.Connection[Any], tenant: UUID | None) -> tuple[int, int]:
    """Return the range of a tenant's or, without one, of all series ids: from the first on, and below the second.

    Raises UnknownTenant.
    """
    if tenant is None:
        return 0, 2**63 - 1
    row = connection.execute("SELECT no FROM store.tenants WHERE id = %s", (tenant,)).fetchone()
    if row is None:
        raise UnknownTenant(tenant)
    return series_range(row[0])


@dataclass(frozen=True, slots=True)
class Database:
    """A database, and whether its schema is at `head`. `engine` is as in `mds_client.Health`."""

    server_version: str
    engine: str
    engine_version: str | None
    schema_version: str | None
    head: str
    warnings: list[str]


def describe(dsn: str) -> Database:
    """Describe a database: server, engine, schema version, and known problems of that combination."""
    with connect(dsn) as connection:
        engine = detect(connection)
        return Database(
            server_version=connection.info.parameter_status("server_version") or "",
            engine=engine.name,
            engine_version=engine.extension_version,
            schema_version=schema_version(connection),
            head=head(),
            warnings=engine.warnings(),
        )
