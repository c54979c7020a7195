"""Rows to look at: a market of simulated minutes with holes, daily bars, options, news and fundamentals."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from mds_client import MDS, Bar, Fundamentals, News, OptionSnap
from mds_client.models import OptionType

SYMBOLS = ("AAPL", "AMZN", "GOOG", "IBM", "META", "MSFT", "NVDA", "TSLA")
VENDOR = "acme"
CALLS_AND_PUTS: tuple[tuple[OptionType, int], ...] = (("C", 1), ("P", -1))
LAST = date(2024, 3, 28)
"""The last session."""


def minutes(symbol: str, days: int, *, seed: int = 7) -> Iterator[Bar]:
    """Minutes of the sessions of so many days before `LAST` (which is one of summer time), some of them missing."""
    chance = random.Random(f"{symbol} {seed}")
    price = 80.0 + 40 * SYMBOLS.index(symbol)
    for number in range(days, -1, -1):
        day = LAST - timedelta(days=number)
        if day.weekday() > 4 or day == date(2024, 2, 19) or _hole(symbol, day) == 1:
            continue
        opening = datetime(day.year, day.month, day.day, 13 if day >= date(2024, 3, 10) else 14, 30, tzinfo=UTC)
        for minute in range(390):
            price *= math.exp(chance.gauss(0, 0.0006))
            if chance.random() < _hole(symbol, day):
                continue
            high, low = price * (1 + abs(chance.gauss(0, 0.0004))), price * (1 - abs(chance.gauss(0, 0.0004)))
            yield Bar(
                vendor=VENDOR,
                symbol=symbol,
                timeframe="1m",
                ts=opening + timedelta(minutes=minute),
                open_price=round(chance.uniform(low, high), 2),
                high_price=round(high, 2),
                low_price=round(low, 2),
                close_price=round(price, 2),
                volume=int(4_000 * (1 + 2 * abs(minute - 195) / 195) * chance.uniform(0.4, 1.6)),
            )


def _hole(symbol: str, day: date) -> float:
    """The part of a symbol's day that is missing."""
    holes = {
        ("IBM", date(2024, 3, 12)): 1.0,
        ("IBM", date(2024, 3, 13)): 1.0,
        ("TSLA", date(2024, 3, 20)): 0.7,
        ("META", date(2024, 3, 5)): 0.06,
        ("AMZN", date(2024, 3, 22)): 0.3,
    }
    return holes.get((symbol, day), 0.0)


def write(mds: MDS, *, days: int = 60, symbols: tuple[str, ...] = SYMBOLS) -> None:
    """Write all of it for the client's tenant."""
    for symbol in symbols:
        mds.upsert_bars(list(minutes(symbol, days)))
    mds.upsert_news(
        [
            News(
                vendor="wire",
                symbol=symbol,
                published_at=datetime(2024, 3, 27, 9, tzinfo=UTC) + timedelta(hours=number),
                title=f"{symbol} {said}",
                url=f"https://news.example/{symbol.lower()}/{number}",
                sentiment_score=round(math.sin(number), 2),
            )
            for number, (symbol, said) in enumerate(
                zip(
                    SYMBOLS,
                    ("beats estimates", "opens a data centre", "settles", "raises its dividend") * 2,
                    strict=True,
                )
            )
        ]
    )
    # One article about several symbols is a row for each.
    mds.upsert_news(
        News(
            vendor="wire", vendor_id="4711", symbol=symbol, published_at=datetime(2024, 3, 27, 20, 5, tzinfo=UTC),
            title="Chip makers and clouds gain as demand for servers rises", url="https://news.example/markets/4711",
        )
        for symbol in ("AMZN", "MSFT", "NVDA")
    )  # fmt: skip
    mds.upsert_fundamentals([*fundamentals()])
    mds.upsert_options([*options()])


def fundamentals() -> Iterator[Fundamentals]:
    """The figures of two quarters and a year."""
    quarters = (("2023-Q2", date(2023, 6, 30)), ("2023-Q3", date(2023, 9, 30)), ("FY2023", date(2023, 12, 31)))
    for number, symbol in enumerate(SYMBOLS):
        for at, (period, day) in enumerate(quarters):
            yield Fundamentals(
                vendor="acme",
                symbol=symbol,
                asof=datetime(day.year, day.month, day.day, tzinfo=UTC),
                period=period,
                currency="USD",
                total_assets=1e11 + number * 7.3e9 + at * 1.1e9,
                total_liabilities=4e10 + number * 3.1e9 + at * 0.4e9,
                net_income=(5e9 + number * 1e8) * (4 if period.startswith("FY") else 1) * (-1 if number == 3 else 1),
                eps=round((2.1 + number / 7) * (4 if period.startswith("FY") else 1), 2),
                items={"free_cash_flow": 3e9 + number * 2.1e8 + at * 0.7e8, "gross_margin": 0.41 + number / 100},
            )


def options() -> Iterator[OptionSnap]:
    """The chains of two expiries of AAPL at the end of the last session."""
    spot = 95.0
    for expiry, level in ((date(2024, 4, 19), 0.24), (date(2024, 6, 21), 0.22)):
        for kind, sign in CALLS_AND_PUTS:
            for strike in range(70, 125, 5):
                worth = max(0.1, (spot - strike) * sign) + 6 * math.exp(-(((strike - spot) / 12) ** 2))
                yield OptionSnap(
                    vendor="acme",
                    symbol="AAPL",
                    ts=datetime(2024, 3, 28, 19, 55, tzinfo=UTC),
                    expiry=expiry,
                    option_type=kind,
                    strike=strike,
                    bid=round(worth * 0.99, 2),
                    ask=round(worth * 1.01 + 0.02, 2),
                    iv=round(level + (strike - spot) ** 2 / 9000 - sign * (strike - spot) / 9000, 4),
                    delta=round(sign / (1 + math.exp(sign * (strike - spot) / 6)), 3),
                    oi=int(9000 * math.exp(-(((strike - spot) / 18) ** 2))),
                    volume=int(1200 * math.exp(-(((strike - spot) / 10) ** 2))),
                    spot=spot,
                )
