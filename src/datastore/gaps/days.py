"""Gaps by day: the missing intervals of each series and session, for calendar views."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from datastore.gaps.finding import Check, Gap
from datastore.gaps.timeframes import Window, parse_timeframe, windows


@dataclass(frozen=True, slots=True)
class DayOfSeries:
    """One session of a series: its begin and end (UTC), and the numbers of expected and missing intervals."""

    start: datetime
    end: datetime
    expected: int
    missing: int


def by_window(
    due: Sequence[Window], step: timedelta | None, gap: Gap
) -> Iterator[tuple[Window, datetime, datetime, int]]:
    """Split a gap into one part for each window.

    Args:
        due: The windows in which the gap's series should have bars, in order.
        step: The timeframe's length; None for a day or longer.
        gap: The gap.

    Returns:
        For each part its window, start, end and number of intervals.
    """
    number = bisect_right(due, gap.start, key=lambda window: window.start) - 1
    while number < len(due) and (window := due[number]).start < gap.end:
        start, end = max(gap.start, window.start), min(gap.end, window.end)
        yield window, start, end, 1 if step is None else (end - start) // step
        number += 1


def by_day(
    found: Check, timeframe: str, start: datetime, end: datetime, now: datetime | None = None
) -> dict[str, dict[date, DayOfSeries]]:
    """Return the result of a check for each symbol and session.

    Args:
        found: The check, with every gap listed.
        timeframe: The timeframe that was checked.
        start: The beginning of the range that was checked.
        end: The end of that range.
        now: The time of the check, if one was given to it.
    """
    parsed = parse_timeframe(timeframe)
    now = now or datetime.now(UTC)
    due = {calendar: windows(calendar, parsed, start, end, now) for calendar in set(found.calendars.values())}
    missing: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for gap in found.gaps:
        for window, _, _, count in by_window(due[found.calendars[gap.symbol]], parsed.step, gap):
            missing[gap.symbol][window.day] += count
    return {symbol: _days(due[calendar], missing[symbol]) for symbol, calendar in sorted(found.calendars.items())}


def _days(due: Sequence[Window], missing: dict[date, int]) -> dict[date, DayOfSeries]:
    """Group windows by session; a session with a break has several."""
    days: dict[date, DayOfSeries] = {}
    for window in due:
        before = days.get(window.day)
        days[window.day] = DayOfSeries(
            start=before.start if before else window.start,
            end=window.end,
            expected=window.expected + (before.expected if before else 0),
            missing=missing.get(window.day, 0),
        )
    return days
