"""TimescaleDB under the Apache licence: hypertables, and retention that the worker applies."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from psycopg.sql import SQL, Identifier

from datastore.engines.base import BREAKS_JOBS, Driver, Engine, Size, one
from datastore.names import STORE
from mds_client.schema import Kind

CHUNKS_AT_ONCE: Final = 50
"""The number of chunks that one transaction drops, or for which it refreshes a rollup.

Each takes about ten locks until the transaction ends. All transactions of a server share room for 6,400 locks by
default (max_locks_per_transaction times max_connections); a transaction without room fails with "out of shared memory".
"""


EARLIEST: Final = datetime(1, 1, 2, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
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

    def chunks_of(self, driver: Driver, table: tuple[str, str]) -> list[tuple[Any, Any]]:
        """Return the ranges of a table's chunks, oldest first, limited to times that Python can represent."""
        return driver.execute(
            "SELECT greatest(range_start, %s), least(range_end, %s) FROM timescaledb_information.chunks"
            " WHERE hypertable_schema = %s AND hypertable_name = %s AND range_end > %s AND range_start < %s"
            " ORDER BY range_start",
            (EARLIEST, LATEST, *table, EARLIEST, LATEST),
        ).fetchall()

    def remove_series(
        self, driver: Driver, table: tuple[str, str], time: str, span: tuple[int, int], batch: int = 50_000
    ) -> Iterator[int]:
        # Remove whole series of one chunk at a time. Series are listed one by one, because then only their own columnar
        # rows are decompressed, or dropped as a whole; with a range some releases fail (XX000).
        within = SQL("({0} >= %s AND {0} < %s)").format(Identifier(time))
        parts = [(within, chunk) for chunk in self.chunks_of(driver, table)]
        if not parts:
            yield from Engine.remove_series(self, driver, table, time, span, batch)
        # All rows with a time that Python cannot represent.
        parts.append((SQL("NOT {}").format(within), (EARLIEST, LATEST)))
        for condition, bounds in parts:
            find = SQL(
                "SELECT array_agg(DISTINCT series_id) FROM (SELECT series_id FROM {} WHERE {}"
                " AND series_id >= %s AND series_id < %s ORDER BY series_id LIMIT %s) AS found"
            ).format(Identifier(*table), condition)
            remove = SQL("DELETE FROM {} WHERE {} AND series_id = ANY(%s)").format(Identifier(*table), condition)
            first, end = span
            while ids := one(driver.execute(find, (*bounds, first, end, batch))):
                self.prepare_writes(driver)
                count = driver.execute(remove, (*bounds, ids)).rowcount
                driver.commit()
                yield count
                first = max(ids) + 1
