"""Aggregate rows that are partly kept in files into longer timeframes, with the same result as the server."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from mds_client.cold.files import micros
from mds_client.cold.merging import schema_of
from mds_client.columns.arrow import SERIES_ID
from mds_client.layout import MEAN_VALUES, MEAN_WEIGHTS, Aggregate
from mds_client.schema import Kind

import numpy as np  # isort: skip
import pyarrow as pa  # isort: skip
import pyarrow.compute as compute  # isort: skip
from numpy.typing import NDArray  # isort: skip

_ORIGIN: Final = micros(datetime.fromisoformat("2000-01-01T00:00:00+00:00"))


def rolled(kind: Kind, table: "pa.Table", every: int | str, columns: Sequence[str]) -> "pa.Table":
    """Aggregate rows to one for each series and interval.

    Args:
        kind: The kind.
        table: Rows ordered by series and time, with the columns of `needed`.
        every: The width of an interval in seconds, or a calendar unit: week, month, quarter, year.
        columns: The columns of the result, including the time.
    """
    ids = table[SERIES_ID.name].to_numpy()
    if not len(ids):
        return schema_of(kind, columns).empty_table()
    begins = _begins(table[kind.time], every)
    starts = np.flatnonzero(np.append(True, (np.diff(ids) != 0) | (np.diff(begins) != 0)))
    made: dict[str, Any] = {kind.time: pa.array(begins[starts]).view(table.schema.field(kind.time).type)}
    for name, how in kind.aggregates:
        if name not in columns:
            continue
        column = table[name].combine_chunks()
        if how == "mean":
            made[name] = _mean(column, table[kind.weight].combine_chunks(), starts)
        else:
            made[name] = _made(column, how, starts, is_amount=kind.column(name).amount)
    schema = schema_of(kind, columns)
    return pa.table([pa.array(ids[starts]), *(made[name] for name in columns)], schema=schema)


def needed(kind: Kind, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of rows from which these columns are aggregated."""
    weighted = kind.weight is not None and any(column.name in columns for column in kind.means)
    return tuple(dict.fromkeys((*columns, *([kind.weight] if weighted and kind.weight else ()))))


def _begins(times: Any, every: int | str) -> NDArray[np.int64]:
    if isinstance(every, str):
        floors: NDArray[np.int64] = compute.floor_temporal(times, unit=every).cast(pa.int64()).to_numpy()
        return floors
    width = every * 1_000_000
    moments: NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
    return _ORIGIN + (moments - _ORIGIN) // width * width


def _mean(column: Any, weight: Any, starts: NDArray[Any]) -> Any:
    """Return the weighted mean of a column for each interval, or NULL if no value counts; see `mds_client.sql.mean`."""
    values, weights = np.asarray(column.fill_null(0)), np.asarray(weight.fill_null(0))
    size = np.abs(values)
    counts = np.asarray(column.is_valid()) & np.asarray(weight.is_valid())
    counts &= (values == 0) | ((size >= MEAN_VALUES[0]) & (size <= MEAN_VALUES[1]))
    counts &= (weights >= MEAN_WEIGHTS[0]) & (weights <= MEAN_WEIGHTS[1])
    weights = np.where(counts, weights, 0)
    total = np.add.reduceat(weights, starts)
    there = total > 0
    found = np.add.reduceat(np.where(counts, values, 0) * weights, starts) / np.where(there, total, 1)
    return pa.array(found, column.type, mask=~there)


def _totals(values: NDArray[np.int64], starts: NDArray[Any]) -> Sequence[int] | NDArray[np.int64]:
    """Return the sum of integers for each interval, of any size."""
    if float(np.abs(values).max(initial=0)) * len(values) < 2**62:
        found: NDArray[np.int64] = np.add.reduceat(values, starts)
        return found
    ends = np.append(starts[1:], len(values))
    return [sum(values[begin:end].tolist()) for begin, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _made(column: Any, how: Aggregate, starts: NDArray[Any], *, is_amount: bool) -> Any:
    """Aggregate a column for each interval. NULLs are ignored."""
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
            # Sum whole parts and fractions separately, as the server stores them.
            whole = np.trunc(values)
            found = np.array(_totals(whole.astype(np.int64), starts), np.float64)
            found = found + np.add.reduceat(values - whole, starts)
        elif np.issubdtype(values.dtype, np.integer):
            totals = _totals(values, starts)
            found = totals if isinstance(totals, np.ndarray) else np.array([min(one, 2**63 - 1) for one in totals])
        else:
            found = np.add.reduceat(values, starts)
    elif how == "max":
        found = np.maximum.reduceat(np.where(valid, values, -np.inf), starts)
    elif how == "min":
        found = np.minimum.reduceat(np.where(valid, values, np.inf), starts)
    else:
        raise AssertionError(how)
    return pa.array(found, column.type, mask=~there)
