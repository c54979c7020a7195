"""NDJSON inputs: files and pipes, plain or compressed, line by line or in blocks, and the file of rejects.

How the rows are written is in `mds_client.utils` and `mds_client.autils`. Nothing is printed here.
"""

import asyncio
import contextlib
import io
import json
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, Self, cast

from mds_client import compression
from mds_client.batch import AsyncBatchProcessor, BatchConfig, BatchProcessor, Reject
from mds_client.blocks import LONGEST_LINE, Block, Checked, checked, coerce
from mds_client.errors import InvalidRow, MDSError
from mds_client.models import Row
from mds_client.operations import Operation
from mds_client.schema import KINDS, OnConflict
from mds_client.upserts import upsert_batch

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

BLOCK_BYTES: Final = 8 << 20
"""Of a file's lines that are checked and written at once."""


class SourceError(MDSError):
    """An input cannot be read to its end: it is missing, not permitted, or its compression is damaged."""


class _Buffered(Protocol):
    """Gives up to so many bytes, and waits only if there are none."""

    def read1(self, size: int, /) -> bytes: ...


class _Arriving(io.RawIOBase):
    """A buffered input without its buffering's patience: what has arrived is given at once, also out of a slow pipe.

    `head` are bytes that were read from it before.
    """

    def __init__(self, source: _Buffered, head: bytes = b"") -> None:
        self._source = source
        self._left = head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        some = self._left[: len(view)] or self._source.read1(len(view))
        self._left = self._left[len(view) :]
        view[: len(some)] = some
        return len(some)


class Source:
    """An NDJSON input: a file, or standard input for `-`. Compression is told by content, not by name.

    With `stream` it is that, and `path` only names it; the caller closes it. `size` is the file's size in bytes
    and `position` how many of them were read, for progress; `size` is None for a pipe. `line` is the number of the
    newest line that was read, from 1.
    """

    def __init__(self, path: str, stream: BinaryIO | None = None) -> None:
        self.name = "standard input" if path == "-" else path
        if stream is None and path == "-":
            stream = sys.stdin.buffer
        self._is_ours = stream is None
        try:
            raw: BinaryIO = Path(path).open("rb") if stream is None else stream  # noqa: SIM115 - closed by close
            self.size = Path(path).stat().st_size if self._is_ours else None
        except OSError as error:
            raise SourceError(f"{self.name}: {error.strerror}") from error
        self._raw = raw
        self.line = 0
        try:
            head = raw.read(compression.HEAD)
        except OSError as error:
            self.close()
            raise SourceError(f"{self.name}: {error.strerror}") from error
        arriving = _Arriving(cast("_Buffered", raw), head)
        if (plain := compression.decompressed(head, cast("BinaryIO", arriving))) is not None:
            arriving = _Arriving(cast("_Buffered", plain))
        self._stream = io.BufferedReader(arriving, 1 << 16)

    @property
    def position(self) -> int:
        """Bytes of the file, as it lies on disk, that were read."""
        return self._raw.tell() if self.size is not None else 0

    def lines(self) -> Iterator[bytes]:
        """Each line that holds something, stripped; blank ones and those that begin with `#` are skipped.

        Of a line longer than LONGEST_LINE the beginning comes, one byte more than that, which `coerce` refuses. Raises
        SourceError if the input cannot be read on, or is compressed and damaged; all lines before have come.
        """
        readline = self._stream.readline
        try:
            while line := readline(LONGEST_LINE + 1):
                self.line += 1
                if self.line == 1:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                if len(line) <= LONGEST_LINE or line.endswith(b"\n"):
                    line = line.strip()
                else:
                    rest = line
                    while rest and not rest.endswith(b"\n"):
                        rest = readline(LONGEST_LINE)
                if line and not line.startswith(b"#"):
                    yield line
        except (OSError, *compression.DAMAGED) as error:
            damage = "damaged" if isinstance(error, compression.DAMAGED) else "unreadable"
            raise SourceError(f"{self.name}: {damage} after line {self.line}: {error}") from error

    def blocks(self, rows: int, size: int = BLOCK_BYTES) -> Iterator[Block]:
        """All lines, in blocks of at most so many, and of about so many bytes. Errors as those of `lines`.

        For what does not keep its reader waiting: a block is given when it is full.
        """
        held, failure, complete = b"", None, False
        while failure is None and not complete:
            parts, have = [held], len(held)
            try:
                if have > LONGEST_LINE:
                    # The rest of a line that is too long already is not kept.
                    parts = [held[: LONGEST_LINE + 1], self._end_of_line()]
                while have < size and (part := self._stream.read1(size - have)):
                    parts.append(part)
                    have += len(part)
                complete = have < size
            except (OSError, *compression.DAMAGED) as error:
                failure = error
            data = b"".join(parts)
            if self.line == 0:
                data = data.removeprefix(BYTE_ORDER_MARK)
            whole = len(data) if complete else data.rfind(b"\n") + 1
            yield from self._cut(data[:whole], rows)
            held = data[whole:]
        if failure is not None:
            damage = "damaged" if isinstance(failure, compression.DAMAGED) else "unreadable"
            raise SourceError(f"{self.name}: {damage} after line {self.line}: {failure}") from failure

    def _cut(self, data: bytes, rows: int) -> Iterator[Block]:
        """Whole lines, the last of them perhaps without an end, in blocks of at most so many."""
        start, left = 0, data.count(b"\n") + (not data.endswith(b"\n"))
        while start < len(data):
            first, end = self.line + 1, len(data)
            if left > rows:
                end = start
                for _ in range(rows):
                    end = data.index(b"\n", end) + 1
            self.line += min(left, rows)
            left -= rows
            yield Block(first, data[start:end])
            start = end

    def _end_of_line(self) -> bytes:
        """Read on to the end of a line, and keep nothing of it but that."""
        while rest := self._stream.readline(LONGEST_LINE):
            if rest.endswith(b"\n"):
                return b"\n"
        return b""

    def close(self) -> None:
        """Close the file; standard input, and what was given, stay open."""
        if self._is_ours:
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RejectFile:
    """Where lines go that are no rows: NDJSON with the line's number, the reason and the line itself.

    Made at the first reject. One that an earlier run left under the same name is replaced, or taken away at the end
    of a complete run without rejects: it would speak of lines that are no longer wrong. Several threads may write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: io.TextIOWrapper | None = None
        self._lock = threading.Lock()

    def write(self, line: int, why: str, text: str) -> None:
        """Put one line aside. Raises SourceError if it cannot be written."""
        told = json.dumps({"line": line, "reason": why, "row": text}, ensure_ascii=False)
        with self._lock:
            try:
                if self._file is None:
                    self._file = self.path.open("w", encoding="utf-8")
                self._file.write(told + "\n")
                self._file.flush()
            except OSError as error:
                raise SourceError(f"{self.path}: rejects cannot be written: {error.strerror}") from error
            self.count += 1

    def close(self, *, complete: bool) -> None:
        """End the file."""
        with self._lock:
            if self._file is not None:
                # Every line is flushed: what is left to fail here has been told.
                with contextlib.suppress(OSError):
                    self._file.close()
            elif complete and self.path.is_file() and not self.path.is_symlink():
                # No device and no link: rejects may be sent to /dev/null or /dev/stderr.
                with contextlib.suppress(OSError):
                    self.path.unlink()


@dataclass(frozen=True, slots=True)
class Ingest:
    """How an ingest ended: lines that held something, rows committed, lines rejected, and the time it took.

    `complete` is False where it was stopped; what is committed stays, and the same ingest again completes it.
    """

    kind: str
    source: str
    lines: int
    written: int
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
    ) -> None:
        self.kind = KINDS.of(kind)
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
            yield checked(self.kind, block, strict=self._strict)

    def _writing(self, found: Checked) -> Operation[int] | None:
        """What writes a block's rows."""
        self._lines += found.lines
        return upsert_batch(self.kind, found.batch, on_conflict=self._on_conflict) if found.batch else None

    def _told(self, found: Checked) -> None:
        """Put a block's rejects aside, once its rows are written."""
        for number, why, line in found.rejects:
            self._reject(number, why, line.decode("utf-8", "replace"))

    def _one_by_one(self, found: Checked) -> Iterator[tuple[Row, int]]:
        """A block's rows with the numbers of their lines, for the processor, which finds those that are refused."""
        told = {number for number, _, _ in found.rejects}
        for number, line in found.block.lines():
            if number in told and self._strict:
                return
            if number not in told:
                yield coerce(self.kind, line), number

    def _row(self, number: int, line: bytes) -> Row | None:
        """A line as a row, or None if it was rejected."""
        self._lines += 1
        try:
            return coerce(self.kind, line)
        except InvalidRow as error:
            self._reject(number, str(error), line.decode("utf-8", "replace"))
            return None

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


def rejects_path(path: str) -> Path:
    """Where the rejects of an input go if nobody says otherwise."""
    return Path("stdin.rejects.ndjson" if path == "-" else f"{path}.rejects.ndjson")


async def areading(source: Source) -> AsyncGenerator[tuple[int, bytes]]:
    """The lines of a source with their numbers, as they arrive."""
    async for numbered in _Reading(source):
        for one in numbered:
            yield one


def reading(source: Source) -> Generator[tuple[int, bytes]]:
    """The lines of a source with their numbers, as they arrive."""
    for line in source.lines():
        yield source.line, line
