"""The types that the clients' methods return. mypy and basedpyright check this module (`make check`); it never runs."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, assert_type

import duckdb
import pandas
import polars

from mds_client import AMDS, MDS, Bar, Coverage, Fundamentals, Health, Job, LatestPrice, News, OptionSnap, Series
from mds_client.export import Dump

START = datetime(2024, 1, 2, tzinfo=UTC)
END = datetime(2024, 1, 3, tzinfo=UTC)


def sync(mds: MDS) -> None:
    assert_type(mds.bars_window("AAPL", "1m", START, END, "v"), list[Bar])
    assert_type(mds.bars_window(["AAPL", "MSFT"], "1m", START, END, "v", as_="models"), list[Bar])
    assert_type(mds.bars_window("AAPL", "1m", START, END, "v", as_="polars"), polars.DataFrame)
    assert_type(mds.bars_window("AAPL", "1m", START, END, "v", as_="pandas"), pandas.DataFrame)
    assert_type(mds.fundamentals_window("AAPL", START, END, "v"), list[Fundamentals])
    assert_type(mds.news_window(START, END, symbol="AAPL"), list[News])
    assert_type(mds.news_window(START, END, as_="polars"), polars.DataFrame)
    assert_type(mds.option_chain("AAPL", START, "v"), list[OptionSnap])
    assert_type(mds.rollup("AAPL", "5m", START, END, "v", as_="pandas"), pandas.DataFrame)
    assert_type(mds.latest_prices(["AAPL"], "v"), list[LatestPrice])
    assert_type(mds.bars_window("AAPL", "1m", START, END, "v", as_="polars", columns=["ts"]), polars.DataFrame)
    assert_type(mds.rollup("AAPL", "5m", START, END, "v", as_="pandas", columns=("ts", "volume")), pandas.DataFrame)
    assert_type(mds.news_window(START, END, as_="polars", columns=["title"]), polars.DataFrame)
    assert_type(mds.latest_prices(["AAPL"], "v", as_="pandas", columns=["price"]), pandas.DataFrame)
    assert_type(mds.bars_window("AAPL", "1m", START, END, "v", as_="pandas", index="ts"), pandas.DataFrame)
    assert_type(mds.bars_window(["A"], "1m", START, END, "v", as_="polars", wide="close_price"), polars.DataFrame)
    assert_type(mds.rollup(["A"], "1h", START, END, "v", as_="pandas", wide="volume"), pandas.DataFrame)
    assert_type(mds.option_chain("A", START, "v", as_="pandas", index=["expiry", "strike"]), pandas.DataFrame)
    # So are an index or a wide form of models, and an index of another frame than pandas'.
    mds.bars_window("AAPL", "1m", START, END, "v", index="ts")  # type: ignore[call-overload]  # pyright: ignore
    mds.rollup("AAPL", "1h", START, END, "v", wide="volume")  # type: ignore[call-overload]  # pyright: ignore
    mds.rollup("A", "1h", START, END, "v", as_="polars", index="ts")  # type: ignore[call-overload]  # pyright: ignore
    # Columns of models are an error, for who checks types as well.
    mds.bars_window("AAPL", "1m", START, END, "v", columns=["ts"])  # type: ignore[call-overload]  # pyright: ignore
    mds.iter_rows(News, columns=["title"])  # type: ignore[call-overload]  # pyright: ignore
    assert_type(mds.series(), list[Series])
    assert_type(mds.series(News, as_="polars"), polars.DataFrame)
    assert_type(mds.series(symbol=["AAPL"], timeframe="1d"), list[Series])
    assert_type(mds.coverage(symbol="AAPL", start=START, as_="pandas"), pandas.DataFrame)
    assert_type(mds.symbols(), list[str])
    assert_type(mds.coverage("bars"), list[Coverage])
    assert_type(mds.iter_bars_window("AAPL", "1m", START, END, "v"), Iterator[list[Bar]])
    assert_type(mds.iter_rows(News), Iterator[list[News]])
    assert_type(mds.iter_rows("news"), Iterator[list[Any]])
    assert_type(mds.scan("bars"), polars.LazyFrame)
    assert_type(mds.scan("bars", as_="duckdb"), duckdb.DuckDBPyRelation)
    assert_type(mds.export("bars", "bars.parquet"), Dump)
    assert_type(mds.upsert_bars([]), int)
    assert_type(mds.enqueue_job("key", "type"), Job)
    assert_type(mds.health(), Health)
    with mds.transaction() as transaction:
        assert_type(transaction.bars_window("AAPL", "1m", START, END, "v"), list[Bar])


async def asynchronous(amds: AMDS) -> None:
    assert_type(await amds.bars_window("AAPL", "1m", START, END, "v"), list[Bar])
    assert_type(await amds.bars_window("AAPL", "1m", START, END, "v", as_="polars"), polars.DataFrame)
    assert_type(await amds.latest_prices(["AAPL"], "v", as_="pandas"), pandas.DataFrame)
    assert_type(await amds.rollup(["A"], "1h", START, END, "v", as_="pandas", wide="close_price"), pandas.DataFrame)
    assert_type(amds.iter_rows(News), AsyncIterator[list[News]])
    assert_type(amds.scan("bars"), polars.LazyFrame)
    assert_type(await amds.export("bars", "bars.parquet"), Dump)
    assert_type(await amds.upsert("bars", []), int)
    assert_type(await amds.enqueue_job("key", "type"), Job)
    async with amds.transaction() as transaction:
        assert_type(await transaction.coverage(), list[Coverage])
