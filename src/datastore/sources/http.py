"""The source `http`: JSON over HTTP, page by page, with retries and a limited rate of requests.

The operator decides which URLs may be requested (`DATASTORE_SOURCE_URLS`), and a request names its secrets instead of
giving them. So whoever requests a backfill can read neither the machine's own network nor a secret. What may be
requested is in `datastore.sources.permits`, and a single request in `datastore.sources.requesting`.
"""

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

import httpx
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from datastore import config
from datastore.config import Settings
from datastore.sources import permits, requesting
from datastore.sources.base import (
    SAMPLE,
    Batch,
    Malformed,
    Reading,
    SourceUnavailable,
    Span,
    expand,
    to_bar,
)
from mds_client import Bar
from mds_client.errors import InvalidRow
from mds_client.files import Mapping as Columns
from mds_client.files import documents

MOST_PAGES: Final = 10_000
"""The largest number of pages of a span, so that a server whose pages form a circle is not followed forever."""


class NextLink(BaseModel):
    """The answer has the URL of the next page under `at` (a path such as `links.next`), and none at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["link"]
    at: str = Field(min_length=1)


class Cursor(BaseModel):
    """The answer has a cursor under `at`, which the next request sends as `param`; there is none at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["cursor"]
    at: str = Field(min_length=1)
    param: str = Field(min_length=1)


class Pages(BaseModel):
    """Pages are numbered from `first` on, in `param`; the first page without rows ends them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["page"]
    param: str = Field(min_length=1)
    first: int = 1


Paging = Annotated[NextLink | Cursor | Pages, Field(discriminator="by")]


class Http(Reading):
    """Bars from an HTTP service that answers JSON, with one request for each span and each further page.

    `url` and the values of `params` may contain {vendor}, {symbol}, {timeframe}, {start} and {end} (ISO; {start_ms},
    {start_date} and so on). `rows` is the path to the list of records in the answer, such as `data.bars`, where null
    means none; leave it empty if the answer is the list or the mapping has the path. `mapping`, or a vendor's
    `profile`, says under which key (or position of a list) each field of a bar is, and how it is written; `columns` and
    `time_unit` are short for its parts. `secret_headers` and `secret_params` name the environment variables of the
    worker, DATASTORE_SECRET_…, that hold their values; the operator must allow them for the URL. `requests_per_second`
    limits all requests of a worker to a host. A request without an answer, or with status 429 or 5xx, is made at most
    `attempts` times.
    """

    type: Literal["http"] = "http"
    url: str
    params: dict[str, str] = Field({})
    headers: dict[str, str] = Field({})
    secret_headers: dict[str, str] = Field({})
    secret_params: dict[str, str] = Field({})
    rows: str = ""
    paging: Paging | None = None
    requests_per_second: float | None = Field(None, gt=0, le=1000)
    attempts: int = Field(5, ge=1, le=20)
    timeout: float = Field(30.0, gt=0, le=300)

    _allowed: list[tuple[httpx.URL, frozenset[str]]] = PrivateAttr()
    _secrets: dict[str, dict[str, str]] = PrivateAttr()
    _hidden: re.Pattern[str] = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Read the operator's permissions and the secrets."""
        if not isinstance(context, Settings) or not context.source_urls:
            raise ValueError("requests over HTTP are not allowed: DATASTORE_SOURCE_URLS is not set")
        self._allowed = permits.allowed(context.source_urls)
        self._secrets = {}
        for field in ("secret_headers", "secret_params"):
            self._secrets[field] = {
                name: permits.secret(f"{field}.{name}", held) for name, held in getattr(self, field).items()
            }
        for name, value in self._secrets["secret_headers"].items():
            permits.check_header(f"secret_headers.{name}", name, value)
        self._hidden = permits.any_of(value for held in self._secrets.values() for value in held.values())
        self._check(expand(self.url, SAMPLE, safe=""))

    @field_validator("params")
    @classmethod
    def _templates(cls, params: dict[str, str]) -> dict[str, str]:
        for template in params.values():
            expand(template, SAMPLE)
        return permits.without_secrets(params, "secret_params")

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            permits.check_header(name, name, value)
        return permits.without_secrets(headers, "secret_headers")

    @field_validator("url")
    @classmethod
    def _no_secrets_either(cls, url: str) -> str:
        permits.without_secrets(dict(permits.parsed(expand(url, SAMPLE, safe="")).params), "secret_params")
        return url

    def needs(self) -> Sequence[str]:
        """Name the URL's host, which must be permitted, and each secret."""
        return [
            permits.origin(permits.parsed(expand(self.url, SAMPLE, safe=""))),
            *self.secret_headers.values(),
            *self.secret_params.values(),
        ]

    @classmethod
    def offers(cls, settings: Settings) -> Sequence[str]:
        """Name the hosts that the operator permits, and the secrets that are set."""
        return [*(permits.origin(url) for url, _ in permits.allowed(settings.source_urls)), *config.secrets()]

    def fetch(self, spans: Sequence[Span]) -> Iterator[Batch]:
        """Yield each span's bars, in a batch for each page."""
        headers = {"Accept": "application/json", **self.headers, **self._secrets["secret_headers"]}
        try:
            with httpx.Client(
                headers=headers, timeout=self.timeout, follow_redirects=False, verify=_certificates()
            ) as client:
                for span in spans:
                    yield from self._fetch(client, span)
        except SourceUnavailable as error:
            # The tenant reads this in its job, and a server may repeat the request's secrets in its answer.
            raise SourceUnavailable(self._without_secret(str(error))) from None

    def _fetch(self, client: httpx.Client, span: Span) -> Iterator[Batch]:
        url = expand(self.url, span, safe="")
        params = {name: expand(template, span) for name, template in self.params.items()}
        given = {"vendor": span.vendor, "symbol": span.symbol, "timeframe": span.timeframe}
        columns = self.how(given)
        if isinstance(self.paging, Pages):
            params[self.paging.param] = str(self.paging.first)
        read: set[str] = set()
        for number in range(MOST_PAGES):
            where = f"{span.symbol}, page {number + 1}"
            answer = self._get(client, url, {**params, **self._secrets["secret_params"]})
            how, records = self._records(answer, where, columns)
            yield [self._bar(record, f"{where}, row {place}", how) for place, record in enumerate(records, start=1)]
            match self.paging:
                case NextLink(at=at):
                    read.add(asked := requesting.with_params(url, params))
                    if not (link := _at(answer, at)):
                        return
                    url, params = _joined(url, str(link)), {}
                    if (following := requesting.with_params(url, params)) == asked:
                        return
                    if following in read:
                        raise SourceUnavailable(f"{where}: the next page has already been read")
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

    def _records(self, answer: Any, where: str, columns: Columns) -> tuple[Columns, list[Any]]:
        """Return the records of an answer, and the mapping to read them."""
        if columns.rows and not self.rows:
            try:
                found = list(documents.records(answer, columns.rows))
                return documents.of_document(answer, columns), [
                    {**record, **given} if isinstance(record, dict) else record for given, record in found
                ]
            except InvalidRow as error:
                raise SourceUnavailable(f"{where}: {error}") from error
        records = _at(answer, self.rows, _MISSING)
        if records is _MISSING:
            raise SourceUnavailable(f"{where}: the answer has no {self.rows!r}")
        if records is None:
            return columns, []
        if not isinstance(records, list):
            raise SourceUnavailable(f"{where}: {self.rows or 'the whole answer'!r} is not a list of rows")
        return columns, records

    def _bar(self, record: Any, where: str, columns: Columns) -> Bar | Malformed:
        bar = to_bar(record, where, columns)
        return Malformed(where, self._without_secret(bar.why)) if isinstance(bar, Malformed) else bar

    def _get(self, client: httpx.Client, url: str, params: Mapping[str, str]) -> Any:
        try:
            self._check(url)
        except ValueError as error:
            raise SourceUnavailable(str(error)) from error
        try:
            return requesting.get(client, url, params, self.attempts, self.requests_per_second)
        except requesting.Unanswered as error:
            raise SourceUnavailable(f"{permits.shown(url)}: {error}") from None

    def _without_secret(self, text: str) -> str:
        return self._hidden.sub("***", text)

    def _check(self, url: str) -> None:
        """Raise ValueError if the operator does not allow a URL, or does not allow its secrets there."""
        # Parse it as the client does, so that both see the same host.
        parts = permits.parsed(url)
        if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo:
            raise ValueError("the url must begin with http:// or https://, with a host and without a user")
        if {".", ".."} & set(unquote(parts.path).replace("\\", "/").split("/")):
            raise ValueError("the path of the url must not contain . or ..")
        may_have = [secrets for beginning, secrets in self._allowed if permits.begins(parts, beginning)]
        if not may_have:
            raise ValueError(f"DATASTORE_SOURCE_URLS does not allow {permits.shown(url)}")
        named = {*self.secret_headers.values(), *self.secret_params.values()}
        if kept := named.difference(*may_have):
            raise ValueError(f"DATASTORE_SOURCE_URLS does not allow {', '.join(sorted(kept))} at {permits.shown(url)}")


@cache
def _certificates() -> ssl.SSLContext:
    # To read the system's certificates takes 20 ms, longer than many a request. They are read once in a process.
    return httpx.create_ssl_context()


def _joined(url: str, link: str) -> str:
    try:
        return str(httpx.URL(url).join(link))
    except (httpx.InvalidURL, ValueError):
        raise SourceUnavailable(f"{permits.shown(url)}: the link to the next page is invalid") from None


_MISSING: Final = object()


def _at(answer: Any, path: str, missing: Any = None) -> Any:
    """Return the value under a path of keys (and positions in lists), as `data.bars`; None also behind a null."""
    for part in filter(None, path.split(".")):
        if answer is None:
            return None
        if isinstance(answer, Mapping):
            answer = answer.get(part, missing)
        elif isinstance(answer, list) and part.isdecimal() and int(part) < len(answer):
            answer = answer[int(part)]
        else:
            return missing
    return answer
