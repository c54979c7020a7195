"""Frames to write: columns from anything that supports the Arrow stream protocol, checked and sorted.

`Frame` checks every value by the rules of the row model, column by column. `mds_client.columns.narrow` encodes the
columns for a binary COPY, and `mds_client.writing.upserts` sends them. The kind determines the columns. Frames that are
read are in `mds_client.columns.arrow`, which raises the error about missing packages; import it first.
"""

import contextlib
import copy
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mds_client.columns.checked import (
    and_more,
    as_words,
    check_extension,
    checked,
    coded,
    fields_of,
    nothing,
    own_ids,
)
from mds_client.columns.narrow import ColumnValues, NarrowFrame
from mds_client.columns.rows import spelled_row
from mds_client.errors import InvalidRow
from mds_client.mapping import PLAIN, is_index, more_choices
from mds_client.mapping import Mapping as Mapping_
from mds_client.models import DataQualityWarning, Row
from mds_client.protocol.operations import SeriesName
from mds_client.schema import DEFAULTS, TENANT_COLUMN, Column, Kind
from mds_client.values.apart import NOTHING_HELD, Held, apart_id
from mds_client.values.quality import out_of_order, warn_of_empty, warn_of_replaced
from mds_client.values.spelling import UPPER, Spelling


class Frame:
    """A batch in columns. Every value is checked, and has the same meaning as in a model.

    Raises InvalidRow, which names the column, the first invalid row and the number of such rows. `first` is the number
    of the frame's first row in the input.
    """

    def __init__(self, kind: Kind, table: "pa.Table", first: int = 0, *, look: bool = True) -> None:
        self.kind = kind
        self._first = first
        self._size: int = table.num_rows
        self.replaced: int | None = None
        self._derived: dict[str, NDArray[Any]] = {}
        fields = fields_of(kind)
        table = without_index(table)
        given: list[str] = table.column_names
        if unknown := [name for name in given if name not in fields]:
            named = ", ".join(name or "(a column without a name)" for name in unknown)
            raise InvalidRow(
                f"{kind.name} have no column {named}; there are: {', '.join(fields)}."
                " A mapping says which column is which field (--map FIELD=COLUMN), and extra='ignore' (--extra ignore)"
                f" leaves other columns out{more_choices(kind)}"
            )
        if twice := sorted({name for name in given if given.count(name) > 1}):
            raise InvalidRow(f"a column comes twice: {', '.join(twice)}")
        if lacking := [name for name, found in fields.items() if found.required and name not in given]:
            raise InvalidRow(f"{kind.name} need a column {', '.join(lacking)}")
        for name in given:
            check_extension(table.schema.field(name))
        for column in kind.columns:
            if column.otherwise and column.name in given:
                table = own_ids(table, column.name, column.otherwise, first)
        given = table.column_names
        self._columns = {name: checked(fields[name], table.column(name), first) for name in fields if name in given}
        for column in kind.columns:
            if column.name not in given:
                self._columns[column.name] = nothing(column.type, self._size)
            if not column.nullable and not fields[column.name].required:
                self._derive(column)
        self._columns |= {part: self._with_default(part) for part in kind.series if part in DEFAULTS}
        self._codes, self.names = self._series()
        if look:
            self._look()

    def __len__(self) -> int:
        return self._size

    def claimed(self) -> dict[str, int]:
        """Return each tenant that rows name, with the position of the first such row."""
        tenants = self._columns.get(TENANT_COLUMN)
        if tenants is None or not tenants.words:
            return {}
        codes = tenants.values if tenants.valid is None else np.where(tenants.valid, tenants.values, -1)
        found, rows = np.unique(codes, return_index=True)
        return {
            tenants.words[code]: self._first + row
            for code, row in zip(found.tolist(), rows.tolist(), strict=True)
            if code >= 0
        }

    def spelled(self, spelling: Spelling) -> "Frame":
        """Return the batch with the symbols as they are stored."""
        vendors = self._columns["vendor"]
        given = {name: found for name in self.kind.symbols if (found := self._columns[name].given) is not None}
        if not given or not spelling.vendors.intersection(vendors.words or ()):
            return self
        sensitive = np.array([word in spelling.vendors for word in vendors.words or ()], np.bool_)[vendors.values]
        made = copy.copy(self)
        # Rows that had the same key in another spelling may be two in this one.
        made.replaced = 0 if self.replaced == 0 else None
        made._columns = {
            **self._columns,
            **{name: _chosen(self._columns[name], spellings, sensitive) for name, spellings in given.items()},
        }
        for name, rows in self._derived.items():
            made._derive(self.kind.column(name), rows, spelling)
        made._codes, made.names = made._series()
        return made

    def span(self) -> tuple[datetime, datetime]:
        """Return the oldest and the newest time of the rows."""
        times = self._columns[self.kind.time]
        order = np.array([times.values.argmin(), times.values.argmax()])
        first, last = times.take(order).python()
        return first, last

    def narrow(self, ids: Mapping[SeriesName, int], held: Held = NOTHING_HELD) -> NarrowFrame:
        """Convert the rows to narrow rows: each key once (the last one wins), sorted by key."""
        of_name = np.array([ids[name] for name in self.names], np.int64)
        rank = np.empty(len(of_name), np.uint16 if len(of_name) < 1 << 16 else np.uint32)
        rank[np.argsort(of_name)] = np.arange(len(of_name))
        keys = [rank[self._codes], *(self._columns[name].sortable() for name in self.kind.key)]
        shared = self.kind.shared
        if shared is not None:
            keys.append(self._columns[shared.apart].sortable())
        empty = self._empty()
        rows, replaced, by = _sorted(keys, empty)
        self._say(empty, replaced, by)
        columns = {"series_id": ColumnValues("bigint", of_name[self._codes[rows]])}
        columns |= {
            column.name: replace(self._columns[column.name].take(rows), type=column.sent)
            for column in self.kind.columns
        }
        return NarrowFrame(self.kind, columns if shared is None else told_apart(self.kind, columns, held))

    def _empty(self) -> NDArray[np.bool_] | None:
        """Return a mask of the rows without any value outside the key, or None if there are none."""
        empty: NDArray[np.bool_] | None = None
        for name in self.kind.measured:
            valid = self._columns[name].valid
            if valid is None:
                return None
            empty = ~valid if empty is None else empty & ~valid
        return empty if empty is not None and empty.any() else None

    def _say(self, empty: NDArray[np.bool_] | None, replaced: NDArray[Any], by: NDArray[Any]) -> None:
        """Warn once about rows without values, and about rows that later ones with other values replace."""
        if self.replaced is not None:
            return
        differ = np.zeros(len(replaced), np.bool_)
        for name in self.kind.values:
            column = self._columns[name]
            other = column.values[replaced] != column.values[by]
            if column.valid is not None:
                other &= column.valid[replaced] & column.valid[by]
                other |= column.valid[replaced] != column.valid[by]
            differ |= other
        if empty is not None:
            differ &= ~empty[replaced]
            warn_of_empty(self.kind, int(np.count_nonzero(empty)), self._first + int(np.flatnonzero(empty)[0]))
        self.replaced = int(np.count_nonzero(differ))
        if self.replaced:
            first = np.sort(replaced[differ])[:1]
            values = {name: column.take(first).python()[0] for name, column in self._columns.items()}
            warn_of_replaced(self.kind, self.replaced, self._first + int(first[0]), values)

    def _derive(self, column: Column, rows: NDArray[Any] | None = None, spelling: Spelling = UPPER) -> None:
        """Fill missing values of a column whose default the model computes, by making models of those rows."""
        found = self._columns[column.name]
        if rows is None:
            if found.valid is None:
                return
            rows = np.flatnonzero(~found.valid)
            self._derived[column.name] = rows
        others = {name: values.take(rows).python() for name, values in self._columns.items() if name != column.name}
        validate = cast("type[Row]", self.kind.model).model_validate
        made = [
            getattr(spelled_row(self.kind, validate(dict(zip(others, values, strict=True))), spelling), column.name)
            for values in zip(*others.values(), strict=True)
        ]
        values = found.python()
        for row, value in zip(rows.tolist(), made, strict=True):
            values[row] = value
        self._columns[column.name] = as_words(column.type, *coded(values))

    def _with_default(self, name: str) -> ColumnValues:
        """Return a part of the series' names, with its default for missing values."""
        default, found = self._columns[DEFAULTS[name]], self._columns.get(name)
        if found is None or found.absent or found.words is None or default.words is None:
            return default
        if found.valid is None:
            return found
        made = _chosen(default, found, found.valid)
        if found.given is None and default.given is None:
            return made
        return replace(made, given=_chosen(default.given or default, found.given or found, found.valid))

    def _look(self) -> None:
        """Warn about suspicious rows, with one line for the first of them."""
        for pair in self.kind.ordered:
            lesser, greater = (self._columns[name] for name in pair)
            wrong = lesser.values > greater.values
            for column in (lesser, greater):
                wrong = wrong if column.valid is None else wrong & column.valid
            if (found := int(np.count_nonzero(wrong))) == 0:
                continue
            first = np.flatnonzero(wrong)[:1]
            values = {name: column.take(first).python()[0] for name, column in self._columns.items()}
            said = f"row {self._first + int(first[0])}: {out_of_order(self.kind, values, pair)}{and_more(found)}"
            warnings.warn(said, DataQualityWarning, stacklevel=2)

    def _series(self) -> tuple[NDArray[Any], list[SeriesName]]:
        """Return the number of each row's series, and the names of the series."""
        codes = np.zeros(self._size, np.int64)
        names: list[SeriesName] = [()]
        for part in self.kind.series:
            column = self._columns[part]
            words = column.words or []
            codes = codes * len(words) + column.values
            possible = len(names) * len(words)
            if possible <= 4 * self._size:
                found = np.flatnonzero(np.bincount(codes, minlength=possible))
                dense = np.empty(possible, np.int64)
                dense[found] = np.arange(len(found))
                codes = dense[codes]
            else:
                found, codes = np.unique(codes, return_inverse=True)
            names = [(*names[at // len(words)], words[at % len(words)]) for at in found.tolist()]
        return codes, names


def _chosen(column: ColumnValues, other: ColumnValues, where: NDArray[np.bool_]) -> ColumnValues:
    """Return a column of text with the values of another one in some rows."""
    both = [*(column.words or ()), *(other.words or ())]
    places = {word: at for at, word in enumerate(dict.fromkeys(both))}
    codes = np.where(where, other.values + len(column.words or ()), column.values)
    valid = (
        None if column.valid is None else np.where(where, True if other.valid is None else other.valid, column.valid)
    )
    return ColumnValues(column.type, np.array([places[word] for word in both], np.int64)[codes], valid, list(places))


def told_apart(kind: Kind, columns: dict[str, ColumnValues], held: Held) -> dict[str, ColumnValues]:
    """Convert the columns of narrow rows, sorted by their identity, to their stored form: of rows that share a value,
    all but one get a derived value, and a column keeps the original value."""
    shared = kind.shared
    assert shared is not None
    ids, times, values = (columns[name] for name in ("series_id", kind.time, shared.name))
    codes = (ids.values, times.values, values.values)
    again = np.zeros(len(ids.values), np.bool_)
    again[1:] = np.logical_and.reduce([part[1:] == part[:-1] for part in codes])
    given = nothing(shared.type, len(again))
    if not held and not again.any():
        return {**columns, shared.given: given}
    apart = columns[shared.apart].python()
    words = [UUID(word) for word in values.python()]
    if held:
        places = list(zip(ids.values.tolist(), times.python(), words, strict=True))
        first = np.maximum.accumulate(np.where(again, 0, np.arange(len(again)))).tolist()
        for at, place in enumerate(places):
            if place in held:
                again[at] = held[place] != apart[at]
            else:
                again[at] = first[at] != at
    moved = [apart_id(word, own) if is_apart else None for word, own, is_apart in zip(words, apart, again, strict=True)]
    stored = [str(other or word) for word, other in zip(words, moved, strict=True)]
    kept = [str(word) if other else None for word, other in zip(words, moved, strict=True)]
    made = {
        **columns,
        shared.name: as_words(shared.type, *coded(stored)),
        shared.given: as_words(shared.type, *coded(kept)),
    }
    order = np.lexsort([made[name].sortable() for name in ("series_id", *kind.key)[::-1]])
    return {name: column.take(order) for name, column in made.items()}


def _sorted(
    keys: list[NDArray[Any]], empty: NDArray[np.bool_] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Sort rows by key and keep one row of each key: the last, or the last with a value.

    Also returns the rows that are left out, and for each of them the next row with the same key.
    """
    rows = np.arange(len(keys[0]))
    ordered, same = _compared(keys)
    if not ordered:
        # In most batches the rows of each series are in order and only need grouping. NumPy sorts small numbers with
        # a radix sort.
        rows = np.argsort(keys[0], kind="stable")
        ordered, same = _compared([key[rows] for key in keys])
    if not ordered or (empty is not None and same.any()):
        rows = np.lexsort(keys[::-1] if empty is None else [~empty, *keys[::-1]])
        _, same = _compared([key[rows] for key in keys])
    if not same.any():
        return rows, rows[:0], rows[:0]
    return rows[np.append(~same, True)], rows[:-1][same], rows[1:][same]


def _compared(keys: list[NDArray[Any]]) -> tuple[bool, NDArray[np.bool_]]:
    """Check whether rows are sorted by key, and for each row but the last whether the next one has the same key."""
    same = np.ones(len(keys[0]) - 1, np.bool_)
    for key in keys:
        if (same & (key[:-1] > key[1:])).any():
            return False, same
        same &= key[:-1] == key[1:]
    return True, same


def without_index(table: "pa.Table") -> "pa.Table":
    """Drop the columns that PyArrow makes of a pandas index without a name."""
    unnamed = [name for name in table.column_names if is_index(name)]
    return table.drop_columns(unnamed) if unnamed else table


def whole(kind: Kind, rows: Any, mapping: Mapping_ = PLAIN) -> Iterator[Frame]:
    """Yield a frame in memory as one batch."""
    with _readable():
        table = pa.table(rows)
    table = mapping.table(kind, table)
    if table.num_rows:
        yield Frame(kind, table)
    else:
        Frame(kind, table)


def chunks(kind: Kind, rows: Any, size: int, mapping: Mapping_ = PLAIN) -> Iterator[Frame]:
    """Yield a stream of record batches as batches of `size` rows."""
    first = 0
    with _readable():
        reader = pa.RecordBatchReader.from_stream(rows)
    with reader:
        for table in regrouped(reader, reader.schema, size):
            frame = Frame(kind, mapping.table(kind, table), first)
            if len(frame):
                yield frame
            first += len(frame)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Context manager that raises InvalidRow if a frame cannot be converted to Arrow."""
    try:
        yield
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidRow(f"the frame cannot be read: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        # polars panics if it has no Arrow type for a column.
        raise InvalidRow(f"the frame cannot be read: {error}") from error


def regrouped(batches: Iterable[Any], schema: Any, rows: int, size: int = sys.maxsize) -> Iterator[Any]:
    """Regroup record batches into tables of `rows` rows. Without any rows, yields one empty table with the schema.

    A table ends earlier with the batch that makes it as large as `size` bytes.
    """
    held: list[Any] = []
    count = held_size = 0
    empty = True
    for batch in batches:
        while batch.num_rows:
            part = batch.slice(0, rows - count)
            batch = batch.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            held_size += part.nbytes
            if count == rows or held_size >= size:
                yield pa.Table.from_batches(held)
                held, count, held_size, empty = [], 0, 0, False
    if held or empty:
        yield pa.Table.from_batches(held, schema)
