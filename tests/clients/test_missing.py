"""An empty answer says why, where the store can know: no tenant, no such series, and what is near it."""

import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from datastore import aggregates
from mds_client import Config, ConfigurationError, DataQualityWarning, UnknownSeries
from mds_client.protocol.operations import Execute, Group, Session
from mds_client.reading import streams
from tests.conftest import Client, Store

ALWAYS = ("2020-01-01", "2030-01-01")


@pytest.fixture
def filled(client: Client) -> Client:
    rows = [("acme", "AAPL", "1m"), ("acme", "AAPL", "1d"), ("acme", "MSFT", "1m"), ("other", "GOOG", "1m")]
    client.upsert_bars(
        [
            {"vendor": vendor, "symbol": symbol, "timeframe": timeframe, "ts": "2024-01-02", "close_price": 1}
            for vendor, symbol, timeframe in rows
        ]
    )
    client.upsert_fundamentals([{"vendor": "acme", "symbol": "AAPL", "asof": "2024-01-02", "eps": 1}])
    return client


ASKED: dict[str, tuple[Callable[[Client, Any], Any], str]] = {
    "vendor": (
        lambda client, missing: client.bars_window("AAPL", "1m", *ALWAYS, "acne", missing=missing),
        "there is no vendor 'acne' of bars; there are: acme, other",
    ),
    "symbol": (
        lambda client, missing: client.bars_window("APPL", "1m", *ALWAYS, "acme", missing=missing),
        "acme has no bars of APPL; near it: AAPL",
    ),
    "symbol of another vendor": (
        lambda client, missing: client.bars_window("GOOG", "1m", *ALWAYS, "acme", missing=missing),
        "acme has no bars of GOOG; GOOG is from other",
    ),
    "timeframe": (
        lambda client, missing: client.bars_window("AAPL", "1h", *ALWAYS, "acme", missing=missing),
        "AAPL from acme has no timeframe 1h; there are: 1d, 1m; rollup",
    ),
    "several in one text": (
        lambda client, missing: client.bars_window("AAPL,MSFT", "1m", *ALWAYS, "acme", missing=missing),
        "give several symbols as a list",
    ),
    "one of several": (
        lambda client, missing: client.bars_window(["AAPL", "MSFR"], "1m", *ALWAYS, "acme", missing=missing),
        "acme has no bars of MSFR; near it: MSFT",
    ),
    "fundamentals": (
        lambda client, missing: client.fundamentals_window("MSFT", *ALWAYS, "acme", missing=missing),
        "acme has no fundamentals of MSFT",
    ),
    "chain": (
        lambda client, missing: client.option_chain("SPX", "2024-01-02", "acme", missing=missing),
        "the tenant has no options at all",
    ),
    "rollup": (
        lambda client, missing: client.rollup("GOOG", "5m", *ALWAYS, "acme", missing=missing),
        "acme has no bars of GOOG; GOOG is from other",
    ),
    "rollup of several": (
        lambda client, missing: client.rollup(["AAPL", "GOOG"], "5m", *ALWAYS, "acme", missing=missing),
        "acme has no bars of GOOG",
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_missing_series_is_named_with_similar_names(filled: Client, name: str) -> None:
    ask, message = ASKED[name]
    with pytest.warns(DataQualityWarning, match=message):
        ask(filled, "warn")
    with pytest.raises(UnknownSeries, match=message):
        ask(filled, "raise")
    with warnings.catch_warnings(action="error"):
        ask(filled, "ignore")


def test_an_existing_series_without_rows_in_the_window_gives_no_warning(filled: Client) -> None:
    assert filled.bars_window("AAPL", "1m", "2025-01-01", "2026-01-01", "acme", missing="raise") == []
    assert (
        filled.bars_window(["AAPL"], "1m", "2025-01-01", "2026-01-01", "acme", missing="raise", as_="arrow").num_rows
        == 0
    )


def test_every_read_without_a_tenant_gives_a_warning(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=None)
    for ask in (
        lambda: client.bars_window("AAPL", "1m", *ALWAYS, "acme"),
        lambda: client.latest_prices(["AAPL"], "acme"),
        client.series,
        client.coverage,
        lambda: list(client.iter_rows("bars")),
    ):
        with pytest.warns(DataQualityWarning, match="no tenant is set, so nothing is seen: pass tenant_id"):
            assert ask() == []


def test_an_unknown_value_of_missing_is_rejected(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="missing is warn, raise, ignore; not 'never'"):
        client.bars_window("AAPL", "1m", *ALWAYS, "acme", missing="never")


@pytest.mark.parametrize("asked", ["1m", "1min", "1Min", "60s"])
def test_reads_accept_the_same_timeframe_spellings_as_writes(filled: Client, asked: str) -> None:
    assert len(filled.bars_window("AAPL", asked, *ALWAYS, "acme")) == 1
    assert sum(len(part) for part in filled.iter_bars_window("AAPL", asked, *ALWAYS, "acme")) == 1
    assert sum(len(part) for part in filled.iter_rows("bars", symbols=["AAPL"], timeframe=asked)) == 1


@pytest.mark.parametrize("asked", ["1M", "fortnight", ""])
def test_reads_reject_the_same_timeframes_as_writes(client: Client, asked: str) -> None:
    with pytest.raises(ConfigurationError, match=r"timeframe|may mean minutes or months"):
        client.bars_window("AAPL", asked, *ALWAYS, "acme")
    with pytest.raises(ConfigurationError, match=r"timeframe|may mean minutes or months"):
        client.rollup("AAPL", asked, *ALWAYS, "acme")


def test_reading_some_series_fetches_only_their_names(filled: Client, store: Store) -> None:
    filled.upsert_bars(
        [{"vendor": "many", "symbol": f"S{n}", "timeframe": "1m", "ts": "2024-01-02", "volume": 1} for n in range(500)]
    )
    stream = streams.iter_rows("bars", vendor="acme", symbols=["MSFT"], timeframe="1m")
    talk = stream.operation.talk(Session(Config.load(dsn=store.dsn), {}, wanted=store.tenant_a))
    group = next(talk)
    assert isinstance(group, Group)
    (step,) = group.steps
    assert isinstance(step, Execute)
    with psycopg.connect(store.dsn) as connection:
        connection.execute("SELECT mds.use_tenant(%s)", (store.tenant_a,))
        assert len(connection.execute(step.statement, step.parameters).fetchall()) == 1


CLOSE_BY_MINUTE = [float(n) for n in range(3 * 24 * 60)]


@pytest.fixture
def minutes(client: Client) -> Client:
    begin = datetime(2024, 2, 29, tzinfo=UTC)
    for symbol, shift in (("A", 0.0), ("B", 1000.0)):
        client.upsert_bars(
            [
                {
                    "vendor": "v",
                    "symbol": symbol,
                    "timeframe": "1m",
                    "ts": begin + timedelta(minutes=n),
                    "open_price": close + shift,
                    "high_price": close + shift + 1,
                    "low_price": close + shift - 1,
                    "close_price": close + shift,
                    "volume": 1,
                }
                for n, close in enumerate(CLOSE_BY_MINUTE)
            ]
        )
    return client


def bar_of(first: int, last: int) -> tuple[float, float, float, float, int]:
    """Open, high, low, close and volume of the minutes from one to another."""
    return float(first), last + 1.0, first - 1.0, float(last), last - first + 1


@pytest.mark.every_engine
@pytest.mark.parametrize(("timeframe", "minutes_each"), [("30m", 30), ("4h", 240), ("2m", 2), ("12h", 720), ("1h", 60)])
def test_a_timeframe_that_is_a_multiple_of_a_stored_one_is_computed(
    minutes: Client, store: Store, timeframe: str, minutes_each: int
) -> None:
    aggregates.refresh(store.admin_dsn)
    found = minutes.rollup("A", timeframe, "2024-02-29", "2024-03-03", "v")
    assert [(r.open_price, r.high_price, r.low_price, r.close_price, r.volume) for r in found] == [
        bar_of(first, first + minutes_each - 1) for first in range(0, len(CLOSE_BY_MINUTE), minutes_each)
    ]
    assert {row.timeframe for row in found} == {timeframe}
    begin = datetime(2024, 2, 29, tzinfo=UTC)
    assert [row.ts for row in found[:2]] == [begin, begin + timedelta(minutes=minutes_each)]


def test_weekly_and_monthly_rollups_follow_the_calendar(minutes: Client, store: Store) -> None:
    weeks = minutes.rollup("A", "1W", "2024-02-01", "2024-04-01", "v")
    assert [(row.ts.date().isoformat(), row.volume) for row in weeks] == [("2024-02-26", 3 * 24 * 60)]
    months = minutes.rollup("A", "1mo", "2024-02-01", "2024-04-01", "v")
    assert [(row.ts.date().isoformat(), row.volume) for row in months] == [("2024-02-01", 1440), ("2024-03-01", 2880)]
    assert months[0].close_price == 1439.0


def test_a_rollup_of_many_symbols_is_a_list_a_frame_or_a_stream(minutes: Client) -> None:
    span = ("2024-02-29", "2024-03-03")
    found = minutes.rollup(["B", "A"], "4h", *span, "v")
    assert [row.symbol for row in found] == ["A"] * 18 + ["B"] * 18
    assert found == minutes.rollup("A", "4h", *span, "v") + minutes.rollup("B", "4h", *span, "v")
    frame = minutes.rollup(["B", "A"], "4h", *span, "v", as_="arrow")
    assert frame["close_price"].to_pylist() == [row.close_price for row in found]
    parts = list(minutes.iter_rollup(["B", "A"], "4h", *span, "v", batch_rows=7))
    assert [len(part) for part in parts] == [7, 7, 7, 7, 7, 1]
    assert sorted((row for part in parts for row in part), key=lambda row: (row.symbol, row.ts)) == found
    assert sum(part.num_rows for part in minutes.iter_rollup(["A"], "30m", *span, "v", as_="arrow")) == 144


def test_a_window_that_starts_within_a_computed_bar_omits_that_bar(minutes: Client) -> None:
    found = minutes.rollup("A", "4h", "2024-02-29T00:01:00Z", "2024-02-29T08:01:00Z", "v")
    assert [row.ts.hour for row in found] == [4, 8]
    assert found[-1].volume == 240


@pytest.mark.parametrize("timeframe", ["7h", "45s", "2w", "2d5"])
def test_a_timeframe_that_cannot_be_computed_is_rejected(client: Client, timeframe: str) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no rollup|a timeframe is a count"):
        client.rollup("A", timeframe, "2024-02-29", "2024-03-03", "v")


def test_one_call_reads_chains_or_news_of_several_symbols(client: Client) -> None:
    contract = {"vendor": "v", "expiry": "2024-06-21", "option_type": "C", "strike": -0.5, "ts": "2024-01-02"}
    client.upsert_options([{**contract, "symbol": symbol, "iv": 0.5} for symbol in ("B", "A")])
    for as_ in ("models", "arrow"):
        found = client.option_chain(["A", "B"], "2024-01-03", "v", as_=as_)
        assert len(found) == 2
    assert [row.symbol for row in client.option_chain(["B", "A"], "2024-01-03", "v")] == ["A", "B"]
    news = {"vendor": "v", "published_at": "2024-01-02", "title": "t"}
    client.upsert_news([{**news, "symbol": symbol} for symbol in ("A", "B", "C")])
    assert sorted(str(row.symbol) for row in client.news_window(*ALWAYS, symbol=["a", "C"])) == ["A", "C"]
