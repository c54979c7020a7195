"""Columns without a server: what a binary COPY of them is, how it is read back, and how rows are put in order."""

import subprocess
import sys
from array import array
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mds_client import KINDS, ConfigurationError, sql
from mds_client.columns import arrow, decoding
from mds_client.columns.frames import Frame, chunks
from mds_client.protocol.operations import SeriesName
from tests.conftest import odd_rows

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
BARS, OPTIONS = KINDS["bars"], KINDS["options"]
IDS: dict[SeriesName, int] = {("v", symbol, "1m"): number for symbol, number in (("A", 9), ("B", 7), ("C", 8))}

price = st.none() | st.floats(allow_nan=False, allow_infinity=False)
bar = st.fixed_dictionaries(
    {
        "vendor": st.just("v"),
        "symbol": st.sampled_from("ABC"),
        "timeframe": st.just("1m"),
        "ts": st.integers(-5, 5).map(lambda minute: NOON + timedelta(minutes=minute)),
        "close_price": price,
        "high_price": price,
        "volume": st.none() | st.floats(0, 2**62),
        "trade_count": st.none() | st.integers(0, 2**63 - 1),
        "id": st.none() | st.uuids().map(str),
    }
)
SCHEMA = pa.schema(
    {
        "vendor": pa.string(),
        "symbol": pa.string(),
        "timeframe": pa.string(),
        "ts": pa.timestamp("us", "UTC"),
        "close_price": pa.float64(),
        "high_price": pa.float64(),
        "volume": pa.float64(),
        "trade_count": pa.int64(),
        "id": pa.string(),
    }
)


def expected(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Narrow rows, made as plainly as can be."""
    by_key = {}
    valued = set()
    for row in rows:
        values = [UUID(row["id"]) if name == "id" and row["id"] else row.get(name) for name in BARS.column_names]
        key = IDS["v", row["symbol"], "1m"], row["ts"]
        # A row without any value replaces none that has one.
        if any(row.get(name) is not None for name in BARS.measured):
            valued.add(key)
        elif key in valued:
            continue
        by_key[key] = (key[0], *values)
    return [by_key[key] for key in sorted(by_key)]


@settings(max_examples=60, deadline=None)
@given(st.lists(bar, min_size=1, max_size=40))
@odd_rows
def test_rows_are_sorted_and_the_last_row_of_each_key_is_kept(rows: list[dict[str, Any]]) -> None:
    frame = Frame(BARS, pa.Table.from_pylist(rows, SCHEMA))
    narrow = frame.narrow({name: IDS[name] for name in frame.names})
    assert narrow.rows() == expected(rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(bar, min_size=1, max_size=40))
@odd_rows
def test_encoded_rows_decode_to_the_same_rows(rows: list[dict[str, Any]]) -> None:
    frame = Frame(BARS, pa.Table.from_pylist(rows, SCHEMA))
    narrow = frame.narrow({name: IDS[name] for name in frame.names})
    blocks = narrow.copied(b"").blocks
    assert blocks is not None
    taken, lengths = messages(b"".join(blocks))
    columns = [replace(column, nullable=True) for column in sql.stored_columns(BARS)]
    at = next(at for at, column in enumerate(columns) if column.type == "uuid")
    if any(row[at] for row in narrow.rows()):
        return  # a uuid is read as text
    columns[at] = replace(columns[at], type="bigint")
    arrays = decoding.arrays_of(columns, taken, lengths, first=True)
    assert list(zip(*(array.to_pylist() for array in arrays), strict=True)) == narrow.rows()


def messages(data: bytes) -> tuple[bytearray, "array[int]"]:
    """A binary COPY as the server sends it: a message a row, the header with the first, the trailer alone."""
    at, lengths = 19, array("i")
    begin = 0
    while (fields := int.from_bytes(data[at : at + 2], signed=True)) >= 0:
        at += 2
        for _ in range(fields):
            at += 4 + max(0, int.from_bytes(data[at : at + 4], signed=True))
        lengths.append(at - begin)
        begin = at
    lengths.append(2 if lengths else 21)
    return bytearray(data), lengths


@odd_rows
def test_last_values_come_from_the_newest_row_and_newest_price_of_each_series() -> None:
    rows = [
        {
            "vendor": "v",
            "symbol": symbol,
            "timeframe": "1m",
            "ts": NOON + timedelta(minutes=minute),
            "close_price": close,
        }
        for symbol, minute, close in [("A", 2, None), ("A", 1, 1.5), ("A", 0, 1.0), ("B", 0, None), ("C", 0, 3.0)]
    ]
    narrow = Frame(BARS, pa.Table.from_pylist(rows)).narrow(IDS)
    found = {
        id_: (
            new.first_ts.minute,
            new.last_ts.minute,
            new.price_ts and new.price_ts.minute,
            new.price,
            new.has_unpriced,
        )
        for id_, new in narrow.latest.items()
    }
    assert found == {9: (0, 2, 1, 1.5, True), 7: (0, 0, None, None, True), 8: (0, 0, 0, 3.0, False)}


@odd_rows
def test_options_are_sorted_by_the_whole_key() -> None:
    keys = [(2, "P", 10.0), (2, "C", 20.0), (1, "P", 10.0), (2, "C", 10.0), (1, "P", 10.0)]
    rows = [
        {
            "vendor": "v",
            "symbol": "A",
            "ts": NOON,
            "expiry": date(2024, 3, day),
            "option_type": side,
            "strike": strike,
            "oi": at,
        }
        for at, (day, side, strike) in enumerate(keys)
    ]
    narrow = Frame(OPTIONS, pa.Table.from_pylist(rows)).narrow({("v", "A", "A"): 1})
    contracts = [(row[2].day, row[3], row[4], row[8]) for row in narrow.rows()]
    assert contracts == [(1, "P", 10.0, 4), (2, "C", 10.0, 3), (2, "C", 20.0, 1), (2, "P", 10.0, 0)]
    assert narrow.copied(b"").blocks is not None


def test_a_stream_is_split_into_frames_of_the_requested_size() -> None:
    table = pa.Table.from_pylist(
        [{"vendor": "v", "symbol": "A", "timeframe": "1m", "ts": NOON + timedelta(minutes=at)} for at in range(23)]
    )
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))
    assert [len(frame) for frame in chunks(BARS, reader, 5)] == [5, 5, 5, 5, 3]


def test_converting_to_an_unknown_frame_type_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="a frame is arrow, pandas, polars; not 'spark'"):
        arrow.as_frame(pa.table({}), "spark")  # type: ignore[arg-type]


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
import mds_client
from mds_client.writing.upserts import upsert
class Frame:
    def __arrow_c_stream__(self, requested_schema=None): ...
try:
    from mds_client.columns import arrow, decoding
    arrow.check("polars")
except mds_client.ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (["pyarrow"], "frames need pyarrow, which is not installed: install the extra arrow (see Installing)"),
        (["polars"], "polars is not installed: pip install polars"),
    ],
)
def test_a_package_that_is_missing_is_named_with_what_to_install(missing: list[str], said: str) -> None:
    code = WITHOUT.format(missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said in done.stdout


def test_the_library_itself_needs_neither_numpy_nor_pyarrow() -> None:
    code = "import sys, mds_client; print(sorted({'numpy', 'pyarrow', 'pandas', 'polars'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
