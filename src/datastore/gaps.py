"""Gaps: the bars that should be there by a trading calendar, and are not.

What should be there: of every session, the intervals of the timeframe that have a moment of it, cut as rollups cut them
(aligned to midnight UTC); from a day on, the days, weeks (from Monday) or months that hold the date of a session. An
interval is there if a bar's `ts` lies in it, so that bars that begin with the session and not with the hour count too.
It is expected once it is over.

How it is found was measured (docs/decisions/0010): bars are counted for each series and session, by the primary key and
nothing else, and only where that does not add up it is looked for where.
"""

import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL
from pydantic import TypeAdapter, ValidationError

from datastore import calendars
from datastore.calendars import CalendarError, Session
from datastore.connections import connect
from datastore.control import ControlError, Tenant, find_tenant
from datastore.jobs import JobContext, job_type
from datastore.maintenance import Nothing
from datastore.schema import TENANT_BITS
from mds_client import KINDS, models
from mds_client.upserts import reason

T = TypeVar("T")
R = TypeVar("R")

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MONDAY: Final = date(2000, 1, 3).toordinal()
_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_MONTHS: Final = {"mo": 1, "q": 3, "y": 12}

SERIES_AT_ONCE: Final = 50
"""Series that one statement counts: enough to make it worth while, few enough to share the work between connections."""

_CHUNKS_AT_ONCE: Final = 4


class GapError(ControlError):
    """A gap check cannot be done as asked: no such series, no such timeframe, a reversed range."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`missing` intervals of a series that are not there, all that are expected in `start <= time < end` (UTC).

    What the market's closing hours separate is one gap. `tenant` is the uuid.
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
    """A session's date: how many intervals the series together should have, and how many are missing."""

    day: date
    expected: int
    missing: int


@dataclass(frozen=True, slots=True)
class Check:
    """What a gap check found: the gaps by symbol and time, how complete each day is, and by which calendars that is."""

    series: int
    expected: int
    missing: int
    gaps: list[Gap]
    days: list[Day]
    calendars: dict[str, str]


@dataclass(frozen=True, slots=True)
class GapCount:
    """The last count of all series of a tenant, vendor and timeframe: over which range (UTC), when, what it found.

    `expected` and `missing` are intervals, `gaps` are runs of missing ones.
    """

    tenant: UUID
    vendor: str
    timeframe: str
    start: datetime
    end: datetime
    series: int
    expected: int
    missing: int
    gaps: int
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """One check of `count_all`; `problem` says why there is none."""

    tenant: UUID
    vendor: str
    timeframe: str
    missing: int | None
    gaps: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in which every interval is expected: a session or a part of one, or a single day or longer.

    `day` is the session's date, `expected` the number of its intervals.
    """

    day: date
    start: datetime
    end: datetime
    expected: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """Missing intervals within one window."""

    window: int
    start: datetime
    end: datetime
    missing: int


# What is expected -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A timeframe in parts: `15m` is 15 and m."""

    count: int
    unit: str

    @property
    def step(self) -> timedelta | None:
        """Its length, where it is one of hours, minutes or seconds; None for days and what is longer."""
        return self.count * _UNITS[self.unit] if self.unit in _UNITS else None

    def around(self, day: date) -> tuple[date, date]:
        """The first day of the interval of days, weeks or months that a day is in, and that of the next."""
        if self.unit in ("d", "w"):
            width, origin = (self.count, _EPOCH.toordinal()) if self.unit == "d" else (7 * self.count, _MONDAY)
            first = origin + (day.toordinal() - origin) // width * width
            return date.fromordinal(first), date.fromordinal(first + width)
        width = self.count * _MONTHS[self.unit]
        number = (day.year * 12 + day.month - 1) // width * width
        return _month(number), _month(number + width)


def parse_timeframe(text: str) -> Timeframe:
    """A timeframe as bars have it, in parts. Raises GapError for what is none."""
    try:
        valid: str = TypeAdapter(models.Timeframe).validate_python(text)
    except ValidationError:
        raise GapError(f"{text!r} is no timeframe: a count and s, m, h, d, w, mo, q or y, as 15m") from None
    found = re.fullmatch(r"(\d+)([a-z]+)", valid)
    assert found is not None
    return Timeframe(int(found[1]), found[2])


def windows(
    calendar: str, timeframe: Timeframe, start: datetime, end: datetime, now: datetime | None = None
) -> list[Window]:
    """The windows of the expected intervals that begin in `start <= time < end` and are over by `now`, in order.

    None of them overlap. Raises CalendarError as `calendars.sessions` does.
    """
    now = now or datetime.now(UTC)
    end = min(end, now)
    if end <= start:
        return []
    step = timeframe.step
    if step is not None:
        until = min(_ceiling(end, step), now)
        return list(_intervals(calendars.sessions(calendar, start, until), step, start, until))
    try:
        first, _ = timeframe.around(start.astimezone(UTC).date())
        _, after = timeframe.around(end.astimezone(UTC).date())
        begin, reach = _midnight(first), min(_midnight(after), now)
    except (ValueError, OverflowError):
        raise GapError("the range leaves the years 1 to 9999") from None
    return list(_periods(calendars.sessions(calendar, begin, reach), timeframe, start, end, now))


def _intervals(found: Iterable[Session], step: timedelta, start: datetime, until: datetime) -> Iterator[Window]:
    done = _ceiling(start, step)
    until = _floor(until, step)
    for session in found:
        for opens, closes in session.spans:
            # A session may begin in the interval in which the one before it has ended.
            first, last = max(_floor(opens, step), done), min(_ceiling(closes, step), until)
            if first < last:
                yield Window(session.day, first, last, (last - first) // step)
                done = last


def _periods(
    found: Iterable[Session], timeframe: Timeframe, start: datetime, end: datetime, now: datetime
) -> Iterator[Window]:
    for (first, after), _ in groupby(found, key=lambda session: timeframe.around(session.day)):
        begin, over = _midnight(first), _midnight(after)
        if start <= begin < end and over <= now:
            yield Window(first, begin, over, 1)


def _month(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _floor(moment: datetime, step: timedelta) -> datetime:
    return _EPOCH + (moment - _EPOCH) // step * step


def _ceiling(moment: datetime, step: timedelta) -> datetime:
    return _EPOCH - (_EPOCH - moment) // step * step


# What is missing ------------------------------------------------------------------------------------------------------


def find(
    dsn: str,
    *,
    tenant: UUID | str,
    vendor: str,
    timeframe: str,
    start: datetime,
    end: datetime,
    symbols: Sequence[str] | None = None,
    calendar: str | None = None,
) -> list[Gap]:
    """The gaps of a vendor's series, by symbol and time; as `check`, of which it is the best part."""
    return check(
        dsn,
        tenant=tenant,
        vendor=vendor,
        timeframe=timeframe,
        start=start,
        end=end,
        symbols=symbols,
        calendar=calendar,
    ).gaps


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
    """Compare a vendor's bars of one timeframe with what should be there.

    `tenant` is a name or a uuid; `start` and `end` have a zone and bound the beginnings of intervals. `symbols` limits
    it to these, all of which there has to be a series of, unless with `new`: then everything is missing of it.
    `calendar` goes before the calendars that the series have. Gaps of fewer than `at_least` intervals are counted and
    not listed. `connections` share the work. Where it is of all series, the count is kept (`last_counts`).

    Raises ControlError for an unknown tenant, GapError for series and timeframes that there are none of and for a
    reversed range, CalendarError for a series without a calendar and a range that its calendar does not reach.
    """
    parsed = parse_timeframe(timeframe)
    if start.tzinfo is None or end.tzinfo is None:
        raise GapError("the range needs a time zone")
    if end <= start:
        raise GapError(f"the range is empty: {start.isoformat()} is not before {end.isoformat()}")
    now = now or datetime.now(UTC)
    with connect(dsn) as connection:
        owner = find_tenant(connection, tenant)
        ids = _series(connection, owner, vendor, timeframe, symbols, new=new)
        of_series = _calendars(connection, owner, vendor, list(ids), calendar)
    name = _Name(owner, vendor, timeframe)
    by_calendar = defaultdict(list)
    for symbol, its in sorted(of_series.items()):
        by_calendar[its].append(symbol)
    work = []
    days: dict[date, list[int]] = defaultdict(lambda: [0, 0])
    for its, of_it in by_calendar.items():
        due = windows(its, parsed, start, end, now)
        for window in due:
            days[window.day][0] += len(of_it) * window.expected
        work += [_Portion(parsed.step, due, {symbol: ids[symbol] for symbol in some}) for some in _some(of_it)]
    gaps: list[Gap] = []
    missing = 0
    for portion, found in zip(work, _shared(lambda portion: portion.missing(dsn), work, connections), strict=True):
        for symbol, pieces in found.items():
            for piece in pieces:
                days[portion.windows[piece.window].day][1] += piece.missing
            for gap in name.gaps(symbol, portion.windows, pieces):
                missing += gap.missing
                if gap.missing >= at_least:
                    gaps.append(gap)
    return Check(
        series=len(ids),
        expected=sum(expected for expected, _ in days.values()),
        missing=missing,
        gaps=sorted(gaps, key=lambda gap: (gap.symbol, gap.start)),
        days=[Day(day, *counts) for day, counts in sorted(days.items())],
        calendars=of_series,
    )


def _shared(do: Callable[[T], R], work: Iterable[T], threads: int) -> Iterator[R]:
    """What each piece of work comes to, in order, with so many threads at work on it.

    No executor: the interpreter waits for the threads of one before it ends, and with them for their statements. A
    worker that gives a job back has to be gone before another worker begins it.
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
        # Nobody waits for the rest.
        waiting.clear()


@dataclass(frozen=True, slots=True)
class _Name:
    """Whose bars are checked."""

    tenant: Tenant
    vendor: str
    timeframe: str

    def gaps(self, symbol: str, due: Sequence[Window], pieces: Iterable[_Piece]) -> Iterator[Gap]:
        """A series' missing intervals as gaps: what only closing hours separate is one."""
        run: list[_Piece] = []
        for piece in pieces:
            if run and not _goes_on(due, run[-1], piece):
                yield self._gap(symbol, run)
                run = []
            run.append(piece)
        if run:
            yield self._gap(symbol, run)

    def _gap(self, symbol: str, run: Sequence[_Piece]) -> Gap:
        missing = sum(piece.missing for piece in run)
        return Gap(self.tenant.id, self.vendor, symbol, self.timeframe, run[0].start, run[-1].end, missing)


def _goes_on(due: Sequence[Window], before: _Piece, after: _Piece) -> bool:
    next_window = after.window == before.window + 1
    return next_window and before.end == due[before.window].end and after.start == due[after.window].start


def _some(symbols: Sequence[str]) -> Iterator[Sequence[str]]:
    return (symbols[at : at + SERIES_AT_ONCE] for at in range(0, len(symbols), SERIES_AT_ONCE))


def _series(
    connection: psycopg.Connection[Any],
    tenant: Tenant,
    vendor: str,
    timeframe: str,
    symbols: Sequence[str] | None,
    *,
    new: bool,
) -> dict[str, int | None]:
    """The ids of the series that are asked for, by symbol; None where there is no series yet."""
    rows = connection.execute(
        SQL(
            "SELECT symbol, series_id FROM store.series WHERE (series_id >> {}) = %s AND kind = 'bars'"
            " AND vendor = %s AND timeframe = %s AND (%s::text[] IS NULL OR symbol = ANY(%s::text[]))"
        ).format(TENANT_BITS),
        (tenant.no, vendor, timeframe, *(2 * [None if symbols is None else list(wanted(symbols))])),
    ).fetchall()
    ids: dict[str, int | None] = dict(rows)
    for symbol in wanted(symbols or ()):
        if symbol not in ids and not new:
            raise GapError(f"{vendor} has no {timeframe} bars of {symbol}")
        ids.setdefault(symbol, None)
    if not ids:
        raise GapError(f"there are no {timeframe} bars of {vendor}")
    return ids


def wanted(symbols: Iterable[str]) -> list[str]:
    """Symbols as series have them, each once. Raises GapError for what is none."""
    try:
        return list(dict.fromkeys(TypeAdapter(list[models.Symbol]).validate_python(list(symbols))))
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
        raise CalendarError(f"{vendor} {named}: no calendar is set (datastore calendars set), and none is given")
    return {symbol: calendar for symbol, calendar in found.items() if calendar is not None}


# For each series and window: how many bars there are, and how many of them stand where an interval begins. As many as
# are expected of these say that nothing is missing: a key is there once. The bounds of the whole are said again as
# constants, by which chunks are left out when the statement is planned.
_COUNT: Final = """
SELECT s.id, w.no, c.present
FROM unnest(%(ids)s::bigint[]) AS s(id)
CROSS JOIN unnest(%(numbers)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(expected)s::bigint[])
  AS w(no, start, over, expected)
CROSS JOIN LATERAL (
  SELECT count(*) AS present,
         count(*) FILTER (WHERE %(step)s::interval IS NULL OR date_bin(%(step)s, b.ts, %(epoch)s) = b.ts) AS aligned
  FROM store.bars AS b
  WHERE b.series_id = s.id AND b.ts >= w.start AND b.ts < w.over AND b.ts >= %(first)s AND b.ts < %(last)s
) AS c
WHERE c.aligned < w.expected
"""

# For each series and window that is not empty: from the end of each interval that is there to the beginning of the next
# one, the window's own ends being such, too.
_LOCATE: Final = """
SELECT w.id, w.no, g.after, g.next
FROM unnest(%(ids)s::bigint[], %(numbers)s::int[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
  AS w(id, no, start, over)
CROSS JOIN LATERAL (
  SELECT lag(i.start + %(step)s::interval, 1, w.start) OVER (ORDER BY i.start) AS after, i.start AS next
  FROM (
    SELECT date_bin(%(step)s, b.ts, %(epoch)s) AS start FROM store.bars AS b
    WHERE b.series_id = w.id AND b.ts >= w.start AND b.ts < w.over AND b.ts >= %(first)s AND b.ts < %(last)s
    UNION ALL
    SELECT w.over
  ) AS i
) AS g
WHERE g.after < g.next
ORDER BY w.id, w.no, g.next
"""


@dataclass(frozen=True, slots=True)
class _Portion:
    """Some series of one calendar, by symbol with their ids, and the windows that are due for each."""

    step: timedelta | None
    windows: list[Window]
    series: dict[str, int | None]

    def missing(self, dsn: str) -> dict[str, list[_Piece]]:
        """What each series has not, in order."""
        found: dict[str, list[_Piece]] = {symbol: [] for symbol in self.series}
        symbols = {id_: symbol for symbol, id_ in self.series.items() if id_ is not None}
        for symbol, id_ in self.series.items():
            if id_ is None:
                found[symbol] = [self._whole(number) for number in range(len(self.windows))]
        # Never prepared: a plan that is made once for all would look into every chunk.
        with connect(dsn, prepare_threshold=None) as connection:
            # Not for the session, which may be shared behind a pooler: compiling would take longer than counting.
            connection.execute("SELECT set_config('jit', 'off', true)")
            for numbers in self._slices():
                for id_, pieces in self._look(connection, list(symbols), numbers).items():
                    found[symbols[id_]] += sorted(pieces, key=lambda piece: piece.start)
        return found

    def _slices(self) -> Iterator[list[int]]:
        """The windows by their numbers, so many at once as lie in a few chunks."""
        storage = KINDS["bars"].storage
        assert storage is not None
        width = _CHUNKS_AT_ONCE * storage.chunk
        for _, numbers in groupby(range(len(self.windows)), lambda no: (self.windows[no].start - _EPOCH) // width):
            yield list(numbers)

    def _look(self, connection: psycopg.Connection[Any], ids: list[int], numbers: list[int]) -> dict[int, list[_Piece]]:
        due = [self.windows[number] for number in numbers]
        common = {"step": self.step, "epoch": _EPOCH, "first": due[0].start, "last": due[-1].end}
        short = connection.execute(
            _COUNT,
            {
                **common,
                "ids": ids,
                "numbers": numbers,
                "starts": [window.start for window in due],
                "ends": [window.end for window in due],
                "expected": [window.expected for window in due],
            },
        ).fetchall()
        found: dict[int, list[_Piece]] = defaultdict(list)
        in_part = []
        for id_, number, present in short:
            if not present:
                found[id_].append(self._whole(number))
            elif self.step is not None:
                in_part.append((id_, number))
        if in_part and self.step is not None:
            located = connection.execute(
                _LOCATE,
                {
                    **common,
                    "ids": [id_ for id_, _ in in_part],
                    "numbers": [number for _, number in in_part],
                    "starts": [self.windows[number].start for _, number in in_part],
                    "ends": [self.windows[number].end for _, number in in_part],
                },
            ).fetchall()
            for id_, number, start, end in located:
                start, end = start.astimezone(UTC), end.astimezone(UTC)
                found[id_].append(_Piece(number, start, end, (end - start) // self.step))
        return found

    def _whole(self, number: int) -> _Piece:
        window = self.windows[number]
        return _Piece(number, window.start, window.end, window.expected)


# What was found last --------------------------------------------------------------------------------------------------


def last_counts(dsn: str, tenant: UUID | str | None = None) -> list[GapCount]:
    """What `count_all` found last of each vendor and timeframe, of one tenant or of all. Reads no bars."""
    with connect(dsn) as connection:
        connection.execute("SET LOCAL TimeZone TO 'UTC'")
        no = None if tenant is None else find_tenant(connection, tenant).no
        with connection.cursor(row_factory=class_row(GapCount)) as cursor:
            return cursor.execute(
                "SELECT t.id AS tenant, c.vendor, c.timeframe, c.range_start AS start, c.range_end AS end, c.series,"
                " c.expected, c.missing, c.gaps, c.checked_at"
                " FROM store.gap_counts AS c JOIN store.tenants AS t ON t.no = c.tenant_no"
                " WHERE c.tenant_no = coalesce(%s, c.tenant_no) ORDER BY t.name, c.vendor, c.timeframe",
                (no,),
            ).fetchall()


def count_all(
    dsn: str,
    *,
    within: timedelta = timedelta(days=30),
    now: datetime | None = None,
    between: Callable[[], object] = lambda: None,
) -> list[Counted]:
    """Check every vendor and timeframe of every tenant over the time `within` which it is now, and keep the counts.

    Where it cannot be done, as without a calendar, that one says why and the others go on. What is not counted, and
    what there are no series of any more, has no count afterwards: nobody is told for ever of what was once missing.
    `between` two of them is called, and may raise.
    """
    now = now or datetime.now(UTC)
    with connect(dsn) as connection:
        sorts = connection.execute(
            SQL(
                "SELECT DISTINCT t.id, s.vendor, s.timeframe FROM store.series AS s"
                " JOIN store.tenants AS t ON t.no = (s.series_id >> {}) WHERE s.kind = 'bars' ORDER BY 1, 2, 3"
            ).format(TENANT_BITS)
        ).fetchall()
    done = []
    for tenant, vendor, timeframe in sorts:
        between()
        start = now - within
        try:
            found = check(dsn, tenant=tenant, vendor=vendor, timeframe=timeframe, start=start, end=now, now=now)
        except ControlError as error:
            done.append(Counted(tenant, vendor, timeframe, None, None, str(error)))
        else:
            count = Counted(tenant, vendor, timeframe, found.missing, len(found.gaps), None)
            _keep(dsn, count, found, start, now)
            done.append(count)
    with connect(dsn) as connection:
        _forget_others(connection, [(one.tenant, one.vendor, one.timeframe) for one in done if one.problem is None])
    return done


def _keep(dsn: str, count: Counted, found: Check, start: datetime, end: datetime) -> None:
    with connect(dsn) as connection:
        connection.execute(
            """
            INSERT INTO store.gap_counts
              (tenant_no, vendor, timeframe, range_start, range_end, series, expected, missing, gaps)
            SELECT no, %s, %s, %s, %s, %s, %s, %s, %s FROM store.tenants WHERE id = %s
            ON CONFLICT (tenant_no, vendor, timeframe) DO UPDATE SET
              range_start = excluded.range_start, range_end = excluded.range_end, series = excluded.series,
              expected = excluded.expected, missing = excluded.missing, gaps = excluded.gaps, checked_at = now()
            """,
            (
                *(count.vendor, count.timeframe, start, end, found.series, found.expected, found.missing, count.gaps),
                count.tenant,
            ),
        )


def _forget_others(connection: psycopg.Connection[Any], kept: Sequence[tuple[UUID, str, str]]) -> None:
    """Remove every count but these."""
    connection.execute(
        "DELETE FROM store.gap_counts AS c WHERE NOT EXISTS (SELECT FROM store.tenants AS t"
        " JOIN unnest(%s::uuid[], %s::text[], %s::text[]) AS k(tenant, vendor, timeframe) ON k.tenant = t.id"
        " WHERE (t.no, k.vendor, k.timeframe) = (c.tenant_no, c.vendor, c.timeframe))",
        ([tenant for tenant, _, _ in kept], [vendor for _, vendor, _ in kept], [timeframe for *_, timeframe in kept]),
    )


@job_type("maintain-gaps", store_only=True)
def run_count_all(context: JobContext, _payload: Nothing) -> list[Counted]:
    """Count the gaps of everything that has a calendar, over the last month."""
    return count_all(context.dsn, between=context.check)
