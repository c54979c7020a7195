"""Pages of rows whose size others choose: as many as were asked for, and no more than there is room for."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import psycopg
from psycopg.abc import Params, Query
from psycopg.rows import class_row
from psycopg.types.json import set_json_loads

T = TypeVar("T")

MOST_BYTES: Final = 16 << 20
"""How much JSON a page has at most, but for what comes with the row that is too much."""

STEP: Final = 10
"""How many rows are read at once: so many may be too much together."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many things, and whether more follow behind the last one."""

    items: list[T]
    more: bool


def read_page(
    connection: psycopg.Connection[Any],
    query: Query,
    parameters: Params,
    row: type[T],
    limit: int,
    loads: Callable[[str | bytes], Any] = json.loads,
) -> Page[T]:
    """Up to `limit` of the rows of a query, in a transaction; fewer where their JSON is MOST_BYTES.

    `loads` reads the JSON.
    """
    size = 0

    def weighed(text: str | bytes) -> Any:
        nonlocal size
        size += len(text)
        return loads(text)

    with connection.cursor("page", row_factory=class_row(row)) as cursor:
        set_json_loads(weighed, cursor)
        cursor.execute(query, parameters)
        found: list[T] = []
        while len(found) < limit and size < MOST_BYTES:
            if not (step := cursor.fetchmany(min(STEP, limit - len(found)))):
                return Page(found, more=False)
            found += step
        return Page(found, more=cursor.fetchone() is not None)
