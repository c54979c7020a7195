"""Further numbers: columns of an input that belong to no field, and become numbers by name in a field such as `items`.

`mds_client.mapping.model` reads the other columns.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Final

from mds_client.errors import InvalidRow
from mds_client.mapping.columns import is_text, number
from mds_client.schema import Kind
from mds_client.values import items

_INDEX: Final = re.compile(r"__index_level_\d+__")


def is_index(name: str) -> bool:
    """Whether PyArrow has made this column of a pandas index without a name."""
    return _INDEX.fullmatch(name) is not None


def more_choices(kind: Kind) -> str:
    """Return the end of an error message about unknown columns, if the kind can store them."""
    return f", and extra='items' (--extra items) keeps numbers as {kind.maps[0]}" if kind.maps else ""


def no_items(kind: Kind) -> str:
    """Return the reason why a kind cannot store further columns."""
    return f"extra: {kind.name} have no items, so further columns cannot be kept: leave them out (ignore)"


def figure(value: Any) -> float | None:
    """Convert a value to a finite number. Returns None if it is not one."""
    if isinstance(value, str):
        value = number(value)
    if value is None or isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        made = float(value)
    except (OverflowError, ValueError):
        return None
    return made if math.isfinite(made) else None


def not_a_number(name: str, value: Any) -> str:
    """Return the reason why the value of a further column is refused."""
    return (
        f"{name}: {str(value)[:60]!r} is not a number, and only numbers can be items; `skip` in a mapping leaves it out"
    )


def with_figures(field: str, given: Any, figures: Mapping[str, float]) -> Any:
    """Add further numbers to the value of the field that keeps them.

    Raises:
        InvalidRow: The value is not a map, or has one of these names.
    """
    if not figures:
        return given
    try:
        found = items.named(given) or {}
    except ValueError as error:
        raise InvalidRow(f"{field}: {error}") from None
    for name, value in figures.items():
        if (key := name.strip()) in found:
            raise InvalidRow(f"{field}: the name {key!r} comes twice")
        found[key] = value
    return found


def figures_of(name: str, column: Any) -> list[float | None]:
    """Convert a PyArrow column to numbers.

    Raises:
        InvalidRow: A value is not a number: without an index if no value of the column is one.
    """
    import pyarrow as pa

    kind, types = column.type, pa.types
    if (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
        or is_text(column)
    ):
        values = column.to_pylist()
        made = [None if value is None else figure(value) for value in values]
        wrong = [
            at
            for at, (value, found) in enumerate(zip(values, made, strict=True))
            if found is None and value is not None
        ]
        if not wrong:
            return made
        some = any(found is not None for found in made)
        raise InvalidRow(not_a_number(name, values[wrong[0]]), index=wrong[0] if some else None)
    raise InvalidRow(f"{name}: values of {kind} are not numbers, and only numbers can be items")


def items_column(field: str, given: Any, figures: Mapping[str, Sequence[float | None]], rows: int) -> Any:
    """Return the column of the field that keeps further numbers, as JSON text: of each row those that it has.

    Args:
        field: The name of the field.
        given: The column of that field in the input, or None.
        figures: The further numbers by name.
        rows: The number of rows.
    """
    import pyarrow as pa

    before: list[Any] = [None] * rows if given is None else map_texts(given).to_pylist()
    made: list[str | None] = []
    for at, text in enumerate(before):
        own = {name: value for name, values in figures.items() if (value := values[at]) is not None}
        try:
            found = with_figures(field, text, own)
        except InvalidRow as error:
            raise InvalidRow(str(error), index=at) from None
        made.append(json.dumps(found) if isinstance(found, dict) else found)
    return pa.chunked_array([pa.array(made, pa.string())])


def map_texts(column: Any) -> Any:
    """Convert maps, and what stands for them in frames, to JSON text: dictionaries of pandas are a struct, which has
    all their names in each row, and maps of polars are lists of structs with a key and a value."""
    import pyarrow as pa

    kind, types = column.type, pa.types
    if types.is_map(kind):
        pairs = column.to_pylist()
    elif types.is_struct(kind):
        pairs = [
            None if row is None else [(name, value) for name, value in row.items() if value is not None]
            for row in column.to_pylist()
        ]
    elif (types.is_list(kind) or types.is_large_list(kind)) and _is_pair(kind.value_type):
        pairs = [None if row is None else [tuple(pair.values()) for pair in row] for row in column.to_pylist()]
    else:
        return column
    texts = [None if row is None else _object(row) for row in pairs]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _is_pair(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_struct(kind) and [field.name for field in kind] == ["key", "value"]


def _object(pairs: list[tuple[Any, Any]]) -> str:
    """Write an object of JSON that can have a name twice, which the model refuses."""
    inner = (f"{json.dumps(str(name))}:{json.dumps(value, default=str)}" for name, value in pairs)
    return "{" + ",".join(inner) + "}"
