"""Gaps: the bars that a trading calendar expects and that are missing.

For timeframes below a day, every interval that overlaps a session is expected, cut as rollups cut them (aligned to
midnight UTC). From a day on, the days, weeks (from Monday) or months that contain the date of a session are expected.
An interval is present if it contains a bar's `ts`, so bars that begin with the session instead of the hour count, too.
An interval is expected once it is over.

One bar is expected for a day, week or month. Several are reported as repeats: the same bar under two times, for example
midnight in UTC and midnight at the exchange, is two rows and no gap.

The method was measured (docs/decisions/0010): count the bars of each series and session by the primary key, and look
for the missing ones only where the count is too low.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from psycopg.sql import SQL
from pydantic import TypeAdapter, ValidationError

from datastore import config, vendors
from datastore.connections import connect
from datastore.gaps import calendars
from datastore.gaps.calendars import CalendarError
from datastore.gaps.looking import InFiles, Piece, Portion
from datastore.gaps.timeframes import GapError, Timeframe, Window, parse_timeframe, windows
from datastore.names import TENANT_BITS
from datastore.tenants import Tenant, find_tenant
from mds_client import models
from mds_client.errors import reason

T = TypeVar("T")
R = TypeVar("R")

SERIES_AT_ONCE: Final = 50
"""Series that one statement counts: enough to be efficient, few enough to share the work between connections."""


REPEATS: Final = 1000
"""The largest number of repeats that a check lists. It counts all of them."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of `missing` intervals of a series: all that are expected in `start <= time < end` (UTC).

    Missing intervals that only closing hours separate are one gap. `tenant` is the uuid.
    """

    tenant: UUID
    vendor: str
    symbol: str
    timeframe: str
    start: datetime
    end: datetime
    missing: int


@dataclass(frozen=True, slots=True)
class Day:
    """A session's date, with the numbers of expected and missing intervals of all series."""

    day: date
    expected: int
    missing: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """A day, week or month with several bars of a series, for example because a vendor's times have changed.

    `day` is its first date, `bars` the number of bars in `start <= time < end` (UTC), of which one is expected.
    """

    symbol: str
    day: date
    start: datetime
    end: datetime
    bars: int


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a gap check: gaps by symbol and time, the completeness of each day, and the calendars used.

    `repeated` counts the days, weeks or months of a series with several bars; `repeats` are the first of them.
    """

    series: int
    expected: int
    missing: int
    gaps: list[Gap]
    days: list[Day]
    calendars: dict[str, str]
    repeated: int
    repeats: list[Repeat]


# What is missing ------------------------------------------------------------------------------------------------------


def check(
    dsn: str,
    *,
    tenant: UUID | str,
    vendor: str,
    timeframe: str,
    start: datetime,
    end: datetime,
    symbols: Sequence[str] | None = None,
    calendar: str | None = None,
    at_least: int = 1,
    new: bool = False,
    connections: int = 2,
    now: datetime | None = None,
) -> Check:
    """Compare a vendor's bars of one timeframe with what its calendars expect.

    `tenant` is a name or a uuid; `start` and `end` have a time zone and bound the beginnings of intervals. `symbols`
    limits the check to these. Each must have a series, unless `new` is set: then a symbol without one misses every bar.
    `calendar` overrides the calendars of the series. Gaps of fewer than `at_least` intervals are counted but not
    listed. The work is shared between `connections` database connections.

    Raises ControlError for an unknown tenant, GapError for series and timeframes that do not exist and for a
    reversed range, CalendarError for a series without a calendar and a range that its calendar does not cover.
    """
    parsed = parse_timeframe(timeframe)
    timeframe = f"{parsed.count}{parsed.unit}"
    _check_range(start, end)
    now = now or datetime.now(UTC)
    with connect(dsn) as connection:
        owner = find_tenant(connection, tenant)
        in_files = InFiles(config.load().cold_url, owner, vendor, timeframe)
        in_files.fence(connection, start)
        ids = series_ids(connection, owner, vendor, timeframe, symbols, new=new)
        of_series = _calendars(connection, owner, vendor, list(ids), calendar)
    name = _Name(owner, vendor, timeframe)
    work, days = _planned(ids, of_series, parsed, (start, end, now), in_files)
    gaps: list[Gap] = []
    repeats: list[Repeat] = []
    missing = repeated = 0
    for portion, found in zip(work, _shared(lambda portion: portion.look(dsn), work, connections), strict=True):
        for symbol, looked in found.items():
            for piece in looked.pieces:
                days[portion.windows[piece.window].day][1] += piece.missing
            for gap in name.gaps(symbol, portion.windows, looked.pieces):
                missing += gap.missing
                if gap.missing >= at_least:
                    gaps.append(gap)
            repeated += len(looked.repeats)
            repeats += _repeats(symbol, portion.windows, looked.repeats[: REPEATS - len(repeats)])
    return Check(
        series=len(ids),
        expected=sum(expected for expected, _ in days.values()),
        missing=missing,
        gaps=sorted(gaps, key=lambda gap: (gap.symbol, gap.start)),
        days=[Day(day, *counts) for day, counts in sorted(days.items())],
        calendars=of_series,
        repeated=repeated,
        repeats=sorted(repeats, key=lambda repeat: (repeat.symbol, repeat.start)),
    )


def _check_range(start: datetime, end: datetime) -> None:
    if start.tzinfo is None or end.tzinfo is None:
        raise GapError("the range needs a time zone")
    if end <= start:
        raise GapError(f"the range is empty: {start.isoformat()} is not before {end.isoformat()}")


def _planned(
    ids: Mapping[str, int | None],
    of_series: Mapping[str, str],
    timeframe: Timeframe,
    times: tuple[datetime, datetime, datetime],
    in_files: InFiles,
) -> tuple[list[Portion], dict[date, list[int]]]:
    """Return the work to do, and for each day the number of expected intervals with a zero for the missing ones.

    `times` are the range, and now.
    """
    by_calendar = defaultdict(list)
    for symbol, its in sorted(of_series.items()):
        by_calendar[its].append(symbol)
    work: list[Portion] = []
    days: dict[date, list[int]] = defaultdict(lambda: [0, 0])
    for its, of_it in by_calendar.items():
        due = windows(its, timeframe, *times)
        for window in due:
            days[window.day][0] += len(of_it) * window.expected
        work += [
            Portion(timeframe.step, due, {symbol: ids[symbol] for symbol in some}, in_files) for some in _some(of_it)
        ]
    return work, days


def _shared(do: Callable[[T], R], work: Iterable[T], threads: int) -> Iterator[R]:
    """Yield the result of each piece of work, in order, computed by so many threads.

    This is no executor, because the interpreter waits at exit for an executor's threads, and so for their statements. A
    worker that gives a job back must be gone before another worker begins the job.
    """
    waiting = deque((Future[R](), piece) for piece in work)
    futures = [future for future, _ in waiting]

    def take() -> None:
        while True:
            try:
                future, piece = waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(do(piece))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)

    for _ in range(min(max(1, threads), len(futures))):
        threading.Thread(target=take, name="gaps", daemon=True).start()
    try:
        for future in futures:
            yield future.result()
    finally:
        # Nobody needs the rest.
        waiting.clear()


@dataclass(frozen=True, slots=True)
class _Name:
    """The tenant, vendor and timeframe whose bars are checked."""

    tenant: Tenant
    vendor: str
    timeframe: str

    def gaps(self, symbol: str, due: Sequence[Window], pieces: Iterable[Piece]) -> Iterator[Gap]:
        """Yield a series' missing intervals as gaps; pieces that only closing hours separate are one gap."""
        run: list[Piece] = []
        for piece in pieces:
            if run and not _goes_on(due, run[-1], piece):
                yield self._gap(symbol, run)
                run = []
            run.append(piece)
        if run:
            yield self._gap(symbol, run)

    def _gap(self, symbol: str, run: Sequence[Piece]) -> Gap:
        missing = sum(piece.missing for piece in run)
        return Gap(self.tenant.id, self.vendor, symbol, self.timeframe, run[0].start, run[-1].end, missing)


def _repeats(symbol: str, due: Sequence[Window], found: Iterable[tuple[int, int]]) -> Iterator[Repeat]:
    for number, bars in found:
        window = due[number]
        yield Repeat(symbol, window.day, window.start, window.end, bars)


def _goes_on(due: Sequence[Window], before: Piece, after: Piece) -> bool:
    next_window = after.window == before.window + 1
    return next_window and before.end == due[before.window].end and after.start == due[after.window].start


def _some(symbols: Sequence[str]) -> Iterator[Sequence[str]]:
    return (symbols[at : at + SERIES_AT_ONCE] for at in range(0, len(symbols), SERIES_AT_ONCE))


def series_ids(
    connection: psycopg.Connection[Any],
    tenant: Tenant,
    vendor: str,
    timeframe: str,
    symbols: Sequence[str] | None,
    *,
    new: bool,
) -> dict[str, int | None]:
    """Return the ids of the series by symbol; None for a symbol without a series.

    Unless `new` is set, raises GapError if a symbol has no series. Raises GapError if the result is empty.
    """
    asked = None if symbols is None else wanted(connection, vendor, symbols)
    rows = connection.execute(
        SQL(
            "SELECT symbol, series_id FROM store.series WHERE (series_id >> {}) = %s AND kind = 'bars'"
            " AND vendor = %s AND timeframe = %s AND (%s::text[] IS NULL OR symbol = ANY(%s::text[]))"
        ).format(TENANT_BITS),
        (tenant.no, vendor, timeframe, *(2 * [asked])),
    ).fetchall()
    ids: dict[str, int | None] = dict(rows)
    for symbol in asked or ():
        if symbol not in ids and not new:
            raise GapError(f"{vendor} has no {timeframe} bars of {symbol}")
        ids.setdefault(symbol, None)
    if not ids:
        raise GapError(f"there are no {timeframe} bars of {vendor}")
    return ids


def wanted(connection: psycopg.Connection[Any], vendor: str, symbols: Iterable[str]) -> list[str]:
    """Return symbols as the vendor's series have them, each once. Raises GapError if one is invalid."""
    try:
        checked = TypeAdapter(list[models.Symbol]).validate_python(list(symbols))
        return list(dict.fromkeys(map(partial(vendors.spelling(connection).stored, vendor), checked)))
    except ValidationError as error:
        raise GapError(f"symbols: {reason(error)}") from error


def _calendars(
    connection: psycopg.Connection[Any], tenant: Tenant, vendor: str, symbols: Sequence[str], override: str | None
) -> dict[str, str]:
    if override is not None:
        return dict.fromkeys(symbols, calendars.resolve(override))
    found = calendars.of_series(connection, tenant.no, vendor, symbols)
    if without := sorted(symbol for symbol, calendar in found.items() if calendar is None):
        named = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
        raise CalendarError(
            f"{vendor} {named}: no calendar is set: set one with datastore calendars set, or name one in the request"
        )
    return {symbol: calendar for symbol, calendar in found.items() if calendar is not None}
