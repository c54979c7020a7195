"""Case-sensitive vendors for operators: commands, loads, gaps, calendars, backfills, the search, and the walls."""

import json
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psycopg
import pyarrow as pa
import pytest
from pyarrow import parquet

from datastore import backfill, browsing, gaps, tenants, vendors
from datastore.backfill import BackfillSpec
from datastore.cli import main
from datastore.gaps import calendars
from datastore.load import load
from datastore.load.loading import straight
from datastore.search import search_series
from mds_client import KINDS, MDS, Bar
from mds_client.columns.rows import batches
from mds_client.config import Config
from mds_client.protocol.operations import Execute, Group, Session
from mds_client.values.spelling import UPPER, Spelling
from tests.clients.test_case_sensitive import bar, stored
from tests.clients.test_cli import Run, runs, use
from tests.conftest import Store, before_the_server
from tests.control.job_types import work

BOTH: Final = ["AMpB", "AMPB"]
DAYS: Final = ("2024-01-02", "2024-01-05")


@pytest.fixture
def datastore(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    use(monkeypatch, DATABASE_URL=store.admin_dsn)
    return runs(main, capsys, monkeypatch)


@pytest.fixture
def cased(store: Store) -> Store:
    """The store, with a case-sensitive vendor."""
    vendors.declare(store.admin_dsn, "cased")
    return store


def test_the_vendors_command_declares_lists_and_withdraws(datastore: Run, store: Store) -> None:
    assert datastore("vendors", "list").err.strip() == "no vendor is declared: all symbols are in upper case"
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert_bars([bar("old", 1.0)])
    done = datastore("vendors", "set", " cased ", "--case-sensitive")
    assert (done.code, "in upper case, and stay so" in done.err) == (0, True)
    assert datastore("vendors", "set", "cased", "--case-sensitive", "--json").json["series"] == 1
    assert [one["vendor"] for one in datastore("vendors", "list", "--json").json] == ["cased"]
    assert datastore("vendors", "set", "cased").code == 2
    assert datastore("vendors", "set", " ", "--case-sensitive").code == 1
    assert stored(store) == [("cased", "OLD", 1.0)]
    with MDS(dsn=store.dsn, tenant_id=store.tenant_a) as client:
        client.upsert_bars([bar("new", 2.0)])
    refused = datastore("vendors", "unset", "cased")
    assert (refused.code, "new" in refused.err, "datastore delete" in refused.err) == (1, True, True)
    assert datastore("delete", "bars", "--tenant", "a", "--vendor", "cased", "--symbol", "new", "--yes").code == 0
    assert datastore("vendors", "unset", "cased").out.strip() == "unset"
    assert datastore("vendors", "unset", "cased", "--json").json == {"unset": False}


def test_a_load_keeps_both_instruments(cased: Store, tmp_path: Path) -> None:
    rows = [bar("AMpB", 1.0), bar("AMPB", 2.0), bar("aapl", 3.0, "plain")]
    (tmp_path / "rows.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for name in ("rows.ndjson", "rows.parquet"):
        assert load(cased.admin_dsn, "a", "bars", str(tmp_path / name)).rows == 3
        assert stored(cased) == [("cased", "AMPB", 2.0), ("cased", "AMpB", 1.0), ("plain", "AAPL", 3.0)]


def test_gaps_and_calendars_distinguish_symbols_by_case(cased: Store) -> None:
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_a) as client:
        client.upsert_bars([bar("AMpB", 1.0), bar("AMPB", 2.0, ts="2024-01-03T00:00:00Z")])

    def missing(*symbols: str, **more: Any) -> list[tuple[str, int]]:
        asked = {"tenant": "a", "vendor": "cased", "timeframe": "1d", "start": at(DAYS[0]), "end": at(DAYS[1])}
        found = gaps.check(cased.admin_dsn, symbols=symbols or None, **{**asked, **more})
        return [(gap.symbol, gap.start.day) for gap in found.gaps]

    with pytest.raises(gaps.GapError, match="bars of ampb"):
        missing("ampb", calendar="24/7")
    assert missing("AMpB", calendar="24/7") == [("AMpB", 3)]
    assert missing(*BOTH, calendar="24/7") == [("AMPB", 2), ("AMPB", 4), ("AMpB", 3)]
    page, _ = gaps.check_page(
        cased.admin_dsn, tenant="a", vendor="cased", timeframe="1d", start=at(DAYS[0]), end=at(DAYS[1]), limit=9,
        symbols=["AMpB"], calendar="24/7",
    )  # fmt: skip
    assert [gap.symbol for gap in page.gaps] == ["AMpB"]
    made = calendars.assign(cased.admin_dsn, "a", "24/7", vendor="cased", symbol="AMpB")
    assert made.symbol == "AMpB"
    assert calendars.assign(cased.admin_dsn, "a", "XNYS", vendor="plain", symbol="ampb").symbol == "AMPB"
    assert missing("AMpB") == [("AMpB", 3)]
    with pytest.raises(calendars.CalendarError, match="cased AMPB"):
        missing("AMPB")
    assert not calendars.unassign(cased.admin_dsn, "a", vendor="cased", symbol="AMPB")
    assert calendars.unassign(cased.admin_dsn, "a", vendor="cased", symbol="AMpB")


def at(day: str) -> Any:
    return Bar.model_validate(bar("S", 1.0, ts=day)).ts


@pytest.mark.parametrize("path", ["{symbol}.csv", "all.csv", "all.parquet"])
def test_a_backfill_fills_only_the_symbol_with_the_given_case(
    cased: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("DATASTORE_SOURCE_ROOT", str(tmp_path))
    rows = [
        bar(symbol, close, ts=f"{day}T00:00:00Z")
        for symbol, close in (("AMpB", 1.0), ("AMPB", 2.0), ("ampb", 3.0))
        for day in ("2024-01-02", "2024-01-03", "2024-01-04")
    ]
    lines = ["ts,symbol,close_price", *(f"{row['ts']},{row['symbol']},{row['close_price']}" for row in rows)]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    (tmp_path / "AMpB.csv").write_text("\n".join(lines[:4]))
    table = pa.Table.from_pylist(rows)
    at_ts = table.column_names.index("ts")
    table = table.set_column(at_ts, "ts", pa.array([at(row["ts"]) for row in rows], pa.timestamp("us", "UTC")))
    parquet.write_table(table, tmp_path / "all.parquet")
    asked = {"tenant": "a", "vendor": "cased", "timeframe": "1d", "start": DAYS[0], "end": DAYS[1], "calendar": "24/7",
             "symbols": ["AMpB"], "source": {"type": "files", "path": path}}  # fmt: skip
    spec = BackfillSpec.model_validate(asked)
    made = backfill.start(cased.admin_dsn, spec, idempotency_key="k")
    assert backfill.start(cased.admin_dsn, spec, idempotency_key="k").id == made.id
    work(cased.admin_dsn)
    found = backfill.get_backfill(cased.admin_dsn, made.id)
    assert (found.state, found.rows) == ("succeeded", 3)
    assert stored(cased) == [("cased", "AMpB", 1.0)] * 3
    # Another instrument is none of those that were asked for.
    other = BackfillSpec.model_validate({**asked, "symbols": ["AMPb"], "source": {"type": "files", "path": "AMpB.csv"}})
    failed = backfill.start(cased.admin_dsn, other, idempotency_key="other")
    work(cased.admin_dsn)
    assert backfill.get_backfill(cased.admin_dsn, failed.id).state == "failed"


def test_the_search_ignores_the_case_of_symbols(cased: Store) -> None:
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_a) as client:
        client.upsert_bars([bar("AMpB", 1.0), bar("AMPB", 2.0), bar("AMPB", 3.0, "plain"), bar("X", 4.0)])
    for text in ("ampb", "AMPB", "AMpB cased"):
        found = search_series(cased.admin_dsn, text, order="symbol").items
        assert {(one.vendor, one.symbol) for one in found} >= {("cased", "AMPB"), ("cased", "AMpB")}
        assert "X" not in {one.symbol for one in found}


def test_a_page_of_rows_of_all_vendors_has_each_row_once(cased: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "_SYMBOLS", 1)
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_a) as client:
        client.upsert_bars([bar("AMpB", 1.0), bar("AMPB", 2.0), bar("AMPB", 3.0, "plain")])
        rows, more = browsing.first_rows(cased.admin_dsn, client, "bars", tenant=UUID(cased.tenant_a), limit=9)
    assert sorted((row.vendor, row["symbol"]) for row in rows) == [
        ("cased", "AMPB"), ("cased", "AMpB"), ("plain", "AMPB"),
    ]  # fmt: skip
    assert not more


@before_the_server
def test_a_retried_load_starts_from_the_original_spelling() -> None:
    kind = KINDS["bars"]
    for rows in (pa.Table.from_pylist([bar("AMpB", 1.0)]), [Bar(**bar("AMpB", 1.0))]):
        (batch,) = batches(kind, rows, 10)
        operation = straight(kind, batch, "replace")
        for spelling, symbols in ((Spelling.of(["cased"]), ["AMpB"]), (UPPER, ["AMPB"])):
            group = next(operation.talk(Session(Config.load({"dsn": "host=h"}, environment={}), {}, spelling=spelling)))
            assert isinstance(group, Group)
            step = group.steps[-1]
            assert isinstance(step, Execute)
            assert step.parameters[1] == symbols


@pytest.mark.every_engine
def test_a_tenant_cannot_declare_a_vendor_or_learn_symbols_of_others(cased: Store) -> None:
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_b) as other:
        other.upsert_bars([bar("SecretB", 1.0)])
    with MDS(dsn=cased.dsn, tenant_id=cased.tenant_a) as client:
        assert (client.series(), client.symbols(), client.series(symbol="SecretB")) == ([], [], [])
    cased.execute("CREATE ROLE caser LOGIN PASSWORD 'x'")
    try:
        tenants.bind_role(cased.admin_dsn, "a", "caser")
        with psycopg.connect(cased.dsn, user="caser", password="x", autocommit=True) as attacker:
            for statement in (
                "INSERT INTO mds.case_sensitive_vendors VALUES ('plain', now())",
                "DELETE FROM mds.case_sensitive_vendors",
                "UPDATE mds.case_sensitive_vendors SET vendor = 'plain'",
                "INSERT INTO store.case_sensitive_vendors (vendor) VALUES ('plain')",
                "DELETE FROM store.case_sensitive_vendors",
                "SELECT * FROM store.case_sensitive_vendors",
                "LOCK TABLE store.case_sensitive_vendors",
                "LOCK TABLE mds.case_sensitive_vendors IN ACCESS EXCLUSIVE MODE",
                "CREATE OR REPLACE FUNCTION mds.spells_as(text[]) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), attacker.transaction():
                    attacker.execute(statement.encode())
            with pytest.raises(psycopg.DatabaseError) as refused:
                attacker.execute("SELECT mds.spells_as('{}')")
            assert refused.value.sqlstate == "MDS05"
            assert "Secret" not in str(refused.value)
    finally:
        cased.execute("DROP OWNED BY caser; DROP ROLE caser")
    assert [one.vendor for one in vendors.declared(cased.admin_dsn)] == ["cased"]
