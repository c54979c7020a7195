"""Gaps: bars that a trading calendar expects and that are missing.

`datastore.backfill` fills them.
"""

from datastore.gaps.calendars import Assignment, CalendarError, TradingSession
from datastore.gaps.counts import Counted, count_all, last_counts
from datastore.gaps.days import DayOfSeries, by_day, by_window
from datastore.gaps.finding import SERIES_AT_ONCE, Check, Day, Gap, Repeat, check
from datastore.gaps.paging import check_page
from datastore.gaps.timeframes import GapError, Window, parse_timeframe, windows

__all__ = [
    "SERIES_AT_ONCE",
    "Assignment",
    "CalendarError",
    "Check",
    "Counted",
    "Day",
    "DayOfSeries",
    "Gap",
    "GapError",
    "Repeat",
    "TradingSession",
    "Window",
    "by_day",
    "by_window",
    "check",
    "check_page",
    "count_all",
    "last_counts",
    "parse_timeframe",
    "windows",
]
