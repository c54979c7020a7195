"""Rows that share a value of their key, such as one article's id for several symbols, and how they are stored.

The first of them is stored under the value itself. Every other one is stored under a value that follows from the
shared one and from what tells the row apart (`Column.apart`), and the given value is kept beside it. So a row of an
earlier release stays where it is.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast
from uuid import UUID, uuid5

from mds_client.schema import Column, Kind

Values: TypeAlias = tuple[Any, ...]

Held: TypeAlias = Mapping[tuple[int, Any, UUID], Any]
"""What is stored under values that rows can share: by series, time and value, what tells that row apart."""

NOTHING_HELD: Final[Held] = {}

_FREE: Final = object()


def key_of(kind: Kind) -> Callable[[Values], Any]:
    """What a narrow row is told apart by within its series; in the order of the key."""
    key = itemgetter(*range(1, 1 + len(kind.key)))
    if kind.shared is None:
        return key
    apart = 1 + kind.column_names.index(kind.shared.apart)
    # No name is empty: this is before all others, and can be compared with them.
    return lambda row: (*key(row), row[apart] or "")


def stored_apart(kind: Kind, rows: list[Values], held: Held) -> list[Values]:
    """The rows of one series, in the order of what tells them apart, as they are stored: of those that share a value,
    all but one under a value of their own, and with the given one behind."""
    shared = cast("Column", kind.shared)
    at, apart_at = (1 + kind.column_names.index(name) for name in (shared.name, shared.apart))
    time_at = 1 + kind.column_names.index(kind.time)
    made: list[Values] = []
    taken: dict[tuple[int, Any, UUID], Any] = {}
    moved = False
    for row in rows:
        place, apart = (row[0], row[time_at], row[at]), row[apart_at]
        if apart == held.get(place, _FREE) or (place not in held and taken.setdefault(place, apart) == apart):
            made.append((*row, None))
        else:
            made.append((*row[:at], apart_id(row[at], apart), *row[at + 1 :], row[at]))
            moved = True
    return sorted(made, key=itemgetter(*range(1, 1 + len(kind.key)))) if moved else made


def apart_id(shared: UUID, apart: str | None) -> UUID:
    """What a row is stored under where another one has its value."""
    return uuid5(shared, apart or "")
