"""The vendors whose symbols are case-sensitive. `AMpB` and `AMPB` are then two instruments.

A declaration is for all tenants. Every transaction of a client says which vendors it takes for case-sensitive
(`mds.spells_as`), and keeps a lock on the table of declarations until it ends. A new declaration takes that table for
itself. So a transaction is wholly before it or wholly after it, and no client writes a name in the wrong spelling.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier, Literal
from pydantic import TypeAdapter, ValidationError

from datastore.connections import as_owner
from datastore.engines import one
from datastore.errors import ControlError
from datastore.names import STORE
from mds_client import KINDS
from mds_client.models import Name
from mds_client.schema import SERIES_COLUMNS, SYMBOLS
from mds_client.sql import suspect
from mds_client.values.spelling import Spelling, in_upper_case

T = TypeVar("T")

WAIT_S: Final = 30.0
"""How long a declaration waits for the transactions that run, in seconds."""

_LOCK_MS: Final = 500
"""How long it waits at once. New transactions of clients wait with it for so long."""

_PAUSE_S: Final = 0.5

SEARCH_S: Final = 10.0
"""How long the search for symbols that are not in upper case may keep all clients waiting, in seconds."""


class VendorError(ControlError):
    """A vendor cannot be declared as requested."""


@dataclass(frozen=True, slots=True)
class CaseSensitive:
    """A vendor whose symbols are case-sensitive, since when, and the number of its series, those of all tenants."""

    vendor: str
    declared_at: datetime
    series: int


def declared(dsn: str) -> list[CaseSensitive]:
    """Return the vendors whose symbols are case-sensitive, by name."""
    with as_owner(dsn) as (_, driver), driver.cursor(row_factory=class_row(CaseSensitive)) as cursor:
        return cursor.execute(
            "SELECT v.vendor, v.declared_at, count(s.vendor) AS series"
            " FROM store.case_sensitive_vendors AS v LEFT JOIN store.series AS s USING (vendor)"
            ' GROUP BY v.vendor ORDER BY v.vendor COLLATE "C"'
        ).fetchall()


def declare(dsn: str, vendor: str, *, wait_s: float = WAIT_S) -> CaseSensitive:
    """Declare a vendor's symbols case-sensitive. You can repeat it.

    Names that are stored already stay as they are, in upper case.

    Args:
        dsn: The control plane's DSN.
        vendor: The vendor.
        wait_s: How long to wait for transactions that run.

    Raises:
        VendorError: The vendor's name is invalid, or transactions ran for longer.
    """
    name = _named(vendor)

    def change(driver: psycopg.Connection[Any]) -> datetime:
        driver.execute("INSERT INTO store.case_sensitive_vendors (vendor) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
        since = "SELECT declared_at FROM store.case_sensitive_vendors WHERE vendor = %s"
        return cast("datetime", one(driver.execute(since, (name,))))

    declared_at = _changed(dsn, change, wait_s)
    # Counted behind it, because all clients wait for the change.
    with as_owner(dsn) as (_, driver):
        series = one(driver.execute("SELECT count(*) FROM store.series WHERE vendor = %s", (name,)))
    return CaseSensitive(name, declared_at, series)


def withdraw(dsn: str, vendor: str, *, wait_s: float = WAIT_S) -> bool:
    """Take a declaration back, so that symbols are in upper case again. Returns False if there was none.

    It looks for symbols with lower-case letters, also in the rows of kinds whose series have no symbol, such as news.
    It looks once while everything goes on, and once more while all clients wait for it.

    Args:
        dsn: The control plane's DSN.
        vendor: The vendor.
        wait_s: How long to wait for transactions that run.

    Raises:
        VendorError: Symbols with lower-case letters are stored, transactions ran for longer, or clients would wait for
            the search for longer than `SEARCH_S`.
    """
    name = _named(vendor)

    def change(driver: psycopg.Connection[Any]) -> bool:
        if not driver.execute("DELETE FROM store.case_sensitive_vendors WHERE vendor = %s", (name,)).rowcount:
            return False
        driver.execute(SQL("SET LOCAL statement_timeout = {}").format(Literal(round(SEARCH_S * 1000))))
        _check_upper_case(driver, name)
        return True

    with as_owner(dsn) as (_, driver):
        if name not in spelling(driver).vendors:
            return False
        _check_upper_case(driver, name)
    try:
        return _changed(dsn, change, wait_s)
    except psycopg.errors.QueryCanceled as error:
        raise VendorError(
            f"{name} has so many rows that the search for symbols that are not in upper case took more than"
            f" {SEARCH_S:g} s, in which all clients wait: delete some of its rows first, or leave the declaration"
        ) from error


def _check_upper_case(driver: psycopg.Connection[Any], vendor: str) -> None:
    """Raise VendorError if a symbol of the vendor would not be found without its declaration."""
    if held := _in_lower_case(driver, vendor):
        some = ", ".join(held[:5])
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        raise VendorError(
            f"{vendor} has symbols that are not in upper case: {some}{more}. They could not be found any more. Delete"
            " these rows first (datastore delete), or leave the declaration"
        )


def spelling(driver: psycopg.Connection[Any]) -> Spelling:
    """Return how symbols are spelled at this moment."""
    return Spelling.of(name for (name,) in driver.execute("SELECT vendor FROM store.case_sensitive_vendors").fetchall())


def _changed(dsn: str, change: Callable[[psycopg.Connection[Any]], T], wait_s: float) -> T:
    """Change the declarations while no client's transaction runs."""
    until = time.monotonic() + wait_s
    while True:
        try:
            with as_owner(dsn) as (_, driver):
                driver.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(_LOCK_MS)))
                driver.execute("LOCK TABLE store.case_sensitive_vendors IN ACCESS EXCLUSIVE MODE")
                driver.execute("SET LOCAL lock_timeout = 0")
                return change(driver)
        except psycopg.errors.LockNotAvailable as error:
            if time.monotonic() > until:
                raise VendorError(
                    f"transactions have been running for more than {wait_s:g} s, and a declaration changes between"
                    " transactions only: try again when they have ended (pg_stat_activity lists them)"
                ) from error
        time.sleep(_PAUSE_S)


def _in_lower_case(driver: psycopg.Connection[Any], vendor: str) -> list[str]:
    """Return the vendor's symbols, of all tenants, that are not in upper case and have rows."""
    found = set[str]()
    for part in SYMBOLS:
        if part not in SERIES_COLUMNS:
            continue
        name = Identifier("s", part)
        found.update(
            symbol
            for (symbol,) in driver.execute(
                SQL(
                    "SELECT DISTINCT {} FROM {}.series AS s WHERE s.vendor = %s AND s.last_ts IS NOT NULL AND {}"
                ).format(name, Identifier(STORE), suspect(name)),
                (vendor,),
            )
        )
    for kind in KINDS.values():
        for part in kind.symbols:
            if part in kind.series:
                continue
            name = Identifier("r", part)
            found.update(
                symbol
                for (symbol,) in driver.execute(
                    SQL("SELECT DISTINCT {} FROM {} AS r WHERE r.series_id = ANY(%s) AND {}").format(
                        name, Identifier(STORE, kind.name), suspect(name)
                    ),
                    (_series_ids(driver, kind.name, vendor),),
                )
            )
    return sorted(symbol for symbol in found if in_upper_case(symbol) != symbol)


def _series_ids(driver: psycopg.Connection[Any], kind: str, vendor: str) -> list[int]:
    rows = driver.execute("SELECT series_id FROM store.series WHERE kind = %s AND vendor = %s", (kind, vendor))
    return [series_id for (series_id,) in rows.fetchall()]


def _named(vendor: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(vendor)
    except ValidationError as error:
        raise VendorError(f"vendor: {error.errors()[0]['msg']}") from error
