"""How the values of a table's columns are read: nulls, names, and numbers with other marks or another scale.

The mapping that asks for it is in `mds_client.mapping`; the times of a table are read by `mds_client.mapping.times`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any
from uuid import UUID


def number(text: str) -> float | None:
    """Text as a number; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def scaled(value: float, factor: float) -> float:
    """A number times a factor. A factor that is one part of a whole divides, which gives the nearest number."""
    return value / round(1 / factor) if factor < 1 else value * factor


def fixed_point(value: Any) -> Any:
    """A number that is kept as the bytes of a whole number, the lowest first; another value as it is."""
    kept = value.bytes if isinstance(value, UUID) else value
    return int.from_bytes(kept, "little", signed=True) if isinstance(kept, bytes) else value


def is_text(column: Any) -> bool:
    """Whether a PyArrow column holds text."""
    import pyarrow as pa

    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def plain(column: Any) -> Any:
    """A column whose values are kept once each, with each value in its place."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def joined(columns: Sequence[Any]) -> Any:
    """Several columns as one text with blanks between; null where one of them is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*(column.cast(pa.string()) for column in columns), " ")


def without_nulls(column: Any, words: Collection[str]) -> Any:
    """A column in which these texts, or numbers, are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(column):
        found = pc.is_in(column, pa.array(sorted(words), column.type))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = [one for text in words if (one := number(text)) is not None]
        found = pc.is_in(column.cast(pa.float64(), safe=False), pa.array(numbers, pa.float64()))
    else:
        return column
    return pc.if_else(found, pa.scalar(None, column.type), column)


def names(column: Any, spelled: Callable[[str], str] | None) -> Any:
    """A column of names, which a vendor may write as numbers, each as `spelled` writes it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not is_text(column):
        column = column.cast(pa.string())
    if spelled is None:
        return column
    coded = pc.dictionary_encode(column)
    chunks = coded.chunks if isinstance(coded, pa.ChunkedArray) else [coded]
    made = [
        pa.array([None if name is None else spelled(name) for name in chunk.dictionary.to_pylist()], pa.string()).take(
            chunk.indices
        )
        for chunk in chunks
    ]
    return pa.chunked_array(made, pa.string())


def numbers(column: Any, thousands: str, decimal: str, scale: float | None) -> Any:
    """A column of numbers, or of texts that are some, without marks between thousands and with a point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(column):
        if thousands:
            column = pc.replace_substring(column, thousands, "")
        if decimal == ",":
            column = pc.replace_substring(column, ",", ".")
    if scale is None:
        return column
    if pa.types.is_fixed_size_binary(column.type):
        values = [None if kept is None else scaled(fixed_point(kept), scale) for kept in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.float64())])
    try:
        column = column.cast(pa.float64())
    except pa.ArrowInvalid:
        # A text that is no number: it is told which one when each is looked at.
        return column
    return pc.divide(column, float(round(1 / scale))) if scale < 1 else pc.multiply(column, scale)
