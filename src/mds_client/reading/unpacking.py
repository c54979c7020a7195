"""PostgreSQL's arrays in wire format as NumPy's and PyArrow's. Nothing here does I/O."""

from typing import Any, Final

from mds_client.columns.decoding import ARROW_TYPES as ARROW_TYPES  # says first which package is missing
from mds_client.errors import MDSOperationalError

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
from numpy.typing import NDArray  # isort: skip

_ARRAY_HEADER: Final = 20


def elements_of(
    data: bytearray, begin: int, size: int, rows: int, wire: "np.dtype[Any]"
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the elements of an array in wire format, with zeros for NULL, and a mask of the NULLs."""
    begin, size = begin + _ARRAY_HEADER, size - _ARRAY_HEADER
    each = 4 + wire.itemsize
    if size == rows * each:
        return np.ndarray((rows,), wire, data, begin + 4, (each,)), None
    found = np.zeros(rows, wire)
    words: Any = np.ndarray((size // 4,), ">i4", data, begin)
    missing = _missing(words == -1, rows, each // 4)
    there = ~missing
    if there.any():
        steps = np.where(missing, 4, each)
        starts = (np.cumsum(steps) - steps)[there] + 4
        # A view with a value that begins at every byte.
        everywhere: Any = np.ndarray((size - wire.itemsize + 1,), wire, data, begin, (1,))
        found[there] = everywhere[starts]
    return found, missing


def _missing(marks: NDArray[np.bool_], rows: int, step: int) -> NDArray[np.bool_]:
    """Return a mask of the NULLs. A NULL is one marked word; a value has `step` words, of which the first is not
    marked."""
    missing = np.zeros(rows, np.bool_)
    at = row = 0
    while row < rows:
        ahead = marks[at : at + (rows - row) * step : step]
        run = int(ahead.argmax())
        if not ahead[run]:
            break
        at, row = at + run * step, row + run
        behind = marks[at : at + rows - row]
        run = int(behind.argmin())
        run = len(behind) if behind[run] else run
        missing[row : row + run] = True
        at, row = at + run, row + run
    return missing


def uuids(elements: NDArray[Any], missing: NDArray[np.bool_] | None) -> Any:
    rows = len(elements)
    digits = np.frombuffer(elements.tobytes().hex().encode(), np.uint8).reshape(rows, 32)
    text = np.full((rows, 36), ord("-"), np.uint8)
    at = 0
    for place, length in ((0, 8), (9, 4), (14, 4), (19, 4), (24, 12)):
        text[:, place : place + length] = digits[:, at : at + length]
        at += length
    if missing is None:
        return strings(np.full(rows, 36), text, None)
    return strings(np.where(missing, 0, 36), text[~missing], missing)


def bytes_of(data: bytearray, begin: int, size: int) -> NDArray[Any]:
    return np.frombuffer(data, np.uint8, size, begin) if size > 0 else np.empty(0, np.uint8)


def strings(sizes: NDArray[Any], text: NDArray[Any], missing: NDArray[np.bool_] | None) -> Any:
    offsets = np.append(0, np.cumsum(sizes.astype(np.int64)))
    if offsets[-1] != text.size:
        raise MDSOperationalError(
            "the lengths of texts are not those of the database: its encoding is not UTF8; read models instead"
        )
    valid = None if missing is None else pa.array(~missing).buffers()[1]
    buffers = (pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(text).tobytes()))
    return pa.StringArray.from_buffers(len(sizes), *buffers, valid)
