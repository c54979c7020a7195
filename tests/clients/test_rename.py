"""Series get another name without a change to a row, and nobody goes on writing to them under the earlier one."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from datastore import aggregates, vendors
from datastore.gaps import calendars
from mds_client import Bar, ConfigurationError, SeriesConflict, UnknownSeries, sql
from mds_client.batch import BatchConfig
from tests.clients.faults import until, waiting
from tests.clients.test_batch import HOUR, Driven
from tests.clients.test_columnstore import compress
from tests.conftest import Client, Store

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
ALWAYS = ("2020-01-01", "2030-01-01")


def bars(
    client: Client, symbol: str, rows: int = 3, *, first: int = 0, timeframe: str = "1m", vendor: str = "v"
) -> None:
    client.upsert_bars(
        [
            {
                "vendor": vendor,
                "symbol": symbol,
                "timeframe": timeframe,
                "ts": BEGIN + timedelta(hours=n),
                "close_price": float(n),
                "volume": 1,
            }
            for n in range(first, first + rows)
        ]
    )


def closes(client: Client, symbol: str, timeframe: str = "1m", vendor: str = "v") -> list[float]:
    return [row.close_price for row in client.bars_window(symbol, timeframe, *ALWAYS, vendor, missing="ignore")]


def of_every_kind(client: Client) -> None:
    bars(client, "FB", 30)
    bars(client, "FB", 2, timeframe="1d")
    client.upsert_fundamentals([{"vendor": "v", "symbol": "FB", "asof": "2024-01-02", "eps": 1}])
    contract = {"vendor": "v", "symbol": "FB", "expiry": "2024-06-21", "option_type": "C", "ts": "2024-01-02"}
    client.upsert_options([{**contract, "strike": 1, "iv": 0.5}, {**contract, "strike": 1, "iv": 0.6, "root": "FB1"}])
    client.upsert_news([{"vendor": "v", "published_at": "2024-01-02", "title": "t", "symbol": "FB"}])


@pytest.mark.every_engine
def test_a_symbol_is_renamed_in_every_kind_without_rewriting_rows(client: Client, store: Store) -> None:
    of_every_kind(client)
    bars(client, "FB", vendor="w")
    other = client.for_tenant(store.tenant_b)
    bars(other, "FB")
    aggregates.refresh(store.admin_dsn)
    compress(store)
    before = store.rows("SELECT * FROM store.bars ORDER BY series_id, ts")
    asked: dict[str, Any] = {"vendor": "v", "symbol": "fb", "to_symbol": "meta"}
    would = client.rename(**asked, dry_run=True)
    assert [(one.kind, one.timeframe, one.root, one.to_symbol) for one in would.series] == [
        ("bars", "1d", None, "META"),
        ("bars", "1m", None, "META"),
        ("fundamentals", None, None, "META"),
        ("options", None, "FB1", "META"),
        ("options", None, None, "META"),
    ]
    assert (would.dry_run, len(closes(client, "FB")), closes(client, "META")) == (True, 30, [])
    assert client.rename(**asked).series == would.series
    assert (len(closes(client, "META")), len(closes(client, "META", "1d")), closes(client, "FB")) == (30, 2, [])
    assert store.rows("SELECT * FROM store.bars ORDER BY series_id, ts") == before
    assert [row.volume for row in client.rollup("META", "1d", *ALWAYS, "v")] == [24, 6]
    assert client.latest_prices(["META"], "v")[0].price == 29.0
    assert client.fundamentals_window("META", *ALWAYS, "v")[0].eps == 1
    assert {row.root for part in client.iter_rows("options") for row in part} == {"META", "FB1"}
    # Of news, the series is the vendor's. A row says what it is about, as it was written.
    assert [row.symbol for row in client.news_window(*ALWAYS)] == ["FB"]
    assert (closes(client, "FB", vendor="w"), closes(other, "FB")) == ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0])


@pytest.mark.both_clients
@pytest.mark.parametrize("rows", [1, 40, 3000])
def test_a_client_that_cached_the_old_name_does_not_write_to_the_renamed_series(
    client: Client, connect: Callable[..., Client], store: Store, rows: int
) -> None:
    writer = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    bars(writer, "FB", rows)
    client.rename(vendor="v", symbol="FB", to_symbol="META")
    bars(writer, "FB", rows, first=rows)
    bars(writer, "META", rows, first=2 * rows)
    assert closes(client, "FB") == [float(n) for n in range(rows, 2 * rows)]
    assert closes(client, "META") == [float(n) for n in (*range(rows), *range(2 * rows, 3 * rows))]
    # Each way, and back: what a client knows of one name never stands for another.
    client.rename(vendor="v", symbol="FB", to_symbol="OLD")
    client.rename(vendor="v", symbol="META", to_symbol="FB")
    bars(writer, "FB", rows, first=3 * rows)
    assert len(closes(client, "FB")) == 3 * rows
    assert len(closes(client, "OLD")) == rows


@pytest.mark.both_clients
def test_rows_under_both_names_in_one_call_are_kept_apart(
    client: Client, connect: Callable[..., Client], store: Store
) -> None:
    writer = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    bars(writer, "FB", 1)
    client.rename(vendor="v", symbol="FB", to_symbol="META")
    one = {"vendor": "v", "timeframe": "1m", "ts": BEGIN}
    # The names give one id: that of a cached name, and the one that is found now.
    writer.upsert_bars([{**one, "symbol": "FB", "close_price": 7}, {**one, "symbol": "META", "close_price": 8}])
    assert (closes(client, "FB"), closes(client, "META")) == ([7.0], [8.0])


def test_writing_a_deleted_name_again_creates_another_series(
    client: Client, connect: Callable[..., Client], store: Store
) -> None:
    writer = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    bars(writer, "A", 2)
    client.rename(vendor="v", symbol="A", to_symbol="B")
    client.delete("bars", vendor="v", symbol="B")
    bars(writer, "B", 1)
    bars(writer, "A", 2)
    assert (closes(client, "A"), closes(client, "B")) == ([0.0, 1.0], [0.0])


@pytest.mark.both_clients
def test_a_batch_processor_keeps_writing_to_the_old_name(
    client: Client, connect: Callable[..., Client], store: Store
) -> None:
    other = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    processor = Driven(client, BatchConfig(max_rows=10, max_ms=HOUR))
    for n in range(60):
        ts = BEGIN + timedelta(minutes=n)
        processor.add(Bar(vendor="v", symbol="FB", timeframe="1m", ts=ts, close_price=n))
        if n == 29:
            processor.flush()
            other.rename(vendor="v", symbol="FB", to_symbol="META")
    processor.close()
    assert (closes(client, "META"), closes(client, "FB")) == (
        [float(n) for n in range(30)],
        [float(n) for n in range(30, 60)],
    )


@pytest.mark.many_sessions
def test_renames_during_continuous_writes_lose_no_row(
    client: Client, connect: Callable[..., Client], store: Store
) -> None:
    writer = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    began, written, stop = threading.Event(), 0, threading.Event()

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            bars(writer, "FB", 5, first=written)
            written += 5
            began.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert began.wait(30)
        for n in range(10):
            client.rename(vendor="v", symbol="FB", to_symbol=f"T{n}")
            before = written
            while written < before + 10 and thread.is_alive():
                began.clear()
                began.wait(30)
    finally:
        stop.set()
        thread.join(60)
    parts = [closes(client, name) for name in (*(f"T{n}" for n in range(10)), "FB")]
    assert all(parts)
    # Each series has the rows from one renaming to the next: together every row, once, in order.
    assert [close for part in parts for close in part] == [float(n) for n in range(written)]


@pytest.mark.many_sessions
def test_a_rename_waits_for_a_running_write_transaction(
    client: Client, connect: Callable[..., Client], store: Store
) -> None:
    bars(client, "FB", 1)
    ((series_id,),) = store.rows("SELECT series_id FROM store.series")
    with psycopg.connect(store.dsn) as open_:
        open_.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        open_.execute("SELECT FROM mds.series WHERE series_id = %s FOR NO KEY UPDATE", (series_id,))
        thread = threading.Thread(
            target=connect(dsn=store.dsn, tenant_id=store.tenant_a).rename,
            kwargs={"vendor": "v", "symbol": "FB", "to_symbol": "META"},
        )
        thread.start()
        until(lambda: waiting(store))
        assert closes(client, "FB") == [0.0]
        open_.commit()
    thread.join(30)
    assert (closes(client, "FB"), closes(client, "META")) == ([], [0.0])


@pytest.mark.many_sessions
def test_a_killed_rename_changes_nothing_and_can_be_repeated(client: Client, store: Store) -> None:
    of_every_kind(client)
    ids = [one for (one,) in store.rows("SELECT series_id FROM store.series WHERE symbol IS NOT NULL")]
    with psycopg.connect(store.dsn) as session:
        session.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        session.execute("SELECT mds.rename_series(%s, %s, 0, NULL, 'META', NULL, false)", (store.tenant_a, ids))
        (pid,) = session.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        assert session.execute("SELECT DISTINCT symbol FROM mds.series WHERE symbol > ''").fetchall() == [("META",)]
        store.rows("SELECT pg_terminate_backend(%s, 10000)", pid)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert client.symbols("bars") == ["FB"]
    assert len(client.rename(vendor="v", symbol="FB", to_symbol="META").series) == 5
    assert client.symbols("bars") == ["META"]


def test_a_rename_to_an_existing_series_is_rejected_and_changes_nothing(client: Client) -> None:
    of_every_kind(client)
    bars(client, "META", timeframe="1d")
    for dry_run in (True, False):
        with pytest.raises(SeriesConflict, match=r"a series of that name already: bars v META 1d\. Delete it"):
            client.rename(vendor="v", symbol="FB", to_symbol="META", dry_run=dry_run)
    assert (len(closes(client, "FB", "1d")), len(closes(client, "META", "1d"))) == (2, 3)
    assert {one.symbol for one in client.series("fundamentals")} == {"FB"}
    bars(client, "GOOG", timeframe="1d")
    with pytest.raises(SeriesConflict, match="several series would have the same name"):
        client.rename(vendor="v", symbol=["GOOG", "META"], to_symbol="X")
    client.rename(vendor="v", symbol="FB", timeframe="1m", to_symbol="META")
    assert len(closes(client, "META")) == 30


def test_a_vendor_or_a_timeframe_can_be_renamed(client: Client) -> None:
    of_every_kind(client)
    assert {one.kind for one in client.rename(vendor="v", to_vendor="w").series} == {
        "bars",
        "fundamentals",
        "news",
        "options",
    }
    assert [row.title for row in client.news_window(*ALWAYS, vendor="w")] == ["t"]
    client.rename(kind="bars", vendor="w", timeframe="1d", to_timeframe="1W")
    assert len(closes(client, "FB", "1w", vendor="w")) == 2


def test_a_root_equal_to_the_new_symbol_becomes_the_default_root(client: Client) -> None:
    contract = {"vendor": "v", "symbol": "SPX", "root": "SPXW", "expiry": "2024-06-21", "option_type": "C"}
    client.upsert_options([{**contract, "ts": "2024-01-02", "strike": 1, "iv": 0.5}])
    client.rename(vendor="v", symbol="SPX", to_symbol="SPXW")
    client.upsert_options([{**contract, "symbol": "SPXW", "ts": "2024-01-02", "strike": 1, "iv": 0.7}])
    assert [row.iv for part in client.iter_rows("options") for row in part] == [0.7]


def test_a_series_keeps_its_calendar(client: Client, store: Store) -> None:
    bars(client, "FB")
    bars(client, "AAPL")
    calendars.assign(store.admin_dsn, store.tenant_a, "24/7", vendor="v")
    calendars.assign(store.admin_dsn, store.tenant_a, "FX", vendor="v", symbol="FB")
    client.rename(vendor="v", symbol="FB", to_symbol="META", dry_run=True)
    client.rename(vendor="v", symbol="FB", to_symbol="META")
    client.rename(vendor="v", to_vendor="w")
    found = {(one.vendor, one.symbol): one.calendar for one in calendars.assignments(store.admin_dsn)}
    assert (found["w", None], found["w", "META"]) == ("24/7", "FX")


@pytest.mark.parametrize("own", [None, "FX"])
def test_a_renamed_series_gets_its_own_copy_of_a_calendar_shared_by_vendors(
    client: Client, store: Store, own: str | None
) -> None:
    bars(client, "FB")
    bars(client, "META", vendor="w")
    calendars.assign(store.admin_dsn, store.tenant_a, "24/7", symbol="FB")
    calendars.assign(store.admin_dsn, store.tenant_a, "XNYS", vendor="w")
    if own is not None:
        calendars.assign(store.admin_dsn, store.tenant_a, own, vendor="v", symbol="FB")
    before = calendars.assignments(store.admin_dsn)
    client.rename(vendor="v", symbol="FB", to_symbol="META")
    client.rename(vendor="v", symbol="META", to_vendor="x")
    (first, second) = (one for one in calendars.assignments(store.admin_dsn) if one not in before)
    assert (first.vendor, first.symbol, first.calendar) == ("v", "META", own or "24/7")
    assert (second.vendor, second.symbol, second.calendar) == ("x", "META", own or "24/7")


def test_symbols_with_lower_case_letters_cannot_be_moved_to_an_upper_case_vendor(client: Client, store: Store) -> None:
    for vendor in ("cased", "other"):
        vendors.declare(store.admin_dsn, vendor)
    bars(client, "AMpB", vendor="cased")
    contract = {"vendor": "cased", "symbol": "SPX", "expiry": "2024-06-21", "option_type": "C", "ts": "2024-01-02"}
    client.upsert_options([{**contract, "root": "SPXw", "strike": 1, "iv": 0.5}])
    client.upsert_news(
        [
            {"vendor": "cased", "published_at": "2024-01-02", "title": name, "symbol": name}
            for name in ("AMpB", "X", "É")
        ]
    )
    for kind, symbol in (("bars", "AMpB"), ("options", "SPXw"), ("news", "AMpB")):
        for dry_run in (True, False):
            with pytest.raises(SeriesConflict, match=f"{kind} of cased: {symbol} has lower case letters, and symbols"):
                client.rename(kind=kind, vendor="cased", to_vendor="plain", dry_run=dry_run)
    client.rename(kind="bars", vendor="cased", to_vendor="plain", to_symbol="amb")
    assert closes(client, "AMB", vendor="plain") == [0.0, 1.0, 2.0]
    assert len(client.rename(vendor="cased", to_vendor="other").series) == 2
    assert [row.title for row in client.news_window(*ALWAYS, symbol="AMpB", vendor="other")] == ["AMpB"]
    client.delete("news", vendor="other")
    client.upsert_news([{"vendor": "other", "published_at": "2024-01-02", "title": "t", "symbol": "É"}])
    client.rename(kind="news", vendor="other", to_vendor="plain")
    assert [row.title for row in client.news_window(*ALWAYS, symbol="é", vendor="plain")] == ["t"]


def test_a_rename_is_rejected_while_a_backfill_writes_to_the_old_name(client: Client, store: Store) -> None:
    bars(client, "FB")
    bars(client, "AAPL")
    store.execute(
        "INSERT INTO store.backfills (tenant_no, idempotency_key, kind, vendor, timeframe, range_start, range_end,"
        " source, params, series, missing) SELECT no, 'k', 'bars', 'v', '1m', '2024-01-01', '2024-02-01', '{}', '{}',"
        " 1, 1 FROM store.tenants WHERE id = %s",
        store.tenant_a,
    )
    store.execute(
        "INSERT INTO store.jobs (tenant_no, idempotency_key, job_type, priority, payload)"
        " SELECT tenant_no, 'j', 'backfill', 30,"
        " jsonb_build_object('backfill', id, 'spans', jsonb_build_array(jsonb_build_object('symbol', 'FB')))"
        " FROM store.backfills"
    )
    with pytest.raises(SeriesConflict, match=r"backfill \d+ still writes bars of v FB .*: wait for it, or cancel it"):
        client.rename(vendor="v", symbol="FB", to_symbol="META")
    client.rename(vendor="v", symbol="AAPL", to_symbol="APPLE")
    store.execute("UPDATE store.jobs SET state = 'succeeded', finished_at = now()")
    client.rename(vendor="v", symbol="FB", to_symbol="META")
    assert client.symbols("bars") == ["APPLE", "META"]


def test_invalid_renames_are_rejected(client: Client, connect: Callable[..., Client], store: Store) -> None:
    bars(client, "FB")
    with pytest.raises(UnknownSeries, match="there are no series of vendor v, symbol FBB"):
        client.rename(vendor="v", symbol="FBB", to_symbol="META")
    with pytest.raises(ConfigurationError, match="say what the new name is"):
        client.rename(vendor="v", symbol="FB")
    with pytest.raises(ConfigurationError, match=r"to_symbol: .*at least 1 character"):
        client.rename(vendor="v", symbol="FB", to_symbol=" ")
    with pytest.raises(ConfigurationError, match="to_timeframe: 1M may mean minutes or months"):
        client.rename(vendor="v", symbol="FB", to_timeframe="1M")
    with pytest.raises(ConfigurationError, match="series of news have no symbol: they are named by vendor"):
        client.rename(kind="news", vendor="v", symbol="FB", to_symbol="META")
    with pytest.raises(ConfigurationError, match="no tenant is set"):
        connect(dsn=store.dsn, tenant_id=None).rename(vendor="v", symbol="FB", to_symbol="META")


def test_a_rename_in_a_transaction_is_visible_there_and_rolled_back_with_it(client: Client) -> None:
    bars(client, "FB")

    def rename_and_give_up() -> None:
        with client.transaction() as both:
            both.rename(vendor="v", symbol="FB", to_symbol="META")
            both.upsert_bars([{"vendor": "v", "symbol": "FB", "timeframe": "1m", "ts": BEGIN, "close_price": 9.0}])
            assert [row.close_price for row in both.bars_window("FB", "1m", *ALWAYS, "v")] == [9.0]
            raise RuntimeError("given up")

    with pytest.raises(RuntimeError, match="given up"):
        rename_and_give_up()
    bars(client, "FB", 1, first=3)
    assert closes(client, "FB") == [0.0, 1.0, 2.0, 3.0]


def test_a_client_of_an_earlier_release_cannot_write_to_a_renamed_series(client: Client, store: Store) -> None:
    bars(client, "A")
    bars(client, "B")
    client.rename(vendor="v", symbol="B", to_symbol="C")
    ids = dict(store.rows("SELECT symbol, series_id FROM store.series"))
    call = (
        "SELECT mds.bars_last_values(ARRAY[%s::bigint], ARRAY[now()], ARRAY[now()], ARRAY[now()],"
        " ARRAY[1::double precision], ARRAY[false], 'replace')"
    )
    with psycopg.connect(store.dsn) as session:
        session.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        session.execute(call, (ids["A"],))
        with pytest.raises(psycopg.Error) as error:
            session.execute(call, (ids["C"],))
    assert error.value.sqlstate == sql.STALE_SERIES
