"""Rollups: rows of a longer timeframe, which the server aggregates from shorter ones.

A declared rollup is read directly. Any other timeframe that divides a day (`30m`, `4h`), and calendar weeks, months,
quarters and years, are aggregated from the largest rollup that divides them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mds_client import sql
from mds_client.cold import is_cold
from mds_client.errors import ConfigurationError
from mds_client.models import Bar
from mds_client.protocol.operations import Emit, Execute, Group, Operation, Session, Stream, Talk, spelled
from mds_client.reading.answers import (
    As,
    Columns,
    Index,
    Shown,
    StreamAs,
    check_as,
    check_stream_as,
    constant_fields,
    emitted_frames,
    laid_out,
    read_frame,
    shown,
)
from mds_client.reading.arguments import Symbols, Time, several, stored_name, stored_timeframe, time_span
from mds_client.reading.missing import Missing, check_missing, explained
from mds_client.schema import KINDS, Kind
from mds_client.values.built import built_of_series, built_rows
from mds_client.values.spelling import Spelling
from mds_client.values.timeframes import width as width_of

_DAY: Final = timedelta(days=1)
_CALENDAR: Final = {"1w": "week", "1mo": "month", "1q": "quarter", "3mo": "quarter", "1y": "year", "12mo": "year"}
_ORIGIN: Final = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of a timeframe: rows of `source`, grouped by `every`, or read directly if `every` is None.

    `width` is the time span of a resulting row; None for calendar units.
    """

    timeframe: str
    source: str
    every: str | None
    width: timedelta | None

    def around(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """Return the window of source rows for the rows that begin in `start <= ts < end`."""
        if self.every is None:
            return start, end
        return _not_before(self, start), _not_before(self, end)


def _not_before(made: _Source, moment: datetime) -> datetime:
    """Return the first beginning of a row at or after a moment. Years 1 and 9999, for open bounds, are unchanged."""
    if moment.year in (1, 9999):
        return moment
    if made.width is not None:
        return moment + (_ORIGIN - moment) % made.width
    midnight = moment.astimezone(_ORIGIN.tzinfo).replace(hour=0, minute=0, second=0, microsecond=0)
    day = midnight if midnight == moment else midnight + _DAY
    while not _begins(made.every or "", day):
        day += _DAY
    return day


def _begins(unit: str, day: datetime) -> bool:
    if unit == "week":
        return day.weekday() == 0
    return day.day == 1 and (unit == "month" or (day.month % 3 == 1 if unit == "quarter" else day.month == 1))


def _source(kind: Kind, timeframe: str) -> _Source:
    """Return the source of a timeframe. Raises ConfigurationError if it cannot be computed."""
    asked = stored_timeframe(timeframe)
    for rollup in kind.rollups:
        if rollup.timeframe == asked:
            return _Source(asked, asked, None, rollup.width)
    declared = {kind.base: width_of(kind.base) or _DAY, **{rollup.timeframe: rollup.width for rollup in kind.rollups}}
    if asked in _CALENDAR:
        longest = max(declared, key=lambda name: declared[name])
        return _Source(asked, longest, _CALENDAR[asked], None)
    width = width_of(asked)
    dividing = [name for name, one in declared.items() if width is not None and not width % one and width > one]
    if width is None or not dividing or (_DAY % width and width % _DAY):
        there = ", ".join(rollup.timeframe for rollup in kind.rollups)
        raise ConfigurationError(
            f"there is no rollup {timeframe!r}: it is one of {there}, a multiple of {kind.base} that a day consists of"
            f" (30m, 4h), or {', '.join(_CALENDAR)}"
        )
    return _Source(asked, max(dividing, key=lambda name: declared[name]), f"{width.total_seconds():.0f} seconds", width)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of a rollup's read: symbols of a vendor, in `start <= ts < end`."""

    kind: Kind
    made: _Source
    vendor: str
    symbols: list[str]
    span: tuple[datetime, datetime]
    show: Shown

    @property
    def amounts(self) -> list[str]:
        """The requested columns that are amounts."""
        return [amount.name for amount in self.kind.amounts if amount.name in self.show.stored]

    @property
    def statement(self) -> sql.Statement:
        """The statement that reads the rows, with the series' id as first column."""
        return sql.rollup_windows(self.kind, self.made.source, self.made.every, self.show.stored)

    def found(self, session: Session) -> Talk[dict[int, tuple[str | None, ...]]]:
        """Find the series. Returns names by id, in the order of the names, with the requested timeframe."""
        parameters = [[self.vendor], self.symbols, [self.kind.base], session.wanted]
        (there,) = yield Group((Execute(sql.find_series(self.kind), parameters),))
        ordered = sorted(there, key=lambda row: row[3:])
        return {series_id: (vendor, symbol, self.made.timeframe) for series_id, _, _, vendor, symbol, _ in ordered}

    def since(self, session: Session) -> tuple[object, ...]:
        """Return the parameters with which the server refuses to read from before the fence, if there is one."""
        return sql.hot_since(self.kind, session.wanted, self.span[0])

    def rolled(self, session: Session, names: dict[int, tuple[str | None, ...]]) -> Talk[Any]:
        """Aggregate rows that are partly kept in files. Returns id and columns, ordered by series and time."""
        from mds_client.cold import reading, rolling

        base = {id_: (vendor, symbol, self.kind.base) for id_, (vendor, symbol, _) in names.items()}
        # The span covers complete intervals of the source.
        columns = rolling.needed(self.kind, self.show.stored)
        table = yield from reading.reading(session, self.kind, base, self.span, columns)
        unit = self.made.every if self.made.width is None else int(self.made.width.total_seconds())
        assert unit is not None
        return rolling.rolled(self.kind, table, unit, self.show.stored)

    def cold_answer(self, session: Session, names: dict[int, tuple[str | None, ...]], as_: As) -> Talk[Any]:
        """Return the result from rows that are partly kept in files."""
        from mds_client.cold import reading

        rows = yield from self.rolled(session, names)
        if as_ == "models":
            return self.models(session, names, reading.tuples(rows))
        by_symbol = len(names) > 1
        fields = self.show.fields
        fields = (*fields, "symbol") if by_symbol and "symbol" not in fields else fields
        table = reading.framed(session, self.kind, rows, names, fields)
        return laid_out(self.kind, table, as_, self.show, by_symbol=by_symbol)

    def models(self, session: Session, names: dict[int, tuple[str | None, ...]], rows: list[Any]) -> list[Bar]:
        """Convert rows to bars."""
        constants = {id_: constant_fields(self.kind, session.tenant_id, name) for id_, name in names.items()}
        return built_of_series(Bar, constants, self.show.stored, rows, self.amounts)


def stored_columns(kind: Kind) -> tuple[str, ...]:
    """Return the columns of a rollup's rows, without those of the series."""
    return (kind.time, *(name for name, _ in kind.aggregates))


def _asked(
    symbol: Symbols,
    timeframe: str,
    start: Time,
    end: Time,
    vendor: str,
    as_: As,
    columns: Columns | None,
    index: Index | None = None,
    wide: str | None = None,
    *,
    spelling: Spelling,
) -> _Asked:
    kind = KINDS["bars"]
    symbols = several(symbol, vendor, spelling)
    show = shown(kind, columns, as_, stored_columns(kind), index=index, wide=wide, symbols=symbols)
    made = _source(kind, timeframe)
    return _Asked(kind, made, stored_name(vendor), symbols, made.around(*time_span(start, end)), show)


def rollup(
    symbol: Symbols,
    timeframe: str,
    start: Time,
    end: Time,
    vendor: str,
    *,
    as_: As = "models",
    columns: Columns | None = None,
    index: Index | None = None,
    wide: str | None = None,
    missing: Missing = "warn",
) -> Operation[Any]:
    """The operation of `MDS.rollup`."""
    check_as(as_)
    check_missing(missing)

    def spelled_in(spelling: Spelling) -> Operation[Any]:
        asked = _asked(symbol, timeframe, start, end, vendor, as_, columns, index, wide, spelling=spelling)
        return _one(asked, as_, missing) if isinstance(symbol, str) else _many(asked, as_, missing)

    return spelled(spelled_in)


def _many(asked: _Asked, as_: As, missing: Missing) -> Operation[Any]:
    def talk(session: Session) -> Talk[Any]:
        cold = yield from is_cold(session, asked.kind, asked.span[0])
        names = yield from asked.found(session)
        parameters = (list(names), *asked.span, *asked.since(session))
        if cold:
            answer = yield from asked.cold_answer(session, names, as_)
        elif as_ != "models":
            answer = yield from read_frame(session, asked.kind, asked.statement, parameters, names, as_, asked.show)
        else:
            (rows,) = yield Group((Execute(asked.statement, parameters),), commit=True)
            order = {series_id: at for at, series_id in enumerate(names)}
            answer = asked.models(session, names, sorted(rows, key=lambda row: order[row[0]]))
        if len(names) < len(set(asked.symbols)):
            yield from explained(session, asked.kind, asked.vendor, asked.symbols, asked.kind.base, missing)
        return answer

    return Operation("rollup", talk)


def _one(asked: _Asked, as_: As, missing: Missing) -> Operation[Any]:
    """Read a rollup of one symbol in one round trip."""
    kind, (symbol,) = asked.kind, asked.symbols
    statement = sql.rollup_windows(kind, asked.made.source, asked.made.every, asked.show.stored, one=True)
    name = (asked.vendor, symbol, asked.made.timeframe)

    def talk(session: Session) -> Talk[Any]:
        parameters = (asked.vendor, symbol, kind.base, *asked.span, *asked.since(session))
        if (yield from is_cold(session, kind, asked.span[0])):
            answer = yield from asked.cold_answer(session, (yield from asked.found(session)), as_)
        elif as_ != "models":
            answer = yield from read_frame(session, kind, statement, parameters, name, as_, asked.show)
        else:
            (rows,) = yield Group((Execute(statement, parameters),), commit=True)
            fields = constant_fields(kind, session.tenant_id, name)
            answer = built_rows(Bar, fields, asked.show.stored, rows, asked.amounts)
        if not len(answer):
            yield from explained(session, kind, asked.vendor, asked.symbols, kind.base, missing)
        return answer

    return Operation("rollup", talk)


def iter_rollup(
    symbol: Symbols,
    timeframe: str,
    start: Time,
    end: Time,
    vendor: str,
    *,
    batch_rows: int = 10_000,
    as_: StreamAs = "models",
    columns: Columns | None = None,
    missing: Missing = "warn",
) -> Stream[Any]:
    """The operation of `MDS.iter_rollup`."""
    check_stream_as(as_)
    check_missing(missing)
    if batch_rows < 1:
        raise ConfigurationError(f"batch_rows is from 1 on, not {batch_rows}")

    def spelled_in(spelling: Spelling) -> Operation[None]:
        asked = _asked(symbol, timeframe, start, end, vendor, as_, columns, spelling=spelling)
        return _iterated(asked, as_, missing, batch_rows)

    return Stream(spelled(spelled_in))


def _iterated(asked: _Asked, as_: StreamAs, missing: Missing, batch_rows: int) -> Operation[None]:
    def talk(session: Session) -> Talk[None]:
        names = yield from asked.found(session)
        if len(names) < len(set(asked.symbols)):
            yield from explained(session, asked.kind, asked.vendor, asked.symbols, asked.kind.base, missing)
        parameters = (list(names), *asked.span, *asked.since(session))
        if (yield from is_cold(session, asked.kind, asked.span[0], ask=True)):
            yield from _emitted_cold(session, asked, names, batch_rows, as_)
            return
        if as_ == "arrow":
            yield from emitted_frames(session, asked.kind, asked.statement, parameters, names, asked.show)
            return
        yield Group((Execute(sql.declare_cursor(asked.statement), parameters),))
        while True:
            (rows,) = yield Group((Execute(sql.fetch(batch_rows)),))
            if rows:
                yield Emit(asked.models(session, names, rows))
            if len(rows) < batch_rows:
                return

    return Operation("iter_rollup", talk, heavy=as_ != "models")


def _emitted_cold(
    session: Session, asked: _Asked, names: dict[int, tuple[str | None, ...]], batch_rows: int, as_: StreamAs
) -> Talk[None]:
    """Yield a rollup of rows that are partly kept in files, one series after the other."""
    from mds_client.cold import reading

    for series_id in sorted(names):
        rows = yield from asked.rolled(session, {series_id: names[series_id]})
        if as_ == "arrow":
            for batch in reading.framed(session, asked.kind, rows, names, asked.show.fields).to_batches():
                yield Emit(batch)
            continue
        for at in range(0, rows.num_rows, batch_rows):
            yield Emit(asked.models(session, names, reading.tuples(rows.slice(at, batch_rows))))
