"""Trading calendars: when a market is open, and which calendar a series has.

Sessions of exchanges come from the library exchange_calendars, which is imported when one is needed. Two calendars are
defined here: `24/7`, and `FX`, the week of foreign exchange. `datastore.gaps.finding` looks for gaps in the sessions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from threading import Lock
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import class_row
from pydantic import TypeAdapter, ValidationError

from datastore import vendors
from datastore.connections import connect
from datastore.errors import ControlError
from datastore.names import TENANT_BITS
from datastore.tenants import find_tenant
from mds_client.models import Name, Symbol

ALWAYS: Final = "24/7"
"""The calendar whose sessions are all days from midnight to midnight UTC, as for crypto currencies."""

FX: Final = "FX"
"""The calendar of foreign exchange: from Sunday 17:00 to Friday 17:00 in New York, without holidays. A session ends at
17:00 and has the date of its end."""

_NEW_YORK: Final = ZoneInfo("America/New_York")
_DAY: Final = timedelta(days=1)
_MAKING: Final = Lock()
"""Held while the library makes a calendar: it changes the warning filters of the process."""

_OLDEST: Final = date(1900, 1, 1)
"""The oldest date to ask the library for, if it gives no bound itself."""


class CalendarError(ControlError):
    """The calendar does not exist or does not cover the range, or a series has none; the message says which."""


@dataclass(frozen=True, slots=True)
class TradingSession:
    """One trading session. `day` is its date as the exchange names it. `spans` are its open times (UTC, half-open):
    one, or several if there is a break, for example over lunch."""

    day: date
    spans: tuple[tuple[datetime, datetime], ...]

    @property
    def start(self) -> datetime:
        """The time at which it opens (UTC)."""
        return self.spans[0][0]

    @property
    def end(self) -> datetime:
        """The time at which it closes (UTC)."""
        return self.spans[-1][1]


@dataclass(frozen=True, slots=True)
class Assignment:
    """The calendar of a tenant's series with this vendor and symbol; None stands for any."""

    tenant: UUID
    vendor: str | None
    symbol: str | None
    calendar: str


def names() -> list[str]:
    """Return the names of all calendars: our own, then those of exchanges."""
    library = _library()
    return [ALWAYS, FX, *(name for name in library.get_calendar_names() if name != ALWAYS)]


def resolve(name: str) -> str:
    """Return a calendar's canonical name, also for an alias (`NYSE`). Raises CalendarError, with similar names."""
    wanted = name.strip().upper()
    if wanted in (ALWAYS, FX):
        return wanted
    library = _library()
    try:
        # The library's names are in capitals, except for one alias.
        return str(library.resolve_alias(wanted if wanted in library.get_calendar_names() else name.strip()))
    except library.errors.InvalidCalendarName:
        near = get_close_matches(wanted, names(), n=5, cutoff=0.5)
        hint = (
            f"; near it: {', '.join(near)}" if near else f"; an exchange's is its MIC, as XNYS, others: {ALWAYS}, {FX}"
        )
        raise CalendarError(f"there is no calendar {name!r}{hint}") from None


def sessions(name: str, start: datetime, end: datetime) -> list[TradingSession]:
    """Return the sessions that overlap `start <= time < end`, in order.

    Raises CalendarError for an unknown name, a reversed range, or a range that the calendar does not cover.
    """
    if end <= start:
        raise CalendarError(f"the range is empty: {start.isoformat()} is not before {end.isoformat()}")
    own = resolve(name)
    # A session's date may differ from the UTC date of its times, for example in Asia: add a day at either end.
    try:
        first, last = (start.astimezone(UTC) - _DAY).date(), (end.astimezone(UTC) + _DAY).date()
    except OverflowError:
        raise CalendarError("the range must be within the years 1 to 9999") from None
    if own == ALWAYS:
        found: Iterable[TradingSession] = _always(first, last)
    elif own == FX:
        found = _foreign_exchange(first, last)
    else:
        found = _exchange(own, first, last)
    return [session for session in found if session.start < end and session.end > start]


def zone(name: str) -> tzinfo:
    """Return the time zone in which a calendar's days begin. Raises CalendarError for an unknown name."""
    own = resolve(name)
    if own == ALWAYS:
        return UTC
    return _NEW_YORK if own == FX else _zone(own)


@lru_cache
def _zone(name: str) -> tzinfo:
    found: tzinfo = _calendar(name, date(2024, 1, 1), date(2024, 1, 31)).tz
    return found


def _always(first: date, last: date) -> Iterator[TradingSession]:
    for day in _days(first, last):
        midnight = datetime.combine(day, time(), UTC)
        yield TradingSession(day, ((midnight, midnight + _DAY),))


def _foreign_exchange(first: date, last: date) -> Iterator[TradingSession]:
    for day in _days(first, last):
        if day.weekday() < 5:
            # Both ends are in New York's local time: a change of clocks at a weekend changes the week's length, but no
            # day's.
            yield TradingSession(day, ((_five_in_new_york(day - _DAY), _five_in_new_york(day)),))


def _five_in_new_york(day: date) -> datetime:
    return datetime.combine(day, time(17), _NEW_YORK).astimezone(UTC)


def _days(first: date, last: date) -> Iterator[date]:
    return (date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1))


def _exchange(name: str, first: date, last: date) -> Iterator[TradingSession]:
    known_from, known_to = _known(name)
    if first + _DAY < known_from or last - _DAY > known_to:
        raise CalendarError(f"calendar {name} is known from {known_from} to {known_to}, and no further")
    for year in range(max(first, known_from).year, min(last, known_to).year + 1):
        yield from _year(name, max(date(year, 1, 1), known_from), min(date(year, 12, 31), known_to))


def _known(name: str) -> tuple[date, date]:
    """Return the first and last date that a calendar covers."""
    kind = _kind(name)
    oldest, newest = kind.bound_min(), kind.bound_max()
    # The library extrapolates from rules without end, but holidays are announced for no longer than its default, a
    # year.
    announced = kind.default_end().date()
    return (
        oldest.date() if oldest is not None else _OLDEST,
        announced if newest is None else min(announced, newest.date()),
    )


@lru_cache
def _kind(name: str) -> Any:
    """Return a calendar's class. The library needs an instance for that: make one of a short range that all cover."""
    return type(_calendar(name, date(2024, 1, 1), date(2024, 1, 31)))


def _calendar(name: str, first: date, last: date) -> Any:
    library = _library()
    try:
        with _MAKING:
            return library.get_calendar(name, start=first.isoformat(), end=last.isoformat())
    except (NotImplementedError, TypeError, ValueError) as error:
        # The rules of some calendars fail with some releases of pandas.
        raise CalendarError(
            f"calendar {name} cannot be made for {first} to {last} by the exchange-calendars and pandas that are"
            f" installed: {type(error).__name__}: {error}"
        ) from error


@lru_cache(maxsize=512)
def _year(name: str, first: date, last: date) -> tuple[TradingSession, ...]:
    """Return an exchange's sessions of a year. Cached by the year, so that overlapping ranges share the slow part."""
    import pandas as pd

    try:
        schedule = _calendar(name, first, last).schedule
    except _library().errors.NoSessionsError:
        return ()
    columns = (schedule[column] for column in ("open", "break_start", "break_end", "close"))
    return tuple(
        TradingSession(
            day.date(),
            ((opened, closed),) if pd.isna(pause) else ((opened, _utc(pause)), (_utc(resumed), closed)),
        )
        for day, opened, pause, resumed, closed in (
            (day, _utc(opened), pause, resumed, _utc(closed))
            for day, opened, pause, resumed, closed in zip(schedule.index, *columns, strict=True)
        )
    )


def _utc(timestamp: Any) -> datetime:
    """Convert a pandas timestamp to a datetime in UTC."""
    instant: datetime = timestamp.to_pydatetime()
    return instant.astimezone(UTC)


def _library() -> Any:
    try:
        import exchange_calendars
    except ModuleNotFoundError as error:
        raise CalendarError(
            f"exchanges' calendars need the package exchange-calendars ({error.name} is missing):"
            " install the extra backfill (see Installing)"
        ) from error
    return exchange_calendars


# Which calendar a series has ------------------------------------------------------------------------------------------


def assign(
    dsn: str, tenant: UUID | str, calendar: str, *, vendor: str | None = None, symbol: str | None = None
) -> Assignment:
    """Set the calendar of a tenant's series: of a vendor, a symbol, both, or of all without a more specific one.

    The most specific assignment wins: vendor and symbol, then symbol, then vendor, then the tenant alone. A symbol
    without a vendor is in upper case, also for vendors whose symbols are case-sensitive.

    Raises:
        CalendarError: The calendar is unknown, or a name is invalid.
        UnknownTenant: There is no such tenant.
    """
    own = resolve(calendar)
    with connect(dsn) as connection:
        found = find_tenant(connection, tenant)
        connection.execute(
            "INSERT INTO store.calendars (tenant_no, vendor, symbol, calendar) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (tenant_no, vendor, symbol) DO UPDATE SET calendar = excluded.calendar",
            (found.no, _named(vendor), named := _symbol(connection, vendor, symbol), own),
        )
    return Assignment(found.id, _named(vendor), named, own)


def unassign(dsn: str, tenant: UUID | str, *, vendor: str | None = None, symbol: str | None = None) -> bool:
    """Remove the assignment of exactly this vendor and symbol. Returns False if there was none."""
    with connect(dsn) as connection:
        found = find_tenant(connection, tenant)
        taken = connection.execute(
            "DELETE FROM store.calendars WHERE tenant_no = %s"
            " AND (vendor, symbol) IS NOT DISTINCT FROM (%s::text, %s::text)",
            (found.no, _named(vendor), _symbol(connection, vendor, symbol)),
        )
        return taken.rowcount > 0


def assignments(dsn: str, tenant: UUID | str | None = None) -> list[Assignment]:
    """Return the assignments of one tenant or of all."""
    with connect(dsn) as connection:
        no = None if tenant is None else find_tenant(connection, tenant).no
        with connection.cursor(row_factory=class_row(Assignment)) as cursor:
            return cursor.execute(
                "SELECT t.id AS tenant, c.vendor, c.symbol, c.calendar"
                " FROM store.calendars AS c JOIN store.tenants AS t ON t.no = c.tenant_no"
                " WHERE c.tenant_no = coalesce(%s, c.tenant_no)"
                " ORDER BY t.name, c.vendor NULLS FIRST, c.symbol NULLS FIRST",
                (no,),
            ).fetchall()


def of_series(
    connection: psycopg.Connection[Any], tenant_no: int, vendor: str, symbols: Sequence[str]
) -> dict[str, str | None]:
    """Return the calendar of each of a vendor's symbols; None where no assignment applies."""
    rows = connection.execute(
        """
        SELECT s.symbol, (
          SELECT c.calendar FROM store.calendars AS c
          WHERE c.tenant_no = %s AND (c.vendor = %s OR c.vendor IS NULL)
            AND (c.symbol = s.symbol OR c.symbol IS NULL)
          ORDER BY c.symbol NULLS LAST, c.vendor NULLS LAST LIMIT 1)
        FROM unnest(%s::text[]) AS s(symbol)
        """,
        (tenant_no, vendor, list(symbols)),
    ).fetchall()
    return dict(rows)


def of_names(dsn: str, names: Sequence[tuple[UUID, str, str | None]]) -> list[str | None]:
    """Return the calendar of each tenant, vendor and symbol; None where no assignment applies."""
    if not names:
        return []
    tenants, vendors, symbols = (list(part) for part in zip(*names, strict=True))
    with connect(dsn) as connection:
        rows = connection.execute(
            """
            SELECT (
              SELECT c.calendar FROM store.calendars AS c JOIN store.tenants AS t ON t.no = c.tenant_no
              WHERE t.id = s.tenant AND (c.vendor = s.vendor OR c.vendor IS NULL)
                AND (c.symbol = s.symbol OR c.symbol IS NULL)
              ORDER BY c.symbol NULLS LAST, c.vendor NULLS LAST LIMIT 1)
            FROM unnest(%s::uuid[], %s::text[], %s::text[]) WITH ORDINALITY AS s(tenant, vendor, symbol, n) ORDER BY n
            """,
            (tenants, vendors, symbols),
        ).fetchall()
    return [calendar for (calendar,) in rows]


def of_vendors(
    dsn: str, names: Sequence[tuple[str, str]], tenant: UUID | None = None
) -> dict[tuple[str, str], list[str]]:
    """Return the calendars of vendors that have one, by kind and vendor.

    A vendor has a calendar if an assignment applies to all its symbols. Assignments of single symbols are then listed,
    too. Only tenants that have series of the kind and vendor count.

    Args:
        dsn: The control plane's DSN.
        names: Kinds and vendors.
        tenant: Only this tenant's assignments.
    """
    if not names:
        return {}
    kinds, vendors = (list(part) for part in zip(*names, strict=True))
    with connect(dsn) as connection:
        no = None if tenant is None else find_tenant(connection, tenant).no
        rows = connection.execute(
            """
            SELECT v.kind, v.vendor, array_agg(DISTINCT c.calendar ORDER BY c.calendar)
            FROM unnest(%(kinds)s::text[], %(vendors)s::text[]) AS v(kind, vendor)
            JOIN store.calendars AS c ON c.vendor = v.vendor OR c.vendor IS NULL
            WHERE c.tenant_no = coalesce(%(no)s, c.tenant_no) AND EXISTS (
              SELECT FROM store.series AS s
              WHERE (s.series_id >> %(bits)s) = c.tenant_no AND s.kind = v.kind AND s.vendor = v.vendor)
            GROUP BY v.kind, v.vendor HAVING bool_or(c.symbol IS NULL)
            """,
            {"kinds": kinds, "vendors": vendors, "no": no, "bits": TENANT_BITS},
        ).fetchall()
    return {(kind, vendor): found for kind, vendor, found in rows}


def _named(text: str | None) -> str | None:
    return None if text is None else _checked("vendor", Name, text)


def _symbol(connection: psycopg.Connection[Any], vendor: str | None, text: str | None) -> str | None:
    """Return a symbol as the vendor's series have it; of any vendor, in upper case."""
    if text is None:
        return None
    return vendors.spelling(connection).stored(_named(vendor) or "", _checked("symbol", Symbol, text))


def _checked(what: str, model: Any, text: str) -> str:
    try:
        checked: str = TypeAdapter(model).validate_python(text)
    except ValidationError as error:
        raise CalendarError(f"{what}: {error.errors()[0]['msg']}") from error
    return checked
