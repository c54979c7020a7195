"""The ingestion of one NDJSON input: reading, counting, rejecting and reporting.

`mds_client.files` opens the input. `mds_client.utils` and `mds_client.autils` write the rows. Nothing is printed here.
"""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mds_client.batch import AsyncBatchProcessor, BatchConfig, BatchProcessor, Reject
from mds_client.columns.blocks import Checked, checked, coerce
from mds_client.errors import InvalidRow
from mds_client.files import BLOCK_BYTES, RejectFile, Source, SourceError, other_format
from mds_client.mapping import Extra, extra_mapping
from mds_client.models import Row
from mds_client.protocol.operations import Operation
from mds_client.schema import KINDS, OnConflict
from mds_client.writing.upserts import upsert_batch

_NAMES: Final = {"parquet": "Parquet", "arrow": "Arrow", "csv": "CSV", "ndjson": "NDJSON"}


@dataclass(frozen=True, slots=True)
class Ingest:
    """The result of an ingest: lines that were not blank, committed rows, rejected lines, and the duration in seconds.

    `replaced` of the rows have the key of a later row, in the same write, with other values. `complete` is False if the
    ingest was stopped: committed rows stay, and you can run the same ingest again to complete it.
    """

    kind: str
    source: str
    lines: int
    written: int
    replaced: int
    rejected: int
    seconds: float
    rejects: Path | None
    complete: bool

    @property
    def rows_per_second(self) -> float:
        """The average number of committed rows per second."""
        return self.written / self.seconds if self.seconds else 0.0


class Ingesting:
    """The common base of `Ingestion` and `AsyncIngestion`: the ingestion of one NDJSON input.

    At any time, also after an error, `report` returns how much was written.
    """

    _processor: BatchProcessor | AsyncBatchProcessor

    def __init__(
        self,
        kind: str,
        source: Source,
        rejects: Path,
        *,
        batch: BatchConfig | None,
        on_conflict: OnConflict,
        strict: bool,
        extra: Extra,
    ) -> None:
        self.kind = KINDS.of(kind)
        self._mapping = extra_mapping(extra, self.kind)
        self._replaced = 0
        self._source = source
        self._on_conflict = on_conflict
        self._rows = batch.max_rows if batch else sys.maxsize
        self._bytes = min(batch.max_bytes, BLOCK_BYTES) if batch else BLOCK_BYTES
        self._written = 0
        self._rejects = RejectFile(rejects)
        self._strict = strict
        self._lines = 0
        self._complete = False
        self._stop: InvalidRow | None = None
        self._started = time.monotonic()
        self._ended: float | None = None

    def report(self) -> Ingest:
        """Return the counts so far."""
        stats = self._processor.stats()
        return Ingest(
            kind=self.kind.name,
            source=self._source.name,
            lines=self._lines,
            written=self._written + stats.written,
            replaced=self._replaced,
            rejected=self._rejects.count,
            seconds=(self._ended or time.monotonic()) - self._started,
            rejects=self._rejects.path if self._rejects.count else None,
            complete=self._complete,
        )

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        try:
            yield
            self._complete = True
        except InvalidRow as error:
            # The server may have refused an earlier row while this one was read.
            raise (self._stop or error) from error
        finally:
            self._ended = time.monotonic()
            self._rejects.close(complete=self._complete)

    def _checked(self) -> Iterator[Checked]:
        """Yield the checked lines of a file, block by block."""
        for block in self._source.blocks(self._rows, self._bytes):
            yield checked(self.kind, block, self._mapping, strict=self._strict)

    def _writing(self, found: Checked) -> Operation[int] | None:
        """Count a block's lines, and return the operation that writes its rows, if any."""
        self._lines += found.lines
        return upsert_batch(self.kind, found.batch, on_conflict=self._on_conflict) if found.batch else None

    def _told(self, found: Checked) -> None:
        """Write a block's rejects after its rows are written."""
        self._replaced += (found.batch.replaced or 0) if found.batch else 0
        if found.rejects and not (found.batch or self._written or self._rejects.count):
            self._recognise(found.rejects[0][2])
        for number, why, line in found.rejects:
            self._reject(number, why, line.decode("utf-8", "replace"))

    def _one_by_one(self, found: Checked) -> Iterator[tuple[Row, int]]:
        """Yield a block's rows with their line numbers, for the processor, which finds the refused ones."""
        told = {number for number, _, _ in found.rejects}
        for number, line in found.block.lines():
            if number in told and self._strict:
                return
            if number not in told:
                yield coerce(self.kind, line, self._mapping), number

    def _row(self, number: int, line: bytes) -> Row | None:
        """Convert a line to a row, or return None if it was rejected."""
        self._lines += 1
        try:
            return coerce(self.kind, line, self._mapping)
        except InvalidRow as error:
            if self._lines == 1:
                self._recognise(line)
            self._reject(number, str(error), line.decode("utf-8", "replace"))
            return None

    def _recognise(self, first: bytes) -> None:
        """Raise SourceError if the first line, which is not a row, has another format: then no line is a row."""
        form = other_format(self.kind, self._source.name, first)
        if form is not None:
            name = _NAMES[form]
            raise SourceError(
                f"{self._source.name} is {name}, not NDJSON. This command reads it: mds import {self.kind.name} FILE."
                " In Python, MDS.upsert takes what pandas, polars or PyArrow read"
            )

    def _reject_row(self, reject: Reject) -> None:
        """Reject a row that the server refuses because of its content."""
        row = reject.row
        text = row.as_given().model_dump_json(exclude_none=True) if isinstance(row, Row) else str(row)
        self._reject(int(reject.origin or 0), reject.reason, text)

    def _reject(self, line: int, why: str, text: str) -> None:
        told = InvalidRow(f"line {line}: {why}", index=line)
        if self._stop is not None and self._stop.index == line:
            # The row is refused again when pending rows are written at the end of a strict run.
            raise told
        self._rejects.write(line, why, text)
        if self._strict:
            if self._stop is None or line < (self._stop.index or 0):
                self._stop = told
            raise told


class _Reading:
    """Iterates over the numbered lines of a source as they arrive. A thread reads them, because a pipe can block.

    Each step returns the lines that have arrived since the last one. The thread waits if too many lines are buffered.
    It is a daemon thread, so a program can end while it waits for a pipe.
    """

    MOST: Final = 2000

    def __init__(self, source: Source) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._here = asyncio.Event()
        self._changed = threading.Condition()
        self._lines: list[tuple[int, bytes]] = []
        self._ended = False
        self._error: Exception | None = None
        threading.Thread(target=self._read, name="mds-reading", daemon=True).start()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[tuple[int, bytes]]:
        await self._here.wait()
        with self._changed:
            lines, self._lines = self._lines, []
            self._here.clear()
            self._changed.notify()
            if self._ended:
                self._here.set()
        if lines:
            return lines
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def _read(self) -> None:
        try:
            for line in self._source.lines():
                with self._changed:
                    self._changed.wait_for(lambda: len(self._lines) < self.MOST)
                    self._lines.append((self._source.line, line))
                    if len(self._lines) == 1:
                        self._tell()
        except (SourceError, ValueError) as error:
            # ValueError: the source was closed, because no more lines are needed.
            self._error = error
        with self._changed:
            self._ended = True
            self._tell()

    def _tell(self) -> None:
        # The loop is closed if the program has ended in the meantime.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._here.set)


async def areading(source: Source) -> AsyncGenerator[tuple[int, bytes]]:
    """Yield the lines of a source with their numbers, as they arrive."""
    async for numbered in _Reading(source):
        for one in numbered:
            yield one


def reading(source: Source) -> Generator[tuple[int, bytes]]:
    """Yield the lines of a source with their numbers, as they arrive."""
    for line in source.lines():
        yield source.line, line
