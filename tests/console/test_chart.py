"""What a chart asks for: bars as they come, news, others to compare with, and files of what is seen."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from datastore import search
from datastore.console import live
from datastore.gaps import calendars
from mds_client import Bar, News
from tests.console.conftest import Desk
from tests.console.test_live import following

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

START = datetime(2024, 1, 2, 15, 30, tzinfo=UTC)
WINDOW = {"timeframe": "1m", "start": "2024-01-02", "end": "2024-01-03"}


def bar(symbol: str, minute: int, close: float = 1.0) -> Bar:
    return Bar(vendor="v", symbol=symbol, timeframe="1m", ts=START + timedelta(minutes=minute), close_price=close)


@pytest.fixture
def series(desk: Desk) -> dict[str, int]:
    """Two symbols of tenant A, with three minutes each."""
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_bars([bar(symbol, minute) for symbol in ("AAA", "BBB") for minute in range(3)])
        client.upsert_news([News(vendor="wire", symbol="AAA", published_at=START, title="AAA opens <b>")])
        client.upsert_news([News(vendor="wire", symbol="BBB", published_at=START, title="another's")])
    return {str(each.symbol): each.id for each in search.search_series(desk.store.admin_dsn, kind="bars").items}


def test_a_chart_follows_new_and_changed_bars(
    desk: Desk, admin: httpx.Client, series: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.02)
    monkeypatch.setattr(live, "LIVES_S", 60.0)
    path = (
        f"/console/chart/{series['AAA']}/events?timeframe=1m&start={(START + timedelta(minutes=2)).isoformat()[:-6]}Z"
    )
    with desk.client(desk.store.tenant_a) as client, following(admin, path) as told:

        def closes() -> list[Any]:
            return [each[4] for each in json.loads(next(told)[1])["bars"]]

        assert closes() == [1.0]
        client.upsert_bars([bar("AAA", 2, 1.5)])
        assert closes() == [1.5]
        client.upsert_bars([bar("AAA", 3, 2.0), bar("AAA", 4, 3.0)])
        assert closes() == [1.5, 2.0, 3.0]
        # Those before are settled, and not sent again.
        client.upsert_bars([bar("AAA", 4, 4.0)])
        while (found := closes()) != [4.0]:
            assert found == [3.0]


def test_prices_of_listed_series_are_updated_live(
    desk: Desk, admin: httpx.Client, series: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.02)
    monkeypatch.setattr(live, "LIVES_S", 60.0)
    calendars.assign(desk.store.admin_dsn, desk.store.tenant_a, "XNYS")
    query = "&".join(f"id={each}" for each in series.values())
    with desk.client(desk.store.tenant_a) as client, following(admin, f"/console/series/prices/events?{query}") as told:
        assert [each["price"] for each in json.loads(next(told)[1])] == ["1", "1"]
        client.upsert_bars([bar("BBB", 3, 7.25)])
        changed = {each["id"]: each for each in json.loads(next(told)[1])}[str(series["BBB"])]
        assert changed["price"] == "7.25"
        assert changed["time"] == "2024-01-02 15:33:00"
        assert changed["market"] == "2024-01-02T15:33:00Z, in the market (XNYS) 2024-01-02 10:33:00 EST"


def test_a_chart_shows_only_news_of_its_symbol(admin: httpx.Client, series: dict[str, int]) -> None:
    answer = admin.get(f"/console/chart/{series['AAA']}/news", params=WINDOW).json()
    assert answer == {"news": [[START.timestamp(), "AAA opens <b>", "wire"]], "more": False}


def test_a_downloaded_file_has_the_bars_of_every_shown_series(admin: httpx.Client, series: dict[str, int]) -> None:
    asked = {**WINDOW, "compare": str(series["BBB"])}
    answer = admin.get(f"/console/chart/{series['AAA']}/bars.csv", params=asked)
    lines = answer.text.splitlines()
    assert lines[0].startswith("vendor,symbol,timeframe,ts,open_price")
    assert [line.split(",")[1] for line in lines[1:]] == ["AAA"] * 3 + ["BBB"] * 3
    answer = admin.get(f"/console/chart/{series['AAA']}/bars.parquet", params=asked)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''v-AAA-1m.parquet"
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.column("symbol").to_pylist() == ["AAA"] * 3 + ["BBB"] * 3
    assert table.column("ts").to_pylist()[0] == START


def test_a_chart_can_only_be_compared_with_series_of_its_tenant(
    desk: Desk, admin: httpx.Client, series: dict[str, int]
) -> None:
    with desk.client(desk.store.tenant_b) as client:
        client.upsert_bars([bar("CCC", 0)])
    others = admin.get(f"/console/chart/{series['AAA']}/others").json()["others"]
    assert others == [[str(series["BBB"]), "BBB v 1m"]]
