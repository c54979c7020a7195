"""The source `http`: JSON over HTTP, page by page, with retries and a limited rate of requests.

The operator decides which URLs may be requested (`DATASTORE_SOURCE_URLS`), and a request names its secrets instead of
giving them. So whoever requests a backfill can read neither the machine's own network nor a secret.
"""

import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, quote_plus, unquote

import httpx
import stamina
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from datastore import config
from datastore.config import Settings
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
from mds_client.vendors.base import retry_after

LARGEST_ANSWER: Final = 64 << 20
"""The largest size of a page, in bytes."""

LONGEST_WAIT: Final = 120.0
"""The longest wait, in seconds, that a server may ask for; for more, the job is tried again later."""

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
            raise ValueError("nothing is asked over HTTP: no DATASTORE_SOURCE_URLS are set")
        self._allowed = _allowed(context.source_urls)
        self._secrets = {}
        for field in ("secret_headers", "secret_params"):
            self._secrets[field] = {
                name: _secret(f"{field}.{name}", held) for name, held in getattr(self, field).items()
            }
        for name, value in self._secrets["secret_headers"].items():
            _check_header(f"secret_headers.{name}", name, value)
        self._hidden = _any_of(value for held in self._secrets.values() for value in held.values())
        self._check(expand(self.url, SAMPLE, safe=""))

    @field_validator("params")
    @classmethod
    def _templates(cls, params: dict[str, str]) -> dict[str, str]:
        for template in params.values():
            expand(template, SAMPLE)
        return _without_secrets(params, "secret_params")

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            _check_header(name, name, value)
        return _without_secrets(headers, "secret_headers")

    @field_validator("url")
    @classmethod
    def _no_secrets_either(cls, url: str) -> str:
        _without_secrets(dict(_url(expand(url, SAMPLE, safe="")).params), "secret_params")
        return url

    def needs(self) -> Sequence[str]:
        """Name the URL's host, which must be permitted, and each secret."""
        return [
            _origin(_url(expand(self.url, SAMPLE, safe=""))),
            *self.secret_headers.values(),
            *self.secret_params.values(),
        ]

    @classmethod
    def offers(cls, settings: Settings) -> Sequence[str]:
        """Name the hosts that the operator permits, and the secrets that are set."""
        return [*(_origin(url) for url, _ in _allowed(settings.source_urls)), *config.secrets()]

    def fetch(self, spans: Sequence[Span]) -> Iterator[Batch]:
        """Yield each span's bars, in a batch for each page."""
        headers = {"Accept": "application/json", **self.headers, **self._secrets["secret_headers"]}
        try:
            with httpx.Client(headers=headers, timeout=self.timeout, follow_redirects=False) as client:
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
                    read.add(asked := _with(url, params))
                    if not (link := _at(answer, at)):
                        return
                    url, params = _joined(url, str(link)), {}
                    if (following := _with(url, params)) == asked:
                        return
                    if following in read:
                        raise SourceUnavailable(f"{where}: the next page is one that was read already")
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
            raise SourceUnavailable(f"{where}: no list of rows under {self.rows or 'the whole answer'!r}")
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
            for attempt in stamina.retry_context(
                on=_again, attempts=self.attempts, timeout=None, wait_initial=0.2, wait_max=30.0, wait_jitter=0.2
            ):
                with attempt:
                    _wait_turn(httpx.URL(url).netloc.decode(), self.requests_per_second)
                    return _answer(client, url, params)
        except _Unanswered as error:
            raise SourceUnavailable(f"{_shown(url)}: {error}") from None
        raise AssertionError("an attempt returns or raises")

    def _without_secret(self, text: str) -> str:
        return self._hidden.sub("***", text)

    def _check(self, url: str) -> None:
        """Raise ValueError if the operator does not allow a URL, or does not allow its secrets there."""
        # Parse it as the client does, so that both see the same host.
        parts = _url(url)
        if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo:
            raise ValueError("the url must begin with http:// or https://, with a host and without a user")
        if {".", ".."} & set(unquote(parts.path).replace("\\", "/").split("/")):
            raise ValueError("the url's path leads upwards")
        may_have = [secrets for beginning, secrets in self._allowed if _begins(parts, beginning)]
        if not may_have:
            raise ValueError(f"DATASTORE_SOURCE_URLS does not allow {_shown(url)}")
        named = {*self.secret_headers.values(), *self.secret_params.values()}
        if kept := named.difference(*may_have):
            raise ValueError(f"DATASTORE_SOURCE_URLS does not let {_shown(url)} have {', '.join(sorted(kept))}")


def _allowed(entries: Iterable[str]) -> list[tuple[httpx.URL, frozenset[str]]]:
    """Parse the allowed beginnings of URLs, each with the secrets that may be sent there. Raises ValueError."""
    found = []
    for beginning, *secrets in map(str.split, entries):
        if not all(name.startswith(config.SECRET_PREFIX) for name in secrets):
            # Do not repeat it, because it may be a secret itself.
            raise ValueError(
                "DATASTORE_SOURCE_URLS cannot be read: behind a URL stand names of variables that begin with"
                f" {config.SECRET_PREFIX}"
            )
        try:
            found.append((httpx.URL(beginning), frozenset(secrets)))
        except httpx.InvalidURL as error:
            raise ValueError(f"DATASTORE_SOURCE_URLS cannot be read: {error}") from error
    return found


_SECRET: Final = re.compile(
    r"auth|cookie|passw|secret|token|signature|(api|access|private)[-_]?key|^key$", re.IGNORECASE
)


def _without_secrets(values: dict[str, str], instead: str) -> dict[str, str]:
    """Raise ValueError if a name looks like a secret's, because the values are stored and shown with a backfill."""
    for name in values:
        if _SECRET.search(name):
            raise ValueError(f"{name} is a secret: name the variable that holds it under {instead}")
    return values


def _secret(where: str, held: str) -> str:
    """Return the value of a secret. The ValueError for an invalid name does not repeat it: it may be a secret."""
    if not held.startswith(config.SECRET_PREFIX):
        raise ValueError(f"{where}: names no variable of secrets: these begin with {config.SECRET_PREFIX}")
    try:
        return config.secret(held)
    except config.ConfigurationError as error:
        raise ValueError(f"{where}: {error}") from error


def _any_of(secrets: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds secrets in text: as they are, quoted for a URL, or without a prefix like `Bearer`."""
    forms: set[str] = set()
    for value in secrets:
        for form in (value, value.rpartition(" ")[2]):
            forms |= {form, quote(form), quote(form, safe=""), quote_plus(form)}
    # The longest first, because others may be parts of it. Without secrets, the pattern matches nothing.
    return re.compile("|".join(map(re.escape, sorted(forms - {""}, key=len, reverse=True))) or "(?!)", re.IGNORECASE)


_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?")


def _check_header(where: str, name: str, value: str) -> None:
    """Raise ValueError if a header cannot be sent, so that this is known before the first request."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{where!r}: no header has such a name")
    if name.lower() == "host":
        # A server of many hosts would answer for one that is not allowed, and would get the secrets.
        raise ValueError(f"{where}: the url says which host is asked")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(
            f"{where}: the value has what no header may have: only ASCII in one line, without a blank edge"
        )


def _url(text: str) -> httpx.URL:
    """Parse a URL. The ValueError for an invalid one does not repeat it."""
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise ValueError("the url cannot be read") from None


def _joined(url: str, link: str) -> str:
    try:
        return str(httpx.URL(url).join(link))
    except (httpx.InvalidURL, ValueError):
        raise SourceUnavailable(f"{_shown(url)}: the next page's link cannot be read") from None


def _with(url: str, params: Mapping[str, str]) -> str:
    return str(httpx.URL(url).copy_merge_params(params))


def _begins(url: httpx.URL, allowed: httpx.URL) -> bool:
    """Whether a URL begins with an allowed one: the same host, and a path at or below it."""
    if (url.scheme, url.host, _port(url)) != (allowed.scheme, allowed.host, _port(allowed)):
        return False
    return url.path == allowed.path or url.path.startswith(allowed.path.rstrip("/") + "/")


def _origin(url: httpx.URL) -> str:
    """The settings that a worker needs to request a URL, as far as a worker declares them beforehand."""
    return f"{url.scheme}://{url.host}:{_port(url)}/ in DATASTORE_SOURCE_URLS"


def _port(url: httpx.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def _shown(url: str | httpx.URL) -> str:
    """Return a URL for a message, without its query and user, which may identify the caller."""
    return str(httpx.URL(url).copy_with(query=None, fragment=None, userinfo=b""))


class _Unanswered(Exception):
    """A failed request. `again`: whether to try again, or after how many seconds.

    It replaces the client's own errors, which would show the whole URL in logs, for example between two attempts.
    """

    def __init__(self, why: str, again: bool | float = False) -> None:
        super().__init__(why)
        self.again = again


def _again(error: Exception) -> bool | float:
    return isinstance(error, _Unanswered) and error.again


def _answer(client: httpx.Client, url: str, params: Mapping[str, str]) -> Any:
    """Return the response to a request. Raises _Unanswered."""
    body = bytearray()
    try:
        with client.stream("GET", _with(url, params)) as response:
            _check_status(response)
            for part in response.iter_bytes():
                body += part
                if len(body) > LARGEST_ANSWER:
                    raise _Unanswered(f"the answer is larger than {LARGEST_ANSWER:,} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        passing = isinstance(error, httpx.TransportError) and not isinstance(error, _LASTING)
        raise _Unanswered(f"{type(error).__name__}: {error}", passing) from None
    try:
        return json.loads(body)
    except RecursionError:
        raise _Unanswered("answered JSON that is nested too deep") from None
    except ValueError as error:
        raise _Unanswered(f"answered no JSON: {error}") from None


_LASTING: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""Errors that our own side raises, and would raise again."""


def _check_status(response: httpx.Response) -> None:
    if response.is_redirect:
        target = response.url.join(response.headers["location"])
        raise _Unanswered(f"a redirect to {_shown(target)} is not followed")
    if response.is_success:
        return
    text, again = f"answered {response.status_code}", response.status_code == 429 or response.status_code >= 500
    asked = retry_after(response.headers) if again else None
    if asked is None:
        raise _Unanswered(text, again)
    raise _Unanswered(text, asked if asked <= LONGEST_WAIT else False)


_turns: Final[dict[str, float]] = {}
_turning: Final = threading.Lock()


def _wait_turn(host: str, rate: float | None) -> None:
    """Wait until the next request to a host is allowed. All sources of a process share the rate of a host."""
    if rate is None:
        return
    with _turning:
        turn = max(time.monotonic(), _turns.get(host, 0.0))
        _turns[host] = turn + 1 / rate
    time.sleep(max(0.0, turn - time.monotonic()))


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
