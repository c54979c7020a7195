"""The page of rows: options, news, fundamentals and bars as tables, a series or a kind at a time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from datastore import reads
from datastore.console import markets
from datastore.console.asked import ChosenTenant, OneSeries
from datastore.console.guard import PREFIX
from datastore.console.rendering import HEADERS, Entry, page
from datastore.service.models import Instant, Kind, Name
from datastore.service.security import Reader
from datastore.service.state import Here
from mds_client import KINDS
from mds_client.schema import SERIES_COLUMNS, TENANT_COLUMN

ENTRY: Final = Entry("/rows", "Rows")

router = APIRouter()

SHOWN: Final = 200
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
    kind: Annotated[Kind, Query()] = "news",
    vendor: Annotated[Name | None, Query()] = None,
    symbol: Annotated[Name | None, Query()] = None,
    timeframe: Annotated[Name | None, Query()] = None,
    start: Annotated[Instant | None, Query()] = None,
    end: Annotated[Instant | None, Query()] = None,
) -> Response:
    """Rows of a window of time, by series and then by time."""
    tenant = choice.chosen
    fresh = [] if tenant is None else reads.freshness(here.dsn, tenant=tenant.id)
    of_kind = [each for each in fresh if each.kind == kind]
    fitting = [each for each in of_kind if vendor in (None, each.vendor) and timeframe in (None, each.timeframe)]
    until, since = _window(start, end, [each.newest for each in fitting if each.newest])
    found: list[Any] = []
    if tenant is not None and fitting:
        found = list(
            reads.window(
                here.client(tenant.id),
                kind,
                start=since,
                end=until,
                vendor=vendor,
                symbols=None if symbol is None else [symbol],
                timeframe=timeframe,
                limit=SHOWN + 1,
            )
        )
    shown = found[:SHOWN]
    columns = _columns(kind, shown)
    clocks = [] if tenant is None else markets.of_rows(here.dsn, tenant.id, shown)
    return page(
        request,
        "pages/rows/page.html",
        choice=choice,
        kinds=list(KINDS),
        kind=kind,
        vendors=sorted({each.vendor for each in of_kind}),
        vendor=vendor,
        symbol=symbol,
        timeframe=timeframe,
        has_timeframe="timeframe" in KINDS[kind].series,
        columns=columns,
        rows=[(market, [getattr(row, name) for name in columns]) for row, market in zip(shown, clocks, strict=True)],
        more=len(found) > SHOWN,
        start=since,
        until=until,
    )


def _window(start: datetime | None, end: datetime | None, newest: list[datetime]) -> tuple[datetime, datetime]:
    """The end and the start of what is shown."""
    until = end or max(newest, default=datetime.now(UTC)) + timedelta(seconds=1)
    return until, start or until - SPAN


def _columns(kind: str, found: list[Any]) -> list[str]:
    """The fields of a kind, names and time first; those that no row has are left out."""
    declared = KINDS[kind]
    fields = [name for name in type(found[0]).model_fields if name != TENANT_COLUMN] if found else []
    first = [declared.time, *SERIES_COLUMNS]
    ordered = sorted(fields, key=lambda name: first.index(name) if name in first else len(first))
    return [name for name in ordered if any(getattr(row, name) is not None for row in found)]
