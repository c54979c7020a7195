"""Arrays as parameters, in binary: a page of rows is one for each column.

psycopg makes them element by element, in Python, which is most of what a call with some hundred rows takes. Numbers and
times, of which rows mostly consist, are packed here a column at once; other types are left to psycopg.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What the server's times are counted from."""
_MICROSECOND: Final = timedelta(microseconds=1)

# Of a type, how struct packs a value behind its length.
_PACKED: Final = {"bigint": "iq", "timestamptz": "iq", "double precision": "id", "boolean": "i?"}

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
    nulls = values.count(None)
    if not count or (code is None and nulls < count):
        return list(values)
    header = _HEADER.pack(1, nulls > 0, psycopg.adapters.types[type_].oid, count, 1)
    if nulls == count or code is None:
        return Packed(header + _NULL * count)
    try:
        return Packed(header + _elements(type_, code, values, nulls))
    except (struct.error, TypeError):
        # What cannot be told to the server is refused in the driver's words.
        return list(values)


def _elements(type_: str, code: str, values: Sequence[Any], nulls: int) -> bytes:
    if type_ == "timestamptz":
        values = [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
    size = struct.calcsize("!" + code) - 4
    if nulls:
        pack = struct.Struct("!" + code).pack
        return b"".join([_NULL if value is None else pack(size, value) for value in values])
    flat = [size] * (2 * len(values))
    flat[1::2] = values
    return struct.pack("!" + code * len(values), *flat)
