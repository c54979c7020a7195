"""The market's time beside UTC: the time zone of the trading calendar that a series has."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Protocol
from uuid import UUID

from datastore.console.formats import iso
from datastore.gaps import CalendarError, calendars
from datastore.reads import Freshness


@dataclass(frozen=True, slots=True)
class Market:
    """A trading calendar and its time zone."""

    calendar: str
    zone: tzinfo

    def time(self, value: datetime) -> str:
        """A time in UTC, and on the market's clocks: what a page shows on hover."""
        own = value.astimezone(self.zone)
        return f"{iso(value)}, in the market ({self.calendar}) {own:%Y-%m-%d %H:%M:%S %Z}"

    def span(self, start: datetime, end: datetime) -> str:
        """A span of time in UTC, and on the market's clocks."""
        return _spans(self, start, end)


@lru_cache(maxsize=1_000)
def _spans(market: Market, start: datetime, end: datetime) -> str:
    """The same days are those of every symbol of a page."""
    return (
        f"{_span(start.astimezone(UTC), end.astimezone(UTC))},"
        f" in the market ({market.calendar}) {_span(start.astimezone(market.zone), end.astimezone(market.zone))}"
    )


def _span(start: datetime, end: datetime) -> str:
    form = "%H:%M" if start.date() == end.date() else "%Y-%m-%d %H:%M"
    return f"{start:{form}} to {end:{form}} {end:%Z}"


class Named(Protocol):
    """An object with the names of a series."""

    @property
    def tenant(self) -> UUID: ...
    @property
    def vendor(self) -> str: ...
    @property
    def symbol(self) -> str | None: ...


def of(dsn: str, series: Iterable[Named]) -> dict[tuple[UUID, str, str | None], Market]:
    """The markets of series, by tenant, vendor and symbol; those without a calendar are left out.

    Args:
        dsn: The control plane's DSN.
        series: What has the names of series, such as those of a page.
    """
    return _of_names(dsn, {(each.tenant, each.vendor, each.symbol) for each in series})


def of_rows(dsn: str, tenant: UUID, rows: Iterable[tuple[str, str | None]]) -> list[Market | None]:
    """The market of each row of a tenant.

    Args:
        dsn: The control plane's DSN.
        tenant: The rows' tenant.
        rows: The vendor and the symbol, if there is one, of each row.
    """
    names = [(tenant, vendor, symbol) for vendor, symbol in rows]
    found = _of_names(dsn, set(names))
    return [found.get(name) for name in names]


def of_vendors(dsn: str, fresh: Iterable[Freshness], tenant: UUID | None) -> dict[tuple[str, str], Market]:
    """The markets of vendors, by kind and vendor. Vendors whose series are on several clocks are left out.

    Args:
        dsn: The control plane's DSN.
        fresh: The kinds and vendors of a page.
        tenant: Only this tenant's calendars; None for those of all tenants that have the vendor.
    """
    names = sorted({(each.kind, each.vendor) for each in fresh})
    found = {}
    for name, known in calendars.of_vendors(dsn, names, tenant).items():
        markets = [market for calendar in known if (market := of_calendar(calendar)) is not None]
        if markets and len({str(market.zone) for market in markets}) == 1:
            found[name] = Market(", ".join(market.calendar for market in markets), markets[0].zone)
    return found


def of_calendar(calendar: str) -> Market | None:
    """The market of a calendar; None if the library that knows the calendar is not installed."""
    try:
        return Market(calendar, calendars.zone(calendar))
    except CalendarError:
        # The library that knows it is not installed: the page has its times in UTC alone.
        return None


def _of_names(dsn: str, wanted: set[tuple[UUID, str, str | None]]) -> dict[tuple[UUID, str, str | None], Market]:
    names = list(wanted)
    found = {}
    for name, calendar in zip(names, calendars.of_names(dsn, names), strict=True):
        market = None if calendar is None else of_calendar(calendar)
        if market is not None:
            found[name] = market
    return found
