"""What comes packed into arrays is what comes row by row, also where an answer is cut into pieces."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
import pytest

from mds_client import KINDS, MDS, Bar, Fundamentals, News, OptionSnap, Row
from mds_client.reading import packed
from tests.conftest import Client, Store

NOON: Final = datetime(2024, 1, 2, 12, tzinfo=UTC)

ROWS: Final[dict[str, list[Row]]] = {
    "bars": [
        Bar(
            vendor="v",
            symbol=symbol,
            timeframe="1m",
            ts=NOON + timedelta(minutes=minute, microseconds=minute),
            close_price=None if minute % 3 == 0 else -0.1 + minute / 3,
            open_price=1e300,
            volume=(None, 2**53 - 0.5, 2**53 - 1, 0)[minute % 4],
            trade_count=2**53 + 1 if minute % 5 else None,
            id=str(UUID(int=minute << 100 | 255)) if minute % 2 else None,
        )
        for minute in reversed(range(20))
        for symbol in ("Z", "B'\"\\", "ÜÑÏ", "A")
    ],
    "fundamentals": [
        Fundamentals(
            vendor="v",
            symbol=symbol,
            asof=NOON + timedelta(days=day),
            eps=-0.25,
            currency=("EUR", "USD", None)[day % 3],
            period=None if day % 2 else "Geschäftsjahr 2024",
            items={"ü" * day: 0.1, "fcf": None} if day % 4 else None,
        )
        for symbol in ("B", "A")
        for day in range(9)
    ],
    "news": [
        News(
            vendor=vendor,
            published_at=NOON + timedelta(minutes=number // 4),
            title=f"{number}, 'quoted' \"title\"\nof two lines: {'ü' * number}",
            url=(None, "", "https://localhost/")[number % 3],
            symbol="A" if number % 2 else None,
            sentiment_score=None if number % 3 else -1,
        )
        for number in range(16)
        for vendor in ("w", "v")
    ],
    "options": [
        OptionSnap(
            vendor="v",
            symbol="A",
            expiry=date(2024, 12, 20) if strike > 100 else date(1999, 12, 31),
            option_type=side,
            strike=strike,
            ts=NOON + timedelta(minutes=minute),
            iv=0.25 if strike > 100 else None,
            oi=None if side == "C" else 0.5,
            volume=3,
        )
        for minute in (2, 1)
        for strike in (200, 99.5, -1)
        for side in ("P", "C")
    ],
}


def models(client: Client, kind: str) -> list[dict[str, Any]]:
    """The rows one by one, as plain values."""
    return [row.model_dump(exclude={"tenant_id"}) for batch in client.iter_rows(kind) for row in batch]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few rows, so that a few rows take many."""
    monkeypatch.setattr(packed, "TARGET", 3)
    monkeypatch.setattr(packed, "MOST", 5)


def with_maps(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a frame with maps as models have them: in a frame a map is JSON text."""
    maps = KINDS[kind].maps
    return [{**row, **{name: json.loads(row[name]) for name in maps if row[name] is not None}} for row in rows]


@pytest.mark.parametrize("pieces", ["whole", "split"])
@pytest.mark.parametrize("kind", list(ROWS))
@pytest.mark.every_engine
def test_packed_rows_equal_the_rows_read_one_by_one(
    client: Client, kind: str, pieces: str, request: pytest.FixtureRequest
) -> None:
    if pieces == "split":
        request.getfixturevalue("small")
    client.upsert(kind, ROWS[kind])
    batches = list(client.iter_rows(kind, as_="arrow"))
    assert pieces == "whole" or all(batch.num_rows <= 6 for batch in batches)
    found = with_maps(kind, pa.Table.from_batches(batches).to_pylist())
    expected = models(client, kind)
    assert len(expected) == len(ROWS[kind])
    assert found == [{name: row[name] for name in found[0]} for row in expected]
    assert set(found[0]) == set(expected[0])


def test_columns_without_the_key_are_still_in_key_order(client: Client, small: None) -> None:
    client.upsert("bars", ROWS["bars"])
    found = pa.Table.from_batches(client.iter_rows("bars", as_="arrow", columns=["open_price", "id"])).to_pylist()
    assert found == [{name: row[name] for name in ("open_price", "id")} for row in models(client, "bars")]


@pytest.mark.parametrize("column", ["close_price", "id", "volume"])
def test_a_column_is_read_even_if_its_first_series_are_all_null(client: Client, column: str) -> None:
    value: dict[str, Any] = {"close_price": 2.5, "id": str(UUID(int=7)), "volume": 3.5}
    rows = [
        Bar(vendor="v", symbol=f"S{number:02}", timeframe="1m", ts=NOON, open_price=1,
            **({column: value[column]} if number in (20, 29) else {}))
        for number in range(40)
    ]  # fmt: skip
    client.upsert("bars", rows)
    batches = list(client.iter_rows("bars", as_="arrow"))
    # The server was not asked for the values of the column, and then it was.
    assert len(batches) > 1
    found = pa.Table.from_batches(batches)
    assert found[column].to_pylist() == [getattr(row, column) for row in rows]
    assert found["low_price"].null_count == found.num_rows == 40


def test_a_transaction_can_still_write_after_reading_frames(connect: Callable[..., Any], store: Store) -> None:
    client: MDS = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    client.upsert("bars", ROWS["bars"])
    with client.transaction() as own:
        before = sum(batch.num_rows for batch in own.iter_rows("bars", as_="arrow"))
        own.upsert("bars", [ROWS["bars"][0].model_copy(update={"symbol": "NEW"})])
        after = sum(batch.num_rows for batch in own.iter_rows("bars", as_="arrow"))
    assert (before, after) == (len(ROWS["bars"]), len(ROWS["bars"]) + 1)
