"""Bulk load: files and Arrow streams into a tenant's rows, by the control plane.

Rows are checked, sorted and encoded as the client does it, and then copied straight into the table with the owner's
rights: no staging, no merge. A part that meets a row which is there goes through the client's merge. One transaction a
part, which keeps the series' last values too; what a load was stopped in the middle of is completed by the same load
again. Stored rollups are refreshed over the loaded span at the end.

What is read is in `mds_client.files`. What a row is and how it is written is in `mds_client`. Nothing is printed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from psycopg.sql import SQL, Identifier

from datastore import aggregates, tenants
from datastore.connections import connect
from datastore.errors import ControlError
from datastore.names import OWNER, STORE
from mds_client import KINDS, MDS, cold, sql
from mds_client.columns.rows import ArrowStream, Batch
from mds_client.errors import InvalidRow, MDSOperationalError
from mds_client.files import (
    PLAIN,
    Format,
    Input,
    Mapping,
    Models,
    of_stream,
    opened,
    rejects_path,
)
from mds_client.protocol.operations import Execute, Group, Operation, Session, Talk, Written
from mds_client.schema import Kind, OnConflict
from mds_client.transfer.imports import Import, Importing
from mds_client.writing import upserts

T = TypeVar("T")


class LoadError(ControlError):
    """An input cannot be loaded as asked; the message says which and why."""


PART_ROWS: Final = 1_000_000
"""Rows of one transaction: the more, the longer the runs of neighbours in the index; it bounds the memory, too."""

_UNIQUE_VIOLATION: Final = "23505"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Import):
    """The result of a load: see `Import`.

    `merged` of the parts met rows that were there. `start` and `end` are the oldest and the newest time that was loaded
    (UTC), `rollups` those that were refreshed over it.
    """

    tenant: UUID
    merged: int
    start: datetime | None
    end: datetime | None
    rollups: list[str]


def load(
    dsn: str,
    tenant: str,
    kind: str,
    source: str | ArrowStream,
    *,
    form: Format | None = None,
    mapping: Mapping = PLAIN,
    on_conflict: OnConflict = "replace",
    rejects: Path | None = None,
    part_rows: int = PART_ROWS,
    progress: Callable[[int, int | None], None] = lambda _done, _size: None,
) -> Load:
    """Load a file, standard input (`-`) or an Arrow stream into a tenant, by name or uuid; see `Loading`.

    Raises SourceError for an input that cannot be read, LoadError for one that is not of the kind, ControlError for an
    unknown tenant, and the client's errors where the server refuses or is gone.
    """
    declared = KINDS.of(kind)
    read = opened(declared, source, form, mapping) if isinstance(source, str) else of_stream(declared, source, mapping)
    try:
        target = rejects or rejects_path(source if isinstance(source, str) else "stream")
        return Loading(dsn, tenant, read, declared, target, on_conflict=on_conflict, part_rows=part_rows).run(progress)
    finally:
        read.close()


class Loading(Importing):
    """One input on its way into the store, as the operator loads it; see `Importing`."""

    def __init__(
        self,
        dsn: str,
        tenant: str,
        source: Input,
        kind: Kind,
        rejects: Path,
        *,
        on_conflict: OnConflict = "replace",
        part_rows: int = PART_ROWS,
    ) -> None:
        with connect(dsn) as connection:
            self._tenant = tenants.find_tenant(connection, tenant).id
        self._dsn = dsn
        client = MDS(
            dsn=dsn,
            tenant_id=str(self._tenant),
            app_name="datastore load",
            pool_min=1,
            pool_max=1,
            statement_timeout_ms=0,
        )
        super().__init__(client, source, kind, rejects, on_conflict=on_conflict, part_rows=part_rows)
        self._merged = 0
        self._span: tuple[datetime, datetime] | None = None
        self._rollups: list[str] = []

    def report(self) -> Load:
        """How far it is."""
        found = super().report()
        start, end = self._span or (None, None)
        return Load(
            **{name: getattr(found, name) for name in Import.__dataclass_fields__},
            tenant=self._tenant,
            merged=self._merged,
            start=start,
            end=end,
            rollups=self._rollups,
        )

    def run(self, progress: Callable[[int, int | None], None] = lambda _done, _size: None) -> Load:
        """Read to the end, write, and refresh the stored rollups over what was loaded.

        A row that is invalid, or that the server refuses because of its content, is rejected and stops no other row.
        `progress` is called after each part with the input's position and size. Raises SourceError, LoadError and the
        client's errors; what `report().rows` counts is committed then, and nothing half.
        """
        try:
            with self._client:
                super().run(progress)
        except InvalidRow as error:
            raise LoadError(str(error)) from error
        return self.report()

    def _write_batch(self, batch: Batch) -> None:
        written = self._client.run(straight(self._kind, batch, self._on_conflict))
        self._merged += written.merged
        self._loaded(written.first, written.last)

    def _write_one_by_one(self, part: Models) -> None:
        super()._write_one_by_one(part)
        self._merged += 1
        times = [getattr(row, self._kind.time) for row in part.rows]
        self._loaded(min(times), max(times))

    def _loaded(self, first: datetime, last: datetime) -> None:
        before = self._span or (first, last)
        self._span = min(first, before[0]), max(last, before[1])

    def _finish(self) -> None:
        """Also after a load that has changed nothing: the one before may have been stopped just before this."""
        if self._span is None or not self._kind.rollups:
            return
        start, last = self._span
        end = None if last.year == MAXYEAR else last + timedelta(microseconds=1)
        names = [aggregates.relation(self._kind, rollup) for rollup in self._kind.rollups]
        self._rollups = [done.rollup for done in aggregates.refresh(self._dsn, start, end, names)]


@dataclass(frozen=True, slots=True)
class Straight:
    """How a batch was written: with a merge or without one, from its oldest to its newest row."""

    merged: bool
    first: datetime
    last: datetime


_AS_OWNER: Final = SQL("SET LOCAL ROLE {}").format(Identifier(OWNER)).as_bytes(None)
"""For the rest of the transaction: no setting stays on the connection."""


@cache
def _copy_rows(kind: Kind) -> sql.Statement:
    """Copy narrow rows into the table itself."""
    columns = sql.names(sql.table_columns(kind))
    return SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(Identifier(STORE, kind.name), columns).as_bytes(None)


def straight(kind: Kind, batch: Batch, on_conflict: OnConflict) -> Operation[Straight]:
    """Write a batch straight into the table, as its owner; through the merge where a row of it is there.

    The batch's series are made, and their last values kept, in the same transaction and in the same order of locks as
    an application's upsert: the two may run at once.
    """

    def talk(session: Session) -> Talk[Straight]:
        yield from upserts._check_tenant(session, batch.claimed())
        series = yield from upserts._find_series(session, kind, set(batch.names), (Execute(_AS_OWNER),))
        narrow = batch.narrow({name: id_ for name, (id_, _) in series.items()})
        latest = narrow.latest
        span = min(new.first_ts for new in latest.values()), max(new.last_ts for new in latest.values())
        session.written = Written(kind.name, "copy", len(batch))
        if kind.cold:
            # Asked in this transaction: who moves the fence waits for it.
            fence = yield from cold.fence(session, kind, ask=True)
            if fence is not None and span[0] < fence:
                yield from upserts._copy_and_merge(session, kind, batch, on_conflict)
                return Straight(True, *span)
        yield Group((Execute(sql.SAVEPOINT),))
        try:
            yield Group((narrow.in_table().copied(_copy_rows(kind)),))
        except MDSOperationalError as error:
            if error.sqlstate != _UNIQUE_VIOLATION:
                raise
            yield Group((Execute(sql.ROLLBACK_TO),))
            yield from upserts._copy_and_merge(session, kind, batch, on_conflict)
            return Straight(True, *span)
        yield from upserts.commit(session, kind, latest, on_conflict)
        return Straight(False, *span)

    return Operation(f"load_{kind.name}", talk, heavy=True)
