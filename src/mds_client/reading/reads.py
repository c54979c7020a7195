"""Operations that read rows: windows, option chains, latest prices.

Each is an operation without I/O (`mds_client.protocol.operations`). The statements are in `mds_client.sql`, the
parsing of arguments in `mds_client.reading.arguments`, and the conversion of results in `mds_client.reading.answers`. A
window includes its start and excludes its end; a time without a zone is UTC; the number of rows is not limited unless
you ask for it.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Any, TypeVar, cast

from mds_client import sql
from mds_client.cold import is_cold
from mds_client.errors import ConfigurationError
from mds_client.models import Bar, Fundamentals, Instrument, LatestPrice, News, OptionSnap, Row
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk, Values, spelled
from mds_client.reading.answers import (
    As,
    Columns,
    Index,
    Shown,
    answered,
    check_as,
    check_columns,
    cold_frame,
    framed_cold,
    models_of_many,
    models_of_one,
    read_frame,
    shown,
    without_tenant,
)
from mds_client.reading.arguments import (
    Symbols,
    Time,
    given_symbols,
    instant,
    several,
    sought,
    stored_name,
    stored_timeframe,
    time_span,
)
from mds_client.reading.listings import found_series, named
from mds_client.reading.missing import Missing, check_missing, explained
from mds_client.schema import KINDS, TENANT_COLUMN, Kind
from mds_client.values.built import built_rows
from mds_client.values.spelling import Spelling

R = TypeVar("R", bound=Row)


def bars_window(
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
    """The operation of `MDS.bars_window`."""
    name = {"vendor": vendor, "timeframe": stored_timeframe(timeframe)}
    return _window(Bar, symbol, start, end, as_, columns, index, wide, missing, name)


def fundamentals_window(
    symbol: Symbols,
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
    """The operation of `MDS.fundamentals_window`."""
    return _window(Fundamentals, symbol, start, end, as_, columns, index, wide, missing, {"vendor": vendor})


def instruments_window(
    symbol: Symbols,
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
    """The operation of `MDS.instruments_window`."""
    return _window(Instrument, symbol, start, end, as_, columns, index, wide, missing, {"vendor": vendor})


def news_window(
    start: Time,
    end: Time,
    *,
    symbol: Symbols | None = None,
    vendor: str | None = None,
    text: str | None = None,
    as_: As = "models",
    columns: Columns | None = None,
    newest: int | None = None,
) -> Operation[Any]:
    """The operation of `MDS.news_window`; with `newest`, of at most that many rows, newest first."""
    check_as(as_)
    kind = KINDS["news"]
    show = shown(kind, columns, as_)
    span = time_span(start, end)
    names = (stored_name(vendor),) if vendor is not None else ()
    texts = (text,) if text is not None else ()
    limits = () if newest is None else (newest,)
    given = None if symbol is None else given_symbols([symbol] if isinstance(symbol, str) else symbol)

    def talk(session: Session) -> Talk[Any]:
        listed = Execute(sql.list_series(vendor is not None), (kind.name, *names, session.wanted))
        symbols = () if given is None else sought(given, vendor, session.spelling)
        asked = (vendor is not None, len(symbols), text is not None, show.stored)
        statement = sql.news_window(kind, *asked, newest=newest is not None)
        parameters = (*span, *names, *symbols, *texts, session.wanted, *limits)
        if as_ != "models":
            (vendors,) = yield Group((listed,))
            return (yield from read_frame(session, kind, statement, parameters, named(kind, vendors), as_, show))
        vendors, rows = yield Group((listed, Execute(statement, parameters)), commit=True)
        return models_of_many(News, kind, session.tenant_id, named(kind, vendors), rows)

    return Operation("news_window", talk)


def option_chain(
    symbol: Symbols,
    at: Time,
    vendor: str,
    *,
    within: timedelta = timedelta(days=7),
    as_: As = "models",
    columns: Columns | None = None,
    index: Index | None = None,
    missing: Missing = "warn",
) -> Operation[Any]:
    """The operation of `MDS.option_chain`."""
    check_as(as_)
    check_missing(missing)
    kind = KINDS["options"]
    show = shown(kind, columns, as_, index=index)
    at = instant(at)
    if within <= timedelta(0):
        raise ConfigurationError(f"within is more than nothing, not {within}")
    vendor = stored_name(vendor)
    given = given_symbols([symbol] if isinstance(symbol, str) else symbol)
    asked = (at - within, at, at.astimezone(UTC).date())

    def talk(session: Session) -> Talk[Any]:
        symbols = several(given, vendor, session.spelling)
        # A symbol has a series for each root.
        ids = yield from found_series(session, kind, symbols, {"vendor": vendor})
        statement = sql.option_chains(kind, show.stored)
        parameters = (list(ids), *asked, *sql.hot_since(kind, session.wanted, asked[0]))
        if (yield from is_cold(session, kind, asked[0])):
            answer = yield from _cold_chain(session, kind, ids, asked, as_, show)
        elif as_ != "models":
            answer = yield from read_frame(session, kind, statement, parameters, ids, as_, show)
        else:
            (rows,) = yield Group((Execute(statement, parameters),), commit=True)
            answer = _chain(session, kind, ids, rows)
        if not len(answer):
            yield from explained(session, kind, vendor, symbols, None, missing)
        return answer

    return Operation("option_chain", talk)


def _chain(
    session: Session, kind: Kind, ids: dict[int, tuple[str | None, ...]], rows: list[Values]
) -> list[OptionSnap]:
    found = models_of_many(OptionSnap, kind, session.tenant_id, ids, rows)
    return sorted(found, key=lambda row: (row.symbol, row.expiry, row.option_type, row.strike, row.root))


def _cold_chain(
    session: Session,
    kind: Kind,
    ids: dict[int, tuple[str | None, ...]],
    asked: tuple[datetime, datetime, date],
    as_: As,
    show: Shown,
) -> Talk[Any]:
    """Read a chain whose snapshots are partly kept in files."""
    from mds_client.cold import chains, reading

    series = dict(sorted(ids.items()))  # as the server orders them
    stored = kind.column_names if as_ == "models" else show.stored
    # The statement's span is without its first time and with its second one.
    span = asked[0] + datetime.resolution, asked[1] + datetime.resolution
    table = yield from chains.chains(session, kind, series, span, asked[2], stored)
    if as_ == "models":
        return _chain(session, kind, ids, reading.tuples(table))
    return framed_cold(session, kind, table, series, as_, show)


def latest_prices(
    symbols: Sequence[str],
    vendor: str,
    *,
    as_: As = "models",
    columns: Columns | None = None,
    missing: Missing = "warn",
) -> Operation[Any]:
    """The operation of `MDS.latest_prices`."""
    check_as(as_)
    check_missing(missing)
    fields = check_columns(columns, (*without_tenant(LatestPrice), TENANT_COLUMN), as_)
    kind = KINDS["bars"]
    vendor = stored_name(vendor)
    given = given_symbols(symbols)

    def talk(session: Session) -> Talk[Any]:
        wanted = sorted(set(several(given, vendor, session.spelling)))
        (rows,) = yield Group((Execute(sql.latest_prices(kind), (vendor, wanted, session.wanted)),), commit=True)
        if not rows or (missing == "raise" and len(rows) < len(wanted)):
            yield from explained(session, kind, vendor, wanted, None, missing)
        common = {**dict.fromkeys(LatestPrice.model_fields), "tenant_id": session.tenant_id, "vendor": vendor}
        found = built_rows(LatestPrice, common, ("symbol", "price", "price_timestamp"), rows)
        return answered(LatestPrice, found, as_, fields)

    return Operation("latest_prices", talk)


def _window(
    model: type[R],
    symbol: Symbols,
    start: Time,
    end: Time,
    as_: As,
    columns: Columns | None,
    index: Index | None,
    wide: str | None,
    missing: Missing,
    name: dict[str, str],
) -> Operation[Any]:
    kind = KINDS.of(model)
    span = time_span(start, end)
    check_as(as_)
    check_missing(missing)
    given = [symbol] if isinstance(symbol, str) else symbol

    def spelled_in(spelling: Spelling) -> Operation[Any]:
        symbols = several(given, name["vendor"], spelling)
        show = shown(kind, columns, as_, index=index, wide=wide, symbols=symbols)
        read = _window_of_one if isinstance(symbol, str) else _windows
        return read(model, kind, symbols, span, as_, show, missing, name)

    return spelled(spelled_in)


def _window_of_one(
    model: type[R],
    kind: Kind,
    symbols: list[str],
    span: tuple[datetime, datetime],
    as_: As,
    show: Shown,
    missing: Missing,
    name: dict[str, str],
) -> Operation[Any]:
    parts = _series_name(kind, symbols[0], name)

    # Rows with a one-column key nearly always arrive in order, so checking is cheaper than sorting on the server.
    ordered = len(kind.key) > 1 or kind.time not in show.fields
    select = sql.window(kind, show.stored, ordered=ordered)
    time_of = itemgetter(kind.column_names.index(kind.time))

    def talk(session: Session) -> Talk[Any]:
        if (yield from is_cold(session, kind, span[0])):
            ids = yield from found_series(session, kind, symbols, name)
            answer = yield from _cold_window(session, model, kind, ids, span, as_, show)
        elif as_ != "models":
            parameters = (*parts, *span, *sql.hot_since(kind, session.wanted, span[0]))
            answer = yield from read_frame(session, kind, select, parameters, parts, as_, show, ordered=ordered)
        else:
            since = sql.hot_since(kind, session.wanted, span[0])
            (rows,) = yield Group((Execute(select, (*parts, *span, *since)),), commit=True)
            answer = models_of_one(
                model, kind, session.tenant_id, parts, rows if ordered else sorted(rows, key=time_of)
            )
        if not len(answer):
            symbol_at, timeframe = kind.series.index("symbol"), name.get("timeframe")
            yield from explained(session, kind, parts[0], [parts[symbol_at]], timeframe, missing)
        return answer

    return Operation(f"{kind.name}_window", talk)


def _windows(
    model: type[R],
    kind: Kind,
    symbols: list[str],
    span: tuple[datetime, datetime],
    as_: As,
    show: Shown,
    missing: Missing,
    name: dict[str, str],
) -> Operation[Any]:
    statement = sql.windows(kind, show.stored)

    def talk(session: Session) -> Talk[Any]:
        cold = yield from is_cold(session, kind, span[0])
        ids = yield from found_series(session, kind, symbols, name)
        parameters = (list(ids), *span, *sql.hot_since(kind, session.wanted, span[0]))
        if cold:
            answer = yield from _cold_window(session, model, kind, ids, span, as_, show)
        elif as_ != "models":
            answer = yield from read_frame(session, kind, statement, parameters, ids, as_, show)
        else:
            (rows,) = yield Group((Execute(statement, parameters),), commit=True)
            found = models_of_many(model, kind, session.tenant_id, ids, rows)
            # The rows are ordered by series id, that is by creation of the series; callers expect the order of names.
            answer = sorted(found, key=lambda row: cast("Any", row).symbol)
        if len(ids) < len(set(symbols)):
            vendor, timeframe = stored_name(name["vendor"]), name.get("timeframe")
            yield from explained(session, kind, vendor, symbols, timeframe, missing)
        return answer

    return Operation(f"{kind.name}_window", talk)


def _cold_window(
    session: Session,
    model: type[R],
    kind: Kind,
    ids: dict[int, tuple[str | None, ...]],
    span: tuple[datetime, datetime],
    as_: As,
    show: Shown,
) -> Talk[Any]:
    """Read a window whose rows are partly kept in files, ordered by the names of the series."""
    if as_ != "models":
        return (yield from cold_frame(session, kind, ids, span, as_, show))

    from mds_client.cold import reading

    rows = reading.tuples((yield from reading.reading(session, kind, ids, span)))
    return models_of_many(model, kind, session.tenant_id, ids, rows)


def _series_name(kind: Kind, symbol: str, name: dict[str, str]) -> tuple[str, ...]:
    parts = {**name, "symbol": symbol}
    return tuple(stored_name(parts[part]) for part in kind.series)
