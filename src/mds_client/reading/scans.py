"""What is read over several connections at once: which rows, and what each connection does.

All of them see the rows that the first one saw (`pg_export_snapshot`). Each reads pieces of one plan
(`mds_client.reading.packed`); who hands them out is in `mds_client.abulk`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mds_client import sql
from mds_client.cold import is_cold
from mds_client.errors import ConfigurationError
from mds_client.models import AnyKind
from mds_client.protocol.operations import Emit, Execute, Group, Operation, SeriesName, Session, Stream, Talk
from mds_client.reading.answers import Columns, check_as, shown
from mds_client.reading.arguments import Symbols, Time
from mds_client.reading.listings import bounds, listed_series, named
from mds_client.reading.missing import warn_without_tenant
from mds_client.schema import KINDS, TENANT_COLUMN, Kind

if TYPE_CHECKING:
    import pyarrow

    from mds_client.cold.reading import ColdFiles
    from mds_client.reading.packed import Asked, Piece, Plan

CONNECTIONS: Final = 4
"""Connections of one read, unless the pool has fewer."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of a kind, and their columns: checked, and as the store has them."""

    kind: Kind
    span: tuple[datetime, datetime]
    listing: Callable[[Session], Execute]
    """What lists its series."""
    symbols: list[str] | None
    """The symbols that its rows are asked for, of a kind whose series have none."""
    fields: tuple[str, ...]
    plain: bool
    choose: Callable[[dict[int, SeriesName]], dict[int, SeriesName]] | None = None
    """Which of the series that are listed are read, if not all."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The stored columns among the fields."""
        return tuple(name for name in self.kind.column_names if name in self.fields)

    @property
    def schema(self) -> "pyarrow.Schema":
        """That of the answer."""
        return self.asked({}).schema

    def asked(self, series: dict[int, SeriesName], cold: "ColdFiles | None" = None) -> "Asked":
        """The rows of these series."""
        from mds_client.reading import packed

        return packed.Asked(self.kind, series, self.span, self.stored, self.fields, self.plain, self.symbols, cold)


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
    """Check what is asked for. Raises ConfigurationError if a package is missing or an argument is wrong.

    Without `columns` the fields are those of the model, in its order, without the tenant.
    """
    declared = KINDS.of(kind)
    check_as("arrow")
    listing, in_rows = listed_series(declared, vendor, symbols, timeframe)
    fields = tuple(name for name in declared.model.model_fields if name != TENANT_COLUMN)
    if columns is not None:
        fields = shown(declared, columns, "arrow").fields
    return Selection(declared, bounds(start, end), listing, in_rows, fields, plain)


def connections_of(asked: int | None, pool_max: int) -> int:
    """How many connections to read over. Raises ConfigurationError if the pool has fewer than are asked for."""
    if asked is None:
        return min(CONNECTIONS, pool_max)
    if not 1 <= asked <= pool_max:
        raise ConfigurationError(f"connections is from 1 to pool_max, which is {pool_max}; not {asked}")
    return asked


@dataclass(slots=True)
class Work:
    """A read as it goes on: its plan, and the piece that each connection is at."""

    selection: Selection
    connections: int
    snapshot: str | None = None
    plan: "Plan | None" = None
    pieces: "dict[int, Piece | None]" = field(default_factory=dict)

    def piece(self, number: int) -> "Piece":
        """What a connection reads."""
        piece = self.pieces[number]
        assert piece is not None
        return piece

    def leading(self) -> Stream[Any]:
        """What the first connection does: make the plan, and then read pieces."""

        def talk(session: Session) -> Talk[None]:
            from mds_client.reading import packed

            # The series first: the snapshot is there from the first query on.
            exported = (Execute(sql.EXPORT_SNAPSHOT),) if self.connections > 1 else ()
            there, *names = yield Group((self.selection.listing(session), *exported))
            warn_without_tenant(session)
            if names:
                ((self.snapshot,),) = names[0]
            series = dict(sorted(named(self.selection.kind, there).items(), key=lambda item: item[1]))
            if self.selection.choose is not None:
                series = self.selection.choose(series)
            cold = yield from self._cold(session)
            self.plan = packed.Plan(
                self.selection.asked(series, cold), window=2 * self.connections, target=packed.cold_target(cold)
            )
            yield Emit(None)
            yield from self._reading(session, 0)

        return Stream(self._operation(talk, sql.BEGIN_SNAPSHOT))

    def _cold(self, session: Session) -> "Talk[ColdFiles | None]":
        """The files that have rows of the span; None if the table has them all."""
        kind, span = self.selection.kind, self.selection.span
        if not (yield from is_cold(session, kind, span[0], ask=True)):
            return None

        from mds_client.cold import reading

        url = reading.url_of(session, kind)
        (listed,) = yield Group((reading.listing(session, kind, span),))
        return reading.ColdFiles(kind, url, tuple(listed))

    def following(self, number: int) -> Stream[Any]:
        """What another connection does, from when the plan is there."""
        assert self.snapshot is not None
        begin = (sql.BEGIN_SNAPSHOT, sql.set_snapshot(self.snapshot))
        return Stream(self._operation(lambda session: self._reading(session, number), *begin))

    def _operation(self, talk: Any, *begin: sql.Statement) -> Operation[None]:
        return Operation(f"scan_{self.selection.kind.name}", talk, heavy=True, begin=begin)

    def _reading(self, session: Session, number: int) -> Talk[None]:
        """Read one piece after the other, until there is none."""
        from mds_client.reading import packed

        assert self.plan is not None
        while (piece := self.pieces[number]) is not None:
            found = yield from packed.reading(session, self.plan.asked, piece)
            yield Emit(found)


def within(selected: Selection, span: tuple[datetime, datetime]) -> Selection:
    """The part of a selection that lies in a span of time."""
    start, end = max(selected.span[0], span[0]), min(selected.span[1], span[1])
    return replace(selected, span=(start, max(start, end)))
