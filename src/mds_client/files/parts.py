"""Parts of a file: the rows of one transaction, as models or in columns."""

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

from mds_client.columns.blocks import Block, checked, coerce
from mds_client.columns.rows import Batch, Rows
from mds_client.errors import InvalidRow
from mds_client.mapping import Mapping, map_texts
from mds_client.models import Row
from mds_client.schema import Kind

MODEL_ROWS: Final = 50_000
"""The maximum number of rows in a part that is read as models, which take ten times the memory of columns."""

TABLE_BYTES: Final = 128 << 20
"""The size in bytes of a part in columns with which it ends, also if it has fewer rows than it may have."""

RejectRow: TypeAlias = Callable[[int, str, str], None]
"""A function that receives an invalid row: its line or number in the input, the reason and its text."""


class Part(Protocol):
    """The rows of one transaction."""

    def batch(self) -> Batch:
        """Return the checked rows. Raises InvalidRow: with an index for a row, without one for the whole input."""

    def pieces(self, rows: int) -> Iterator["Part"]:
        """Split the part into parts of about this number of rows, because models of all rows could fill the memory."""

    def sifted(self, reject: RejectRow) -> "Models":
        """Return the valid rows as models, and reject the others."""


class Input(Protocol):
    """An input of rows.

    `size` and `position` are for progress, in any unit; a size of None is unknown. `unit` is what the numbers of
    rejects count: lines or rows.
    """

    name: str
    unit: str

    @property
    def size(self) -> int | None: ...
    @property
    def position(self) -> int: ...
    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        """Yield the parts in order, each of at most `rows` rows. Records that cannot be read are rejected."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Models:
    """Rows as models, each with its line in the input."""

    kind: Kind
    lines: list[int]
    rows: list[Row]

    def batch(self) -> Batch:
        return Rows(self.kind, self.rows)

    def pieces(self, rows: int) -> Iterator["Models"]:
        for at in range(0, len(self.rows), rows):
            yield Models(self.kind, self.lines[at : at + rows], self.rows[at : at + rows])

    def sifted(self, _: RejectRow) -> "Models":
        return self


@dataclass(frozen=True, slots=True)
class Lines:
    """The valid rows of consecutive blocks of NDJSON. `rejected` are the numbers of their other lines."""

    kind: Kind
    blocks: Sequence[Block]
    rows: Batch
    mapping: Mapping
    rejected: Collection[int] = ()

    def batch(self) -> Batch:
        return self.rows

    def pieces(self, _rows: int) -> Iterator["Lines"]:
        if len(self.blocks) == 1:
            yield self
            return
        for block in self.blocks:
            found = checked(self.kind, block, self.mapping)
            if found.batch is not None:
                yield Lines(self.kind, [block], found.batch, self.mapping)

    def sifted(self, _: RejectRow) -> Models:
        found = [(number, line) for one in self.blocks for number, line in one.lines() if number not in self.rejected]
        rows = [coerce(self.kind, line, self.mapping) for _, line in found]
        return Models(self.kind, [number for number, _ in found], rows)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows as a PyArrow table. `line` converts the number of a row in the input to its line."""

    kind: Kind
    table: Any
    mapping: Mapping
    first: int
    line: Callable[[int], int]
    is_text: bool = False

    @classmethod
    def of(
        cls, kind: Kind, table: Any, mapping: Mapping, first: int, line: Callable[[int], int], is_text: bool
    ) -> "Columns":
        """Make a part of a table, which can be wide."""
        if not mapping.is_wide:
            return cls(kind, table, mapping, first, line, is_text)
        made, rows = mapping.unfolded(kind, table)
        places = rows.to_pylist()
        return cls(kind, made, mapping.narrowed(), first, lambda number: line(first + places[number - first]), is_text)

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as they are in the input."""
        return list(_records(self.table))

    def mapped(self) -> Any:
        """Return the table with the kind's fields as columns. Raises InvalidRow, as `batch` does."""
        table = self.mapping.table(self.kind, self.table)
        return _numbers(self.kind, table) if self.is_text else table

    def batch(self) -> Batch:
        from mds_client.columns import frames

        return frames.Frame(self.kind, self.mapped(), self.first)

    def pieces(self, rows: int) -> Iterator["Columns"]:
        for at in range(0, max(1, self.table.num_rows), rows):
            yield replace(self, table=self.table.slice(at, rows), first=self.first + at)

    def sifted(self, reject: RejectRow) -> Models:
        lines: list[int] = []
        rows: list[Row] = []
        from mds_client.columns import frames

        plain = frames.without_index(self.table)
        read = self.mapping.columns_read(self.kind, tuple(self.table.column_names))
        # An index without a name is a column only if the mapping uses it.
        table = plain if read <= set(plain.column_names) else self.table
        for at, name in enumerate(table.column_names):
            if self.mapping.reads_maps(self.kind, (name,)):
                table = table.set_column(at, name, map_texts(table.column(at)))
        for number, values in enumerate(_records(table), start=self.first):
            try:
                rows.append(self.mapping.row(self.kind, values))
            except InvalidRow as error:
                reject(self.line(number), str(error), json.dumps(values, default=str))
            else:
                lines.append(self.line(number))
        return Models(self.kind, lines, rows)


def _records(table: Any) -> Iterator[dict[str, Any]]:
    """Yield a table's rows as mappings whose values the model interprets correctly."""
    import pyarrow as pa

    uuids = []
    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            # Python's times have microseconds, so truncate to them, as the conversion in columns does.
            micros = table.column(at).cast(pa.timestamp("us", field.type.tz), safe=False)
            table = table.set_column(at, field.name, micros)
        elif pa.types.is_fixed_size_binary(field.type) and field.type.byte_width == 16:
            uuids.append(field.name)
    for values in table.to_pylist():
        for name in uuids:
            if values[name] is not None:
                values[name] = UUID(bytes=values[name])
        yield values


_NUMBERS: Final = ("double precision", "bigint")


def _numbers(kind: Kind, table: Any) -> Any:
    """Convert columns of numbers, if every text is a number: several times faster than one text at a time."""
    import pyarrow as pa

    from mds_client.columns import tables

    types = dict(zip(_NUMBERS, (pa.float64(), pa.int64()), strict=True))
    for column in kind.columns:
        if column.type in types and column.name in table.column_names:
            with contextlib.suppress(pa.ArrowInvalid):
                made = table.column(column.name).cast(types[column.type])
                if tables.is_inexact(made):
                    # The model refuses a number that would become another one.
                    continue
                table = table.set_column(table.column_names.index(column.name), column.name, made)
    return table
