"""Rows of a longer timeframe, made of rows that are partly kept in files: as the server makes them of its own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from mds_client.cold.files import micros
from mds_client.cold.merging import schema_of
from mds_client.columns.arrow import SERIES_ID
from mds_client.schema import Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
import pyarrow.compute as compute  # isort: skip
from numpy.typing import NDArray  # isort: skip

_ORIGIN: Final = micros(datetime.fromisoformat("2000-01-01T00:00:00+00:00"))


def rolled(kind: Kind, table: "pa.Table", every: int | str, columns: Sequence[str]) -> "pa.Table":
    """One row for each series and interval.

    Args:
        kind: The kind.
        table: Rows by series and time, with the columns that are made.
        every: The width of an interval in seconds, or a unit of the calendar: week, month, quarter, year.
        columns: The columns to make, the time among them.
    """
    ids = table[SERIES_ID.name].to_numpy()
    if not len(ids):
        return schema_of(kind, columns).empty_table()
    begins = _begins(table[kind.time], every)
    starts = np.flatnonzero(np.append(True, (np.diff(ids) != 0) | (np.diff(begins) != 0)))
    made: dict[str, Any] = {kind.time: pa.array(begins[starts]).view(table.schema.field(kind.time).type)}
    for name, how in kind.aggregates:
        if name in columns:
            made[name] = _made(table[name].combine_chunks(), how, starts, is_amount=kind.column(name).amount)
    schema = schema_of(kind, columns)
    return pa.table([pa.array(ids[starts]), *(made[name] for name in columns)], schema=schema)


def _begins(times: Any, every: int | str) -> NDArray[np.int64]:
    if isinstance(every, str):
        floors: NDArray[np.int64] = compute.floor_temporal(times, unit=every).cast(pa.int64()).to_numpy()
        return floors
    width = every * 1_000_000
    moments: NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
    return _ORIGIN + (moments - _ORIGIN) // width * width


def _made(column: Any, how: str, starts: NDArray[Any], *, is_amount: bool) -> Any:
    """An aggregate of each interval; NULLs do not count."""
    rows = len(column)
    valid = np.asarray(column.is_valid())
    values = np.asarray(column.fill_null(0))
    there = np.maximum.reduceat(valid, starts)
    if how in ("first", "last"):
        numbers = np.arange(rows)
        if how == "first":
            at = np.minimum.reduceat(np.where(valid, numbers, rows), starts)
        else:
            at = np.maximum.reduceat(np.where(valid, numbers, -1), starts)
        found = values[np.clip(at, 0, rows - 1)]
    elif how == "sum":
        if is_amount:
            # As they are stored: whole parts and fractions, each summed for itself.
            whole = np.trunc(values)
            found = np.add.reduceat(whole.astype(np.int64), starts).astype(np.float64)
            found = found + np.add.reduceat(values - whole, starts)
        else:
            found = np.add.reduceat(values, starts)
    elif how == "max":
        found = np.maximum.reduceat(np.where(valid, values, -np.inf), starts)
    else:
        found = np.minimum.reduceat(np.where(valid, values, np.inf), starts)
    return pa.array(found, column.type, mask=~there)
