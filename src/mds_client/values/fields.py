"""The types of the models' fields: validation, serialization and PostgreSQL types."""

from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    StringConstraints,
    WrapValidator,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import simple_ser_schema

from mds_client.schema import Sql
from mds_client.values import items, timeframes, times
from mds_client.values.spelling import Spelled, spelled


@lru_cache(maxsize=4096)
def canonical_uuid(text: str) -> str:
    """Return a uuid in its canonical form, lower-case with hyphens. Raises ValueError if it is not a uuid."""
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a uuid") from None


def is_uuid(value: object) -> bool:
    """Whether a value is the text of a uuid."""
    try:
        return isinstance(value, str) and bool(canonical_uuid(value))
    except ValueError:
        return False


def own_id(value: Any) -> Any:
    """Convert a vendor's id to text. Whole floats are accepted, because a column of numbers with gaps has floats."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _uuid_text(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _no_boolean(value: Any) -> Any:
    # In Python True equals 1, but as a price or a volume it is an error of the source.
    if value is True or value is False:
        raise ValueError("a truth value is not a number")
    return value


def _count(value: Any) -> Any:
    if value in (-1, "-1") and value is not False:
        raise ValueError("-1 is no count; if it means that there is no value, say so with null_values")
    return _no_boolean(value)


def _exact(value: Any) -> Any:
    """Check an amount. Raises ValueError for a whole number that a float cannot represent exactly."""
    value = _count(value)
    whole = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(whole, int) and (whole >= 2**63 or int(float(whole)) != whole):
        raise ValueError("a whole number above 2**53 cannot be stored exactly")
    return value


def _written_as_it_is(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    # Serialized as a float, a whole number would get a decimal point.
    return {**handler(source), "serialization": simple_ser_schema("any")}


def _amount(value: float) -> float:
    """Convert a whole number to int."""
    if value >= 2**63:
        raise ValueError("the number is too large to be stored")
    return int(value) if value.is_integer() else value


def no_nul(value: str) -> str:
    # PostgreSQL's text cannot contain NUL: the server would refuse the whole batch for one such row.
    if "\0" in value:
        raise ValueError("text must not contain a NUL character")
    return value


def _symbol(value: Any, checked: Callable[[Any], str]) -> str:
    """Convert a symbol to upper case, and keep the given spelling for a vendor whose symbols are case-sensitive."""
    # Checked again, it would become plain text without its spelling.
    if type(value) is Spelled:
        return value
    given = no_nul(checked(value))
    upper = given.upper()
    return given if upper == given else spelled(upper, given)


def _option_type(value: Any) -> Any:
    return _OPTION_TYPES.get(value.strip().upper(), value) if isinstance(value, str) else value


_OPTION_TYPES = {"C": "C", "CALL": "C", "P": "P", "PUT": "P"}


UuidText = Annotated[str, BeforeValidator(_uuid_text), AfterValidator(canonical_uuid), Sql("uuid")]
_NAME = (StringConstraints(strip_whitespace=True, min_length=1, max_length=255), AfterValidator(no_nul), Sql("text"))
Name = Annotated[str, *_NAME]
VendorId = Annotated[str, BeforeValidator(own_id), *_NAME]
Symbol = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=255),
    WrapValidator(_symbol),
    Sql("text"),
]
Currency = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=255, to_upper=True),
    AfterValidator(no_nul),
    Sql("text"),
]
Text = Annotated[str, AfterValidator(no_nul), Sql("text")]
Timeframe = Annotated[str, BeforeValidator(timeframes.canonical), Sql("text")]
Instant = Annotated[datetime, BeforeValidator(times.instant), Sql("timestamptz")]
Day = Annotated[date, BeforeValidator(times.day), Sql("date")]
Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False), Sql("double precision")]
OptionType = Annotated[Literal["C", "P"], BeforeValidator(_option_type), Sql("text")]
Count = Annotated[int, BeforeValidator(_count), Field(ge=0, le=2**63 - 1), Sql("bigint")]
Amount = Annotated[
    float,
    BeforeValidator(_exact),
    Field(ge=0, allow_inf_nan=False),
    AfterValidator(_amount),
    GetPydanticSchema(_written_as_it_is),
    Sql("double precision", amount=True),
]
_ItemName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(no_nul)]
Items = Annotated[
    dict[_ItemName, Number | None] | None,
    BeforeValidator(items.named),
    AfterValidator(items.some),
    Sql("jsonb"),
]
