"""Rows that are read into columns are the rows that the models make, one by one: lists and NDJSON. No server."""

import json
import re
import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mds_client import Bar, DataQualityWarning, InvalidRow
from mds_client.columns import blocks, tables
from mds_client.columns.blocks import Block, Checked, checked
from mds_client.columns.frames import Frame
from mds_client.columns.rows import HEAVY_ROWS, Rows, batch_of
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
def test_dictionaries_in_columns_are_the_same_rows_and_what_is_none_is_left_to_the_model(rows: list[Any]) -> None:
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
def test_one_wrong_row_among_many_is_named_as_it_is_among_few(odd: dict[str, Any], said: str) -> None:
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


def test_rows_that_look_wrong_are_warned_of_once_with_their_number_and_models_not_again() -> None:
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


LINES = st.one_of(
    st.just(json.dumps({**PLAIN, "ts": BEGIN.isoformat(), "close_price": 1.5, "volume": 3})),
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
def test_a_block_in_columns_is_the_same_rows_and_rejects_as_its_lines_one_by_one(
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
