"""The volume-weighted price of rollups: the mean of the minutes that have a price and a volume, on every engine."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from datastore import aggregates
from mds_client import Bar
from tests.conftest import Client, Store

pytestmark = pytest.mark.every_engine

NOON: Final = datetime(2024, 5, 1, 12, tzinfo=UTC)


def minute(at: int, vwap: float | None, volume: float | None, **more: Any) -> Bar:
    settled = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": NOON + timedelta(minutes=at), **more}
    return Bar(close_price=1.0, vwap=vwap, volume=volume, **settled)


BARS: Final = [
    minute(0, 100.0, 1),
    minute(1, 103.0, 0.5),
    minute(2, None, 1000),
    minute(3, 999.0, None),
    minute(4, 999.0, 0),
    minute(6, -4.0, 3, trade_count=2),
    minute(7, 0.0, 1, trade_count=3),
    minute(20, None, 7),
    minute(61, 50.0, 4.5),
    minute(60 * 30, 8.0, 2),
]


def expected(minutes: int) -> list[tuple[datetime, float | None]]:
    found: dict[datetime, list[Bar]] = {}
    width = timedelta(minutes=minutes)
    midnight = NOON.replace(hour=0)
    for bar in BARS:
        found.setdefault(midnight + (bar.ts - midnight) // width * width, []).append(bar)
    answer: list[tuple[datetime, float | None]] = []
    for ts, bars in sorted(found.items()):
        counted = [(bar.vwap, bar.volume) for bar in bars if bar.vwap is not None and bar.volume]
        weight = sum(volume for _, volume in counted)
        answer.append((ts, sum(price * volume for price, volume in counted) / weight if weight else None))
    return answer


@pytest.mark.every_case
@pytest.mark.parametrize("refreshed", [False, True], ids=["computed", "refreshed"])
def test_the_vwap_of_a_rollup_is_the_volume_weighted_mean_of_its_minutes(
    client: Client, store: Store, refreshed: bool
) -> None:
    client.upsert_bars(BARS)
    if refreshed:
        aggregates.refresh(store.admin_dsn)
    for timeframe, minutes in {"2m": 2, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}.items():
        found = client.rollup("AAPL", timeframe, NOON, NOON + timedelta(days=3), vendor="v")
        # A rollup's row begins before the bars that it is made of.
        wanted = [(ts, price) for ts, price in expected(minutes) if ts >= NOON]
        assert [row.ts for row in found] == [ts for ts, _ in wanted]
        for row, (_, price) in zip(found, wanted, strict=True):
            assert row.vwap == (None if price is None else pytest.approx(price, abs=1e-9))
    (first, *_) = client.rollup("AAPL", "1h", NOON, NOON + timedelta(hours=1), vendor="v")
    assert first.trade_count == 5


@pytest.mark.parametrize("price", [1e308, 5e-324, -1e150])
@pytest.mark.parametrize("volume", [2**60, 1e-300, 1e18])
def test_extreme_prices_and_volumes_do_not_break_a_refresh(
    client: Client, store: Store, price: float, volume: float
) -> None:
    client.upsert_bars([minute(at, price, volume) for at in range(3)] + [minute(3, 7.0, 1)])
    aggregates.refresh(store.admin_dsn)
    (found,) = client.rollup("AAPL", "1h", NOON, NOON + timedelta(hours=1), vendor="v")
    assert found.vwap == 7.0
