"""The market's time beside UTC: on hover, by the calendar that a row's series, a day or a vendor has."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from datastore.gaps import calendars
from mds_client import Bar
from tests.console.conftest import Desk

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

OPENS = datetime(2024, 3, 12, 13, 30, tzinfo=UTC)
NEW_YORK = "2024-03-12T13:31:00Z, in the market (XNYS) 2024-03-12 09:31:00 EDT"


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """Two minutes of a stock with a calendar."""
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_bars(
            Bar(vendor="v", symbol="IBM", timeframe="1m", ts=OPENS + timedelta(minutes=at), close_price=1.0)
            for at in range(2)
        )
    calendars.assign(desk.store.admin_dsn, desk.store.tenant_a, "XNYS", vendor="v")
    return desk


def test_rows_show_market_time_by_the_calendar_of_their_series(desk: Desk, admin: httpx.Client) -> None:
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_bars([Bar(vendor="v", symbol="BTC", timeframe="1m", ts=OPENS, close_price=1.0)])
        client.upsert_bars([Bar(vendor="other", symbol="NOKIA", timeframe="1m", ts=OPENS, close_price=1.0)])
    calendars.assign(desk.store.admin_dsn, desk.store.tenant_a, "24/7", vendor="v", symbol="BTC")
    text = admin.get("/console/rows?kind=bars").text
    assert NEW_YORK in text
    assert "in the market (24/7) 2024-03-12 13:30:00 UTC" in text
    assert 'title="2024-03-12T13:30:00Z"' in text, "of a series without a calendar"


def test_days_of_the_completeness_calendar_show_market_time(desk: Desk, admin: httpx.Client) -> None:
    text = admin.get("/console/completeness?timeframe=1m&end=2024-03-13T00:00:00Z&days=1").text
    assert "388 of 390 missing; 13:30 to 20:00 UTC, in the market (XNYS) 09:30 to 16:00 EDT" in text


def test_vendors_show_market_time_if_all_their_series_share_one_clock(desk: Desk, admin: httpx.Client) -> None:
    dsn = desk.store.admin_dsn
    assert admin.get("/console/stored").text.count(NEW_YORK) == 5, "the newest row and its age, and three in the table"
    calendars.assign(dsn, desk.store.tenant_a, "FX", vendor="v", symbol="EURUSD")
    assert "in the market (FX, XNYS) 2024-03-12 09:31:00 EDT" in admin.get("/console/stored").text
    calendars.assign(dsn, desk.store.tenant_b, "XTKS")
    assert "EDT" in admin.get("/console/stored").text, "the other tenant has nothing of this vendor"
    calendars.assign(dsn, desk.store.tenant_a, "XLON", vendor="v", symbol="VOD")
    assert "EDT" not in admin.get("/console/stored").text
