"""Vendors' APIs: each library as it is, against its vendor's API on loopback.

yfinance is sent there by its session, alpaca-py, massive and databento by their base addresses, ccxt by the exchange's
table of addresses.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mds_client import Bar, ConfigurationError, vendors
from mds_client.cli import main
from mds_client.vendors import Fetched, NoBars, SymbolRefused, VendorRefused, VendorUnavailable, Wanted
from tests.clients.test_cli import Run, runs, two_tenants, use
from tests.clients.vendor_apis import Apis, days, minutes, serving
from tests.conftest import Store
from tests.engines.databases import Running

pytestmark = [
    # The libraries' own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

SECRETS = {
    "APCA_API_KEY_ID": "alpaca-key-7781",
    "APCA_API_SECRET_KEY": "alpaca-secret-5512",
    "MASSIVE_API_KEY": "massive-key-9034",
    "DATABENTO_API_KEY": "db-key-2246",
}


@dataclass(frozen=True)
class Case:
    """A vendor as the tests ask it: with what its request says of raw prices, and how often it asks for four days."""

    name: str
    stored_as: str
    path: str
    symbol: str = "AAPL"
    hour: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    raw: tuple[str, str] | None = None
    pages: int = 2


CASES = [
    Case("alpaca", "alpaca", "/v2/stocks/bars", raw=("adjustment", "raw")),
    Case("ccxt", "kraken", "/OHLC", "BTC/USD", options={"exchange": "kraken", "rate_limit": 1}, pages=4),
    Case("databento", "databento", "/v0/", options={"dataset": "XNAS.ITCH"}, pages=1),
    Case("massive", "polygon", "/v2/aggs/", raw=("adjusted", "false")),
    Case("yfinance", "yfinance", "/chart/", hour=5, pages=2),
]


@pytest.fixture(scope="module")
def serving_apis() -> Iterator[Apis]:
    with serving() as apis:
        yield apis


@pytest.fixture
def apis(serving_apis: Apis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Apis]:
    fresh = Apis()
    for name in ("symbol", "bars", "page", "fault", "faults", "silent", "spoil"):
        setattr(serving_apis, name, getattr(fresh, name))
    serving_apis.asked.clear()
    for case in CASES:
        monkeypatch.setenv(f"MDS_{case.name.upper()}_URL", serving_apis.url)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("mds_client.vendors.base.FIRST_WAIT", 0.001)
    yield serving_apis
    serving_apis.silent = False


@pytest.fixture(params=CASES, ids=lambda case: str(case.name))
def case(request: pytest.FixtureRequest, apis: Apis, tmp_path_factory: pytest.TempPathFactory) -> Case:
    found: Case = request.param
    apis.symbol, apis.bars = found.symbol, days("2024-01-02", 4, found.hour)
    if found.name == "yfinance":
        # Where the library keeps the zones of exchanges.
        found_library = vendors.vendors()["yfinance"].library()
        found_library.set_tz_cache_location(str(tmp_path_factory.getbasetemp() / "zones"))
        vendors.vendors()["yfinance"].library("yfinance.cache").get_tz_cache().store("AAPL", None)
    return found


def wanted(case: Case, symbol: str | None = None, start: int = 2, end: int = 6) -> Wanted:
    return Wanted(symbol or case.symbol, "1d", datetime(2024, 1, start, tzinfo=UTC), datetime(2024, 1, end, tzinfo=UTC))


def fetched(case: Case, of: Wanted | None = None, **options: Any) -> list[Bar]:
    """The bars, none of which is invalid."""
    invalid: list[str] = []
    source = Fetched(vendors.make(case.name, {**case.options, **options}), of or wanted(case))
    rows = [
        row for part in source.parts(1_000, lambda _n, why, _t: invalid.append(why)) for row in part.sifted(_no).rows
    ]
    assert not invalid
    return [row for row in rows if isinstance(row, Bar)]


def _no(_line: int, why: str, _text: str) -> None:
    raise AssertionError(why)


def test_every_page_of_a_vendor_arrives_as_raw_bars_in_utc(case: Case, apis: Apis) -> None:
    apis.page = 2
    bars = fetched(case)
    assert [(bar.vendor, bar.symbol, bar.timeframe) for bar in bars] == [(case.stored_as, case.symbol, "1d")] * 4
    assert [(b.ts, b.open_price, b.high_price, b.low_price, b.close_price, b.volume) for b in bars] == apis.bars
    asked = apis.paths(case.path)
    assert len(asked) >= case.pages
    if case.raw is not None:
        assert asked[0][case.raw[0]] == case.raw[1]


def test_a_fetch_excludes_its_end_and_the_unfinished_bar(case: Case, apis: Apis) -> None:
    source = Fetched(
        vendors.make(case.name, case.options),
        wanted(case, end=5),
        now=lambda: apis.bars[2][0] + timedelta(hours=23),
    )
    kept = [row.ts for part in source.parts(1_000, _no) for row in part.sifted(_no).rows if isinstance(row, Bar)]
    # The fourth of January is running, the fifth is the end.
    assert (kept, source.running) == ([bar[0] for bar in apis.bars[:2]], 1)


def test_a_fetch_without_bars_in_its_range_raises_no_bars(case: Case) -> None:
    with pytest.raises(NoBars, match=rf"{case.symbol}: no bars of 1d from 2024-01-20T00:00Z to 2024-01-24T00:00Z"):
        fetched(case, wanted(case, start=20, end=24))


def test_an_unknown_symbol_is_reported_as_such(case: Case) -> None:
    # Massive answers with no results for a ticker that it does not know.
    error = NoBars if case.name == "massive" else SymbolRefused
    with pytest.raises(error, match=r"NOPE"):
        fetched(case, wanted(case, "NOPE" if "/" not in case.symbol else "NOPE/USD"))


def test_rejected_credentials_raise_an_error_with_the_variables_but_no_secret(case: Case, apis: Apis) -> None:
    apis.fault = (401, {})
    vendor = vendors.make(case.name, case.options)
    with pytest.raises(VendorRefused) as raised:
        fetched(case)
    said = str(raised.value)
    assert all(name.split("|")[0] in said for name in vendor.variables)
    assert not [value for value in SECRETS.values() if value in said]


def test_a_forbidden_response_names_the_symbol(case: Case, apis: Apis) -> None:
    apis.fault = (403, {})
    with pytest.raises((SymbolRefused, VendorUnavailable), match=r"AAPL|BTC/USD"):
        fetched(case, attempts=1)


def test_a_rate_limited_request_is_retried_after_the_requested_time(case: Case, apis: Apis) -> None:
    # yfinance asks twice by itself, with another cookie.
    apis.fault, apis.faults = (429, {"Retry-After": "0"}), 2
    assert len(fetched(case)) == 4


def test_a_vendor_that_demands_too_long_a_wait_is_reported_unavailable(case: Case, apis: Apis) -> None:
    apis.fault = (429, {"Retry-After": "3600"})
    began = time.monotonic()
    with pytest.raises(VendorUnavailable, match=r"asks to wait 3,600 s"):
        fetched(case)
    assert time.monotonic() - began < 30


def test_a_vendor_whose_server_keeps_failing_is_reported_unavailable(case: Case, apis: Apis) -> None:
    apis.fault = (503, {})
    with pytest.raises(VendorUnavailable, match=r"after 2 attempts \(503\)"):
        fetched(case, attempts=2)


def test_a_vendor_that_never_answers_does_not_hang(case: Case, apis: Apis) -> None:
    apis.silent = True
    began = time.monotonic()
    # Our deadline or the library's own, whichever is first.
    with pytest.raises(VendorUnavailable, match=r"not available after 1 attempt\."):
        fetched(case, attempts=1, timeout=0.3)
    assert time.monotonic() - began < 5


def test_an_unreachable_vendor_is_reported_unavailable(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on this port of the reserved range.
    monkeypatch.setenv(f"MDS_{case.name.upper()}_URL", "http://127.0.0.1:1")
    with pytest.raises(VendorUnavailable):
        fetched(case, attempts=1)


def test_a_missing_library_is_named_with_its_extra(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    package = vendors.vendors()[case.name].module.split(".")[0]
    for name in [name for name in sys.modules if name.split(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=rf"install the extra {case.name} \(see Installing\)"):
        fetched(case)


@pytest.mark.parametrize("name", ["alpaca", "databento", "massive"])
def test_missing_credentials_are_named(name: str, apis: Apis, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in SECRETS:
        monkeypatch.delenv(variable)
    case = next(case for case in CASES if case.name == name)
    first = vendors.vendors()[name].variables[0].split("|")[0]
    with pytest.raises(ConfigurationError, match=rf"{name} needs credentials: set {first}"):
        fetched(case)


# What one vendor has of its own ---------------------------------------------------------------------------------------


def of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def test_adjusted_prices_are_requested_and_stored_under_another_vendor(apis: Apis) -> None:
    apis.bars = days("2024-01-02", 4)
    assert {bar.vendor for bar in fetched(of("alpaca"), adjustment="all")} == {"alpaca-all"}
    assert {bar.vendor for bar in fetched(of("massive"), adjusted=True)} == {"polygon-adjusted"}
    assert apis.paths("/v2/stocks/bars")[0]["adjustment"] == "all"
    assert apis.paths("/v2/aggs/")[0]["adjusted"] == "true"


def test_crypto_of_alpaca_needs_no_key(apis: Apis, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in SECRETS:
        monkeypatch.delenv(variable)
    apis.symbol, apis.bars = "BTC/USD", days("2024-01-02", 4)
    assert len(fetched(of("alpaca"), wanted(of("alpaca"), "BTC/USD"))) == 4
    assert [path for path, _, _ in apis.asked] == ["/v1beta3/crypto/us/bars"]


def test_minute_bars_of_yahoo_are_requested_in_weekly_parts(apis: Apis) -> None:
    apis.bars = minutes(datetime(2024, 1, 2, 14, 30, tzinfo=UTC), 3)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    assert len(fetched(of("yfinance"), Wanted("AAPL", "1m", start, start + timedelta(days=15)))) == 3
    assert [query["interval"] for query in apis.paths("/chart/") if "period1" in query] == ["1m"] * 3


def test_continuous_symbols_are_spelled_as_databento_expects() -> None:
    vendor = vendors.make("databento", {"dataset": "GLBX.MDP3", "stype_in": "continuous"})
    assert vendor._spelled("ES.C.0") == "ES.c.0"  # type: ignore[attr-defined]


def test_an_unsupported_timeframe_is_rejected_with_the_supported_ones(apis: Apis) -> None:
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match=r"databento has no bars of 7m; it has: 1s, 1m, 1h, 1d"):
        fetched(of("databento"), Wanted("AAPL", "7m", moment, moment + timedelta(days=1)))
    with pytest.raises(ConfigurationError, match=r"kraken has no bars of 3m; it has: 1m, 5m"):
        fetched(of("ccxt"), Wanted("BTC/USD", "3m", moment, moment + timedelta(days=1)))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("yahoo", {}, "there is no vendor 'yahoo'; there are: alpaca, ccxt"),
        ("alpacca", {}, r"did you mean alpaca\?"),
        ("ccxt", {}, "exchange: ccxt needs this option: The exchange"),
        ("ccxt", {"exchange": "../etc"}, "small letters and digits"),
        ("alpaca", {"adjustment": "some"}, "adjustment: Input should be 'raw'"),
        ("massive", {"api_key": "topsecret"}, "api_key: massive has no such option; there are: timeout, attempts"),
    ],
)
def test_invalid_vendors_and_options_are_rejected_with_the_valid_ones(
    name: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        vendors.make(name, options)
    assert "topsecret" not in str(raised.value)


def test_an_unknown_exchange_is_rejected(apis: Apis) -> None:
    with pytest.raises(ConfigurationError, match="ccxt has no exchange 'nowhere'"):
        fetched(of("ccxt"), exchange="nowhere")


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    with two_tenants(running) as made:
        yield made


@pytest.fixture
def mds(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, apis: Apis
) -> Run:
    use(monkeypatch, MDS_DSN=store.dsn, MDS_TENANT_ID=store.tenant_a, MDS_ALPACA_URL=apis.url, **SECRETS)
    monkeypatch.chdir(tmp_path)
    apis.bars = days("2024-01-02", 4)
    return runs(main, capsys, monkeypatch)


FETCH = ("--timeframe", "1d", "--start", "2024-01-02", "--end", "2024-01-06")


def test_one_command_fetches_bars_and_repeating_it_changes_nothing(mds: Run, store: Store) -> None:
    done = mds("fetch", "alpaca", "AAPL", *FETCH)
    assert (done.code, "AAPL of alpaca: 4 rows of bars written" in done.out) == (0, True)
    versions = store.rows("SELECT ts, close_price, xmin::text FROM store.bars ORDER BY ts")
    assert [row[1] for row in versions] == [11.5, 12.5, 13.5, 14.5]
    assert mds("fetch", "alpaca", "AAPL", *FETCH).code == 0
    assert store.rows("SELECT ts, close_price, xmin::text FROM store.bars ORDER BY ts") == versions


def test_a_symbol_that_is_refused_does_not_stop_the_others(mds: Run, store: Store) -> None:
    done = mds("fetch", "alpaca", "NOPE", "AAPL", *FETCH, "--vendor", "mine", "--json")
    assert done.code == 3
    assert [(one["rows"], one["complete"]) for one in done.json["symbols"]] == [(0, False), (4, True)]
    assert "does not know this symbol" in done.json["symbols"][0]["error"]
    assert store.rows("SELECT DISTINCT vendor, symbol FROM store.series") == [("mine", "AAPL")]


def test_invalid_rows_are_rejected_and_set_exit_code_3(mds: Run, apis: Apis, tmp_path: Path) -> None:
    apis.spoil = True
    done = mds("fetch", "alpaca", "AAPL", *FETCH)
    assert (done.code, "3 rows of bars written" in done.out) == (3, True)
    (reject,) = (tmp_path / "AAPL.rejects.ndjson").read_text().splitlines()
    assert (json.loads(reject)["line"], "close_price" in json.loads(reject)["reason"]) == (2, True)


def test_a_dry_run_of_a_fetch_shows_the_first_bars_and_writes_nothing(mds: Run, store: Store) -> None:
    done = mds("fetch", "alpaca", "AAPL", *FETCH, "--dry-run")
    assert (done.code, "the first 4 rows as stored; nothing is written" in done.out) == (0, True)
    assert store.rows("SELECT count(*) FROM store.bars") == [(0,)]
    assert mds("fetch", "alpaca", "NOPE", *FETCH, "--dry-run").code == 1


def test_rejected_credentials_end_the_command(mds: Run, apis: Apis) -> None:
    apis.fault = (401, {})
    done = mds("fetch", "alpaca", "AAPL", "MSFT", *FETCH)
    assert (done.code, "look at APCA_API_KEY_ID or ALPACA_API_KEY" in done.err) == (1, True)
    assert len(apis.asked) == 1


def test_usage_errors_of_fetch_are_reported_before_any_request(mds: Run, apis: Apis) -> None:
    assert mds("fetch", "alpaca", "AAPL", "--timeframe", "2d", "--start", "2024-01-01").code == 2
    assert mds("fetch", "alpaca", "AAPL", "--timeframe", "1d", "--start", "2024-01-02", "--end", "2024-01-01").code == 2
    assert mds("fetch", "ccxt", "BTC/USD", "--timeframe", "1d", "--start", "2024-01-01").code == 2
    assert mds("fetch", "alpaca", "AAPL", *FETCH, "--option", "adjustment").code == 2
    assert apis.asked == []


def test_vendors_are_listed_with_the_credentials_they_need(mds: Run) -> None:
    done = mds("fetch", "--list-vendors")
    assert done.code == 0
    assert all(name in done.out for name in (*vendors.vendors(), "DATABENTO_API_KEY", "MASSIVE_API_KEY"))
