"""The source `http`: JSON over HTTP, page by page, with retries and no more requests than the other side allows.

Where it may ask is the operator's to say (`DATASTORE_SOURCE_URLS`), and secrets are named, never given: whoever asks
for a backfill neither reads the machine's own network nor a secret with it.
"""

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

import httpx
import stamina
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from datastore import config
from datastore.config import Settings
from datastore.sources import (
    SAMPLE,
    Batch,
    SourceUnavailable,
    Span,
    TimeUnit,
    check_columns,
    expand,
    to_bar,
)

LARGEST_ANSWER: Final = 64 << 20
"""Bytes of one page at the most."""

LONGEST_WAIT: Final = 120.0
"""Seconds that a server may ask to wait; where it is more, the job is tried again later."""

MOST_PAGES: Final = 10_000
"""Pages of one span at the most: a server that goes round in circles is not followed for ever."""


class NextLink(BaseModel):
    """The answer has the next page's URL under `at` (a path such as `links.next`); none at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["link"]
    at: str = Field(min_length=1)


class Cursor(BaseModel):
    """The answer has a mark under `at`, which the next request gives back as `param`; none at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["cursor"]
    at: str = Field(min_length=1)
    param: str = Field(min_length=1)


class Pages(BaseModel):
    """Pages have numbers, from `first` on, in `param`; the first page without a row is behind the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["page"]
    param: str = Field(min_length=1)
    first: int = 1


Paging = Annotated[NextLink | Cursor | Pages, Field(discriminator="by")]


class Http(BaseModel):
    """Bars from an HTTP service that answers JSON; one request a span, and one for each further page.

    `url` and the values of `params` may ask for {vendor}, {symbol}, {timeframe}, {start} and {end} (ISO; {start_ms},
    {start_date} and so on). `rows` is the path to the list of records in the answer, as `data.bars`; empty where the
    answer is the list. `columns` says under which key (or at which place of a list) a field of a bar is where it is not
    under its own name; `time_unit` is how `ts` is written. `secret_headers` and `secret_params` name the environment
    variables of the worker, DATASTORE_SECRET_…, that hold their values. `requests_per_second` holds for all that one
    worker asks of a host. Requests that meet no answer, a 429 or a 5xx are made `attempts` times in all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["http"] = "http"
    url: str
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    secret_headers: dict[str, str] = {}
    secret_params: dict[str, str] = {}
    rows: str = ""
    columns: dict[str, str | int] = {}
    time_unit: TimeUnit = "iso"
    paging: Paging | None = None
    requests_per_second: float | None = Field(None, gt=0, le=1000)
    attempts: int = Field(5, ge=1, le=20)
    timeout: float = Field(30.0, gt=0, le=300)

    _allowed: tuple[httpx.URL, ...] = PrivateAttr()
    _secrets: dict[str, dict[str, str]] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Take up what the operator allows, and the secrets."""
        if not isinstance(context, Settings) or not context.source_urls:
            raise ValueError("nothing is asked over HTTP: no DATASTORE_SOURCE_URLS are set")
        try:
            self._allowed = tuple(map(httpx.URL, context.source_urls))
        except httpx.InvalidURL as error:
            raise ValueError(f"DATASTORE_SOURCE_URLS cannot be read: {error}") from error
        self._check(expand(self.url, SAMPLE, safe=""))
        self._secrets = {}
        for field in ("secret_headers", "secret_params"):
            try:
                self._secrets[field] = {name: config.secret(held) for name, held in getattr(self, field).items()}
            except config.ConfigurationError as error:
                raise ValueError(f"{field}: {error}") from error

    @field_validator("params")
    @classmethod
    def _templates(cls, params: dict[str, str]) -> dict[str, str]:
        for template in params.values():
            expand(template, SAMPLE)
        return _without_secrets(params, "secret_params")

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        return _without_secrets(headers, "secret_headers")

    @field_validator("url")
    @classmethod
    def _no_secrets_either(cls, url: str) -> str:
        _without_secrets(dict(httpx.URL(expand(url, SAMPLE, safe="")).params), "secret_params")
        return url

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str | int]) -> dict[str, str | int]:
        check_columns(columns)
        return columns

    def fetch(self, spans: Sequence[Span]) -> Iterator[Batch]:
        """Each span's bars, a batch for each page."""
        headers = {"Accept": "application/json", **self.headers, **self._secrets["secret_headers"]}
        with httpx.Client(headers=headers, timeout=self.timeout, follow_redirects=False) as client:
            for span in spans:
                yield from self._fetch(client, span)

    def _fetch(self, client: httpx.Client, span: Span) -> Iterator[Batch]:
        url = expand(self.url, span, safe="")
        params = {name: expand(template, span) for name, template in self.params.items()}
        if isinstance(self.paging, Pages):
            params[self.paging.param] = str(self.paging.first)
        given = {"vendor": span.vendor, "symbol": span.symbol, "timeframe": span.timeframe}
        for number in range(MOST_PAGES):
            where = f"{span.symbol}, page {number + 1}"
            answer = self._get(client, url, {**params, **self._secrets["secret_params"]})
            records = _at(answer, self.rows)
            if records is None:
                records = []
            if not isinstance(records, list):
                raise SourceUnavailable(f"{where}: no list of rows under {self.rows or 'the whole answer'!r}")
            yield [
                to_bar(record, f"{where}, row {place}", given, self.columns, self.time_unit)
                for place, record in enumerate(records, start=1)
            ]
            match self.paging:
                case NextLink(at=at):
                    if not (link := _at(answer, at)):
                        return
                    url, params = _joined(url, str(link)), {}
                case Cursor(at=at, param=param):
                    mark = _at(answer, at)
                    if mark is None or mark == "" or str(mark) == params.get(param):
                        return
                    params = {**params, param: str(mark)}
                case Pages(param=param, first=first):
                    if not records:
                        return
                    params = {**params, param: str(first + number + 1)}
                case None:
                    return
        raise SourceUnavailable(f"{span.symbol}: more than {MOST_PAGES:,} pages")

    def _get(self, client: httpx.Client, url: str, params: Mapping[str, str]) -> Any:
        try:
            self._check(url)
        except ValueError as error:
            raise SourceUnavailable(str(error)) from error
        where = _shown(url)
        try:
            for attempt in stamina.retry_context(
                on=_wait, attempts=self.attempts, timeout=None, wait_initial=0.2, wait_max=30.0, wait_jitter=0.2
            ):
                with attempt:
                    _wait_turn(httpx.URL(url).netloc.decode(), self.requests_per_second)
                    return _answer(client, url, params)
        except httpx.HTTPStatusError as error:
            raise SourceUnavailable(f"{where}: answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise SourceUnavailable(f"{where}: {type(error).__name__}: {error}") from error
        except ValueError as error:
            raise SourceUnavailable(f"{where}: answered no JSON: {error}") from error
        raise AssertionError("an attempt returns or raises")

    def _check(self, url: str) -> None:
        """ValueError where the operator does not allow a URL."""
        try:
            # As the client reads it, so that both see the same host.
            parts = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"the url cannot be read: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo:
            raise ValueError("the url is none of http or https with a host, and without a user")
        if {".", ".."} & set(unquote(parts.path).replace("\\", "/").split("/")):
            raise ValueError("the url's path leads upwards")
        if not any(_begins(parts, prefix) for prefix in self._allowed):
            raise ValueError(f"DATASTORE_SOURCE_URLS does not allow {_shown(url)}")


_SECRET: Final = re.compile(
    r"auth|cookie|passw|secret|token|signature|(api|access|private)[-_]?key|^key$", re.IGNORECASE
)


def _without_secrets(values: dict[str, str], instead: str) -> dict[str, str]:
    """ValueError where what is stored with a backfill, and shown to whoever may see it, looks like a secret."""
    for name in values:
        if _SECRET.search(name):
            raise ValueError(f"{name} is a secret: name the variable that holds it under {instead}")
    return values


def _joined(url: str, link: str) -> str:
    try:
        return str(httpx.URL(url).join(link))
    except httpx.InvalidURL as error:
        raise SourceUnavailable(f"{_shown(url)}: the next page's link cannot be read") from error


def _begins(url: httpx.URL, allowed: httpx.URL) -> bool:
    """Whether a URL begins with another: the same host, and a path below that one's."""
    if (url.scheme, url.host, _port(url)) != (allowed.scheme, allowed.host, _port(allowed)):
        return False
    return url.path == allowed.path or url.path.startswith(allowed.path.rstrip("/") + "/")


def _port(url: httpx.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def _shown(url: str) -> str:
    """A URL for a message: what it asks for may say who asks, and is left out."""
    return str(httpx.URL(url).copy_with(query=None, fragment=None))


def _answer(client: httpx.Client, url: str, params: Mapping[str, str]) -> Any:
    with client.stream("GET", httpx.URL(url).copy_merge_params(params)) as response:
        if response.is_redirect:
            raise httpx.UnsupportedProtocol(f"a redirect to {response.headers.get('location')!r} is not followed")
        response.raise_for_status()
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > LARGEST_ANSWER:
                raise httpx.DecodingError(f"the answer is larger than {LARGEST_ANSWER:,} bytes")
    return json.loads(body)


def _wait(error: Exception) -> bool | float:
    """Whether to try again after an error, and after how many seconds where the server says so."""
    if isinstance(error, httpx.HTTPStatusError):
        if error.response.status_code != 429 and error.response.status_code < 500:
            return False
        asked = _retry_after(error.response.headers.get("retry-after"))
        if asked is None:
            return True
        return asked if asked <= LONGEST_WAIT else False
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def _retry_after(text: str | None) -> float | None:
    """Seconds, from a count of them or a date; None where it says neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


_turns: Final[dict[str, float]] = {}
_turning: Final = threading.Lock()


def _wait_turn(host: str, rate: float | None) -> None:
    """Wait until another request to a host is due. All sources of a process share the turns of a host."""
    if rate is None:
        return
    with _turning:
        turn = max(time.monotonic(), _turns.get(host, 0.0))
        _turns[host] = turn + 1 / rate
    time.sleep(max(0.0, turn - time.monotonic()))


def _at(answer: Any, path: str) -> Any:
    """What is under a path of keys (and places of lists), as `data.bars`; None where there is nothing."""
    for part in filter(None, path.split(".")):
        if isinstance(answer, Mapping):
            answer = answer.get(part)
        elif isinstance(answer, list) and part.isdecimal() and int(part) < len(answer):
            answer = answer[int(part)]
        else:
            return None
    return answer
