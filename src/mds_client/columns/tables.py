"""Convert rows to columns: lists of models or dictionaries, and blocks of NDJSON.

Columns are checked and encoded many times faster than rows, and leave no objects for Python's garbage collector. The
functions return None for input that they cannot convert (a subclass, a type that needs a look at each value, a broken
line). The caller then parses row by row, which covers every case and names the row that is wrong.
`mds_client.columns.frames` checks the values.
"""

import time
from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from mds_client.mapping import PLAIN
from mds_client.mapping import Mapping as ColumnMapping
from mds_client.schema import TENANT_COLUMN, Kind, SqlType
from mds_client.values.spelling import Spelled, as_given

# The Arrow type for the types of a column's values, without None. Arrow's own inference would make a number of True,
# and a date of a time.
_BY_TYPES: Final[dict[frozenset[type], Any]] = {
    frozenset(): pa.null(),
    frozenset((str,)): pa.string(),
    frozenset((int,)): pa.int64(),
    frozenset((float,)): pa.float64(),
    frozenset((int, float)): pa.float64(),
    frozenset((datetime,)): pa.timestamp("us", "UTC"),
    frozenset((date,)): pa.date32(),
}

BLOCK: Final = 4096
"""The number of rows that are converted at once, which blocks other threads for some milliseconds."""

_YIELD_S: Final = 0.00005

# In JSON these types are text, which the model parses.
_TEXTUAL: Final[tuple[SqlType, ...]] = ("text", "uuid", "timestamptz", "date")


def of_rows(kind: Kind, rows: Sequence[Any]) -> "pa.Table | None":
    """Convert models of a kind, or dictionaries, to a table. None if the rows are mixed or not plain."""
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    types = set[type]().union(*(set(map(type, block)) for block in blocks))
    if types == {kind.model}:
        names = set(kind.model.model_fields)
    elif types == {dict}:
        names = set[str]().union(*(set().union(*block) for block in blocks))
    else:
        return None
    parts: dict[str, list[Any]] = {name: [] for name in names}
    try:
        for block in blocks:
            given: Sequence[Mapping[str, Any]] = block if types == {dict} else [row.__dict__ for row in block]
            for name, arrays in parts.items():
                try:
                    values = [row[name] for row in given]
                except KeyError:
                    values = [row.get(name) for row in given]
                found = frozenset(map(type, values)) - {type(None)}
                if Spelled in found:
                    values, found = list(map(as_given, values)), found - {Spelled} | {str}
                arrays.append(pa.array(values, _BY_TYPES[found]))
            # Arrow releases the interpreter lock so briefly that waiting threads never get it, so sleep.
            time.sleep(_YIELD_S)
        return pa.table({name: _joined(arrays) for name, arrays in parts.items()})
    except (pa.ArrowException, KeyError, TypeError, ValueError, OverflowError):
        return None


def _joined(arrays: list[Any]) -> Any:
    """Join the blocks of a column. Whole numbers become floats if other blocks have fractions."""
    types = {array.type for array in arrays} - {pa.null()}
    if types == {pa.int64(), pa.float64()}:
        types = {pa.float64()}
    (one,) = types or {pa.null()}
    return pa.chunked_array([array.cast(one) for array in arrays], one)


def of_ndjson(kind: Kind, block: bytes, mapping: ColumnMapping = PLAIN) -> "pa.Table | None":
    """Read lines of NDJSON, each a row and none of them blank, into a table with the columns of the mapping.

    Returns:
        The table, which the mapping has not been applied to yet, or None if the lines are not plain.
    """
    texts = mapping.json_texts(kind, _textual(kind))
    if texts is None:
        return None
    plain = block.replace(b"\r\n", b"\n") if b"\r" in block else block
    if (lines := _objects(plain)) is None:
        return None
    parse = json.ParseOptions(explicit_schema=pa.schema([(name, pa.string()) for name in sorted(texts)]))
    try:
        table = json.read_json(pa.BufferReader(block), json.ReadOptions(block_size=max(len(block), 1)), parse)
    except (pa.ArrowException, ValueError):
        return None
    if table.num_rows != lines or any(is_inexact(column) for column in table.columns):
        return None
    table = table.select(_given(table, texts))
    if mapping.reads_maps(kind, table.column_names):
        # PyArrow gives each object the names of all others.
        return None
    read = mapping.columns_read(kind, tuple(table.column_names))
    # PyArrow makes a time of text that looks like one. The mapping must say what such text means.
    return None if any(pa.types.is_timestamp(table.schema.field(name).type) for name in read) else table


_EXACT: Final = 2.0**53
"""From this number on, a float may be another whole number than the one that was written."""


def is_inexact(column: Any) -> bool:
    """Check whether a column of floats may have been written with whole numbers that a float cannot represent."""
    if not pa.types.is_floating(column.type):
        return False
    least, most = pc.min_max(column).values()
    return bool(most.is_valid and max(most.as_py(), -least.as_py()) >= _EXACT)


def _objects(block: bytes) -> int | None:
    """Return the number of lines if each looks like one object: PyArrow reads several objects in a line as rows.

    The last line may lack its line break.
    """
    if not block.startswith(b"{") or not block.endswith((b"}\n", b"}")):
        return None
    letters = np.frombuffer(block, np.uint8)
    breaks = np.flatnonzero(letters[:-1] == ord("\n"))
    if (letters[breaks - 1] != ord("}")).any() or (letters[breaks + 1] != ord("{")).any():
        return None
    return len(breaks) + 1


def of_blocks(kind: Kind, tables: Sequence["pa.Table"], mapping: ColumnMapping) -> "pa.Table | None":
    """Join the tables of consecutive blocks of NDJSON, and apply the mapping.

    Returns:
        The table, or None if a column has other types in other blocks.

    Raises:
        InvalidRow: A row does not fit the mapping.
    """
    try:
        # Whole numbers become floats if other blocks have fractions, and if a float can represent them.
        joined = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        return None
    return mapping.table(kind, joined)


def _given(table: "pa.Table", texts: Container[str]) -> list[str]:
    """Return the columns that occur in some line, without those that PyArrow added from the schema."""
    return [name for name in table.column_names if name not in texts or table.column(name).null_count < len(table)]


def _textual(kind: Kind) -> set[str]:
    """Return the fields whose values are text in JSON."""
    return {TENANT_COLUMN, *kind.series, *(column.name for column in kind.columns if column.type in _TEXTUAL)}
