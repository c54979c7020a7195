"""Every kind in and out again: what is read is what was written, whichever way it went in, on every engine."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

import pytest

from mds_client import (
    KINDS,
    Bar,
    ConfigurationError,
    Coverage,
    Fundamentals,
    IdempotencyConflict,
    Instrument,
    Kind,
    LatestPrice,
    News,
    OptionSnap,
    RLSDenied,
    Series,
    UnknownSeries,
)
from tests.conftest import Client, Store, before_the_server, nothing_there, odd_rows

pytestmark = pytest.mark.every_engine

MODES: Final = ("executemany", "values", "copy", "auto")
CONFLICTS: Final = ("replace", "keep", "fill")
NOON: Final = datetime(2024, 1, 2, 12, tzinfo=UTC)
ALWAYS: Final = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
ID: Final = "0e0bc1a6-5e5b-4b0e-9a6b-0b8f6f3c2d11"


def later(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def bar(minute: float = 0, close: float | None = 1.0, **fields: Any) -> Bar:
    settled = {"vendor": "v", "symbol": "AAPL", "timeframe": "1m", "ts": later(minute), **fields}
    return Bar(close_price=close, **settled)


def figures(minute: float = 0, eps: float | None = 1.0, **fields: Any) -> Fundamentals:
    return Fundamentals(**{"vendor": "v", "symbol": "AAPL", "asof": later(minute), "eps": eps, **fields})


def instrument(minute: float = 0, **fields: Any) -> Instrument:
    return Instrument(**{"vendor": "v", "symbol": "ESH4", "asof": later(minute), **fields})


def news(minute: float = 0, title: str = "Up", **fields: Any) -> News:
    return News(**{"vendor": "v", "published_at": later(minute), "title": title, **fields})


def option(minute: float = 0, strike: float = 100.0, iv: float | None = 0.25, **fields: Any) -> OptionSnap:
    settled = {"vendor": "v", "symbol": "AAPL", "ts": later(minute), "expiry": date(2024, 1, 19), "option_type": "C"}
    return OptionSnap(**{**settled, "strike": strike, "iv": iv, **fields})


def everything(client: Client, kind: str) -> list[Any]:
    """All rows of a kind, as a client reads them."""
    return [row for batch in client.iter_rows(kind) for row in batch]


def belonging(store: Store, rows: list[Any]) -> list[Any]:
    """Rows as they are read: with their tenant."""
    return [row.model_copy(update={"tenant_id": store.tenant_a}) for row in rows]


FULL: Final[dict[str, list[Any]]] = {
    "bars": [
        bar(0, 150.1 + 0.2, open_price=150.25, high_price=151, low_price=149.5, volume=2**62, id=ID),
        bar(1, None),
        bar(0, -37.63, symbol="CL", timeframe="1d", vendor="Ünï 'quoted' \"v\"; --"),
    ],
    "fundamentals": [
        figures(
            0,
            -0.07,
            total_assets=352e9,
            total_liabilities=1e300,
            net_income=-5.5,
            id=ID,
            items={"free_cash_flow": 0.1, 'Ünï "quoted" \\': -1e300, "gone": None, "kept": 5e-324},
        ),
        figures(-60 * 24 * 365 * 40, None),
        figures(0, 0.0, symbol="MSFT"),
    ],
    "instruments": [
        instrument(
            0,
            name="Ünï 'quoted' \"n\"; --",
            instrument_type="call",
            exchange="XCME",
            currency="usd",
            tick_size=0.05,
            multiplier=50,
            underlying="ESH4",
            expiration=datetime(2024, 3, 15, 13, 30, tzinfo=UTC),
            strike=-1e300,
            option_type="call",
            id=ID,
            items={"min_lot_size": 1, "gone": None},
        ),
        instrument(-60 * 24 * 365 * 40),
        instrument(0, symbol="MSFT", instrument_type="stock"),
    ],
    "news": [
        news(
            0, "Ünï 'quoted'; \\x -- 🦆", symbol="aapl", url="https://x.invalid/?a=1&b=%20", sentiment_score=-1, id=ID
        ),
        news(0, "Two at one time"),
        news(-1, "Down", vendor="w", sentiment_score=0.5),
    ],
    "options": [
        option(0, 0.5, delta=-1.5, gamma=1e-9, oi=2**62, volume=0, spot=187.15, id=ID, option_type="put"),
        option(0, 0.5, None),
        option(0, 0.5, expiry=date(2199, 12, 31)),
        option(1, 0.5, symbol="BRK.B"),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@odd_rows
def test_rows_of_every_kind_come_back_as_they_were_written(client: Client, store: Store, kind: str) -> None:
    rows = FULL[kind]
    assert client.upsert(kind, rows) == len(rows)

    order = partial(key_of, KINDS[kind])
    assert sorted(everything(client, kind), key=order) == sorted(belonging(store, rows), key=order)
    # By its own method, from mappings, it is the same again.
    assert getattr(client, f"upsert_{kind}")([row.model_dump(exclude_none=True) for row in rows]) == len(rows)
    assert sorted(everything(client, kind), key=order) == sorted(belonging(store, rows), key=order)


def changed(kind: str, rows: list[Any]) -> list[Any]:
    """The same keys with other values, some of them None, and two keys that are new."""
    fields = {
        "bars": {"close_price": 7.5, "volume": None},
        "fundamentals": {"eps": 7.5, "net_income": None, "items": {"free_cash_flow": 2.0, "kept": None, "new": 3.0}},
        "instruments": {"tick_size": 7.5, "exchange": None, "items": {"min_lot_size": 2.0, "new": None}},
        "news": {"title": "Changed", "url": None},
        "options": {"iv": 7.5, "oi": None},
    }[kind]
    time = KINDS[kind].time
    again = [row.model_copy(update=fields) for row in rows]
    return [*again, *(row.model_copy(update={time: NOON + timedelta(days=400)}) for row in again[:2])]


def key_of(declared: Kind, row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in (*declared.series, *declared.key))


def settled(kind: str, on_conflict: str) -> dict[Any, Any]:
    """What two batches leave behind, by key, in plain Python."""
    declared = KINDS[kind]
    left: dict[Any, Any] = {}
    for batch in (FULL[kind], changed(kind, FULL[kind])):
        # Where a batch has a key twice, its last row is the one that counts.
        for key, row in {key_of(declared, row): row for row in batch}.items():
            there = left.get(key)
            if there is None or on_conflict == "replace":
                left[key] = row
            elif on_conflict == "fill":
                given = {name: value for name in declared.values if (value := getattr(row, name)) is not None}
                for name in set(declared.maps) & set(given):
                    # A map is filled name by name.
                    before = getattr(there, name) or {}
                    some = {key: value for key, value in given[name].items() if value is not None}
                    given[name] = {**given[name], **before, **some}
                left[key] = there.model_copy(update=given)
    return left


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_conflict", CONFLICTS)
@odd_rows
def test_every_write_mode_resolves_conflicts_the_same_way(
    connect: Callable[..., Client], store: Store, kind: str, on_conflict: str
) -> None:
    declared = KINDS[kind]
    expected = settled(kind, on_conflict)
    for vendor, mode in enumerate(MODES):
        client = connect(
            dsn=store.dsn,
            tenant_id=store.tenant_a,
            write_mode=mode,
            values_page_size=2,
            values_min_rows=2,
            copy_min_rows=5,
        )
        prefix = f"{vendor}-"
        for batch in (FULL[kind], changed(kind, FULL[kind])):
            client.upsert(
                kind,
                [row.model_copy(update={"vendor": prefix + row.vendor}) for row in batch],
                on_conflict=on_conflict,
            )
        found = {
            key_of(declared, row): row
            for row in (
                row.model_copy(update={"vendor": row.vendor.removeprefix(prefix), "tenant_id": None})
                for row in everything(client, kind)
                if row.vendor.startswith(prefix)
            )
        }
        assert found == expected, mode


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@odd_rows
def test_rewriting_rows_of_any_kind_creates_no_new_row_versions(
    connect: Callable[..., Client], store: Store, kind: str, mode: str
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, write_mode=mode)
    client.upsert(kind, FULL[kind])
    versions = (
        f"SELECT 'row', r.ctid::text, r.xmin::text FROM store.{kind} r"
        " UNION ALL SELECT 'series', s.ctid::text, s.xmin::text FROM store.series s ORDER BY 1, 2"
    )
    before = store.rows(versions)
    client.upsert(kind, list(reversed(FULL[kind])))
    assert store.rows(versions) == before


@pytest.mark.parametrize("kind", KINDS)
@odd_rows
def test_rows_of_two_tenants_with_equal_keys_are_kept_apart(client: Client, store: Store, kind: str) -> None:
    other = client.for_tenant(store.tenant_b)
    client.upsert(kind, FULL[kind])
    other.upsert(kind, changed(kind, FULL[kind])[:1])
    assert {row.tenant_id for row in everything(client, kind)} == {store.tenant_a}
    assert len(everything(client, kind)) == len(FULL[kind])
    (theirs,) = everything(other, kind)
    assert theirs == changed(kind, FULL[kind])[0].model_copy(update={"tenant_id": store.tenant_b})
    with pytest.raises(RLSDenied, match="row 0 is of tenant"):
        client.upsert(kind, [theirs])


def test_repeating_a_headline_updates_its_row(client: Client) -> None:
    client.upsert_news([news(0, "Up", sentiment_score=0.1), news(0, "Up, again")])
    client.upsert_news([{"vendor": "v", "published_at": NOON, "title": " Up ", "sentiment_score": 0.9}])
    assert sorted((row.title, row.sentiment_score) for row in client.news_window(*ALWAYS)) == [
        ("Up", 0.9),
        ("Up, again", None),
    ]


# Windows ----------------------------------------------------------------------------------------------------------


@nothing_there
def test_a_window_of_many_symbols_is_ordered_by_symbol_then_time(client: Client) -> None:
    client.upsert_bars(
        [bar(minute, symbol=symbol) for symbol in ("MSFT", "AAPL", "ZM", "IBM") for minute in (2, 0, 1)]
        + [bar(0, symbol="IBM", timeframe="1d"), bar(0, symbol="IBM", vendor="w")]
    )
    found = client.bars_window(["zm", "NOPE", "IBM", " aapl "], "1m", later(0), later(2), "v")
    assert [(row.symbol, row.ts) for row in found] == [
        (symbol, later(minute)) for symbol in ("AAPL", "IBM", "ZM") for minute in (0, 1)
    ]
    assert {(row.vendor, row.timeframe) for row in found} == {("v", "1m")}
    assert client.bars_window([], "1m", *ALWAYS, "v") == []


@pytest.mark.parametrize("as_", ["models", "arrow"])
def test_symbols_are_ordered_by_name_whatever_the_order_of_writing(client: Client, as_: str) -> None:
    for symbol in ("ZM", "AAPL", "MSFT"):
        client.upsert_bars([Bar(vendor="v", symbol=symbol, timeframe="1m", ts=later(0), close_price=1.0)])
    found = client.bars_window(["ZM", "MSFT", "AAPL"], "1m", *ALWAYS, "v", as_=as_)
    symbols = [row.symbol for row in found] if as_ == "models" else found.column("symbol").to_pylist()
    assert symbols == ["AAPL", "MSFT", "ZM"]


@nothing_there
def test_a_window_of_many_symbols_equals_the_windows_of_each_symbol(client: Client) -> None:
    client.upsert_bars([bar(minute, minute / 3, symbol=f"S{minute % 7}") for minute in range(70)])
    names = [f"S{number}" for number in range(8)]
    assert client.bars_window(names, "1m", later(7), later(60), "v") == [
        row for name in names for row in client.bars_window(name, "1m", later(7), later(60), "v")
    ]


@nothing_there
def test_fundamentals_windows_filter_by_asof(client: Client) -> None:
    client.upsert_fundamentals(
        [figures(day * 1440, day, symbol=symbol) for symbol in ("MSFT", "AAPL") for day in range(4)]
    )
    start, end = later(1440), later(3 * 1440)
    assert [(row.symbol, row.eps) for row in client.fundamentals_window("msft", start, end, "v")] == [
        ("MSFT", 1.0),
        ("MSFT", 2.0),
    ]
    assert [(row.symbol, row.eps) for row in client.fundamentals_window(["MSFT", "AAPL"], start, end, "v")] == [
        ("AAPL", 1.0),
        ("AAPL", 2.0),
        ("MSFT", 1.0),
        ("MSFT", 2.0),
    ]
    assert client.fundamentals_window("AAPL", *ALWAYS, "w") == []


def test_an_instruments_last_definition_up_to_a_time_is_read(client: Client) -> None:
    """The terms of a contract change: what was valid at a time is the last row up to it."""
    client.upsert_instruments([instrument(day * 1440, tick_size=0.25 / (day + 1)) for day in (0, 3, 6)])
    for day, tick in ((2, 0.25), (3, 0.0625), (5, 0.0625), (6, 0.25 / 7)):
        *_, last = client.instruments_window("esh4", NOON, later(day * 1440 + 1), "v")
        assert last.tick_size == tick
    frame = client.instruments_window("ESH4", *ALWAYS, "v", as_="polars", columns=("asof", "tick_size"))
    assert frame["tick_size"].to_list() == [0.25, 0.0625, 0.25 / 7]


@pytest.mark.parametrize(
    ("filters", "titles"),
    [
        ({}, ["Apple up", "Apple DOWN 5%", "Rates", "Apple flat"]),
        ({"vendor": "v"}, ["Apple up", "Apple DOWN 5%", "Apple flat"]),
        ({"vendor": " v "}, ["Apple up", "Apple DOWN 5%", "Apple flat"]),
        ({"vendor": "nobody"}, []),
        ({"symbol": "aapl"}, ["Apple up", "Apple flat"]),
        ({"symbol": "NOPE"}, []),
        ({"text": "down"}, ["Apple DOWN 5%"]),
        ({"text": "5%"}, ["Apple DOWN 5%"]),
        ({"text": "_"}, []),
        ({"text": "%"}, ["Apple DOWN 5%"]),
        ({"text": "APPLE", "symbol": "AAPL"}, ["Apple up", "Apple flat"]),
        ({"text": "a", "symbol": "AAPL", "vendor": "v"}, ["Apple up", "Apple flat"]),
        ({"text": "a", "vendor": "w"}, ["Rates"]),
        ({"symbol": "AAPL", "vendor": "w"}, []),
    ],
)
def test_news_windows_apply_all_filters(client: Client, filters: dict[str, str], titles: list[str]) -> None:
    client.upsert_news(
        [
            news(3, "Apple flat", symbol="AAPL"),
            news(0, "Apple up", symbol="AAPL"),
            news(1, "Apple DOWN 5%"),
            news(2, "Rates", vendor="w"),
            news(4, "Apple after the end", symbol="AAPL"),
            news(-1, "Apple before the start", symbol="AAPL"),
        ]
    )
    assert [row.title for row in client.news_window(later(0), later(4), **filters)] == titles


def test_an_option_chain_has_each_contracts_newest_snapshot_up_to_a_time(client: Client) -> None:
    client.upsert_options(
        [
            option(0, 100, 0.1),
            option(5, 100, 0.2),
            option(6, 100, 0.3),  # is not known yet
            option(5, 90, 0.4),
            option(3, 100, 0.5, option_type="P"),
            option(-60 * 24 * 3, 110, 0.6),  # older, and still the newest of its contract
            option(-60 * 24 * 7 + 5, 120, 0.7),  # exactly seven days before: too old
            option(4, 100, 0.8, expiry=date(2024, 1, 2)),  # the day of expiry counts
            option(4, 100, 0.9, expiry=date(2024, 1, 1)),  # has expired
            option(4, 80, 1.0, expiry=date(2024, 2, 16)),
            option(5, 100, 9.0, symbol="MSFT"),
            option(5, 100, 9.0, vendor="w"),
        ]
    )

    def chain(**options: Any) -> list[tuple[Any, ...]]:
        found = client.option_chain("aapl", later(5), "v", **options)
        return [(row.expiry, row.option_type, row.strike, row.iv) for row in found]

    near, far = date(2024, 1, 19), date(2024, 2, 16)
    assert chain() == [
        (date(2024, 1, 2), "C", 100, 0.8),
        (near, "C", 90, 0.4),
        (near, "C", 100, 0.2),
        (near, "C", 110, 0.6),
        (near, "P", 100, 0.5),
        (far, "C", 80, 1.0),
    ]
    assert chain(within=timedelta(minutes=2)) == [
        (date(2024, 1, 2), "C", 100, 0.8),
        (near, "C", 90, 0.4),
        (near, "C", 100, 0.2),
        (far, "C", 80, 1.0),
    ]
    assert (near, "C", 120, 0.7) in chain(within=timedelta(days=8))
    assert client.option_chain("AAPL", later(-60 * 24 * 30), "v") == []
    with pytest.raises(ConfigurationError, match="within is more than nothing"):
        chain(within=timedelta(0))


# What there is ----------------------------------------------------------------------------------------------------


@odd_rows
@nothing_there
def test_series_symbols_and_coverage_describe_the_stored_rows(client: Client, store: Store) -> None:
    client.upsert_bars(
        [bar(minute, minute) for minute in (3, 1, 2)]
        + [bar(0, 9.0, timeframe="1d"), bar(7, None, symbol="msft"), bar(8, 5.0, symbol="ibm", vendor="w")]
    )
    client.upsert_news([news(1), news(2), news(0, vendor="w")])
    client.upsert_options([option(0), option(0, 90), option(4)])
    client.for_tenant(store.tenant_b).upsert_bars([bar(99, symbol="SECRET")])

    def one(kind: str, vendor: str, symbol: str | None, timeframe: str | None, *last: Any) -> Series:
        return Series(kind=kind, vendor=vendor, symbol=symbol, timeframe=timeframe, last_ts=last[0], last_price=last[1])

    assert client.series() == [
        one("bars", "v", "AAPL", "1d", later(0), 9.0),
        one("bars", "v", "AAPL", "1m", later(3), 3.0),
        one("bars", "v", "MSFT", "1m", later(7), None),
        one("bars", "w", "IBM", "1m", later(8), 5.0),
    ]
    assert client.series(Bar, vendor=" w ") == [one("bars", "w", "IBM", "1m", later(8), 5.0)]
    assert client.series("news") == [
        one("news", "v", None, None, later(2), None),
        one("news", "w", None, None, later(0), None),
    ]
    assert client.series("fundamentals") == []
    assert client.symbols() == ["AAPL", "IBM", "MSFT"]
    assert client.symbols("bars", vendor="v") == ["AAPL", "MSFT"]
    assert client.symbols("options") == ["AAPL"]
    assert client.symbols(News) == []

    def span(kind: str, vendor: str, symbol: str | None, timeframe: str | None, *found: Any) -> Coverage:
        first, last, count = found
        return Coverage(
            kind=kind, vendor=vendor, symbol=symbol, timeframe=timeframe, first=first, last=last, count=count
        )

    assert client.coverage("bars", vendor="v") == [
        span("bars", "v", "AAPL", "1d", later(0), later(0), 1),
        span("bars", "v", "AAPL", "1m", later(1), later(3), 3),
        span("bars", "v", "MSFT", "1m", later(7), later(7), 1),
    ]
    assert client.coverage(OptionSnap) == [span("options", "v", "AAPL", None, later(0), later(4), 3)]
    assert client.coverage(News, vendor="w") == [span("news", "w", None, None, later(0), later(0), 1)]
    with pytest.raises(LookupError, match="there is no kind 'nothings'; there are: bars, fundamentals, news, options"):
        client.coverage("nothings")


@pytest.mark.engines("postgres")
def test_coverage_can_be_limited_to_some_series(client: Client) -> None:
    client.upsert_bars([bar(1), bar(2, timeframe="1d"), bar(3, symbol="msft"), bar(4, symbol="ibm", vendor="w")])
    found = client.coverage(vendor="v", symbol=["aapl", "IBM"], timeframe="1m")
    assert [(each.symbol, each.timeframe, each.count) for each in found] == [("AAPL", "1m", 1)]
    assert [each.symbol for each in client.coverage(symbol=["MSFT", "IBM"])] == ["MSFT", "IBM"]
    with pytest.raises(ConfigurationError, match="news are not kept by symbol"):
        client.coverage("news", symbol=["AAPL"])


def test_latest_prices_come_from_the_requested_vendor_only(client: Client, store: Store) -> None:
    client.upsert_bars([bar(1, 1.0), bar(5, 5.0, vendor="w"), bar(0, 2.0, symbol="MSFT")])
    client.for_tenant(store.tenant_b).upsert_bars([bar(9, 99.0)])
    assert client.latest_prices([" aapl ", "AAPL", "MSFT", "NOPE"], "v") == [
        LatestPrice(tenant_id=store.tenant_a, vendor="v", symbol=symbol, price=price, price_timestamp=ts)
        for symbol, price, ts in (("AAPL", 1.0, later(1)), ("MSFT", 2.0, later(0)))
    ]
    with pytest.raises(UnknownSeries, match="NOPE"):
        client.latest_prices(["AAPL", "NOPE"], "v", missing="raise")
    assert client.latest_prices(["NOPE"], "v", missing="ignore") == []


# In batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_rows", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (99, [10])])
def test_a_window_is_streamed_in_batches_of_the_requested_size(
    client: Client, batch_rows: int, sizes: list[int]
) -> None:
    client.upsert_bars([bar(minute, minute) for minute in range(10)])
    client.upsert_fundamentals([figures(minute, minute) for minute in range(10)])
    for batches, window in (
        (
            list(client.iter_bars_window("aapl", "1m", *ALWAYS, "v", batch_rows=batch_rows)),
            client.bars_window("AAPL", "1m", *ALWAYS, "v"),
        ),
        (
            list(client.iter_fundamentals_window("aapl", *ALWAYS, "v", batch_rows=batch_rows)),
            client.fundamentals_window("AAPL", *ALWAYS, "v"),
        ),
    ):
        assert [len(batch) for batch in batches] == sizes
        assert [row for batch in batches for row in batch] == window


@nothing_there
def test_an_empty_result_yields_no_batch(client: Client) -> None:
    assert list(client.iter_bars_window("NOPE", "1m", *ALWAYS, "v")) == []
    assert list(client.iter_rows("options")) == []


def test_iter_rows_applies_its_filters(client: Client) -> None:
    client.upsert_bars(
        [bar(minute, minute, symbol=symbol) for symbol in ("AAPL", "MSFT") for minute in range(4)]
        + [bar(0, 9.0, timeframe="1d"), bar(0, 8.0, vendor="w")]
    )

    def closes(**options: Any) -> list[Any]:
        return [
            (row.vendor, row.symbol, row.timeframe, row.close_price)
            for batch in client.iter_rows("bars", batch_rows=3, **options)
            for row in batch
        ]

    assert len(closes()) == 10
    assert closes(vendor="w") == [("w", "AAPL", "1m", 8.0)]
    assert closes(timeframe="1d") == [("v", "AAPL", "1d", 9.0)]
    assert closes(symbols=["msft"], start=later(1), end=later(3)) == [
        ("v", "MSFT", "1m", 1.0),
        ("v", "MSFT", "1m", 2.0),
    ]
    assert closes(symbols=[]) == []
    with pytest.raises(ConfigurationError, match="news have no timeframe"):
        client.iter_rows("news", timeframe="1d")
    with pytest.raises(ConfigurationError, match="batch_rows is from 1 on"):
        list(client.iter_rows("bars", batch_rows=0))


def test_an_iteration_that_is_left_early_gives_its_connection_back(
    connect: Callable[..., Client], store: Store
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=1, connect_timeout=5)
    client.upsert_bars([bar(minute, minute) for minute in range(10)])
    for _ in range(3):
        batches = client.iter_bars_window("AAPL", "1m", *ALWAYS, "v", batch_rows=2)
        assert [row.close_price for row in next(batches)] == [0.0, 1.0]
        batches.close()
    # The only connection is free again, and its transaction has ended.
    assert len(client.bars_window("AAPL", "1m", *ALWAYS, "v")) == 10
    assert client.upsert_bars([bar(0, 5.0)]) == 1


def test_an_iteration_sees_one_snapshot_of_the_table(client: Client, store: Store) -> None:
    client.upsert_bars([bar(minute, 1.0) for minute in range(10)])
    with client.transaction() as transaction:
        batches = transaction.iter_bars_window("AAPL", "1m", *ALWAYS, "v", batch_rows=4)
        first = next(batches)
        transaction.upsert_bars([bar(minute, 2.0) for minute in range(12)])
        rest = [row for batch in batches for row in batch]
    assert [row.close_price for row in (*first, *rest)] == [1.0] * 10
    assert [row.close_price for row in client.bars_window("AAPL", "1m", *ALWAYS, "v")] == [2.0] * 12


# Together or not at all -----------------------------------------------------------------------------------------------


def left(store: Store) -> tuple[int, int, int]:
    ((counts),) = store.rows(
        "SELECT (SELECT count(*) FROM store.bars), (SELECT count(*) FROM store.news), (SELECT count(*) FROM store.jobs)"
    )
    return counts[0], counts[1], counts[2]


def test_data_and_a_job_are_committed_together(client: Client, store: Store) -> None:
    with client.transaction() as transaction:
        transaction.upsert_bars([bar(0), bar(1)])
        transaction.upsert_news([news()])
        job = transaction.enqueue_job("key", "recompute", {"symbol": "AAPL"})
        # What it has written it reads; nobody else does yet.
        assert len(transaction.bars_window("AAPL", "1m", *ALWAYS, "v")) == 2
    assert left(store) == (2, 1, 1)
    assert client.enqueue_job("key", "recompute", {"symbol": "AAPL"}) == job


def test_a_transaction_that_fails_leaves_neither_data_nor_job(client: Client, store: Store) -> None:
    class Mine(Exception):
        pass

    with pytest.raises(Mine), client.transaction() as transaction:  # noqa: PT012
        transaction.upsert_bars([bar(0)])
        transaction.enqueue_job("key", "recompute")
        raise Mine
    assert left(store) == (0, 0, 0)
    # Series that it had made are not remembered: they are not there.
    assert client.upsert_bars([bar(0)]) == 1
    assert left(store) == (1, 0, 0)


def test_a_server_error_rolls_back_the_whole_transaction(client: Client, store: Store) -> None:
    client.enqueue_job("key", "recompute", {"n": 1})
    with pytest.raises(IdempotencyConflict), client.transaction() as transaction:  # noqa: PT012
        transaction.upsert_bars([bar(0)])
        transaction.enqueue_job("key", "recompute", {"n": 2})
    assert left(store) == (0, 0, 1)


@pytest.mark.many_sessions
@nothing_there
def test_uncommitted_changes_are_invisible_to_others(client: Client, store: Store) -> None:
    with client.transaction() as transaction:
        transaction.upsert_bars([bar(0)])
        transaction.enqueue_job("key", "recompute")
        assert left(store) == (0, 0, 0)
        assert client.bars_window("AAPL", "1m", *ALWAYS, "v") == []
    assert left(store) == (1, 0, 1)


# Jobs ---------------------------------------------------------------------------------------------------------------


def test_an_enqueued_job_is_returned_with_its_values(client: Client, store: Store) -> None:
    payload = {"symbols": ["AAPL", "Ü"], "n": 1.5, "none": None, "deep": {"x": [True, {}]}}
    job = client.enqueue_job("key", "backfill", payload, "high")
    assert (job.tenant_id, job.idempotency_key, job.job_type, job.payload) == (
        store.tenant_a,
        "key",
        "backfill",
        payload,
    )
    assert (job.priority, job.state, job.attempts, job.finished_at, job.error) == (75, "queued", 0, None, None)
    assert job.created_at.tzinfo is UTC
    assert client.enqueue_job("other", "backfill").payload == {}


def test_enqueueing_the_same_key_again_returns_the_same_job(client: Client, store: Store) -> None:
    first = client.enqueue_job("key", "backfill", {"a": 1, "b": [1, 2]})
    assert client.enqueue_job("key", "backfill", {"b": [1, 2], "a": 1.0}, "high") == first
    assert len(store.rows("SELECT * FROM store.jobs")) == 1
    assert (first.priority, client.enqueue_job("medium", "backfill", priority="medium").priority) == (50, 50)
    # Another tenant's keys are its own.
    other = client.for_tenant(store.tenant_b).enqueue_job("key", "other", [])
    assert (other.tenant_id, other.job_type) == (store.tenant_b, "other")


@pytest.mark.parametrize(("job_type", "payload"), [("backfill", {"a": 2}), ("other", {"a": 1}), ("backfill", None)])
def test_a_key_of_another_job_is_a_conflict(client: Client, store: Store, job_type: str, payload: Any) -> None:
    client.enqueue_job("key", "backfill", {"a": 1})
    with pytest.raises(IdempotencyConflict, match="job 'key' already exists with another type or payload: backfill"):
        client.enqueue_job("key", job_type, payload)
    assert store.rows("SELECT job_type, payload FROM store.jobs") == [("backfill", {"a": 1})]


@before_the_server
@pytest.mark.parametrize(("priority", "stored"), [("low", 25), ("normal", 50), ("high", 75), (0, 0), (100, 100)])
def test_a_priority_is_a_name_or_a_number(client: Client, priority: Any, stored: int) -> None:
    assert client.enqueue_job("key", "backfill", priority=priority).priority == stored


@before_the_server
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"idempotency_key": " "}, "idempotency_key is empty"),
        ({"job_type": ""}, "job_type is empty"),
        ({"priority": "urgent"}, "priority is low, normal, medium, high or from 0 to 100, not 'urgent'"),
        ({"priority": 101}, "not 101"),
        ({"priority": -1}, "not -1"),
        ({"priority": True}, "not True"),
        ({"payload": {"at": NOON}}, "payload: .*not JSON serializable"),
        ({"payload": float("nan")}, "payload: .*not JSON compliant"),
    ],
)
def test_an_invalid_job_is_rejected(client: Client, store: Store, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        client.enqueue_job(**{"idempotency_key": "key", "job_type": "backfill", **wrong})
    assert store.rows("SELECT * FROM store.jobs") == []


@pytest.mark.many_sessions
def test_concurrent_threads_enqueueing_one_key_get_the_same_job(connect: Callable[..., Client], store: Store) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=8)
    together = threading.Barrier(8)

    def enqueue(number: int) -> Any:
        together.wait()
        return [client.enqueue_job(f"key {key}", "backfill", {"key": key}).id for key in range(10)]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(enqueue, range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert len(set(answers[0])) == 10
    assert store.rows("SELECT count(*) FROM store.jobs") == [(10,)]


@pytest.mark.many_sessions
def test_concurrent_threads_with_one_key_and_two_payloads_store_one_payload(
    connect: Callable[..., Client], store: Store
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a, pool_max=8)
    together = threading.Barrier(8)

    def enqueue(number: int) -> int | None:
        together.wait()
        try:
            return int(client.enqueue_job("key", "backfill", number % 2).payload)
        except IdempotencyConflict:
            return None

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(enqueue, range(8)))
    ((winner,),) = store.rows("SELECT payload FROM store.jobs")
    assert sorted(map(str, answers)) == sorted([str(winner)] * 4 + ["None"] * 4)
