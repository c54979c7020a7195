"""Alpaca's market data, through alpaca-py."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from mds_client.vendors.base import Told, Vendor, Wanted, of_response, width, windows


class Alpaca(Vendor):
    """Alpaca: US stocks, and crypto pairs such as BTC/USD."""

    name: ClassVar = "alpaca"
    title: ClassVar = "Alpaca (US stocks, crypto)"
    package: ClassVar = "alpaca-py"
    module: ClassVar = "alpaca.data"
    documentation: ClassVar = "https://docs.alpaca.markets/docs/getting-started-with-alpaca-market-data"
    profile: ClassVar = "alpaca"
    variables: ClassVar = ("APCA_API_KEY_ID|ALPACA_API_KEY", "APCA_API_SECRET_KEY|ALPACA_SECRET_KEY")
    intervals: ClassVar = {
        "1m": "1 Min", "5m": "5 Min", "15m": "15 Min", "30m": "30 Min", "1h": "1 Hour", "4h": "4 Hour", "1d": "1 Day",
        "1w": "1 Week", "1mo": "1 Month",
    }  # fmt: skip
    prices: ClassVar = "Raw. `adjustment=split`, `dividend` or `all` adjusts them. Crypto is never adjusted."
    times: ClassVar = "The begin of the bar. Days begin at midnight in New York, those of crypto in UTC."
    limits: ClassVar = (
        "Pages of 10,000 bars. The free plan has 200 requests a minute, and only the feed `iex` for the last"
        " 15 minutes. A symbol with a slash is asked of the crypto API, which needs no key."
    )

    adjustment: Literal["raw", "split", "dividend", "all"] = Field(default="raw", description="How to adjust prices.")
    feed: Literal["iex", "sip", "otc"] | None = Field(
        default=None, description="Which feed of stocks. The default is the best that the account has."
    )

    @property
    def stored_as(self) -> str:
        """The default vendor name. Adjusted prices are stored separately, because they change with each action."""
        return "alpaca" if self.adjustment == "raw" else f"alpaca-{self.adjustment}"

    def pages(self, wanted: Wanted) -> Iterator[Any]:
        """Yield one document for each part of the time. The library reads the pages of a part."""
        frame, requests = self.library("alpaca.data.timeframe"), self.library("alpaca.data.requests")
        amount, unit = self.interval(wanted.timeframe).split()
        is_crypto = "/" in wanted.symbol
        for start, end in windows(wanted, max(width(wanted.timeframe) * 10_000, timedelta(days=1))):
            what: dict[str, Any] = {
                "symbol_or_symbols": wanted.symbol,
                "timeframe": frame.TimeFrame(int(amount), frame.TimeFrameUnit(unit)),
                "start": start,
                # The vendor's end is inclusive.
                "end": end - timedelta(microseconds=1),
            }
            if is_crypto:
                request, call = requests.CryptoBarsRequest(**what), self._crypto.get_crypto_bars
            else:
                request = requests.StockBarsRequest(**what, adjustment=self.adjustment, feed=self.feed)
                call = self._stocks.get_stock_bars
            answer = self.ask(wanted.symbol, partial(call, request))
            if answer:
                yield {"bars": answer}

    def told(self, error: Exception) -> Told | None:
        """Return the meaning of an error from its response. An unknown symbol is 400 with a reason."""
        if type(error).__name__ == "APIError":
            response = getattr(error, "response", None)
            told = of_response(str(error), response)
            return Told(told.text, told.status, told.retry_after, unknown="invalid symbol" in told.text.lower())
        if type(error).__module__.startswith("requests"):
            return Told(f"{type(error).__name__}: {error}", passing=True)
        return None

    @cached_property
    def _stocks(self) -> Any:
        key, secret = self.credentials()
        client = self.library("alpaca.data.historical").StockHistoricalDataClient
        return self._without_retries(client(key, secret, raw_data=True, url_override=self.url))

    @cached_property
    def _crypto(self) -> Any:
        # The vendor allows requests without a key; with one the limits are higher.
        keys = self.credentials() if len(self.variables_set()) == len(self.variables) else []
        client = self.library("alpaca.data.historical").CryptoHistoricalDataClient
        return self._without_retries(client(*keys, raw_data=True, url_override=self.url))

    @staticmethod
    def _without_retries(client: Any) -> Any:
        """Disable the client's retries, which ignore Retry-After; `ask` retries instead."""
        client._retry = 0
        return client
