"""Crypto exchanges, through ccxt: completed bars from its REST calls, and running bars from ccxt.pro."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Final

from pydantic import Field, PrivateAttr, field_validator

from mds_client.errors import ConfigurationError
from mds_client.values.times import UNIX
from mds_client.vendors.base import Told, Vendor, Wanted, retry_after, width

KEPT: Final = 10
"""The number of newest bars of a connection that are checked."""

PAGE: Final = 1_000
"""The number of bars in a request. An exchange with a lower limit returns fewer."""


class Exchanges(Vendor):
    """ccxt."""

    name: ClassVar = "ccxt"
    title: ClassVar = "ccxt (crypto exchanges)"
    package: ClassVar = "ccxt"
    module: ClassVar = "ccxt"
    documentation: ClassVar = "https://docs.ccxt.com/"
    profile: ClassVar = "ccxt"
    intervals: ClassVar = {
        "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1h", "2h": "2h", "4h": "4h", "6h": "6h",
        "8h": "8h", "12h": "12h", "1d": "1d", "3d": "3d", "1w": "1w", "1mo": "1M",
    }  # fmt: skip
    prices: ClassVar = "Raw. Nothing of crypto is adjusted."
    times: ClassVar = "The begin of the bar, in UTC."
    limits: ClassVar = (
        "No key. Pages by time, 1,000 bars or what the exchange gives, at ccxt's own rate limit of the exchange. Not"
        " every exchange has every timeframe, and some give only the newest bars (Kraken: 720)."
    )

    exchange: str = Field(description="The exchange, by its id at ccxt, such as binance or kraken.")

    rate_limit: int | None = Field(
        default=None,
        ge=1,
        description="Milliseconds between two requests. The default is what ccxt says of the exchange.",
    )

    _last: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("exchange")
    @classmethod
    def _is_an_id(cls, exchange: str) -> str:
        if re.fullmatch(r"[a-z][a-z0-9]*", exchange) is None:
            raise ValueError("the id of an exchange at ccxt has small letters and digits only")
        return exchange

    @property
    def stored_as(self) -> str:
        """The default vendor name: the exchange."""
        return self.exchange

    def pages(self, wanted: Wanted) -> Iterator[Any]:
        """Yield lists of bars until the end of the time or an empty list."""
        exchange = self._client
        interval = self.interval_of(exchange, wanted.timeframe)
        since, end = (round(moment.timestamp() * 1000) for moment in (wanted.start, wanted.end))
        step = round(width(wanted.timeframe).total_seconds() * 1000)
        while since < end:
            most = min(PAGE, (end - since) // step + 1)

            def request(since: int = since, most: int = most) -> Any:
                self._last.clear()
                return exchange.fetch_ohlcv(wanted.symbol, interval, since, most)

            bars = self.ask(wanted.symbol, request)
            if bars:
                yield bars
            last = max((bar[0] for bar in bars), default=since - 1)
            # Stop if no bar is at `since` or later.
            if last < since:
                return
            since = last + 1

    def told(self, error: Exception) -> Told | None:
        """Return the meaning of an error by its class, or by the last response's status."""
        return _told(error, self._last.get("status"), self._last.get("headers"))

    @asynccontextmanager
    async def live(self) -> AsyncIterator["LiveBars"]:
        """Open a connection for live bars. It is closed at the end."""
        exchange = self._made("ccxt.pro")
        try:
            yield LiveBars(self, exchange)
        finally:
            await exchange.close()

    @cached_property
    def _client(self) -> Any:
        made, last = self._made("ccxt"), self._last
        given = made.on_rest_response

        def answered(code: int, reason: str, url: str, method: str, headers: Any, *more: Any) -> Any:
            last.update(status=code, headers=headers)
            return given(code, reason, url, method, headers, *more)

        made.on_rest_response = answered
        return made

    def _made(self, module: str) -> Any:
        found = getattr(self.library(module), self.exchange, None)
        if self.exchange not in self.library().exchanges or found is None:
            raise ConfigurationError(f"ccxt has no exchange {self.exchange!r}{' with live data' * (module != 'ccxt')}")
        how = {"enableRateLimit": True, "timeout": round(self.timeout * 1000), "newUpdates": True}
        made = found(how if self.rate_limit is None else {**how, "rateLimit": self.rate_limit})
        if self.url is not None:
            made.urls["api"] = _elsewhere(made.urls["api"], self.url.rstrip("/"))
        return made

    def interval_of(self, exchange: Any, timeframe: str) -> str:
        """Return the library's name of a timeframe. Raises ConfigurationError if the exchange does not have it."""
        interval = self.interval(timeframe)
        if interval not in (exchange.timeframes or {}):
            there = [name for name, text in self.intervals.items() if text in (exchange.timeframes or {})]
            raise ConfigurationError(f"{self.exchange} has no bars of {timeframe}; it has: {', '.join(there)}")
        return interval


class LiveBars:
    """Live bars of an exchange, including every change of the running bar."""

    def __init__(self, vendor: Exchanges, exchange: Any) -> None:
        self._vendor = vendor
        self._exchange = exchange
        self._running: dict[str, list[float]] = {}
        self._counted: dict[str, Any] = {}
        self._trades_only = not self._sends_bars(exchange)
        if self._trades_only and not exchange.has.get("watchTrades"):
            raise ConfigurationError(f"ccxt has no live bars or trades of {vendor.exchange}")

    @staticmethod
    def _sends_bars(exchange: Any) -> bool:
        return bool(exchange.has.get("watchOHLCV"))

    @property
    def begins_whole(self) -> bool:
        """Whether the first bar after connecting includes the earlier trades of its interval."""
        return not self._trades_only

    async def watch(self, symbol: str, timeframe: str) -> None:
        """Wait until the exchange has sent data of a symbol."""
        if self._trades_only:
            await self._exchange.watch_trades(symbol)
        else:
            await self._exchange.watch_ohlcv(symbol, self._vendor.interval_of(self._exchange, timeframe))

    def received(self, symbol: str, timeframe: str) -> Sequence[Any]:
        """Return the last bars from the library's cache.

        The results of the library's `watch` can lack a message that arrived before it was called again.
        """
        exchange = self._exchange
        if symbol not in (exchange.markets or {}) and symbol not in (exchange.markets_by_id or {}):
            # The markets are not loaded yet, or the symbol is unknown, which `watch` reports.
            return []
        unified = self._exchange.market(symbol)["symbol"]
        if self._trades_only:
            trades = list(self._exchange.trades.get(unified) or [])
            return self._grown(symbol, trades, round(width(timeframe).total_seconds() * 1000))
        kept = (self._exchange.ohlcvs.get(unified) or {}).get(self._vendor.interval_of(self._exchange, timeframe))
        return [list(bar[:6]) for bar in list(kept or [])[-KEPT:]]

    def _grown(self, symbol: str, trades: Sequence[Any], step: int) -> list[list[float]]:
        """Add new trades to their bars, and return these bars."""
        newest = self._counted.get(symbol)
        at = next((at for at in range(len(trades) - 1, -1, -1) if trades[at] is newest), -1)
        if not (new := trades[at + 1 :]):
            return []
        self._counted[symbol] = new[-1]
        bars: dict[int, list[float]] = {}
        if (running := self._running.get(symbol)) is not None:
            bars[int(running[0])] = running
        for trade in new:
            begin, price, amount = trade["timestamp"] // step * step, trade["price"], trade["amount"] or 0
            bar = bars.setdefault(begin, [begin, price, price, price, price, 0])
            bar[2], bar[3], bar[4], bar[5] = max(bar[2], price), min(bar[3], price), price, bar[5] + amount
        self._running[symbol] = bars[max(bars)]
        return [list(bars[begin]) for begin in sorted(bars)]

    def begin(self, record: Any) -> datetime:
        """Return the time of a bar, which is a list."""
        return UNIX + timedelta(milliseconds=record[0])

    def broken(self, symbol: str) -> None:
        """Discard the running bar, which lacks trades."""
        self._running.pop(symbol, None)


def _elsewhere(urls: Any, address: str) -> Any:
    """Replace the address of URLs. WebSocket URLs get the matching scheme."""
    if isinstance(urls, dict):
        return {name: _elsewhere(inner, address) for name, inner in urls.items()}
    if not isinstance(urls, str):
        return urls
    scheme, _, rest = address.partition("://")
    socket = scheme.replace("http", "ws")
    return re.sub(r"^(https?|wss?)://[^/]+", lambda found: f"{socket if found[1][0] == 'w' else scheme}://{rest}", urls)


_STATUSES: Final = (
    # Error classes with their HTTP status. The first match applies.
    ("BadSymbol", None),
    ("PermissionDenied", 403),
    ("AuthenticationError", 401),
    ("RateLimitExceeded", 429),
    ("DDoSProtection", 429),
    ("ExchangeNotAvailable", 503),
    ("NetworkError", None),
)


def _told(error: Exception, answered: int | None, headers: Any) -> Told | None:
    classes = {base.__name__ for base in type(error).__mro__}
    if "BaseError" not in classes:
        return None
    text = f"{type(error).__name__}: {error}"
    failed = answered if answered is not None and answered >= 400 else None
    for name, status in _STATUSES:
        if name in classes:
            return Told(text, status or failed, retry_after(headers), name == "BadSymbol", name == "NetworkError")
    return Told(text, failed, retry_after(headers))
