"""Bulk load: files and Arrow streams into a tenant's rows, by the control plane.

Rows are checked, sorted and encoded as the client does it, and then copied straight into the table with the owner's
rights: no staging, no merge. A part that meets a row which is there goes through the client's merge. One transaction a
part, which keeps the series' last values too; what a load was stopped in the middle of is completed by the same load
again. Stored rollups are refreshed over the loaded span at the end.

What is read is in `mds_client.files`. What a row is and how it is written is in `mds_client`. Nothing is printed.
"""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
from mds_client import KINDS, MDS, sql, upserts
from mds_client.batch import BatchConfig, BatchProcessor, Reject
from mds_client.errors import InvalidRow, MDSError, MDSOperationalError
from mds_client.files import (
    PLAIN,
    Format,
    Input,
    Mapping,
    Models,
    Part,
    RejectFile,
    of_stream,
    opened,
    reading,
    rejects_path,
)
from mds_client.models import Row
from mds_client.operations import Execute, Group, Operation, Session, Talk, Written
from mds_client.rejects import about_content
from mds_client.rows import ArrowStream, Batch
from mds_client.schema import Kind, OnConflict

T = TypeVar("T")


class LoadError(ControlError):
    """An input cannot be loaded as asked; the message says which and why."""


PART_ROWS: Final = 1_000_000
"""Rows of one transaction: the more, the longer the runs of neighbours in the index; it bounds the memory, too."""

_UNIQUE_VIOLATION: Final = "23505"


@dataclass(frozen=True, slots=True)
class Load:
    """What a load did: rows accepted, those of them that a later row with the same key replaced, rows rejected and the
    file they went to, parts committed and how many of those met rows that were there, the span of time that was loaded
    (UTC, `end` is that of the newest row), the rollups that were refreshed over it.

    `complete` is False where it was stopped; what is committed stays, and the same load again completes it.
    """

    kind: str
    tenant: UUID
    source: str
    rows: int
    replaced: int
    rejected: int
    rejects: Path | None
    parts: int
    merged: int
    start: datetime | None
    end: datetime | None
    rollups: list[str]
    seconds: float
    complete: bool

    @property
    def rows_per_second(self) -> float:
        """Rows accepted a second, over the whole run, the refresh of rollups included."""
        return self.rows / self.seconds if self.seconds else 0.0


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


class Loading:
    """One input on its way into the store: an object, so that after any error it can be asked how far it is."""

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
        self._source = source
        self._kind = kind
        self._rejects = RejectFile(rejects)
        self._on_conflict: OnConflict = on_conflict
        self._part_rows = part_rows
        self._rows = self._parts = self._merged = self._replaced = 0
        self._span: tuple[datetime, datetime] | None = None
        self._rollups: list[str] = []
        self._complete = False
        self._began = time.monotonic()
        self._ended: float | None = None

    def report(self) -> Load:
        """How far it is."""
        return Load(
            kind=self._kind.name,
            tenant=self._tenant,
            source=self._source.name,
            rows=self._rows,
            replaced=self._replaced,
            rejected=self._rejects.count,
            rejects=self._rejects.path if self._rejects.count else None,
            parts=self._parts,
            merged=self._merged,
            start=None if self._span is None else self._span[0],
            end=None if self._span is None else self._span[1],
            rollups=self._rollups,
            seconds=(self._ended or time.monotonic()) - self._began,
            complete=self._complete,
        )

    def run(self, progress: Callable[[int, int | None], None] = lambda _done, _size: None) -> Load:
        """Read to the end, write, and refresh the stored rollups over what was loaded.

        A row that is invalid, or that the server refuses because of its content, is rejected and stops no other row.
        `progress` is called after each part with the input's position and size. Raises SourceError, LoadError and the
        client's errors; what `report().rows` counts is committed then, and nothing half.
        """
        try:
            with (
                MDS(
                    dsn=self._dsn,
                    tenant_id=str(self._tenant),
                    app_name="datastore load",
                    pool_min=1,
                    pool_max=1,
                    statement_timeout_ms=0,
                ) as client,
                closing(_ahead(self._checked())) as parts,
            ):
                for part, batch in parts:
                    self._write(client, part, batch)
                    progress(self._source.position, self._source.size)
            self._refresh()
            self._complete = True
        finally:
            self._ended = time.monotonic()
            self._rejects.close(complete=self._complete)
        return self.report()

    def _checked(self) -> Iterator[tuple[Part, Batch]]:
        """Parts with rows, each checked. Invalid rows are rejected."""
        parts = self._source.parts(self._part_rows, self._rejects.write)
        try:
            while True:
                with reading(self._source.name):
                    part = next(parts, None)
                if part is None:
                    return
                try:
                    batch = part.batch()
                except InvalidRow as error:
                    if error.index is None:
                        raise
                    part = part.sifted(self._rejects.write)
                    batch = part.batch()
                if len(batch):
                    yield part, batch
        except InvalidRow as error:
            raise LoadError(f"{self._source.name}: {error}") from error

    def _write(self, client: MDS, part: Part, batch: Batch) -> None:
        try:
            written = client.run(straight(self._kind, batch, self._on_conflict))
        except MDSError as error:
            if not about_content(error):
                raise
            self._write_one_by_one(client, part.sifted(self._rejects.write))
            return
        self._rows += len(batch)
        self._replaced += batch.replaced or 0
        self._merged += written.merged
        self._parts += 1
        self._loaded(written.first, written.last)

    def _write_one_by_one(self, client: MDS, part: Models) -> None:
        """The way of a part in which the server refuses a row: the batch processor finds out which."""

        def reject(reject: Reject) -> None:
            row = reject.row.model_dump_json(exclude_none=True) if isinstance(reject.row, Row) else str(reject.row)
            self._rejects.write(int(reject.origin), reject.reason, row)

        processor = BatchProcessor(
            client, BatchConfig(max_rows=10_000), on_conflict=self._on_conflict, on_reject=reject
        )
        try:
            with processor:
                for line, row in zip(part.lines, part.rows, strict=True):
                    processor.add(row, self._kind, origin=line)
        finally:
            self._rows += processor.stats().written
        self._merged += 1
        self._parts += 1
        times = [getattr(row, self._kind.time) for row in part.rows]
        self._loaded(min(times), max(times))

    def _loaded(self, first: datetime, last: datetime) -> None:
        before = self._span or (first, last)
        self._span = min(first, before[0]), max(last, before[1])

    def _refresh(self) -> None:
        """Also after a load that has changed nothing: the one before may have been stopped just before this."""
        if self._span is None or not self._kind.rollups:
            return
        start, last = self._span
        end = None if last.year == MAXYEAR else last + timedelta(microseconds=1)
        names = [aggregates.relation(self._kind, rollup) for rollup in self._kind.rollups]
        self._rollups = [done.rollup for done in aggregates.refresh(self._dsn, start, end, names)]


def _ahead(items: Iterator[T]) -> Generator[T]:
    """The same, with the next one made while one is used: the server's work and ours at the same time."""
    with ThreadPoolExecutor(1, "datastore-load") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


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
