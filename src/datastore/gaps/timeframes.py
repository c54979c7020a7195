"""Timeframes, and the windows in which a calendar expects bars."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Final

from datastore.errors import ControlError
from datastore.gaps import calendars
from datastore.gaps.calendars import TradingSession
from mds_client.values import timeframes
from mds_client.values.times import EPOCH, ceiling, floor

_MONDAY: Final = date(2000, 1, 3).toordinal()
_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_MONTHS: Final = {"mo": 1, "q": 3, "y": 12}


@dataclass(frozen=True, slots=True)
class Window:
    """A range of time in which every interval is expected: a session or a part of one, or a single day or longer
    period.

    `day` is the session's date, `expected` the number of its intervals.
    """

    day: date
    start: datetime
    end: datetime
    expected: int


# What is expected -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A timeframe in parts: `15m` is 15 and m."""

    count: int
    unit: str

    @property
    def step(self) -> timedelta | None:
        """The length of seconds, minutes or hours; None for a day or longer."""
        return self.count * _UNITS[self.unit] if self.unit in _UNITS else None

    def around(self, day: date) -> tuple[date, date]:
        """Return the first day of the interval of days, weeks or months that contains a day, and of the next one."""
        if self.unit in ("d", "w"):
            width, origin = (self.count, EPOCH.toordinal()) if self.unit == "d" else (7 * self.count, _MONDAY)
            first = origin + (day.toordinal() - origin) // width * width
            return date.fromordinal(first), date.fromordinal(first + width)
        width = self.count * _MONTHS[self.unit]
        number = (day.year * 12 + day.month - 1) // width * width
        return _month(number), _month(number + width)


def parse_timeframe(text: str) -> Timeframe:
    """Split a timeframe into its parts. Raises GapError if it is invalid."""
    try:
        return Timeframe(*timeframes.parts(timeframes.canonical(text)))
    except ValueError as error:
        raise GapError(f"{text!r}: {error}") from None


def windows(
    calendar: str, timeframe: Timeframe, start: datetime, end: datetime, now: datetime | None = None
) -> list[Window]:
    """Return the windows of the expected intervals that begin in `start <= time < end` and are over by `now`, in order.

    Windows do not overlap. Raises CalendarError as `calendars.sessions` does.
    """
    now = now or datetime.now(UTC)
    end = min(end, now)
    if end <= start:
        return []
    step = timeframe.step
    if step is not None:
        until = min(ceiling(end, step), now)
        return list(_intervals(calendars.sessions(calendar, start, until), step, start, until))
    try:
        first, _ = timeframe.around(start.astimezone(UTC).date())
        _, after = timeframe.around(end.astimezone(UTC).date())
        begin, reach = _midnight(first), min(_midnight(after), now)
    except (ValueError, OverflowError):
        raise GapError("the range must be within the years 1 to 9999") from None
    return list(_periods(calendar, calendars.sessions(calendar, begin, reach), timeframe, start, end, now))


def _intervals(found: Iterable[TradingSession], step: timedelta, start: datetime, until: datetime) -> Iterator[Window]:
    done = ceiling(start, step)
    until = floor(until, step)
    for session in found:
        for opens, closes in session.spans:
            # A session may begin in the interval in which the previous one ended.
            first, last = max(floor(opens, step), done), min(ceiling(closes, step), until)
            if first < last:
                yield Window(session.day, first, last, (last - first) // step)
                done = last


def _periods(
    calendar: str, found: list[TradingSession], timeframe: Timeframe, start: datetime, end: datetime, now: datetime
) -> Iterator[Window]:
    """Yield windows of a day or longer. A bar of a day belongs to the session that it is stamped for.

    Vendors stamp it with midnight in UTC, with midnight at the exchange, or with the beginning of the session, which
    may be the evening before. So a day's window reaches from the earliest of these to the earliest of the next day's.
    """
    zone = calendars.zone(calendar)
    opens = {session.day: session.start for session in found}

    def begin(day: date) -> datetime:
        local = datetime.combine(day, time(), zone).astimezone(UTC)
        return min(_midnight(day), local, opens.get(day, local))

    for (first, after), _ in groupby(found, key=lambda session: timeframe.around(session.day)):
        if start <= _midnight(first) < end and _midnight(after) <= now:
            yield Window(first, begin(first), begin(after), 1)


def _month(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


class GapError(ControlError):
    """A gap check cannot be done as requested: no such series, no such timeframe, or a reversed range."""
