"""Parquet files, Arrow files and Arrow streams, as tables of a wanted size."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import pyarrow as pa

from mds_client import arrow  # noqa: F401 - says which package is missing
from mds_client.columns import regrouped
from mds_client.files.parts import Columns, Part, RejectRow
from mds_client.files.source import SourceError
from mds_client.mapping import PLAIN, Mapping
from mds_client.rows import ArrowStream
from mds_client.schema import Kind


class ArrowInput:
    """Record batches of anything that gives them."""

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
        for table in regrouped(self._batches, self._schema, rows):
            yield Columns(self._kind, table, self._mapping, first, lambda number: number + 1)
            first += table.num_rows
            self.position = first

    def close(self) -> None:
        """Nothing is held open here."""


def of_stream(kind: Kind, rows: ArrowStream, mapping: Mapping) -> ArrowInput:
    """Anything that speaks the Arrow stream protocol as an input."""
    reader = pa.RecordBatchReader.from_stream(rows)
    return ArrowInput(kind, "stream", reader, reader.schema, len(rows) if isinstance(rows, Sized) else None, mapping)


def of_parquet(kind: Kind, path: str, mapping: Mapping, where: Any = None) -> ArrowInput:
    """A Parquet file. With `where`, an expression on its columns, only those rows; groups without any are not read."""
    from pyarrow import dataset, parquet

    if path == "-":
        raise SourceError("Parquet cannot be read from a pipe: its index is at the end")
    if where is None:
        file = parquet.ParquetFile(path)
        return ArrowInput(kind, path, file.iter_batches(), file.schema_arrow, file.metadata.num_rows, mapping)
    data = dataset.dataset(path, format="parquet")
    return ArrowInput(kind, path, data.to_batches(filter=where), data.schema, None, mapping)


def of_arrow(kind: Kind, path: str, mapping: Mapping) -> ArrowInput:
    """An Arrow file or stream."""
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
