"""The models of answers: the control plane's dataclasses, pages of them, and types that requests share."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final, Generic, TypeVar, get_type_hints

from fastapi import Header, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, create_model
from starlette.convertors import Convertor, register_url_convertor

from datastore import idempotency
from mds_client import KINDS, models

T = TypeVar("T")

Seconds = Annotated[timedelta, PlainSerializer(timedelta.total_seconds, return_type=float, when_used="json")]
"""A duration; in JSON a number of seconds, as in the command line's output."""


@cache
def model_of(declared: type) -> Any:
    """Return a model of a frozen dataclass with its name, fields and docstring; durations are in seconds."""
    hints = get_type_hints(declared)
    definitions: dict[str, Any] = {
        field.name: (_with_seconds(hints[field.name]), ...) for field in fields(declared)
    }  # fmt: skip
    return create_model(
        declared.__name__, __config__=ConfigDict(from_attributes=True), __doc__=declared.__doc__, **definitions
    )


def _with_seconds(hint: Any) -> Any:
    if hint is timedelta:
        return Seconds
    return Seconds | None if hint == timedelta | None else hint


class Page(BaseModel, Generic[T]):
    """A page of a list. Pass `next` as `after` to get the following items; it is null at the end."""

    model_config = ConfigDict(from_attributes=True)

    items: list[T]
    next: str | None = None


def list_of(declared: type) -> Any:
    """Return the model of a list of these dataclasses."""
    made: Any = model_of(declared)
    return list[made]


def page_of(declared: type) -> Any:
    """Return the model of a page of these dataclasses."""
    made: Any = model_of(declared)
    return Page[made]


def page(found: Sequence[T], limit: int, cursor: Callable[[T], object]) -> dict[str, Any]:
    """Build a page of at most `limit` items from up to `limit` + 1, whose last one shows that more follow."""
    return page_with(found[:limit], len(found) > limit, cursor)


def page_with(items: Sequence[T], more: bool, cursor: Callable[[T], object]) -> dict[str, Any]:
    """Build a page; `more` says whether items follow the last one."""
    return {"items": items, "next": str(cursor(items[-1])) if more else None}


def _sendable(value: str) -> str:
    if "\0" in value:
        raise ValueError("text must not contain a NUL character")
    return value


def _declared(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"the kind must be one of: {', '.join(KINDS)}")
    return value


Kind = Annotated[str, AfterValidator(_declared), Field(json_schema_extra={"enum": list(KINDS)})]
Instant = Annotated[models.Instant, Field(description="a time; without a zone it is UTC")]
Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_sendable)]

LARGEST_ID: Final = 2**63 - 1


class _Id(Convertor[int]):
    """A number in a path: `{id:id}`. Text with other characters or more digits does not match the path."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("id", _Id())

Limit = Annotated[int, Query(ge=1, le=1000, description="how many at the most")]
After = Annotated[int | None, Query(ge=0, le=LARGEST_ID, description="`next` of the page before")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=idempotency.PATTERN,
        description="the same key is the same job, however often asked for; another request with it is a conflict",
        examples=["refresh-2024-01"],
    ),
]


class Body(BaseModel):
    """The base of request bodies: an object without unknown fields."""

    model_config = ConfigDict(extra="forbid")
