"""A gap check in pages. Each checks as many series as it needs, one after the other."""

import base64
import binascii
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from psycopg.sql import SQL

from datastore.connections import connect
from datastore.gaps.finding import SERIES_AT_ONCE, Check, Day, Gap, Repeat, check, series_ids, wanted
from datastore.gaps.timeframes import GapError, parse_timeframe
from datastore.names import TENANT_BITS
from datastore.tenants import find_tenant


@dataclass(frozen=True, slots=True)
class Place:
    """The start of a page: after `listed` gaps of a series. Earlier pages have counted the series up to `counted`."""

    symbol: str = ""
    listed: int = 0
    counted: str = ""

    def __str__(self) -> str:
        plain = json.dumps([self.symbol, self.listed, self.counted], ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Parse what `str` returned. Raises GapError for any other text."""
        try:
            plain = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            symbol, listed, counted = plain
            right = type(listed) is int and listed >= 0 and b"\0" not in (symbol + counted).encode()
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
            right = False
        if not right:
            raise GapError("after must be the unchanged `next` of the previous page")
        return cls(symbol, listed, counted)


@dataclass
class _Sum:
    """The sum of the checks of one page."""

    series: int = 0
    repeated: int = 0
    gaps: list[Gap] = field(default_factory=list)
    days: dict[date, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    calendars: dict[str, str] = field(default_factory=dict)
    repeats: list[Repeat] = field(default_factory=list)

    def count(self, found: Check) -> None:
        self.series += found.series
        self.repeated += found.repeated
        self.calendars |= found.calendars
        self.repeats += found.repeats
        for day in found.days:
            self.days[day.day][0] += day.expected
            self.days[day.day][1] += day.missing

    def check(self) -> Check:
        return Check(
            series=self.series,
            expected=sum(expected for expected, _ in self.days.values()),
            missing=sum(missing for _, missing in self.days.values()),
            gaps=self.gaps,
            days=[Day(day, *counts) for day, counts in sorted(self.days.items())],
            calendars=self.calendars,
            repeated=self.repeated,
            repeats=self.repeats,
        )


def check_page(
    dsn: str,
    *,
    tenant: Any,
    vendor: str,
    timeframe: str,
    start: datetime,
    end: datetime,
    limit: int,
    after: str | None = None,
    symbols: Sequence[str] | None = None,
    **options: Any,
) -> tuple[Check, str | None]:
    """Return the next `limit` gaps by symbol and time, and the `after` for the following page; None at the end.

    Checks only the series that the page needs. A page counts only series that no earlier page has counted, so that the
    counts of all pages add up to those of `check`. The other arguments and the errors are those of `check`. Raises
    GapError also for an invalid `after`.
    """
    place = Place() if after is None else Place.parse(after)
    named = None
    if symbols is not None:
        with connect(dsn) as connection:
            named = sorted(wanted(connection, vendor, symbols))
    names = _Names(dsn, tenant, vendor, timeframe, named)
    if after is None:
        names.check()
    at_once, total = 1, _Sum()
    group = names.following(place.symbol, at_once, including=True)
    while group:
        # Check series that an earlier page has counted apart from new ones.
        fresh = group[0] > place.counted
        part = [symbol for symbol in group if (symbol > place.counted) == fresh]
        found = check(
            dsn, tenant=tenant, vendor=vendor, timeframe=timeframe, start=start, end=end, symbols=part, **options
        )  # fmt: skip
        if fresh:
            total.count(found)
        of_first = [gap for gap in found.gaps if gap.symbol == place.symbol]
        total.gaps += of_first[place.listed :] + [gap for gap in found.gaps if gap.symbol != place.symbol]
        counted = max(part[-1], place.counted)
        if len(total.gaps) > limit:
            left = total.gaps[limit]
            del total.gaps[limit:]
            listed = sum(gap.symbol == left.symbol for gap in total.gaps)
            listed += place.listed if left.symbol == place.symbol else 0
            return total.check(), str(Place(left.symbol, listed, counted))
        at_once = min(2 * at_once, SERIES_AT_ONCE)
        group = names.following(part[-1], at_once)
        if group and len(total.gaps) == limit:
            return total.check(), str(Place(group[0], 0, counted))
    return total.check(), None


@dataclass(frozen=True, slots=True)
class _Names:
    """The symbols to check, in order: the named ones, or all that have such bars."""

    dsn: str
    tenant: Any
    vendor: str
    timeframe: str
    named: list[str] | None

    def check(self) -> None:
        """Raise GapError if a named symbol has no such bars, or if no symbol has any."""
        if self.named is None:
            if not self.following("", 1):
                raise GapError(f"there are no {self.timeframe} bars of {self.vendor}")
            return
        with connect(self.dsn) as connection:
            owner = find_tenant(connection, self.tenant)
            series_ids(connection, owner, self.vendor, self._stored, self.named, new=False)

    def following(self, after: str, count: int, *, including: bool = False) -> list[str]:
        """Return the next symbols after one, or from it on."""
        if self.named is not None:
            return [symbol for symbol in self.named if symbol > after or (including and symbol == after)][:count]
        with connect(self.dsn) as connection:
            no = find_tenant(connection, self.tenant).no
            asked = (no, self.vendor, self._stored, after, including, after, count)
            return [symbol for (symbol,) in connection.execute(_NEXT.format(TENANT_BITS), asked).fetchall()]

    @property
    def _stored(self) -> str:
        parsed = parse_timeframe(self.timeframe)
        return f"{parsed.count}{parsed.unit}"


_NEXT: Final = SQL("""
SELECT symbol FROM store.series
WHERE (series_id >> {}) = %s AND kind = 'bars' AND vendor = %s AND timeframe = %s
  AND (symbol COLLATE "C" > %s OR (%s AND symbol = %s))
ORDER BY symbol COLLATE "C" LIMIT %s
""")
"""Select the next symbols in the order of Python, whatever the database's collation is."""
