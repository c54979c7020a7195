"""Open a file to read its rows in parts. Format and compression are detected by content, then by name."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeAlias, cast, get_args

from mds_client import compression
from mds_client.columns.blocks import Block, batch_of_blocks, checked, columns_of
from mds_client.columns.rows import ArrowStream
from mds_client.errors import InvalidRow, MDSError
from mds_client.files import documents
from mds_client.files.parts import MODEL_ROWS, Input, Lines, Models, Part, RejectRow
from mds_client.files.source import Source, SourceError, split
from mds_client.mapping import PLAIN, Mapping
from mds_client.models import Row
from mds_client.schema import Kind

Format: TypeAlias = Literal["parquet", "arrow", "csv", "ndjson", "json", "excel", "dbn"]
"""`ndjson` includes a JSON array of rows; `json` is a document that contains the rows (`Mapping.rows`)."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

PART_BYTES: Final = 32 << 20
"""The maximum size of a part of NDJSON in bytes."""

BLOCK_BYTES: Final = 2 << 20
"""The number of bytes of NDJSON that are read into columns at once, or line by line if one of the lines is invalid."""

_BY_SUFFIX: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".tsv": "csv",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
    ".dbn": "dbn",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
_COMPRESSED: Final = (".gz", ".zst", ".zip")
_MAGIC: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"DBN", "dbn"),
    (b"\xd0\xcf\x11\xe0", "excel"),
)
"""The first bytes of the binary formats. Four times 255 begins an Arrow stream."""


class LinesInput:
    """NDJSON, or a JSON array, plain or compressed, as `mds ingest-ndjson` reads it."""

    unit = "line"

    def __init__(self, kind: Kind, source: Source, mapping: Mapping) -> None:
        self._kind = kind
        self._source = source
        self._mapping = mapping
        self.name = source.name
        self.size = source.size

    @property
    def position(self) -> int:
        return self._source.position

    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        if self._mapping.is_wide:
            yield from self._models(rows, reject)
            return
        held: list[tuple[Block, Any]] = []
        count = size = 0
        for block in self._source.blocks(rows, BLOCK_BYTES):
            table = columns_of(self._kind, block, self._mapping)
            if held and not (
                table is not None
                and table.column_names == held[0][1].column_names
                and count + table.num_rows <= rows
                and size + len(block.data) <= PART_BYTES
            ):
                yield from self._joined(held, reject)
                held, count, size = [], 0, 0
            if table is None:
                yield from self._by_lines(block, reject)
            else:
                held.append((block, table))
                count += table.num_rows
                size += len(block.data)
        if held:
            yield from self._joined(held, reject)

    def _joined(self, held: list[tuple[Block, Any]], reject: RejectRow) -> Iterator[Part]:
        """Yield one part of several blocks that were read into columns, or one of each if a line is invalid."""
        blocks = [block for block, _ in held]
        batch = batch_of_blocks(self._kind, [table for _, table in held], blocks[0].first, self._mapping)
        if batch is not None:
            yield Lines(self._kind, blocks, batch, self._mapping)
            return
        for block in blocks:
            yield from self._by_lines(block, reject)

    def _by_lines(self, block: Block, reject: RejectRow) -> Iterator[Part]:
        """Yield the valid rows of a block, and reject its invalid lines."""
        found = checked(self._kind, block, self._mapping)
        for number, why, line in found.rejects:
            reject(number, why, line.decode("utf-8", "replace"))
        if found.batch is not None:
            rejected = {number for number, _, _ in found.rejects}
            yield Lines(self._kind, [block], found.batch, self._mapping, rejected)

    def _models(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        """Read the input line by line, because a line can contain several rows."""
        rows = min(rows, MODEL_ROWS)
        part = Models(self._kind, [], [])
        for line in self._source.lines():
            try:
                made = self._rows(line)
            except InvalidRow as error:
                reject(self._source.line, str(error), line.decode("utf-8", "replace"))
                continue
            part.lines.extend([self._source.line] * len(made))
            part.rows.extend(made)
            if len(part.rows) >= rows:
                yield part
                part = Models(self._kind, [], [])
        if part.rows:
            yield part

    def _rows(self, line: bytes) -> list[Row]:
        """Return the rows of a wide record, one for each symbol."""
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InvalidRow(f"invalid JSON: {error}") from error
        return documents.read(self._kind, self._mapping, {}, record)

    def close(self) -> None:
        self._source.close()


def opened(
    kind: Kind,
    path: str,
    form: Format | None = None,
    mapping: Mapping = PLAIN,
    *,
    stream: BinaryIO | None = None,
    source: Source | None = None,
) -> Input:
    """Open a file, or standard input for `-`.

    Args:
        kind: The kind of its rows.
        path: The file. With `stream` it is only a name.
        form: The format; None detects it by content, then by name.
        mapping: The column mapping.
        stream: An open binary file for text formats; the caller closes it.
        source: The same input if it is already open and nothing was read.

    Raises:
        SourceError: The file cannot be read, or its format cannot be detected.
        ConfigurationError: A package that the format needs is not installed.
    """
    shown = "standard input" if path == "-" else path
    with reading(shown):
        form = form or form_of(path) or by_content(path, source := source or _text(path, stream, mapping))
        if form in ("ndjson", "json"):
            source = source or _text(path, stream, mapping)
            return (documents.DocumentInput if mapping.rows else LinesInput)(kind, source, mapping)
        from mds_client.files import tables

        if form == "csv":
            from mds_client.files.delimited import CsvInput

            return CsvInput(kind, source or _text(path, stream, mapping), mapping)
        if form == "dbn":
            from mds_client.files.dbn import of_dbn

            return of_dbn(kind, path, mapping)
        readers = {"parquet": tables.of_parquet, "arrow": tables.of_arrow, "excel": tables.of_excel}
        return readers[form](kind, path, mapping)


def _text(path: str, stream: BinaryIO | None, mapping: Mapping) -> Source:
    return Source(path, stream, encoding=mapping.encoding)


def parquet(kind: Kind, path: str, mapping: Mapping, where: Any) -> Input:
    """Open the rows of a Parquet file that satisfy an expression on its columns (`pyarrow.compute`)."""
    from mds_client.files import tables

    return tables.of_parquet(kind, path, mapping, where)


def of_stream(kind: Kind, rows: ArrowStream, mapping: Mapping = PLAIN) -> Input:
    """Read anything that supports the Arrow stream protocol. Raises ConfigurationError without PyArrow."""
    from mds_client.files import tables

    return tables.of_stream(kind, rows, mapping)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Context manager that converts errors of reading to SourceError, with the input's name."""
    try:
        yield
    except MDSError:
        raise
    except (OSError, ValueError) as error:
        # PyArrow's errors are subclasses of these.
        raise SourceError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def format_of_name(name: str) -> Format | None:
    """Return the format by the suffix of a file's name, before a compression suffix. None if unknown."""
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return _BY_SUFFIX.get(Path(name).suffix)


def other_format(kind: Kind, name: str, first: bytes) -> Format | None:
    """Return the format of an input that is not NDJSON, by its name and its first line that is not blank.

    Returns None if the format is unclear: the line may be invalid JSON.
    """
    for magic, form in _MAGIC:
        if first.startswith(magic):
            return form
    if first.startswith((b"{", b"[")):
        return None
    names = {part.strip(' "').lower() for part in re.split(r"[,;\t|]", first.decode(errors="replace"))}
    is_header = len(names & set(kind.model.model_fields)) > 1
    return "csv" if is_header or format_of_name(name) == "csv" else None


def form_of(path: str) -> Format | None:
    """Detect the format by the first bytes or the name of an input. None if only the text can tell. Raises OSError."""
    file, member = split(path)
    head = _head(file)
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if head.startswith(compression.ZIP):
        if format_of_name(file) == "excel":
            return "excel"
        names = [member] if member is not None else compression.members(file)
        forms = {format_of_name(name) for name in names}
        return forms.pop() if len(forms) == 1 else None
    found = format_of_name(path)
    return found if found in ("csv", "ndjson", "dbn") else None


def _head(path: str) -> bytes:
    """Return the first bytes of an input, without consuming them from a pipe."""
    if path == "-":
        return cast("io.BufferedReader", sys.stdin.buffer).peek(6)[:6]
    with Path(path).open("rb") as file:
        return file.read(6)


def by_content(path: str, source: Source) -> Format:
    """Detect the format of text by its beginning. Raises SourceError if it is unclear."""
    text = source.sample(1 << 12).lstrip()
    if text.startswith((b"{", b"[")):
        return "ndjson"
    lines = [line for line in text.splitlines() if line and not line.startswith(b"#")]
    if lines and b"\0" not in text and re.search(rb"[,;\t|]", lines[0]):
        return "csv"
    if text.startswith(b"DBN"):
        return "dbn"
    said = "standard input" if path == "-" else path
    raise SourceError(f"{said} does not say what it is: name its format, which is {', '.join(FORMATS)}")
