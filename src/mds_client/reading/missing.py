"""Explain why a read is empty: no tenant, or no series of that name. The reason is a warning or an error.

A series without rows in the window gives no warning, because the request is valid.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Literal, TypeAlias, get_args

from mds_client import sql
from mds_client.errors import ConfigurationError, UnknownSeries
from mds_client.models import DataQualityWarning
from mds_client.protocol.operations import Execute, Group, Session, Talk
from mds_client.schema import Kind

Missing: TypeAlias = Literal["warn", "raise", "ignore"]
"""What to do if a named series does not exist."""

NO_TENANT = "no tenant is set, so nothing is seen: pass tenant_id, or set MDS_TENANT_ID"


@dataclass(frozen=True, slots=True)
class Known:
    """The existing series among those that a read names.

    `series` is their number, and `newest` the time of their newest row. `said` explains what does not exist and
    suggests similar names; it is None if all named series exist.
    """

    series: int
    newest: datetime | None
    said: str | None


def check_missing(missing: str) -> None:
    """Raise ConfigurationError if `missing` is not one of the values of `Missing`."""
    if missing not in get_args(Missing):
        raise ConfigurationError(f"missing is {', '.join(get_args(Missing))}; not {missing!r}")


def warn_without_tenant(session: Session) -> None:
    """Warn that a result is empty if no tenant is set."""
    if session.tenant_id is None:
        warnings.warn(NO_TENANT, DataQualityWarning, stacklevel=2)


def explained(
    session: Session, kind: Kind, vendor: str, symbols: Sequence[str], timeframe: str | None, missing: Missing
) -> Talk[None]:
    """Warn, or raise, about named series that do not exist, with suggestions.

    A `timeframe` of None means any.

    Raises:
        UnknownSeries: `missing` is `raise`, and one of them does not exist.
    """
    if missing == "ignore":
        return
    if session.tenant_id is None:
        said: str | None = NO_TENANT
    else:
        conditions = [vendor, list(symbols), *([] if timeframe is None else [timeframe])]
        listing = sql.list_series(True, 1, timeframe is not None)
        (found,) = yield Group((Execute(listing, (kind.name, *conditions, session.wanted)),), commit=True)
        there = {symbol for _, _, symbol, *_ in found}
        lacking = [symbol for symbol in symbols if symbol not in there]
        said = (yield from _said(session, kind, vendor, lacking, timeframe)) if lacking else None
    if said is None:
        return
    if missing == "raise":
        raise UnknownSeries(said)
    warnings.warn(said, DataQualityWarning, stacklevel=2)


def _said(session: Session, kind: Kind, vendor: str, lacking: Sequence[str], timeframe: str | None) -> Talk[str]:
    first = lacking[0]
    vendors, elsewhere, near = yield Group(
        (
            Execute(sql.VENDORS, (kind.name, session.wanted)),
            Execute(sql.OF_SYMBOLS, (kind.name, list(lacking), session.wanted)),
            Execute(sql.NEAR_SYMBOLS, (kind.name, vendor, first[:1], session.wanted)),
        ),
        commit=True,
    )
    names = [name for (name,) in vendors]
    more = f" (and {len(lacking) - 1} other symbols)" if len(lacking) > 1 else ""
    if not names:
        return f"the tenant has no {kind.name} at all"
    if vendor not in names and len(names) < sql.NEAR:
        return f"there is no vendor {vendor!r} of {kind.name}; there are: {', '.join(names)}"
    timeframes = [other for name, symbol, other in elsewhere if (name, symbol) == (vendor, first)]
    if timeframes:
        said = f"{first} from {vendor} has no timeframe {timeframe}{more}; there are: {', '.join(timeframes)}"
        if kind.rollups and kind.base in timeframes:
            said += f"; rollup() makes longer ones of {kind.base}"
        return said
    said = f"{vendor} has no {kind.name} of {first}{more}"
    if "," in first:
        return f"{said}: give several symbols as a list, not as one text"
    if others := sorted({name for name, symbol, _ in elsewhere if symbol == first}):
        return f"{said}; {first} is from {', '.join(others)}"
    by_upper = {name.upper(): [other for (other,) in near if other.upper() == name.upper()] for (name,) in near}
    found = get_close_matches(first.upper(), list(by_upper), n=5, cutoff=0.5)
    close = [name for one in found for name in by_upper[one]]
    return f"{said}; near it: {', '.join(close)}" if close else said


def what_lacks(
    session: Session, kind: Kind, vendor: str | None, lacking: Sequence[str], timeframe: str | None
) -> Talk[str]:
    """Return the reason why no series matches, if parts of the name can be left out."""
    if session.tenant_id is None:
        return NO_TENANT
    if vendor is not None and lacking:
        return (yield from _said(session, kind, vendor, lacking, timeframe))
    (vendors,) = yield Group((Execute(sql.VENDORS, (kind.name, session.wanted)),), commit=True)
    names = [name for (name,) in vendors]
    if not names:
        return f"the tenant has no {kind.name} at all"
    if vendor is not None and vendor not in names and len(names) < sql.NEAR:
        return f"there is no vendor {vendor!r} of {kind.name}; there are: {', '.join(names)}"
    of = f" of {', '.join(lacking)}" if lacking else ""
    within = f" with timeframe {timeframe}" if timeframe is not None else ""
    return f"there are no {kind.name}{of}{within}; `series` lists what there is"
