"""The columns of frames that are read: which there are, in which order, and those that are asked for."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from mds_client import KINDS, Bar, ConfigurationError, LatestPrice
from tests.clients.test_frames import NOON, bars, stored
from tests.conftest import Client, Store, before_the_server, odd_rows

END = NOON + timedelta(days=1)
FRAMES = ("arrow", "pandas", "polars")
YEAR = ("2024-01-01", "2025-01-01")
PRICES = ["open_price", "high_price", "low_price", "close_price", "volume"]

READS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "a window": (lambda client, **how: client.bars_window("S0", "1m", NOON, END, "v", **how), PRICES),
    "a window of many": (lambda client, **how: client.bars_window(["S1", "S0"], "1m", NOON, END, "v", **how), PRICES),
    "a rollup": (lambda client, **how: client.rollup("S0", "5m", NOON, END, "v", **how), PRICES),
    "a rollup of many": (lambda client, **how: client.rollup(["S1", "S0"], "5m", NOON, END, "v", **how), PRICES),
    "a rollup that is made": (lambda client, **how: client.rollup("S0", "4h", NOON, END, "v", **how), PRICES),
    "rollups that are made": (lambda client, **how: client.rollup(["S1", "S0"], "1mo", *YEAR, "v", **how), PRICES),
    "fundamentals": (lambda client, **how: client.fundamentals_window("S0", NOON, END, "v", **how), ["eps"]),
    "instruments": (lambda client, **how: client.instruments_window("S0", NOON, END, "v", **how), ["tick_size"]),
    "news": (lambda client, **how: client.news_window(NOON, END, **how), ["title", "sentiment_score"]),
    "a chain": (lambda client, **how: client.option_chain("S0", NOON, "v", **how), ["option_type", "iv"]),
    "chains": (lambda client, **how: client.option_chain(["S1", "S0"], NOON, "v", **how), ["option_type", "iv"]),
}
STREAMS: dict[str, tuple[Callable[..., Iterator[Any]], list[str]]] = {
    "a window": (lambda client, **how: client.iter_bars_window(["S1", "S0"], "1m", NOON, END, "v", **how), PRICES),
    "a rollup": (lambda client, **how: client.iter_rollup("S0", "5m", NOON, END, "v", **how), PRICES),
    "fundamentals": (lambda client, **how: client.iter_fundamentals_window("S0", NOON, END, "v", **how), ["eps"]),
    "rows": (lambda client, **how: client.iter_rows("options", **how), ["option_type", "iv"]),
}


@pytest.fixture
def filled(client: Client) -> Client:
    """A client of a store with rows of every kind, of two symbols, the second one written first."""
    for symbol in ("S1", "S0"):
        client.upsert_bars(bars(6, symbol=[symbol] * 6, volume=range(6), id=[str(uuid4()) for _ in range(6)]))
        client.upsert_fundamentals([{"vendor": "v", "symbol": symbol, "asof": NOON, "eps": 1.5}])
        client.upsert_instruments([{"vendor": "v", "symbol": symbol, "asof": NOON, "tick_size": 0.25}])
        client.upsert_news([{"vendor": "v", "published_at": NOON, "title": symbol, "sentiment_score": 0.5}])
        contract = {"vendor": "v", "symbol": symbol, "ts": NOON, "expiry": NOON.date(), "strike": 1, "iv": 0.25}
        client.upsert_options([{**contract, "option_type": side} for side in "PC"])
    return client


def names(frame: Any) -> list[str]:
    return list(frame.column_names if isinstance(frame, pa.Table) else frame.columns)


def test_frames_begin_with_symbol_time_and_values_and_omit_the_tenant(filled: Client) -> None:
    for read, (ask, values) in READS.items():
        found = names(ask(filled, as_="arrow"))
        assert "tenant_id" not in found, read
        assert "id" not in found[:-1], read
        leading = found[: found.index(values[0])]
        assert not {"vendor", "timeframe"} & set(leading), read
        if read != "news":
            assert leading[0] == "symbol", read
        if values is PRICES:
            assert leading == ["symbol", "ts"], read


def test_a_frame_of_bars_shows_prices_in_eighty_columns(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pandas.io.formats.format.get_terminal_size", lambda: (80, 24))
    client.upsert_bars(bars(6))
    frame = client.bars_window("S0", "1m", NOON, END, "v", as_="pandas")
    assert "open_price" in frame.to_string(max_cols=0).splitlines()[0]


def test_writing_a_frame_back_changes_nothing(filled: Client, store: Store) -> None:
    both = ["S0", "S1"]
    reads: dict[str, Callable[[str], Any]] = {
        "bars": lambda as_: filled.bars_window(both, "1m", NOON, END, "v", as_=as_),
        "fundamentals": lambda as_: filled.fundamentals_window(both, NOON, END, "v", as_=as_),
        "instruments": lambda as_: filled.instruments_window(both, NOON, END, "v", as_=as_),
        "news": lambda as_: filled.news_window(NOON, END, as_=as_),
        "options": lambda as_: filled.option_chain(both, NOON, "v", as_=as_),
    }
    assert set(reads) == set(KINDS)
    for kind, read in reads.items():
        before = stored(store, kind)
        for as_ in FRAMES:
            assert filled.upsert(kind, read(as_)) == len(before) > 0, (kind, as_)
            assert stored(store, kind) == before, (kind, as_)


@pytest.mark.every_engine
def test_a_frame_has_the_requested_columns_in_the_requested_order(filled: Client, store: Store) -> None:
    for read, (ask, values) in READS.items():
        whole = ask(filled, as_="arrow")
        asked = [*reversed(values), "vendor", "tenant_id"]
        some = ask(filled, as_="arrow", columns=asked)
        assert names(some) == asked, read
        # Without time and symbol, too, the rows come in their order.
        assert some.drop_columns(["tenant_id"]).to_pydict() == whole.select(asked[:-1]).to_pydict(), read
        assert set(some["tenant_id"].to_pylist()) == {store.tenant_a}, read
        only = ask(filled, as_="arrow", columns=("vendor",))
        assert (names(only), len(only)) == (["vendor"], len(whole)), read


def test_pandas_and_polars_frames_have_the_requested_columns(filled: Client) -> None:
    for as_ in FRAMES:
        frame = filled.bars_window(["S0", "S1"], "1m", NOON, END, "v", as_=as_, columns=["volume", "symbol"])
        assert (names(frame), len(frame)) == (["volume", "symbol"], 12)


@pytest.mark.every_engine
def test_streamed_batches_have_the_requested_columns(filled: Client) -> None:
    for stream, (ask, values) in STREAMS.items():
        whole = pa.Table.from_batches(list(ask(filled, as_="arrow")))
        assert names(whole)[0] == "symbol", stream
        for asked in ([*reversed(values), "symbol"], ["symbol"]):
            found = pa.Table.from_batches(list(ask(filled, as_="arrow", columns=asked)))
            assert found.to_pydict() == whole.select(asked).to_pydict(), stream


def test_latest_prices_accept_columns(filled: Client, store: Store) -> None:
    whole = filled.latest_prices(["S0"], "v", as_="arrow")
    assert names(whole) == [name for name in LatestPrice.model_fields if name != "tenant_id"]
    asked = ["price", "tenant_id"]
    some = filled.latest_prices(["S0"], "v", as_="arrow", columns=asked)
    assert (names(some), some.to_pylist()) == (asked, [{"price": 5.0, "tenant_id": store.tenant_a}])


REFUSED: dict[str, tuple[Any, str]] = {
    "an unknown name": (["ts", "close"], r"there is no 'close'; there are: symbol, ts, open_price, .*, id, tenant_id$"),
    "a text": ("close_price", "columns is a list of names, not 'close_price'; there are: symbol, "),
    "nothing": ([], "columns names no column; there are: symbol, "),
    "a name twice": (["ts", "ts"], "columns names a column twice: ts"),
    "no name": ([None], "there is no None; there are: symbol, "),
}


@before_the_server
@pytest.mark.parametrize("what", REFUSED)
def test_unknown_columns_are_rejected_and_the_error_lists_the_known_columns(client: Client, what: str) -> None:
    columns, message = REFUSED[what]
    with pytest.raises(ConfigurationError, match=message):
        client.bars_window("S0", "1m", NOON, END, "v", as_="arrow", columns=columns)


@before_the_server
def test_requesting_the_id_column_of_a_rollup_is_rejected(client: Client) -> None:
    with pytest.raises(
        ConfigurationError, match=r"there is no 'id'; there are: symbol, ts, open_price, .*, tenant_id$"
    ):
        client.rollup("S0", "5m", NOON, END, "v", as_="arrow", columns=["id"])


@before_the_server
def test_columns_are_rejected_when_models_are_read(client: Client) -> None:
    asks: list[Callable[..., Any]] = [ask for ask, _ in (*READS.values(), *STREAMS.values())]
    asks.append(lambda client, **how: client.latest_prices(["S0"], "v", **how))
    for ask in asks:
        with pytest.raises(ConfigurationError, match="columns are those of a frame: pass as_, too"):
            ask(client, columns=["symbol"])


@odd_rows
def test_a_window_is_sorted_by_time_even_if_rows_were_written_late(filled: Client) -> None:
    """Rows that are written late lie behind the others, and a window without its time is still in its order."""
    early = NOON - timedelta(minutes=1)
    filled.upsert_bars([Bar(vendor="v", symbol="S0", timeframe="1m", ts=early, close_price=-1.0)])
    for columns in (["close_price"], ["close_price", "ts"], None):
        frame = filled.bars_window("S0", "1m", early, END, "v", as_="arrow", columns=columns)
        assert frame["close_price"].to_pylist() == [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
