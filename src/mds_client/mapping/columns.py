"""Read the values of a table's columns: nulls, names, and numbers with other separators or another scale.

`mds_client.mapping.model` calls these functions; `mds_client.mapping.times` reads the times of a table.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any
from uuid import UUID


def number(text: str) -> float | None:
    """Parse text as a number. Returns None if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return None


def scaled(value: float, factor: float) -> float:
    """Multiply a number by a factor. For a factor below 1 it divides by the inverse, which rounds correctly."""
    return value / round(1 / factor) if factor < 1 else value * factor


def fixed_point(value: Any) -> Any:
    """Convert the little-endian bytes of a whole number to an int. Other values are returned unchanged."""
    kept = value.bytes if isinstance(value, UUID) else value
    return int.from_bytes(kept, "little", signed=True) if isinstance(kept, bytes) else value


def is_text(column: Any) -> bool:
    """Whether a PyArrow column holds text."""
    import pyarrow as pa

    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def plain(column: Any) -> Any:
    """Decode a dictionary-encoded column. Other columns are returned unchanged."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def joined(columns: Sequence[Any]) -> Any:
    """Join several columns to one text with blanks between; null if one of them is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*(column.cast(pa.string()) for column in columns), " ")


def without_nulls(column: Any, words: Collection[str]) -> Any:
    """Replace these texts, or numbers, in a column with null."""
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
    """Convert a column of names, which can be numbers, to text in the spelling of `spelled`."""
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
    """Normalize a column of numbers, or of texts with numbers: no thousands separator, a decimal point, the scale."""
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
        # A text is not a number. The row-by-row reader reports which one.
        return column
    return pc.divide(column, float(round(1 / scale))) if scale < 1 else pc.multiply(column, scale)
