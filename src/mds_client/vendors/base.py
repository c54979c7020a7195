"""The common base of vendors' APIs: declarations, requests with timeouts and retries, and errors.

A vendor is a module of this package with one class: its requirements, the interval for each timeframe, and a method
that calls the vendor's own client library. The vendor's profile (`mds_client.profiles`) converts responses to rows, as
it does for the vendor's files.
"""

import logging
import random
import re
import threading
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Final, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from mds_client.config import variable, vendor_url
from mds_client.errors import ConfigurationError, MDSError
from mds_client.files import SourceError
from mds_client.values import timeframes

T = TypeVar("T")

_log = logging.getLogger(__name__)

LONGEST_WAIT: Final = 120.0
"""The longest wait, in seconds, that a vendor can request before the next attempt. Beyond it, the vendor counts as
unavailable."""

FIRST_WAIT: Final = 0.5
"""The longest wait, in seconds, before the second attempt if the vendor does not request a wait."""


class VendorRefused(MDSError):
    """The vendor does not accept the credentials, so other symbols would also fail."""


class VendorUnavailable(MDSError):
    """The vendor is unavailable: no connection, no response in time, too many requests, or a server error."""


class SymbolRefused(SourceError):
    """The vendor does not know a symbol, or refuses its bars. Other symbols may work."""


class NoBars(SourceError):
    """The vendor responded, but has no bars for the symbol in that time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requested bars: a symbol in the vendor's spelling, and `start <= ts < end` in UTC."""

    symbol: str
    timeframe: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """The meaning of an error of a vendor's library: the HTTP status, and the seconds that the vendor asks to wait.

    `unknown` is true if the vendor does not know the symbol; `passing` if the error is transient.
    """

    text: str
    status: int | None = None
    retry_after: float | None = None
    unknown: bool = False
    passing: bool = False


class Live(Protocol):
    """An open connection to a vendor that sends bars as they change."""

    @property
    def begins_whole(self) -> bool:
        """Whether the first bar after connecting includes the earlier trades of its interval."""

    async def watch(self, symbol: str, timeframe: str) -> None:
        """Wait until the vendor has sent data of a symbol.

        Connects if there is no connection. Raises the library's error if the connection breaks.
        """

    def received(self, symbol: str, timeframe: str) -> Sequence[Any]:
        """Return the newest records of a symbol, including earlier ones, in a form that the profile reads."""

    def begin(self, record: Any) -> datetime:
        """Return the time of a record."""

    def broken(self, symbol: str) -> None:
        """Discard the state of a broken connection."""


class Vendor(BaseModel):
    """A vendor's API, used through the vendor's own library. The fields are options that users can set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    """The name in commands and sources, and of the extra."""
    title: ClassVar[str]
    package: ClassVar[str]
    """The library's name on PyPI."""
    module: ClassVar[str]
    """The module of the library that is imported."""
    documentation: ClassVar[str]
    profile: ClassVar[str]
    """The profile that reads responses."""
    variables: ClassVar[tuple[str, ...]] = ()
    """The environment variables with the credentials; `A|B` are alternative names."""
    intervals: ClassVar[dict[str, str]]
    """The vendor's name of each timeframe."""
    prices: ClassVar[str]
    """Whether prices are raw or adjusted, and how to choose."""
    times: ClassVar[str]
    """The meaning of a bar's time, and the zone in which days begin."""
    limits: ClassVar[str]
    """How requests are paged and limited."""

    timeout: float = Field(default=60.0, gt=0, le=600, description="Seconds that one request may take.")
    attempts: int = Field(default=5, ge=1, le=20, description="How often a request is tried.")

    # Declared by each vendor -----------------------------------------------------------------------------------------

    @abstractmethod
    def pages(self, wanted: Wanted) -> Iterator[Any]:
        """Request bars page by page.

        Yields the vendor's responses in a form that the profile reads: a pandas frame, a list, or a JSON document.
        Every request goes through `ask`.
        """

    @abstractmethod
    def told(self, error: Exception) -> Told | None:
        """Return the meaning of an error of the library, or None if neither vendor nor network caused it."""

    def live(self) -> AbstractAsyncContextManager[Live]:
        """Connect for live bars. Raises ConfigurationError if the vendor has none here."""
        raise ConfigurationError(f"{self.name} has no live bars here; use mds fetch")

    @property
    def stored_as(self) -> str:
        """The default vendor name of the rows."""
        return self.name

    # Common to all vendors -------------------------------------------------------------------------------------------

    @classmethod
    def installed(cls) -> bool:
        """Whether the library is installed."""
        try:
            return find_spec(cls.module) is not None
        except ModuleNotFoundError:
            return False

    @classmethod
    def library(cls, module: str | None = None) -> Any:
        """Import a module of the library. Raises ConfigurationError, which says how to install it."""
        try:
            with warnings.catch_warnings():
                # Deprecation warnings of the library do not concern the user.
                warnings.simplefilter("ignore", DeprecationWarning)
                return import_module(module or cls.module)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"{cls.name} needs the package {cls.package}: install the extra {cls.name} (see Installing);"
                f" {error.name} is missing"
            ) from None

    @classmethod
    def credentials(cls) -> list[str]:
        """Return the credentials. Raises ConfigurationError, which names the variables that are not set."""
        found = [(names, variable(names)) for names in cls.variables]
        if missing := [names.replace("|", " or ") for names, value in found if not value]:
            raise ConfigurationError(
                f"{cls.name} needs credentials: set {' and '.join(missing)} in the environment ({cls.documentation})"
            )
        return [value for _, value in found if value]

    @classmethod
    def variables_set(cls) -> list[str]:
        """Return the declared variables that are set."""
        return [names for names in cls.variables if variable(names)]

    @property
    def url(self) -> str | None:
        """The URL in `MDS_<NAME>_URL`, which replaces the vendor's own address."""
        return vendor_url(self.name)

    def interval(self, timeframe: str) -> str:
        """Return the vendor's name of a timeframe. Raises ConfigurationError, which lists the timeframes."""
        try:
            return self.intervals[timeframe]
        except KeyError:
            raise ConfigurationError(
                f"{self.name} has no bars of {timeframe}; it has: {', '.join(self.intervals)}"
            ) from None

    def ask(self, what: str, request: Callable[[], T]) -> T:
        """Make one request, and retry it after transient errors.

        Args:
            what: The subject of the request, for messages.
            request: A function that makes the request and waits for the response.

        Raises:
            VendorRefused: The credentials are not accepted (401).
            SymbolRefused: The symbol is unknown, or this account has no access to its bars (403).
            VendorUnavailable: There was no response, or only transient errors.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return within(self.timeout, request)
            except MDSError:
                raise
            except TimeoutError:
                told = Told(f"no answer within {self.timeout:g} s", passing=True)
            except Exception as error:  # noqa: BLE001 - a library's own, whatever it is
                told = self._told(error)
            self._refuse(what, told)
            wait = told.retry_after
            if wait is None:
                wait = random.uniform(0.5, 1) * FIRST_WAIT * 2 ** (attempt - 1)  # noqa: S311 - no secret
            if attempt == self.attempts or wait > LONGEST_WAIT:
                after = (
                    f", which asks to wait {wait:,.0f} s"
                    if wait > LONGEST_WAIT
                    else f" after {attempt} attempt{'s' * (attempt > 1)}"
                )
                limited = " (429, too many requests)" if told.status == 429 else ""
                status = limited or (f" ({told.status})" if told.status else "")
                raise VendorUnavailable(f"{self.name}: {what}: the vendor is not available{after}{status}. {told.text}")
            _log.info(
                "%s: %s: attempt %d failed, the next one in %.1f s: %s", self.name, what, attempt, wait, told.text
            )
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def failure(self, what: str, error: Exception) -> Told:
        """Return the meaning of a transient error outside `ask`. For other errors, raises the errors of `ask`."""
        told = self._told(error)
        self._refuse(what, told)
        return told

    def _refuse(self, what: str, told: Told) -> None:
        """Raise an error if the same request would be refused again."""
        where = f"{self.name}: {what}"
        if told.status == 401:
            variables = " and ".join(self.variables).replace("|", " or ") or "the account"
            raise VendorRefused(f"{where}: the credentials are not accepted (401): look at {variables}. {told.text}")
        if told.unknown:
            raise SymbolRefused(f"{where}: the vendor does not know this symbol. {told.text}")
        if told.status == 403:
            raise SymbolRefused(f"{where}: the account may not have these bars (403). {told.text}")
        if not told.passing and not passing(told.status):
            status = f" ({told.status})" if told.status else ""
            raise SymbolRefused(f"{where}: the request was not answered{status}. {told.text}")

    def _told(self, error: Exception) -> Told:
        told = self.told(error)
        if told is None:
            told = Told(f"{type(error).__name__}: {error}", passing=isinstance(error, OSError))
        text = " ".join(self.hidden(told.text).split())
        return Told(text[:300], told.status, told.retry_after, told.unknown, told.passing)

    def hidden(self, text: str) -> str:
        """Remove the credentials from a text, because vendors may repeat them in errors."""
        for names in self.variables:
            if (value := variable(names)) is not None:
                text = text.replace(value, "***")
        return text


def passing(status: int | None) -> bool:
    """Whether a request with such a status can be retried."""
    return status is not None and (status in (408, 425, 429) or status >= 500)


def retry_after(headers: Any) -> float | None:
    """Return the seconds to wait from a Retry-After header with a count or a date, or None."""
    text = None
    for name, value in dict(headers or {}).items():
        if str(name).lower() == "retry-after":
            text = str(value).strip()
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def of_response(text: str, response: Any) -> Told:
    """Return the meaning of an error with a response of `requests`, or with None if there was no response."""
    if response is None:
        return Told(text, passing=True)
    return Told(text, response.status_code, retry_after(response.headers))


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call, with a time limit in seconds.

    The timeout of a library often applies to each read of a socket, so a slow response could take forever. Therefore
    the call runs in a daemon thread, which is abandoned when the time is over.

    Raises:
        TimeoutError: The call took longer.
    """
    done = threading.Event()
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failed.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="mds-vendor", daemon=True).start()
    if not done.wait(seconds):
        raise TimeoutError
    if failed:
        raise failed[0]
    return found[0]


def windows(wanted: Wanted, width: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Split the requested time into parts of at most that width."""
    start = wanted.start
    while start < wanted.end:
        yield start, min(start + width, wanted.end)
        start += width


_LONGEST: Final = {"w": timedelta(days=7), "mo": timedelta(days=31), "q": timedelta(days=92), "y": timedelta(days=366)}


def width(timeframe: str) -> timedelta:
    """Return the duration of a bar; for calendar units such as months, the maximum."""
    if (fixed := timeframes.width(timeframe)) is not None:
        return fixed
    count, unit = timeframes.parts(timeframe)
    return count * _LONGEST[unit]
