"""The page of fundamentals: the figures of companies by period, with their currency."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from datastore import browsing
from datastore.console import markets
from datastore.console.asked import ChosenTenant, SoughtRows
from datastore.console.formats import NONE, cell, is_number
from datastore.console.rendering import Entry, page
from datastore.service.security import Reader
from datastore.service.state import Here
from mds_client import KINDS
from mds_client.schema import TENANT_COLUMN

ENTRY: Final = Entry("/fundamentals", "Fundamentals")

router = APIRouter()

SHOWN: Final = 200

NAMES: Final = ("vendor", "symbol", "period", "asof", "currency")
"""The fields that say what the figures of a row are. They have columns of their own in the page."""

UNSHOWN: Final = (*NAMES, "id", "items", TENANT_COLUMN)

MOST_ITEMS: Final = 40
"""The items with a column of their own: those that most of the rows have."""


@router.get("")
def fundamentals(request: Request, here: Here, _: Reader, choice: ChosenTenant, sought: SoughtRows) -> Response:
    """The figures by company, and of each the newest first."""
    tenant = choice.chosen
    vendors = [] if tenant is None else browsing.vendors(here.dsn, "fundamentals", tenant=tenant.id)
    found: Sequence[Any] = []
    more = False
    if tenant is not None and vendors:
        client = here.client(tenant.id)
        asked: dict[str, Any] = {
            "start": sought.start, "end": sought.end, "vendor": sought.vendor, "limit": SHOWN,
        }  # fmt: skip
        if sought.symbol is None:
            found, more = browsing.first_rows(here.dsn, client, "fundamentals", tenant=tenant.id, **asked)
        else:
            found, more = browsing.newest_rows(client, "fundamentals", symbol=sought.symbol, **asked)
    shown = sorted(found, key=lambda row: row.asof, reverse=True)
    shown.sort(key=lambda row: (row.symbol, row.vendor))
    clocks = [] if tenant is None else markets.of_rows(here.dsn, tenant.id, [(row.vendor, row.symbol) for row in shown])
    figures, items = _figures(shown), _items(shown)
    columns = [_texts([getattr(row, name) for row in shown]) for name in figures]
    columns += [_texts([(row.items or {}).get(name) for row in shown]) for name in items[:MOST_ITEMS]]
    return page(
        request,
        "pages/fundamentals/page.html",
        choice=choice,
        vendors=vendors,
        sought=sought,
        figures=[(name, _label(name)) for name in (*figures, *items[:MOST_ITEMS])],
        items_left=items[MOST_ITEMS:],
        rows=list(zip(shown, clocks, zip(*columns, strict=True) if columns else [()] * len(shown), strict=True)),
        more=more,
    )


def _figures(rows: Sequence[Any]) -> list[str]:
    """The fields with figures that some row has."""
    return [
        name
        for name in KINDS["fundamentals"].model.model_fields
        if name not in UNSHOWN and any(getattr(row, name) is not None for row in rows)
    ]


def _items(rows: Sequence[Any]) -> list[str]:
    """The names of the items of these rows, the most frequent first."""
    counts = Counter(name for row in rows for name, value in (row.items or {}).items() if value is not None)
    return sorted(counts, key=lambda name: (-counts[name], name))


def _texts(values: Sequence[Any]) -> list[str]:
    """The figures of a column, all with as many decimals as one needs, so that they are aligned."""
    if not all(value is None or is_number(value) for value in values):
        return [cell(value) for value in values]
    decimals = max(len(repr(round(value, 4)).partition(".")[2]) for value in values if value is not None)
    whole = all(value is None or value == round(value) for value in values)
    return [NONE if value is None else f"{value:,.{0 if whole else min(decimals, 4)}f}" for value in values]


def _label(name: str) -> str:
    """A field's name as words. A short one is an abbreviation."""
    words = name.replace("_", " ")
    return words.upper() if len(words) <= 3 else words.capitalize()
