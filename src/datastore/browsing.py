"""Reads for people who look around in a store: vendors, the newest time, and the first or newest rows of a window.

They take about as long in a store with many series as in one with few. `datastore.reads` has the reads of programs.
"""

from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from heapq import nlargest
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from datastore.connections import connect
from datastore.names import TENANT_BITS
from datastore.reads import known_kind, range_of, window
from mds_client import KINDS
from mds_client.models import Row

if TYPE_CHECKING:
    from mds_client import MDS

_SYMBOLS: Final = 200

LOOKED_AT: Final = 5 * _SYMBOLS
"""Symbols that `first_rows` looks at."""


def vendors(dsn: str, kind: str, *, tenant: UUID) -> list[str]:
    """Return the vendors of which a tenant has rows of a kind, in alphabetical order.

    Looks each vendor up in the index of names, so it takes the same time for a thousand series as for a million.

    Args:
        dsn: The control plane's DSN.
        kind: The kind.
        tenant: The tenant.

    Raises:
        UnknownTenant: There is no such tenant.
        ControlError: There is no such kind.
    """
    with connect(dsn) as connection:
        floor, _ = range_of(connection, tenant)
        found = connection.execute(
            """
            WITH RECURSIVE found AS (
              (SELECT vendor FROM store.series
               WHERE (series_id >> %(bits)s) = %(no)s AND kind = %(kind)s ORDER BY vendor LIMIT 1)
              UNION ALL
              SELECT following.vendor FROM found CROSS JOIN LATERAL (
                SELECT s.vendor FROM store.series AS s
                WHERE (s.series_id >> %(bits)s) = %(no)s AND s.kind = %(kind)s AND s.vendor > found.vendor
                ORDER BY s.vendor LIMIT 1) AS following)
            SELECT vendor FROM found
            """,
            {"bits": TENANT_BITS, "no": floor >> TENANT_BITS, "kind": known_kind(kind)},
        ).fetchall()
    return [vendor for (vendor,) in found]


def timeframes(dsn: str, *, tenant: UUID, vendor: str) -> dict[str, datetime | None]:
    """Return the timeframes of which a vendor has bars, in alphabetical order, with the time of the newest row (UTC).

    Reads only the series table, and of that only the vendor's series.

    Args:
        dsn: The control plane's DSN.
        tenant: The tenant.
        vendor: The vendor.

    Raises:
        UnknownTenant: There is no such tenant.
    """
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        floor, _ = range_of(connection, tenant)
        found = connection.execute(
            "SELECT timeframe, max(last_ts) FROM store.series"
            " WHERE (series_id >> %s) = %s AND kind = 'bars' AND vendor = %s GROUP BY timeframe ORDER BY timeframe",
            (TENANT_BITS, floor >> TENANT_BITS, vendor),
        ).fetchall()
    return dict(found)


def newest(
    dsn: str, kind: str, *, tenant: UUID, vendor: str | None = None, timeframe: str | None = None
) -> datetime | None:
    """Return the time of the newest row (UTC) of a tenant's series of a kind; None if there is no row.

    Reads only the series table: the series of the kind, and of the vendor if there is one.

    Args:
        dsn: The control plane's DSN.
        kind: The kind.
        tenant: The tenant.
        vendor: Only this vendor's series.
        timeframe: Only series of this timeframe.

    Raises:
        UnknownTenant: There is no such tenant.
        ControlError: There is no such kind.
    """
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        floor, _ = range_of(connection, tenant)
        row = connection.execute(
            """
            SELECT max(last_ts) FROM store.series WHERE (series_id >> %(bits)s) = %(no)s AND kind = %(kind)s
              AND (%(vendor)s::text IS NULL OR vendor = %(vendor)s)
              AND (%(timeframe)s::text IS NULL OR timeframe = %(timeframe)s)
            """,
            {
                "bits": TENANT_BITS, "no": floor >> TENANT_BITS, "kind": known_kind(kind), "vendor": vendor,
                "timeframe": timeframe,
            },
        ).fetchone()  # fmt: skip
    assert row is not None
    found: datetime | None = row[0]
    return found


def first_rows(
    dsn: str,
    client: "MDS",
    kind: str,
    *,
    tenant: UUID,
    start: datetime | None = None,
    end: datetime | None = None,
    vendor: str | None = None,
    symbol: str | None = None,
    timeframe: str | None = None,
    limit: int,
) -> tuple[list[Row], bool]:
    """Return the first rows of a window, by series and time, and whether there may be more.

    Without a symbol it looks at `LOOKED_AT` symbols at most, so that it takes as long in a large store as in
    a small one.

    Args:
        dsn: The control plane's DSN.
        client: The client of the tenant.
        kind: The kind.
        tenant: The tenant.
        start: The first time of the window; None for the first row.
        end: The end of the window, which is not part of it; None for none.
        vendor: Only this vendor's rows.
        symbol: Only this symbol's rows.
        timeframe: Only rows of this timeframe.
        limit: The largest number of rows.

    Raises:
        UnknownTenant: There is no such tenant.
        ControlError: There is no such kind, or the limit is below 1.
        MDSError: As the client's methods do.
    """
    common: dict[str, Any] = {"start": start, "end": end, "vendor": vendor, "timeframe": timeframe}
    if symbol is not None or "symbol" not in KINDS[known_kind(kind)].series:
        found = list(window(client, kind, **common, symbols=None if symbol is None else [symbol], limit=limit + 1))
        return found[:limit], len(found) > limit
    among = vendors(dsn, kind, tenant=tenant) if vendor is None else [vendor]
    rows: list[Row] = []
    after = ""
    for _ in range(LOOKED_AT // _SYMBOLS):
        names = _symbols_since(dsn, tenant, kind, among, timeframe, start, after)
        if names:
            left = limit + 1 - len(rows)
            coming = cast("Generator[Row]", window(client, kind, **common, symbols=names, batch_rows=left))
            with closing(coming):
                # A vendor whose symbols are in upper case has one for each of them in other letters, too. Its rows
                # are those of the symbol in upper case.
                rows += islice((row for row in coming if row["symbol"] in names), left)
        if len(names) < _SYMBOLS or len(rows) > limit:
            return rows[:limit], len(rows) > limit
        after = names[-1]
    return rows, True


def newest_rows(
    client: "MDS",
    kind: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    vendor: str | None = None,
    symbol: str,
    limit: int,
) -> tuple[list[Row], bool]:
    """Return the newest rows of a symbol in a window, newest first, and whether there are more.

    It reads all rows of the symbol in the window, and keeps no more than it returns.

    Args:
        client: The client of the tenant.
        kind: The kind.
        start: The first time of the window; None for the first row.
        end: The end of the window, which is not part of it; None for none.
        vendor: Only this vendor's rows.
        symbol: The symbol.
        limit: The largest number of rows.

    Raises:
        ControlError: There is no such kind.
        MDSError: As the client's methods do.
    """
    rows = window(client, kind, start=start, end=end, vendor=vendor, symbols=[symbol])
    found = nlargest(limit + 1, rows, key=attrgetter(KINDS[kind].time))
    return found[:limit], len(found) > limit


def _symbols_since(
    dsn: str,
    tenant: UUID,
    kind: str,
    among: list[str],
    timeframe: str | None,
    since: datetime | None,
    after: str,
) -> list[str]:
    """Return the next symbols of these vendors, in alphabetical order, whose newest row is not older than a time.

    Of each vendor it reads the index of names in order, and no further than to the symbols that it returns.
    """
    with connect(dsn) as connection:
        floor, _ = range_of(connection, tenant)
        found = connection.execute(
            """
            SELECT DISTINCT found.symbol FROM unnest(%(vendors)s::text[]) AS v(vendor) CROSS JOIN LATERAL (
              SELECT s.symbol FROM store.series AS s
              WHERE (s.series_id >> %(bits)s) = %(no)s AND s.kind = %(kind)s AND s.vendor = v.vendor
                AND s.symbol > %(after)s AND (%(timeframe)s::text IS NULL OR s.timeframe = %(timeframe)s)
                AND s.last_ts >= coalesce(%(since)s, '-infinity'::timestamptz)
              ORDER BY s.symbol LIMIT %(limit)s) AS found
            ORDER BY found.symbol LIMIT %(limit)s
            """,
            {
                "bits": TENANT_BITS, "no": floor >> TENANT_BITS, "kind": kind, "vendors": among, "timeframe": timeframe,
                "since": since, "after": after, "limit": _SYMBOLS,
            },
        ).fetchall()  # fmt: skip
    return [symbol for (symbol,) in found]
