"""Binary array parameters: a page of rows is sent as one array for each column.

psycopg makes arrays element by element in Python, which takes most of the time of a call with some hundred rows. Most
values of rows are numbers and times, which are packed here a column at a time; psycopg packs other types.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from mds_client.values.times import EPOCH

_MICROSECOND: Final = timedelta(microseconds=1)

# The struct formats of a length and a value of each type.
_PACKED: Final = {"bigint": "iq", "timestamptz": "iq", "double precision": "id", "boolean": "i?"}

_HEADER: Final = struct.Struct("!iiIii")
"""Dimensions, whether there are NULLs, the elements' type; the length and the first index of the only dimension."""
_NULL: Final = struct.pack("!i", -1)
"""The encoded length of a NULL element."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An array in the server's binary format."""

    data: bytes


class _PackedDumper(Dumper):
    """Sends packed arrays without a type, because statements cast their parameters."""

    format = Format.BINARY

    def dump(self, obj: Packed) -> bytes:
        return obj.data


psycopg.adapters.register_dumper(Packed, _PackedDumper)


def array(type_: str, values: Sequence[Any]) -> Packed | list[Any]:
    """Make a column's values, of a declared column type, a parameter for `%b::type[]`."""
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
        # For values that cannot be packed, let the driver raise its error.
        return list(values)


def _elements(type_: str, code: str, values: Sequence[Any], nulls: int) -> bytes:
    if type_ == "timestamptz":
        values = [None if value is None else (value - EPOCH) // _MICROSECOND for value in values]
    size = struct.calcsize("!" + code) - 4
    if nulls:
        pack = struct.Struct("!" + code).pack
        return b"".join([_NULL if value is None else pack(size, value) for value in values])
    flat = [size] * (2 * len(values))
    flat[1::2] = values
    return struct.pack("!" + code * len(values), *flat)
