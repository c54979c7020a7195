"""What a live feed feels: small calls, one at a time, on a table with some days in it."""

from collections.abc import Iterator
from datetime import timedelta

from benchmarks.case import Calls, Work, case, expect
from benchmarks.data import DAY, VENDOR, symbol, trading_minute
from benchmarks.world import World
from mds_client import Bar

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


def called(world: World, series: int) -> Iterator[Work]:
    """Calls with one row for each of so many series."""
    database = world.writes
    database.filled(world.size.history)
    rows = feed(world, series, world.size.calls + 1)
    with database.client() as mds, database.superuser() as superuser:
        mds.upsert_bars(rows.pop())
        yield Calls(lambda number: mds.upsert_bars(rows[number]), world.size.calls)
        begin = rows[0][0].ts
        ((there,),) = superuser.execute("SELECT count(*) FROM store.bars WHERE ts >= %s", (begin,)).fetchall()
        expect("the rows of the feed", there, (len(rows) + 1) * len(rows[0]))
        superuser.execute("DELETE FROM store.bars WHERE ts >= %s", (begin,))
        database.state = ""


@case(GROUP, "live, one row")
def one_row(world: World) -> Iterator[Work]:
    """One bar in one call."""
    return called(world, 1)


@case(GROUP, "live, 500 rows")
def many_rows(world: World) -> Iterator[Work]:
    """Every second one bar for each of 500 series, in one call."""
    return called(world, SERIES)
