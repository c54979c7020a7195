"""CSV files: comment lines and blank lines are skipped, and every invalid row has the number of its line."""

import csv
import io
import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mds_client import arrow  # noqa: F401 - says which package is missing
from mds_client.columns import regrouped
from mds_client.errors import InvalidRow
from mds_client.files.parts import Columns, Part, RejectRow
from mds_client.files.source import BYTE_ORDER_MARK, Source, SourceError
from mds_client.mapping import Mapping
from mds_client.schema import Kind

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK: Final = 1 << 20


class CsvInput:
    """CSV with a header, plain or compressed; an empty field is None."""

    unit = "line"

    def __init__(self, kind: Kind, source: Source, mapping: Mapping) -> None:
        self.name = source.name
        self._kind = kind
        self._source = source
        self._mapping = mapping
        self._lines = _Lines(source, 0 if mapping.header else 1)
        # Rows that are not in the table, by their number among all rows; and those that are not rejected yet.
        self._damaged: list[int] = []
        self._waiting = self._lines.waiting

    @property
    def size(self) -> int | None:
        return self._source.size

    @property
    def position(self) -> int:
        return self._source.position

    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        delimiter = self._mapping.delimiter
        names = list(self._mapping.header) or self._lines.header(delimiter)
        other = next((mark for mark in ";\t|" if mark in names[0]), None)
        if len(names) == 1 and other is not None:
            raise InvalidRow(
                f"the header is one name, {names[0][:60]!r}: if values stand between {other!r}, say so with"
                f" --delimiter {'$' if other == chr(9) else ''}{other!r}"
            )
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidRow(f"a column comes twice in the header: {', '.join(twice)}")
        self._check(names)
        if self._lines.is_at_end():
            return
        reader = arrow_csv.open_csv(
            self._lines,
            # One thread, so that an invalid line comes with its number.
            read_options=arrow_csv.ReadOptions(block_size=8 << 20, use_threads=False, column_names=names),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=self._damage
            ),
            # As text: what it means is for the model to say.
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
        first = 0
        for table in regrouped(reader, reader.schema, rows):
            for damaged in self._waiting:
                reject(*damaged)
            self._waiting.clear()
            yield Columns(self._kind, table, self._mapping, first, self._line, is_text=True)
            first += table.num_rows

    def close(self) -> None:
        self._source.close()

    def _check(self, names: list[str]) -> None:
        """Raise InvalidRow if no name is that of a column which is read: the first line is a row, then."""
        fields = {self._mapping.columns.get(name, name) for name in self._mapping.fields(self._kind)}
        if not fields & {*names, *range(len(names))}:
            raise InvalidRow(
                f"the first line has no name of a column of {self._kind.name}, it is {', '.join(names)[:100]!r}: if the"
                f" file has no header, name its columns with --header {self._kind.series[0]},{self._kind.time},…"
            )

    def _damage(self, row: Any) -> str:
        """A line with too many or too few values."""
        why = f"{row.actual_columns} values, not {row.expected_columns}"
        self._waiting.append((self._lines.number(row.number - 1), why, row.text))
        self._damaged.append(row.number - 1)
        return "skip"

    def _line(self, number: int) -> int:
        return self._lines.number(_behind(self._damaged, number))


def _behind(left_out: list[int], number: int) -> int:
    """The number among all of what has this number among those that are not left out."""
    return number + bisect_right(range(len(left_out)), number, key=lambda at: left_out[at] - at)


class _Lines(io.RawIOBase):
    """The lines of a CSV file below its header, without comments and blank lines, as a stream.

    `headers` is how many lines the header has.
    """

    def __init__(self, source: Source, headers: int) -> None:
        self._headers = headers
        self._blocks = self._read(source)
        self._name = source.name
        self._left = b""
        self.waiting: list[tuple[int, str, str]] = []
        # Lines of the file, from 0, at which no row begins.
        self._none: list[int] = []
        self._inside = False
        self._line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        if self.is_at_end():
            return 0
        some = self._left[: len(view)]
        self._left = self._left[len(view) :]
        view[: len(some)] = some
        return len(some)

    def is_at_end(self) -> bool:
        """Whether there is nothing more."""
        while not self._left:
            if (block := next(self._blocks, None)) is None:
                return True
            self._left = block
        return False

    def header(self, delimiter: str) -> list[str]:
        """The names of the columns: the first line."""
        if self.is_at_end():
            raise SourceError(f"{self._name}: the file is empty: a CSV needs a line with the names of its columns")
        line, _, self._left = self._left.partition(b"\n")
        try:
            (names,) = csv.reader([line.decode()], delimiter=delimiter)
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(f"{self._name}: line {self.number(-1)}: the header cannot be read: {error}") from error
        return [name.strip() for name in names]

    def number(self, row: int) -> int:
        """The line, from 1, at which a row begins; the header is row -1."""
        return _behind(self._none, row + self._headers) + 1

    def _read(self, source: Source) -> Iterator[bytes]:
        held = b""
        for part in iter(lambda: source.read1(_BLOCK), b""):
            data = held + part
            whole = data.rfind(b"\n") + 1
            held = data[whole:]
            if whole:
                yield self._kept(data[:whole])
        if held:
            yield self._kept(held)

    def _kept(self, data: bytes) -> bytes:
        if self._line == 0:
            data = data.removeprefix(BYTE_ORDER_MARK)
        if not self._inside and not _looks_odd(data):
            self._line += data.count(b"\n")
            return data
        return b"".join(map(self._one, io.BytesIO(data)))

    def _one(self, line: bytes) -> bytes:
        number = self._line
        self._line += 1
        if self._inside:
            # It goes on with the row of the line before.
            self._none.append(number)
        elif not (stripped := line.strip()) or stripped.startswith(b"#"):
            self._none.append(number)
            return b""
        try:
            line.decode()
        except UnicodeDecodeError as error:
            if not self._inside:
                self._none.append(number)
            self.waiting.append((number + 1, f"not UTF-8 at byte {error.start}", line.decode(errors="replace").strip()))
            return b""
        if line.count(b'"') & 1:
            self._inside = not self._inside
        return line


def _looks_odd(data: bytes) -> bool:
    """Whether a comment, a blank line, a value of several lines or text that is not UTF-8 may be among these lines."""
    if data.startswith((b"#", b"\n", b"\r", b" ", b"\t")) or _ODD.search(data):
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    if b'"' not in data:
        return False
    bytes_ = np.frombuffer(data, np.uint8)
    inside = np.cumsum(bytes_ == ord('"')) & 1
    return bool(inside[bytes_ == ord("\n")].any() or inside[-1])


_ODD: Final = re.compile(rb"\n[#\r\n \t]")
