"""Search for series by parts of their names, by kind, and in a useful order."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Composed, Placeholder

from datastore.connections import connect
from datastore.errors import ControlError
from datastore.names import TENANT_BITS
from datastore.reads import range_of
from datastore.vendors import spelling
from mds_client import KINDS
from mds_client.values.timeframes import UNITS

Order = Literal["stale", "fresh", "symbol"]

ORDERS: Final[tuple[str, ...]] = get_args(Order)

# The key of each order, and whether it is ascending. The id makes the order total.
_KEYS: Final = {
    "stale": (SQL("coalesce(s.last_ts, '-infinity')"), True),
    "fresh": (SQL("coalesce(s.last_ts, '-infinity')"), False),
    "symbol": (SQL("coalesce(s.symbol, '')"), True),
}

_WHERE: Final = """
s.series_id >= %(floor)s AND s.series_id < %(ceiling)s AND (%(kind)s::text IS NULL OR s.kind = %(kind)s)
"""

# Most symbols are stored in upper case, and timeframes in lower case. A case-insensitive comparison of either costs as
# much as everything else together.
_WORD: Final = "(s.symbol LIKE {upper} OR s.vendor ILIKE {word}{more})"
_OF_TIMEFRAME: Final = " OR s.timeframe LIKE {}"
_OF_CASE_SENSITIVE: Final = " OR (s.vendor = ANY(%(case_sensitive)s::text[]) AND s.symbol ILIKE {})"

WORDS: Final = 8
"""The largest number of words in a search text; further ones are ignored."""

_PARTS_OF_UNITS: Final = {
    unit[at:to] for unit in UNITS for at in range(len(unit)) for to in range(at + 1, len(unit) + 1)
}

_IN_TIMEFRAME: Final = re.compile("[0-9]*(?:{})?".format("|".join(sorted(_PARTS_OF_UNITS))), re.IGNORECASE)
"""What a timeframe can contain: digits, and a part of a unit. Other words are not compared with the timeframe of every
series."""

# The sort has the keys and ids only: with all columns it takes almost twice as long.
_PAGE: Final = """
SELECT s.series_id AS id, t.id AS tenant, t.name AS tenant_name, s.kind, s.vendor, s.symbol, s.timeframe,
       s.root, s.last_ts, s.last_price
FROM (
  SELECT s.series_id FROM store.series AS s
  WHERE {where} AND (%(after)s::bigint IS NULL OR ({key}, s.series_id) {beyond} (
    SELECT {key}, s.series_id FROM store.series AS s
    WHERE s.series_id = %(after)s AND s.series_id >= %(floor)s AND s.series_id < %(ceiling)s))
  ORDER BY {key} {direction}, s.series_id {direction} LIMIT %(limit)s
) AS found JOIN store.series AS s USING (series_id) JOIN store.tenants AS t ON t.no = s.series_id >> %(bits)s
ORDER BY {key} {direction}, s.series_id {direction}
"""


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series with the name of its tenant. `last_ts` is the time of its newest row (UTC), None if it never had one;
    `last_price` is its newest price."""

    id: int
    tenant: UUID
    tenant_name: str
    kind: str
    vendor: str
    symbol: str | None
    timeframe: str | None
    root: str | None
    last_ts: datetime | None
    last_price: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of series, whether more follow, and the total number.

    `total` is at most `COUNTED`, which means that many or more. It is None if a search text finds more than a page.
    """

    items: list[FoundSeries]
    more: bool
    total: int | None


COUNTED: Final = 10_000
"""The largest number of series that are counted. Counting all of a large store takes as long as finding a page."""


def search_series(
    dsn: str,
    text: str = "",
    *,
    tenant: UUID | None = None,
    kind: str | None = None,
    order: Order = "stale",
    after: int | None = None,
    limit: int = 50,
) -> Found:
    """Find series whose symbol, vendor and timeframe contain every word of a text, whatever their case.

    Args:
        dsn: The control plane's DSN.
        text: Words, separated by spaces; an empty text finds every series.
        tenant: Only this tenant's series.
        kind: Only series of this kind.
        order: `stale` begins with the oldest newest rows, `fresh` with the latest; `symbol` is alphabetical.
        after: The id of the last series of the page before.
        limit: The largest number of series of a page.

    Raises:
        UnknownTenant: There is no such tenant.
        ControlError: There is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise ControlError(KINDS.unknown(kind))
    with connect(dsn) as connection, connection.cursor(row_factory=class_row(FoundSeries)) as cursor:
        cursor.execute("SET LOCAL TimeZone TO 'UTC'")
        # The JIT is for statements that take seconds; compiling this one takes longer than running it.
        cursor.execute("SET LOCAL jit TO off")
        floor, ceiling = range_of(connection, tenant)
        parameters: dict[str, object] = {
            "floor": floor,
            "ceiling": ceiling,
            "kind": kind,
            "after": after,
            "limit": limit + 1,
            "bits": TENANT_BITS,
        }
        words = text.split()[:WORDS]
        for number, word in enumerate(words):
            for name, spelled in (("word", word), ("upper", word.upper()), ("lower", word.lower())):
                parameters[f"{name}{number}"] = f"%{_escaped(spelled)}%"
        parameters["case_sensitive"] = spelling(connection).parameter
        matching = _matching(words, case_sensitive=bool(parameters["case_sensitive"]))
        items = cursor.execute(_page(order, matching), parameters).fetchall()
        more = len(items) > limit
        total = len(items) if not more and after is None else None if words else _count(connection, parameters)
    return Found(items[:limit], more, total)


def _matching(words: Sequence[str], *, case_sensitive: bool) -> Composed:
    """Return the condition on a series that its names contain each of the words.

    `case_sensitive`: some vendors' symbols are not in upper case. Words match them in any letters.
    """
    conditions = []
    for number, word in enumerate(words):
        more = []
        if _IN_TIMEFRAME.fullmatch(word):
            more.append(SQL(_OF_TIMEFRAME).format(Placeholder(f"lower{number}")))
        if case_sensitive:
            more.append(SQL(_OF_CASE_SENSITIVE).format(Placeholder(f"word{number}")))
        conditions.append(
            SQL(_WORD).format(
                upper=Placeholder(f"upper{number}"), word=Placeholder(f"word{number}"), more=SQL("").join(more)
            )
        )
    return SQL(" AND ").join([SQL(_WHERE), *conditions])


def _count(connection: psycopg.Connection[Any], parameters: Mapping[str, object]) -> int:
    counted = SQL("SELECT count(*) FROM (SELECT FROM store.series AS s WHERE {} LIMIT {}) AS counted")
    row = connection.execute(counted.format(SQL(_WHERE), COUNTED), parameters).fetchone()
    assert row is not None
    return int(row[0])


def symbols(
    dsn: str, tenant: UUID, vendor: str, timeframe: str, text: str = "", *, after: str = "", limit: int = 50
) -> list[str]:
    """Return the symbols of which a vendor has bars in a timeframe, in alphabetical order.

    Args:
        dsn: The control plane's DSN.
        tenant: The tenant.
        vendor: The vendor.
        timeframe: The timeframe.
        text: Only symbols that contain this, in upper or lower case.
        after: The last symbol of the page before.
        limit: The largest number of symbols.

    Raises:
        UnknownTenant: There is no such tenant.
    """
    with connect(dsn) as connection:
        floor, _ = range_of(connection, tenant)
        found = connection.execute(
            "SELECT symbol FROM store.series WHERE (series_id >> %s) = %s AND kind = 'bars' AND vendor = %s"
            " AND timeframe = %s AND symbol ILIKE %s AND symbol > %s ORDER BY symbol LIMIT %s",
            (TENANT_BITS, floor >> TENANT_BITS, vendor, timeframe, f"%{_escaped(text)}%", after, limit),
        ).fetchall()
    return [symbol for (symbol,) in found]


def _page(order: Order, matching: Composed) -> Composed:
    key, up = _KEYS[order]
    return SQL(_PAGE).format(
        where=matching, key=key, beyond=SQL(">" if up else "<"), direction=SQL("ASC" if up else "DESC")
    )


def _escaped(word: str) -> str:
    """Escape a word for LIKE."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
