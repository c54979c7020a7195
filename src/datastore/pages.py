"""Pages of rows of unknown size: as many rows as requested, up to a limit in bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import psycopg
from psycopg.abc import Params
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Literal
from psycopg.types.json import set_json_loads

T = TypeVar("T")

MOST_BYTES: Final = 16 << 20
"""Maximum size of a page in bytes; the batch that exceeds it is still returned."""

STEP: Final = 10
"""The number of rows that are read at once."""

_WEIGHED: Final = SQL("SELECT page.*, octet_length(page::text) AS weight FROM ({}) AS page ORDER BY id DESC LIMIT {}")


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """A page of items, and whether more follow after the last one."""

    items: list[T]
    more: bool


def read_page(
    connection: psycopg.Connection[Any],
    query: Composable,
    parameters: Params,
    row: Callable[..., T],
    limit: int,
    loads: Callable[[str | bytes], Any] | None = None,
) -> ListPage[T]:
    """Return up to `limit` of a query's rows, by descending `id`, in a transaction; fewer if they are large.

    `row` builds an item from its columns by name; `loads` parses JSON.
    """
    size = 0
    with connection.cursor("page", row_factory=dict_row) as cursor:
        if loads is not None:
            set_json_loads(loads, cursor)
        cursor.execute(_WEIGHED.format(query, Literal(limit + 1)), parameters)
        found: list[T] = []
        while len(found) < limit and size < MOST_BYTES:
            if not (step := cursor.fetchmany(min(STEP, limit - len(found)))):
                return ListPage(found, more=False)
            size += sum(values.pop("weight") for values in step)
            found += [row(**values) for values in step]
        return ListPage(found, more=cursor.fetchone() is not None)
