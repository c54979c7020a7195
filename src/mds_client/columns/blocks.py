"""Validate NDJSON in blocks of lines. Invalid lines are returned separately.

A block of plain lines is read into columns, any other block line by line, with the same result.
`mds_client.transfer.ndjson` provides the blocks, and `mds_client.utils` writes them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import ValidationError
from pydantic_core import from_json

from mds_client.columns.rows import Batch, batch_of
from mds_client.errors import ConfigurationError, InvalidRow, reason
from mds_client.mapping import PLAIN, Mapping, more_choices
from mds_client.models import Row
from mds_client.schema import Kind

LONGEST_LINE: Final = 1 << 20
"""The maximum length of a line in bytes; a longer line is invalid."""


@dataclass(frozen=True, slots=True)
class Block:
    """Complete lines of an input, and the number of the first one, from 1."""

    first: int
    data: bytes

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines with their numbers, stripped, without blank lines and lines that begin with `#`.

        A line longer than LONGEST_LINE is cut to one byte more than that, which `coerce` refuses.
        """
        for number, line in enumerate(self.data.split(b"\n"), self.first):
            if (line := line.strip()) and not line.startswith(b"#"):
                yield number, line[: LONGEST_LINE + 1]


@dataclass(slots=True)
class Checked:
    """The result of a block: its rows, the invalid lines (number, reason, text), and the number of its lines.

    `batch` is None if there are no rows.
    """

    block: Block
    lines: int = 0
    batch: Batch | None = None
    rejects: list[tuple[int, str, bytes]] = field(default_factory=list)


def coerce(kind: Kind, line: bytes, mapping: Mapping = PLAIN) -> Row:
    """Convert one line of NDJSON to a row. Raises InvalidRow, which says what is wrong, field by field."""
    if len(line) > LONGEST_LINE:
        raise InvalidRow(f"the line is longer than {LONGEST_LINE:,} bytes, this is its beginning")
    if mapping != PLAIN:
        try:
            record = from_json(line)
        except ValueError as error:
            raise InvalidRow(f"invalid JSON: {error}") from error
        return mapping.row(kind, record)
    try:
        return cast("Row", kind.model.__pydantic_validator__.validate_json(line))
    except ValidationError as error:
        raise InvalidRow(reason(error, more_choices(kind))) from error


def checked(kind: Kind, block: Block, mapping: Mapping = PLAIN, *, strict: bool = False) -> Checked:
    """Check a block and return its rows and rejects. `strict` stops at the first reject."""
    if (batch := _in_columns(kind, block, mapping)) is not None:
        return Checked(block, len(batch), batch)
    found = Checked(block)
    rows: list[Row] = []
    first = block.first
    for number, line in block.lines():
        found.lines += 1
        try:
            rows.append(coerce(kind, line, mapping))
            if len(rows) == 1:
                first = number
        except InvalidRow as error:
            found.rejects.append((number, str(error), line))
            if strict:
                break
    if rows:
        found.batch = batch_of(kind, rows, first)
    return found


def _in_columns(kind: Kind, block: Block, mapping: Mapping) -> Batch | None:
    table = columns_of(kind, block, mapping)
    return None if table is None else batch_of_blocks(kind, [table], block.first, mapping)


def columns_of(kind: Kind, block: Block, mapping: Mapping) -> Any:
    """Return a PyArrow table with the columns of a block of plain lines. None if it must be read line by line."""
    try:
        from mds_client.columns import arrow, tables  # noqa: F401 - the packages they need are optional
    except ConfigurationError:
        return None
    return tables.of_ndjson(kind, block.data, mapping)


def batch_of_blocks(kind: Kind, found: Sequence[Any], first: int, mapping: Mapping) -> Batch | None:
    """Return the rows of tables that `columns_of` has made of consecutive blocks.

    Args:
        kind: The kind of the rows.
        found: The tables.
        first: The number of the first line.
        mapping: The column mapping.

    Returns:
        The rows, or None if the blocks must be read line by line, which finds the invalid lines.
    """
    from mds_client.columns import frames, tables

    try:
        table = tables.of_blocks(kind, found, mapping)
        return None if table is None else frames.Frame(kind, table, first)
    except InvalidRow:
        return None
