"""Bulk load: files and Arrow streams into a tenant's rows, by the control plane.

Rows are validated, sorted and encoded as in the client, and then copied straight into the table with the owner's
rights, without staging or merge. A part that contains an existing row goes through the client's merge. Each part is one
transaction, which also updates the series' last values; running the same load again completes one that was stopped.
Stored rollups are refreshed over the loaded range at the end.

`mds_client.files` reads the input; `mds_client` defines what a row is and how it is written. Nothing is printed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

from psycopg.errors import UniqueViolation
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
    """An input cannot be loaded as requested; the message says which and why."""


PART_ROWS: Final = 1_000_000
"""Rows of one transaction. More rows give longer runs of neighbours in the index, and need more memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Import):
    """The result of a load: see `Import`.

    `merged` parts met existing rows. `start` and `end` are the oldest and the newest loaded time (UTC), `rollups` those
    that were refreshed over this range.
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

    Raises SourceError for an input that cannot be read, LoadError for one that does not fit the kind, ControlError for
    an unknown tenant, and the client's errors if the server refuses or is gone.
    """
    declared = KINDS.of(kind)
    read = opened(declared, source, form, mapping) if isinstance(source, str) else of_stream(declared, source, mapping)
    try:
        target = rejects or rejects_path(source if isinstance(source, str) else "stream")
        return Loading(dsn, tenant, read, declared, target, on_conflict=on_conflict, part_rows=part_rows).run(progress)
    finally:
        read.close()


class Loading(Importing):
    """The import of one input by the operator; see `Importing`."""

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
        """Return the progress."""
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
        """Read to the end, write, and refresh the stored rollups over the loaded range.

        A row that is invalid, or that the server refuses because of its content, is rejected and does not stop the
        others. `progress` is called after each part with the input's position and size. Raises SourceError, LoadError
        and the client's errors; the rows that `report().rows` counts are committed then, always in whole parts.
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
        """Refresh the rollups, even if nothing has changed: an earlier load may have been stopped just before this."""
        if self._span is None or not self._kind.rollups:
            return
        start, last = self._span
        end = None if last.year == MAXYEAR else last + timedelta(microseconds=1)
        names = [aggregates.relation(self._kind, rollup) for rollup in self._kind.rollups]
        self._rollups = [done.rollup for done in aggregates.refresh(self._dsn, start, end, names)]


@dataclass(frozen=True, slots=True)
class Straight:
    """How a batch was written: with or without a merge, and the times of its oldest and newest row."""

    merged: bool
    first: datetime
    last: datetime


_AS_OWNER: Final = SQL("SET LOCAL ROLE {}").format(Identifier(OWNER)).as_bytes(None)
"""For the rest of the transaction, so that no setting stays on the connection."""


@cache
def _copy_rows(kind: Kind) -> sql.Statement:
    """Return the statement that copies narrow rows into the table itself."""
    columns = sql.names(sql.table_columns(kind))
    return SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(Identifier(STORE, kind.name), columns).as_bytes(None)


def straight(kind: Kind, given: Batch, on_conflict: OnConflict) -> Operation[Straight]:
    """Write a batch straight into the table, as its owner, or through the merge if one of its rows exists.

    The batch's series are created and their last values updated in the same transaction and with the same order of
    locks as in an application's upsert, so the two may run at once.
    """

    def talk(session: Session) -> Talk[Straight]:
        # A new batch: another attempt may spell symbols in another way.
        batch = given.spelled(session.spelling)
        yield from upserts.check_tenant(session, batch.claimed())
        series = yield from upserts.find_series(session, kind, set(batch.names), (Execute(_AS_OWNER),))
        ids = upserts.ids_of(session, {name: found.known for name, found in series.items()})
        narrow = batch.narrow(ids)
        # Callers count by the batch that they have given.
        given.replaced = batch.replaced
        latest = narrow.latest
        span = min(new.first_ts for new in latest.values()), max(new.last_ts for new in latest.values())
        session.written = Written(kind.name, "copy", len(batch))
        if kind.cold:
            # Read in this transaction, so that a process that moves the fence waits for it.
            fence = yield from cold.fence(session, kind, ask=True)
            if fence is not None and span[0] < fence:
                yield from upserts.copy_and_merge(session, kind, batch, on_conflict)
                return Straight(True, *span)
        yield Group((Execute(sql.SAVEPOINT),))
        try:
            yield Group((narrow.in_table().copied(_copy_rows(kind)),))
        except MDSOperationalError as error:
            if error.sqlstate != UniqueViolation.sqlstate:
                raise
            yield Group((Execute(sql.ROLLBACK_TO),))
            yield from upserts.copy_and_merge(session, kind, batch, on_conflict)
            return Straight(True, *span)
        yield from upserts.commit(session, kind, latest, on_conflict)
        return Straight(False, *span)

    return Operation(f"load_{kind.name}", talk, heavy=True)
