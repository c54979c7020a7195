"""The place of a value in a record or a table: a name, a pattern of names, or a position."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from mds_client.errors import InvalidRow

Place: TypeAlias = str | int
"""The place of a value: a name, a pattern of names between slashes, or a position from 0."""


def pattern_of(place: Place) -> str | None:
    """Return the regular expression of a place, or None if the place is not a pattern."""
    if isinstance(place, str) and len(place) > 2 and place.startswith("/") and place.endswith("/"):
        return place[1:-1]
    return None


def matching(place: Place, names: Iterable[str]) -> list[str]:
    """Return the names that are equal to a place or match its pattern.

    If none is equal, names with other upper and lower case are. One letter counts as it is: `t` and `T` are two things.
    """
    if (pattern := pattern_of(place)) is None:
        there = list(names)
        if place in there or isinstance(place, int) or len(place) == 1:
            return [name for name in there if name == place]
        return [name for name in there if str(name).casefold() == place.casefold()]
    return [name for name in names if re.fullmatch(pattern, str(name), re.IGNORECASE)]


def one_of(place: Place, names: Sequence[Any]) -> Any:
    """Return the name that a place refers to, or None. Raises InvalidRow if a pattern matches several."""
    if isinstance(place, int):
        return names[place] if -len(names) <= place < len(names) else None
    if len(found := list(dict.fromkeys(matching(place, names)))) > 1:
        raise InvalidRow(f"{place} is the pattern of several columns: {', '.join(found)}; name one of them (--map)")
    return found[0] if found else None


def several(given: Place | tuple[Place, ...]) -> tuple[Place, ...]:
    return given if isinstance(given, tuple) else (given,)


def together(record: Any, places: tuple[Any, ...]) -> str | None:
    values = [value_at(record, at) for at in places]
    return None if None in values else " ".join(map(str, values))


def value_at(record: Any, at: Any) -> Any:
    # The first check is for speed: nearly all records are dictionaries.
    if isinstance(record, dict) or isinstance(record, Mapping):  # noqa: SIM101
        return record.get(at)
    if isinstance(record, list):
        return record[at] if isinstance(at, int) and -len(record) <= at < len(record) else None
    raise InvalidRow(f"an object or a list is needed, not {type(record).__name__}")
