"""The counts of the last gap check by tenant, vendor and timeframe, which metrics show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL

from datastore.connections import connect
from datastore.errors import ControlError
from datastore.gaps.finding import Check, check
from datastore.jobs import JobContext, Nothing, job_type
from datastore.names import TENANT_BITS
from datastore.tenants import find_tenant


@dataclass(frozen=True, slots=True)
class GapCount:
    """The last count over all series of a tenant, vendor and timeframe, with its range (UTC) and time.

    `expected` and `missing` count intervals, `gaps` runs of missing ones.
    """

    tenant: UUID
    vendor: str
    timeframe: str
    start: datetime
    end: datetime
    series: int
    expected: int
    missing: int
    gaps: int
    repeated: int
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """The result of one check of `count_all`; `problem` says why there is none. For `repeated` see `Check`."""

    tenant: UUID
    vendor: str
    timeframe: str
    missing: int | None
    gaps: int | None
    repeated: int | None
    problem: str | None


# What was found last --------------------------------------------------------------------------------------------------


def last_counts(dsn: str, tenant: UUID | str | None = None) -> list[GapCount]:
    """Return the last counts of `count_all` by vendor and timeframe, of one tenant or all. Reads no bars."""
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        no = None if tenant is None else find_tenant(connection, tenant).no
        with connection.cursor(row_factory=class_row(GapCount)) as cursor:
            return cursor.execute(
                "SELECT t.id AS tenant, c.vendor, c.timeframe, c.range_start AS start, c.range_end AS end, c.series,"
                " c.expected, c.missing, c.gaps, c.repeated, c.checked_at"
                " FROM store.gap_counts AS c JOIN store.tenants AS t ON t.no = c.tenant_no"
                " WHERE c.tenant_no = coalesce(%s, c.tenant_no) ORDER BY t.name, c.vendor, c.timeframe",
                (no,),
            ).fetchall()


def count_all(
    dsn: str,
    *,
    within: timedelta = timedelta(days=30),
    now: datetime | None = None,
    between: Callable[[], object] = lambda: None,
) -> list[Counted]:
    """Check every vendor and timeframe of every tenant over the last `within`, and store the counts.

    A check that fails, for example without a calendar, says why in its result, and the others continue. Counts are
    removed where this check failed or no series exist any more, so that old gaps are not reported forever. `between` is
    called before each check, and may raise.
    """
    now = now or datetime.now(UTC)
    with connect(dsn) as connection:
        sorts = connection.execute(
            SQL(
                "SELECT DISTINCT t.id, s.vendor, s.timeframe FROM store.series AS s"
                " JOIN store.tenants AS t ON t.no = (s.series_id >> {}) WHERE s.kind = 'bars' ORDER BY 1, 2, 3"
            ).format(TENANT_BITS)
        ).fetchall()
    done = []
    for tenant, vendor, timeframe in sorts:
        between()
        start = now - within
        try:
            found = check(dsn, tenant=tenant, vendor=vendor, timeframe=timeframe, start=start, end=now, now=now)
        except ControlError as error:
            done.append(Counted(tenant, vendor, timeframe, None, None, None, str(error)))
        else:
            count = Counted(tenant, vendor, timeframe, found.missing, len(found.gaps), found.repeated, None)
            _keep(dsn, count, found, start, now)
            done.append(count)
    with connect(dsn) as connection:
        _forget_others(connection, [(one.tenant, one.vendor, one.timeframe) for one in done if one.problem is None])
    return done


def _keep(dsn: str, count: Counted, found: Check, start: datetime, end: datetime) -> None:
    with connect(dsn) as connection:
        connection.execute(
            """
            INSERT INTO store.gap_counts
              (tenant_no, vendor, timeframe, range_start, range_end, series, expected, missing, gaps, repeated)
            SELECT no, %s, %s, %s, %s, %s, %s, %s, %s, %s FROM store.tenants WHERE id = %s
            ON CONFLICT (tenant_no, vendor, timeframe) DO UPDATE SET
              range_start = excluded.range_start, range_end = excluded.range_end, series = excluded.series,
              expected = excluded.expected, missing = excluded.missing, gaps = excluded.gaps,
              repeated = excluded.repeated, checked_at = now()
            """,
            (
                *(count.vendor, count.timeframe, start, end, found.series, found.expected, found.missing, count.gaps),
                count.repeated,
                count.tenant,
            ),
        )


def _forget_others(connection: psycopg.Connection[Any], kept: Sequence[tuple[UUID, str, str]]) -> None:
    """Delete all counts but these."""
    connection.execute(
        "DELETE FROM store.gap_counts AS c WHERE NOT EXISTS (SELECT FROM store.tenants AS t"
        " JOIN unnest(%s::uuid[], %s::text[], %s::text[]) AS k(tenant, vendor, timeframe) ON k.tenant = t.id"
        " WHERE (t.no, k.vendor, k.timeframe) = (c.tenant_no, c.vendor, c.timeframe))",
        ([tenant for tenant, _, _ in kept], [vendor for _, vendor, _ in kept], [timeframe for *_, timeframe in kept]),
    )


@job_type("maintain-gaps", store_only=True)
def run_count_all(context: JobContext, _payload: Nothing) -> list[Counted]:
    """Count the gaps of the last 30 days of all series that have a calendar."""
    return count_all(context.dsn, between=context.check)
