"""Give a tenant's series another name, without changing a row."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from mds_client import sql
from mds_client.columns.arrays import array
from mds_client.errors import ConfigurationError, MDSOperationalError, SeriesConflict, UnknownSeries, reason
from mds_client.models import AnyKind, Name, Symbol, Timeframe
from mds_client.protocol.operations import Execute, Group, Operation, Session, StaleSeries, Talk
from mds_client.reading.arguments import Symbols, several, stored_name, stored_timeframe
from mds_client.reading.missing import NO_TENANT
from mds_client.schema import KINDS, Kind
from mds_client.values.spelling import Spelling


@dataclass(frozen=True, slots=True)
class RenamedSeries:
    """A series with its name before and after. Parts that its kind does not have are None."""

    kind: str
    vendor: str
    symbol: str | None
    timeframe: str | None
    root: str | None
    to_vendor: str
    to_symbol: str | None
    to_timeframe: str | None


@dataclass(frozen=True, slots=True)
class Renamed:
    """The series that were renamed, or with `dry_run` would be."""

    series: list[RenamedSeries]
    dry_run: bool


_PARTS: Final[dict[str, Any]] = {"vendor": Name, "symbol": Symbol, "timeframe": Timeframe}


def rename(
    *,
    vendor: str,
    symbol: Symbols | None = None,
    timeframe: str | None = None,
    kind: AnyKind | None = None,
    to_vendor: str | None = None,
    to_symbol: str | None = None,
    to_timeframe: str | None = None,
    dry_run: bool = False,
) -> Operation[Renamed]:
    """The operation of `MDS.rename`."""
    asked = {"vendor": vendor, "symbol": symbol, "timeframe": timeframe}
    new = _new({"vendor": to_vendor, "symbol": to_symbol, "timeframe": to_timeframe})
    used = {part for part in asked if asked[part] is not None} | new.keys()
    kinds = [one.name for one in _kinds(kind, used)]
    vendor = stored_name(vendor)
    by_timeframe = [] if timeframe is None else [stored_timeframe(timeframe)]
    if symbol is not None:
        several(symbol, vendor)  # reports wrong arguments at once
    listing = sql.named_series(symbol is not None, timeframe is not None)
    # Kept for a retry after a commit whose outcome is unknown.
    sent: dict[int, RenamedSeries] = {}

    def talk(session: Session) -> Talk[Renamed]:
        if sent and (yield from _is_done(session, sent)):
            return Renamed(list(sent.values()), dry_run)
        by_symbol = [] if symbol is None else [several(symbol, vendor, session.spelling)]
        (there,) = yield Group((Execute(listing, (kinds, vendor, *by_symbol, *by_timeframe, session.wanted)),))
        if session.tenant_id is None:
            raise ConfigurationError(NO_TENANT)
        to = _spelled(new, vendor, session.spelling)
        found = {series_id: _renamed(to, *name) for series_id, _, *name in there}
        if not found:
            said = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
            raise UnknownSeries(f"there are no series of {said}")
        yield from _check_spelling(session, found)
        sent.clear()
        sent.update(found)
        renames = sum(renames for _, renames, *_ in there)
        parts = [to.get(part) for part in _PARTS]
        parameters = (session.wanted, array("bigint", list(found)), renames, *parts, dry_run)
        try:
            yield Group((Execute(sql.RENAME_SERIES, parameters),), commit=True)
        except MDSOperationalError as error:
            if error.sqlstate == sql.NOT_RENAMED:
                raise SeriesConflict(_first_line(error)) from error
            if error.sqlstate == sql.STALE_SERIES:
                raise StaleSeries("a series was removed or renamed at this moment") from error
            raise
        session.forget()
        return Renamed(list(found.values()), dry_run)

    return Operation("rename_series", talk)


def _new(to: dict[str, str | None]) -> dict[str, str]:
    """Return the new parts of the name as they are stored."""
    new = {}
    for part, value in to.items():
        if value is not None:
            try:
                new[part] = TypeAdapter(_PARTS[part]).validate_python(value)
            except ValidationError as error:
                raise ConfigurationError(f"to_{part}: {reason(error)}") from error
    if not new:
        raise ConfigurationError("say what the new name is: to_symbol, to_vendor or to_timeframe")
    return new


def _spelled(new: dict[str, str], vendor: str, spelling: Spelling) -> dict[str, str]:
    """Return the new parts of the name with the symbol as the new vendor, or the vendor that stays, spells it."""
    if "symbol" not in new:
        return new
    return {**new, "symbol": spelling.stored(new.get("vendor", vendor), new["symbol"])}


def _check_spelling(session: Session, found: dict[int, RenamedSeries]) -> Talk[None]:
    """Refuse a vendor that cannot have the symbols of the series or of their rows. Nobody could find them by those."""
    for one in found.values():
        if not _fits(session.spelling, one.to_vendor, one.to_symbol):
            raise _lower_case(one, one.to_symbol, "pass the new symbol, too, or ")
        if not _fits(session.spelling, one.to_vendor, one.root):
            raise _lower_case(one, one.root)
    # Other kinds have symbols in their rows, which stay as they were written.
    leaving = {id_: one for id_, one in found.items() if one.vendor in session.spelling.vendors}
    for kind in KINDS.values():
        of_kind = {id_: one for id_, one in leaving.items() if one.kind == kind.name}
        for name in set(kind.symbols) - set(kind.series) if of_kind else ():
            parameters = (array("bigint", list(of_kind)), session.wanted)
            (symbols,) = yield Group((Execute(sql.suspect_symbols(kind, name), parameters),))
            one = next(iter(of_kind.values()))
            for (symbol,) in sorted(symbols):
                if not _fits(session.spelling, one.to_vendor, symbol):
                    raise _lower_case(one, symbol)


def _fits(spelling: Spelling, vendor: str, symbol: str | None) -> bool:
    """Whether a vendor's symbols can be stored in this spelling."""
    return symbol is None or spelling.stored(vendor, symbol) == symbol


def _lower_case(one: RenamedSeries, symbol: str | None, instead: str = "") -> SeriesConflict:
    return SeriesConflict(
        f"{one.kind} of {one.vendor}: {symbol} has lower case letters, and symbols of {one.to_vendor} are stored in"
        f" upper case: {instead}ask an operator to declare the vendor case-sensitive (datastore vendors set)"
    )


def _kinds(kind: AnyKind | None, used: set[str]) -> list[Kind]:
    """Return the kinds whose series have all of these parts in their names."""
    if kind is None:
        return [one for one in KINDS.values() if used <= set(one.series)]
    declared = KINDS.of(kind)
    if lacking := sorted(used - set(declared.series)):
        named = ", ".join(declared.series)
        raise ConfigurationError(
            f"series of {declared.name} have no {' and no '.join(lacking)}: they are named by {named}"
        )
    return [declared]


def _renamed(
    new: dict[str, str], kind: str, vendor: str, symbol: str | None, timeframe: str | None, root: str | None
) -> RenamedSeries:
    return RenamedSeries(
        kind=kind,
        vendor=vendor,
        symbol=symbol,
        timeframe=timeframe,
        root=root,
        to_vendor=new.get("vendor", vendor),
        to_symbol=None if symbol is None else new.get("symbol", symbol),
        to_timeframe=None if timeframe is None else new.get("timeframe", timeframe),
    )


def _is_done(session: Session, sent: dict[int, RenamedSeries]) -> Talk[bool]:
    """Check whether the series have their new names: the answer to an earlier attempt was lost."""
    (now,) = yield Group((Execute(sql.NAMES_OF_SERIES, (array("bigint", list(sent)), session.wanted)),))
    meant = {id_: (one.to_vendor, one.to_symbol, one.to_timeframe) for id_, one in sent.items()}
    return {id_: tuple(name) for id_, *name in now} == meant


def _first_line(error: MDSOperationalError) -> str:
    return str(error).partition("\n")[0]
