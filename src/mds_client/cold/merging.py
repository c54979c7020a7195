"""Merge rows of files, rows of the table and late rows.

A key is in a file or in the table. Late rows are applied to it in the order of writing, each with its conflict mode:
replace, keep or fill. The doors of the table do the same. A late deletion removes the rows of a series in a span of
time, except late rows that were written after it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mds_client.cold.files import micros
from mds_client.columns.arrow import ARROW_TYPES, SERIES_ID
from mds_client.protocol.operations import Values
from mds_client.schema import Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
import pyarrow.compute as compute  # isort: skip
from numpy.typing import NDArray  # isort: skip

Row: TypeAlias = dict[str, Any]

Key: TypeAlias = tuple[Any, ...]
"""The series id and the key of a row, which begins with the time."""


def schema_of(kind: Kind, columns: Sequence[str]) -> "pa.Schema":
    """Return the schema of the series id and these columns."""
    fields = [(SERIES_ID.name, pa.int64())]
    return pa.schema([*fields, *((name, ARROW_TYPES[kind.column(name).type]) for name in columns)])


def table_of(kind: Kind, columns: Sequence[str], rows: Sequence[Values]) -> "pa.Table":
    """Convert the rows of a statement, with the series id and these columns, to a table."""
    schema = schema_of(kind, columns)
    values = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(some, one.type) for some, one in zip(values, schema, strict=True)], schema=schema)


def resolved(kind: Kind, base: Row | None, late: Sequence[tuple[str, Row]]) -> Row:
    """Apply late rows, each a mode and all values, to a row."""
    assert base is not None or late
    now = base
    for mode, row in late:
        if now is None:
            now = row
        elif mode == "fill":
            now = {name: row[name] if row[name] is not None else value for name, value in now.items()}
        elif mode == "replace" and (not kind.measured or any(row[name] is not None for name in kind.measured)):
            now = {name: row[name] for name in now}
    assert now is not None
    return now


def depends(kind: Kind, mode: str, row: Row) -> bool:
    """Check whether what a late row makes of a key depends on the row that was there before."""
    return mode != "replace" or (bool(kind.measured) and all(row[name] is None for name in kind.measured))


def merged(
    kind: Kind, series: Sequence[int], columns: Sequence[str], tables: Sequence["pa.Table"], late: Sequence[Values]
) -> "pa.Table":
    """Merge all rows, ordered by series, in the given order, and key.

    Args:
        kind: The kind.
        series: The ids of all series.
        columns: The columns of the tables after the series ids, including those of the key.
        tables: Rows of files and of the table.
        late: Late rows in the order of writing: id, every column of the kind, the end of a deletion, mode.
    """
    schema = schema_of(kind, columns)
    table = pa.concat_tables([schema.empty_table(), *(one.cast(schema) for one in tables)]).combine_chunks()
    changes, deletions = log(kind, late)
    if deletions:
        table = _without(kind, table, deletions)
    if changes:
        table = _changed(kind, columns, table, changes)
    keys = [places(series, table[SERIES_ID.name].to_numpy()), *(ranks(table[name]) for name in kind.key)]
    order = np.lexsort(keys[::-1])
    if len(order):
        # A key should be in only one place. If it is in two, keep one row.
        order = order[np.append(True, np.any([np.diff(part[order]) != 0 for part in keys], axis=0))]
    return table.take(pa.array(order))


def ranks(column: Any) -> NDArray[Any]:
    """Return numbers in the order of the values of a column of the key, equal for equal values."""
    if pa.types.is_timestamp(column.type):
        numbers: NDArray[Any] = column.cast(pa.int64()).to_numpy()
    elif pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        numbers = column.to_numpy()
    elif pa.types.is_date(column.type):
        numbers = column.cast(pa.int32()).to_numpy()
    else:
        numbers = compute.rank(column, tiebreaker="dense").to_numpy()
    return numbers


Deletion: TypeAlias = tuple[int, Any, Any]
"""The series id of a late deletion, and its span of time."""


def log(kind: Kind, late: Sequence[Values]) -> tuple[Mapping[Key, list[tuple[str, Row]]], Sequence[Deletion]]:
    """Return the late rows by key, without those that were deleted later, and the deletions."""
    changes: dict[int, dict[Key, list[tuple[str, Row]]]] = defaultdict(lambda: defaultdict(list))
    deletions: list[Deletion] = []
    for id_, *values, until, mode in late:
        row = dict(zip(kind.column_names, values, strict=True))
        if until is None:
            changes[id_][(id_, *(row[name] for name in kind.key))].append((mode, row))
            continue
        deletions.append((id_, row[kind.time], until))
        for key in [key for key in changes[id_] if row[kind.time] <= key[1] < until]:
            del changes[id_][key]
    return {key: some for by_key in changes.values() for key, some in by_key.items()}, deletions


def _without(kind: Kind, table: "pa.Table", deletions: Sequence[Deletion]) -> "pa.Table":
    """Return the table without the rows of these spans."""
    ids, times = table[SERIES_ID.name].to_numpy(), table[kind.time].cast(pa.int64()).to_numpy()
    order = np.lexsort((times, ids))
    ids, times = ids[order], times[order]
    kept = np.ones(table.num_rows, np.bool_)
    for id_, since, until in deletions:
        first, last = np.searchsorted(ids, (id_, id_ + 1))
        begin, end = first + np.searchsorted(times[first:last], (micros(since), micros(until)))
        kept[order[begin:end]] = False
    return table.filter(pa.array(kept))


def places(series: Sequence[int], ids: NDArray[Any]) -> NDArray[Any]:
    """Return the place of each row's series among these series."""
    known = np.array(series, np.int64)
    by_id = np.argsort(known)
    return by_id[np.searchsorted(known, ids, sorter=by_id)] if len(known) else np.zeros(len(ids), np.int64)


def _changed(
    kind: Kind, columns: Sequence[str], table: "pa.Table", changes: Mapping[Key, list[tuple[str, Row]]]
) -> "pa.Table":
    """Apply changes to the rows of the table. The result is not sorted."""
    keys = table_of(kind, kind.key, list(changes))
    ids, times = table[SERIES_ID.name].to_numpy(), table[kind.time].cast(pa.int64()).to_numpy()
    late_times = keys[kind.time].cast(pa.int64()).to_numpy()
    near = np.flatnonzero(np.isin(times, late_times) & np.isin(ids, keys[SERIES_ID.name].to_numpy()))
    there: dict[Key, Row] = {}
    touched = np.zeros(table.num_rows, np.bool_)
    for place, row in zip(near.tolist(), table.take(pa.array(near)).to_pylist(), strict=True):
        key = (row.pop(SERIES_ID.name), *(row[name] for name in kind.key))
        if key in changes:
            touched[place] = True
            there[key] = row
    rows = []
    for key, some in changes.items():
        now = resolved(kind, there.get(key), some)
        rows.append((key[0], *(now[name] for name in columns)))
    return pa.concat_tables([table.filter(pa.array(~touched)), table_of(kind, columns, rows)]).combine_chunks()
