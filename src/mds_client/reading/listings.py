"""Operations that list series and symbols, and the extent of their rows.

Each is an operation without I/O (`mds_client.protocol.operations`). Only `coverage` reads rows.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from mds_client import sql
from mds_client.cold import is_cold, places
from mds_client.errors import ConfigurationError
from mds_client.models import AnyKind, Coverage, Series
from mds_client.notebook import Listing
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk, Values
from mds_client.reading.answers import As, answered, check_as
from mds_client.reading.arguments import (
    Symbols,
    Time,
    stored_name,
    stored_symbol,
    stored_symbols,
    stored_timeframe,
    time_span,
)
from mds_client.reading.missing import Known, warn_without_tenant, what_lacks
from mds_client.schema import KINDS, SERIES_COLUMNS, Kind
from mds_client.values import times
from mds_client.values.built import built


def series(
    kind: AnyKind = "bars",
    *,
    vendor: str | None = None,
    symbol: Symbols | None = None,
    timeframe: str | None = None,
    as_: As = "models",
) -> Operation[Any]:
    """The operation of `MDS.series`."""
    check_as(as_)
    declared = KINDS.of(kind)
    listed, _ = listed_series(declared, vendor, symbol, timeframe)

    def talk(session: Session) -> Talk[Any]:
        (rows,) = yield Group((listed(session),), commit=True)
        warn_without_tenant(session)
        names = tuple(Series.model_fields)
        found = Listing(built(Series, dict(zip(names, (declared.name, *row), strict=True))) for _, *row in rows)
        return answered(Series, found, as_)

    return Operation("series", talk)


def cold_files(kind: AnyKind = "bars", start: Time | None = None, end: Time | None = None) -> Operation[list[str]]:
    """The operation of `MDS.cold_files`."""
    declared = KINDS.of(kind)
    span = time_span(times.FIRST if start is None else start, times.END if end is None else end)

    def talk(session: Session) -> Talk[list[str]]:
        if not session.config.cold_url:
            raise ConfigurationError("this client was not told where files are: set MDS_COLD_URL (or cold_url)")
        (rows,) = yield Group((Execute(sql.COLD_FILES, (declared.name, *span, session.wanted)),), commit=True)
        warn_without_tenant(session)
        return [places.whole(session.config.cold_url, path) for path, *_ in rows]

    return Operation("cold_files", talk)


def symbols(kind: AnyKind = "bars", *, vendor: str | None = None) -> Operation[list[str]]:
    """The operation of `MDS.symbols`."""
    statement = sql.list_symbols(vendor is not None)
    parameters = (KINDS.of(kind).name, *((stored_name(vendor),) if vendor is not None else ()))

    def talk(session: Session) -> Talk[list[str]]:
        (rows,) = yield Group((Execute(statement, (*parameters, session.wanted)),), commit=True)
        warn_without_tenant(session)
        # Sorted in Python, so that the order does not depend on the database's collation.
        return sorted(symbol for (symbol,) in rows)

    return Operation("symbols", talk)


def coverage(
    kind: AnyKind = "bars",
    *,
    vendor: str | None = None,
    symbol: Symbols | None = None,
    timeframe: str | None = None,
    start: Time | None = None,
    end: Time | None = None,
    as_: As = "models",
) -> Operation[Any]:
    """The operation of `MDS.coverage`."""
    check_as(as_)
    declared = KINDS.of(kind)
    span = bounds(start, end)
    listed, in_rows = listed_series(declared, vendor, symbol, timeframe)
    if in_rows is not None:
        raise ConfigurationError(f"{declared.name} are not kept by symbol")

    def talk(session: Session) -> Talk[Any]:
        (there,) = yield Group((listed(session),))
        ids = [series_id for series_id, *_ in there]
        if (yield from is_cold(session, declared, span[0])):
            from mds_client.cold import reading

            counted = yield from reading.counted(session, declared, named(declared, there), span)
        else:
            since = sql.hot_since(declared, session.wanted, span[0])
            counting = Execute(sql.count_rows(declared), (ids, *span, *since))
            (counted,) = yield Group((counting,), commit=True)
        warn_without_tenant(session)
        found = {series_id: rest for series_id, *rest in counted}
        names = tuple(Coverage.model_fields)
        covered = Listing(
            built(
                Coverage,
                dict(zip(names, (declared.name, *name[: len(SERIES_COLUMNS)], *found[series_id]), strict=True)),
            )
            for series_id, *name in there
            if series_id in found
        )
        return answered(Coverage, covered, as_)

    return Operation("coverage", talk)


def known(
    kind: AnyKind, *, vendor: str | None = None, symbol: Symbols | None = None, timeframe: str | None = None
) -> Operation[Known]:
    """Look up the series that a read names: their number, their newest time, and names that do not exist."""
    declared = KINDS.of(kind)
    listed, in_rows = listed_series(declared, vendor, symbol, timeframe)
    named = [] if symbol is None or in_rows is not None else several(symbol)
    stored = None if timeframe is None else stored_timeframe(timeframe)

    def talk(session: Session) -> Talk[Known]:
        (there,) = yield Group((listed(session),), commit=True)
        newest = max((last_ts for *_, last_ts, _ in there if last_ts is not None), default=None)
        lacking = sorted(set(named) - {symbol for _, _, symbol, *_ in there})
        if there and not lacking:
            return Known(len(there), newest, None)
        by = None if vendor is None else stored_name(vendor)
        said = yield from what_lacks(session, declared, by, lacking, stored)
        return Known(len(there), newest, said)

    return Operation("known", talk)


def bounds(start: Time | None, end: Time | None) -> tuple[datetime, datetime]:
    """Return the bounds of a time span that can be open at either end."""
    return time_span(start or datetime.min.replace(tzinfo=UTC), end or datetime.max.replace(tzinfo=UTC))


def several(symbol: Symbols) -> list[str]:
    return [stored_symbol(symbol)] if isinstance(symbol, str) else stored_symbols(symbol)


def listed_series(
    kind: Kind, vendor: str | None, symbol: Symbols | None, timeframe: str | None
) -> tuple[Callable[[Session], Execute], list[str] | None]:
    """Return a function that makes the step to list these series, and the symbols if rows must be filtered by them.

    Raises ConfigurationError if the kind has no symbol or timeframe.
    """
    if symbol is not None and "symbol" not in kind.model.model_fields:
        raise ConfigurationError(f"{kind.name} have no symbol")
    if timeframe is not None and "timeframe" not in kind.series:
        raise ConfigurationError(f"{kind.name} have no timeframe")
    by_series = symbol is not None and "symbol" in kind.series
    given = (
        *(() if vendor is None else (stored_name(vendor),)),
        *((several(symbol),) if symbol is not None and by_series else ()),
        *(() if timeframe is None else (stored_timeframe(timeframe),)),
    )
    statement = sql.list_series(vendor is not None, by_series, timeframe is not None)
    in_rows = several(symbol) if symbol is not None and not by_series else None
    return lambda session: Execute(statement, (kind.name, *given, session.wanted)), in_rows


def named(kind: Kind, there: Iterable[Values]) -> dict[int, tuple[str | None, ...]]:
    """Return the names of listed series by id, with the parts that the kind uses."""
    return {series_id: kind.named(name) for series_id, *name in there}
