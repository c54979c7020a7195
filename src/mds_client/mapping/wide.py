"""Convert wide tables (a column for each symbol, or two-level column names) to long ones with a column `symbol`."""

import ast
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from mds_client.errors import InvalidRow

Level: TypeAlias = Literal["field", "symbol"]

SYMBOL: Final = "symbol"


def two_levels(name: str) -> tuple[str, str] | None:
    """Return the two parts of a column's name, or None if it has only one.

    pandas and PyArrow write a name of two levels as a tuple: `('Close', 'AAPL')`.
    """
    if not name.startswith("("):
        return None
    try:
        parts = ast.literal_eval(name)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if not isinstance(parts, tuple) or len(parts) != 2:
        return None
    return str(parts[0]), str(parts[1])


def joined(parts: Sequence[str]) -> str:
    """Return the name of a column with several header lines: the last part that is not blank, or two as a tuple."""
    said = [part for part in parts if part]
    return repr(tuple(said)) if len(said) == 2 else (said or [""])[-1]


def groups(names: list[str], kept: set[str], field: str, levels: Sequence[Level]) -> dict[str, dict[str, int]]:
    """Return the columns of each symbol: positions by the column's name in the long table.

    Args:
        names: The names of the columns.
        kept: Columns that belong to all symbols, such as the time.
        field: The field of the values, if a column's name is the symbol.
        levels: The meaning of the two levels of a name; empty if names have one level.

    Raises:
        InvalidRow: No column belongs to a symbol.
    """
    found: dict[str, dict[str, int]] = {}
    for at, name in enumerate(names):
        parts = two_levels(name) if levels else None
        if name in kept or (levels and (parts is None or "" in parts)):
            continue
        symbol, column = (
            (name, field) if parts is None else (parts[levels.index("symbol")], parts[1 - levels.index("symbol")])
        )
        found.setdefault(symbol, {})[column] = at
    if not found:
        raise InvalidRow(
            "there is no column of a symbol: " + ("no name has two levels" if levels else "all columns are known")
        )
    return found


def long(table: Any, kept: set[str], field: str, levels: Sequence[Level]) -> tuple[Any, Any]:
    """Convert a wide PyArrow table to a long one, without rows that have no value.

    Also returns, for each row, its row number in the wide table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    names: list[str] = table.column_names
    symbols = groups(names, kept, field, levels)
    inner = {at for its in symbols.values() for at in its.values()}
    of_all = {name: at for at, name in enumerate(names) if at not in inner}
    numbers = pa.array(range(table.num_rows), pa.int64())
    parts, rows = [], []
    for symbol, its in symbols.items():
        columns = {name: table.column(at) for name, at in {**of_all, **its}.items()}
        part = pa.table({**columns, SYMBOL: pa.repeat(pa.scalar(symbol), table.num_rows)})
        there = None
        for name in its:
            has = pc.is_valid(part.column(name))
            if pa.types.is_floating(part.column(name).type):
                # pandas writes NaN if a symbol has no row.
                has = pc.and_(has, pc.invert(pc.fill_null(pc.is_nan(part.column(name)), False)))
            there = has if there is None else pc.or_(there, has)
        parts.append(part.filter(there))
        rows.append(pa.table({"row": numbers}).filter(there).column("row").combine_chunks())
    return pa.concat_tables(parts, promote_options="permissive"), pa.concat_arrays(rows)
