"""Frames in and out, through both clients, on a real server."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastore.load import load
from mds_client import AMDS, KINDS, MDS, Bar, InvalidRow, News, OptionSnap, RLSDenied, Row, sql
from mds_client.columns import arrow
from mds_client.columns.arrow import Query
from mds_client.errors import MDSOperationalError, RetryableError
from mds_client.protocol.operations import Stream
from tests.conftest import Client, Store, Waiting, before_the_server, odd_rows, on_tables

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
BARS = KINDS["bars"]
ON_CONFLICT = ("replace", "keep", "fill")
MODES = ("executemany", "values", "copy")
BAR = pa.schema(
    {
        "vendor": pa.string(),
        "symbol": pa.string(),
        "timeframe": pa.string(),
        "ts": pa.timestamp("us", "UTC"),
        **dict.fromkeys(("open_price", "high_price", "low_price", "close_price"), pa.float64()),
        "volume": pa.float64(),
        "id": pa.string(),
        "vwap": pa.float64(),
        "trade_count": pa.int64(),
    }
)


def bars(minutes: int = 3, symbols: int = 1, start: int = 0, **columns: Any) -> pa.Table:
    """Bars of some symbols, minute by minute, with some columns of their own."""
    numbers = [(minute, symbol) for minute in range(start, start + minutes) for symbol in range(symbols)]
    own: dict[str, Any] = {
        "vendor": ["v"] * len(numbers),
        "symbol": [f"S{symbol}" for _, symbol in numbers],
        "timeframe": ["1m"] * len(numbers),
        "ts": [NOON + timedelta(minutes=minute) for minute, _ in numbers],
        "close_price": [minute + symbol / 8 for minute, symbol in numbers],
    }
    return pa.table({**own, **columns})


def stored(store: Store, kind: str = "bars") -> list[tuple[Any, ...]]:
    """Everything that is stored of a kind, with the series' last values, whatever the ids are."""
    columns = ", ".join(f"r.{column.name}" for column in KINDS[kind].in_table)
    key = ", ".join(f"r.{column}" for column in KINDS[kind].key)
    return store.rows(
        f"SELECT s.vendor, s.symbol, s.timeframe, s.last_ts, s.last_price, s.last_price_ts, {columns}"
        f" FROM store.{kind} r JOIN store.series s USING (series_id) ORDER BY 1, 2, 3, {key}"
    )


def table_of(rows: list[Row], schema: pa.Schema | None = None) -> pa.Table:
    return pa.Table.from_pylist([row.model_dump(exclude={"tenant_id"}) for row in rows], schema)


def forget(store: Store) -> None:
    store.execute("DELETE FROM store.bars; DELETE FROM store.series")


# What a frame means


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("on_conflict", ON_CONFLICT)
@odd_rows
def test_a_frame_and_a_list_of_the_same_rows_produce_the_same_table(
    connect: Callable[..., Client], store: Store, mode: str, on_conflict: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    price = st.none() | st.floats(allow_nan=False, allow_infinity=False)
    row = st.builds(
        Bar,
        vendor=st.sampled_from(["v", "w"]),
        symbol=st.sampled_from(["A", "B", "ü"]),
        timeframe=st.sampled_from(["1m", "1d"]),
        ts=st.integers(-3, 3).map(lambda minute: NOON + timedelta(minutes=minute)),
        open_price=price,
        close_price=price,
        volume=st.none() | st.integers(0, 2**53) | st.floats(0, 2**52),
        trade_count=st.none() | st.integers(0, 2**63 - 1),
        id=st.none() | st.uuids().map(str),
    )

    # Each mode and conflict has twelve between the two clients, which send the same; another engine takes a few.
    @settings(
        max_examples=6 if store.engine == "postgres" else 4, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(st.lists(row, min_size=1, max_size=12), min_size=1, max_size=3))
    def check(batches: list[list[Row]]) -> None:
        forget(store)
        for batch in batches:
            client.upsert("bars", batch, on_conflict=on_conflict)
        expected = stored(store)
        forget(store)
        for batch in batches:
            assert client.upsert("bars", table_of(batch, BAR), on_conflict=on_conflict) == len(batch)
        assert stored(store) == expected

    check()


EXPECTED = [
    (f"S{symbol}", NOON + timedelta(minutes=minute), minute + symbol / 8) for symbol in (0, 1) for minute in range(3)
]


@pytest.mark.every_engine
def test_every_type_of_frame_can_be_written(client: Client, store: Store) -> None:
    table = bars(symbols=2)
    connection = duckdb.connect()
    connection.register("frame", table)
    frames: dict[str, Callable[[], Any]] = {
        "table": lambda: table,
        "record batch": lambda: table.to_batches()[0],
        "reader": lambda: table.to_reader(max_chunksize=4),
        "polars": lambda: pl.from_arrow(table),
        "categorical": lambda: pl.DataFrame(table).with_columns(pl.col("symbol").cast(pl.Categorical)),
        "pandas": table.to_pandas,
        "indexed": lambda: table.to_pandas().set_index("ts"),
        "duckdb": lambda: connection.sql("SELECT * FROM frame"),
    }
    for name, made in frames.items():
        forget(store)
        assert client.upsert_bars(made()) == 6, name
        assert [(row[1], row[6], row[10]) for row in stored(store)] == EXPECTED, name


def awkward() -> Iterator[tuple[str, pa.Table]]:
    """The same six bars, each time in another form."""
    table = bars(symbols=2)
    wide = pa.concat_tables([bars(2, 2, start=-2), table, bars(2, 2, start=3)])
    yield "sliced", wide.slice(4, 6)
    yield "chunked", pa.concat_tables([table.slice(at, 1) for at in range(6)])
    yield "with empty chunks", pa.concat_tables([table.slice(0, 0), table, table.slice(0, 0)])
    for type_ in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        yield str(type_), table.set_column(1, "symbol", table["symbol"].cast(type_))
    encoded = wide.set_column(1, "symbol", wide["symbol"].dictionary_encode())
    yield "sliced dictionary", encoded.slice(4, 6)
    several = [part.set_column(1, "symbol", part["symbol"].dictionary_encode()) for part in (table[:1], table[1:])]
    yield "a dictionary each chunk", pa.concat_tables(several)
    codes = pa.array([0, 1] * 3, pa.int32())
    unused = pa.DictionaryArray.from_arrays(codes, pa.array(["S0", " s1 ", "", None]))
    yield "a dictionary with what no row uses", table.set_column(1, "symbol", unused)
    spelled = pa.array(["s0", "S1", " S0", "s1 ", "S0", "S1"])
    yield "several spellings", table.set_column(1, "symbol", spelled)
    yield "run-end encoded", table.set_column(0, "vendor", pa.compute.run_end_encode(table["vendor"].combine_chunks()))
    for unit in ("s", "ms", "us", "ns"):
        for zone in ("America/New_York", "UTC", None):
            form = pa.timestamp(unit, zone)
            times = table["ts"].cast(pa.timestamp(unit, "UTC")).cast(pa.int64()).cast(form)
            yield str(form), table.set_column(3, "ts", times)
    texts = [time.isoformat() for time in table["ts"].to_pylist()]
    yield "ISO text", table.set_column(3, "ts", pa.array(texts))
    yield "naive ISO text", table.set_column(3, "ts", pa.array([text.removesuffix("+00:00") for text in texts]))
    closes = table["close_price"].to_pylist()
    for form in (pa.decimal128(10, 3), pa.decimal256(40, 5), pa.float32(), pa.float16(), pa.string()):
        values = [str(close) for close in closes] if form == pa.string() else closes
        if pa.types.is_decimal(form):
            values = [Decimal(str(close)) for close in closes]
        yield str(form), table.set_column(4, "close_price", pa.array(values, form))
    yield "columns in another order", table.select(["close_price", "ts", "vendor", "symbol", "timeframe"])
    yield (
        "all the columns there are",
        pa.table({name: table[name] if name in table.column_names else pa.nulls(6) for name in BAR.names}),
    )
    yield "in reverse", table.take(list(range(5, -1, -1)))


AWKWARD = dict(awkward())


@before_the_server
@pytest.mark.parametrize("form", AWKWARD)
def test_frames_with_different_column_types_are_stored_the_same(
    connect: Callable[..., Client], store: Store, form: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode="copy")
    assert client.upsert_bars(AWKWARD[form]) == 6
    assert [(row[1], row[6], row[10]) for row in stored(store)] == EXPECTED


@pytest.mark.parametrize("mode", MODES)
@odd_rows
def test_null_is_accepted_in_every_optional_column(connect: Callable[..., Client], store: Store, mode: str) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    known = str(uuid4())
    table = bars(
        4,
        close_price=pa.array([None, 1.0, None, 2.0]),
        volume=pa.array([1, None, None, 2**62]),
        open_price=pa.nulls(4, pa.float64()),
        id=pa.array([None, known, None, None]),
        tenant_id=pa.array([None, store.tenant_a, None, None]),
    )
    client.upsert_bars(table)
    assert [row[7:13] for row in stored(store)] == [
        (None, None, None, None, 1, None),
        (None, None, None, 1.0, None, UUID(known)),
        (None, None, None, None, None, None),
        (None, None, None, 2.0, 2**62, None),
    ]
    assert stored(store)[0][3:6] == (NOON + timedelta(minutes=3), 2.0, NOON + timedelta(minutes=3))


@before_the_server
@odd_rows
def test_nan_is_null_in_pandas_and_refused_elsewhere(client: Client, store: Store) -> None:
    values = [1.0, float("nan"), 3.0]
    client.upsert_bars(bars().to_pandas().assign(close_price=values, volume=[1.0, None, 3.0]))
    assert [row[10:12] for row in stored(store)] == [(1.0, 1), (None, None), (3.0, 3)]
    for frame in (bars(close_price=values), pl.DataFrame(bars(close_price=values))):
        with pytest.raises(InvalidRow, match=r"row 1: close_price: .*finite"):
            client.upsert_bars(frame)


@before_the_server
def test_a_time_is_truncated_to_microseconds(client: Client, store: Store) -> None:
    times = pa.array([1_704_196_800_000_001_999, -1], pa.timestamp("ns"))
    client.upsert_bars(bars(2, ts=times))
    assert [row[6] for row in stored(store)] == [
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        NOON + timedelta(microseconds=1),
    ]


@odd_rows
def test_the_last_row_wins_when_a_frame_repeats_a_key(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode="copy")
    table = pa.concat_tables([bars(3), bars(2, close_price=[9.0, 8.0]), bars(1, close_price=pa.nulls(1, pa.float64()))])
    assert client.upsert_bars(table) == 6
    # The very last row has no value, and takes none away.
    assert [row[10] for row in stored(store)] == [9.0, 8.0, 2.0]


@before_the_server
def test_an_empty_frame_writes_nothing_but_its_columns_are_checked(client: Client, store: Store) -> None:
    assert client.upsert_bars(bars(0)) == 0
    assert client.upsert_bars(bars(0).to_reader()) == 0
    assert client.upsert_bars(BAR.empty_table()) == 0
    with pytest.raises(InvalidRow, match="no column close"):
        client.upsert_bars(bars(0, close=[]))
    assert store.rows("SELECT FROM store.series") == []


# What is refused

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown column": ({"close": [1.0] * 3}, r"bars have no column close; there are: .*close_price"),
    "an empty symbol": ({"symbol": ["A", " ", ""]}, r"row 1: symbol: .*at least 1 character.*; 2 rows in all"),
    "no symbol": ({"symbol": ["A", None, None]}, r"row 1: symbol: a value is needed; 2 rows in all"),
    "a wrong timeframe": (
        {"timeframe": ["1m", "1m", "1 fortnight"]},
        r"row 2: timeframe: .*a count and a unit.*got '1 fortnight'",
    ),
    "an infinite price": ({"close_price": [1.0, float("-inf"), 0.0]}, r"row 1: close_price: .*finite"),
    "a truth value": ({"close_price": [True, False, True]}, r"row 0: close_price: a truth value.*; 3 rows in all"),
    "text that is no number": ({"close_price": ["1", "2", "12,50"]}, r"row 2: close_price: .*got '12,50'"),
    "a negative volume": ({"volume": [1, -1, 2]}, r"row 1: volume: -1 is no count; .*null_values"),
    "half a trade": ({"trade_count": [1.0, 2.0, 1.5]}, r"row 2: trade_count: .*fractional"),
    "too many trades": ({"trade_count": pa.array([1, 2**63, 1], pa.uint64())}, r"row 1: trade_count: .*less than or"),
    "too many shares": ({"volume": pa.array([1, 2**63, 1], pa.uint64())}, r"row 1: volume: .*stored exactly"),
    "a list": ({"close_price": [[1.0]] * 3}, r"close_price"),
    "no time": ({"ts": pa.array([NOON, None, NOON])}, r"row 1: ts: a value is needed$"),
    "text that is no time": ({"ts": ["2024-01-01", "yesterday", "now"]}, r"row 1: ts: .*; 2 rows in all"),
    "a time after the year 9999": ({"ts": pa.array([0, 2**40, 0], pa.timestamp("s"))}, r"ts"),
    "an id that is none": ({"id": [None, "x", None]}, r"row 1: id: 'x' is not a uuid"),
    "a NUL character": ({"vendor": ["v", "v\0", "v"]}, r"row 1: vendor: .*NUL"),
}


@before_the_server
@pytest.mark.parametrize("what", REFUSED)
def test_invalid_rows_are_rejected_with_the_column_the_first_row_and_their_count(
    client: Client, store: Store, what: str
) -> None:
    columns, message = REFUSED[what]
    with pytest.raises(InvalidRow, match=message):
        client.upsert_bars(bars(**columns))
    assert store.rows("SELECT FROM store.series") == []


@before_the_server
def test_missing_required_columns_are_named(client: Client) -> None:
    with pytest.raises(InvalidRow, match="bars need a column symbol, ts"):
        client.upsert_bars(bars().drop_columns(["symbol", "ts"]))


@before_the_server
def test_rows_of_another_tenant_in_a_frame_are_refused_before_anything_is_sent(client: Client, store: Store) -> None:
    with pytest.raises(RLSDenied, match=f"row 1 is of tenant {store.tenant_b}"):
        client.upsert_bars(bars(tenant_id=[store.tenant_a, store.tenant_b, None]))
    assert store.rows("SELECT FROM store.series") == []
    assert client.upsert_bars(bars(tenant_id=[store.tenant_a.upper()] * 3)) == 3


# Other kinds


@pytest.mark.parametrize("mode", MODES)
def test_news_in_a_frame_get_the_same_ids_as_models(connect: Callable[..., Client], store: Store, mode: str) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    news = [
        News(vendor="v", published_at=NOON, title="Up ünd away", symbol="A", sentiment_score=0.5),
        News(vendor="v", published_at=NOON, title="Down", url="https://example.org/" + "x" * 3000),
        News(vendor="w", published_at=NOON, title="Sideways", id=str(uuid4())),
    ]
    client.upsert_news(news)
    expected = stored(store, "news")
    table = table_of(list(news))
    table = table.set_column(table.column_names.index("id"), "id", pa.array([None, None, news[2].id]))
    assert client.upsert_news(table) == 3
    assert stored(store, "news") == expected
    store.execute("DELETE FROM store.news")
    client.upsert_news(table)
    assert stored(store, "news") == expected
    scores = table.drop_columns("sentiment_score").append_column("sentiment_score", pa.array([0.5, 1.5, None]))
    with pytest.raises(InvalidRow, match=r"row 1: sentiment_score: .*less than or equal to 1"):
        client.upsert_news(scores)


@pytest.mark.parametrize("mode", MODES)
def test_options_in_a_frame_are_stored_like_models(connect: Callable[..., Client], store: Store, mode: str) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    options = [
        OptionSnap(
            vendor="v", symbol="A", expiry=date(2024, 3, 15), option_type=side, strike=strike, ts=NOON, iv=0.2, oi=oi
        )
        for strike, oi in ((150.0, 1), (100.5, None))
        for side in ("P", "C")
    ]
    client.upsert_options(options)
    expected = stored(store, "options")
    store.execute("DELETE FROM store.options")
    table = table_of(list(options))
    client.upsert_options(table.set_column(3, "option_type", pa.array([" put", "call", "p", "C"])))
    assert stored(store, "options") == expected
    strikes = pa.array([1.0, -0.5, 0.0, 3.0])
    client.upsert_options(table.set_column(table.column_names.index("strike"), "strike", strikes))


# As people have them

ALWAYS = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))

CLOSES = pd.DataFrame(
    {
        "vendor": "v",
        "symbol": "A",
        "timeframe": "1d",
        "ts": pd.date_range("2024-01-02", periods=5, tz="UTC"),
        "close_price": [1.0, None, 3.0, 4.0, 5.0],
    }
)

CUT: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], list[float]]] = {
    "dropna": (lambda frame: frame.dropna(), [1.0, 3.0, 4.0, 5.0]),
    "query": (lambda frame: frame.query("close_price > 3"), [4.0, 5.0]),
    "drop_duplicates": (lambda frame: pd.concat([frame, frame]).drop_duplicates().dropna(), [1.0, 3.0, 4.0, 5.0]),
    "concat": (lambda frame: pd.concat([frame[3:], frame[:1]]), [1.0, 4.0, 5.0]),
    "an index that is named": (lambda frame: frame.dropna().set_index("ts"), [1.0, 3.0, 4.0, 5.0]),
    "an index of two levels": (lambda frame: frame.dropna().set_index(["symbol", "ts"]), [1.0, 3.0, 4.0, 5.0]),
}


@pytest.mark.parametrize("cut", CUT)
def test_a_pandas_frame_with_a_filtered_or_changed_index_can_be_written(client: Client, cut: str) -> None:
    change, expected = CUT[cut]
    client.upsert_bars(change(CLOSES))
    assert [row.close_price for row in client.bars_window("A", "1d", *ALWAYS, "v")] == expected


def test_a_parquet_file_that_pandas_wrote_with_a_filtered_index_can_be_loaded(store: Store, tmp_path: Path) -> None:
    CLOSES.dropna().to_parquet(tmp_path / "b.parquet")
    done = load(store.admin_dsn, "a", "bars", str(tmp_path / "b.parquet"), rejects=tmp_path / "r")
    assert (done.rows, done.rejected) == (4, 0)
    # One row is wrong: the others are read one by one, and their index is still no column.
    wrong = CLOSES.dropna().assign(close_price=["1", "x", "3", "4"])
    wrong.to_parquet(tmp_path / "w.parquet")
    done = load(store.admin_dsn, "a", "bars", str(tmp_path / "w.parquet"), rejects=tmp_path / "r")
    assert (done.rows, done.rejected) == (3, 1)


def test_a_pandas_period_is_stored_as_its_start_time(client: Client) -> None:
    client.upsert_bars(CLOSES[:1].assign(ts=pd.period_range("2024-03-01", periods=1, freq="M")))
    (row,) = client.bars_window("A", "1d", *ALWAYS, "v")
    assert row.ts == datetime(2024, 3, 1, tzinfo=UTC)


class Money(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.money")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage: Any, _serialized: bytes) -> "Money":
        return cls()


UNREADABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "a column twice in pandas": (lambda: pd.concat([CLOSES, CLOSES[["ts"]]], axis=1), "ts"),
    "a column twice in Arrow": (
        lambda: pa.Table.from_arrays([pa.array([1.0])] * 2, names=["close_price", "close_price"]),
        "a column comes twice: close_price",
    ),
    "a type that is not known here": (
        lambda: pa.table({"close_price": pa.ExtensionArray.from_storage(Money(), pa.array([100]))}),
        "close_price: values of the extension type tests.money cannot be read",
    ),
    "128 bits": (lambda: pl.from_pandas(CLOSES).with_columns(volume=pl.lit(1, pl.Int128)), "volume|i128"),
}


@before_the_server
@pytest.mark.parametrize("what", UNREADABLE)
def test_an_unreadable_frame_raises_invalid_row_and_names_the_column(client: Client, what: str) -> None:
    make, message = UNREADABLE[what]
    frame = make()
    if isinstance(frame, pa.Table):
        for name in ("vendor", "symbol", "timeframe", "ts"):
            if name not in frame.column_names:
                frame = frame.append_column(name, pa.array(["2024-01-02" if name == "ts" else "1d"]))
    with pytest.raises(InvalidRow, match=message):
        client.upsert_bars(frame)


# Streams


def test_a_stream_is_written_in_transactions_of_chunk_rows(client: Client, store: Store) -> None:
    table = bars(25)
    assert client.upsert_bars(table.to_reader(max_chunksize=4), chunk_rows=10) == 25
    assert client.upsert_bars((bar for bar in bars(25, start=25).to_pylist()), chunk_rows=10) == 25
    assert client.upsert_bars(bars(25, start=50), chunk_rows=10) == 25
    assert store.rows("SELECT count(*) FROM store.bars GROUP BY xmin ORDER BY min(ts)") == [
        (10,), (10,), (5,), (10,), (10,), (5,), (25,),
    ]  # fmt: skip


def test_a_stream_that_fails_keeps_the_earlier_chunks_and_reports_their_rows(client: Client, store: Store) -> None:
    table = bars(25, volume=[*range(24), -1])
    with pytest.raises(InvalidRow, match="row 24: volume") as caught:
        client.upsert_bars(table.to_reader(max_chunksize=7), chunk_rows=10)
    assert caught.value.index == 24
    assert caught.value.__notes__ == ["the 20 rows before are written"]
    assert store.rows("SELECT count(*) FROM store.bars") == [(20,)]


def test_a_transient_error_from_the_row_source_is_not_taken_for_the_end_of_the_stream(
    client: Client, store: Store
) -> None:
    def source() -> Iterator[Any]:
        yield from bars(15).to_pylist()
        raise RetryableError("the source is gone")

    with pytest.raises(RetryableError, match="the source is gone"):
        client.upsert_bars(source(), chunk_rows=10)
    assert store.rows("SELECT count(*) FROM store.bars") == [(10,)]


def test_a_lost_connection_repeats_the_chunk_and_not_the_stream(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, retry_base_ms=1, max_attempts=2)
    ends = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'mds_service' AND datname = current_database()"
    )

    def source() -> Iterator[Any]:
        for number, row in enumerate(bars(50).to_pylist()):
            if number % 10 == 5:
                # More often in all than a call is tried.
                store.rows(ends)
            yield row

    assert client.upsert_bars(source(), chunk_rows=10) == 50
    assert [row[10] for row in stored(store)] == [float(minute) for minute in range(50)]


@pytest.mark.every_engine
def test_a_stream_within_a_transaction_is_committed_with_it(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, write_mode="copy") as mds:
        with pytest.raises(InvalidRow), mds.transaction() as transaction:
            transaction.upsert_bars(iter([*bars(25).to_pylist(), {}]), chunk_rows=10)
        assert store.rows("SELECT FROM store.bars") == []
        with mds.transaction() as transaction:
            transaction.upsert_bars(bars(25))
            transaction.upsert_bars(bars(20, close_price=[7.0] * 20))
        assert store.rows("SELECT count(*) FROM store.bars WHERE close_price = 7") == [(20,)]


# The append path


@pytest.mark.every_engine
def test_batches_of_newer_and_older_rows_are_written_completely(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode="copy")
    client.upsert_bars(bars(3, symbols=2))
    client.upsert_bars(bars(3, symbols=3, start=3))
    client.upsert_bars(bars(3, symbols=3, start=5))
    assert store.rows("SELECT count(*), sum(close_price) FROM store.bars") == [(21, 83.25)]


@pytest.mark.parametrize("on_conflict", ON_CONFLICT)
@pytest.mark.parametrize("as_frame", [True, False])
@pytest.mark.every_engine
def test_a_batch_is_merged_if_a_row_expected_to_be_new_already_exists(
    connect: Callable[..., Client], store: Store, on_conflict: str, as_frame: bool
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode="copy")
    client.upsert_bars(bars(3))
    # As if another writer were between its rows and its last values.
    store.execute("UPDATE store.series SET last_ts = NULL")
    again = bars(5, close_price=[9.0] * 5, volume=[1] * 5)
    assert client.upsert_bars(again if as_frame else again.to_pylist(), on_conflict=on_conflict) == 5
    assert [row[10:12] for row in stored(store)] == {
        "replace": [(9.0, 1)] * 5,
        "keep": [(0.0, None), (1.0, None), (2.0, None), (9.0, 1), (9.0, 1)],
        "fill": [(9.0, 1)] * 5,
    }[on_conflict]


# Frames out


def window(store: Store, client: Client, symbol: str = "S0") -> Query:
    select = (
        b"SELECT " + sql.selected(BARS).as_bytes(None) + b" FROM mds.bars"
        b" WHERE series_id = (SELECT series_id FROM mds.series WHERE symbol = %s) ORDER BY ts"
    )
    return Query(BARS, select, (symbol,), ("v", symbol, "1m"))


def test_a_window_is_read_as_a_frame_with_the_types_of_the_kind(client: Client, store: Store) -> None:
    client.upsert_bars(bars(3))
    table = client.run(arrow.frame("window", window(store, client)))
    names = pa.dictionary(pa.int32(), pa.string())
    time = pa.timestamp("us", "UTC")
    values = [pa.float64()] * 6 + [pa.int64()]
    assert table.schema.types == [names, time, *values] + [names] * 2 + [pa.string()]
    last: dict[str, Any] = {
        "vendor": "v",
        "symbol": "S0",
        "timeframe": "1m",
        "ts": NOON + timedelta(minutes=2),
        "close_price": 2.0,
    }
    assert table.to_pylist()[2] == Bar(**last).model_dump(exclude={"tenant_id"})
    empty = client.run(arrow.frame("window", window(store, client, "NOPE")))
    assert (empty.num_rows, empty.schema) == (0, table.schema)
    assert client.upsert_bars(table) == 3


@pytest.mark.parametrize("nulls", ["some", on_tables("none"), on_tables("all")])
@pytest.mark.every_engine
@odd_rows
def test_a_frame_is_read_back_as_written_with_any_mix_of_nulls(client: Client, store: Store, nulls: str) -> None:
    size, random = 30_000, np.random.default_rng(1)

    def some(values: Any, type_: pa.DataType) -> pa.Array:
        mask = {"none": np.zeros(size, bool), "some": random.random(size) < 0.3, "all": np.ones(size, bool)}[nulls]
        return pa.array(values, type_, mask=mask)

    table = bars(
        size,
        open_price=some(random.random(size), pa.float64()),
        close_price=some(random.random(size), pa.float64()),
        volume=some(random.integers(0, 2**53, size) / 64, pa.float64()),
        trade_count=some(random.integers(0, 2**62, size), pa.int64()),
        id=some([str(UUID(int=int(number))) for number in random.integers(0, 2**62, size)], pa.string()),
    )
    client.upsert_bars(table)
    read = client.run(arrow.frame("window", window(store, client)))
    for name in table.column_names:
        assert read[name].cast(table.schema.field(name).type).to_pylist() == table[name].to_pylist(), name


@pytest.mark.every_engine
def test_rows_of_many_series_are_read_with_their_names(client: Client, store: Store) -> None:
    client.upsert_bars(bars(3, symbols=4))
    names = store.rows("SELECT series_id, vendor, symbol, timeframe FROM store.series")
    query = Query(
        BARS,
        b"SELECT series_id, close_price FROM mds.bars ORDER BY ts, close_price",
        (),
        {series_id: tuple(name) for series_id, *name in names},
        (BARS.column("close_price"),),
    )
    assert client.run(arrow.frame("all", query)).to_pylist() == [
        {
            "vendor": "v",
            "symbol": f"S{symbol}",
            "timeframe": "1m",
            "close_price": minute + symbol / 8,
        }
        for minute in range(3)
        for symbol in range(4)
    ]


def test_text_of_any_length_is_read(client: Client, store: Store) -> None:
    kind = KINDS["news"]
    titles = ["x", "ünï", "long" * 1000, "y"]
    news = [
        {"vendor": "v", "published_at": NOON + timedelta(minutes=at), "title": title, "url": title if at % 2 else None}
        for at, title in enumerate(titles)
    ]
    client.upsert_news(news)
    columns = (kind.column("title"), kind.column("url"), kind.column("published_at"))
    query = Query(kind, b"SELECT title, url, published_at FROM mds.news ORDER BY published_at", (), ("v",), columns)
    table = client.run(arrow.frame("news", query))
    table.validate(full=True)
    assert table["title"].to_pylist() == titles
    assert table["url"].to_pylist() == [None, "ünï", None, "y"]
    assert table["published_at"].to_pylist()[3] == NOON + timedelta(minutes=3)


def test_a_frame_is_arrow_pandas_or_polars(client: Client, store: Store) -> None:
    client.upsert_bars(bars(2, volume=[None, 7], trade_count=[None, 3]))
    query = window(store, client)
    pandas = client.run(arrow.frame("window", query, "pandas"))
    assert isinstance(pandas, pd.DataFrame)
    assert pandas["trade_count"].tolist() == [pd.NA, 3]
    assert str(pandas["volume"].dtype) == "float64"
    assert pandas["volume"].tolist()[1] == 7.0
    assert pandas["ts"].tolist() == [pd.Timestamp(NOON), pd.Timestamp(NOON + timedelta(minutes=1))]
    polars = client.run(arrow.frame("window", query, "polars"))
    assert isinstance(polars, pl.DataFrame)
    assert polars["close_price"].to_list() == [0.0, 1.0]
    for frame in (pandas, polars):
        assert client.upsert_bars(frame) == 2


def streamed(client: Client, stream: Stream[Any], limit: int | None = None) -> list[Any]:
    """The parts of a stream, left after so many."""
    if not isinstance(client, Waiting):
        parts = client.stream(stream)
        found = list(islice(parts, limit))
        parts.close()
        return found

    async def read() -> list[Any]:
        found = []
        parts: Any = client._client.stream(stream)
        async for part in parts:
            found.append(part)
            if len(found) == limit:
                break
        await parts.aclose()
        return found

    return client.wait(read())


def test_batches_are_streamed_one_by_one_and_the_iteration_can_stop_early(
    connect: Callable[..., Client], store: Store
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_min=1, pool_max=1)
    client.upsert_bars(bars(60_000))
    query = window(store, client)
    whole = client.run(arrow.frame("window", query))
    parts = streamed(client, arrow.batches("window", query))
    assert len(parts) > 2
    assert pa.Table.from_batches(parts).equals(whole)
    assert streamed(client, arrow.batches("window", query), limit=1) == parts[:1]
    # The one connection there is can be used again.
    assert client.bars_window("S0", "1m", NOON, NOON + timedelta(minutes=1), "v")[0].close_price == 0.0


@pytest.mark.every_engine
def test_an_error_during_copy_is_a_library_error_and_leaves_the_connection_usable(
    connect: Callable[..., Client], store: Store
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_min=1, pool_max=1)
    columns = (BARS.column("volume"),)
    select = b"SELECT 100 / (90000 - n)::bigint FROM generate_series(1, 100000) n"
    query = Query(BARS, select, (), ("v", "S0", "1m"), columns)
    with pytest.raises(MDSOperationalError, match="division by zero"):
        client.run(arrow.frame("broken", query))
    with pytest.raises(MDSOperationalError, match="division by zero"):
        streamed(client, arrow.batches("broken", query))
    assert client.health()


@before_the_server
def test_a_frame_is_encoded_outside_the_event_loop_thread(store: Store) -> None:
    table = bars(200, symbols=100)
    seen: set[int] = set()

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in table.to_batches(max_chunksize=1000):
            seen.add(threading.get_ident())
            yield batch

    async def write() -> int:
        async with AMDS(dsn=store.dsn, tenant_id=store.tenant_a) as amds:
            return await amds.upsert_bars(pa.RecordBatchReader.from_batches(table.schema, batches()))

    assert asyncio.run(write()) == table.num_rows
    # How long the loop is held up by the rest is measured by the benchmarks.
    assert threading.get_ident() not in seen
