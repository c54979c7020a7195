"""TimescaleDB Community: the columnstore, stored rollups, and policies that the server applies itself."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from psycopg.sql import SQL, Composable, Identifier, Literal

from datastore.engines.apache import CHUNKS_AT_ONCE, EARLIEST, TimescaleApache
from datastore.engines.base import Driver, InForce, Runs, Setting, interval, one
from datastore.names import STORE
from mds_client.schema import Aggregate, Kind, Rollup


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

    def period_of_series(
        self, driver: Driver, kind: Kind, span: tuple[int, int], period: tuple[datetime, datetime]
    ) -> tuple[Composable, tuple[Any, ...]]:
        self.prepare_writes(driver)
        # Over columnar rows, a DELETE with a range of series and a range of times fails: "btree index keys must be
        # ordered by attribute" (XX000, TimescaleDB 2.23). With a list of series it does not, and takes apart the rows
        # of these series only.
        time = Identifier(kind.time)
        find = SQL(
            "SELECT coalesce(array_agg(DISTINCT series_id), '{{}}') FROM {} WHERE series_id >= %s AND series_id < %s"
            " AND {time} >= %s AND {time} < %s"
        ).format(Identifier(STORE, kind.name), time=time)
        ids = one(driver.execute(find, (*span, *period)))
        return SQL("r.series_id = ANY(%s) AND r.{0} >= %s AND r.{0} < %s").format(time), (ids, *period)

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
        chunks = self.chunks_of(driver, old)
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
            (None if begin == EARLIEST else begin, end)
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
        for begin, end in self.chunks_of(driver, (STORE, kind.name)):
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
