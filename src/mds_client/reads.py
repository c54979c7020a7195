"""Reading rows: windows, option chains, latest prices, what is there.

Each is an operation (`mds_client.operations`): nothing here waits. Its statements are in `mds_client.sql`, what it may
be given in `mds_client.arguments`, and how its rows are answered in `mds_client.answers`. A window has its start and
not its end; a time without a zone is UTC; nothing is cut off by a limit that was not asked for.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, TypeVar, cast

from mds_client import sql
from mds_client.answers import (
    As,
    StreamAs,
    answered,
    check_as,
    check_stream_as,
    constant_fields,
    emitted,
    models_of_many,
    models_of_one,
    read_frame,
)
from mds_client.arguments import Symbols, Time, instant, stored_name, stored_symbol, stored_symbols, time_span
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
    built_rows,
)
from mds_client.operations import Execute, Group, Operation, Session, Stream, Talk, Values
from mds_client.schema import KINDS, SERIES_COLUMNS, Kind

R = TypeVar("R", bound=Row)


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
    check_as(as_)
    kind = KINDS["news"]
    span = time_span(start, end)
    names = (stored_name(vendor),) if vendor is not None else ()
    conditions = (
        *names,
        *((stored_symbol(symbol),) if symbol is not None else ()),
        *((text,) if text is not None else ()),
    )
    statement = sql.news_window(kind, vendor is not None, symbol is not None, text is not None)

    def talk(session: Session) -> Talk[Any]:
        listed = Execute(sql.list_series(False), (kind.name, session.wanted))
        parameters = (*span, *conditions, session.wanted)
        if as_ != "models":
            (vendors,) = yield Group((listed,))
            return (yield from read_frame(session, kind, statement, parameters, _named(kind, vendors), as_))
        vendors, rows = yield Group((listed, Execute(statement, parameters)), commit=True)
        return models_of_many(News, kind, session.tenant_id, _named(kind, vendors), rows)

    return Operation("news_window", talk)


def option_chain(
    symbol: str, at: Time, vendor: str, *, within: timedelta = timedelta(days=7), as_: As = "models"
) -> Operation[Any]:
    """The operation of `MDS.option_chain`."""
    check_as(as_)
    kind = KINDS["options"]
    at = instant(at)
    if within <= timedelta(0):
        raise ConfigurationError(f"within is more than nothing, not {within}")
    name = (stored_name(vendor), stored_symbol(symbol))
    asked = (*name, at - within, at, at.astimezone(UTC).date())

    def talk(session: Session) -> Talk[Any]:
        parameters = (*asked, session.wanted)
        if as_ != "models":
            return (yield from read_frame(session, kind, sql.option_chain(kind), parameters, name, as_))
        (rows,) = yield Group((Execute(sql.option_chain(kind), parameters),), commit=True)
        return models_of_one(OptionSnap, kind, session.tenant_id, name, rows)

    return Operation("option_chain", talk)


def rollup(symbol: str, timeframe: str, start: Time, end: Time, vendor: str, *, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.rollup`."""
    check_as(as_)
    kind = KINDS["bars"]
    try:
        declared = kind.rollup(stored_name(timeframe))
    except LookupError as error:
        raise ConfigurationError(str(error)) from error
    name = (stored_name(vendor), stored_symbol(symbol), kind.base)
    span = time_span(start, end)

    columns = (kind.time, *(column for column, _ in kind.aggregates))

    def talk(session: Session) -> Talk[Any]:
        statement = sql.rollup_window(kind, declared)
        if as_ != "models":
            shown = (name[0], name[1], declared.timeframe)
            return (
                yield from read_frame(session, kind, statement, (*name, *span, session.wanted), shown, as_, columns)
            )
        (rows,) = yield Group((Execute(statement, (*name, *span, session.wanted)),), commit=True)
        constant = constant_fields(kind, session.tenant_id, (*name[:-1], declared.timeframe))
        return built_rows(Bar, constant, columns, rows)

    return Operation("rollup", talk)


def latest_prices(symbols: Sequence[str], vendor: str, *, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.latest_prices`."""
    check_as(as_)
    kind = KINDS["bars"]
    vendor = stored_name(vendor)
    wanted = sorted(set(stored_symbols(symbols)))

    def talk(session: Session) -> Talk[Any]:
        (rows,) = yield Group((Execute(sql.latest_prices(kind), (vendor, wanted, session.wanted)),), commit=True)
        common = {**dict.fromkeys(LatestPrice.model_fields), "tenant_id": session.tenant_id, "vendor": vendor}
        found = built_rows(LatestPrice, common, ("symbol", "price", "price_timestamp"), rows)
        return answered(LatestPrice, found, as_)

    return Operation("latest_prices", talk)


def series(kind: AnyKind = "bars", *, vendor: str | None = None, as_: As = "models") -> Operation[Any]:
    """The operation of `MDS.series`."""
    check_as(as_)
    declared = KINDS.of(kind)
    statement = sql.list_series(vendor is not None)
    parameters = (declared.name, *((stored_name(vendor),) if vendor is not None else ()))

    def talk(session: Session) -> Talk[Any]:
        (rows,) = yield Group((Execute(statement, (*parameters, session.wanted)),), commit=True)
        names = tuple(Series.model_fields)
        found = [
            built(Series, dict(zip(names, (declared.name, *row), strict=True))) for _, *row in rows
        ]  # fmt: skip
        return answered(Series, found, as_)

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
    check_as(as_)
    declared = KINDS.of(kind)
    parameters = (declared.name, *((stored_name(vendor),) if vendor is not None else ()))

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
        return answered(Coverage, covered, as_)

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
    check_stream_as(as_)
    wanted = None if symbols is None else set(stored_symbols(symbols))
    if wanted is not None and "symbol" not in declared.series:
        raise ConfigurationError(f"{declared.name} are not kept by symbol")
    span = time_span(start or datetime.min.replace(tzinfo=UTC), end or datetime.max.replace(tzinfo=UTC))

    def chosen(name: tuple[str | None, ...]) -> bool:
        named = dict(zip(SERIES_COLUMNS, name, strict=True))
        return (
            (vendor is None or named["vendor"] == stored_name(vendor))
            and (wanted is None or named["symbol"] in wanted)
            and (timeframe is None or named["timeframe"] == stored_name(timeframe))
        )

    def talk(session: Session) -> Talk[None]:
        (there,) = yield Group((Execute(sql.list_series(False), (declared.name, session.wanted)),))
        ids = [series_id for series_id, *name in there if chosen(tuple(name[:3]))]
        model = cast("type[Row]", declared.model)
        yield from emitted(session, model, declared, _named(declared, there), ids, span, batch_rows, as_)

    return Stream(Operation(f"iter_{declared.name}", talk, heavy=as_ != "models"))


def _window(model: type[R], symbol: Symbols, start: Time, end: Time, as_: As, **name: str) -> Operation[Any]:
    kind = KINDS.of(model)
    span = time_span(start, end)
    check_as(as_)
    if not isinstance(symbol, str):
        return _windows(model, kind, stored_symbols(symbol), span, as_, name)
    parts = _series_name(kind, stored_symbol(symbol), name)

    # By one column, order is seen at a glance, and nearly always there.
    ordered = len(kind.key) > 1
    select = sql.window(kind, ordered=ordered)
    time_of = itemgetter(kind.column_names.index(kind.time))

    def talk(session: Session) -> Talk[Any]:
        if as_ != "models":
            parameters = (*parts, *span, session.wanted)
            return (yield from read_frame(session, kind, select, parameters, parts, as_, ordered=ordered))
        (rows,) = yield Group((Execute(select, (*parts, *span, session.wanted)),), commit=True)
        return models_of_one(model, kind, session.tenant_id, parts, rows if ordered else sorted(rows, key=time_of))

    return Operation(f"{kind.name}_window", talk)


def _windows(
    model: type[R], kind: Kind, symbols: list[str], span: tuple[datetime, datetime], as_: As, name: dict[str, str]
) -> Operation[Any]:
    def talk(session: Session) -> Talk[Any]:
        ids = yield from _find(session, kind, symbols, name)
        parameters = (list(ids), *span, session.wanted)
        if as_ != "models":
            return (yield from read_frame(session, kind, sql.windows(kind), parameters, ids, as_))
        (rows,) = yield Group((Execute(sql.windows(kind), parameters),), commit=True)
        found = models_of_many(model, kind, session.tenant_id, ids, rows)
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
    check_stream_as(as_)
    span = time_span(start, end)
    symbols = [stored_symbol(symbol)] if isinstance(symbol, str) else stored_symbols(symbol)

    def talk(session: Session) -> Talk[None]:
        ids = yield from _find(session, kind, symbols, name)
        yield from emitted(session, model, kind, ids, list(ids), span, batch_rows, as_)

    return Stream(Operation(f"iter_{kind.name}_window", talk, heavy=as_ != "models"))


def _find(
    session: Session, kind: Kind, symbols: list[str], name: dict[str, str]
) -> Talk[dict[int, tuple[str | None, ...]]]:
    """The series of these symbols, by id, in the order of their names."""
    columns = {**{part: [stored_name(value)] for part, value in name.items()}, "symbol": symbols}
    parameters = [*(columns[part] for part in kind.series), session.wanted]
    (found,) = yield Group((Execute(sql.find_series(kind), parameters),))
    return {series_id: tuple(parts) for series_id, _, *parts in sorted(found, key=lambda row: row[2:])}


def _named(kind: Kind, there: Iterable[Values]) -> dict[int, tuple[str | None, ...]]:
    """The names of listed series, by id, with the parts that the kind uses."""
    used = [SERIES_COLUMNS.index(part) for part in kind.series]
    return {series_id: tuple(name[at] for at in used) for series_id, *name in there}


def _series_name(kind: Kind, symbol: str, name: dict[str, str]) -> tuple[str, ...]:
    parts = {**name, "symbol": symbol}
    return tuple(stored_name(parts[part]) for part in kind.series)
