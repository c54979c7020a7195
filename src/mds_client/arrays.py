"""Arrays as parameters, in binary: a page of rows is one for each column.

psycopg makes them element by element, in Python, which is most of what a call with some hundred rows takes. Numbers and
times, of which rows mostly consist, are packed here a column at once; what has another type, or a NULL among values, is
left to psycopg.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from operator import floordiv, sub
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What the server's times are counted from."""
_MICROSECOND: Final = timedelta(microseconds=1)

# Of a type, how struct packs it; all have eight bytes.
_PACKED: Final = {"bigint": "q", "timestamptz": "q", "double precision": "d"}

_HEADER: Final = struct.Struct("!iiIii")
"""Dimensions, whether there are NULLs, the elements' type; the length and the first index of the only dimension."""
_NULL: Final = struct.pack("!i", -1)
"""The length of an element that is NULL."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An array in the server's own form."""

    data: bytes


class _PackedDumper(Dumper):
    """The server is told no type: statements say what their arrays are."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> bytes:
        return obj.data


psycopg.adapters.register_dumper(Packed, _PackedDumper)


def array(type_: str, values: Sequence[Any]) -> Packed | list[Any]:
    """A column's values, of a type as columns are declared, as a parameter for `%b::type[]`."""
    code, count = _PACKED.get(type_), len(values)
    if not count or (code is None and any(value is not None for value in values)):
        return list(values)
    oid = psycopg.adapters.types[type_].oid
    nulls = values.count(None)
    if nulls == count:
        return Packed(_HEADER.pack(1, 1, oid, count, 1) + _NULL * count)
    if nulls:
        return list(values)
    if type_ == "timestamptz":
        values = list(map(floordiv, map(sub, values, repeat(_EPOCH)), repeat(_MICROSECOND)))
    flat = [8] * (2 * count)
    flat[1::2] = values
    return Packed(_HEADER.pack(1, 0, oid, count, 1) + struct.pack("!" + f"i{code}" * count, *flat))
