"""Checked columns of narrow rows, and their encoding for a binary COPY.

`mds_client.columns.frames` has checked every value. Needs NumPy: import `mds_client.columns.arrow` first, which raises
the error about missing packages.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Final, cast
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from mds_client.layout import numbers_of
from mds_client.protocol.operations import CopyIn, Latest, Values
from mds_client.schema import Kind, SqlType
from mds_client.sql import Statement, table_columns
from mds_client.values.times import UNIX

EPOCH: Final = UNIX
DAY: Final = date(1970, 1, 1)
MICROSECOND: Final = timedelta(microseconds=1)

# PostgreSQL counts time and days from 2000-01-01.
POSTGRES_EPOCH: Final = {"timestamptz": 946_684_800_000_000, "date": 10_957}

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
BLOCK: Final = 8192
"""The number of rows that are encoded at once: some milliseconds of work, with arrays that fit into the CPU's cache."""

NUMPY_TYPES: Final[dict[SqlType, str]] = {
    "bigint": "i8",
    "double precision": "f8",
    "timestamptz": "i8",
    "date": "i4",
}


@dataclass(frozen=True)
class ColumnValues:
    """A checked column. Text, uuids and JSON are indexes into the distinct `words`; times are microseconds, dates
    days since 1970; numbers are stored directly. `valid` is None if every row has a value.

    `given` has symbols as they were given, if some of them were not in upper case."""

    type: SqlType
    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    words: list[Any] | None = None
    given: "ColumnValues | None" = None

    def take(self, rows: NDArray[Any] | slice) -> "ColumnValues":
        valid = None if self.valid is None else self.valid[rows]
        return replace(self, values=self.values[rows], valid=valid, given=None)

    def python(self) -> list[Any]:
        """Return the values as in the models."""
        if self.absent:
            return [None] * len(self.values)
        values: list[Any] = self.values.tolist()
        if self.words is not None:
            words = list(map(numbers_of, self.words)) if self.type == "jsonb" else self.words
            values = [words[code] for code in values]
        elif self.type == "timestamptz":
            values = [EPOCH + timedelta(microseconds=value) for value in values]
        elif self.type == "date":
            values = [DAY + timedelta(days=value) for value in values]
        if self.valid is not None:
            values = [value if there else None for value, there in zip(values, self.valid.tolist(), strict=True)]
        return values

    @cached_property
    def constant(self) -> int | None:
        """The size in bytes of each value on the wire, or None if sizes differ."""
        if self.words is None:
            return np.dtype(NUMPY_TYPES[self.type]).itemsize
        if self.type == "uuid":
            return 16
        sizes = {len(self._encoded(word)) for word in self.words}
        return sizes.pop() if len(sizes) == 1 else None if sizes else 0

    @property
    def absent(self) -> bool:
        """Whether no row has a value."""
        return self.valid is not None and not self.valid.any()

    def wire(self) -> tuple[str, NDArray[Any]]:
        """Return the NumPy type of the wire format, and the values to assign to it."""
        if self.words is None:
            return ">" + NUMPY_TYPES[self.type], self.values - POSTGRES_EPOCH.get(self.type, 0)
        words = list(map(self._encoded, self.words))
        return f"S{self.constant}", np.array(words, f"S{self.constant}")[self.values]

    def _encoded(self, word: str) -> bytes:
        if self.type == "uuid":
            return UUID(word).bytes
        # The binary format of jsonb is its version and the text.
        return b"\x01" + word.encode() if self.type == "jsonb" else word.encode()

    def sortable(self) -> NDArray[Any]:
        """Return numbers that sort like the values."""
        if self.words is None:
            return self.values
        rank = np.empty(len(self.words), np.int64)
        rank[sorted(range(len(self.words)), key=self.words.__getitem__)] = np.arange(len(self.words))
        if self.valid is None:
            ranks: NDArray[Any] = rank[self.values]
            return ranks
        # Missing values sort before all others.
        return np.where(self.valid, np.append(rank, 0)[self.values], -1)


def _parts(amounts: ColumnValues) -> tuple[ColumnValues, ColumnValues]:
    """Split amounts into whole parts, and fractions where they are not zero."""
    whole = np.trunc(amounts.values)
    fractions = amounts.values - whole
    there = fractions != 0 if amounts.valid is None else (fractions != 0) & amounts.valid
    return (
        ColumnValues("bigint", whole.astype(np.int64), amounts.valid),
        ColumnValues("double precision", fractions, there),
    )


_SENT: Final[dict[SqlType, Callable[[Any], Any]]] = {"uuid": UUID, "jsonb": Jsonb}
"""The types whose values the driver needs in another form."""


class NarrowFrame:
    """Narrow rows in columns, sorted by key."""

    def __init__(self, kind: Kind, columns: dict[str, ColumnValues]) -> None:
        self._kind = kind
        self._columns = columns
        self.latest = self._latest()

    def rows(self) -> list[Values]:
        """Return the rows as tuples."""
        columns = []
        for column in self._columns.values():
            made = _SENT.get(column.type)
            values = column.python()
            columns.append(values if made is None else [None if value is None else made(value) for value in values])
        return list(zip(*columns, strict=True))

    def copied(self, statement: Statement) -> CopyIn:
        """Return the step that copies the rows."""
        if any(column.constant is None for column in self._columns.values()):
            # Columns do not help for text of many lengths.
            return CopyIn(statement, tuple(column.type for column in self._columns.values()), self.rows())
        return CopyIn(statement, blocks=self._blocks())

    def in_table(self) -> "NarrowFrame":
        """Return the rows with the columns of the table itself, where an amount has two columns."""
        columns = dict(self._columns)
        for amount in self._kind.amounts:
            columns[amount.name], columns[amount.fraction] = _parts(columns[amount.name])
        for name in self._kind.maps:
            columns[name] = replace(columns[name], type="jsonb")
        return NarrowFrame(self._kind, {name: columns[name] for name in table_columns(self._kind)})

    def _blocks(self) -> Iterator[bytes]:
        """Yield a binary COPY, some thousand rows at a time."""
        layout: list[tuple[str, str]] = [("count", ">i2")]
        wires: dict[str, NDArray[Any]] = {}
        for name, column in self._columns.items():
            layout.append((f"length of {name}", ">i4"))
            if not column.absent and column.constant:
                wire, wires[name] = column.wire()
                layout.append((name, wire))
        form = np.dtype(layout)
        model = np.zeros(1, form)
        model["count"] = len(self._columns)
        for name in self._columns:
            model[f"length of {name}"] = form[name].itemsize if name in wires else -1
        yield SIGNATURE
        for start in range(0, len(self._columns["series_id"].values), BLOCK):
            some = slice(start, start + BLOCK)
            block = np.repeat(model, len(wires["series_id"][some]))
            keep: NDArray[np.bool_] | None = None
            for name, values in wires.items():
                block[name] = values[some]
                valid = self._columns[name].valid
                if valid is None or valid[some].all():
                    continue
                # A NULL has the length -1 and no bytes.
                missing = ~valid[some]
                block[f"length of {name}"][missing] = -1
                if keep is None:
                    keep = np.ones((len(block), form.itemsize), np.bool_)
                offset = cast("Any", form.fields)[name][1]
                keep[missing, offset : offset + form[name].itemsize] = False
            yield block.tobytes() if keep is None else block.view(np.uint8).reshape(keep.shape)[keep].tobytes()
        yield TRAILER

    def _latest(self) -> dict[int, Latest]:
        ids = self._columns["series_id"].values
        times = self._columns[self._kind.time]
        starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
        ends = np.append(starts[1:], len(ids)) - 1
        first = times.take(starts).python()
        last = times.take(ends).python()
        price_ts: list[Any] = [None] * len(starts)
        price, unpriced = price_ts, [True] * len(starts)
        if self._kind.price:
            prices = self._columns[self._kind.price]
            if prices.valid is None:
                price_ts, price, unpriced = last, prices.take(ends).python(), [False] * len(starts)
            else:
                at = np.maximum.reduceat(np.where(prices.valid, np.arange(len(ids)), -1), starts)
                there = at >= starts
                newest = prices.take(at).python()
                price_ts = [ts if ok else None for ts, ok in zip(times.take(at).python(), there.tolist(), strict=True)]
                price = [value if ok else None for value, ok in zip(newest, there.tolist(), strict=True)]
                unpriced = (~np.logical_and.reduceat(prices.valid, starts)).tolist()
        found = zip(first, last, price_ts, price, unpriced, strict=True)
        return dict(zip(ids[starts].tolist(), (Latest(*values) for values in found), strict=True))
