"""Delete a tenant's rows in bounded steps, each in its own transaction, or only count them."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from mds_client import cold, sql
from mds_client.errors import ConfigurationError, UnknownSeries
from mds_client.models import AnyKind
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk, Values
from mds_client.reading.arguments import Symbols, Time, time_span
from mds_client.reading.listings import listed_series
from mds_client.reading.missing import NO_TENANT
from mds_client.schema import KINDS, SERIES_COLUMNS, Kind

STEP_ROWS = 50_000
"""The default number of rows in a step."""

SERIES_AT_ONCE = 20
"""The number of series of which the rows of a year of files are in memory at once."""


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
    plan = _Plan()

    def talk(session: Session) -> Talk[Deleted]:
        yield from plan.make(session, declared, listed.step(session), span)
        if not plan.names:
            asked = {"vendor": vendor, "symbol": symbol, "timeframe": timeframe}
            said = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
            raise UnknownSeries(f"there are no {declared.name} of {said}")
        if not dry_run:
            yield from plan.work(session, declared, span, step_rows)
        return Deleted(declared.name, plan.rows(dry_run=dry_run), plan.series(), dry_run)

    return Operation(f"delete_{declared.name}", talk)


@dataclass(slots=True)
class _Plan:
    """What is to be deleted. It is kept for a retry, and made again if the fence has moved."""

    made: bool = False
    fence: datetime | None = None
    names: dict[int, dict[str, str | None]] = field(default_factory=dict)
    found: dict[int, DeletedSeries] = field(default_factory=dict)
    left: dict[int, datetime] = field(default_factory=dict)
    """The times from which series still have rows to delete in the table."""
    late: dict[int, Values] = field(default_factory=dict)
    """The spans to delete before the fence, with the last values of what is left there."""
    late_rows: dict[int, int] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)

    def make(self, session: Session, kind: Kind, listing: Execute, span: tuple[datetime, datetime]) -> Talk[None]:
        """Find the series and count their rows in the span. Does nothing if that was done."""
        (there,) = yield Group((listing,))
        if session.tenant_id is None:
            raise ConfigurationError(NO_TENANT)
        fence = yield from cold.fence(session, kind, ask=True)
        if self.made and fence == self.fence:
            return
        self.made, self.fence = False, fence
        self.names = {series_id: dict(zip(SERIES_COLUMNS, name, strict=True)) for series_id, *name, _, _ in there}
        # What an earlier attempt has deleted is counted, too.
        self.found = {id_: replace(one, rows=self.done[id_]) for id_, one in self.found.items() if self.done.get(id_)}
        self.left, self.late, self.late_rows = {}, {}, {}
        if not self.names:
            return
        since = span[0] if fence is None else max(span[0], fence)
        if fence is not None:
            asked = Execute(sql.emptied(kind), (list(self.names), since, max(since, span[1]), session.wanted))
            (found,) = yield Group((asked,))
            emptied = {series_id for (series_id,) in found}
            affected = self.names if span[0] < fence else emptied
            yield from self._before_the_fence(session, kind, affected, span, emptied)
        meant = sql.hot_since(kind, session.wanted, since)
        (counted,) = yield Group(
            (Execute(sql.count_rows(kind), (list(self.names), since, max(since, span[1]), *meant)),), commit=True
        )
        for series_id, first, last, rows in counted:
            self._count(series_id, rows, first, last)
            self.left[series_id] = since
        # Only now: a retry after a file that could not be read begins again.
        self.made = True

    def _count(self, series_id: int, rows: int, first: datetime, last: datetime) -> None:
        known = self.found.get(series_id)
        if known is not None:
            rows, first, last = rows + known.rows, min(first, known.first), max(last, known.last)
        self.found[series_id] = DeletedSeries(**self.names[series_id], rows=rows, first=first, last=last)  # type: ignore[arg-type]

    def _before_the_fence(
        self,
        session: Session,
        kind: Kind,
        affected: Collection[int],
        span: tuple[datetime, datetime],
        emptied: set[int],
    ) -> Talk[None]:
        """Read rows of these series that are kept in files: those to delete, and the last values of what is left.

        Also for `emptied` series, which have no row in the table: their last values are in files.
        """
        if not affected:
            return
        assert self.fence is not None

        from mds_client.cold import reading

        columns = () if kind.price is None else (kind.price,)
        until = min(span[1], self.fence)
        span = (min(span[0], until), until)
        parts = yield from reading.parts(session, kind, self.fence)
        # Files are sorted by name, so series with neighbouring names are in the same row groups.
        names = {id_: kind.named(list(self.names[id_].values())) for id_ in affected}
        by_name = sorted(names.items(), key=lambda item: item[1])
        for at in range(0, len(by_name), SERIES_AT_ONCE):
            series = dict(by_name[at : at + SERIES_AT_ONCE])
            newest: dict[int, Values] = {}
            for part in parts:
                table = yield from reading.reading(session, kind, series, part, columns)
                for series_id, rows, last in reading.remaining(kind, table, span):
                    newest[series_id] = reading.later(newest.get(series_id), last)
                    if rows is not None:
                        self._count(series_id, *rows)
                        self.late_rows[series_id] = self.late_rows.get(series_id, 0) + rows[0]
            nothing = (None,) if kind.price is None else (None, None, None)
            for series_id in series:
                if series_id in self.late_rows or series_id in emptied:
                    self.late[series_id] = (*span, self.fence, *newest.get(series_id, nothing))

    def work(self, session: Session, kind: Kind, span: tuple[datetime, datetime], step_rows: int) -> Talk[None]:
        """Delete in steps: first rows of the table, then those before the fence."""
        while self.left:
            series_id, since = next(iter(self.left.items()))
            parameters = (session.wanted, series_id, since, span[1], step_rows)
            (((rows, following),),) = yield Group((Execute(sql.delete_rows(kind), parameters),), commit=True)
            self.done[series_id] = self.done.get(series_id, 0) + rows
            if following is None:
                del self.left[series_id]
            else:
                self.left[series_id] = following
        if self.fence is not None and (rest := self.done.keys() - self.late.keys()):
            # Others may have deleted the other rows of a series meanwhile.
            (found,) = yield Group((Execute(sql.without_rows(kind), (list(rest), session.wanted)),), commit=True)
            emptied = {series_id for (series_id,) in found}
            yield from self._before_the_fence(session, kind, emptied, (self.fence, self.fence), emptied)
        while self.late:
            series_id, given = next(iter(self.late.items()))
            step = Execute(sql.delete_late_rows(kind), (session.wanted, series_id, *given))
            yield Group((step,), commit=True)
            self.done[series_id] = self.done.get(series_id, 0) + self.late_rows.pop(series_id, 0)
            del self.late[series_id]

    def rows(self, *, dry_run: bool) -> int:
        """Return the number of rows that were deleted, or would be."""
        return sum(one.rows for one in self.found.values()) if dry_run else sum(self.done.values())

    def series(self) -> list[DeletedSeries]:
        """Return the series with deleted rows, by name."""
        return sorted(
            self.found.values(), key=lambda one: (one.vendor, one.symbol or "", one.timeframe or "", one.root or "")
        )
