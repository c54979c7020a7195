"""Read a file or pipe of text, plain or compressed, line by line or in blocks of lines."""

import codecs
import contextlib
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, Self, cast

from mds_client import compression
from mds_client.columns.blocks import LONGEST_LINE, Block
from mds_client.errors import MDSError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

BLOCK_BYTES: Final = 8 << 20
"""The number of bytes of a file that are checked and written at once."""

READ_BYTES: Final = 1 << 20
"""The number of bytes that are read at once. New memory for larger parts takes longer than reading them."""

LARGEST_ARRAY: Final = 256 << 20
"""The maximum size of a JSON array in bytes; it is held in memory."""


class SourceError(MDSError):
    """An input cannot be read to its end: it is missing, not permitted, or its compression is damaged."""


class _Buffered(Protocol):
    """An input whose `read1` returns up to `size` bytes, and waits only if none are available."""

    def read1(self, size: int, /) -> bytes: ...


class _Arriving(io.RawIOBase):
    """A buffered input that returns available bytes at once, even from a slow pipe, instead of filling its buffer.

    `head` are bytes that were already read from the input.
    """

    def __init__(self, source: _Buffered, head: bytes = b"") -> None:
        self._source = source
        self._left = head
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        some = self._left[: len(view)] or self._source.read1(len(view))
        self._left = self._left[len(view) :]
        view[: len(some)] = some
        self.given += len(some)
        return len(some)


class _Recoded(io.RawIOBase):
    """Text in another encoding, converted to UTF-8."""

    def __init__(self, source: _Buffered, encoding: str) -> None:
        self._source = source
        self._decode = codecs.getincrementaldecoder(encoding)().decode
        self._left = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        while not self._left and not self._ended:
            data = self._source.read1(1 << 16)
            self._ended = not data
            self._left = self._decode(data, self._ended).encode()
        some = self._left[: len(view)]
        self._left = self._left[len(view) :]
        view[: len(some)] = some
        return len(some)


def split(path: str) -> tuple[str, str | None]:
    """Split a path into the path of a file and, if that is a zip archive, the name of its member."""
    for above in Path(path).parents:
        # Unlike Path.is_file, it raises no error in a folder that cannot be searched. Opening the file reports that.
        if os.path.isfile(above) and zipfile.is_zipfile(above):  # noqa: PTH113
            return str(above), Path(path).relative_to(above).as_posix()
    return path, None


class Source:
    """A file of rows, one JSON object on each line, or standard input for `-`.

    Compression is detected by content, not by name. `archive.zip/file.csv` is a file in a zip archive; if the archive
    has only one file, you can omit its name. The elements of a JSON array are read as if each were on its own line, and
    `line` counts them. Text is UTF-8, or UTF-16 if it begins with a byte order mark; `encoding` sets another.

    With `stream`, that is read and `path` is only its name; the caller closes it. `size` is the file's size in bytes,
    or None for a pipe; `position` is the number of bytes read, for progress. `line` is the number of the last line that
    was read, from 1. `largest_array` is the maximum size of a JSON array in bytes, which is held in memory.
    """

    def __init__(
        self,
        path: str,
        stream: BinaryIO | None = None,
        *,
        largest_array: int = LARGEST_ARRAY,
        encoding: str | None = None,
    ) -> None:
        self.name = "standard input" if path == "-" else path
        path, member = split(path) if stream is None else (path, None)
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
        self._is_array: bool | None = None
        self._largest_array = largest_array
        try:
            self._stream = self._opened(member, encoding)
        except BaseException:
            self.close()
            raise

    def _opened(self, member: str | None, encoding: str | None) -> "io.BufferedReader[Any]":
        """Open the decompressed text, in UTF-8."""
        try:
            head = self._raw.read(compression.HEAD)
        except OSError as error:
            raise SourceError(f"{self.name}: {error.strerror}") from error
        arriving = _Arriving(cast("_Buffered", self._raw), head)
        if head == compression.ZIP:
            arriving = self._member(member)
        elif (plain := compression.decompressed(head, cast("BinaryIO", arriving))) is not None:
            arriving = _Arriving(cast("_Buffered", compression.Bounded(plain, partial(getattr, arriving, "given"))))
        stream: io.BufferedReader[Any] = io.BufferedReader(arriving, 1 << 16)
        with self._reading():
            if encoding is None and stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                encoding = "utf-16"
        if encoding not in (None, "utf-8"):
            stream = io.BufferedReader(_Recoded(stream, encoding), 1 << 16)
        return stream

    def _member(self, name: str | None) -> _Arriving:
        """Open a file in a zip archive."""
        if not self._raw.seekable():
            raise SourceError(f"{self.name}: a zip archive cannot be read from a pipe: its index is at the end")
        try:
            plain, consumed = compression.member(self._raw, name)
        except zipfile.BadZipFile as error:
            raise SourceError(f"{self.name}: damaged: {error}") from error
        except (OSError, NotImplementedError) as error:
            raise SourceError(f"{self.name}: {error}") from error
        return _Arriving(cast("_Buffered", compression.Bounded(plain, consumed)))

    def sample(self, size: int) -> bytes:
        """Return up to `size` bytes from the beginning, without consuming them."""
        data = b""
        with self._reading():
            while len(data) < size and (more := self._stream.read1(size - len(data))):
                data += more
        self._stream = io.BufferedReader(_Arriving(cast("_Buffered", self._stream), data), 1 << 16)
        return data.removeprefix(BYTE_ORDER_MARK)

    def whole(self) -> bytes:
        """Read the rest of the input. Raises SourceError if it is too large for memory."""
        with self._reading():
            data = self._stream.read(self._largest_array + 1)
        if len(data) > self._largest_array:
            raise SourceError(f"{self.name}: a JSON document of more than {self._largest_array >> 20} MiB")
        return data.removeprefix(BYTE_ORDER_MARK)

    def read1(self, size: int, /) -> bytes:
        """Read up to `size` decompressed bytes. Raises SourceError if the input is damaged."""
        with self._reading():
            return self._stream.read1(size)

    @property
    def position(self) -> int:
        """The number of bytes of the file on disk that were read."""
        return self._raw.tell() if self.size is not None else 0

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError as error:
            raise SourceError(f"{self.name}: after line {self.line}: {error}") from error
        except (OSError, *compression.DAMAGED) as error:
            damage = "damaged" if isinstance(error, compression.DAMAGED) else "unreadable"
            raise SourceError(f"{self.name}: {damage} after line {self.line}: {error}") from error

    def lines(self) -> Iterator[bytes]:
        """Yield each line, stripped. Blank lines and lines that begin with `#` are skipped.

        A line longer than LONGEST_LINE is cut to one byte more than that, which `coerce` refuses. Raises SourceError if
        the input cannot be read, or its compression is damaged, after all lines before that.
        """
        with self._reading():
            if self._array():
                yield from self._elements()
                return
            readline = self._stream.readline
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

    def _array(self) -> bool:
        """Whether the input is a JSON array of rows, not lines that are lists."""
        if self._is_array is None:
            head = start = b""
            # Read up to the second character that is not blank: the bracket and the begin of the first row.
            while start in (b"", b"[") and (more := self._stream.read1(1 << 16)):
                head += more
                start = b"".join(head.removeprefix(BYTE_ORDER_MARK).split())[:2]
            self._is_array = start in (b"[{", b"[[", b"[]")
            self._stream = io.BufferedReader(_Arriving(cast("_Buffered", self._stream), head), 1 << 16)
        return self._is_array

    def _elements(self) -> Iterator[bytes]:
        """Yield the elements of a JSON array, each as one line."""
        data = self._stream.read(self._largest_array + 1)
        if len(data) > self._largest_array:
            most = self._largest_array >> 20
            raise SourceError(f"{self.name}: a JSON array of more than {most} MiB: write one object on each line")
        try:
            text = data.removeprefix(BYTE_ORDER_MARK).decode()
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.name}: not UTF-8 at byte {error.start}") from error
        at = _skip(text, text.index("[") + 1)
        while text[at : at + 1] != "]":
            if self.line:
                if text[at : at + 1] != ",":
                    raise SourceError(f"{self.name}: damaged after element {self.line}: a comma or ] is missing")
                at = _skip(text, at + 1)
            try:
                _, end = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{self.name}: damaged after element {self.line}: {error}") from error
            self.line += 1
            # Line breaks in an element are only between its parts: in a string they would be escaped.
            yield text[at:end].replace("\n", " ").replace("\r", " ").encode()
            at = _skip(text, end)
        if text[at + 1 :].strip():
            raise SourceError(f"{self.name}: something stands behind the end of the JSON array")

    def blocks(self, rows: int, size: int = BLOCK_BYTES) -> Iterator[Block]:
        """Yield all lines in blocks of at most `rows` lines and about `size` bytes. Raises the errors of `lines`.

        A block is returned when it is full, so use this for files, not for slow pipes.
        """
        with self._reading():
            if self._array():
                yield from self._element_blocks(rows, size)
                return
        held, failure, complete = b"", None, False
        while failure is None and not complete:
            parts, have = [held], len(held)
            try:
                if have > LONGEST_LINE:
                    # Skip the rest of a line that is already too long.
                    parts = [held[: LONGEST_LINE + 1], self._end_of_line()]
                while have < size and (part := self._stream.read1(min(size - have, READ_BYTES))):
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
            with self._reading():
                raise failure

    def _element_blocks(self, rows: int, size: int) -> Iterator[Block]:
        held: list[bytes] = []
        have = 0
        failure: SourceError | None = None
        try:
            for line in self._elements():
                held.append(line)
                have += len(line)
                if len(held) == rows or have >= size:
                    yield Block(self.line - len(held) + 1, b"\n".join(held))
                    held, have = [], 0
        except SourceError as error:
            failure = error
        if held:
            yield Block(self.line - len(held) + 1, b"\n".join(held))
        if failure is not None:
            raise failure

    def _cut(self, data: bytes, rows: int) -> Iterator[Block]:
        """Split complete lines, of which the last may lack a line break, into blocks of at most `rows` lines."""
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
        """Skip to the end of a line. Returns the line break, or nothing at the end of the input."""
        while rest := self._stream.readline(LONGEST_LINE):
            if rest.endswith(b"\n"):
                return b"\n"
        return b""

    def close(self) -> None:
        """Close the file. Standard input and a given stream stay open."""
        if self._is_ours:
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_DECODER: Final = json.JSONDecoder()
_BLANK: Final = re.compile(r"[ \t\r\n]*")


def _skip(text: str, at: int) -> int:
    """Return the position of the first character that is not blank."""
    found = _BLANK.match(text, at)
    return found.end() if found else at
