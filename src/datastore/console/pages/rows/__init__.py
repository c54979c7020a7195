"""The page of rows: the rows of any kind as a table, of a series or of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from datastore import browsing
from datastore.console import markets
from datastore.console.asked import ChosenTenant, OneSeries, SoughtRows
from datastore.console.formats import column, is_number
from datastore.console.guard import PREFIX
from datastore.console.markets import Market
from datastore.console.rendering import HEADERS, Entry, page
from datastore.service.models import Kind, Name
from datastore.service.security import Reader
from datastore.service.state import Here, Service
from mds_client import KINDS
from mds_client.schema import SERIES_COLUMNS, TENANT_COLUMN

ENTRY: Final = Entry("/rows", "Rows")

router = APIRouter()

SHOWN: Final = 200

LONG: Final = 40
"""Characters of a text from which on it is cut. All of it is shown on hover."""

SPAN: Final = timedelta(days=7)
"""The default window: the end of the stored rows."""


@router.get("/{id:id}")
def of_series(series: OneSeries) -> Response:
    """Go to the rows of a series."""
    named = {"kind": series.kind, "tenant": series.tenant, "vendor": series.vendor}
    more = {name: getattr(series, name) for name in ("symbol", "timeframe") if getattr(series, name)}
    return RedirectResponse(f"{PREFIX}/rows?{urlencode({**named, **more})}", 303, HEADERS)


@router.get("")
def rows(
    request: Request,
    here: Here,
    _: Reader,
    choice: ChosenTenant,
    sought: SoughtRows,
    kind: Annotated[Kind, Query()] = "news",
    timeframe: Annotated[Name | None, Query()] = None,
) -> Response:
    """Rows of a window of time, by series and then by time."""
    tenant = choice.chosen
    vendors = [] if tenant is None else browsing.vendors(here.dsn, kind, tenant=tenant.id)
    newest = None
    if tenant is not None and sought.end is None:
        newest = browsing.newest(here.dsn, kind, tenant=tenant.id, vendor=sought.vendor, timeframe=timeframe)
    until = sought.end or (newest or datetime.now(UTC)).replace(microsecond=0) + timedelta(seconds=1)
    since = sought.start or until - SPAN
    shown: Sequence[Any] = []
    more = False
    if tenant is not None and vendors:
        shown, more = browsing.first_rows(
            here.dsn,
            here.client(tenant.id),
            kind,
            tenant=tenant.id,
            start=since,
            end=until,
            vendor=sought.vendor,
            symbol=sought.symbol,
            timeframe=timeframe,
            limit=SHOWN,
        )
    columns = _columns(kind, shown)
    clocks = [] if tenant is None else _markets(here, tenant.id, shown)
    return page(
        request,
        "pages/rows/page.html",
        choice=choice,
        kinds=list(KINDS),
        kind=kind,
        vendors=vendors,
        sought=sought,
        timeframe=timeframe,
        has_timeframe="timeframe" in KINDS[kind].series,
        columns=[(name, any(is_number(getattr(row, name)) for row in shown)) for name in columns],
        rows=list(zip(clocks, _cells(columns, shown), strict=True)),
        more=more,
        start=since,
        until=until,
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a row: its text, the class of its cell, and the moment if it is one. `title` is a text that is cut."""

    text: str
    css: str
    title: str | None = None
    moment: datetime | None = None


def _cells(columns: Sequence[str], rows: Sequence[Any]) -> list[tuple[Cell, ...]]:
    """The cells of each row."""
    made = []
    for name in columns:
        values = [getattr(row, name) for row in rows]
        made.append([_cell(value, text) for value, text in zip(values, column(values), strict=True)])
    return list(zip(*made, strict=True))


def _cell(value: Any, text: str) -> Cell:
    if isinstance(value, datetime):
        return Cell(text, "", moment=value)
    if isinstance(value, str) and len(value) > LONG:
        return Cell(text, "cut", title=value)
    return Cell(text, "number" if is_number(value) else "")


def _markets(here: Service, tenant: UUID, rows: Sequence[Any]) -> list[Market | None]:
    return markets.of_rows(here.dsn, tenant, [(row.vendor, getattr(row, "symbol", None)) for row in rows])


def _columns(kind: str, found: Sequence[Any]) -> list[str]:
    """The fields of a kind, names and time first; those that no row has are left out."""
    declared = KINDS[kind]
    fields = [name for name in type(found[0]).model_fields if name != TENANT_COLUMN] if found else []
    first = [declared.time, *SERIES_COLUMNS]
    ordered = sorted(fields, key=lambda name: first.index(name) if name in first else len(first))
    return [name for name in ordered if any(getattr(row, name) is not None for row in found)]
