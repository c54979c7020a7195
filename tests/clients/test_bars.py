"""Bars in and out, through both clients, on a real server."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mds_client import Bar, ConfigurationError, DataQualityWarning, InvalidRow, LatestPrice, RLSDenied
from tests.conftest import Client, Store, nothing_there, odd_rows

pytestmark = pytest.mark.every_engine

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
MODES = ("executemany", "values", "copy", "auto")


def bar(minute: int = 0, close: float | None = 1.0, **fields: Any) -> Bar:
    settled = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": NOON + timedelta(minutes=minute), **fields}
    return Bar(close_price=close, **settled)


def window(client: Client, symbol: str = "AAPL") -> list[Bar]:
    bars: list[Bar] = client.bars_window(
        symbol, "1m", datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC), "v"
    )
    return bars


def test_a_bar_comes_back_as_it_was_written(client: Client, store: Store) -> None:
    written = Bar(
        tenant_id=store.tenant_a,
        vendor="ibkr",
        symbol="aapl",
        timeframe="1m",
        ts=datetime(2024, 1, 1, 10, tzinfo=UTC),
        open_price=150.25,
        high_price=151,
        low_price=149.5,
        close_price=150.1 + 0.2,
        volume=2**62,
        id="0E0BC1A6-5E5B-4B0E-9A6B-0B8F6F3C2D11",
    )
    assert client.upsert_bars([written]) == 1
    (read,) = client.bars_window("AAPL", "1m", written.ts, written.ts + timedelta(minutes=1), "ibkr")
    assert read == written
    assert read.symbol == "AAPL"
    assert read.ts.tzinfo is UTC


def test_a_late_row_does_not_change_the_newest_time_of_its_series(client: Client) -> None:
    client.upsert_bars([bar(5, None, volume=1)])
    client.upsert_bars([bar(1, 1.0), bar(3, 3.0)])
    (found,) = client.series()
    assert (found.last_ts, found.last_price) == (NOON + timedelta(minutes=5), 3.0)


@pytest.mark.parametrize("mode", MODES)
@odd_rows
def test_every_write_mode_leaves_the_same_table(connect: Callable[..., Client], store: Store, mode: str) -> None:
    awkward = [
        bar(3, 3.0, volume=0, id="0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"),
        bar(1, None),
        bar(2, -37.63, high_price=1e300, low_price=-1e-300, open_price=0.1),
        bar(1, 1.5, symbol="x" * 200),
        bar(3, 3.5),  # the same key again: the last one wins
        bar(0, 9.0, ts=datetime(1901, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)),
        bar(0, 8.0, ts=datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        bar(0, 1.0, symbol="brk.b", vendor="Ünï 'quoted' \"v\"; --"),
        {"vendor": "v", "symbol": " aapl ", "timeframe": "1d", "ts": "2024-01-02", "close_price": "12.50"},
    ]
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode, values_page_size=3, copy_min_rows=8)
    assert client.upsert_bars(awkward) == len(awkward)
    client.upsert_bars([bar(2, 2.0)])
    assert store.rows(
        "SELECT s.vendor, s.symbol, s.timeframe, b.ts, open_price, high_price, low_price, close_price,"
        " volume, id::text FROM store.bars b JOIN store.series s USING (series_id)"
        " ORDER BY s.vendor, s.symbol, s.timeframe, ts"
    ) == [
        ("v", "AAPL", "1d", datetime(2024, 1, 2, tzinfo=UTC), None, None, None, 12.5, None, None),
        ("v", "AAPL", "1m", datetime(1901, 2, 3, 4, 5, 6, 789012, tzinfo=UTC), None, None, None, 9.0, None, None),
        ("v", "AAPL", "1m", NOON + timedelta(minutes=1), None, None, None, None, None, None),
        ("v", "AAPL", "1m", NOON + timedelta(minutes=2), None, None, None, 2.0, None, None),
        ("v", "AAPL", "1m", NOON + timedelta(minutes=3), None, None, None, 3.5, None, None),
        ("v", "AAPL", "1m", datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), None, None, None, 8.0, None, None),
        ("v", "X" * 200, "1m", NOON + timedelta(minutes=1), None, None, None, 1.5, None, None),
        ("Ünï 'quoted' \"v\"; --", "BRK.B", "1m", NOON, None, None, None, 1.0, None, None),
    ]
    assert store.rows(
        "SELECT vendor, symbol, timeframe, last_ts, last_price, last_price_ts FROM store.series"
        " WHERE timeframe = '1m' AND symbol = 'AAPL'"
    ) == [
        (
            "v",
            "AAPL",
            "1m",
            datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            8.0,
            datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        ),
    ]


@pytest.mark.parametrize("mode", MODES)
@odd_rows
def test_rewriting_the_same_bars_creates_no_new_row_versions(
    connect: Callable[..., Client], store: Store, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    bars = [bar(minute, None if minute % 7 == 0 else minute / 3, symbol=f"S{minute % 5}") for minute in range(100)]
    client.upsert_bars(bars)
    versions = (
        "SELECT 'bars', series_id, ts, ctid::text, xmin::text FROM store.bars UNION ALL"
        " SELECT 'series', series_id, last_ts, ctid::text, xmin::text FROM store.series ORDER BY 1, 2, 3"
    )
    before = store.rows(versions)
    assert client.upsert_bars(list(reversed(bars))) == 100
    assert store.rows(versions) == before
    assert len(before) == 105


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("on_conflict", "left"),
    [
        ("replace", [(0, 5.0, None), (1, None, 11), (2, 7.0, 12)]),
        ("keep", [(0, 1.0, 10), (1, 2.0, None), (2, 7.0, 12)]),
        ("fill", [(0, 5.0, 10), (1, 2.0, 11), (2, 7.0, 12)]),
    ],
)
def test_on_conflict_decides_which_values_are_kept(
    connect: Callable[..., Client], store: Store, mode: str, on_conflict: str, left: list[tuple[int, float, int]]
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert_bars([bar(0, 1.0, volume=10), bar(1, 2.0)])
    client.upsert_bars([bar(0, 5.0), bar(1, None, volume=11), bar(2, 7.0, volume=12)], on_conflict=on_conflict)
    assert [(row.ts, row.close_price, row.volume) for row in window(client)] == [
        (NOON + timedelta(minutes=minute), close, volume) for minute, close, volume in left
    ]


def test_an_empty_batch_writes_nothing(client: Client, store: Store) -> None:
    assert client.upsert_bars([]) == 0
    assert store.rows("SELECT * FROM store.series") == []


def test_a_window_includes_its_start_and_excludes_its_end(client: Client) -> None:
    client.upsert_bars([bar(minute) for minute in range(5)])
    found = client.bars_window("aapl", "1m", NOON + timedelta(minutes=1), NOON + timedelta(minutes=3), "v")
    assert [row.ts.minute for row in found] == [1, 2]


def test_a_window_takes_times_without_a_zone_as_utc(client: Client) -> None:
    client.upsert_bars([bar()])
    naive = NOON.replace(tzinfo=None)
    assert len(client.bars_window("AAPL", "1m", naive, naive + timedelta(seconds=1), "v")) == 1


@nothing_there
def test_an_unknown_series_has_no_bars(client: Client) -> None:
    assert window(client, "NOPE") == []


def test_a_window_whose_start_is_after_its_end_is_an_error(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"start .* is after end"):
        client.bars_window("AAPL", "1m", NOON, NOON - timedelta(days=1), "v")


@odd_rows
@nothing_there
def test_the_latest_price_is_the_newest_close_over_all_timeframes(client: Client, store: Store) -> None:
    client.upsert_bars(
        [bar(5, 2.0), bar(1, 1.0), bar(9, None), bar(0, 7.0, timeframe="1d"), bar(3, 4.0, symbol="msft")]
    )
    assert client.latest_prices(["msft", "AAPL", "NOPE"], "v") == [
        LatestPrice(
            tenant_id=store.tenant_a, vendor="v", symbol="AAPL", price=2.0, price_timestamp=NOON + timedelta(minutes=5)
        ),
        LatestPrice(
            tenant_id=store.tenant_a, vendor="v", symbol="MSFT", price=4.0, price_timestamp=NOON + timedelta(minutes=3)
        ),
    ]
    assert client.latest_prices(["AAPL"], "another vendor") == []


@pytest.mark.parametrize("mode", MODES)
def test_the_latest_price_follows_corrections(connect: Callable[..., Client], store: Store, mode: str) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)

    def latest() -> float:
        ((price,),) = store.rows("SELECT last_price FROM store.series")
        return float(price)

    client.upsert_bars([bar(1, 1.0), bar(2, 2.0), bar(3, 3.0)])
    client.upsert_bars([bar(3, 3.5), bar(0, 0.5)])
    assert latest() == 3.5
    client.upsert_bars([bar(3, None, volume=1), bar(4, None, volume=1)])  # the newest price is taken back
    assert latest() == 2.0
    client.upsert_bars([bar(4, 4.0)], on_conflict="keep")  # the stored bar at 4 has no close, and stays
    assert latest() == 2.0
    client.upsert_bars([bar(4, 4.0)], on_conflict="fill")
    assert latest() == 4.0
    client.upsert_bars([bar(6, None, volume=1)])
    client.upsert_bars([bar(5, 5.0)], on_conflict="keep")  # no bar is stored at 5, and the one at 6 has no close
    assert latest() == 5.0


def test_an_invalid_mapping_is_rejected_with_its_position_and_field(client: Client, store: Store) -> None:
    good = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": NOON}
    with pytest.raises(InvalidRow, match=r"row 1: close_price: .*finite") as caught:
        client.upsert_bars([good, {**good, "close_price": float("nan")}])
    assert caught.value.index == 1
    assert store.rows("SELECT * FROM store.series") == []


def test_rows_of_another_tenant_are_refused_before_anything_is_sent(client: Client, store: Store) -> None:
    with pytest.raises(RLSDenied, match=f"row 1 is of tenant {store.tenant_b}"):
        client.upsert_bars([bar(0), bar(1, tenant_id=store.tenant_b)])
    assert store.rows("SELECT * FROM store.series") == []


def test_for_tenant_keeps_the_rows_of_two_tenants_apart(client: Client, store: Store) -> None:
    other = client.for_tenant(store.tenant_b)
    client.upsert_bars([bar(0, 1.0)])
    other.upsert_bars([bar(0, 2.0), bar(1, 3.0)])
    assert [row.close_price for row in window(client)] == [1.0]
    assert [row.close_price for row in window(other)] == [2.0, 3.0]
    assert {row.tenant_id for row in window(other)} == {store.tenant_b}


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2024-01-02T12:00:00Z", "2024-01-02T12:02:00Z"),
        ("2024-01-02 07:00:00-05:00", "20240102T120200Z"),
        ("2024-01-02T12:00", NOON + timedelta(minutes=2)),
        (NOON.date(), "2024-01-02T12:02"),
    ],
)
def test_times_of_reads_can_be_text_in_iso_8601(client: Client, start: Any, end: Any) -> None:
    client.upsert_bars([bar(0), bar(1), bar(2)])
    read = client.bars_window("AAPL", "1m", start, end, "v")
    assert [one.ts.minute for one in read] == [0, 1]
    assert [len(part) for part in client.iter_rows("bars", start, end)] == [2]


def test_a_field_of_a_row_can_be_read_by_its_name(client: Client) -> None:
    client.upsert_bars([bar(0, 4.5)])
    (read,) = window(client)
    assert (read["close_price"], read["symbol"]) == (4.5, "AAPL")
    with pytest.raises(KeyError, match="price"):
        read["price"]


@pytest.mark.parametrize("whole", [True, False])
def test_rows_that_are_the_value_none_are_skipped_with_a_warning(client: Client, whole: bool) -> None:
    rows: list[Any] = [None, None, bar(0), None, bar(1)]
    with pytest.warns(DataQualityWarning, match="skipped") as caught:
        written = client.upsert_bars(rows if whole else iter(rows), chunk_rows=2)
    assert written == 2
    said = [str(one.message) for one in caught]
    if whole:
        assert said == ["rows that are None were skipped: 3, the first is row 0"]
    else:
        assert said == [
            "rows that are None were skipped: 2, the first is row 0",
            "rows that are None were skipped: 1, the first is row 3",
        ]
    assert [one.ts.minute for one in window(client)] == [0, 1]
