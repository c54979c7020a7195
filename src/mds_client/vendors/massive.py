"""Massive, formerly Polygon.io, through massive."""

import json
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

from mds_client.errors import MDSError
from mds_client.vendors.base import Told, Vendor, Wanted, of_response

MOST: int = 50_000
"""The vendor's maximum number of bars in a page."""


class Massive(Vendor):
    """Massive (Polygon.io)."""

    name: ClassVar = "massive"
    title: ClassVar = "Massive (Polygon.io)"
    package: ClassVar = "massive"
    module: ClassVar = "massive"
    documentation: ClassVar = "https://massive.com/docs/rest/stocks/aggregates/custom-bars"
    profile: ClassVar = "polygon-json"
    variables: ClassVar = ("MASSIVE_API_KEY|POLYGON_API_KEY",)
    intervals: ClassVar = {
        "1s": "1 second", "1m": "1 minute", "5m": "5 minute", "15m": "15 minute", "30m": "30 minute", "1h": "1 hour",
        "4h": "4 hour", "1d": "1 day", "1w": "1 week", "1mo": "1 month", "1q": "1 quarter", "1y": "1 year",
    }  # fmt: skip
    prices: ClassVar = "Raw, unlike the vendor's own default. `adjusted=true` adjusts them for splits."
    times: ClassVar = "The begin of the bar. Days begin at midnight in New York, those of crypto and currencies in UTC."
    limits: ClassVar = (
        "Pages of 50,000 bars, by the answer's next_url. The free plan has 5 requests a minute: the vendor answers 429."
    )

    adjusted: bool = Field(default=False, description="Adjust prices for splits.")

    @property
    def stored_as(self) -> str:
        """The default vendor name, the same as for the vendor's files. Adjusted prices are stored separately."""
        return "polygon-adjusted" if self.adjusted else "polygon"

    def pages(self, wanted: Wanted) -> Iterator[Any]:
        """Yield the vendor's pages. The library's own paging would be a single call without a time limit."""
        amount, unit = self.interval(wanted.timeframe).split()
        client = self._client

        def first() -> Any:
            return client.list_aggs(
                wanted.symbol,
                int(amount),
                unit,
                round(wanted.start.timestamp() * 1000),
                # The vendor's end is inclusive.
                round(wanted.end.timestamp() * 1000) - 1,
                adjusted=self.adjusted,
                sort="asc",
                limit=MOST,
                raw=True,
            )

        request, read = first, set[str]()
        while True:
            page = self.ask(wanted.symbol, partial(_document, request))
            if page.get("results"):
                yield page
            link = page.get("next_url")
            if not link:
                return
            if link in read:
                raise MDSError(f"{self.name}: {wanted.symbol}: the next page has already been read")
            read.add(link)
            parts = urlsplit(link)

            def request(path: str = parts.path, query: str = parts.query) -> Any:
                # Like the library's own paging, use only path and query, so that the key is sent to no other host.
                return client._get(path=path, params=dict(parse_qsl(query)), raw=True)

    def told(self, error: Exception) -> Told | None:
        """Return the meaning of an error. The library's error has only text, so the response is intercepted."""
        if isinstance(error, _Answered):
            return of_response(error.text, error)
        if type(error).__module__.startswith("urllib3"):
            return Told(f"{type(error).__name__}: {error}", passing=True)
        return None

    @cached_property
    def _client(self) -> Any:
        (key,) = self.credentials()
        client = self.library().RESTClient(
            key,
            connect_timeout=self.timeout,
            read_timeout=self.timeout,
            # `ask` retries instead: the library's retries hide the responses.
            retries=0,
            **({} if self.url is None else {"base": self.url}),
        )
        send = client.client.request

        def checked(*arguments: Any, **how: Any) -> Any:
            response = send(*arguments, **how, retries=False)
            if response.status != 200:
                raise _Answered(response)
            return response

        client.client.request = checked
        return client


class _Answered(Exception):
    """An error response: its status, headers and text."""

    def __init__(self, response: Any) -> None:
        self.status_code: int = response.status
        self.headers = dict(response.headers)
        self.text: str = response.data.decode("utf-8", "replace")
        super().__init__(self.text)


def _document(request: Callable[[], Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request().data)
    return found
