"""Rows that are read into columns are the rows that the models make, one by one: lists and NDJSON. No server."""

import io
import json
import re
import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mds_client import Bar, DataQualityWarning, InvalidRow
from mds_client.columns import blocks, tables
from mds_client.columns.blocks import Block, Checked, checked
from mds_client.columns.frames import Frame
from mds_client.columns.rows import HEAVY_ROWS, Rows, batch_of
from mds_client.files import PLAIN as MAPPING
from mds_client.files import Source, readers
from mds_client.schema import KINDS
from tests.conftest import odd_rows

BARS = KINDS["bars"]
BEGIN = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
NEW_YORK = timezone(timedelta(hours=-5))
PLAIN: dict[str, Any] = {"vendor": "v", "symbol": "S", "timeframe": "1m", "ts": BEGIN}

TIMES = [
    BEGIN,
    BEGIN.replace(tzinfo=None),
    BEGIN.astimezone(NEW_YORK),
    BEGIN + timedelta(microseconds=1),
    pandas.Timestamp(BEGIN),
    BEGIN.isoformat(),
    "2024-01-02",
    date(2024, 1, 2),
    1_704_205_800,
    1_704_205_800.25,
    datetime.max.replace(tzinfo=NEW_YORK),
    "yesterday",
    None,
    True,
]
NUMBERS = [
    1,
    1.5,
    -0.0,
    2**53 + 1,
    2**63,
    1e308,
    float("nan"),
    float("inf"),
    True,
    "1.5",
    " 2 ",
    "x",
    Decimal("1.50"),
    None,
    b"1",
]
NAMES = ["S", " s ", "\u00df", "", " ", "a\0b", "x" * 256, "\ud800", 5, b"S", None, True]
IDS = [None, str(UUID(int=1)), UUID(int=1), "{00000000-0000-0000-0000-000000000002}", "no", 1]
ROWS = st.fixed_dictionaries(
    {
        "vendor": st.sampled_from(["v", "w", *NAMES]),
        "symbol": st.sampled_from(NAMES),
        "timeframe": st.sampled_from(["1m", "1d", "", "1 m", None]),
        "ts": st.sampled_from(TIMES),
    },
    optional={
        "open_price": st.sampled_from(NUMBERS),
        "close_price": st.sampled_from(NUMBERS),
        "volume": st.sampled_from(NUMBERS),
        "id": st.sampled_from(IDS),
        "tenant_id": st.sampled_from(IDS),
        "unknown": st.just(1),
    },
)
FEW = st.lists(
    st.one_of(ROWS, st.just(PLAIN), st.just({**PLAIN, "close_price": 1.5, "volume": 3})), min_size=1, max_size=4
)


def content(batch: Any) -> tuple[Any, Any, list[Any]]:
    """What a batch would write."""
    ids = {name: number for number, name in enumerate(sorted(batch.names), start=1)}
    narrow = batch.narrow(ids)
    # Columns have every amount as a float, and models have whole ones as an int, which has no negative zero: both are
    # written alike.
    at = 1 + BARS.column_names.index("volume")
    rows = [(*row[:at], None if row[at] is None else float(row[at]) + 0.0, *row[at + 1 :]) for row in narrow.rows()]
    return ids, dict(batch.claimed()), [*rows, sorted(narrow.latest.items())]


def row_by_row(rows: list[Any]) -> Any:
    try:
        return content(Rows(BARS, rows))
    except InvalidRow as error:
        return str(error)


@settings(max_examples=600, deadline=None)
@given(FEW)
@odd_rows
def test_dictionaries_read_in_columns_give_the_same_rows_as_one_by_one(rows: list[Any]) -> None:
    table = tables.of_rows(BARS, rows)
    if table is None:
        return
    try:
        found = content(Frame(BARS, table))
    except InvalidRow:
        # Then they are read row by row: nothing to compare.
        return
    assert repr(found) == repr(row_by_row(rows))


@pytest.mark.parametrize("wrap", [dict, lambda values: Bar(**values)], ids=["dictionaries", "models"])
def test_many_plain_rows_are_read_into_columns(wrap: Any) -> None:
    rows = [wrap({**PLAIN, "ts": BEGIN + timedelta(minutes=number), "volume": number}) for number in range(HEAVY_ROWS)]
    batch = batch_of(BARS, rows)
    assert isinstance(batch, Frame)
    assert content(batch) == content(Rows(BARS, rows))


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"volume": True}, "row 999: volume: a truth value is not a number"),
        ({"open_price": float("nan")}, "row 999: open_price: Input should be a finite number"),
        ({"unknown": 1}, "row 999: unknown: Extra inputs are not permitted"),
        ({"symbol": None}, "row 999: symbol: Input should be a valid string"),
    ],
)
def test_one_invalid_row_among_many_is_reported_with_its_index_and_reason(odd: dict[str, Any], said: str) -> None:
    rows = [PLAIN] * (HEAVY_ROWS - 1) + [{**PLAIN, **odd}]
    with pytest.raises(InvalidRow) as many:
        batch_of(BARS, rows)
    assert str(many.value).startswith(said)
    assert many.value.index == HEAVY_ROWS - 1


@pytest.mark.parametrize("odd", [{"open_price": Decimal("1.5")}, {"ts": pandas.Timestamp(BEGIN)}, {"volume": "7"}])
@odd_rows
def test_values_that_only_the_model_can_read_are_read_by_it(odd: dict[str, Any]) -> None:
    rows = [{**PLAIN, "ts": BEGIN + timedelta(minutes=number)} for number in range(HEAVY_ROWS)] + [{**PLAIN, **odd}]
    assert content(batch_of(BARS, rows)) == content(Rows(BARS, rows))


def test_suspicious_rows_give_one_warning_with_their_count_and_models_no_second() -> None:
    with pytest.warns(DataQualityWarning) as warned:
        bars = [Bar(**PLAIN, high_price=1, low_price=2)]
    bars += [Bar(**{**PLAIN, "ts": BEGIN + timedelta(minutes=number)}) for number in range(1, HEAVY_ROWS)]
    (told,) = warned
    wrong = [{**PLAIN, "high_price": 1.0, "low_price": 2.0}] * HEAVY_ROWS
    with pytest.warns(DataQualityWarning, match=re.escape(f"row 0: {told.message}; {HEAVY_ROWS} rows in all")):
        batch_of(BARS, wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(batch_of(BARS, bars), Frame)


PLAIN_LINE = json.dumps({**PLAIN, "ts": BEGIN.isoformat(), "close_price": 1.5, "volume": 3})

LINES = st.one_of(
    st.just(PLAIN_LINE),
    ROWS.map(lambda row: json.dumps(row, default=str)),
    st.sampled_from(
        [
            *("", "  ", "# a remark", "{", "}", "[]", "null", "1", "\ufeff{}", "{}{}", '{"a":{}', '{"a":1,', '"b":2}'),
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z","volume":1.0}',
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z","volume":1.5}',
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z","volume":1,"volume":2}',
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z","open_price":1e400}',
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z","open_price":12345678901234567890}',
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z","open_price":NaN}',
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z","open_price":"1.25"}',
            '{"vendor":"v","symbol":"S","timeframe":"1m","ts":1704153600}',
            '{"vendor":"v","symbol":"S\\u0000","timeframe":"1m","ts":"2024-01-02T00:00:00Z"}',
            '{"vendor":"v","symbol":"S\\ud800","timeframe":"1m","ts":"2024-01-02T00:00:00Z"}',
            '{"vendor":"v","symbol":"2024-01-02","timeframe":"1m","ts":"2024-01-02T00:00:00.1234567Z"}',
            ' {"vendor":"v","symbol":"S","timeframe":"1m","ts":"2024-01-02T00:00:00Z"} ',
        ]
    ),
)


def outcome(found: Checked) -> Any:
    rejects = [(number, why) for number, why, _ in found.rejects]
    return found.lines, rejects, None if found.batch is None else content(found.batch)


@settings(max_examples=800, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=4), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(1, 10**6))
@odd_rows
def test_a_block_read_in_columns_gives_the_same_rows_and_rejects_as_line_by_line(
    lines: list[str], end: str, ended: bool, first: int
) -> None:
    block = Block(first, (end.join(lines) + (end if ended else "")).encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_in_columns", lambda _kind, _block, _mapping: None)
        expected = outcome(checked(BARS, block))
    assert repr(outcome(checked(BARS, block))) == repr(expected)


def test_a_block_of_plain_lines_is_read_into_columns() -> None:
    line = json.dumps({**PLAIN, "ts": BEGIN.isoformat(), "close_price": 1.5}).encode() + b"\n"
    assert isinstance(checked(BARS, Block(1, line * 3)).batch, Frame)
    assert isinstance(checked(BARS, Block(1, line * 3 + b"# remark\n")).batch, Rows)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=12), st.integers(2, 400), st.integers(1, 12))
@odd_rows
def test_blocks_that_are_joined_in_one_part_are_the_same_rows_and_rejects_as_their_lines_one_by_one(
    lines: list[str], size: int, most: int
) -> None:
    # The first line is plain: with others, an input can be a JSON array.
    data = "\n".join([PLAIN_LINE, *lines]).encode("utf-8", "surrogatepass")
    expected: list[Any] = []
    refused: list[tuple[int, str]] = []
    for number, line in Block(1, data).lines():
        try:
            expected.append(blocks.coerce(BARS, line))
        except InvalidRow as error:
            refused.append((number, str(error)))
    rows: list[Any] = []
    rejects: list[tuple[int, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BLOCK_BYTES", size + max(map(len, data.split(b"\n"))))
        for part in readers.LinesInput(BARS, lines_of(data), MAPPING).parts(
            most, lambda at, why, _: rejects.append((at, why))
        ):
            models = part.sifted(lambda *_: None).rows
            assert len(models) <= most
            # Positions in the input, by which the tenants are told, are not those in the part.
            assert repr(content(part.batch())[::2]) == repr(content(Rows(BARS, models))[::2])
            assert [row for piece in part.pieces(2) for row in piece.sifted(lambda *_: None).rows] == models
            rows += models
    assert (repr(rows), rejects) == (repr(expected), refused)


def lines_of(data: bytes) -> Source:
    return Source("lines", io.BytesIO(data))


def test_small_blocks_of_lines_are_written_together_and_an_invalid_line_parts_only_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def line(number: int, volume: Any = 1) -> bytes:
        ts = (BEGIN + timedelta(minutes=number)).isoformat()
        return json.dumps({**PLAIN, "ts": ts, "volume": volume}).encode() + b"\n"

    monkeypatch.setattr(readers, "BLOCK_BYTES", 2 * len(line(1)))
    data = b"".join(line(number, 1.5 if number == 5 else 1) for number in range(12))
    (part,) = readers.LinesInput(BARS, lines_of(data), MAPPING).parts(100, lambda *_: pytest.fail("rejected"))
    assert isinstance(part.batch(), Frame)
    rejects: list[int] = []
    data = b"".join(line(number, "x" if number == 6 else 1) for number in range(12)) + b"{\n" + line(13)
    found = readers.LinesInput(BARS, lines_of(data), MAPPING).parts(100, lambda at, *_: rejects.append(at))
    counts = [(type(part.batch()), len(part.batch())) for part in found]
    assert sum(count for _, count in counts) == 12
    assert {type_ for type_, count in counts if count > 1} == {Frame}
    assert rejects == [7, 13]


TEXTS = [
    "2024-01-02", "2024-01-02T14", "2024-01-02 14:30", "2024-01-02T14:30:00", "2024-01-02T14:30:00.5",
    "2024-01-02T14:30:00.123456", "2024-01-02T14:30:00.1234567", "2024-01-02T14:30:00Z", "2024-01-02 14:30Z",
    "2024-01-02T14:30:00+05:30", "2024-01-02T14:30:00-0500", "2024-01-02T14:30:00+05", "2024-01-02T14:30:00 +05:30",
    "2024-01-02T14:30:00 America/New_York", "2024-01-02T24:00:00", "2024-01-02T23:59:60", "2024-02-30", "2024-1-2",
    "20240102", "20240102T143000Z", " 2024-01-02", "2024-01-02t14:30:00z", "0000-01-01", "0001-01-01", "1699-12-31",
    "1700-01-01T00:00:00+01:00", "1700-01-01", "2261-12-31T23:59:59.999999Z", "2262-01-01", "9999-12-31T23:59:59-23:59",
    "2024-01-02Z", "2024-01-02T14:30:00+24:00", "2024-01-02T14:30:00+05:60", "1704205800", "", "x",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TEXTS), st.datetimes().map(str), st.none()), min_size=1, max_size=3))
def test_times_that_are_text_in_a_column_are_those_that_the_model_reads(texts: list[str | None]) -> None:
    names = {name: [value] * len(texts) for name, value in PLAIN.items() if name != "ts"}
    table = pa.table({**names, "ts": pa.array(texts, pa.string())})
    try:
        expected = [Bar(**{**PLAIN, "ts": text}).ts for text in texts]
    except ValueError:
        with pytest.raises(InvalidRow, match="ts"):
            Frame(BARS, table)
    else:
        assert Frame(BARS, table)._columns["ts"].python() == expected
