"""Delete a tenant's rows in bounded steps, each in its own transaction, or only count them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from mds_client import sql
from mds_client.cold import is_cold
from mds_client.errors import ConfigurationError, UnknownSeries
from mds_client.models import AnyKind
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk
from mds_client.reading.arguments import Symbols, Time, time_span
from mds_client.reading.listings import listed_series
from mds_client.reading.missing import NO_TENANT
from mds_client.schema import KINDS, SERIES_COLUMNS

STEP_ROWS = 50_000
"""The default number of rows in a step."""


@dataclass(frozen=True, slots=True)
class DeletedSeries:
    """The deleted rows of one series: their number, and the time of the oldest and newest one (UTC)."""

    vendor: str
    symbol: str | None
    timeframe: str | None
    root: str | None
    rows: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Deleted:
    """The rows that were deleted, or with `dry_run` would be."""

    kind: str
    rows: int
    series: list[DeletedSeries]
    dry_run: bool


def delete(
    kind: AnyKind,
    *,
    vendor: str,
    symbol: Symbols | None = None,
    timeframe: str | None = None,
    start: Time | None = None,
    end: Time | None = None,
    dry_run: bool = False,
    step_rows: int = STEP_ROWS,
) -> Operation[Deleted]:
    """The operation of `MDS.delete`."""
    declared = KINDS.of(kind)
    if symbol is not None and "symbol" not in declared.series:
        raise ConfigurationError(f"{declared.name} are not kept by symbol: choose them by vendor and time")
    if timeframe is not None and "timeframe" not in declared.series:
        raise ConfigurationError(f"{declared.name} have no timeframe")
    if step_rows < 1:
        raise ConfigurationError(f"step_rows is at least 1, not {step_rows}")
    span = time_span(start or datetime.min.replace(tzinfo=UTC), end or datetime.max.replace(tzinfo=UTC))
    listed = listed_series(declared, vendor, symbol, timeframe)
    # Kept for a retry: the times from which each series is still to be deleted, and the rows deleted so far.
    left: dict[int, datetime] = {}
    found: dict[int, DeletedSeries] = {}
    done: dict[int, int] = {}

    def talk(session: Session) -> Talk[Deleted]:
        if not found:
            (there,) = yield Group((listed.step(session),))
            if session.tenant_id is None:
                raise ConfigurationError(NO_TENANT)
            if not there:
                asked = {"vendor": vendor, "symbol": symbol, "timeframe": timeframe}
                said = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
                raise UnknownSeries(f"there are no {declared.name} of {said}")
            names = {series_id: dict(zip(SERIES_COLUMNS, name, strict=True)) for series_id, *name, _, _ in there}
            if (yield from is_cold(session, declared, span[0])):
                until = session.cold.fences[declared.name]
                raise ConfigurationError(
                    f"{declared.name} from before {until} are kept in files, and are not deleted: pass start={until},"
                    " or have an operator bring them back (datastore cold restore)"
                )
            meant = sql.hot_since(declared, session.wanted, span[0])
            counting = Execute(sql.count_rows(declared), (list(names), *span, *meant))
            (counted,) = yield Group((counting,), commit=True)
            for series_id, first, last, rows in counted:
                found[series_id] = DeletedSeries(**names[series_id], rows=rows, first=first, last=last)
                left[series_id] = span[0]
        if not dry_run:
            while left:
                series_id, since = next(iter(left.items()))
                parameters = (session.wanted, series_id, since, span[1], step_rows)
                (((rows, following),),) = yield Group(
                    (Execute(sql.delete_rows(declared), parameters),), commit=True
                )  # fmt: skip
                done[series_id] = done.get(series_id, 0) + rows
                if following is None:
                    del left[series_id]
                else:
                    left[series_id] = following
        total = sum(one.rows for one in found.values()) if dry_run else sum(done.values())
        series = sorted(
            found.values(), key=lambda one: (one.vendor, one.symbol or "", one.timeframe or "", one.root or "")
        )
        return Deleted(declared.name, total, series, dry_run)

    return Operation(f"delete_{declared.name}", talk)
