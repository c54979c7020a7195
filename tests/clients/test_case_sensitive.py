"""Vendors whose symbols are case-sensitive: `AMpB` and `AMPB` are two instruments in every form, read and command."""

import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pytest
from pyarrow import parquet

from datastore import vendors
from datastore.load import load
from mds_client import MDS, Bar, DataQualityWarning, Fundamentals, News, OptionSnap, RetryableError, UnknownSeries
from mds_client.batch import Reject
from mds_client.cli import main
from mds_client.config import Config
from mds_client.protocol.operations import Observer, Session, Written
from mds_client.reading.reads import latest_prices
from tests.clients.test_cli import Run, runs, use
from tests.conftest import Client, Store, before_the_server, odd_rows

MODES = ("executemany", "values", "copy")
DAY: Final = datetime(2024, 1, 2, tzinfo=UTC)
JANUARY = ("2024-01-01", "2024-02-01")
BOTH: Final = ["AMpB", "AMPB"]

FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "mappings": lambda rows: rows,
    "models": lambda rows: [Bar(**row) for row in rows],
    "copies": lambda rows: pickle.loads(pickle.dumps([copy.deepcopy(Bar(**row)) for row in rows])),
    "dumps": lambda rows: [Bar(**Bar(**row).model_dump()) for row in rows],
    "arrow": pa.Table.from_pylist,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "stream": lambda rows: pa.Table.from_pylist(rows).to_reader(),
}


def bar(symbol: str, close: float, vendor: str = "cased", **more: Any) -> dict[str, Any]:
    start = {"vendor": vendor, "symbol": symbol, "timeframe": "1d", "ts": "2024-01-02T00:00:00Z"}
    return {**start, "close_price": close, **more}


def stored(store: Store, kind: str = "bars", value: str = "close_price") -> list[Any]:
    return store.rows(
        f"SELECT s.vendor, s.symbol, r.{value} FROM store.{kind} AS r JOIN store.series AS s USING (series_id)"
        ' ORDER BY s.vendor, s.symbol COLLATE "C", r.series_id'
    )


@pytest.fixture
def cased(store: Store) -> Store:
    """The store, with a case-sensitive vendor."""
    vendors.declare(store.admin_dsn, "cased")
    return store


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", FORMS)
def test_symbols_that_differ_only_in_case_stay_separate_in_every_input_form(
    connect: Callable[..., Client], cased: Store, form: str, mode: str
) -> None:
    client = connect(dsn=cased.dsn, tenant_id=cased.tenant_a, write_mode=mode)
    rows = [bar("AMpB", 1.0), bar("AMPB", 2.0), bar(" aapl ", 3.0, "plain")]
    assert client.upsert_bars(FORMS[form](rows)) == 3
    assert stored(cased) == [("cased", "AMPB", 2.0), ("cased", "AMpB", 1.0), ("plain", "AAPL", 3.0)]
    versions = cased.rows("SELECT xmin::text FROM store.bars ORDER BY series_id")
    client.upsert_bars(FORMS[form](rows[::-1]))
    assert cased.rows("SELECT xmin::text FROM store.bars ORDER BY series_id") == versions


@pytest.mark.every_engine
def test_large_batches_of_models_and_frames_keep_both_instruments(client: Client, cased: Store) -> None:
    """So many models are converted to columns."""
    rows = [
        bar(symbol, at, ts=f"2024-01-02T{at // 60:02}:{at % 60:02}:00Z", timeframe="1m")
        for at in range(600)
        for symbol in BOTH
    ]
    for many in ([Bar(**row) for row in rows], rows, pa.Table.from_pylist(rows)):
        assert client.upsert_bars(many) == 1200
        found = cased.rows(
            "SELECT s.symbol, count(*) FROM store.bars JOIN store.series AS s USING (series_id) GROUP BY 1 ORDER BY 1"
        )
        assert sorted(found) == [("AMPB", 600), ("AMpB", 600)]


@odd_rows
@pytest.mark.parametrize("form", FORMS)
def test_without_a_declaration_symbols_are_converted_to_upper_case(client: Client, store: Store, form: str) -> None:
    client.upsert_bars(FORMS[form]([bar("AMpB", 1.0), bar("AMPB", 2.0)]))
    assert stored(store) == [("cased", "AMPB", 2.0)]
    assert [row.close_price for row in client.bars_window("ampb", "1d", *JANUARY, "cased")] == [2.0]


@before_the_server
def test_a_model_shows_a_symbol_in_upper_case() -> None:
    one = Bar(**bar("AMpB", 1.0))
    assert one.symbol == "AMPB"
    assert (f"{one.symbol}", json.loads(one.model_dump_json())["symbol"]) == ("AMPB", "AMPB")
    assert one == Bar(**bar("AMPB", 1.0))
    assert {"AMPB": 1}[one.symbol] == 1


def test_options_fundamentals_and_news_keep_both_instruments(client: Client, cased: Store) -> None:
    listed = {"vendor": "cased", "expiry": "2025-01-17", "option_type": "C", "strike": 1, "ts": "2024-01-02"}
    options = [
        {"symbol": "AMpB", "iv": 0.1, "root": None},
        {"symbol": "AMPB", "iv": 0.2, "root": None},
        {"symbol": "AMPB", "iv": 0.3, "root": "AMPb"},
        {"symbol": "AMpB", "iv": 0.4, "root": "AMPB"},
    ]
    expected = {("AMpB", "AMpB"): 0.1, ("AMPB", "AMPB"): 0.2, ("AMPB", "AMPb"): 0.3, ("AMpB", "AMPB"): 0.4}
    for form in (lambda rows: [OptionSnap(**row) for row in rows], pa.Table.from_pylist):
        client.upsert_options(form([{**listed, **row} for row in options]))
        chain = client.option_chain(BOTH, "2024-01-03", "cased")
        assert {(row.symbol, row.root): row.iv for row in chain} == expected
    assert [row.root for row in client.option_chain("AMpB", "2024-01-03", "cased")] == ["AMPB", "AMpB"]

    client.upsert_fundamentals(
        [Fundamentals(vendor="cased", symbol=symbol, asof=DAY, eps=len(symbol.lower())) for symbol in BOTH]
    )
    client.upsert_fundamentals([Fundamentals(vendor="cased", symbol="AMpB", asof=DAY, eps=1, currency="usd")])
    (row,) = client.fundamentals_window("AMpB", *JANUARY, "cased")
    assert (row.eps, row.currency) == (1.0, "USD")
    assert len(client.fundamentals_window(BOTH, *JANUARY, "cased")) == 2


@pytest.mark.every_engine
@pytest.mark.parametrize("given", [{}, {"vendor_id": "7"}, {"id": "6b1c4d0e-9d8f-4a52-9d0c-2f5f5a8a1c99"}])
def test_news_of_both_instruments_are_two_rows_for_every_source_of_their_id(
    client: Client, cased: Store, given: dict[str, str]
) -> None:
    article = {"published_at": "2024-01-02T12:00:00Z", "title": "Merger", **given}
    rows = [
        {**article, "vendor": vendor, "symbol": symbol}
        for vendor in ("cased", "plain")
        for symbol in ("AMpB", "AMPB", "MSFT")
    ]
    expected = [("cased", "AMPB"), ("cased", "AMpB"), ("cased", "MSFT"), ("plain", "AMPB"), ("plain", "MSFT")]
    found: list[Any] = []
    for form in (lambda rows: [News(**row) for row in rows], pa.Table.from_pylist):
        client.upsert_news(form(rows[:3]))
        client.upsert_news(form(rows[4:]))
        read = client.news_window(*JANUARY)
        assert sorted((row.vendor, row.symbol) for row in read) == expected
        found.append(sorted((row.vendor, row.symbol, row.id) for row in read))
    assert found[0] == found[1]
    # Written back as they were read, they are the same rows.
    client.upsert_news(client.news_window(*JANUARY))
    assert sorted((row.vendor, row.symbol, row.id) for row in client.news_window(*JANUARY)) == found[0]


def test_every_read_spells_a_symbol_as_its_vendor_does(client: Client, cased: Store) -> None:
    minutes = [
        bar(symbol, close, vendor, timeframe="1m", ts="2024-01-02T15:00:00Z")
        for symbol, close, vendor in (("AMpB", 1.0, "cased"), ("AMPB", 2.0, "cased"), ("AMPB", 3.0, "plain"))
    ]
    client.upsert_bars(minutes)
    client.upsert_news(
        [
            News(vendor=vendor, published_at=DAY, title=f"{vendor} {symbol}", symbol=symbol)
            for vendor, symbol in (("cased", "AMpB"), ("cased", "AMPB"), ("plain", "ampb"))
        ]
    )
    window = (*JANUARY, "cased")

    def closes(rows: Any) -> list[float]:
        return [row.close_price for row in rows]

    assert closes(client.bars_window("AMpB", "1m", *window)) == [1.0]
    assert closes(client.bars_window(BOTH, "1m", *window)) == [2.0, 1.0]
    assert closes(client.bars_window("ampb", "1m", *JANUARY, "plain")) == [3.0]
    wide = client.bars_window(BOTH, "1m", *window, as_="pandas", wide="close_price")
    assert (list(wide.columns), wide.iloc[0].tolist()) == (BOTH, [1.0, 2.0])
    assert closes(client.rollup("AMpB", "1h", *window)) == [1.0]
    assert closes(client.rollup(BOTH, "4h", *window)) == [2.0, 1.0]
    assert [closes(part) for part in client.iter_rollup(["AMpB"], "1h", *window)] == [[1.0]]
    assert [closes(part) for part in client.iter_bars_window(["AMpB"], "1m", *window)] == [[1.0]]
    assert [(one.symbol, one.price) for one in client.latest_prices(["AMpB"], "cased")] == [("AMpB", 1.0)]
    assert client.symbols(vendor="cased") == ["AMPB", "AMpB"]
    assert [(one.vendor, one.symbol) for one in client.series(symbol="AMpB")] == [("cased", "AMpB"), ("plain", "AMPB")]
    assert [one.symbol for one in client.coverage(vendor="cased", symbol="AMpB")] == ["AMpB"]
    for vendor, symbols in (("cased", {"AMpB"}), (None, {"AMpB", "AMPB"})):
        parts = client.iter_rows("bars", vendor=vendor, symbols=["AMpB"])
        assert {row.symbol for part in parts for row in part} == symbols
    # Of all vendors, each spells the symbol in its own way.
    titles = {"cased AMpB", "plain ampb"}
    assert {row.title for row in client.news_window(*JANUARY, symbol="AMpB")} == titles
    assert {row.title for row in client.news_window(*JANUARY, symbol=["AMpB"], vendor="cased")} == {"cased AMpB"}
    assert {row.title for part in client.iter_rows("news", symbols=["AMpB"]) for row in part} == titles
    frames = client.iter_rows("news", symbols=["AMpB"], as_="arrow")
    assert {title for part in frames for title in part["title"].to_pylist()} == titles
    assert set(client.news_window(*JANUARY, symbol="AMpB", as_="arrow")["title"].to_pylist()) == titles
    # A symbol that was read, or that a model shows, is found again.
    for symbol in (client.series(vendor="cased")[1].symbol, Bar(**minutes[0]).symbol):
        assert closes(client.bars_window(symbol, "1m", *window)) == [1.0]

    gone = client.delete("bars", vendor="cased", symbol="AMpB")
    assert [(one.symbol, one.rows) for one in gone.series] == [("AMpB", 1)]
    assert stored(cased) == [("cased", "AMPB", 2.0), ("plain", "AMPB", 3.0)]


def test_scan_and_export_spell_symbols_as_declared_for_the_vendor(cased: Store, tmp_path: Path) -> None:
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_a) as client:
        client.upsert_bars([bar("AMpB", 1.0), bar("AMPB", 2.0)])
        client.upsert_news([News(vendor="cased", published_at=DAY, title=one, symbol=one) for one in BOTH])
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_a) as client:
        found = client.scan("bars", vendor="cased", symbols=["AMpB"]).collect()
        assert found["close_price"].to_list() == [1.0]
        assert client.scan("news", symbols=["AMpB"], as_="arrow").read_all()["title"].to_pylist() == ["AMpB"]
        assert client.scan("bars").filter(pl.col("symbol") == "AMpB").collect()["close_price"].to_list() == [1.0]
        client.export("bars", str(tmp_path / "bars.parquet"), symbols=["AMpB"])
    assert parquet.read_table(tmp_path / "bars.parquet")["symbol"].to_pylist() == ["AMpB"]


def test_a_symbol_in_the_wrong_case_raises_an_error_that_lists_similar_symbols(client: Client, cased: Store) -> None:
    client.upsert_bars([bar("AMpB", 1.0), bar("AMPB", 2.0)])
    with pytest.raises(UnknownSeries, match=r"cased has no bars of ampb; near it: AMPB, AMpB"):
        client.bars_window("ampb", "1d", *JANUARY, "cased", missing="raise")


def test_rows_written_back_keep_their_case_and_other_vendors_get_upper_case(client: Client, cased: Store) -> None:
    client.upsert_bars([bar("AMpB", 1.0)])
    rows = client.bars_window("AMpB", "1d", *JANUARY, "cased")
    frame = client.bars_window("AMpB", "1d", *JANUARY, "cased", as_="arrow")
    client.upsert_bars(rows)
    client.upsert_bars(frame)
    client.upsert_bars([row.model_copy(update={"vendor": "plain"}) for row in rows])
    assert stored(cased) == [("cased", "AMpB", 1.0), ("plain", "AMPB", 1.0)]


# Clients that do not know a declaration yet ---------------------------------------------------------------------------


class Counting(Observer):
    """Counts the attempts that are repeated."""

    def __init__(self) -> None:
        self.repeated = 0

    def retried(self, operation: str, error: Exception) -> None:
        self.repeated += 1


@pytest.mark.both_clients
def test_a_client_with_a_stale_declaration_switches_to_the_new_one(
    connect: Callable[..., Client], store: Store
) -> None:
    old, other = (connect(dsn=store.dsn, tenant_id=store.tenant_a, max_attempts=1) for _ in range(2))
    # It knows the id of AMPB, under which it has written AMpB.
    for _ in range(2):
        old.upsert_bars([bar("AMpB", 1.0)])
    vendors.declare(store.admin_dsn, "cased")
    other.upsert_bars([bar("AMPB", 2.0)])
    old.upsert_bars([bar("AMpB", 3.0)])
    assert stored(store) == [("cased", "AMPB", 2.0), ("cased", "AMpB", 3.0)]
    store.execute(
        "DELETE FROM store.bars USING store.series AS s WHERE s.series_id = bars.series_id AND symbol = 'AMpB'"
    )
    store.execute("UPDATE store.series SET last_ts = NULL WHERE symbol = 'AMpB'")
    assert vendors.withdraw(store.admin_dsn, "cased")
    assert [row.close_price for row in old.bars_window("AMpB", "1d", *JANUARY, "cased")] == [2.0]
    other.upsert_bars([bar("AMpB", 4.0)])
    assert stored(store) == [("cased", "AMPB", 4.0)]


def test_a_client_fetches_the_declarations_once(cased: Store) -> None:
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_a, observer=(counting := Counting())) as client:
        sessions: list[Session] = []
        make = client._session

        def watched(*, sure: bool = False) -> Session:
            sessions.append(make(sure=sure))
            return sessions[-1]

        client._session = watched  # type: ignore[method-assign]
        for _ in range(3):
            client.upsert_bars([bar("AMpB", 1.0)])
            client.for_tenant(cased.tenant_b).latest_prices(["AMpB"], "cased", missing="ignore")
        assert [session.asked for session in sessions] == [False, True, *[False] * 5]
        # The server refuses the first attempt, and the client repeats it without counting it as failed.
        assert counting.repeated == 0


@pytest.mark.parametrize("form", ["models", "arrow"])
def test_rows_that_a_new_declaration_separates_are_not_counted_as_replaced(store: Store, form: str) -> None:
    class Watching(Observer):
        written: Written | None = None

        def performed(self, operation: str, seconds: float, written: Written | None) -> None:
            self.written = written

    with MDS(dsn=store.dsn, tenant_id=store.tenant_a, observer=(watching := Watching())) as client:
        # It knows the ids of the names, so it sends the rows with its first statement.
        client.upsert_bars([bar("AMPB", 0.0)])
        vendors.declare(store.admin_dsn, "cased")
        with pytest.warns(DataQualityWarning):
            client.upsert_bars(FORMS[form]([bar("AMpB", 1.0), bar("AMPB", 2.0)]))
    assert watching.written is not None
    assert (watching.written.rows, watching.written.replaced) == (2, 0)
    assert stored(store) == [("cased", "AMPB", 2.0), ("cased", "AMpB", 1.0)]


@before_the_server
def test_a_session_that_fetches_declarations_does_not_confirm_them_early() -> None:
    operation, asking = (
        latest_prices(["A"], "v"),
        Session(Config.load({"dsn": "host=h"}, environment={}), {}, asks=True),
    )
    assert operation.opening(asking).parameters[-1] is None
    operation.opened(asking, [(None, "1", True)])
    assert not asking.known.confirmed
    asking.spell(["cased"])
    assert asking.known.confirmed


@before_the_server
def test_a_rejected_model_keeps_its_given_spelling() -> None:
    """It is read again from what was rejected."""
    row = Bar(**bar("AMpB", 1.0))
    assert json.loads(Reject("bars", row, "why").to_json())["row"]["symbol"] == "AMpB"
    assert json.loads(Reject("bars", Bar(**bar("AMPB", 1.0)), "why").to_json())["row"]["symbol"] == "AMPB"
    assert row.symbol == "AMPB"


@pytest.mark.both_clients
def test_the_first_transaction_or_stream_of_a_client_uses_the_declarations(
    connect: Callable[..., Client], cased: Store
) -> None:
    first, second = (connect(dsn=cased.dsn, tenant_id=cased.tenant_a) for _ in range(2))
    with first.transaction() as transaction:
        transaction.upsert_bars([bar("AMpB", 1.0)])
        transaction.upsert_bars([bar("AMPB", 2.0)])
        assert [row.close_price for row in transaction.bars_window("AMpB", "1d", *JANUARY, "cased")] == [1.0]
    parts = second.iter_rows("bars", symbols=["AMpB"])
    assert [row.close_price for part in parts for row in part] == [1.0]


def test_a_transaction_with_a_stale_declaration_fails_and_can_be_retried(client: Client, store: Store) -> None:
    client.upsert_bars([bar("AMpB", 1.0)])
    vendors.declare(store.admin_dsn, "cased")
    with pytest.raises(RetryableError, match="case-sensitive"), client.transaction() as transaction:
        transaction.upsert_bars([bar("AMpB", 2.0)])
    with client.transaction() as transaction:
        transaction.upsert_bars([bar("AMpB", 3.0)])
    vendors.declare(store.admin_dsn, "another")
    # A stream that has not begun is begun again.
    assert [row.symbol for part in client.iter_rows("bars", vendor="cased") for row in part] == ["AMPB", "AMpB"]
    assert stored(store) == [("cased", "AMPB", 1.0), ("cased", "AMpB", 3.0)]


@pytest.mark.many_sessions
def test_a_declaration_is_not_made_while_transactions_run_and_does_not_block_reads(store: Store) -> None:
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        with client.transaction() as transaction:
            transaction.upsert_bars([bar("AMpB", 1.0)])
            with pytest.raises(vendors.VendorError, match="between transactions only"):
                vendors.declare(store.admin_dsn, "cased", wait_s=0)
            # Others go on.
            assert client.latest_prices(["AMPB"], "cased", missing="ignore") == []
        assert vendors.declare(store.admin_dsn, "cased").series == 1
        assert [one.vendor for one in vendors.declared(store.admin_dsn)] == ["cased"]


def test_a_declaration_cannot_be_withdrawn_while_symbols_have_lower_case_letters(client: Client, cased: Store) -> None:
    client.upsert_bars([bar("AMpB", 1.0), bar("ÄÖ", 2.0), bar("äö", 3.0, "plain")])
    client.upsert_news([News(vendor="cased", published_at=DAY, title="up", symbol="éX")])
    for symbols, kind in (("AMpB, éX", "bars"), ("éX", "news")):
        with pytest.raises(vendors.VendorError, match=f"not in upper case: {symbols}"):
            vendors.withdraw(cased.admin_dsn, "cased")
        assert len(vendors.declared(cased.admin_dsn)) == 1
        client.delete(kind, vendor="cased", **({"symbol": "AMpB"} if kind == "bars" else {}))
    assert vendors.withdraw(cased.admin_dsn, "cased")
    assert not vendors.withdraw(cased.admin_dsn, "cased")
    assert [row.symbol for row in client.bars_window("äö", "1d", *JANUARY, "cased")] == ["ÄÖ"]


def test_symbols_with_lower_case_letters_are_found_while_transactions_run(client: Client, cased: Store) -> None:
    client.upsert_bars([bar("AMpB", 1.0)])
    with psycopg.connect(cased.dsn) as open_:
        open_.execute("SELECT mds.spells_as('{cased}')")
        # Nobody had to wait for that answer.
        with pytest.raises(vendors.VendorError, match="not in upper case: AMpB"):
            vendors.withdraw(cased.admin_dsn, "cased", wait_s=0)


@pytest.mark.many_sessions
def test_a_search_that_blocks_all_clients_is_aborted_after_a_limit(
    cased: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, searched = vendors._in_lower_case, 0
    with psycopg.connect(cased.superuser_dsn) as open_:

        def long(*asked: Any) -> list[str]:
            nonlocal searched
            searched += 1
            if searched == 2:
                open_.execute("LOCK TABLE store.news IN ACCESS EXCLUSIVE MODE")
            return search(*asked)

        monkeypatch.setattr(vendors, "_in_lower_case", long)
        monkeypatch.setattr(vendors, "SEARCH_S", 0.1)
        with pytest.raises(vendors.VendorError, match=r"took more than 0\.1 s, in which all clients wait"):
            vendors.withdraw(cased.admin_dsn, "cased")
    assert [one.vendor for one in vendors.declared(cased.admin_dsn)] == ["cased"]


# Commands -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mds(cased: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, MDS_DSN=cased.dsn, MDS_TENANT_ID=cased.tenant_a)
    return runs(main, capsys, monkeypatch)


def test_files_of_every_format_keep_both_instruments(mds: Run, cased: Store, tmp_path: Path) -> None:
    rows = [bar("AMpB", 1.0), bar("AMPB", 2.0)]
    table = pa.Table.from_pylist(rows)
    (tmp_path / "a.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "b.csv").write_text(pd.DataFrame(rows).to_csv(index=False))
    parquet.write_table(table, tmp_path / "c.parquet")
    for name in ("a.ndjson", "b.csv", "c.parquet"):
        command = ("ingest-ndjson", "bars") if name.endswith("ndjson") else ("import", "bars")
        assert mds(*command, tmp_path / name).code == 0
        assert stored(cased) == [("cased", "AMPB", 2.0), ("cased", "AMpB", 1.0)]
        cased.execute("TRUNCATE store.bars")
        cased.execute("UPDATE store.series SET last_ts = NULL, last_price = NULL, last_price_ts = NULL")
    (tmp_path / "dates.csv").write_text("Date,Close\n2024-01-02,5\n")
    mapped = ("--map", "ts=Date", "--map", "close_price=Close", "--vendor", "cased", "--timeframe", "1d")
    assert mds("import", "bars", tmp_path / "dates.csv", *mapped, "--symbol", "AMpB").code == 0
    assert mds("write-bar", "--vendor", "cased", "--symbol", "AMPB", "--timeframe", "1d", "--ts", "2024-01-02",
               "--close-price", "6").code == 0  # fmt: skip
    assert stored(cased) == [("cased", "AMPB", 6.0), ("cased", "AMpB", 5.0)]
    read = mds("bars", "--vendor", "cased", "--symbol", "AMpB", "--timeframe", "1d", *WINDOW, "--format", "ndjson")
    assert [json.loads(line)["close_price"] for line in read.out.splitlines()] == [5.0]
    assert mds("latest-prices", "--vendor", "cased", "--symbols", "AMpB", "--json").json[0]["symbol"] == "AMpB"


@odd_rows
def test_replaced_rows_of_a_file_are_counted_per_case_sensitive_symbol(mds: Run, cased: Store, tmp_path: Path) -> None:
    rows = [bar("AMpB", 1.0), bar("AMPB", 2.0), bar("AMpB", 3.0)]
    (tmp_path / "a.csv").write_text(pd.DataFrame(rows).to_csv(index=False))
    (tmp_path / "a.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    said = "1 replaced by a later row with the same key and other values"
    assert said in mds("import", "bars", tmp_path / "a.csv").out
    assert said in mds("ingest-ndjson", "bars", tmp_path / "a.ndjson").out
    loaded = load(cased.admin_dsn, "a", "bars", str(tmp_path / "a.csv"))
    assert loaded.replaced == 1
    assert stored(cased) == [("cased", "AMPB", 2.0), ("cased", "AMpB", 3.0)]


WINDOW = ("--start", "2024-01-01", "--end", "2024-02-01")


def test_a_users_own_sql_statement_is_not_checked_against_declarations(cased: Store) -> None:
    """Users of SQL write names as they are stored."""
    with psycopg.connect(cased.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (cased.tenant_a,))
        assert connection.execute("SELECT vendor FROM mds.case_sensitive_vendors").fetchall() == [("cased",)]
