"""Vendors' APIs as sources of backfills: what the operator has to allow, what a worker needs, what a job is told."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from datastore import backfill, sources
from datastore.cli import main
from datastore.config import Settings, load
from datastore.jobs import JobFailed
from datastore.sources import Malformed, SourceError, SourceUnavailable, Span
from mds_client import Bar, vendors
from tests.clients.test_cli import runs, use
from tests.clients.vendor_apis import Apis, days, serving
from tests.conftest import Store
from tests.control.job_types import PATIENCE, process, until

SECRET = "alpaca-secret-5512"
ALLOWED = Settings(source_vendors=("alpaca",))


@pytest.fixture(scope="module")
def served() -> Iterator[Apis]:
    with serving() as apis:
        yield apis


@pytest.fixture
def apis(served: Apis, monkeypatch: pytest.MonkeyPatch) -> Apis:
    served.bars, served.fault, served.spoil, served.silent = days("2024-01-02", 4), None, False, False
    monkeypatch.setenv("MDS_ALPACA_URL", served.url)
    monkeypatch.setenv("APCA_API_KEY_ID", "key")
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    return served


def span(symbol: str = "AAPL", start: int = 2) -> Span:
    return Span("mine", symbol, "1d", datetime(2024, 1, start, tzinfo=UTC), datetime(2024, 1, start + 4, tzinfo=UTC))


def fetched(*spans: Span, **options: object) -> list[object]:
    source = sources.make({"type": "alpaca", "attempts": 1, **options}, ALLOWED)
    return [row for batch in source.fetch(spans or [span()]) for row in batch]  # type: ignore[union-attr]


def test_fetched_bars_have_the_vendor_and_the_range_of_the_backfill(apis: Apis) -> None:
    apis.bars = days("2024-01-01", 6)
    bars = fetched()
    assert [(bar.vendor, bar.symbol, bar.ts.day) for bar in bars if isinstance(bar, Bar)] == [
        ("mine", "AAPL", day) for day in (2, 3, 4, 5)
    ]


def test_an_invalid_record_does_not_stop_the_others(apis: Apis) -> None:
    apis.spoil = True
    rows = fetched()
    assert [type(row) for row in rows].count(Bar) == 3
    assert [row.where for row in rows if isinstance(row, Malformed)] == ["AAPL, row 2"]


def test_a_symbol_that_is_refused_fails_the_job_after_the_others_are_fetched(apis: Apis) -> None:
    given = iter(sources.make({"type": "alpaca"}, ALLOWED).fetch([span("NOPE"), span()]))
    assert len(next(given)) == 4  # type: ignore[arg-type]
    with pytest.raises(JobFailed, match=r"NOPE: the vendor does not know this symbol"):
        next(given)


def test_a_range_without_bars_yields_no_rows_and_no_error(apis: Apis) -> None:
    assert fetched(span(start=20)) == []


def test_an_unavailable_vendor_is_retried_and_rejected_credentials_are_not(apis: Apis) -> None:
    apis.fault = (503, {})
    with pytest.raises(SourceUnavailable, match=r"\(503\)") as away:
        fetched()
    apis.fault = (401, {})
    with pytest.raises(JobFailed, match="look at APCA_API_KEY_ID") as refused:
        fetched()
    assert SECRET not in f"{away.value}{refused.value}"


def test_only_vendors_that_the_operator_allows_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="massive is not allowed: add it to DATASTORE_SOURCE_VENDORS"):
        sources.make({"type": "massive"}, ALLOWED)
    with pytest.raises(SourceError, match="api_key: alpaca has no such option") as raised:
        sources.make({"type": "alpaca", "api_key": SECRET}, ALLOWED)
    assert SECRET not in str(raised.value)
    monkeypatch.setenv("DATASTORE_SOURCE_VENDORS", "yfinance, ccxt")
    assert load().source_vendors == ("yfinance", "ccxt")


def test_a_worker_skips_a_vendor_whose_library_or_key_it_lacks(apis: Apis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASTORE_SOURCE_VENDORS", "alpaca")
    spec = {"type": "alpaca"}
    assert sources.why_not(spec, sources.offers(ALLOWED)) is None
    assert sources.why_not(spec, sources.offers(Settings())) == "it needs alpaca in DATASTORE_SOURCE_VENDORS"
    monkeypatch.delenv("APCA_API_SECRET_KEY")
    assert sources.why_not(spec, sources.offers(ALLOWED)) == "it needs APCA_API_SECRET_KEY or ALPACA_SECRET_KEY"
    monkeypatch.setattr(vendors.vendors()["alpaca"], "installed", classmethod(lambda _: False))
    assert "the package alpaca-py (the extra alpaca)" in str(sources.why_not(spec, sources.offers(ALLOWED)))


@pytest.mark.many_sessions
@pytest.mark.engines("postgres")
def test_a_backfill_from_a_vendor_survives_a_killed_worker(
    apis: Apis, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, DATABASE_URL=store.admin_dsn, MDS_ALPACA_URL=apis.url, DATASTORE_SOURCE_VENDORS="alpaca")
    run = runs(main, capsys, monkeypatch)
    apis.silent = True
    apis.asked.clear()
    asked = ("--tenant", "a", "--vendor", "alpaca", "--timeframe", "1d", "--symbol", "AAPL", "--start", "2024-01-02",
             "--end", "2024-01-06", "--calendar", "XNYS", "--source", '{"type": "alpaca"}', "--key", "k")  # fmt: skip
    started = run("backfill", "start", *asked, "--json").json
    assert (started["state"], started["missing"]) == ("queued", 4)
    with process(store.admin_dsn, "--lease", 2) as first:
        until(lambda: apis.asked)
        first.send_signal(signal.SIGKILL)
        first.wait(PATIENCE)
    apis.silent, apis.fault, apis.faults = False, (429, {"Retry-After": "0"}), 1
    with process(store.admin_dsn, "--lease", 2):
        until(lambda: backfill.get_backfill(store.admin_dsn, started["id"]).report is not None)
    done = run("backfill", "status", started["id"], "--json").json
    assert (done["state"], done["report"]["missing"], apis.faults) == ("succeeded", 0, 0)
    assert [row for (row,) in store.rows("SELECT close_price FROM store.bars ORDER BY ts")] == [11.5, 12.5, 13.5, 14.5]
    assert run("gaps", *asked[:6], *asked[8:14], "--symbol", "AAPL", "--json").json["missing"] == 0
