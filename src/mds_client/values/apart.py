"""Store rows that share a value of their key, such as one article's id for several symbols.

The first of them is stored under the value itself. Each other row is stored under a value derived from the shared one
and the column that distinguishes the rows (`Column.apart`), and the original value is kept beside it. So rows of
earlier releases keep their place.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast
from uuid import UUID, uuid5

from mds_client.schema import Column, Kind

Values: TypeAlias = tuple[Any, ...]

Held: TypeAlias = Mapping[tuple[int, Any, UUID], Any]
"""The rows that are stored under shared values: by series, time and value, the value of the `apart` column."""

NOTHING_HELD: Final[Held] = {}

_FREE: Final = object()


def key_of(kind: Kind) -> Callable[[Values], Any]:
    """Return a function for the identity of a narrow row within its series, which sorts in the order of the key."""
    key = itemgetter(*range(1, 1 + len(kind.key)))
    if kind.shared is None:
        return key
    apart = 1 + kind.column_names.index(kind.shared.apart)
    # Names are never empty, so an empty text sorts before all of them.
    return lambda row: (*key(row), row[apart] or "")


def stored_apart(kind: Kind, rows: list[Values], held: Held) -> list[Values]:
    """Convert the rows of one series, ordered by their identity, to their stored form: of rows that share a value, all
    but one get a derived value, and the original value is appended."""
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
    """Return the value that a row is stored under if another row has its own value."""
    return uuid5(shared, apart or "")
