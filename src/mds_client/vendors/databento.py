"""Databento's historical API, through databento."""

import warnings
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field

from mds_client.vendors.base import Told, Vendor, Wanted, retry_after, width, windows


class Databento(Vendor):
    """Databento."""

    name: ClassVar = "databento"
    title: ClassVar = "Databento (historical OHLCV)"
    package: ClassVar = "databento"
    module: ClassVar = "databento"
    documentation: ClassVar = "https://databento.com/docs/api-reference-historical"
    profile: ClassVar = "databento"
    variables: ClassVar = ("DATABENTO_API_KEY",)
    intervals: ClassVar = {"1s": "ohlcv-1s", "1m": "ohlcv-1m", "1h": "ohlcv-1h", "1d": "ohlcv-1d"}
    prices: ClassVar = "Raw. The API adjusts nothing."
    times: ClassVar = "The begin of the bar (ts_event). Days begin at midnight in UTC."
    limits: ClassVar = (
        "One request for each million bars' time. Each request is charged by the size of the answer. Intervals without"
        " a trade have no bar."
    )

    dataset: str = Field(description="The dataset, such as XNAS.ITCH or GLBX.MDP3.")
    stype_in: Literal["raw_symbol", "continuous", "parent", "instrument_id"] = Field(
        default="raw_symbol", description="What a symbol is."
    )

    def pages(self, wanted: Wanted) -> Iterator[Any]:
        """Yield one frame for each part of the time."""
        schema = self.interval(wanted.timeframe)
        for start, end in windows(wanted, max(width(wanted.timeframe) * 1_000_000, timedelta(days=30))):

            def request(start: Any = start, end: Any = end) -> Any:
                answer = self._client.timeseries.get_range(
                    dataset=self.dataset,
                    symbols=self._spelled(wanted.symbol),
                    schema=schema,
                    stype_in=self.stype_in,
                    start=start,
                    end=end,
                )
                return answer.to_df(price_type="float", pretty_ts=True, map_symbols=True)

            frame = self.ask(wanted.symbol, request)
            if len(frame):
                yield frame

    def told(self, error: Exception) -> Told | None:
        """Return the meaning of an error from its status and headers."""
        if (status := getattr(error, "http_status", None)) is not None:
            text = str(error)
            unknown = status in (404, 422) and "symbol" in text.lower()
            return Told(text, status, retry_after(getattr(error, "headers", None)), unknown)
        cut_off = type(error).__name__ == "BentoError" and "streaming" in str(error)
        if cut_off or type(error).__module__.startswith("requests"):
            return Told(f"{type(error).__name__}: {error}", passing=True)
        return None

    def _spelled(self, symbol: str) -> str:
        """Return a symbol in the vendor's spelling: the store writes ES.c.0 in capitals."""
        if self.stype_in != "continuous":
            return symbol
        root, _, roll = symbol.partition(".")
        return f"{root}.{roll.lower()}"

    @cached_property
    def _client(self) -> Any:
        (key,) = self.credentials()
        library = self.library()
        # Missing rows already show that there is no data for a time.
        warnings.filterwarnings("ignore", "No data found", library.common.error.BentoWarning)
        client = library.Historical(key)
        if self.url is not None:
            # The library's `gateway` option accepts no address without TLS.
            series = client.timeseries
            series._base_url = series._base_url.replace(client.gateway, self.url)
        return client
