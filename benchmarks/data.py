"""Realistic bars: random walks on a tick grid, minute by minute, in the order in which they would arrive.

As models (`bars`) and in columns (`table`), in the forms that the cases start from (`Data`), and a checksum that says
whether a table holds them, computed once from the columns and once by the server.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, LiteralString

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mds_client import KINDS, Bar
from mds_client.columns.frames import Frame

BEGIN: Final = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
TICK: Final = 0.01
VENDOR: Final = "bench"
DAY: Final = 390
"""The minutes of a trading day."""

PRICES: Final = ("open_price", "high_price", "low_price", "close_price")


def bars(series: int, minutes: int, *, begin: datetime = BEGIN, seed: int = 7) -> Iterator[Bar]:
    """`series * minutes` bars: for each minute one of every series, as a live feed has them."""
    chance = random.Random(seed)
    prices = [round(chance.uniform(5, 500), 2) for _ in range(series)]
    for minute in range(minutes):
        ts = begin + timedelta(minutes=minute)
        for number in range(series):
            opened = prices[number]
            steps = [opened + TICK * chance.randint(-20, 20) for _ in range(3)]
            closed = max(TICK, round(steps[-1], 2))
            prices[number] = closed
            yield Bar(
                vendor=VENDOR,
                symbol=symbol(number),
                timeframe="1m",
                ts=ts,
                open_price=opened,
                high_price=round(max(opened, closed, *steps), 2),
                low_price=round(min(opened, closed, *steps), 2),
                close_price=closed,
                volume=chance.randint(0, 50_000),
            )


def symbol(number: int) -> str:
    """Return the name of a series, which contains its number."""
    return f"S{number:05d}"


def table(
    series: int, minutes: int, *, first_minute: int = 0, seed: int = 7, timeframe: str = "1m", first_series: int = 0
) -> "pa.Table":
    """The same in columns, `vendor, symbol, timeframe, ts, open … close, volume`, from that trading minute on.

    A day has DAY minutes from BEGIN's time on. Names are plain text and times microseconds in UTC, as most sources of
    frames give them.
    """
    chance = np.random.default_rng(seed)
    walk = chance.integers(500, 50_000, series) + chance.integers(-20, 21, (minutes + 1, series)).cumsum(axis=0)
    ticks = np.abs(walk) + 1
    opened, closed = ticks[:-1], ticks[1:]
    high = np.maximum(opened, closed) + chance.integers(0, 10, closed.shape)
    low = np.maximum(np.minimum(opened, closed) - chance.integers(0, 10, closed.shape), 1)
    names = pa.array([symbol(number) for number in range(first_series, first_series + series)])
    number = first_minute + np.arange(minutes)
    after = number // DAY * 1440 + number % DAY
    times = np.datetime64(BEGIN.replace(tzinfo=None), "us") + after.astype("timedelta64[m]")
    size = series * minutes
    return pa.table(
        {
            "vendor": pa.repeat(VENDOR, size),
            "symbol": names.take(pa.array(np.tile(np.arange(series), minutes))),
            "timeframe": pa.repeat(timeframe, size),
            "ts": pa.array(np.repeat(times, series), pa.timestamp("us", "UTC")),
            **{
                name: pa.array(values.ravel() / 100)
                for name, values in zip(PRICES, (opened, high, low, closed), strict=True)
            },
            "volume": pa.array(chance.integers(0, 50_000, size)),
        }
    )


def trading_minute(number: int) -> datetime:
    """Return the begin of the bar with that number, from 0."""
    return BEGIN + timedelta(days=number // DAY, minutes=number % DAY)


def long_table(rows: int, timeframe: str = "1s") -> "pa.Table":
    """Return a number of bars of one series."""
    return table(1, rows, timeframe=timeframe, first_series=99_999)


@dataclass(frozen=True)
class Checksum:
    """Sums of products, of series and minute with every value: a row that is missing, there twice, or has a value of
    another changes one of them."""

    sums: tuple[int, ...]

    @classmethod
    def of(cls, rows: "pa.Table") -> "Checksum":
        """Return the checksum of the rows that a table should hold."""
        number = pc.cast(pc.utf8_slice_codeunits(rows["symbol"], 1), pa.int64()).to_numpy()
        begin = np.datetime64(BEGIN.replace(tzinfo=None), "us")
        minute = (rows["ts"].cast(pa.timestamp("us")).to_numpy() - begin).astype("timedelta64[m]").astype("i8")
        opened, high, low, closed = (np.rint(rows[name].to_numpy() * 100).astype("i8") for name in PRICES)
        volume = rows["volume"].to_numpy()
        products = (
            number * minute,
            number * closed,
            minute * opened,
            number * high,
            minute * low,
            (number + 1) * volume,
        )
        return cls((rows.num_rows, *(int(product.sum()) for product in products)))


CHECKSUM: Final[LiteralString] = """
SELECT count(*), coalesce(sum(n * m), 0), coalesce(sum(n * c), 0), coalesce(sum(m * o), 0), coalesce(sum(n * h), 0),
       coalesce(sum(m * l), 0), coalesce(sum((n + 1) * v), 0)
FROM (SELECT substr(symbol, 2)::bigint AS n, (extract(epoch FROM ts - {begin}) / 60)::bigint AS m,
             round(open_price * 100)::bigint AS o, round(high_price * 100)::bigint AS h,
             round(low_price * 100)::bigint AS l, round(close_price * 100)::bigint AS c, volume AS v
      FROM {rows}) AS r
"""
"""The same by the server, over `rows`, which have the columns of a bar."""


@dataclass(frozen=True)
class Size:
    """How much of everything. `series` x `minutes` bars are the batch; `day` minutes of it are the smaller batch, for
    what takes rows one by one; `slow` rows of it for what is slow; `calls` are the calls of a latency in one round."""

    series: int
    minutes: int
    day: int
    slow: int
    calls: int
    many: int  # series among which latest prices are looked for
    long: int  # rows of the long window
    history: int  # minutes of every series that are there where single calls are timed
    deep: int  # the same where windows are read from a large table
    modes: tuple[int, ...]  # rows of a batch, for the curve of write modes

    @property
    def rows(self) -> int:
        return self.series * self.minutes

    @classmethod
    def of(cls, rows: int) -> "Size":
        """Return the sizes for a batch of about this number of rows of 1,000 series."""
        minutes = max(5, rows // 1000)
        return cls(
            series=1000,
            minutes=minutes,
            day=max(1, minutes // 5),
            slow=max(1000, rows // 50),
            calls=100,
            many=200_000,
            long=1_000_000,
            history=2 * DAY,
            deep=5000,
            modes=(1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000),
        )

    @classmethod
    def short(cls) -> "Size":
        """Sizes that are large enough to check every answer, and too small to measure."""
        return cls(
            series=50,
            minutes=120,
            day=24,
            slow=500,
            calls=3,
            many=2000,
            long=20_000,
            history=400,
            deep=400,
            modes=(1, 100, 1000),
        )


class Data:
    """The batch in every form that a case starts from; each is made when it is first asked for, and kept."""

    def __init__(self, size: Size) -> None:
        self.size = size

    @cached_property
    def table(self) -> "pa.Table":
        """The whole batch, in arrival order."""
        return table(self.size.series, self.size.minutes)

    @cached_property
    def day(self) -> "pa.Table":
        """The first part of the batch, for cases that write single rows."""
        return self.table.slice(0, self.size.series * self.size.day)

    @cached_property
    def slow(self) -> "pa.Table":
        """A small part of the batch."""
        return self.table.slice(0, self.size.slow)

    @cached_property
    def changed(self) -> "pa.Table":
        """The whole batch, where each row has another volume."""
        at = self.table.column_names.index("volume")
        return self.table.set_column(at, "volume", pc.add(self.table["volume"], 1))

    @cached_property
    def polars(self) -> Any:
        import polars

        return polars.from_arrow(self.table)

    @cached_property
    def models(self) -> list[Bar]:
        """The day as models."""
        return [Bar(**row) for row in self.day.to_pylist()]

    def records(self, tenant: Any, rows: "pa.Table") -> list[tuple[Any, ...]]:
        """Rows as tuples, with the tenant in front, as drivers take them."""
        columns = [rows[name].to_pylist() for name in rows.column_names]
        return [(tenant, *values) for values in zip(*columns, strict=True)]

    def files(self, folder: Path) -> "Files":
        """The day as NDJSON, all of it as Parquet and CSV, and the CSV in four parts by series."""
        from pyarrow import csv, parquet

        found = Files(folder / "bars.ndjson", folder / "bars.parquet", folder / "bars.csv", folder / "parts")
        if not found.ndjson.exists():
            with found.ndjson.open("w", encoding="utf-8") as file:
                file.writelines(bar.model_dump_json(exclude_none=True) + "\n" for bar in self.models)
            parquet.write_table(self.table, found.parquet)
            csv.write_csv(self.table, found.csv)
            found.parts.mkdir()
            for number, part in enumerate(by_series(self.table, self.size.series, 4)):
                csv.write_csv(part, found.parts / f"{number}.csv")
        return found


@dataclass(frozen=True)
class Files:
    """The data in files."""

    ndjson: Path
    parquet: Path
    csv: Path
    parts: Path


def by_series(rows: "pa.Table", series: int, parts: int) -> list["pa.Table"]:
    """Rows in parts of as many series each, as several feeds have them."""
    limits = [symbol(series * part // parts) for part in range(1, parts)]
    found = []
    for at in range(parts):
        chosen = pa.repeat(True, rows.num_rows)
        if at:
            chosen = pc.and_(chosen, pc.greater_equal(rows["symbol"], limits[at - 1]))
        if at < parts - 1:
            chosen = pc.and_(chosen, pc.less(rows["symbol"], limits[at]))
        found.append(rows.filter(chosen))
    return found


def encoded(rows: "pa.Table", ids: dict[str, int]) -> Sequence[bytes]:
    """Rows as a binary COPY into the table itself: sorted, with the ids of these symbols, an amount in two columns."""
    kind = replace(KINDS["bars"], columns=KINDS["bars"].in_table)
    frame = Frame(kind, rows)
    step = frame.narrow({name: ids[str(name[1])] for name in frame.names}).copied(b"")
    assert step.blocks is not None, "bars have no text, so that they are encoded in blocks"
    return list(step.blocks)
