"""Reading rows: windows, option chains, latest prices, what is there.

Each is an operation (`mds_client.operations`): nothing here waits. Its statements are in `mds_client.sql`. A window has
its start and not its end; a time without a zone is UTC; nothing is cut off by a limit that was not asked for.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

from pydantic import BaseModel

from mds_client import sql, times
from mds_client.errors import ConfigurationError
from mds_client.models import (
    AnyKind,
    Bar,
    Coverage,
    Fundamentals,
    LatestPrice,
    News,
    OptionSnap,
    Row,
    Series,
    built,
    built_of_series,
    built_rows,
)
from mds_client.operations import Emit, Execute, Group, Operation, Session, Stream, Talk, Values
from mds_client.schema import KINDS, SERIES_COLUMNS, Kind

if TYPE_CHECKING:
    from mds_client.arrow import Query

T = TypeVar("T")
R = TypeVar("R", bound=Row)

Time: TypeAlias = datetime | date | str
"""A time of a read: a datetime, a date (its midnight), or text in ISO 8601. Without a zone it is UTC."""

Symbols: TypeAlias = str | Sequence[str]
"""One symbol, or several."""

As: TypeAlias = Literal["models", "arrow", "pandas", "polars"]
"""What rows are answered as: a list of models, or a frame (the extra `arrow`)."""

AS: Final[tuple[As, ...]] = get_args(As)

StreamAs: TypeAlias = Literal["models", "arrow"]
"""What the parts of a stream are: lists of models, or PyArrow record batches."""


def bars_window(
    symbol: Symbols, timeframe: str, start: Time, end: Time, vendor: str, *, as_: As = "models"
) -> Operation[Any]:
    """The operation of `MDS.bars_window`."""
    return _window(Bar, symbol, start, end, as_, vendor=vendor, timeframe=timeframe)


def fundamentals_window(symbol: Symbols, start: Time, end: Time, vendor: str, *, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.fundamentals_window`."""
    return _window(Fundamentals, symbol, start, end, as_, vendor=vendor)


def news_window(
    start: Time,
    end: Time,
    *,
    symbol: str | None = None,
    vendor: str | None = None,
    text: str | None = None,
    as_: As = "models",
) -> Operation[Any]:
    """The operation of `MDS.news_window`."""
    _check(as_)
    kind = KINDS["news"]
    span = _span(start, end)
    names = (_name(vendor),) if vendor is not None else ()
    conditions = (*names, *((_symbol(symbol),) if symbol is not None else ()), *((text,) if text is not None else ()))
    statement = sql.news_window(kind, vendor is not None, symbol is not None, text is not None)

    def talk(session: Session) -> Talk[Any]:
        listed = Execute(sql.list_series(False), (kind.name, session.wanted))
        parameters = (*span, *conditions, session.wanted)
        if as_ != "models":
            (vendors,) = yield Group((listed,))
            return (yield from _frame(session, kind, statement, parameters, _named(kind, vendors), as_))
        vendors, rows = yield Group((listed, Execute(statement, parameters)), commit=True)
        return _models(News, kind, session.tenant_id, _named(kind, vendors), rows)

    return Operation("news_window", talk)


def option_chain(
    symbol: str, at: Time, vendor: str, *, within: timedelta = timedelta(days=7), as_: As = "models"
) -> Operation[Any]:
    """The operation of `MDS.option_chain`."""
    _check(as_)
    kind = KINDS["options"]
    at = _instant(at)
    if within <= timedelta(0):
        raise ConfigurationError(f"within is more than nothing, not {within}")
    name = (_name(vendor), _symbol(symbol))
    asked = (*name, at - within, at, at.astimezone(UTC).date())

    def talk(session: Session) -> Talk[Any]:
        parameters = (*asked, session.wanted)
        if as_ != "models":
            return (yield from _frame(session, kind, sql.option_chain(kind), parameters, name, as_))
        (rows,) = yield Group((Execute(sql.option_chain(kind), parameters),), commit=True)
        return _of_one(OptionSnap, kind, session.tenant_id, name, rows)

    return Operation("option_chain", talk)


def rollup(symbol: str, timeframe: str, start: Time, end: Time, vendor: str, *, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.rollup`."""
    _check(as_)
    kind = KINDS["bars"]
    try:
        declared = kind.rollup(_name(timeframe))
    except LookupError as error:
        raise ConfigurationError(str(error)) from error
    name = (_name(vendor), _symbol(symbol), kind.base)
    span = _span(start, end)

    columns = (kind.time, *(column for column, _ in kind.aggregates))

    def talk(session: Session) -> Talk[Any]:
        statement = sql.rollup_window(kind, declared)
        if as_ != "models":
            shown = (name[0], name[1], declared.timeframe)
            return (yield from _frame(session, kind, statement, (*name, *span, session.wanted), shown, as_, columns))
        (rows,) = yield Group((Execute(statement, (*name, *span, session.wanted)),), commit=True)
        constant = _constant(kind, session.tenant_id, (*name[:-1], declared.timeframe))
        return built_rows(Bar, constant, columns, rows)

    return Operation("rollup", talk)


def latest_prices(symbols: Sequence[str], vendor: str, *, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.latest_prices`."""
    _check(as_)
    kind = KINDS["bars"]
    vendor = _name(vendor)
    wanted = sorted(set(_symbols(symbols)))

    def talk(session: Session) -> Talk[Any]:
        (rows,) = yield Group((Execute(sql.latest_prices(kind), (vendor, wanted, session.wanted)),), commit=True)
        common = {**dict.fromkeys(LatestPrice.model_fields), "tenant_id": session.tenant_id, "vendor": vendor}
        found = built_rows(LatestPrice, common, ("symbol", "price", "price_timestamp"), rows)
        return _answered(LatestPrice, found, as_)

    return Operation("latest_prices", talk)


def series(kind: AnyKind = "bars", *, vendor: str | None = None, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.series`."""
    _check(as_)
    declared = KINDS.of(kind)
    statement = sql.list_series(vendor is not None)
    parameters = (declared.name, *((_name(vendor),) if vendor is not None else ()))

    def talk(session: Session) -> Talk[Any]:
        (rows,) = yield Group((Execute(statement, (*parameters, session.wanted)),), commit=True)
        names = tuple(Series.model_fields)
        found = [
            built(Series, dict(zip(names, (declared.name, *row), strict=True))) for _, *row in rows
        ]  # fmt: skip
        return _answered(Series, found, as_)

    return Operation("series", talk)


def symbols(kind: AnyKind = "bars", *, vendor: str | None = None) -> Operation[list[str]]:
    """The operation of `MDS.symbols`."""
    found = series(kind, vendor=vendor)

    def talk(session: Session) -> Talk[list[str]]:
        answer = yield from found.talk(session)
        return sorted({one.symbol for one in answer if one.symbol is not None})

    return Operation("symbols", talk)


def coverage(kind: AnyKind = "bars", *, vendor: str | None = None, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.coverage`."""
    _check(as_)
    declared = KINDS.of(kind)
    parameters = (declared.name, *((_name(vendor),) if vendor is not None else ()))

    def talk(session: Session) -> Talk[Any]:
        listed = Execute(sql.list_series(vendor is not None), (*parameters, session.wanted))
        (there,) = yield Group((listed,))
        ids = [series_id for series_id, *_ in there]
        (counted,) = yield Group((Execute(sql.coverage(declared), (ids, session.wanted)),), commit=True)
        found = {series_id: rest for series_id, *rest in counted}
        names = tuple(Coverage.model_fields)
        covered = [
            built(Coverage, dict(zip(names, (declared.name, *name[:3], *found[series_id]), strict=True)))
            for series_id, *name in there
            if series_id in found
        ]
        return _answered(Coverage, covered, as_)

    return Operation("coverage", talk)


def iter_bars_window(
    symbol: Symbols,
    timeframe: str,
    start: Time,
    end: Time,
    vendor: str,
    *,
    batch_rows: int = 10_000,
    as_: StreamAs = "models",
) -> Stream[Any]:
    """The operation of `MDS.iter_bars_window`."""
    return _stream(Bar, symbol, start, end, batch_rows, as_, vendor=vendor, timeframe=timeframe)


def iter_fundamentals_window(
    symbol: Symbols,
    start: Time,
    end: Time,
    vendor: str,
    *,
    batch_rows: int = 10_000,
    as_: StreamAs = "models",
) -> Stream[Any]:
    """The operation of `MDS.iter_fundamentals_window`."""
    return _stream(Fundamentals, symbol, start, end, batch_rows, as_, vendor=vendor)


def iter_rows(
    kind: AnyKind,
    start: Time | None = None,
    end: Time | None = None,
    *,
    vendor: str | None = None,
    symbols: Sequence[str] | None = None,
    timeframe: str | None = None,
    batch_rows: int = 10_000,
    as_: StreamAs = "models",
) -> Stream[Any]:
    """The operation of `MDS.iter_rows`."""
    declared = KINDS.of(kind)
    _check_stream(as_)
    wanted = None if symbols is None else set(_symbols(symbols))
    if wanted is not None and "symbol" not in declared.series:
        raise ConfigurationError(f"{declared.name} are not kept by symbol")
    span = _span(start or datetime.min.replace(tzinfo=UTC), end or datetime.max.replace(tzinfo=UTC))

    def chosen(name: tuple[str | None, ...]) -> bool:
        named = dict(zip(SERIES_COLUMNS, name, strict=True))
        return (
            (vendor is None or named["vendor"] == _name(vendor))
            and (wanted is None or named["symbol"] in wanted)
            and (timeframe is None or named["timeframe"] == _name(timeframe))
        )

    def talk(session: Session) -> Talk[None]:
        (there,) = yield Group((Execute(sql.list_series(False), (declared.name, session.wanted)),))
        ids = [series_id for series_id, *name in there if chosen(tuple(name[:3]))]
        model = cast("type[Row]", declared.model)
        yield from _emitted(session, model, declared, _named(declared, there), ids, span, batch_rows, as_)

    return Stream(Operation(f"iter_{declared.name}", talk, heavy=as_ != "models"))


def _window(model: type[R], symbol: Symbols, start: Time, end: Time, as_: As, **name: str) -> Operation[Any]:
    kind = KINDS.of(model)
    span = _span(start, end)
    _check(as_)
    if not isinstance(symbol, str):
        return _windows(model, kind, _symbols(symbol), span, as_, name)
    parts = _series_name(kind, _symbol(symbol), name)

    # By one column, order is seen at a glance, and nearly always there.
    ordered = len(kind.key) > 1
    select = sql.window(kind, ordered=ordered)
    time_of = itemgetter(kind.column_names.index(kind.time))

    def talk(session: Session) -> Talk[Any]:
        if as_ != "models":
            parameters = (*parts, *span, session.wanted)
            return (yield from _frame(session, kind, select, parameters, parts, as_, ordered=ordered))
        (rows,) = yield Group((Execute(select, (*parts, *span, session.wanted)),), commit=True)
        return _of_one(model, kind, session.tenant_id, parts, rows if ordered else sorted(rows, key=time_of))

    return Operation(f"{kind.name}_window", talk)


def _windows(
    model: type[R], kind: Kind, symbols: list[str], span: tuple[datetime, datetime], as_: As, name: dict[str, str]
) -> Operation[Any]:
    def talk(session: Session) -> Talk[Any]:
        ids = yield from _find(session, kind, symbols, name)
        parameters = (list(ids), *span, session.wanted)
        if as_ != "models":
            return (yield from _frame(session, kind, sql.windows(kind), parameters, ids, as_))
        (rows,) = yield Group((Execute(sql.windows(kind), parameters),), commit=True)
        found = _models(model, kind, session.tenant_id, ids, rows)
        # By id is by when a series was first seen; a reader expects the names' order.
        return sorted(found, key=lambda row: cast("Any", row).symbol)

    return Operation(f"{kind.name}_window", talk)


def _stream(
    model: type[R],
    symbol: Symbols,
    start: Time,
    end: Time,
    batch_rows: int,
    as_: StreamAs,
    **name: str,
) -> Stream[Any]:
    kind = KINDS.of(model)
    _check_stream(as_)
    span = _span(start, end)
    symbols = [_symbol(symbol)] if isinstance(symbol, str) else _symbols(symbol)

    def talk(session: Session) -> Talk[None]:
        ids = yield from _find(session, kind, symbols, name)
        yield from _emitted(session, model, kind, ids, list(ids), span, batch_rows, as_)

    return Stream(Operation(f"iter_{kind.name}_window", talk, heavy=as_ != "models"))


def _check(as_: As) -> None:
    """Raise ConfigurationError if rows cannot be answered like that, before anything is asked."""
    if as_ not in AS:
        raise ConfigurationError(f"as_ is {', '.join(AS)}; not {as_!r}")
    if as_ != "models":
        from mds_client import arrow  # needs packages that the library itself does without

        arrow.check(as_)


def _check_stream(as_: StreamAs) -> None:
    if as_ not in get_args(StreamAs):
        raise ConfigurationError(f"as_ of a stream is {', '.join(get_args(StreamAs))}; not {as_!r}")
    _check(as_)


def _answered(model: type[BaseModel], found: list[Any], as_: As) -> Any:
    """Models as they are, or as a frame."""
    if as_ == "models":
        return found
    from mds_client import arrow

    return arrow.of_models(model, found, as_)


def _frame(
    session: Session,
    kind: Kind,
    select: sql.Statement,
    parameters: Sequence[Any],
    names: Sequence[str | None] | dict[int, tuple[str | None, ...]],
    as_: As,
    columns: tuple[str, ...] | None = None,
    *,
    ordered: bool = True,
) -> Talk[Any]:
    """A query's rows as a frame: of one series with that name, or of many with their names by id.

    `ordered`: they come in the order of their key, by series.
    """
    from mds_client import arrow

    by_id = isinstance(names, dict)
    query: Query = arrow.Query(
        kind,
        select,
        parameters,
        names if isinstance(names, dict) else tuple(names),
        None if columns is None else tuple(kind.column(name) for name in columns),
    )
    table = yield from arrow.reading(session, query)
    if by_id and "symbol" in kind.series and len(names) > 1:
        # As the models are: by id is by when a series was first seen.
        table = arrow.sorted_by(table, ("symbol", *kind.key))
    elif not ordered:
        table = arrow.sorted_by(table, kind.key)
    return arrow.as_frame(table, cast("Any", as_))


def _emitted(
    session: Session,
    model: type[R],
    kind: Kind,
    names: dict[int, tuple[str | None, ...]],
    ids: list[int],
    span: tuple[datetime, datetime],
    batch_rows: int,
    as_: StreamAs,
) -> Talk[None]:
    """Rows a batch at a time: neither side holds more than one. Models come through a cursor of the server's."""
    if as_ == "arrow":
        from mds_client import arrow

        yield from arrow.emitting(session, arrow.Query(kind, sql.windows(kind), (ids, *span, session.wanted), names))
        return
    if batch_rows < 1:
        raise ConfigurationError(f"batch_rows is from 1 on, not {batch_rows}")
    yield Group((Execute(sql.declare_cursor(sql.windows(kind)), (ids, *span, session.wanted)),))
    while True:
        (rows,) = yield Group((Execute(sql.fetch(batch_rows)),))
        if rows:
            yield Emit(_models(model, kind, session.tenant_id, names, rows))
        if len(rows) < batch_rows:
            return


def _find(
    session: Session, kind: Kind, symbols: list[str], name: dict[str, str]
) -> Talk[dict[int, tuple[str | None, ...]]]:
    """The series of these symbols, by id, in the order of their names."""
    columns = {**{part: [_name(value)] for part, value in name.items()}, "symbol": symbols}
    parameters = [*(columns[part] for part in kind.series), session.wanted]
    (found,) = yield Group((Execute(sql.find_series(kind), parameters),))
    return {series_id: tuple(parts) for series_id, _, *parts in sorted(found, key=lambda row: row[2:])}


def _named(kind: Kind, there: Iterable[Values]) -> dict[int, tuple[str | None, ...]]:
    """The names of listed series, by id, with the parts that the kind uses."""
    used = [SERIES_COLUMNS.index(part) for part in kind.series]
    return {series_id: tuple(name[at] for at in used) for series_id, *name in there}


def _series_name(kind: Kind, symbol: str, name: dict[str, str]) -> tuple[str, ...]:
    parts = {**name, "symbol": symbol}
    return tuple(_name(parts[part]) for part in kind.series)


def _instant(value: Time) -> datetime:
    if isinstance(value, str):
        try:
            value = times.parsed(value)
        except ValueError as error:
            raise ConfigurationError(f"{value!r}: {error}") from error
    if not isinstance(value, datetime):
        if not isinstance(value, date):
            raise ConfigurationError(f"a time is needed (a datetime, or text in ISO 8601), not {value!r}")
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - made UTC just below
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _span(start: Time, end: Time) -> tuple[datetime, datetime]:
    start, end = _instant(start), _instant(end)
    if start > end:
        raise ConfigurationError(f"start ({start.isoformat()}) is after end ({end.isoformat()})")
    return start, end


def _name(name: str) -> str:
    """A name as it is stored. Raises ConfigurationError for text that no server can be sent."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{name!r} cannot be sent: {error.reason}") from error
    return name.strip()


def _symbol(symbol: str) -> str:
    return _name(symbol).upper()


def _symbols(symbols: Sequence[str]) -> list[str]:
    if isinstance(symbols, str):
        raise ConfigurationError(f"symbols is a list of names, not one text: [{symbols!r}]")
    return [_symbol(symbol) for symbol in symbols]


def _constant(kind: Kind, tenant_id: str | None, name: Sequence[str | None]) -> dict[str, Any]:
    """What all rows of a series have in common, and every other field, in the model's order."""
    return {
        **dict.fromkeys(kind.model.model_fields),
        "tenant_id": tenant_id,
        **dict(zip(kind.series, name, strict=True)),
    }


def _of_one(
    model: type[R], kind: Kind, tenant_id: str | None, name: Sequence[str | None], rows: list[Values]
) -> list[R]:
    """Rows of one series as the model's instances: a constant part for the series, a stored part from the row."""
    return built_rows(model, _constant(kind, tenant_id, name), kind.column_names, rows)


def _models(
    model: type[R], kind: Kind, tenant_id: str | None, names: dict[int, tuple[str | None, ...]], rows: list[Values]
) -> list[R]:
    """Rows of many series, each with its series id in front."""
    constants = {series_id: _constant(kind, tenant_id, name) for series_id, name in names.items()}
    return built_of_series(model, constants, kind.column_names, rows)
