"""Compute the size of a row on the wire without encoding it."""

from collections.abc import Callable
from operator import itemgetter
from typing import Final

from mds_client.layout import numbers_text
from mds_client.models import Row
from mds_client.schema import Kind, SqlType

WIDTHS: Final[dict[SqlType, int | None]] = {
    "bigint": 8,
    "double precision": 8,
    "text": None,
    "date": 4,
    "timestamptz": 8,
    "uuid": 16,
    "jsonb": None,
}
"""The size of a value in PostgreSQL's binary format in bytes; None if it depends on the value."""


def sizing(kind: Kind) -> Callable[[Row], int]:
    """Return a function that computes the size of a row in binary COPY.

    A row has 2 bytes and its fields; a field has 4 bytes and its value, and NULL has no value
    (https://www.postgresql.org/docs/current/sql-copy.html, "Tuples"). The series is one field, its id.
    """
    full = 2 + (4 + 8)
    texts: list[str] = []
    maps: list[str] = []
    optional: dict[int, list[str]] = {}
    for column in kind.columns:
        width = WIDTHS[column.type]
        full += 4 + (width or 0)
        if width is None:
            (maps if column.type == "jsonb" else texts).append(column.name)
        elif column.nullable:
            optional.setdefault(width, []).append(column.name)
    # The time is never NULL. Including it makes every getter return a tuple.
    groups = [(itemgetter(kind.time, *names), width) for width, names in optional.items()]

    def size(row: Row) -> int:
        values = row.__dict__
        total = full
        for get, width in groups:
            total -= width * get(values).count(None)
        for name in texts:
            text = values[name]
            if text is not None:
                total += len(text) if text.isascii() else len(text.encode())
        for name in maps:
            if (numbers := values[name]) is not None:
                total += len(numbers_text(numbers).encode())
        return total

    return size
