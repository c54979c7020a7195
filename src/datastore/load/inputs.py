"""What a bulk load reads: files and Arrow streams as parts of checked rows.

Parquet, Arrow IPC, CSV and NDJSON, detected by content or name. An invalid row is rejected with its line and the
reason. What happens to the parts is in `datastore.load`.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, cast, get_args
from uuid import UUID

from pydantic import ValidationError

from datastore.errors import ControlError
from mds_client import upserts
from mds_client.errors import InvalidRow, MDSError
from mds_client.models import Row
from mds_client.schema import Kind
from mds_client.upserts import ArrowStream, Batch, reason
from mds_client.utils import Source, coerce

Format: TypeAlias = Literal["parquet", "arrow", "csv", "ndjson"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

MODEL_ROWS: Final = 50_000
"""Of NDJSON a part has no more rows: as models they take ten times the memory of columns."""

_BY_SUFFIX: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
_PACKED: Final = (".gz", ".zst")
_MAGIC: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
)
"""How the formats that say what they are begin; the last is an Arrow stream."""


class LoadError(ControlError):
    """An input cannot be loaded as asked; the message says which and why."""


RejectRow: TypeAlias = Callable[[int, str, str], None]
"""Takes an invalid row: its line or number in the input, the reason, its text."""


class Part(Protocol):
    """Rows that one transaction writes."""

    def batch(self) -> Batch:
        """Checked. Raises InvalidRow: with an index for a wrong row, without one for an input of the wrong shape."""

    def sifted(self, reject: RejectRow) -> "Models":
        """The valid rows as models. The others are rejected."""


class Input(Protocol):
    """Where rows come from. `size` and `position` are in units of its own, for progress; None: unknown."""

    name: str

    @property
    def size(self) -> int | None: ...
    @property
    def position(self) -> int: ...
    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        """In their order, of at most so many rows. What cannot be read as a row is rejected."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Models:
    """Rows as models, each with its line in the input."""

    kind: Kind
    lines: list[int]
    rows: list[Row]

    def batch(self) -> Batch:
        return upserts.Rows(self.kind, self.rows)

    def sifted(self, _: RejectRow) -> "Models":
        return self


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows as a PyArrow table; `line` says at which line of the input one of its rows was, by its number there."""

    kind: Kind
    table: Any
    first: int
    line: Callable[[int], int]

    def batch(self) -> Batch:
        from mds_client import columns

        return columns.Frame(self.kind, self.table, self.first)

    def sifted(self, reject: RejectRow) -> Models:
        validate = self.kind.model.model_validate
        lines: list[int] = []
        rows: list[Row] = []
        for number, values in enumerate(_plain_rows(self.kind, self.table), start=self.first):
            try:
                rows.append(cast("Row", validate(values)))
            except ValidationError as error:
                reject(self.line(number), reason(error), json.dumps(values, default=str))
            else:
                lines.append(self.line(number))
        return Models(self.kind, lines, rows)


def _plain_rows(kind: Kind, table: Any) -> Iterator[dict[str, Any]]:
    """A table's rows as mappings that a model takes, and takes for what the columns mean."""
    import pyarrow as pa

    uuids = {column.name for column in kind.columns if column.type == "uuid"}
    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            # Python's times have microseconds; what is finer is cut off, as it is where the model is not asked.
            micros = table.column(at).cast(pa.timestamp("us", field.type.tz), safe=False)
            table = table.set_column(at, field.name, micros)
    for values in table.to_pylist():
        for name in uuids & values.keys():
            if isinstance(values[name], bytes) and len(values[name]) == 16:
                values[name] = UUID(bytes=values[name])
        yield values


class ArrowInput:
    """Record batches of anything that gives them."""

    def __init__(self, kind: Kind, name: str, batches: Iterable[Any], schema: Any, size: int | None) -> None:
        self.name = name
        self.size = size
        self.position = 0
        self._kind = kind
        self._batches = batches
        self._schema = schema

    def parts(self, rows: int, _: RejectRow) -> Iterator[Part]:
        first = 0
        for table in _regrouped(self._batches, self._schema, rows):
            yield Columns(self._kind, table, first, lambda number: number + 1)
            first += table.num_rows
            self.position = first

    def close(self) -> None:
        """Nothing is held open here."""


def _regrouped(batches: Iterable[Any], schema: Any, rows: int) -> Iterator[Any]:
    """Record batches of any size as tables of so many rows; one without rows if there is none, for its schema."""
    import pyarrow as pa

    held: list[Any] = []
    count = 0
    empty = True
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, rows - count)
            batch = batch.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.Table.from_batches(held)
                held, count, empty = [], 0, False
    if held or empty:
        yield pa.Table.from_batches(held, schema)


class CsvInput:
    """CSV with a header, plain or packed; an empty field is None.

    The number of a rejected row is its line in the file, as long as no line before it is blank and no value spans two.
    """

    def __init__(self, kind: Kind, path: str) -> None:
        import pyarrow as pa
        from pyarrow import csv

        self.name = _shown(path)
        self._kind = kind
        # Invalid lines: their numbers, and those that are not rejected yet. The first block is read at once.
        self._damaged: list[int] = []
        self._waiting: list[tuple[int, str, str]] = []
        self._raw = pa.PythonFile(sys.stdin.buffer, "r") if path == "-" else pa.OSFile(path)
        self.size = None if path == "-" else self._raw.size()
        packing = next((name for end, name in ((".gz", "gzip"), (".zst", "zstd")) if path.endswith(end)), None)
        self._reader = csv.open_csv(
            self._raw if packing is None else pa.CompressedInputStream(self._raw, packing),
            # One thread, so that an invalid line comes with its number.
            read_options=csv.ReadOptions(block_size=1 << 23, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=self._damage),
            # As text: what it means is for the model to say.
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(kind.model.model_fields, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )

    @property
    def position(self) -> int:
        return 0 if self.size is None else int(self._raw.tell())

    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        first = 0
        for table in _regrouped(self._reader, self._reader.schema, rows):
            for damaged in self._waiting:
                reject(*damaged)
            self._waiting.clear()
            yield Columns(self._kind, _numbers(self._kind, table), first, self._line)
            first += table.num_rows

    def close(self) -> None:
        self._reader.close()

    def _damage(self, row: Any) -> str:
        """A line with too many or too few values."""
        self._damaged.append(row.number)
        self._waiting.append((row.number, f"{row.actual_columns} values, not {row.expected_columns}", row.text))
        return "skip"

    def _line(self, number: int) -> int:
        line = number + 2
        for damaged in self._damaged:
            line += damaged <= line
        return line


def _numbers(kind: Kind, table: Any) -> Any:
    """Columns of numbers as numbers, where every text is one: several times as fast as one text at a time."""
    import pyarrow as pa

    types = {"double precision": pa.float64(), "bigint": pa.int64()}
    for column in kind.columns:
        if column.type in types and column.name in table.column_names:
            with contextlib.suppress(pa.ArrowInvalid):
                made = table.column(column.name).cast(types[column.type])
                table = table.set_column(table.column_names.index(column.name), column.name, made)
    return table


class LinesInput:
    """NDJSON, plain or packed, as `mds ingest-ndjson` reads it."""

    def __init__(self, kind: Kind, path: str) -> None:
        self._kind = kind
        self._source = Source(path)
        self.name = self._source.name
        self.size = self._source.size

    @property
    def position(self) -> int:
        return self._source.position

    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        rows = min(rows, MODEL_ROWS)
        part = Models(self._kind, [], [])
        for line in self._source.lines():
            try:
                row = coerce(self._kind, line)
            except InvalidRow as error:
                reject(self._source.line, str(error), line.decode("utf-8", "replace"))
                continue
            part.lines.append(self._source.line)
            part.rows.append(row)
            if len(part.rows) == rows:
                yield part
                part = Models(self._kind, [], [])
        if part.rows:
            yield part

    def close(self) -> None:
        self._source.close()


def opened(kind: Kind, path: str, form: Format | None = None) -> Input:
    """A file, or standard input for `-`, as an input; its format is told by content, then by name, unless it is given.

    Raises LoadError if it cannot be read or its format not be told.
    """
    with reading(_shown(path)):
        head = _head(path)
        form = form or _told(path, head)
        if form == "ndjson":
            return LinesInput(kind, path)
        from mds_client import arrow  # noqa: F401 - says which package is missing

        if form == "csv":
            return CsvInput(kind, path)
        return _parquet(kind, path) if form == "parquet" else _arrow(kind, path)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Raise LoadError, with the input's name, where it cannot be read."""
    try:
        yield
    except MDSError:
        raise
    except (OSError, ValueError) as error:
        # PyArrow's errors are of these two.
        raise LoadError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _head(path: str) -> bytes:
    """The first bytes of an input, which stay in a pipe."""
    if path == "-":
        return cast("io.BufferedReader", sys.stdin.buffer).peek(6)[:6]
    with Path(path).open("rb") as file:
        return file.read(6)


def _told(path: str, head: bytes) -> Format:
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    name = path
    for packed in _PACKED:
        name = name.removesuffix(packed)
    if (found := _BY_SUFFIX.get(Path(name).suffix)) in ("csv", "ndjson"):
        return found
    raise LoadError(f"{_shown(path)} does not say what it is: name its format, which is {', '.join(FORMATS)}")


def _parquet(kind: Kind, path: str) -> Input:
    if path == "-":
        raise LoadError("Parquet cannot be read from a pipe: its index is at the end")
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    return ArrowInput(kind, path, file.iter_batches(), file.schema_arrow, file.metadata.num_rows)


def _arrow(kind: Kind, path: str) -> Input:
    import pyarrow as pa

    if path == "-":
        stream = pa.ipc.open_stream(sys.stdin.buffer)
        return ArrowInput(kind, _shown(path), stream, stream.schema, None)
    mapped = pa.memory_map(path)
    if mapped.read(6) != b"ARROW1":
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped)
        return ArrowInput(kind, path, stream, stream.schema, None)
    file = pa.ipc.open_file(mapped)
    batches = (file.get_batch(at) for at in range(file.num_record_batches))
    return ArrowInput(kind, path, batches, file.schema, None)


def of_stream(kind: Kind, rows: ArrowStream, name: str = "stream") -> Input:
    """Anything that speaks the Arrow stream protocol as an input."""
    import pyarrow as pa

    from mds_client import arrow  # noqa: F401 - says which package is missing

    reader = pa.RecordBatchReader.from_stream(rows)
    return ArrowInput(kind, name, reader, reader.schema, len(rows) if isinstance(rows, Sized) else None)


def _shown(path: str) -> str:
    return "standard input" if path == "-" else path
