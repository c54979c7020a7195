"""What a user would otherwise do (`benchmarks.competitors`), from the same bars."""

import shutil
from collections.abc import Callable, Iterator

import pyarrow as pa

from benchmarks import competitors
from benchmarks.case import Timed, Told, Work, case, expect
from benchmarks.data import Checksum
from benchmarks.world import Database, World

GROUP = "others"


def natural(world: World, rows: "pa.Table", work: Callable[[Database], object]) -> Iterator[Work]:
    """Work on the empty natural-key table, which holds these rows afterwards."""
    database = world.writes
    with database.superuser() as superuser:
        competitors.prepare(superuser)
    yield Timed(lambda: work(database), rows.num_rows)
    expect("the natural-key table", database.checksum(competitors.NATURAL), Checksum.of(rows))


@case(GROUP, "psycopg executemany")
def executemany(world: World) -> Iterator[Work]:
    """`executemany` of an upsert into a natural-key table with row-level security, from tuples."""
    database = world.writes
    records = database.records[: world.size.slow]
    return natural(
        world,
        world.data.slow,
        lambda database: competitors.psycopg_executemany(database.dsn, database.tenant, records),
    )


@case(GROUP, "SQLAlchemy Core")
def sqlalchemy_core(world: World) -> Iterator[Work]:
    """`insert().on_conflict_do_update()` into the same table, from dictionaries."""
    database = world.writes
    with database.superuser() as superuser:
        competitors.prepare(superuser)
    rows = [dict(zip(competitors.COLUMNS, record, strict=True)) for record in database.records[: world.size.slow]]
    core = competitors.SQLAlchemyCore(database.dsn)
    yield Timed(lambda: core.upsert(database.tenant, rows), len(rows))
    core.close()
    expect("the natural-key table", database.checksum(competitors.NATURAL), Checksum.of(world.data.slow))


@case(GROUP, "asyncpg COPY and merge", package="asyncpg")
def asyncpg(world: World) -> Iterator[Work]:
    """COPY to a temporary table and one merge into the same table, from tuples."""
    records = world.writes.records
    return natural(
        world,
        world.data.table,
        lambda database: world.loop.run(competitors.asyncpg_copy_and_merge(database.dsn, database.tenant, records)),
    )


@case(GROUP, "ADBC ingest (append only)", package="adbc_driver_postgresql")
def adbc(world: World) -> Iterator[Work]:
    """`adbc_ingest` of an Arrow table into the same table, past its row-level security; a row that is there fails."""
    rows = world.data.table
    tenants = pa.repeat(pa.scalar(world.writes.tenant.bytes, pa.binary(16)), rows.num_rows)
    given = rows.add_column(0, "tenant_id", tenants)
    return natural(world, rows, lambda database: competitors.adbc_ingest(database.admin_dsn, given))


@case(GROUP, "ArcticDB write_batch", package="arcticdb")
def arcticdb(world: World) -> Iterator[Work]:
    """A symbol a series, from one frame in arrival order: it splits the frame and writes; no server, one writer."""
    folder = world.memory / "arcticdb"
    parquet = world.data.files(world.folder).parquet
    folder.mkdir(exist_ok=True)

    def ask() -> float:
        world.told = competitors.arcticdb_write(parquet, folder)
        return world.told["frame"]

    yield Told(ask, "rows/s")
    shutil.rmtree(folder)
    volume = sum(world.data.table["volume"].to_pylist())
    for name in ("frame", "split", "one"):
        expect(
            f"ArcticDB's {name}", (world.told[f"{name} rows"], world.told[f"{name} volume"]), (world.size.rows, volume)
        )


def told_before(world: World, name: str) -> Iterator[Work]:
    """What the same program has told at the same time; it runs now where that case is not asked for."""
    if name not in world.told:
        for work in arcticdb(world):
            work.measure()
    rate = world.told.pop(name)
    yield Told(lambda: rate, "rows/s")


@case(GROUP, "ArcticDB write_batch, split beforehand", package="arcticdb")
def arcticdb_split(world: World) -> Iterator[Work]:
    """The same from a thousand frames, one a series, that were made and sorted beforehand."""
    return told_before(world, "split")


@case(GROUP, "ArcticDB write, as one symbol", package="arcticdb")
def arcticdb_one(world: World) -> Iterator[Work]:
    """The same frame as a single symbol, in arrival order: no series can be read from it alone."""
    return told_before(world, "one")


@case(GROUP, "DuckDB INSERT OR REPLACE", package="duckdb")
def duckdb(world: World) -> Iterator[Work]:
    """Rows of an Arrow table into a file with a primary key; no server, one writer."""
    path = world.memory / "bars.duckdb"
    path.unlink(missing_ok=True)
    found: list[int] = []
    yield Timed(lambda: found.append(competitors.duckdb_upsert(path, world.data.table)), world.size.rows)
    expect("DuckDB's table", found, [world.size.rows])
    path.unlink()
