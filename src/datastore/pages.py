"""Pages of rows whose size others choose: as many as were asked for, and no more than there is room for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import psycopg
from psycopg.abc import Params
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable
from psycopg.types.json import set_json_loads

T = TypeVar("T")

MOST_BYTES: Final = 16 << 20
"""How much text a page has at most, but for what comes with the row that is too much."""

STEP: Final = 10
"""How many rows are read at once: so many may be too much together."""

_WEIGHED: Final = SQL("SELECT page.*, octet_length(page::text) AS weight FROM ({}) AS page ORDER BY id DESC")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many things, and whether more follow behind the last one."""

    items: list[T]
    more: bool


def read_page(
    connection: psycopg.Connection[Any],
    query: Composable,
    parameters: Params,
    row: Callable[..., T],
    limit: int,
    loads: Callable[[str | bytes], Any] | None = None,
) -> Page[T]:
    """Up to `limit` of a query's rows, by `id` from the largest down, in a transaction; fewer where they are large.

    `row` makes one of its columns, by name; `loads` reads JSON.
    """
    size = 0
    with connection.cursor("page", row_factory=dict_row) as cursor:
        if loads is not None:
            set_json_loads(loads, cursor)
        cursor.execute(_WEIGHED.format(query), parameters)
        found: list[T] = []
        while len(found) < limit and size < MOST_BYTES:
            if not (step := cursor.fetchmany(min(STEP, limit - len(found)))):
                return Page(found, more=False)
            size += sum(values.pop("weight") for values in step)
            found += [row(**values) for values in step]
        return Page(found, more=cursor.fetchone() is not None)
