"""Rows are deleted for good by their owner: in bounded steps, with last values and rollups made anew."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from datastore import aggregates
from datastore.maintenance.on_demand import RefreshOrder
from mds_client import ConfigurationError, UnknownSeries
from tests.clients.test_columnstore import compress
from tests.conftest import Client, Store

pytestmark = pytest.mark.every_engine

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
ALWAYS = ("2020-01-01", "2030-01-01")


def bars(client: Client, symbol: str, hours: int = 240) -> None:
    client.upsert_bars(
        [
            {
                "vendor": "v",
                "symbol": symbol,
                "timeframe": "1m",
                "ts": BEGIN + timedelta(hours=n),
                "close_price": float(n),
                "volume": 1,
            }
            for n in range(hours)
        ]
    )


def closes(client: Client, symbol: str) -> list[float]:
    return [row.close_price for row in client.bars_window(symbol, "1m", *ALWAYS, "v", missing="ignore")]


def test_delete_removes_exactly_the_rows_that_the_dry_run_reports(client: Client, store: Store) -> None:
    other = client.for_tenant(store.tenant_b)
    for one in (client, other):
        bars(one, "A")
        bars(one, "B")
    start, end = BEGIN + timedelta(hours=100), BEGIN + timedelta(hours=230)
    asked: dict[str, Any] = {"vendor": "v", "symbol": "A", "timeframe": "1min", "start": start, "end": end}
    would = client.delete("bars", **asked, dry_run=True)
    assert (would.rows, would.dry_run) == (130, True)
    (series,) = would.series
    assert (series.symbol, series.rows, series.first, series.last) == ("A", 130, start, end - timedelta(hours=1))
    assert len(closes(client, "A")) == 240
    assert client.delete("bars", **asked).rows == 130
    assert closes(client, "A") == [float(n) for n in (*range(100), *range(230, 240))]
    assert (len(closes(client, "B")), len(closes(other, "A"))) == (240, 240)
    assert client.delete("bars", **asked).rows == 0


def test_delete_recomputes_the_newest_price(client: Client) -> None:
    bars(client, "A", 10)
    client.upsert_bars([{"vendor": "v", "symbol": "A", "timeframe": "1m", "ts": "2261-01-03", "close_price": 9.9}])
    assert client.latest_prices(["A"], "v")[0].price == 9.9
    client.delete("bars", vendor="v", symbol="A", start="2100-01-01")
    (price,) = client.latest_prices(["A"], "v")
    assert (price.price, price.price_timestamp) == (9.0, BEGIN + timedelta(hours=9))
    (series,) = client.series("bars")
    assert (series.last_ts, series.last_price) == (BEGIN + timedelta(hours=9), 9.0)


def test_deleting_all_rows_removes_the_series_and_it_can_be_written_again(client: Client) -> None:
    bars(client, "A", 10)
    bars(client, "TYPO", 10)
    client.delete("bars", vendor="v", symbol="TYPO")
    assert client.symbols("bars") == ["A"]
    bars(client, "TYPO", 3)
    assert closes(client, "TYPO") == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("step_rows", [1, 7, 1000])
def test_rows_are_deleted_in_steps_of_bounded_size(client: Client, step_rows: int) -> None:
    bars(client, "A", 50)
    assert (
        client.delete("bars", vendor="v", symbol="A", step_rows=step_rows, end=BEGIN + timedelta(hours=40)).rows == 40
    )
    assert closes(client, "A") == [float(n) for n in range(40, 50)]


def test_a_delete_step_removes_as_many_rows_as_its_limit(client: Client, store: Store) -> None:
    bars(client, "A", 50)
    ((series_id,),) = store.rows("SELECT series_id FROM store.series")
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        ask = "SELECT * FROM mds.delete_bars(%s, %s, '2020-01-01', '2030-01-01', %s)"
        step = connection.execute(ask, (store.tenant_a, series_id, 30)).fetchone()
        assert step == (30, BEGIN + timedelta(hours=30))
        assert connection.execute(ask, (store.tenant_a, series_id, 30)).fetchone() == (20, None)
        assert connection.execute(ask, (store.tenant_a, series_id, 30)).fetchone() == (0, None)


def test_rows_of_every_kind_are_deleted(client: Client) -> None:
    contract = {"vendor": "v", "symbol": "A", "expiry": "2024-06-21", "option_type": "C", "ts": "2024-01-02"}
    client.upsert_options([{**contract, "strike": strike, "iv": 0.5} for strike in range(20)])
    client.upsert_news([{"vendor": "v", "published_at": "2024-01-02", "title": f"t{n}"} for n in range(20)])
    client.upsert_fundamentals(
        [{"vendor": "v", "symbol": "A", "asof": f"2024-01-{n:02}", "eps": 1} for n in range(1, 21)]
    )
    # Rows of one time go together, however small the step.
    assert client.delete("options", vendor="v", symbol="A", step_rows=3).rows == 20
    assert client.delete("news", vendor="v", step_rows=3).rows == 20
    assert client.delete("fundamentals", vendor="v", symbol=["A"], start="2024-01-11").rows == 10
    assert [sum(len(part) for part in client.iter_rows(kind)) for kind in ("options", "news", "fundamentals")] == [
        0,
        0,
        10,
    ]


def test_rows_in_the_columnstore_are_deleted(client: Client, store: Store) -> None:
    bars(client, "A", 24 * 20)
    bars(client, "B", 24 * 20)
    compress(store)
    assert client.delete("bars", vendor="v", symbol="A", start=BEGIN + timedelta(hours=10), step_rows=100).rows == 470
    assert closes(client, "A") == [float(n) for n in range(10)]
    assert len(closes(client, "B")) == 480


def test_rollups_no_longer_include_deleted_rows_after_a_refresh(client: Client, store: Store) -> None:
    bars(client, "A", 48)
    aggregates.refresh(store.admin_dsn)
    client.delete("bars", vendor="v", symbol="A", start=BEGIN + timedelta(hours=20))
    jobs = store.rows("SELECT payload FROM store.jobs WHERE job_type = 'refresh-aggregates' AND state = 'queued'")
    if store.engine == "timescale":
        ((payload,),) = jobs
        assert payload == {"start": "2024-01-01T00:00:00Z", "end": "2024-01-03T00:00:00Z"}
        # What the worker's job does with it.
        order = RefreshOrder.model_validate(payload)
        aggregates.refresh(store.admin_dsn, order.start, order.end, order.rollups)
    else:
        assert jobs == []
    assert [row.volume for row in client.rollup("A", "1d", *ALWAYS, "v")] == [20]


def test_deleting_rows_that_do_not_exist_is_an_error(client: Client) -> None:
    bars(client, "A", 1)
    with pytest.raises(UnknownSeries, match="there are no bars of vendor v, symbol AA"):
        client.delete("bars", vendor="v", symbol="AA")
    with pytest.raises(ConfigurationError, match="news are not kept by symbol"):
        client.delete("news", vendor="v", symbol="A")


def test_deleting_without_a_tenant_is_rejected(connect: Callable[..., Client], store: Store) -> None:
    with pytest.raises(ConfigurationError, match="no tenant is set"):
        connect(dsn=store.dsn, tenant_id=None).delete("bars", vendor="v")
