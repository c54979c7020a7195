"""How many rows a second are written, as the overview shows it."""

import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from datastore import sizes
from datastore.console.pages.overview.rates import Rates
from datastore.service.tokens import MadeToken
from mds_client import Bar
from tests.console.conftest import Desk
from tests.control.job_types import until


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_the_difference_of_two_readings_of_a_minute() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert rates.read(1_000) is None
    clock.now += 0.5
    assert rates.read(9_000) is None, "the server may not have counted yet"
    clock.now += 9.5
    assert rates.read(11_000) == (1_000, 10)
    clock.now += 55
    assert rates.read(11_000) == (0, 55), "the first reading is too old"
    clock.now += 500
    assert rates.read(50_000) is None


def test_a_counter_that_began_anew_gives_no_rate() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.read(1_000)
    clock.now += 10
    assert rates.read(20) is None
    clock.now += 10
    assert rates.read(120) == (10, 10)


@pytest.mark.many_sessions
@pytest.mark.engines("postgres")
def test_the_overview_shows_how_many_rows_are_written(
    desk: Desk, admin: httpx.Client, tenant_keys: dict[str, MadeToken]
) -> None:
    assert 'hx-get="/console/rate"' in admin.get("/console/stored").text
    before = sizes.rows_written(desk.store.admin_dsn)
    assert "measuring" in admin.get("/console/rate").text
    start = datetime(2024, 1, 2, tzinfo=UTC)
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_bars(
            Bar(vendor="v", symbol="S", timeframe="1m", ts=start + timedelta(minutes=at), close_price=1.0)
            for at in range(500)
        )
    until(lambda: sizes.rows_written(desk.store.admin_dsn) == before + 500)
    until(lambda: "rows/s written" in admin.get("/console/rate").text)
    found = re.search(r'over the last (\d+) s">([\d.,k ]+) rows/s written', admin.get("/console/rate").text)
    assert found
    assert 0 < float(found[2].replace(",", "")) <= 500
    with desk.browser(tenant_keys["a"]) as one_tenants:
        assert "/console/rate" not in one_tenants.get("/console/stored").text
        assert one_tenants.get("/console/rate").status_code == 403


@pytest.mark.many_sessions
@pytest.mark.engines("timescale-apache")
def test_rows_of_chunks_are_counted(desk: Desk) -> None:
    before = sizes.rows_written(desk.store.admin_dsn)
    with desk.client(desk.store.tenant_a) as client:
        client.upsert_bars(
            Bar(vendor="v", symbol="S", timeframe="1d", ts=datetime(2024, 1, 2, tzinfo=UTC) + timedelta(days=20 * at),
                close_price=1.0)
            for at in range(5)
        )  # fmt: skip
    until(lambda: sizes.rows_written(desk.store.admin_dsn) == before + 5)
