"""Round trips of every kind on data as it comes, in and out, through both clients.

Real: the daily bars of AAPL, FB, GOOG, IBM and MSFT from 2000 to 2013, which the package bokeh-sampledata ships. Made
from them, and so realistic: option chains (Black and Scholes on the real closes) and headlines (the real moves of a
day, their sign as sentiment). Invented: the fundamentals' figures, on real dates; no package ships a company's.
"""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from statistics import NormalDist
from typing import Any

import pytest
from bokeh_sampledata import stocks

from mds_client import Bar, Fundamentals, News, OptionSnap, Row
from tests.conftest import Client, Store

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
EVER = datetime(1990, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


def columns(symbol: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = getattr(stocks, symbol)
    return found


def real_bars() -> list[Bar]:
    names = ("date", "open", "high", "low", "close", "volume")
    fields = ("ts", "open_price", "high_price", "low_price", "close_price", "volume")
    return [
        Bar(vendor="bokeh", symbol=symbol, timeframe="1d", **dict(zip(fields, values, strict=True)))
        for symbol in SYMBOLS
        for values in zip(*(columns(symbol)[name] for name in names), strict=True)
    ]


def moves(symbol: str) -> list[tuple[datetime, float, float]]:
    """Each day with its close and its change."""
    closes = columns(symbol)["close"]
    days = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in columns(symbol)["date"]]
    return [(day, new, new / old - 1) for day, old, new in zip(days[1:], closes, closes[1:], strict=False)]


def headlines() -> list[News]:
    return [
        News(
            vendor="wire",
            published_at=day + timedelta(hours=21),
            title=f"{symbol} {'gains' if change > 0 else 'loses'} {abs(change):.1%}",
            symbol=symbol,
            sentiment_score=max(-1.0, min(1.0, change * 10)),
        )
        for symbol in SYMBOLS
        for day, _, change in moves(symbol)
        if abs(change) > 0.05
    ]


def chains() -> list[OptionSnap]:
    """Chains of GOOG for 30 days to expiry at a volatility of 30 %, of the last twenty days."""
    normal, years, volatility = NormalDist(), 30 / 365, 0.3
    made = []
    for day, spot, _ in moves("GOOG")[-20:]:
        for strike in range(round(spot * 0.8 / 5) * 5, round(spot * 1.2), 5):
            d1 = (math.log(spot / strike) + volatility**2 / 2 * years) / (volatility * math.sqrt(years))
            gamma = normal.pdf(d1) / (spot * volatility * math.sqrt(years))
            expiry = date.fromordinal(day.toordinal() + 30)
            common: dict[str, Any] = {
                "vendor": "bs",
                "symbol": "GOOG",
                "expiry": expiry,
                "strike": strike,
                "ts": day,
                "spot": spot,
                "iv": volatility,
                "gamma": gamma,
                "oi": strike,
                "volume": 0,
            }
            made += [
                OptionSnap(option_type="C", delta=normal.cdf(d1), **common),
                OptionSnap(option_type="P", delta=normal.cdf(d1) - 1, **common),
            ]
    return made


def figures() -> list[Fundamentals]:
    return [
        Fundamentals(
            vendor="invented",
            symbol=symbol,
            asof=day,
            total_assets=close * 1e9,
            total_liabilities=close * 4e8,
            net_income=None if number % 5 == 0 else change * 1e9,
            eps=change * 10,
        )
        for symbol in SYMBOLS
        for number, (day, close, change) in enumerate(moves(symbol)[::63])
    ]


def back(client: Client, model: type[Row], symbol: str) -> list[Row]:
    """All there is of a symbol."""
    rows: list[Row]
    if model is Bar:
        rows = client.bars_window(symbol, "1d", *EVER, "bokeh")
    elif model is News:
        rows = client.news_window(*EVER, symbol=symbol)
    elif model is Fundamentals:
        rows = client.fundamentals_window(symbol, *EVER, "invented")
    else:
        days = sorted({row.ts for row in chains()})
        moment = timedelta(microseconds=1)
        rows = [row for day in days for row in client.option_chain(symbol, day, "bs", within=moment)]
    return rows


@pytest.mark.parametrize("make", [real_bars, headlines, chains, figures])
def test_real_data_is_read_back_as_written(
    connect: Callable[..., Client], store: Store, make: Callable[[], list[Row]]
) -> None:
    client = connect(dsn=store.dsn, tenant_id=store.tenant_a)
    written = make()
    assert len(written) > 100
    assert client.upsert(type(written[0]), written) == len(written)
    assert client.upsert(type(written[0]), list(reversed(written))) == len(written)
    symbols = sorted({str(getattr(row, "symbol", "")) for row in written})
    read = [row for symbol in symbols for row in back(client, type(written[0]), symbol)]
    assert len(read) == len(written)
    expected = {row.model_copy(update={"tenant_id": store.tenant_a}).model_dump_json() for row in written}
    assert {row.model_dump_json() for row in read} == expected


@pytest.mark.every_engine
def test_the_latest_prices_are_the_last_closes(client: Client) -> None:
    client.upsert_bars(real_bars())
    prices = {price.symbol: price.price for price in client.latest_prices(SYMBOLS, "bokeh")}
    assert prices == {symbol: columns(symbol)["close"][-1] for symbol in SYMBOLS}
