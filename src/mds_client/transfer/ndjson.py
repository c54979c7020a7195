"""One NDJSON input on its way into the store: what is read, counted, rejected and reported.

The input itself is in `mds_client.files`. How the rows are written is in `mds_client.utils` and `mds_client.autils`.
Nothing is printed here.
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
    """How an ingest ended: lines that held something, rows committed, lines rejected, and the time it took.

    `replaced` of the rows have the same key as a later one that was written with them, and other values.
    `complete` is False where it was stopped; what is committed stays, and the same ingest again completes it.
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
        """Rows committed a second, over the whole run."""
        return self.written / self.seconds if self.seconds else 0.0


class Ingesting:
    """One NDJSON input on its way into the store; what `Ingestion` and `AsyncIngestion` have in common.

    Kept as an object so that its user can ask, at any time and after any error, how far it is.
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
        self._mapping = extra_mapping(extra)
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
        """How far it is."""
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
        """A file's lines, block by block, checked."""
        for block in self._source.blocks(self._rows, self._bytes):
            yield checked(self.kind, block, self._mapping, strict=self._strict)

    def _writing(self, found: Checked) -> Operation[int] | None:
        """What writes a block's rows."""
        self._lines += found.lines
        return upsert_batch(self.kind, found.batch, on_conflict=self._on_conflict) if found.batch else None

    def _told(self, found: Checked) -> None:
        """Put a block's rejects aside, once its rows are written."""
        self._replaced += (found.batch.replaced or 0) if found.batch else 0
        if found.rejects and not (found.batch or self._written or self._rejects.count):
            self._recognise(found.rejects[0][2])
        for number, why, line in found.rejects:
            self._reject(number, why, line.decode("utf-8", "replace"))

    def _one_by_one(self, found: Checked) -> Iterator[tuple[Row, int]]:
        """A block's rows with the numbers of their lines, for the processor, which finds those that are refused."""
        told = {number for number, _, _ in found.rejects}
        for number, line in found.block.lines():
            if number in told and self._strict:
                return
            if number not in told:
                yield coerce(self.kind, line, self._mapping), number

    def _row(self, number: int, line: bytes) -> Row | None:
        """A line as a row, or None if it was rejected."""
        self._lines += 1
        try:
            return coerce(self.kind, line, self._mapping)
        except InvalidRow as error:
            if self._lines == 1:
                self._recognise(line)
            self._reject(number, str(error), line.decode("utf-8", "replace"))
            return None

    def _recognise(self, first: bytes) -> None:
        """Raise SourceError if the first line, which is not a row, is of another format: no line would be a row."""
        form = other_format(self.kind, self._source.name, first)
        if form is not None:
            name = _NAMES[form]
            raise SourceError(
                f"{self._source.name} is {name}, not NDJSON. This command reads it: mds import {self.kind.name} FILE."
                " In Python, MDS.upsert takes what pandas, polars or PyArrow read"
            )

    def _reject_row(self, reject: Reject) -> None:
        """Put a row aside that the server refuses for what it holds."""
        row = reject.row.model_dump_json(exclude_none=True) if isinstance(reject.row, Row) else str(reject.row)
        self._reject(int(reject.origin or 0), reject.reason, row)

    def _reject(self, line: int, why: str, text: str) -> None:
        told = InvalidRow(f"line {line}: {why}", index=line)
        if self._stop is not None and self._stop.index == line:
            # Refused again, when what is pending is written at the end of a strict run.
            raise told
        self._rejects.write(line, why, text)
        if self._strict:
            if self._stop is None or line < (self._stop.index or 0):
                self._stop = told
            raise told


class _Reading:
    """The lines of a source, with their numbers, as they come: read in a thread, because a pipe may be silent for long.

    Each step gives what has come since the last one. The thread waits where too much has come, and ends with the
    program where it is left waiting for a pipe.
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
            # ValueError: the source was closed, because nobody wants more of it.
            self._error = error
        with self._changed:
            self._ended = True
            self._tell()

    def _tell(self) -> None:
        # The loop is closed where the program has ended meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._here.set)


async def areading(source: Source) -> AsyncGenerator[tuple[int, bytes]]:
    """The lines of a source with their numbers, as they arrive."""
    async for numbered in _Reading(source):
        for one in numbered:
            yield one


def reading(source: Source) -> Generator[tuple[int, bytes]]:
    """The lines of a source with their numbers, as they arrive."""
    for line in source.lines():
        yield source.line, line
