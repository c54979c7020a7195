"""What a page cannot show or do is refused with a reason, and not cut short or guessed."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from datastore import search
from datastore.console.pages.chart import data as chart
from tests.console.conftest import Desk, csrf

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

START = datetime(2024, 1, 2, 15, 30, tzinfo=UTC)


def test_a_window_that_is_too_long_is_rejected_for_the_chart_and_for_csv(
    desk: Desk, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "MOST_BARS", 5)
    with desk.client(desk.store.tenant_a) as client:
        settled = {"vendor": "v", "symbol": "S", "timeframe": "1m", "close_price": 1, "volume": 2}
        client.upsert_bars([{**settled, "ts": START + timedelta(minutes=at)} for at in range(6)])
    (series,) = search.search_series(desk.store.admin_dsn).items
    for form in ("bars", "bars.csv"):
        window = {"timeframe": "1m", "start": START.isoformat()}
        path = f"/console/chart/{series.id}/{form}"
        all_of_it = admin.get(path, params={**window, "end": (START + timedelta(minutes=6)).isoformat()})
        assert all_of_it.status_code == 422
        assert "more than 5 bars of 1m" in all_of_it.text
        some = admin.get(path, params={**window, "end": (START + timedelta(minutes=5)).isoformat()})
        assert some.status_code == 200
    head, *lines = some.text.splitlines()
    assert head == "vendor,symbol,timeframe,ts,open_price,high_price,low_price,close_price,volume,trade_count,vwap"
    assert lines == [f"v,S,1m,2024-01-02T15:{30 + at}:00Z,,,,1.0,2,," for at in range(5)]


def test_a_token_with_an_unknown_scope_is_not_created(admin: httpx.Client) -> None:
    form = {"csrf": csrf(admin), "name": "n", "scope": "root"}
    answer = admin.post("/console/tenants/tokens", data=form)
    assert answer.status_code == 422
    assert "a scope is read, operate, admin, not" in answer.text
    assert admin.post("/console/tenants/tokens", data={**form, "scope": "read"}).status_code == 200
