"""TimescaleDB: under the Apache licence (hypertables) and Community (columnstore, rollups, policies)."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.engines.base import BREAKS_JOBS, Driver, Engine, InForce, Runs, Setting, Size, interval, one
from datastore.names import STORE
from mds_client.schema import Aggregate, Kind, Rollup

CHUNKS_AT_ONCE: Final = 50
"""The number of chunks that one transaction drops, or for which it refreshes a rollup.

Each takes about ten locks until the transaction ends. All transactions of a server share room for 6,400 locks by
default (max_locks_per_transaction times max_connections); a transaction without room fails with "out of shared memory".
"""


_EARLIEST: Final = datetime(1, 1, 2, tzinfo=UTC)
_LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""The earliest and the latest time that Python can represent in every time zone."""


@dataclass(frozen=True, slots=True)
class TimescaleApache(Engine):
    """TimescaleDB's Apache edition: hypertables; everything else as on plain PostgreSQL."""

    name: ClassVar[str] = "timescale-apache"

    def warnings(self) -> list[str]:
        major, minor = divmod(self.server_version, 10000)
        if BREAKS_JOBS.get(major) == minor and self.has_own_jobs:
            after = "marks TimescaleDB's background jobs as failed once their work is done"
            return [f"PostgreSQL {major}.{minor} {after}: stay one minor release below or go one above"]
        return []

    def session_settings(self) -> Mapping[str, str]:
        # A merge into compressed chunks decompresses the rows that it meets, and by default fails after 100,000 rows.
        return {"timescaledb.max_tuples_decompressed_per_dml_transaction": "0"}

    def store_table(self, driver: Driver, kind: Kind) -> list[str]:
        if kind.storage is None:
            return []
        made = driver.execute(
            "SELECT (create_hypertable(%s::regclass, by_range(%s, %s::interval), migrate_data => true,"
            " create_default_indexes => false, if_not_exists => true)).created",
            (f"{STORE}.{kind.name}", kind.time, kind.storage.chunk),
        ).fetchone()
        return [f"hypertable {STORE}.{kind.name}"] if made and made[0] else []

    def converts(self, driver: Driver, kind: Kind) -> bool:
        found = driver.execute(
            "SELECT NOT EXISTS (SELECT FROM timescaledb_information.hypertables"
            " WHERE hypertable_schema = %s AND hypertable_name = %s)",
            (STORE, kind.name),
        )
        return kind.storage is not None and bool(one(found))

    def size(self, driver: Driver, schema: str, name: str) -> Size:
        table = f"{schema}.{name}"
        whole = Engine.size(self, driver, schema, name)
        is_hypertable = driver.execute(
            "SELECT EXISTS (SELECT FROM timescaledb_information.hypertables"
            " WHERE hypertable_schema = %s AND hypertable_name = %s)",
            (schema, name),
        )
        if not one(is_hypertable):
            return whole
        chunks = driver.execute(
            "SELECT coalesce(sum(table_bytes + toast_bytes), 0)::bigint, coalesce(sum(index_bytes), 0)::bigint,"
            " count(*), max(total_bytes) FROM chunks_detailed_size(%s::regclass)",
            (table,),
        ).fetchone()
        assert chunks is not None
        columnar = driver.execute(
            "SELECT number_compressed_chunks, before_compression_total_bytes, after_compression_total_bytes"
            " FROM hypertable_compression_stats(%s::regclass)",
            (table,),
        ).fetchone() or (None, None, None)
        return Size(
            relation=name,
            table=whole.table + chunks[0],
            indexes=whole.indexes + chunks[1],
            rows=one(driver.execute("SELECT approximate_row_count(%s::regclass)", (table,))),
            chunks=chunks[2],
            largest_chunk=chunks[3],
            columnar_chunks=columnar[0],
            before=columnar[1],
            after=columnar[2],
        )

    def expired(self, driver: Driver, kind: Kind, older_than: timedelta) -> int:
        if kind.storage is None:
            return Engine.expired(self, driver, kind, older_than)
        removed = 0
        for chunks in self._expired_chunks(driver, kind, older_than):
            removed += self._count(driver, chunks)
            driver.commit()
        return removed

    def expire(self, driver: Driver, kind: Kind, older_than: timedelta, batch: int = 50_000) -> int:
        if kind.storage is None:
            return Engine.expire(self, driver, kind, older_than, batch)
        removed = 0
        for chunks in self._expired_chunks(driver, kind, older_than):
            count = self._count(driver, chunks)
            driver.execute(
                "SELECT drop_chunks(%s::regclass, older_than => %s::timestamptz)",
                (f"{STORE}.{kind.name}", chunks[-1][1]),
            )
            driver.commit()
            removed += count
        return removed

    def _expired_chunks(self, driver: Driver, kind: Kind, older_than: timedelta) -> Iterator[list[tuple[str, str]]]:
        """Yield the chunks that retention drops, by name and end, oldest first, in lists for one transaction each.

        The end is text, because it may be before the year 1, which Python cannot represent.
        """
        found = driver.execute(
            "SELECT format('%%I.%%I', chunk_schema, chunk_name), range_end::text FROM timescaledb_information.chunks"
            " WHERE hypertable_schema = %s AND hypertable_name = %s AND range_end <= now() - %s::interval"
            " ORDER BY range_end",
            (STORE, kind.name, older_than),
        ).fetchall()
        for first in range(0, len(found), CHUNKS_AT_ONCE):
            yield found[first : first + CHUNKS_AT_ONCE]

    def _count(self, driver: Driver, chunks: list[tuple[str, str]]) -> int:
        # The catalog has quoted the names where needed.
        return sum(one(driver.execute(SQL("SELECT count(*) FROM {}").format(SQL(name)))) for name, _ in chunks)

    def _chunks(self, driver: Driver, table: tuple[str, str]) -> list[tuple[Any, Any]]:
        """Return the ranges of a table's chunks, oldest first, limited to times that Python can represent."""
        return driver.execute(
            "SELECT greatest(range_start, %s), least(range_end, %s) FROM timescaledb_information.chunks"
            " WHERE hypertable_schema = %s AND hypertable_name = %s AND range_end > %s AND range_start < %s"
            " ORDER BY range_start",
            (_EARLIEST, _LATEST, *table, _EARLIEST, _LATEST),
        ).fetchall()

    def remove_series(
        self, driver: Driver, table: tuple[str, str], time: str, span: tuple[int, int], batch: int = 50_000
    ) -> Iterator[int]:
        # Remove whole series of one chunk at a time. Series are listed one by one, because then only their own columnar
        # rows are decompressed, or dropped as a whole; with a range some releases fail (XX000).
        within = SQL("({0} >= %s AND {0} < %s)").format(Identifier(time))
        parts = [(within, chunk) for chunk in self._chunks(driver, table)]
        if not parts:
            yield from Engine.remove_series(self, driver, table, time, span, batch)
        # All rows with a time that Python cannot represent.
        parts.append((SQL("NOT {}").format(within), (_EARLIEST, _LATEST)))
        for condition, bounds in parts:
            find = SQL(
                "SELECT array_agg(DISTINCT series_id) FROM (SELECT series_id FROM {} WHERE {}"
                " AND series_id >= %s AND series_id < %s ORDER BY series_id LIMIT %s) AS found"
            ).format(Identifier(*table), condition)
            remove = SQL("DELETE FROM {} WHERE {} AND series_id = ANY(%s)").format(Identifier(*table), condition)
            first, end = span
            while ids := one(driver.execute(find, (*bounds, first, end, batch))):
                for name, value in self.session_settings().items():
                    driver.execute("SELECT set_config(%s, %s, true)", (name, value))
                count = driver.execute(remove, (*bounds, ids)).rowcount
                driver.commit()
                yield count
                first = max(ids) + 1


@dataclass(frozen=True, slots=True)
class Timescale(TimescaleApache):
    """TimescaleDB Community: columnstore, continuous aggregates, and policies that the server applies itself."""

    name: ClassVar[str] = "timescale"
    has_columnstore: ClassVar[bool] = True
    has_own_jobs: ClassVar[bool] = True

    def prepare_owner(self, driver: Driver, owner: str) -> None:
        # Background jobs run as the owner of the table, which must be a login role. It has no password, so that nobody
        # can log in as it.
        driver.execute(
            SQL("DO $$ BEGIN IF NOT (SELECT rolcanlogin FROM pg_roles WHERE rolname = {name})"
                " THEN ALTER ROLE {role} LOGIN PASSWORD NULL; END IF; END $$").format(
                name=Literal(owner), role=Identifier(owner)
            )
        )  # fmt: skip

    def store_table(self, driver: Driver, kind: Kind) -> list[str]:
        done = TimescaleApache.store_table(self, driver, kind)
        enabled = driver.execute(
            "SELECT compression_enabled FROM timescaledb_information.hypertables"
            " WHERE hypertable_schema = %s AND hypertable_name = %s",
            (STORE, kind.name),
        ).fetchone()
        if enabled is None or enabled[0]:
            return done
        driver.execute(
            SQL(
                "ALTER TABLE {} SET (timescaledb.enable_columnstore = true,"
                " timescaledb.segmentby = 'series_id', timescaledb.orderby = {})"
            ).format(Identifier(STORE, kind.name), Literal(", ".join(kind.key)))
        )
        return [*done, f"columnstore {STORE}.{kind.name}"]

    def bucket(self, width: timedelta, time: Composable) -> Composable:
        return SQL("time_bucket({}, {})").format(interval(width), time)

    def aggregate(self, how: Aggregate, value: Composable, time: Composable) -> Composable:
        if how in ("first", "last"):
            return SQL("{how}({v}, {t}) FILTER (WHERE {v} IS NOT NULL)").format(how=SQL(how), v=value, t=time)
        return SQL("{}({})").format(SQL(how), value)

    def materialized(self) -> bool:
        return True

    def create_rollup(self, driver: Driver, kind: Kind, rollup: Rollup, select: Composable) -> bool:
        relation = Identifier(STORE, f"{kind.name}_{rollup.timeframe}")
        there = driver.execute(
            "SELECT to_regclass(%s) IS NOT NULL", (f"{STORE}.{kind.name}_{rollup.timeframe}",)
        ).fetchone()
        if there and there[0]:
            return False
        driver.execute(
            SQL(
                "CREATE MATERIALIZED VIEW {} WITH (timescaledb.continuous, timescaledb.materialized_only = false)"
                " AS {} WITH NO DATA"
            ).format(relation, select)
        )
        return True

    def replaced_rollup(
        self, driver: Driver, kind: Kind, rollup: Rollup, columns: Collection[str]
    ) -> tuple[str, str] | None:
        name = f"{kind.name}_{rollup.timeframe}"
        if (aside := self._stored(driver, name + _ASIDE)) is not None:
            return aside
        stored = self._stored(driver, name)
        return None if stored is None or set(columns) <= set(self._columns(driver, stored)) else stored

    def set_aside(self, driver: Driver, kind: Kind, rollup: Rollup, columns: Collection[str]) -> None:
        name = f"{kind.name}_{rollup.timeframe}"
        if (stored := self._stored(driver, name)) is None or set(columns) <= set(self._columns(driver, stored)):
            return
        if self._stored(driver, name + _ASIDE) is not None:
            # A migration to an earlier release was interrupted; the rollup that it was making is no longer needed.
            driver.execute(SQL("DROP MATERIALIZED VIEW {}").format(Identifier(STORE, name)))
            return
        driver.execute(
            SQL("ALTER MATERIALIZED VIEW {} RENAME TO {}").format(Identifier(STORE, name), Identifier(name + _ASIDE))
        )

    def fill_from_aside(
        self, driver: Driver, kind: Kind, rollup: Rollup, told: Callable[[int, int], object] = lambda _done, _all: None
    ) -> bool:
        name = f"{kind.name}_{rollup.timeframe}"
        old, new = self._stored(driver, name + _ASIDE), self._stored(driver, name)
        if old is None or new is None:
            return False
        span = SQL("{0} >= %s AND {0} < %s").format(Identifier(kind.time))
        names = SQL(", ").join(map(Identifier, self._columns(driver, old)))
        empty = SQL("DELETE FROM {} WHERE {}").format(Identifier(*new), span)
        copy = SQL("INSERT INTO {} ({names}) SELECT {names} FROM {} WHERE {}").format(
            Identifier(*new), Identifier(*old), span, names=names
        )
        newest = SQL("SELECT max({}) FROM {}")
        to, there = (one(driver.execute(newest.format(Identifier(kind.time), Identifier(*t)))) for t in (old, new))
        chunks = self._chunks(driver, old)
        for number, chunk in enumerate(chunks, 1):
            # In the order of time, so that the newest copied row shows how far the copy has come.
            if there is None or there < min(chunk[1], to):
                driver.execute(empty, chunk)
                driver.execute(copy, chunk)
                driver.commit()
            told(number, len(chunks))
        if chunks:
            # Stored rows count only up to the last refresh. A refresh of a range before all rows has nothing to do, and
            # moves that limit to the newest stored row.
            before = chunks[0][0] - max(rollup.width, timedelta(days=1))
            self._refresh(driver, f"{STORE}.{name}", [(before - 3 * rollup.width, before)])
        return True

    def drop_aside(self, driver: Driver, kind: Kind, rollup: Rollup) -> None:
        name = f"{kind.name}_{rollup.timeframe}{_ASIDE}"
        driver.execute(SQL("DROP MATERIALIZED VIEW IF EXISTS {}").format(Identifier(STORE, name)))

    def _columns(self, driver: Driver, table: tuple[str, str]) -> list[str]:
        found = driver.execute(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attnum",
            (".".join(table),),
        )
        return [name for (name,) in found]

    def refresh_rollup(self, driver: Driver, kind: Kind, rollup: Rollup, span: tuple[Any, Any]) -> None:
        # Refresh only where there are chunks: elsewhere the server would delete the rollup's data of rows that
        # retention has removed. And refresh only intervals that are over: a time before the newest stored one is never
        # computed live, so one tenant's bar of the next century would hide everybody's bars of today.
        over = one(driver.execute("SELECT date_bin(%s, now(), timestamptz '2000-01-01 00:00Z')", (rollup.width,)))
        # A chunk may begin before every time that Python can represent. The window is unbounded then, because the
        # server leaves out an interval that begins before the window.
        parts = [
            (None if begin == _EARLIEST else begin, end)
            for chunks in self._covered(driver, kind, CHUNKS_AT_ONCE)
            if (begin := _later(chunks[0], span[0])) < (end := min(over, _earlier(chunks[1], span[1])))
        ]
        self._refresh(driver, f"{STORE}.{kind.name}_{rollup.timeframe}", parts)

    def _refresh(self, driver: Driver, aggregate: str, spans: Sequence[tuple[datetime | None, datetime]]) -> None:
        # CALL is not allowed within a transaction.
        driver.commit()
        driver.autocommit = True
        try:
            for span in spans:
                driver.execute(
                    "CALL refresh_continuous_aggregate(%s, %s::timestamptz, %s::timestamptz)", (aggregate, *span)
                )
        finally:
            driver.autocommit = False

    def keep(self, driver: Driver, setting: Setting) -> None:
        relation = f"{STORE}.{setting.relation}"
        current = [found for found in self.in_force(driver) if _same(found, setting)]
        if [found.value for found in current] == [setting.value]:
            return
        for found in current:
            driver.execute("SELECT delete_job(%s)", (found.job_id,))
        if setting.policy == "columnstore_after" and setting.value is not None:
            driver.execute(
                "CALL add_columnstore_policy(%s::regclass, after => %s::interval)", (relation, setting.value)
            )
        elif setting.policy == "retention_after" and setting.value is not None:
            driver.execute("SELECT add_retention_policy(%s::regclass, drop_after => %s::interval)",
                           (relation, setting.value))  # fmt: skip

    def keep_fresh(self, driver: Driver, kind: Kind, rollup: Rollup, within: timedelta | None) -> None:
        relation = f"{kind.name}_{rollup.timeframe}"
        current = [
            found.value
            for found in self.in_force(driver)
            if (found.relation, found.policy) == (relation, "refresh_within")
        ]
        lost = self._age_of_lost_rows(driver, kind, rollup)
        if lost is not None and (within is None or within > lost):
            # Removed rows grow older. Keep a limit that has worked, unless it is far from what it could be.
            sticky = current and current[0] is not None and lost - timedelta(days=7) <= current[0] <= lost
            within = current[0] if sticky else lost
        if within is not None:
            within = max(within, 2 * rollup.width)
        if current == [within]:
            return
        # The server needs a window of two intervals. Leave out the one that is still filling if there is room.
        until = rollup.width if within is None else min(rollup.width, within - 2 * rollup.width)
        driver.execute(
            "SELECT remove_continuous_aggregate_policy(%s::regclass, if_exists => true)", (f"{STORE}.{relation}",)
        )
        driver.execute(
            "SELECT add_continuous_aggregate_policy(%s::regclass, start_offset => %s::interval,"
            " end_offset => %s::interval, schedule_interval => %s::interval)",
            (f"{STORE}.{relation}", within, until, min(rollup.width, timedelta(hours=1))),
        )

    def _covered(self, driver: Driver, kind: Kind, most: int | None = None) -> list[tuple[datetime, datetime]]:
        """Return the ranges of time for which a kind has chunks, oldest first.

        Chunks without a gap between them form one range, of at most `most` chunks if given.
        """
        covered: list[tuple[datetime, datetime]] = []
        chunks = 0
        for begin, end in self._chunks(driver, (STORE, kind.name)):
            if covered and covered[-1][1] >= begin and chunks != most:
                begin = covered.pop()[0]
            else:
                chunks = 0
            covered.append((begin, end))
            chunks += 1
        return covered

    def stored_rollup(self, driver: Driver, kind: Kind, rollup: Rollup) -> tuple[str, str]:
        stored = self._stored(driver, f"{kind.name}_{rollup.timeframe}")
        assert stored is not None
        return stored

    def _stored(self, driver: Driver, name: str) -> tuple[str, str] | None:
        """Return the table behind a continuous aggregate; None if there is no such aggregate."""
        found = driver.execute(
            "SELECT materialization_hypertable_schema, materialization_hypertable_name"
            " FROM timescaledb_information.continuous_aggregates WHERE view_schema = %s AND view_name = %s",
            (STORE, name),
        ).fetchone()
        return None if found is None else (str(found[0]), str(found[1]))

    def _age_of_lost_rows(self, driver: Driver, kind: Kind, rollup: Rollup) -> timedelta | None:
        """Return the age of the newest rows of a stored rollup whose source rows are removed."""
        stored = self.stored_rollup(driver, kind, rollup)
        covered = self._covered(driver, kind)
        gaps = zip([None, *(end for _, end in covered)], [*(begin for begin, _ in covered), None], strict=True)
        for begin, end in reversed(list(gaps)):
            newest = driver.execute(
                SQL(
                    "SELECT date_trunc('minute', now() - max({0})) FROM {1}"
                    " WHERE {0} >= coalesce(%s::timestamptz, '-infinity')"
                    " AND {0} < coalesce(%s::timestamptz, 'infinity')"
                ).format(Identifier(kind.time), Identifier(*stored)),
                (begin, end),
            ).fetchone()
            if newest is not None and newest[0] is not None:
                age: timedelta = newest[0]
                return age - rollup.width
        return None

    def in_force(self, driver: Driver) -> list[InForce]:
        rows = driver.execute(
            """
            SELECT j.hypertable_name, j.proc_name, j.job_id, s.last_run_status,
                   coalesce(j.config ->> 'drop_after', j.config ->> 'compress_after',
                            j.config ->> 'start_offset')::interval
            FROM timescaledb_information.jobs AS j LEFT JOIN timescaledb_information.job_stats AS s USING (job_id)
            WHERE j.hypertable_schema = %s ORDER BY j.job_id
            """,
            (STORE,),
        ).fetchall()
        return [
            InForce(relation, _POLICY_OF[procedure], value, job, status)
            for relation, procedure, job, status, value in rows
            if procedure in _POLICY_OF
        ]

    def policy_runs(self, driver: Driver) -> list[Runs]:
        rows = driver.execute(
            """
            SELECT j.hypertable_name, j.proc_name, coalesce(s.total_runs, 0), coalesce(s.total_failures, 0),
                   nullif(s.last_successful_finish, '-infinity'), s.last_run_duration
            FROM timescaledb_information.jobs AS j LEFT JOIN timescaledb_information.job_stats AS s USING (job_id)
            WHERE j.hypertable_schema = %s ORDER BY j.job_id
            """,
            (STORE,),
        ).fetchall()
        return [
            Runs(relation, _POLICY_OF[procedure], *rest)
            for relation, procedure, *rest in rows
            if procedure in _POLICY_OF
        ]


_ASIDE: Final = "_aside"
"""The suffix of a stored rollup's name while another one takes its place."""

_POLICY_OF: Final = {
    "policy_compression": "columnstore_after",
    "policy_retention": "retention_after",
    "policy_refresh_continuous_aggregate": "refresh_within",
}


def _later(chunk: datetime, asked: datetime | None) -> datetime:
    return chunk if asked is None else max(chunk, asked)


def _earlier(chunk: datetime, asked: datetime | None) -> datetime:
    return chunk if asked is None else min(chunk, asked)


def _same(found: InForce, setting: Setting) -> bool:
    return (found.relation, found.policy) == (setting.relation, setting.policy)
