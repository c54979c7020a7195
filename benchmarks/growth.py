"""Ingest and reads at growing sizes of one database, to see whether they stay fast."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

import pyarrow as pa
from psycopg.sql import SQL

from benchmarks.case import Calls, Case, Figure, Timed, Unit, Work, expect
from benchmarks.cases.reads import chosen
from benchmarks.data import BEGIN, DAY, VENDOR, encoded, table, trading_minute
from benchmarks.world import Database, World
from mds_client import MDS

GROUP: Final = "growth"
FULL: Final = (1_000_000, 10_000_000, 50_000_000)
BATCH: Final = 200
"""Minutes of every series in a batch that is written."""


def grow(world: World, sizes: tuple[int, ...], rounds: int, say: Callable[[str], None]) -> Iterator[Figure]:
    """Fill the database to each size, and measure there."""
    database, series = world.writes, world.size.series
    database.emptied()
    symbols = database.many_series(str(database.tenant))
    minutes = 0
    for bars in sizes:
        minutes = _filled(database, minutes, bars // series, say)
        figures = {name: Figure(_case(name_of(bars, name)), world.engine, unit, []) for name, unit in UNITS}
        with database.client() as mds:
            for _ in range(rounds):
                rows = table(series, min(BATCH, world.size.minutes), first_minute=minutes, seed=minutes)
                for name, work in _works(world, mds, symbols, rows, minutes).items():
                    figures[name].rounds.append(work.measure())
                minutes += rows.num_rows // series
        yield from figures.values()
    database.state = ""


UNITS: Final[tuple[tuple[str, Unit], ...]] = (
    ("Arrow, appended", "rows/s"),
    ("window of 390 bars", "ms"),
    ("latest prices", "ms"),
)


def name_of(bars: int, name: str) -> str:
    """Return the name of a figure at a size."""
    return f"at {bars:,} bars: {name}"


def names() -> set[str]:
    """Return the names of all figures of a full run."""
    return {name_of(bars, name) for bars in FULL for name, _ in UNITS}


def _case(name: str) -> Case:
    return Case(name, GROUP, "", lambda _: iter(()), ("postgres",), None)


def _works(world: World, mds: MDS, symbols: list[str], rows: "pa.Table", minutes: int) -> dict[str, Work]:
    """What is measured where so many minutes are there, which these rows follow."""

    def window(number: int) -> None:
        # Anywhere in the past.
        start = trading_minute(number * 7919 % max(1, minutes // DAY) * DAY)
        found = mds.bars_window(chosen(world, number), "1m", start, start + timedelta(minutes=DAY), VENDOR)
        if minutes >= DAY:
            expect("the window", len(found), DAY)

    def latest(_: int) -> None:
        expect("the prices", len(mds.latest_prices(symbols, VENDOR)), len(symbols))

    return {
        "Arrow, appended": Timed(lambda: mds.upsert_bars(rows), rows.num_rows),
        "window of 390 bars": Calls(window, world.size.calls),
        "latest prices": Calls(latest, world.size.calls),
    }


def _filled(database: Database, there: int, minutes: int, say: Callable[[str], None]) -> int:
    """Fill the database to that number of minutes for every series. Returns the number of minutes."""
    series, most = database.data.size.series, 2000
    while there < minutes:
        part = min(most, minutes - there)
        rows = table(series, part, first_minute=there, seed=there + 1)
        with database.owner() as owner:
            database.copy(owner, SQL("store.bars"), encoded(rows, database.ids))
        there += part
        say(f"growth: {there * series:,} bars")
    with database.superuser() as superuser:
        superuser.execute(
            "UPDATE store.series SET last_ts = %s, last_price = 1, last_price_ts = %s WHERE timeframe = '1m'",
            (max(BEGIN, trading_minute(there - 1)),) * 2,
        )
        database.settled(superuser)
    return there
