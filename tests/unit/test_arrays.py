"""Arrays as parameters: what is packed here is what psycopg would send."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.numeric import Int8

from mds_client.columns.arrays import Packed, array

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=45))])
TIMES = st.datetimes(timezones=ZONES).filter(lambda time: 1 < time.year < 9999)


def columns(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Lists in which something is, and perhaps nothing beside it."""
    return st.lists(st.none() | values).filter(lambda column: column.count(None) < len(column))


INTEGERS = st.integers(-(2**63), 2**63 - 1)


def sent(value: Any) -> bytes:
    """A parameter as it goes to the server."""
    found = Transformer().get_dumper(value, PyFormat.BINARY).dump(value)
    assert found is not None
    return bytes(found)


def as_psycopg_sends(type_: str, values: list[Any]) -> bytes:
    """The same list by psycopg's own means, which takes the smallest type that integers fit in: told the type, here."""
    if type_ == "bigint":
        values = [None if value is None else Int8(value) for value in values]
    return sent(values)


@given(columns(st.floats()))
def test_floats_are_sent_as_psycopg_sends_them(values: list[float | None]) -> None:
    assert sent(array("double precision", values)) == as_psycopg_sends("double precision", values)


@given(columns(INTEGERS))
def test_integers_are_sent_as_psycopg_sends_them(values: list[int | None]) -> None:
    assert sent(array("bigint", values)) == as_psycopg_sends("bigint", values)


@given(columns(TIMES))
def test_times_are_sent_as_psycopg_sends_them_whatever_their_zone(values: list[datetime | None]) -> None:
    assert sent(array("timestamptz", values)) == as_psycopg_sends("timestamptz", values)


@given(columns(st.booleans()))
def test_booleans_are_sent_as_psycopg_sends_them(values: list[bool | None]) -> None:
    assert sent(array("boolean", values)) == as_psycopg_sends("boolean", values)


@pytest.mark.parametrize("type_", ["bigint", "timestamptz", "double precision", "uuid", "text", "date"])
def test_a_column_of_nulls_is_packed_for_every_type(type_: str) -> None:
    packed = array(type_, (None, None))
    assert isinstance(packed, Packed)
    oid = psycopg.adapters.types[type_].oid
    one, length, null = (1).to_bytes(4), (2).to_bytes(4), b"\xff" * 4
    assert packed.data == one + one + oid.to_bytes(4) + length + one + null + null


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("text", ["a", "b"]),
        ("text", ["a", None]),
        ("uuid", [UUID(int=1)]),
        ("bigint", []),
        ("bigint", [1, 2**64]),
        ("timestamptz", [datetime(2024, 1, 1)]),  # noqa: DTZ001 - a time without a zone is not packed
    ],
)
def test_other_types_and_values_are_left_to_psycopg(type_: str, values: list[Any]) -> None:
    assert array(type_, values) == values
