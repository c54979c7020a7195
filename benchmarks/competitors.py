"""What a user would otherwise do, each written as its own documentation shows it.

The table is the one that the wish for time-first keys leads to by itself: the natural key in every row, prices as
`double precision`, no foreign key, a primary key with the time first, an index for windows, row-level security by
tenant. Every way gets its rows in the form that suits it best, made beforehand: tuples for drivers, a frame for what
takes frames. Tools that cannot write through row-level security write as the owner, past it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Composable

DDL: Final = """
CREATE SCHEMA IF NOT EXISTS other;
CREATE TABLE IF NOT EXISTS other.bars (
  tenant_id uuid NOT NULL, vendor text NOT NULL, symbol text NOT NULL, timeframe text NOT NULL,
  ts timestamptz NOT NULL, open_price double precision, high_price double precision, low_price double precision,
  close_price double precision, volume bigint,
  PRIMARY KEY (ts, tenant_id, vendor, symbol, timeframe));
CREATE INDEX IF NOT EXISTS bars_window ON other.bars (tenant_id, vendor, symbol, timeframe, ts DESC);
ALTER TABLE other.bars ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own ON other.bars;
CREATE POLICY own ON other.bars USING (tenant_id = current_setting('app.tenant_id')::uuid)
  WITH CHECK (tenant_id = current_setting('app.tenant_id')::uuid);
ALTER TABLE other.bars OWNER TO mds_admin;
GRANT USAGE ON SCHEMA other TO mds_service, mds_admin;
GRANT SELECT, INSERT, UPDATE ON other.bars TO mds_service;
"""

NATURAL: Final = SQL("other.bars")
COLUMNS: Final = (
    *("tenant_id", "vendor", "symbol", "timeframe", "ts"),
    *("open_price", "high_price", "low_price", "close_price", "volume"),
)
KEY: Final = ("ts", "tenant_id", "vendor", "symbol", "timeframe")
VALUES: Final = ("open_price", "high_price", "low_price", "close_price", "volume")
UPDATE: Final = ", ".join(f"{name} = EXCLUDED.{name}" for name in VALUES)

Records = Sequence[tuple[Any, ...]]


def prepare(superuser: psycopg.Connection[Any]) -> None:
    """Create the empty table."""
    superuser.execute(DDL)
    superuser.execute("TRUNCATE other.bars")
    superuser.execute("CHECKPOINT")


def psycopg_executemany(dsn: str, tenant: UUID, records: Records) -> None:
    """https://www.psycopg.org/psycopg3/docs/api/cursors.html: one upsert, executed for each row."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT set_config('app.tenant_id', %s, true)", (str(tenant),))
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO other.bars ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
                f" ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {UPDATE}".encode(),
                records,
            )


async def asyncpg_copy_and_merge(dsn: str, tenant: UUID, records: Records) -> None:
    """https://magicstack.github.io/asyncpg: copy_records_to_table into a temporary table, then one merge."""
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.tenant_id', $1, true)", str(tenant))
            await connection.execute("CREATE TEMPORARY TABLE staged (LIKE other.bars) ON COMMIT DROP")
            await connection.copy_records_to_table("staged", records=records, columns=COLUMNS)
            await connection.execute(
                f"INSERT INTO other.bars ({', '.join(COLUMNS)}) SELECT {', '.join(COLUMNS)} FROM staged"
                f" ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {UPDATE}"
            )
    finally:
        await connection.close()


class SQLAlchemyCore:
    """https://docs.sqlalchemy.org/en/20/dialects/postgresql.html#insert-on-conflict-upsert."""

    def __init__(self, dsn: str) -> None:
        from sqlalchemy import MetaData, Table, create_engine

        self._engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
        self._bars = Table("bars", MetaData(), schema="other", autoload_with=self._engine)

    def upsert(self, tenant: UUID, rows: list[dict[str, Any]]) -> None:
        """Write all rows with one statement and a list of parameters."""
        from sqlalchemy import text
        from sqlalchemy.dialects.postgresql import insert

        statement = insert(self._bars)
        statement = statement.on_conflict_do_update(
            index_elements=list(KEY), set_={name: statement.excluded[name] for name in VALUES}
        )
        with self._engine.begin() as connection:
            connection.execute(text("SELECT set_config('app.tenant_id', :tenant, true)"), {"tenant": str(tenant)})
            connection.execute(statement, rows)

    def close(self) -> None:
        self._engine.dispose()


def adbc_ingest(dsn: str, rows: Any) -> None:
    """https://arrow.apache.org/adbc/current/python/recipe/postgresql.html: a table in one call, appended."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(dsn) as connection:
        with connection.cursor() as cursor:
            cursor.adbc_ingest("bars", rows, mode="append", db_schema_name="other")
        connection.commit()


def adbc_read(dsn: str, query: str) -> Any:
    """The same page: a query as a table."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetch_arrow_table()


def connectorx_read(dsn: str, query: str) -> Any:
    """https://sfu-db.github.io/connector-x/api.html: a query as a table."""
    import connectorx

    return connectorx.read_sql(dsn, query, return_type="arrow")


def duckdb_upsert(path: Path, table: Any) -> int:
    """https://duckdb.org/docs/stable/sql/statements/insert: rows of an Arrow table into a file, by primary key."""
    import duckdb

    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS bars (vendor TEXT, symbol TEXT, timeframe TEXT, ts TIMESTAMPTZ,"
            " open_price DOUBLE, high_price DOUBLE, low_price DOUBLE, close_price DOUBLE, volume BIGINT,"
            " PRIMARY KEY (vendor, symbol, timeframe, ts))"
        )
        connection.register("given", table)
        connection.execute("INSERT OR REPLACE INTO bars SELECT * FROM given")
        (row,) = connection.execute("SELECT count(*) FROM bars").fetchall()
    return int(row[0])


ARCTICDB: Final = Path(sys.prefix) / "arcticdb" / "bin" / "python"
"""ArcticDB's own environment: it needs an older pandas than we test with (`make bench` makes it)."""


def has_arcticdb() -> bool:
    """Whether the separate environment has ArcticDB; it is not available for every machine."""
    return any(ARCTICDB.parents[1].glob("lib/python*/site-packages/arcticdb"))


def arcticdb_write(parquet: Path, folder: Path) -> dict[str, float]:
    """Return the figures of `benchmarks/arcticdb_program.py` for these rows. It runs in a separate process."""
    program = Path(__file__).with_name("arcticdb_program.py")
    done = subprocess.run([ARCTICDB, program, parquet, folder], capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def raw_copy_out(dsn: str, query: Composable) -> int:
    """Read a query's binary COPY with libpq alone, discard it, and return the number of bytes. The caller times it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        raw = connection.pgconn
        raw.exec_(SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query).as_bytes(connection))
        total = 0
        while True:
            size, _ = raw.get_copy_data(0)
            if size < 0:
                break
            total += size
        while raw.get_result() is not None:
            pass
        return total
