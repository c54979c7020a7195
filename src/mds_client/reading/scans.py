"""Reads over several connections at once: the selected rows, and the operation of each connection.

All connections share the snapshot of the first one (`pg_export_snapshot`). Each reads pieces of one plan
(`mds_client.reading.packed`), which `mds_client.abulk` assigns. A read by time has a plan for each span between files
that other programs can read by themselves.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mds_client import sql
from mds_client.cold import is_cold
from mds_client.errors import ConfigurationError
from mds_client.models import AnyKind
from mds_client.protocol.operations import (
    Emit,
    Execute,
    Group,
    Operation,
    SeriesName,
    Session,
    Stream,
    Talk,
    Values,
)
from mds_client.reading.answers import Columns, check_as, shown
from mds_client.reading.arguments import Sought, Symbols, Time
from mds_client.reading.listings import Listed, bounds, listed_series, named
from mds_client.reading.missing import warn_without_tenant
from mds_client.schema import KINDS, TENANT_COLUMN, Kind

if TYPE_CHECKING:
    import pyarrow

    from mds_client.cold.reading import ColdFiles
    from mds_client.reading.packed import Asked, Beside, Piece, Plan

CONNECTIONS: Final = 4
"""The default number of connections of a read, unless the pool has fewer."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected rows and columns of a kind, checked and in their stored form."""

    kind: Kind
    span: tuple[datetime, datetime]
    listed: Listed
    fields: tuple[str, ...]
    plain: bool
    choose: Callable[[dict[int, SeriesName]], dict[int, SeriesName]] | None = None
    """Chooses which of the listed series are read; None reads all."""
    beside: "Callable[[ColdFiles, str | None], Beside] | None" = None
    """Makes what reads rows of files out of their list and their tenant; None reads all of their rows."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The stored columns among the fields."""
        return tuple(name for name in self.kind.column_names if name in self.fields)

    @property
    def schema(self) -> "pyarrow.Schema":
        """The schema of the result."""
        return self.asked({}).schema

    def asked(
        self, series: dict[int, SeriesName], cold: "Beside | None" = None, symbols: Sought | None = None
    ) -> "Asked":
        """Return the request for the rows of these series. `symbols`: only rows of these."""
        from mds_client.reading import packed

        return packed.Asked(self.kind, series, self.span, self.stored, self.fields, self.plain, symbols, cold)


def selection(
    kind: AnyKind,
    start: Time | None,
    end: Time | None,
    *,
    vendor: str | None = None,
    symbols: Symbols | None = None,
    timeframe: str | None = None,
    columns: Columns | None = None,
    plain: bool = False,
) -> Selection:
    """Check the arguments of a read. Raises ConfigurationError if a package is missing or an argument is wrong.

    By default the columns are the fields of the model, in its order, without the tenant.
    """
    declared = KINDS.of(kind)
    check_as("arrow")
    listed = listed_series(declared, vendor, symbols, timeframe)
    fields = tuple(name for name in declared.model.model_fields if name != TENANT_COLUMN)
    if columns is not None:
        fields = shown(declared, columns, "arrow").fields
    return Selection(declared, bounds(start, end), listed, fields, plain)


def connections_of(asked: int | None, pool_max: int) -> int:
    """Return the number of connections to use. Raises ConfigurationError if it is not from 1 to the pool's maximum."""
    if asked is None:
        return min(CONNECTIONS, pool_max)
    if not 1 <= asked <= pool_max:
        raise ConfigurationError(f"connections is from 1 to pool_max, which is {pool_max}; not {asked}")
    return asked


Span: TypeAlias = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class FileRows:
    """Rows of a read that are all in one file, each as it is there."""

    url: str
    path: str
    span: Span
    """The span of time, without its end."""
    whole: bool
    """Whether the file has no row outside of the span."""
    series: dict[int, SeriesName]
    """The series that are read."""
    touched: dict[int, SeriesName] = field(default_factory=dict)
    """Those of them that have late rows in the span."""
    late: Sequence[Values] = ()
    """The late rows, in the order of writing."""
    tenant: str | None = None
    """The tenant, whom the file does not name."""


@dataclass(slots=True)
class Work:
    """The state of a read: its current plan, and the current piece of each connection."""

    selection: Selection
    connections: int
    by_time: bool = False
    """Whether most rows of files are left to the caller, and the rest is read in the order of time."""
    snapshot: str | None = None
    plan: "Plan | None" = None
    pieces: "dict[int, Piece | None]" = field(default_factory=dict)

    def piece(self, number: int) -> "Piece":
        """Return the current piece of a connection."""
        piece = self.pieces[number]
        assert piece is not None
        return piece

    def leading(self) -> "Stream[Plan | FileRows]":
        """Return the stream of the first connection. It yields each plan, and then reads its pieces.

        A read by time also yields files, whose rows come before those of the next plan.
        """

        def talk(session: Session) -> Talk[None]:
            # List the series first, because the snapshot begins with the first query.
            exported = (Execute(sql.EXPORT_SNAPSHOT),) if self.connections > 1 else ()
            there, *names = yield Group((self.selection.listed.step(session), *exported))
            warn_without_tenant(session)
            if names:
                ((self.snapshot,),) = names[0]
            series = dict(sorted(named(self.selection.kind, there).items(), key=lambda item: item[1]))
            if self.selection.choose is not None:
                series = self.selection.choose(series)
            for source in (yield from self._sources(session, series)):
                if isinstance(source, FileRows):
                    yield Emit(source)
                else:
                    yield from self._planned(session, series, source)
                    yield from self._reading(session, 0)

        return Stream(self._operation(talk, sql.BEGIN_SNAPSHOT))

    def _planned(self, session: Session, series: dict[int, SeriesName], span: Span) -> Talk[None]:
        from mds_client.reading import packed

        cold = yield from self._cold(session, span)
        self.plan = packed.Plan(
            replace(self.selection, span=span).asked(series, cold, self.selection.listed.in_rows(session)),
            window=2 * self.connections,
            target=packed.cold_target(cold),
        )
        yield Emit(self.plan)

    def _sources(self, session: Session, series: dict[int, SeriesName]) -> Talk[Sequence[FileRows | Span]]:
        """Divide the time of the read into files that have few late rows or none, and spans between them."""
        kind, span = self.selection.kind, self.selection.span
        is_divided = self.by_time and self.selection.listed.in_rows(session) is None
        if not is_divided or not (yield from is_cold(session, kind, span[0], ask=True)):
            return [span]

        from mds_client.cold import reading

        url = reading.url_of(session, kind)
        listed, late = yield Group(
            (reading.listing(session, kind, span), reading.late_step(session, kind, list(series), span))
        )
        whole = FileRows(url, "", span, True, series, tenant=session.tenant_id)
        return list(_divided(kind, whole, listed, late))

    def _cold(self, session: Session, span: Span) -> "Talk[Beside | None]":
        """Return a reader of the files with rows of a span, or None if the table has all rows."""
        kind = self.selection.kind
        if not (yield from is_cold(session, kind, span[0], ask=True)):
            return None

        from mds_client.cold import reading

        url = reading.url_of(session, kind)
        (listed,) = yield Group((reading.listing(session, kind, span),))
        found = reading.ColdFiles(kind, url, tuple(listed))
        return found if self.selection.beside is None else self.selection.beside(found, session.tenant_id)

    def following(self, number: int) -> Stream[Any]:
        """Return the stream of another connection, for when the plan exists."""
        assert self.snapshot is not None
        begin = (sql.BEGIN_SNAPSHOT, sql.set_snapshot(self.snapshot))
        return Stream(self._operation(lambda session: self._reading(session, number), *begin))

    def _operation(self, talk: Any, *begin: sql.Statement) -> Operation[None]:
        return Operation(f"scan_{self.selection.kind.name}", talk, heavy=True, begin=begin)

    def _reading(self, session: Session, number: int) -> Talk[None]:
        """Read one piece after the other until there is none."""
        from mds_client.reading import packed

        assert self.plan is not None
        while (piece := self.pieces[number]) is not None:
            found = yield from packed.reading(session, self.plan.asked, piece)
            yield Emit(found)


FEW: Final = 4
"""A file has few late rows if at most one of so many series has any: that one is merged, and the others are read."""


def _divided(
    kind: Kind, asked: FileRows, listed: Sequence[Values], late: Sequence[Values]
) -> Iterator[FileRows | Span]:
    """Yield the files that have few late rows or none, and the spans between them, in the order of time.

    Args:
        kind: The kind.
        asked: The rows of the read, as if all of them were in one file.
        listed: The files, in the order of their periods.
        late: The late rows.
    """
    from mds_client.cold import reading

    ends = [end for _, _, end, *_ in listed]
    own: list[list[Values]] = [[] for _ in listed]
    for row, (since, to) in zip(late, reading.late_spans(kind, late), strict=True):
        at = bisect_right(ends, since)
        # A deletion can concern several files.
        while at < len(listed) and listed[at][1] < to:
            own[at].append(row)
            at += 1
    done, until = asked.span
    for (path, begin, end, *_), some in zip(listed, own, strict=True):
        first, last = max(begin, done), min(end, until)
        touched = {id_: asked.series[id_] for id_, *_ in some}
        if first >= last or FEW * len(touched) > len(asked.series):
            continue
        if done < first:
            yield done, first
        whole = (first, last) == (begin, end)
        yield replace(asked, path=path, span=(first, last), whole=whole, touched=touched, late=some)
        done = last
    if done < until:
        yield done, until


def within(selected: Selection, span: tuple[datetime, datetime]) -> Selection:
    """Restrict a selection to a span of time."""
    start, end = max(selected.span[0], span[0]), min(selected.span[1], span[1])
    return replace(selected, span=(start, max(start, end)))
