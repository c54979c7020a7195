"""Read CSV files. Comment lines and blank lines are skipped, and every invalid row has its line number."""

import contextlib
import csv
import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mds_client.columns import arrow  # noqa: F401 - says which package is missing
from mds_client.columns.frames import regrouped
from mds_client.errors import InvalidRow
from mds_client.files.parts import TABLE_BYTES, Columns, Part, RejectRow
from mds_client.files.source import BYTE_ORDER_MARK, Source, SourceError
from mds_client.mapping import Mapping
from mds_client.mapping.wide import joined
from mds_client.schema import Kind

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK: Final = 1 << 20

_LONGEST: Final = 16 << 20
"""The maximum length of a line in bytes."""


class CsvInput:
    """CSV with a header, plain or compressed; an empty field is None."""

    unit = "line"

    def __init__(self, kind: Kind, source: Source, mapping: Mapping) -> None:
        self.name = source.name
        self._kind = kind
        self._source = source
        self._mapping = mapping
        self._lines = _Lines(source, mapping)
        # The numbers of damaged rows, which PyArrow leaves out; and invalid rows that are not yet rejected.
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
        names = self._lines.header()
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
            # With one thread, PyArrow reports the number of an invalid row.
            read_options=arrow_csv.ReadOptions(block_size=8 << 20, use_threads=False, column_names=names),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter,
                quote_char=self._mapping.quote,
                newlines_in_values=True,
                invalid_row_handler=self._damage,
            ),
            # Read all values as text; the model converts them.
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
        first = 0
        for table in regrouped(reader, reader.schema, rows, TABLE_BYTES):
            self._reject(reject)
            same = self._up_to_another_header(names, table)
            if same.num_rows:
                yield Columns.of(self._kind, same, self._mapping, first, self._line, is_text=True)
            if same.num_rows < table.num_rows:
                raise SourceError(
                    f"{self.name}: line {self._line(first + same.num_rows)}: another header: the columns change here;"
                    " make a file of each part. The rows above are written"
                )
            first += table.num_rows
        # PyArrow reads ahead: it may find the last damaged rows when all others have been yielded.
        self._reject(reject)

    def _reject(self, reject: RejectRow) -> None:
        # PyArrow's thread may add more of them meanwhile.
        while self._waiting:
            reject(*self._waiting.pop(0))

    def close(self) -> None:
        self._source.close()

    def _check(self, names: list[str]) -> None:
        """Raise InvalidRow if no name is a known column, because then the first line is a row."""
        if not self._mapping.is_wide and not self._mapping.columns_read(self._kind, tuple(names)):
            raise InvalidRow(
                f"the first line has no name of a column of {self._kind.name}, it is {', '.join(names)[:100]!r}: say"
                f" which column is which field with --map {self._kind.time}=…; or, if the line is a row already, name"
                f" the columns with --header {self._kind.series[0]},{self._kind.time},…"
            )

    @staticmethod
    def _up_to_another_header(names: list[str], table: Any) -> Any:
        """Return the rows above a second header with another order of columns. A repeated header counts as a row."""
        import pyarrow as pa
        import pyarrow.compute as pc

        known = pa.array(names, pa.string())
        if len(names) == 1 or not pc.any(pc.is_in(table.column(0), known)).as_py():
            return table
        for at in pc.indices_nonzero(pc.is_in(table.column(0), known)).to_pylist():
            values = [table.column(place)[at].as_py() for place in range(len(names))]
            if values != names and len(set(values) & set(names)) * 2 >= len(names):
                return table.slice(0, at)
        return table

    def _damage(self, row: Any) -> str:
        """Record a line with too many or too few values, and skip it."""
        why = f"{row.actual_columns} values, not {row.expected_columns}"
        self._waiting.append((self._lines.number(row.number - 1), why, row.text))
        self._damaged.append(row.number - 1)
        return "skip"

    def _line(self, number: int) -> int:
        return self._lines.number(_behind(self._damaged, number))


def names_of(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the column names of a header of several lines; as in pandas, the third line names the index."""
    if len(lines) == 1:
        return list(lines[0])
    cells = list(zip_longest(*lines, fillvalue=""))
    return [joined([last]) if (last := "".join(one[2:])) else joined(one[:2]) for one in cells]


def _behind(left_out: list[int], number: int) -> int:
    """Convert a number among the items that were kept to the number among all items."""
    return number + bisect_right(range(len(left_out)), number, key=lambda at: left_out[at] - at)


class _Lines(io.RawIOBase):
    """A stream of the lines of a CSV file below its header, without comments and blank lines."""

    def __init__(self, source: Source, mapping: Mapping) -> None:
        self._headers = 0 if mapping.header else mapping.header_lines
        self._mapping = mapping
        self._quote = mapping.quote.encode()
        self._blocks = self._read(source)
        self._name = source.name
        self._left = b""
        self.waiting: list[tuple[int, str, str]] = []
        # The numbers, from 0, of the lines at which no row begins.
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
        """Whether the input has ended."""
        while not self._left:
            if (block := next(self._blocks, None)) is None:
                return True
            self._left = block
        return False

    def header(self) -> list[str]:
        """Return the names of the columns, from the mapping or from the first line."""
        known = list(self._mapping.header)
        if known:
            # Of the same vendor, some files have a header and some do not.
            if not self.is_at_end():
                line, _, rest = self._left.partition(b"\n")
                with contextlib.suppress(SourceError):
                    if [name.casefold() for name in self._cells(line)] == [name.casefold() for name in known]:
                        self._headers, self._left = 1, rest
            return known
        lines = []
        for _ in range(self._headers):
            if self.is_at_end():
                raise SourceError(f"{self._name}: the file is empty: a CSV needs a line with the names of its columns")
            line, _, self._left = self._left.partition(b"\n")
            lines.append(self._cells(line))
        return names_of(lines)

    def _cells(self, line: bytes) -> list[str]:
        try:
            (cells,) = csv.reader([line.decode()], delimiter=self._mapping.delimiter, quotechar=self._mapping.quote)
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(f"{self._name}: line {self.number(-1)}: the header cannot be read: {error}") from error
        except ValueError:
            return []
        return [name.strip() for name in cells]

    def number(self, row: int) -> int:
        """Return the number of the line, from 1, at which a row begins. The header is row -1."""
        return _behind(self._none, row + self._headers) + 1

    def _read(self, source: Source) -> Iterator[bytes]:
        held = b""
        for part in iter(lambda: source.read1(_BLOCK), b""):
            data = held + part
            whole = data.rfind(b"\n") + 1
            held = data[whole:]
            if len(held) > _LONGEST:
                raise SourceError(
                    f"{source.name}: behind line {self._line} there is no end of a line in {len(held):,} bytes"
                )
            if whole:
                yield self._kept(data[:whole])
        if held:
            yield self._kept(held)

    def _kept(self, data: bytes) -> bytes:
        if self._line == 0:
            data = data.removeprefix(BYTE_ORDER_MARK)
        is_below = self._line >= self._mapping.skip_lines
        if is_below and not self._inside and (lines := _plain_lines(data, self._quote)) is not None:
            self._line += lines
            return data
        return b"".join(map(self._one, io.BytesIO(data)))

    def _one(self, line: bytes) -> bytes:
        number = self._line
        self._line += 1
        if self._inside:
            # The line continues the row of the line before.
            self._none.append(number)
        elif number < self._mapping.skip_lines or not (stripped := line.strip()) or stripped.startswith(b"#"):
            self._none.append(number)
            return b""
        try:
            line.decode()
        except UnicodeDecodeError as error:
            if not self._inside:
                self._none.append(number)
            self.waiting.append((number + 1, f"not UTF-8 at byte {error.start}", line.decode(errors="replace").strip()))
            return b""
        if line.count(self._quote) & 1:
            self._inside = not self._inside
        return line


def _plain_lines(data: bytes, quote: bytes) -> int | None:
    """Return the number of line breaks, or None if there may be comments, blank lines, values of several lines or
    invalid UTF-8."""
    letters = np.frombuffer(data, np.uint8)
    starts = np.append(0, np.flatnonzero(letters == _LINE_BREAK) + 1)
    lines = len(starts) - 1
    if starts[-1] == len(letters):
        starts = starts[:-1]
    if _ODD[letters[starts]].any():
        return None
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError:
            return None
    # A line with an odd number of quotes begins or ends a value of several lines.
    if quote in data and (np.bitwise_xor.reduceat((letters == ord(quote)).view(np.uint8), starts)).any():
        return None
    return lines


_LINE_BREAK: Final = ord("\n")

_ODD: Final = np.isin(np.arange(256), list(b"#\r\n \t"))
"""Whether a line that begins with this byte may be blank or a comment."""
