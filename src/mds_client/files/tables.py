"""Read Parquet and Arrow files, Arrow streams and workbooks as tables of a given size."""

import sys
from collections.abc import Iterable, Iterator, Sized
from importlib import import_module
from typing import Any

import pyarrow as pa

from mds_client.columns import arrow  # noqa: F401 - says which package is missing
from mds_client.columns.frames import regrouped
from mds_client.columns.rows import ArrowStream
from mds_client.errors import ConfigurationError
from mds_client.files.parts import TABLE_BYTES, Columns, Part, RejectRow
from mds_client.files.source import SourceError
from mds_client.mapping import PLAIN, Mapping
from mds_client.schema import Kind


class ArrowInput:
    """An input of record batches."""

    unit = "row"

    def __init__(
        self, kind: Kind, name: str, batches: Iterable[Any], schema: Any, size: int | None, mapping: Mapping = PLAIN
    ) -> None:
        self.name = name
        self.size = size
        self.position = 0
        self._kind = kind
        self._mapping = mapping
        self._batches = batches
        self._schema = schema

    def parts(self, rows: int, _: RejectRow) -> Iterator[Part]:
        first = 0
        for table in regrouped(self._batches, self._schema, rows, TABLE_BYTES):
            yield Columns.of(self._kind, table, self._mapping, first, lambda number: number + 1, is_text=False)
            first += table.num_rows
            self.position = first

    def close(self) -> None:
        """Do nothing, because nothing is open."""


def of_stream(kind: Kind, rows: ArrowStream, mapping: Mapping) -> ArrowInput:
    """Open anything that supports the Arrow stream protocol."""
    reader = pa.RecordBatchReader.from_stream(rows)
    return ArrowInput(kind, "stream", reader, reader.schema, len(rows) if isinstance(rows, Sized) else None, mapping)


def of_parquet(kind: Kind, path: str, mapping: Mapping, where: Any = None) -> ArrowInput:
    """Open a Parquet file. `where` is an expression on its columns; row groups without matching rows are not read."""
    from pyarrow import dataset, parquet

    if path == "-":
        raise SourceError("Parquet cannot be read from a pipe: its index is at the end")
    if where is None:
        file = parquet.ParquetFile(path)
        if coded := _coded(kind, mapping, file.schema_arrow):
            file.close()
            file = parquet.ParquetFile(path, read_dictionary=coded)
        return ArrowInput(kind, path, file.iter_batches(), file.schema_arrow, file.metadata.num_rows, mapping)
    data = dataset.dataset(path, format="parquet")
    return ArrowInput(kind, path, data.to_batches(filter=where), data.schema, None, mapping)


def _coded(kind: Kind, mapping: Mapping, schema: Any) -> list[str]:
    """Return the columns with the parts of the series' names, which a file stores as codes of few distinct texts.

    Reading the codes saves making a text for each row, and finding the distinct ones again.
    """
    if mapping.is_wide:
        return []
    places = mapping.places(tuple(schema.names))
    found = {at for part in kind.series for at in places.get(part, ())}
    return [name for name in schema.names if name in found and schema.names.count(name) == 1 and _is_text(schema, name)]


def _is_text(schema: Any, name: str) -> bool:
    kind = schema.field(name).type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def of_arrow(kind: Kind, path: str, mapping: Mapping) -> ArrowInput:
    """Open an Arrow file or stream."""
    if path == "-":
        stream = pa.ipc.open_stream(sys.stdin.buffer)
        return ArrowInput(kind, "standard input", stream, stream.schema, None, mapping)
    mapped = pa.memory_map(path)
    if mapped.read(6) != b"ARROW1":
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped)
        return ArrowInput(kind, path, stream, stream.schema, None, mapping)
    file = pa.ipc.open_file(mapped)
    batches = (file.get_batch(at) for at in range(file.num_record_batches))
    return ArrowInput(kind, path, batches, file.schema, None, mapping)


def of_excel(kind: Kind, path: str, mapping: Mapping) -> ArrowInput:
    """Open a sheet of a workbook. Raises ConfigurationError if the package for it is not installed."""
    fastexcel = package("fastexcel", "excel")
    if path == "-":
        raise SourceError("a workbook cannot be read from a pipe: its index is at the end")
    try:
        book = fastexcel.read_excel(path)
        if mapping.header:
            made = book.load_sheet(
                mapping.sheet, header_row=None, skip_rows=mapping.skip_lines, column_names=list(mapping.header)
            )
        else:
            made = book.load_sheet(mapping.sheet, header_row=mapping.skip_lines)
        batch = made.to_arrow()
    except fastexcel.FastExcelError as error:
        raise SourceError(f"{path}: {str(error).splitlines()[0]}") from error
    return ArrowInput(kind, path, [batch], batch.schema, batch.num_rows, mapping)


def package(name: str, extra: str) -> Any:
    """Import an optional package. Raises ConfigurationError, which names the extra, if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"such files need {name}, which is not installed: install the extra {extra} (see Installing)"
        ) from error
