"""The base of all engines, and plain PostgreSQL.

The rest of the control plane is the same on every engine and does not ask which one it has.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.names import STORE
from mds_client.schema import Aggregate, Kind, Rollup

Driver = psycopg.Connection[Any]

OLDEST_SERVER: Final = 150000
OLDEST_TIMESCALE: Final = (2, 19)

# Minor releases of PostgreSQL whose portal checks end TimescaleDB's background jobs with an error after their work.
BREAKS_JOBS: Final = {15: 20, 17: 12}


@dataclass(frozen=True, slots=True)
class Setting:
    """A policy: what happens to rows or rollups at a certain age, and that age."""

    relation: str
    policy: str
    value: timedelta | None


@dataclass(frozen=True, slots=True)
class InForce:
    """A background job of the server that applies a policy: its number, and the status of its last run."""

    relation: str
    policy: str
    value: timedelta | None
    job_id: int
    last_run_status: str | None


@dataclass(frozen=True, slots=True)
class Size:
    """Disk usage of a relation in bytes, from the catalog and file sizes. No rows are read.

    TOAST is counted with the table. `rows` is the server's estimate, or None if it has none yet. `chunks` and
    `columnar_chunks` are counts, `largest_chunk` is in bytes. `before` and `after` are the bytes of the columnar chunks
    before they were compressed, and now. None: the relation has nothing of the kind.
    """

    relation: str
    table: int
    indexes: int
    rows: int | None
    chunks: int | None = None
    columnar_chunks: int | None = None
    largest_chunk: int | None = None
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of the server's job for a policy: the numbers of runs and failures, the end of the last success, and the
    duration of the last run."""

    relation: str
    policy: str
    runs: int
    failures: int
    last_success: datetime | None
    last_duration: timedelta | None


@dataclass(frozen=True, slots=True)
class Engine:
    """Plain PostgreSQL, and the base of the other engines. Methods that take a driver act as the schema's owner."""

    name: ClassVar[str] = "postgres"
    has_columnstore: ClassVar[bool] = False
    has_own_jobs: ClassVar[bool] = False

    server_version: int
    extension_version: str | None = None

    def warnings(self) -> list[str]:
        """Return known problems of this combination of versions."""
        return []

    def prepare_owner(self, driver: Driver, owner: str) -> None:
        """Grant the owner's role what it needs here. The role that administers it runs this."""

    def session_settings(self) -> Mapping[str, str]:
        """Return the settings that a client's transaction needs in addition to its tenant."""
        return {}

    def prepare_writes(self, driver: Driver) -> None:
        """Set what the current transaction needs to change many rows of a kind."""
        for name, value in self.session_settings().items():
            driver.execute("SELECT set_config(%s, %s, true)", (name, value))

    def store_table(self, driver: Driver, kind: Kind) -> list[str]:
        """Store a kind's existing table, which may hold rows, as suits the engine best. Returns what was changed."""
        return []

    def bucket(self, width: timedelta, time: Composable) -> Composable:
        """Return an expression for the beginning of the interval that contains a time, aligned to midnight UTC."""
        return SQL("date_bin({}, {}, TIMESTAMPTZ '2000-01-01 00:00:00+00')").format(interval(width), time)

    def aggregate(self, how: Aggregate, value: Composable, time: Composable) -> Composable:
        """Return the expression by which a rollup aggregates a column. NULLs do not count."""
        if how in ("first", "last"):
            order = SQL("DESC") if how == "last" else SQL("ASC")
            return SQL("(array_agg({v} ORDER BY {t} {order}) FILTER (WHERE {v} IS NOT NULL))[1]").format(
                v=value, t=time, order=order
            )
        return SQL("{}({})").format(SQL(how), value)

    def materialized(self) -> bool:
        """Return whether rollups are stored, not computed when they are read."""
        return False

    def create_rollup(self, driver: Driver, kind: Kind, rollup: Rollup, select: Composable) -> bool:
        """Store a rollup. Returns False if it exists or is computed when it is read."""
        return False

    def converts(self, driver: Driver, kind: Kind) -> bool:
        """Return whether `store_table` would rewrite the rows of a kind's existing table."""
        return False

    def replaced_rollup(
        self, driver: Driver, kind: Kind, rollup: Rollup, columns: Collection[str]
    ) -> tuple[str, str] | None:
        """Return the table of a stored rollup that a migrate replaces, or has begun to; None if there is none."""
        return None

    def set_aside(self, driver: Driver, kind: Kind, rollup: Rollup, columns: Collection[str]) -> None:
        """Rename a stored rollup that lacks some of these columns, so that a new one can take its name.

        Views continue to read the renamed one.
        """

    def fill_from_aside(
        self, driver: Driver, kind: Kind, rollup: Rollup, told: Callable[[int, int], object] = lambda _done, _all: None
    ) -> bool:
        """Fill a new stored rollup with the rows of the one that was set aside. Returns False if there is none.

        `told` is called after each part with the number of parts that are done, and of all parts.

        So the new one also keeps the data of rows that retention has removed. Copies a part in each transaction; after
        an interruption, call it again to continue.
        """
        return False

    def drop_aside(self, driver: Driver, kind: Kind, rollup: Rollup) -> None:
        """Drop the stored rollup that was set aside, if there is one. Nothing may depend on it."""

    def refresh_rollup(self, driver: Driver, kind: Kind, rollup: Rollup, span: tuple[Any, Any]) -> None:
        """Bring the stored rollup up to the rows within a range; an end that is None is unbounded.

        Its data of rows that retention has removed stays.
        """

    def keep(self, driver: Driver, setting: Setting) -> None:
        """Create, replace or (with None) remove the server's background job for a policy."""

    def keep_fresh(self, driver: Driver, kind: Kind, rollup: Rollup, within: timedelta | None) -> None:
        """Create the server's background job that refreshes a stored rollup where rows have changed.

        With `within`, it refreshes only that far back. It never refreshes where source rows have been removed.
        """

    def in_force(self, driver: Driver) -> list[InForce]:
        """Return the policies that the server applies itself."""
        return []

    def policy_runs(self, driver: Driver) -> list[Runs]:
        """Return the runs of the server's jobs for policies."""
        return []

    def size(self, driver: Driver, schema: str, name: str) -> Size:
        """Return the disk usage of a table."""
        row = driver.execute(
            "SELECT pg_table_size(c.oid), pg_indexes_size(c.oid), nullif(c.reltuples, -1)::bigint FROM pg_class AS c"
            " WHERE c.oid = to_regclass(%s)",
            (f"{schema}.{name}",),
        ).fetchone()
        assert row is not None
        return Size(name, *row)

    def expired(self, driver: Driver, kind: Kind, older_than: timedelta) -> int:
        """Return how many rows retention would remove now."""
        row = driver.execute(
            SQL("SELECT count(*) FROM {} WHERE {} < now() - %s::interval").format(
                Identifier(STORE, kind.name), Identifier(kind.time)
            ),
            (older_than,),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def expire(self, driver: Driver, kind: Kind, older_than: timedelta, batch: int = 50_000) -> int:
        """Remove older rows, a batch in each transaction, and return how many."""
        removed = 0
        statement = SQL(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM {table} WHERE {time} < now() - %s::interval LIMIT %s))"
        ).format(table=Identifier(STORE, kind.name), time=Identifier(kind.time))
        while True:
            count = driver.execute(statement, (older_than, batch)).rowcount
            driver.commit()
            removed += count
            if count < batch:
                return removed

    def stored_rollup(self, driver: Driver, kind: Kind, rollup: Rollup) -> tuple[str, str] | None:
        """Return the schema and name of the table of a stored rollup; None if it is computed when read."""
        return None

    def period_of_series(
        self, driver: Driver, kind: Kind, span: tuple[int, int], period: tuple[datetime, datetime]
    ) -> tuple[Composable, tuple[Any, ...]]:
        """Return the condition of a DELETE, with its parameters, for the rows of a period of series ids from the first
        of `span` on and below the second. The table is `r`. Prepares the transaction for it."""
        condition = SQL("r.series_id >= %s AND r.series_id < %s AND r.{0} >= %s AND r.{0} < %s")
        return condition.format(Identifier(kind.time)), (*span, *period)

    def remove_series(
        self, driver: Driver, table: tuple[str, str], time: str, span: tuple[int, int], batch: int = 50_000
    ) -> Iterator[int]:
        """Remove the rows of series ids from the first of `span` on and below the second, a batch in each transaction.
        Yields the number of rows after each commit."""
        first, end = span
        statement = SQL(
            "WITH found AS MATERIALIZED (SELECT ctid, series_id FROM {table} WHERE series_id >= %s AND series_id < %s"
            " ORDER BY series_id LIMIT %s), removed AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM found)) RETURNING series_id) SELECT count(*), max(series_id) FROM removed"
        ).format(table=Identifier(*table))
        while True:
            row = driver.execute(statement, (first, end, batch)).fetchone()
            driver.commit()
            assert row is not None
            yield row[0]
            if row[0] < batch:
                return
            # Removed rows are still in the index: do not look at them again.
            first = row[1]


def one(cursor: psycopg.Cursor[Any]) -> Any:
    """Return the single value of a query's result."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]


def interval(width: timedelta) -> Composable:
    """Return a width as an SQL interval."""
    return SQL("INTERVAL {}").format(Literal(f"{int(width.total_seconds())} seconds"))
