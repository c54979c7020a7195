"""The market's time beside UTC: the time zone of the trading calendar that a series has."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Protocol
from uuid import UUID

from datastore.console.formats import iso
from datastore.gaps import CalendarError, calendars


@dataclass(frozen=True, slots=True)
class Market:
    """A trading calendar and its time zone."""

    calendar: str
    zone: tzinfo

    def time(self, value: datetime) -> str:
        """A time in UTC, and on the market's clocks: what a page shows on hover."""
        own = value.astimezone(self.zone)
        return f"{iso(value)}, in the market ({self.calendar}) {own:%Y-%m-%d %H:%M:%S %Z}"


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
    names = list({(each.tenant, each.vendor, each.symbol) for each in series})
    found = {}
    for name, calendar in zip(names, calendars.of_names(dsn, names), strict=True):
        market = None if calendar is None else _market(calendar)
        if market is not None:
            found[name] = market
    return found


def _market(calendar: str) -> Market | None:
    try:
        return Market(calendar, calendars.zone(calendar))
    except CalendarError:
        # The library that knows it is not installed: the page has its times in UTC alone.
        return None
