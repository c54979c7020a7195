"""Reading: windows, latest prices and whole streams, beside what the server and others need for the same."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
from psycopg.sql import SQL, Composable, Literal
from pyarrow import parquet

from benchmarks import competitors
from benchmarks.case import Calls, Timed, Work, case, expect
from benchmarks.data import BEGIN, DAY, VENDOR, symbol
from benchmarks.world import FAR, Database, World

GROUP = "reads"
ALL = SQL("series_id, ts, open_price, high_price, low_price, close_price, volume")


def history(world: World) -> Database:
    """The database with some days of every series, more than one chunk's worth where there are chunks."""
    database = world.reads
    database.filled(world.size.history)
    return database


def day() -> tuple[datetime, datetime]:
    """A trading day: 390 bars."""
    return BEGIN, BEGIN + timedelta(minutes=DAY)


def chosen(world: World, number: int) -> str:
    """Another series for each call."""
    return symbol(number * 37 % world.size.series)


@case(GROUP, "window of 390 bars, bare SQL")
def bare_window(world: World) -> Iterator[Work]:
    """What psycopg needs for a prepared SELECT of these rows by the owner, who knows the series' id."""
    database = history(world)
    ids = database.ids
    found: list[int] = []
    with psycopg.connect(database.admin_dsn, autocommit=True, prepare_threshold=0) as connection:
        cursor = connection.cursor(binary=True)
        query = b"""SELECT ts, open_price, high_price, low_price, close_price, volume, id::text FROM store.bars
                    WHERE series_id = %s AND ts >= %s AND ts < %s ORDER BY ts"""

        def ask(number: int) -> None:
            found.append(len(cursor.execute(query, (ids[chosen(world, number)], *day())).fetchall()))

        yield Calls(ask, world.size.calls)
    expect("the windows", set(found), {DAY})


@case(GROUP, "window of 390 bars, models", engines=("postgres", "timescale-apache", "timescale"))
def window_models(world: World) -> Iterator[Work]:
    """`bars_window` of one series and one day, as `Bar`s."""
    database = history(world)
    found: list[int] = []
    with database.client() as mds:
        mds.health()
        yield Calls(
            lambda number: found.append(len(mds.bars_window(chosen(world, number), "1m", *day(), VENDOR))),
            world.size.calls,
        )
    expect("the windows", set(found), {DAY})


@case(GROUP, "window of 390 bars, Arrow")
def window_arrow(world: World) -> Iterator[Work]:
    """The same as an Arrow table."""
    database = history(world)
    found: list[int] = []
    with database.client() as mds:
        mds.health()
        yield Calls(
            lambda number: found.append(
                mds.bars_window(chosen(world, number), "1m", *day(), VENDOR, as_="arrow").num_rows
            ),
            world.size.calls,
        )
    expect("the windows", set(found), {DAY})


@case(GROUP, "latest prices, 500 of 200,000")
def latest_prices(world: World) -> Iterator[Work]:
    """`latest_prices` of 500 symbols in a tenant with 200,000 series, as models."""
    database = history(world)
    wide = database.other_tenant("wide")
    symbols = database.many_series(wide)
    found: list[int] = []
    with database.client() as own:
        mds = own.for_tenant(wide)
        mds.health()
        yield Calls(lambda _: found.append(len(mds.latest_prices(symbols, VENDOR))), world.size.calls)
    expect("the prices", set(found), {len(symbols)})


def long_query(world: World) -> tuple[Database, str, Composable]:
    """The database, the series of the long window, and the query for its rows."""
    database = history(world)
    name, id_ = database.long()
    query = SQL("SELECT {} FROM store.bars WHERE series_id = {} AND ts >= {} AND ts < {} ORDER BY ts").format(
        ALL, Literal(id_), Literal(BEGIN), Literal(FAR)
    )
    return database, name, query


def long_window(world: World, how: str) -> Iterator[Work]:
    """The rows of the long window, by one of these ways."""
    database, name, query = long_query(world)
    text = query.as_string()
    found: list[int] = []
    match how:
        case "raw":
            yield Timed(lambda: found.append(competitors.raw_copy_out(database.admin_dsn, query)), world.size.long)
            # The header, then for each row a count of fields, and for each field its length and eight bytes.
            expect("the bytes", found, [19 + 2 + world.size.long * (2 + 7 * (4 + 8))])
            return
        case "adbc":
            yield Timed(lambda: found.append(competitors.adbc_read(database.admin_dsn, text).num_rows), world.size.long)
        case "connectorx":
            yield Timed(
                lambda: found.append(competitors.connectorx_read(database.admin_dsn, text).num_rows), world.size.long
            )
        case _:
            with database.client() as mds:
                mds.health()
                yield Timed(
                    lambda: found.append(mds.bars_window(name, "1s", BEGIN, FAR, VENDOR, as_="arrow").num_rows),
                    world.size.long,
                )
    expect("the rows", found, [world.size.long])


@case(GROUP, "long window, raw COPY out")
def raw_long(world: World) -> Iterator[Work]:
    """A million rows of one series by `COPY … TO STDOUT` in binary, taken with libpq and thrown away."""
    return long_window(world, "raw")


@case(GROUP, "long window, Arrow")
def arrow_long(world: World) -> Iterator[Work]:
    """The same rows by `bars_window`, as an Arrow table."""
    return long_window(world, "ours")


@case(GROUP, "long window, ADBC", package="adbc_driver_postgresql")
def adbc_long(world: World) -> Iterator[Work]:
    """The same rows by ADBC's `fetch_arrow_table`, from the bare table."""
    return long_window(world, "adbc")


@case(GROUP, "long window, connectorx", package="connectorx")
def connectorx_long(world: World) -> Iterator[Work]:
    """The same rows by connectorx's `read_sql`, from the bare table."""
    return long_window(world, "connectorx")


def whole(world: World) -> tuple[Database, int]:
    """The database, and how many rows its tenant has in all."""
    database = history(world)
    database.long()
    return database, world.size.series * world.size.history + world.size.long


@case(GROUP, "whole tenant, raw COPY out")
def raw_all(world: World) -> Iterator[Work]:
    """Every row of the tenant by `COPY … TO STDOUT`, in the order of the key."""
    database, rows = whole(world)
    floor, ceiling = database.range()
    query = SQL("SELECT {} FROM store.bars WHERE series_id >= {} AND series_id < {} ORDER BY series_id, ts").format(
        ALL, Literal(floor), Literal(ceiling)
    )
    found: list[int] = []
    yield Timed(lambda: found.append(competitors.raw_copy_out(database.admin_dsn, query)), rows)
    expect("the bytes", found, [19 + 2 + rows * (2 + 7 * (4 + 8))])


@case(GROUP, "whole tenant, stream to Arrow")
def stream_all(world: World) -> Iterator[Work]:
    """The same rows by `iter_rows`, as record batches."""
    database, rows = whole(world)
    found: list[int] = []
    with database.client() as mds:
        mds.health()
        yield Timed(
            lambda: found.append(sum(part.num_rows for part in mds.iter_rows("bars", as_="arrow"))),
            rows,
        )
    expect("the rows", found, [rows])


@case(GROUP, "whole tenant, export to Parquet")
def export_all(world: World) -> Iterator[Work]:
    """The same rows by `export` over two connections, as a Parquet file in memory."""
    database, rows = whole(world)
    path = world.memory / "tenant.parquet"
    found: list[int] = []
    with database.client() as mds:
        mds.health()
        yield Timed(lambda: found.append(mds.export("bars", str(path)).rows), rows)
    expect("the rows", found, [rows])
    expect("the file's rows", parquet.read_metadata(path).num_rows, rows)
    path.unlink()


@case(GROUP, "whole tenant, scan with polars", package="polars")
def scan_all(world: World) -> Iterator[Work]:
    """The sum of all volumes by `scan` over two connections and polars: one column is read."""
    import polars

    database, rows = whole(world)
    found: list[tuple[int, float]] = []
    counted = (polars.len().alias("rows"), polars.col("volume").sum())
    with database.client() as mds:
        mds.health()
        yield Timed(lambda: found.append(mds.scan("bars").select(counted).collect().row(0)), rows)
    with database.superuser() as connection:
        ((number, volume),) = connection.execute(
            "SELECT count(*), sum(volume)::float8 FROM store.bars WHERE series_id >= %s AND series_id < %s",
            database.range(),
        ).fetchall()
    expect("the rows and their volume", found, [(number, volume)])
