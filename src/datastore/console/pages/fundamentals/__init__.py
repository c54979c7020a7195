"""The page of fundamentals: the figures of companies by period, with their currency."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from datastore import reads
from datastore.console import markets
from datastore.console.asked import ChosenTenant, SoughtRows
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

UNSHOWN: Final = (*NAMES, "id", TENANT_COLUMN)


@router.get("")
def fundamentals(request: Request, here: Here, _: Reader, choice: ChosenTenant, sought: SoughtRows) -> Response:
    """The figures by company, and of each the newest first."""
    tenant = choice.chosen
    vendors = [] if tenant is None else reads.vendors(here.dsn, "fundamentals", tenant=tenant.id)
    found: list[Any] = []
    if tenant is not None and vendors:
        found = list(
            reads.window(
                here.client(tenant.id),
                "fundamentals",
                start=sought.start,
                end=sought.end,
                vendor=sought.vendor,
                symbols=None if sought.symbol is None else [sought.symbol],
                limit=SHOWN + 1,
            )
        )
    # They come by series and time. What is left out is of the last company, or of further ones.
    shown = sorted(found[:SHOWN], key=lambda row: row.asof, reverse=True)
    shown.sort(key=lambda row: (row.symbol, row.vendor))
    clocks = [] if tenant is None else markets.of_rows(here.dsn, tenant.id, [(row.vendor, row.symbol) for row in shown])
    figures = _figures(shown)
    return page(
        request,
        "pages/fundamentals/page.html",
        choice=choice,
        vendors=vendors,
        sought=sought,
        figures=[(name, _label(name)) for name in figures],
        rows=[
            (row, market, [getattr(row, name) for name in figures]) for row, market in zip(shown, clocks, strict=True)
        ],
        more=len(found) > SHOWN,
    )


def _figures(rows: Sequence[Any]) -> list[str]:
    """The fields with figures that some row has."""
    return [
        name
        for name in KINDS["fundamentals"].model.model_fields
        if name not in UNSHOWN and any(getattr(row, name) is not None for row in rows)
    ]


def _label(name: str) -> str:
    """A field's name as words. A short one is an abbreviation."""
    words = name.replace("_", " ")
    return words.upper() if len(words) <= 3 else words.capitalize()
