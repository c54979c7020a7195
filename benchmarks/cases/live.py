"""What a live feed feels: small calls, one at a time, on a table with some days in it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from operator import attrgetter

import psycopg
from psycopg.sql import SQL, Identifier

from benchmarks.case import Calls, Work, case, expect
from benchmarks.cases.floors import merge, names
from benchmarks.data import DAY, VENDOR, symbol, trading_minute
from benchmarks.world import COLUMNS, IN_TABLE, Database, World
from datastore.names import OWNER
from mds_client import KINDS, Bar
from mds_client.sql import arrays

GROUP = "live"
SERIES = 500


def feed(world: World, series: int, calls: int) -> list[list[Bar]]:
    """For each call one second of so many series, newer than all that is there."""
    begin = trading_minute(world.size.history + DAY)
    return [
        [
            Bar(
                vendor=VENDOR,
                symbol=symbol(number),
                timeframe="1m",
                ts=begin + timedelta(seconds=second),
                open_price=100.0,
                high_price=101.0,
                low_price=99.5,
                close_price=100.5,
                volume=second,
            )
            for number in range(min(series, world.size.series))
        ]
        for second in range(calls)
    ]


def called(database: Database, rows: list[list[Bar]], write: Callable[[int], object]) -> Iterator[Work]:
    """Calls that each write the rows of their number; the last ones are written beforehand."""
    write(len(rows) - 1)
    yield Calls(write, len(rows) - 1)
    begin = rows[0][0].ts
    with database.superuser() as superuser:
        ((there,),) = superuser.execute("SELECT count(*) FROM store.bars WHERE ts >= %s", (begin,)).fetchall()
        expect("the rows of the feed", there, len(rows) * len(rows[0]))
        superuser.execute("DELETE FROM store.bars WHERE ts >= %s", (begin,))
    database.state = ""


def ours(world: World, series: int) -> Iterator[Work]:
    """Calls with one row for each of so many series."""
    database = world.writes
    database.filled(world.size.history)
    rows = feed(world, series, world.size.calls + 1)
    with database.client() as mds:
        yield from called(database, rows, lambda number: mds.upsert_bars(rows[number]))


def bare(world: World, series: int) -> Iterator[Work]:
    """The same rows by the owner: one prepared statement over arrays."""
    database = world.writes
    database.filled(world.size.history)
    rows = feed(world, series, world.size.calls + 1)
    # The feed's volumes are whole, so that their fractions are NULL.
    values = attrgetter(*KINDS["bars"].column_names)
    fractions = (None,) * len(KINDS["bars"].amounts)
    pages = [
        list(map(list, zip(*((database.ids[row.symbol], *values(row), *fractions) for row in page), strict=True)))
        for page in rows
    ]
    page = arrays(("bigint", *(column.type for column in IN_TABLE)))
    statement = merge(SQL("unnest({}) AS page({})").format(page, names(COLUMNS)))
    with psycopg.connect(database.superuser_dsn, autocommit=True, prepare_threshold=0) as owner:
        owner.execute(SQL("SET ROLE {}").format(Identifier(OWNER)))
        yield from called(database, rows, lambda number: owner.execute(statement, pages[number]))


@case(GROUP, "live, one row")
def one_row(world: World) -> Iterator[Work]:
    """One bar in one call."""
    return ours(world, 1)


@case(GROUP, "live, one row, bare SQL")
def one_bare_row(world: World) -> Iterator[Work]:
    """What psycopg needs to upsert one by the owner, who knows the series' id, without its last price."""
    return bare(world, 1)


@case(GROUP, "live, 500 rows")
def many_rows(world: World) -> Iterator[Work]:
    """Every second one bar for each of 500 series, in one call."""
    return ours(world, SERIES)


@case(GROUP, "live, 500 rows, bare SQL")
def many_bare_rows(world: World) -> Iterator[Work]:
    """What psycopg needs to upsert these by the owner, who knows the series' ids, without their last prices."""
    return bare(world, SERIES)
