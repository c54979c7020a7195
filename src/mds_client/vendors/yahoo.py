"""Yahoo Finance, through yfinance."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr

from mds_client.vendors.base import Told, Vendor, Wanted, retry_after, windows

_WINDOWS: Final = {"1m": timedelta(days=7), "1h": timedelta(days=700)}


class Yahoo(Vendor):
    """Yahoo Finance."""

    name: ClassVar = "yfinance"
    title: ClassVar = "Yahoo Finance"
    package: ClassVar = "yfinance"
    module: ClassVar = "yfinance"
    documentation: ClassVar = "https://ranaroussi.github.io/yfinance/"
    profile: ClassVar = "yfinance"
    intervals: ClassVar = {
        "1m": "1m", "2m": "2m", "5m": "5m", "15m": "15m", "30m": "30m", "90m": "90m", "1h": "1h", "1d": "1d",
        "1w": "1wk", "1mo": "1mo", "1q": "3mo",
    }  # fmt: skip
    prices: ClassVar = (
        "Yahoo has no raw prices: all are adjusted for splits. `adjusted=true` also adjusts them for dividends"
        " (yfinance's `auto_adjust`)."
    )
    times: ClassVar = "The begin of the bar. Days begin at midnight of the exchange."
    limits: ClassVar = (
        "No key. Yahoo keeps 1m bars for 30 days, other minutes for 60 days, hours for two years. 1m is asked for in"
        " parts of 7 days, other minutes in parts of 60."
    )

    adjusted: bool = Field(default=False, description="Adjust prices for dividends, too.")

    _last: dict[str, Any] = PrivateAttr(default_factory=dict)
    _session: Any = PrivateAttr(default=None)

    @property
    def stored_as(self) -> str:
        """The default vendor name. Adjusted prices are stored separately, because they change with each dividend."""
        return "yfinance-adjusted" if self.adjusted else "yfinance"

    def pages(self, wanted: Wanted) -> Iterator[Any]:
        """Yield one frame for each part of the time."""
        interval = self.interval(wanted.timeframe)
        yfinance = self.library()
        ticker = yfinance.Ticker(wanted.symbol, session=self._connected())
        longest = _WINDOWS.get(wanted.timeframe, timedelta(days=59 if interval.endswith("m") else 36_500))
        for start, end in windows(wanted, longest):

            def request(start: Any = start, end: Any = end) -> Any:
                self._last.clear()
                # The library caches responses, including errors, so clear its cache before each attempt.
                ticker._data.cache_get.cache_clear()
                debug = yfinance.config.debug
                hidden, debug.hide_exceptions = debug.hide_exceptions, False
                try:
                    return ticker.history(
                        interval=interval,
                        start=start,
                        end=end,
                        auto_adjust=self.adjusted,
                        actions=False,
                        timeout=self.timeout,
                    )
                except yfinance.exceptions.YFPricesMissingError as error:
                    if self._last.get("status") == 200 and error.yahoo_reason is None:
                        return None
                    raise
                finally:
                    debug.hide_exceptions = hidden

            frame = self.ask(wanted.symbol, request)
            if frame is not None and len(frame):
                yield frame

    def told(self, error: Exception) -> Told | None:
        """Return the meaning of an error, using the last response's status, which most of the errors lack."""
        text, status = f"{type(error).__name__}: {error}", self._last.get("status")
        if type(error).__name__ == "YFRateLimitError":
            return Told(text, 429, self._last.get("retry_after"))
        if type(error).__name__ in ("YFTzMissingError", "YFPricesMissingError") and status in (None, 200, 404):
            return Told(text, status, unknown=True)
        if status is not None and status >= 400 and status != 404:
            return Told(text, status, self._last.get("retry_after"))
        # curl's errors are OSErrors.
        return Told(text, passing=isinstance(error, OSError))

    def _connected(self) -> Any:
        """Return a session like the library's that also records the status of the last response."""
        if self._session is not None:
            return self._session
        last, address = self._last, self.url
        sessions = self.library("curl_cffi.requests")

        class Session(sessions.Session):  # type: ignore[name-defined,misc,unused-ignore]
            def request(self, method: str, url: str, **how: Any) -> Any:
                parts = urlsplit(url)
                if address is not None:
                    url = parts._replace(scheme=urlsplit(address).scheme, netloc=urlsplit(address).netloc).geturl()
                answer = super().request(method, url, **how)
                if "/chart/" in parts.path:
                    last["status"], last["retry_after"] = answer.status_code, retry_after(answer.headers)
                    # The library would try to parse bars from it, and report only that they are missing.
                    if answer.status_code in (401, 403) or answer.status_code >= 500:
                        raise RuntimeError(f"the answer is {answer.status_code}")
                return answer

        self._session = Session(impersonate="chrome")
        return self._session
