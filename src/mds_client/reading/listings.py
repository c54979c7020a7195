"""Operations that list series and symbols, and the extent of their rows.

Each is an operation without I/O (`mds_client.protocol.operations`). Only `coverage` reads rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
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
    Sought,
    Symbols,
    Time,
    given_symbols,
    sought,
    stored_name,
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
    listed = listed_series(declared, vendor, symbol, timeframe)

    def talk(session: Session) -> Talk[Any]:
        (rows,) = yield Group((listed.step(session),), commit=True)
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
    listed = listed_series(declared, vendor, symbol, timeframe)
    if listed.is_by_rows:
        raise ConfigurationError(f"{declared.name} are not kept by symbol")

    def talk(session: Session) -> Talk[Any]:
        (there,) = yield Group((listed.step(session),))
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
    listed = listed_series(declared, vendor, symbol, timeframe)
    stored = None if timeframe is None else stored_timeframe(timeframe)

    def talk(session: Session) -> Talk[Known]:
        (there,) = yield Group((listed.step(session),), commit=True)
        newest = max((last_ts for *_, last_ts, _ in there if last_ts is not None), default=None)
        lacking = listed.lacking(session, {symbol for _, _, symbol, *_ in there})
        if there and not lacking:
            return Known(len(there), newest, None)
        by = None if vendor is None else stored_name(vendor)
        said = yield from what_lacks(session, declared, by, lacking, stored)
        return Known(len(there), newest, said)

    return Operation("known", talk)


def bounds(start: Time | None, end: Time | None) -> tuple[datetime, datetime]:
    """Return the bounds of a time span that can be open at either end."""
    return time_span(start or datetime.min.replace(tzinfo=UTC), end or datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Listed:
    """Series that a call names, by any part of their name. A session spells their symbols.

    `is_by_rows`: the kind's series have no symbol, so rows must be filtered by it.
    """

    kind: Kind
    vendor: str | None
    symbols: list[str] | None
    timeframe: str | None
    is_by_rows: bool

    def step(self, session: Session) -> Execute:
        """Return the step that lists the series."""
        found: Sought = ()
        if self.symbols is not None and not self.is_by_rows:
            found = sought(self.symbols, self.vendor, session.spelling)
        names = [name for name in (self.vendor,) if name is not None]
        of = [name for name in (self.timeframe,) if name is not None]
        statement = sql.list_series(bool(names), len(found), bool(of))
        return Execute(statement, (self.kind.name, *names, *found, *of, session.wanted))

    def in_rows(self, session: Session) -> Sought | None:
        """Return the symbols that rows must be filtered by, or None."""
        if self.symbols is None or not self.is_by_rows:
            return None
        return sought(self.symbols, self.vendor, session.spelling)

    def lacking(self, session: Session, there: set[str]) -> list[str]:
        """Return the named symbols that are not among those of the listed series."""
        if self.symbols is None or self.is_by_rows:
            return []
        # Without a vendor, the last two of three lists are the spellings of the same symbols.
        spellings = zip(*sought(self.symbols, self.vendor, session.spelling)[-2:], strict=True)
        return sorted({names[-1] for names in spellings if there.isdisjoint(names)})


def listed_series(kind: Kind, vendor: str | None, symbol: Symbols | None, timeframe: str | None) -> Listed:
    """Return the series that a call names. Raises ConfigurationError if the kind has no symbol or timeframe."""
    if symbol is not None and "symbol" not in kind.model.model_fields:
        raise ConfigurationError(f"{kind.name} have no symbol")
    if timeframe is not None and "timeframe" not in kind.series:
        raise ConfigurationError(f"{kind.name} have no timeframe")
    return Listed(
        kind,
        None if vendor is None else stored_name(vendor),
        None if symbol is None else given_symbols([symbol] if isinstance(symbol, str) else symbol),
        None if timeframe is None else stored_timeframe(timeframe),
        is_by_rows=symbol is not None and "symbol" not in kind.series,
    )


def named(kind: Kind, there: Iterable[Values]) -> dict[int, tuple[str | None, ...]]:
    """Return the names of listed series by id, with the parts that the kind uses."""
    return {series_id: kind.named(name) for series_id, *name in there}


def found_series(
    session: Session, kind: Kind, symbols: list[str], name: dict[str, str]
) -> Talk[dict[int, tuple[str | None, ...]]]:
    """Find the series of these symbols. Returns names by id, in the order of the names."""
    columns = {**{part: [stored_name(value)] for part, value in name.items()}, "symbol": symbols}
    parameters = [*(columns[part] for part in kind.searched), session.wanted]
    (found,) = yield Group((Execute(sql.find_series(kind), parameters),))
    return {series_id: tuple(parts) for series_id, _, _, *parts in sorted(found, key=lambda row: row[3:])}
