"""Write a Parquet file one record batch at a time, in the layout of the store's files.

It uses Zstandard, dictionaries for names and texts, and delta encoding for times, which are sorted. Numbers have no
dictionary, because making one costs more than reading the rows. Readers see names as plain strings, because they prune
row groups by strings but not by Arrow's dictionaries. Row groups have `ROW_GROUP` rows whatever the size of batches, so
that the same rows always give the same file.

Needs PyArrow: import this module only where a file is written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from mds_client.columns.arrow import ARROW_TYPES as ARROW_TYPES  # says first which package is missing
from mds_client.schema import Kind

import pyarrow as pa  # isort: skip
from pyarrow import parquet  # isort: skip

ROW_GROUP: Final = 65_536
"""The rows of a row group: whoever reads a few rows decodes all of it, and small ones compress less well."""


class RowGroups:
    """Collects batches into row groups."""

    def __init__(self, writer: Any, schema: "pa.Schema") -> None:
        self._writer = writer
        self._schema = schema
        self._waiting: list[Any] = []
        self._size = 0
        self.rows = 0

    def add(self, batch: "pa.RecordBatch") -> None:
        """Add a batch, and write complete row groups."""
        self._waiting.append(batch)
        self._size += batch.num_rows
        if self._size >= ROW_GROUP:
            table = pa.Table.from_batches(self._waiting, self._schema)
            while table.num_rows >= ROW_GROUP:
                self._write(table.slice(0, ROW_GROUP))
                table = table.slice(ROW_GROUP)
            self._waiting, self._size = table.to_batches(), table.num_rows

    def finish(self) -> None:
        """Write the remaining rows."""
        if self._size:
            self._write(pa.Table.from_batches(self._waiting, self._schema))

    def _write(self, table: "pa.Table") -> None:
        self._writer.write_table(table.unify_dictionaries(), row_group_size=ROW_GROUP)
        self.rows += table.num_rows


@contextmanager
def row_groups(
    target: BinaryIO,
    kind: Kind,
    schema: "pa.Schema",
    *,
    numbers: bool = False,
    made: type[RowGroups] = RowGroups,
) -> Iterator[RowGroups]:
    """Write a file of a kind's rows with this schema. `numbers`: whether numbers have dictionaries, too."""
    times = [kind.time] if kind.time in schema.names else []
    words = [name for name in schema.names if name in kind.series or kind.column(name).type == "text" or numbers]
    words = [name for name in words if name not in times]
    with parquet.ParquetWriter(
        target,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=words,
        column_encoding=dict.fromkeys(times, "DELTA_BINARY_PACKED"),
        # With Arrow's schema, readers would see the names as dictionaries.
        store_schema=False,
    ) as writer:
        groups = made(writer, schema)
        yield groups
        groups.finish()
