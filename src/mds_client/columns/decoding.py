"""A binary COPY as arrays: the columns of many rows at once, without a Python object for each value.

Needs NumPy and PyArrow, which are optional. This module raises the error about a package that is missing.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from mds_client.errors import ConfigurationError
from mds_client.schema import Column, SqlType

try:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
except ImportError as missing:
    raise ConfigurationError(
        f"frames need {missing.name}, which is not installed: install the extra arrow (see Installing)"
    ) from missing

ARROW_TYPES: Final[dict[SqlType, Any]] = {
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "timestamptz": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "text": pa.string(),
    "uuid": pa.string(),
    # As JSON text, because polars has no maps, and pandas would make lists of pairs.
    "jsonb": pa.string(),
}
# The wire format of fixed-width values, and the offset of their epoch: PostgreSQL's time begins in 2000.
WIRE: Final[dict[SqlType, tuple[str, int]]] = {
    "bigint": (">i8", 0),
    "double precision": (">f8", 0),
    "timestamptz": (">i8", 946_684_800_000_000),
    "date": (">i4", 10_957),
}
HEADER: Final = 19


def arrays_of(columns: Sequence[Column], taken: bytearray, lengths: Any, *, first: bool) -> list[Any]:
    """Decode the columns of a portion. `first`: it begins with the stream's header."""
    sizes = np.frombuffer(lengths, np.int32)
    data = np.frombuffer(taken, np.uint8)
    begin = HEADER if first else 0
    if len(data) - begin >= 2 and data[-1] == data[-2] == 255 and (sizes[-1] == 2 or len(data) == HEADER + 2):
        # The trailer.
        data, sizes = data[:-2], sizes[:-1]
    data = data[begin:]
    if not len(data):
        return [pa.array([], ARROW_TYPES[column.type]) for column in columns]
    if first:
        sizes = np.concatenate(([sizes[0] - HEADER], sizes[1:]))
    alike = _alike(columns, data, sizes)
    return _apart(columns, data, sizes) if alike is None else alike


def _alike(columns: Sequence[Column], data: NDArray[Any], sizes: NDArray[Any]) -> list[Any] | None:
    """Decode rows with the same layout as the first one, where each column is one stride. None if layouts differ."""
    size = int(sizes[0])
    if (sizes != size).any():
        return None
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    offset = 2
    for column in columns:
        layout.append((f"length of {column.name}", ">i4"))
        length = int(data[offset : offset + 4].view(">i4")[0])
        offset += 4 + max(length, 0)
        if length >= 0:
            if column.type not in WIRE:
                return None
            layout.append((column.name, WIRE[column.type][0]))
    rows = data.view(np.dtype(layout))
    arrays = []
    for column in columns:
        of_column = rows[f"length of {column.name}"]
        if (of_column != of_column[0]).any():
            return None
        if of_column[0] < 0:
            arrays.append(pa.nulls(len(rows), ARROW_TYPES[column.type]))
        else:
            arrays.append(values_of(column, rows[column.name], None))
    return arrays


def _apart(columns: Sequence[Column], data: NDArray[Any], sizes: NDArray[Any]) -> list[Any]:
    """Decode rows of any size, column by column for all rows at once, each row at its own offset."""
    ends = np.cumsum(sizes, dtype=np.int64)
    at = ends - sizes + 2

    def read(wire: str, where: NDArray[Any]) -> NDArray[Any]:
        # A view of the bytes with a value that begins at every byte.
        width = np.dtype(wire).itemsize
        everywhere: Any = np.ndarray((max(len(data) - width + 1, 0),), wire, data, 0, (1,))
        return cast("NDArray[Any]", everywhere[where])

    arrays = []
    for column in columns:
        length = read(">i4", at)
        missing = length < 0
        at = at + 4
        present = np.where(missing, 0, length).astype(np.int64)
        if missing.all():
            arrays.append(pa.nulls(len(at), ARROW_TYPES[column.type]))
        elif column.type in WIRE:
            # A missing value at the end of the data has no bytes, so read any others, which are ignored.
            where = np.where(missing, 0, at) if missing.any() else at
            arrays.append(values_of(column, read(WIRE[column.type][0], where), missing))
        else:
            arrays.append(_texts(data, at, present, missing))
        at = at + present
    return arrays


def values_of(column: Column, wire: NDArray[Any], missing: NDArray[np.bool_] | None) -> Any:
    """Convert fixed-width numbers from wire format to an array. Numbers of missing values are ignored."""
    form, epoch = WIRE[column.type]
    values = wire.astype(np.dtype(form).newbyteorder("="))
    if epoch:
        values += epoch
    array = pa.array(values, mask=missing)
    return array if array.type == ARROW_TYPES[column.type] else array.view(ARROW_TYPES[column.type])


def _texts(data: NDArray[Any], at: NDArray[Any], sizes: NDArray[Any], missing: NDArray[np.bool_]) -> Any:
    ends = np.cumsum(sizes)
    offsets = np.append(0, ends).astype(np.int32)
    bytes_ = data[np.repeat(at - offsets[:-1], sizes) + np.arange(int(ends[-1]))]
    valid = pa.array(~missing).buffers()[1] if missing.any() else None
    return pa.StringArray.from_buffers(len(at), pa.py_buffer(offsets), pa.py_buffer(bytes_), valid)
