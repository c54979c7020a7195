"""The write modes by the size of a batch: where the thresholds of `auto` cross."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Final, get_args

from benchmarks.case import CASES, Calls, Case, Work, expect
from benchmarks.data import DAY, VENDOR, symbol, trading_minute
from benchmarks.world import World
from mds_client import Bar
from mds_client.config import WriteMode

GROUP: Final = "modes"
MODES: Final = tuple(mode for mode in get_args(WriteMode) if mode != "auto")
SIZES: Final = (1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
TYPICAL: Final = 100
"""Series in a batch, at the most."""


def name_of(mode: str, rows: int) -> str:
    return f"{mode}, {rows} rows"


def batches(rows: int, count: int) -> list[list[Bar]]:
    """Batches of new rows, one after the other in time, of up to TYPICAL series."""
    begin = trading_minute(20 * DAY)
    return [
        [
            Bar(
                vendor=VENDOR,
                symbol=symbol(at % TYPICAL),
                timeframe="1m",
                ts=begin + timedelta(hours=number, seconds=at // TYPICAL),
                open_price=100.0,
                high_price=101.0,
                low_price=99.5,
                close_price=100.5,
                volume=at,
            )
            for at in range(rows)
        ]
        for number in range(count)
    ]


def in_mode(mode: WriteMode, rows: int, world: World) -> Iterator[Work]:
    """Batches of new rows, written as models in one mode."""
    if rows not in world.size.modes:
        return
    database = world.writes
    database.filled(world.size.history)
    count = max(3, min(30, 3000 // rows))
    given = batches(rows, count + 1)
    with database.client(write_mode=mode) as mds, database.superuser() as superuser:
        mds.upsert_bars(given.pop())
        yield Calls(lambda number: mds.upsert_bars(given[number]), count)
        begin = given[0][0].ts
        ((there,),) = superuser.execute("SELECT count(*) FROM store.bars WHERE ts >= %s", (begin,)).fetchall()
        expect(f"the rows of {mode}", there, (count + 1) * rows)
        superuser.execute("DELETE FROM store.bars WHERE ts >= %s", (begin,))
        superuser.execute("UPDATE store.series SET last_ts = NULL, last_price_ts = NULL WHERE last_ts >= %s", (begin,))


for _mode in MODES:
    for _rows in SIZES:
        CASES.append(
            Case(
                name_of(_mode, _rows),
                GROUP,
                f"{_rows} new rows of up to {TYPICAL} series, as models",
                partial(in_mode, _mode, _rows),
                ("postgres",),
                None,
            )
        )
