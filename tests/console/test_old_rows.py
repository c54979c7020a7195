"""Rows that were moved into files: pages show them as they show those of the table, or say that they cannot."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from datastore import cold, console, search
from datastore.cold import exporting
from datastore.config import Settings
from mds_client import MDS, Bar, OptionSnap
from tests.conftest import Store
from tests.console.conftest import Desk
from tests.service.conftest import Keys, serving

pytestmark = [pytest.mark.many_sessions, pytest.mark.engines("postgres")]

OLD = datetime(2024, 1, 31, 15, tzinfo=UTC)
NEW = datetime(2024, 6, 3, 15, tzinfo=UTC)


@pytest.fixture
def moved(store: Store, tmp_path: Path) -> Path:
    """The folder with the old bars of a series that has new ones, too, and with all bars of another."""
    folder = tmp_path / "cold"
    folder.mkdir()
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        for symbol, begins in (("BOTH", (OLD, NEW)), ("OLD", (OLD,))):
            client.upsert_bars(
                Bar(vendor="v", symbol=symbol, timeframe="1m", ts=begin + timedelta(minutes=at), close_price=at + 1)
                for begin in begins
                for at in range(3)
            )
    cold.set_age(store.admin_dsn, UUID(store.tenant_a), "bars", timedelta(days=30))
    (file,) = exporting.run(store.admin_dsn, str(folder), now=datetime(2024, 6, 15, tzinfo=UTC))
    assert file.rows == 6
    return folder


@contextmanager
def desk(store: Store, keys: Keys, settings: Settings, cold_url: Path | None) -> Iterator[Desk]:
    place = None if cold_url is None else str(cold_url)
    known = replace(settings, tokens=f"{settings.tokens}\n{keys.lines}", cold_url=place)
    with serving(known, console.create_app) as url:
        yield Desk(url, keys, store)


def test_a_chart_and_its_downloads_include_old_bars(store: Store, keys: Keys, settings: Settings, moved: Path) -> None:
    series = {str(each.symbol): each.id for each in search.search_series(store.admin_dsn).items}
    window = {"timeframe": "1m", "start": "2024-01-01", "end": "2024-07-01"}
    with desk(store, keys, settings, moved) as there, there.browser(keys.admin) as client:
        for symbol, last, count in (("BOTH", NEW, 6), ("OLD", OLD, 3)):
            path = f"/console/chart/{series[symbol]}"
            page = client.get(path).text
            assert f'data-first="{OLD.timestamp()}"' in page
            assert f'data-last="{(last + timedelta(minutes=2)).timestamp()}"' in page
            bars = client.get(f"{path}/bars", params=window).json()["bars"]
            assert [bar[0] for bar in bars[:3]] == [(OLD + timedelta(minutes=at)).timestamp() for at in range(3)]
            assert len(bars) == count
            assert len(client.get(f"{path}/bars.csv", params=window).text.splitlines()) == count + 1
            table = pq.read_table(io.BytesIO(client.get(f"{path}/bars.parquet", params=window).content))
            assert table.column("ts").to_pylist()[0] == OLD
            hour = client.get(f"{path}/bars", params={**window, "timeframe": "1h"}).json()["bars"]
            assert (hour[0][0], hour[0][4]) == (OLD.timestamp(), 3.0)
        rows = client.get("/console/rows?kind=bars&symbol=OLD&start=2024-01-01&end=2024-07-01").text
        assert rows.count("2024-01-31 15:0") == 3
        stored = client.get("/console/stored").text
        assert '<dt>In files</dt><dd title="6 old rows, from 2024-01-01 on">' in stored


def test_a_console_without_access_to_files_shows_new_bars_and_a_notice(
    store: Store, keys: Keys, settings: Settings, moved: Path
) -> None:
    (series,) = (each.id for each in search.search_series(store.admin_dsn, "BOTH").items)
    with desk(store, keys, settings, None) as there, there.browser(keys.admin) as client:
        page = client.get(f"/console/chart/{series}").text
        assert "Old bars are not shown" in page
        assert "DATASTORE_COLD_URL" in page
        assert f'data-first="{NEW.timestamp()}"' in page
        path = f"/console/chart/{series}/bars?timeframe=1m&end=2024-07-01"
        assert len(client.get(f"{path}&start=2024-06-01").json()["bars"]) == 3
        refused = client.get(f"{path}&start=2024-01-01")
        assert refused.status_code >= 400
        assert "kept in files" in refused.text


def test_a_chart_shows_new_bars_while_files_are_temporarily_unreadable(
    store: Store, keys: Keys, settings: Settings, moved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (series,) = (each.id for each in search.search_series(store.admin_dsn, "BOTH").items)
    (file,) = (path for path in moved.rglob("*.parquet"))
    file.rename(file.with_suffix(".away"))
    with desk(store, keys, settings, moved) as there, there.browser(keys.admin) as client:
        page = client.get(f"/console/chart/{series}").text
        assert "The files with old bars cannot be read at the moment" in page
        assert file.name in caplog.text
        assert f'data-first="{NEW.timestamp()}"' in page
        path = f"/console/chart/{series}/bars?timeframe=1m&end=2024-07-01"
        assert len(client.get(f"{path}&start=2024-06-01").json()["bars"]) == 3
        refused = client.get(f"{path}&start=2024-01-01")
        assert refused.status_code == 503
        assert "files with old rows cannot be read" in refused.text
        assert file.name not in refused.text + page


def test_the_page_of_options_shows_the_chain_of_snapshots_in_files(
    store: Store, keys: Keys, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "cold"
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        contracts: list[dict[str, Any]] = [
            {"expiry": NEW.date(), "option_type": side, "strike": strike} for side in "CP" for strike in (1234.5, 1300)
        ]
        client.upsert_options(OptionSnap(vendor="v", symbol="OLD", ts=OLD, iv=0.4375, **one) for one in contracts)
    cold.set_age(store.admin_dsn, UUID(store.tenant_a), "options", timedelta(days=30))
    (file,) = exporting.run(store.admin_dsn, str(folder), now=datetime(2024, 6, 15, tzinfo=UTC))
    assert (file.kind, file.rows) == ("options", 4)
    page = f"/console/options?tenant={store.tenant_a}&vendor=v&symbol=OLD"
    with desk(store, keys, settings, folder) as there, there.browser(keys.admin) as client:
        shown = client.get(page).text
        assert "1,234.5" in shown or "1234.5" in shown
        assert shown.count('<td class="number">43.8 %</td>') == 4
    with desk(store, keys, settings, None) as there, there.browser(keys.admin) as client:
        refused = client.get(page)
        assert refused.status_code >= 400
        assert "options from before" in refused.text
