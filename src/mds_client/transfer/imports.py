"""Import one input of rows (a file, a pipe, an Arrow stream) through an `MDS`, one part for each transaction.

`mds_client.files` reads the input. The operator's bulk load (`datastore.load`) does the same, but writes parts in
another way. Nothing is printed here.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mds_client.batch import BatchConfig, BatchProcessor, Reject
from mds_client.batching.rejects import about_content
from mds_client.client import MDS
from mds_client.columns.rows import Batch
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import MODEL_ROWS, Input, Models, Part, RejectFile, reading
from mds_client.models import Row
from mds_client.protocol.pauses import ahead
from mds_client.schema import Kind, OnConflict
from mds_client.transfer.touched import Touched
from mds_client.writing import upserts

PART_ROWS: Final = 250_000
"""The default number of rows in a transaction. Each transaction locks, checks and updates its series once."""


@dataclass(frozen=True, slots=True)
class Import:
    """The result of an import.

    `rows` were accepted; `replaced` of them have the key of a later row with other values. `rejected` rows are in the
    file `rejects`, which is None if there are none. `complete` is False if the import was stopped: committed rows stay,
    and you can run the same import again to complete it.
    """

    kind: str
    source: str
    rows: int
    replaced: int
    rejected: int
    rejects: Path | None
    parts: int
    seconds: float
    complete: bool

    @property
    def rows_per_second(self) -> float:
        """The average number of accepted rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0


class Importing:
    """The import of one input. After any error, `report` returns how much was written.

    Args:
        client: The client that writes.
        source: The input; see `mds_client.files.opened`. The caller closes it.
        kind: The kind of its rows.
        rejects: The file for invalid rows.
        on_conflict: What happens to a stored row with the same key.
        part_rows: The number of rows in a transaction.
    """

    def __init__(
        self,
        client: MDS,
        source: Input,
        kind: Kind,
        rejects: Path,
        *,
        on_conflict: OnConflict = "replace",
        part_rows: int = PART_ROWS,
    ) -> None:
        self._client = client
        self._source = source
        self._kind = kind
        self._rejects = RejectFile(rejects)
        self._on_conflict: OnConflict = on_conflict
        self._part_rows = part_rows
        self._rows = self._parts = self._replaced = 0
        self._complete = False
        self.touched = Touched()
        """The keys of the rows that were written, or may have been."""
        self._began = time.monotonic()
        self._ended: float | None = None

    def report(self) -> Import:
        """Return the counts so far."""
        return Import(
            kind=self._kind.name,
            source=self._source.name,
            rows=self._rows,
            replaced=self._replaced,
            rejected=self._rejects.count,
            rejects=self._rejects.path if self._rejects.count else None,
            parts=self._parts,
            seconds=(self._ended or time.monotonic()) - self._began,
            complete=self._complete,
        )

    def run(self, progress: Callable[[int, int | None], None] = lambda _done, _size: None) -> Import:
        """Read the input to its end and write its rows.

        Rows that are invalid, or that the server refuses because of their content, are rejected and do not stop the
        import.

        Args:
            progress: A function that is called after each part with the input's position and size.

        Returns:
            The result.

        Raises:
            SourceError: The input cannot be read to its end.
            InvalidRow: The input as a whole does not fit the kind.
            MDSError: The server refused, or cannot be reached. All rows in `report().rows` are committed.
        """
        try:
            with closing(ahead(self._checked())) as parts:
                for part, batch in parts:
                    self._write(part, batch)
                    progress(self._source.position, self._source.size)
            self._finish()
            self._complete = True
        finally:
            self._ended = time.monotonic()
            self._rejects.close(complete=self._complete)
        return self.report()

    def _checked(self) -> Iterator[tuple[Part, Batch]]:
        """Yield the parts with their checked rows. Invalid rows are rejected."""
        parts = self._source.parts(self._part_rows, self._rejects.write)
        try:
            while True:
                with reading(self._source.name):
                    part = next(parts, None)
                if part is None:
                    return
                yield from self._valid(part)
        except InvalidRow as error:
            raise InvalidRow(f"{self._source.name}: {error}") from error

    def _valid(self, part: Part) -> Iterator[tuple[Part, Batch]]:
        """Yield a part with its checked rows, or pieces of it if some are invalid, which are rejected."""
        try:
            batch = part.batch()
        except InvalidRow as error:
            if error.index is None:
                raise
        else:
            if len(batch):
                yield part, batch
            return
        for piece in part.pieces(MODEL_ROWS):
            try:
                found, batch = piece, piece.batch()
            except InvalidRow:
                found = piece.sifted(self._rejects.write)
                batch = found.batch()
            if len(batch):
                yield found, batch

    def _write(self, part: Part, batch: Batch) -> None:
        # Before the write, because it is unknown whether a write that fails was committed.
        self.touched.add(batch.names, *batch.span())
        try:
            self._write_batch(batch)
        except MDSError as error:
            if not about_content(error):
                raise
            for piece in part.pieces(MODEL_ROWS):
                self._write_one_by_one(piece.sifted(self._rejects.write))
            return
        self._rows += len(batch)
        self._replaced += batch.replaced or 0
        self._parts += 1

    def _write_batch(self, batch: Batch) -> None:
        """Write one part in one transaction."""
        self._client.run(upserts.upsert_batch(self._kind, batch, on_conflict=self._on_conflict))

    def _finish(self) -> None:
        """Finish the import after the last part. Subclasses can override it."""

    def _write_one_by_one(self, part: Models) -> None:
        """Write a part in which the server has refused a row. The batch processor finds out which one."""

        def reject(reject: Reject) -> None:
            row = reject.row
            text = row.as_given().model_dump_json(exclude_none=True) if isinstance(row, Row) else str(row)
            self._rejects.write(int(reject.origin), reject.reason, text)

        processor = BatchProcessor(
            self._client, BatchConfig(max_rows=10_000), on_conflict=self._on_conflict, on_reject=reject
        )
        try:
            with processor:
                for line, row in zip(part.lines, part.rows, strict=True):
                    processor.add(row, self._kind, origin=line)
        finally:
            self._rows += processor.stats().written
        self._parts += 1
