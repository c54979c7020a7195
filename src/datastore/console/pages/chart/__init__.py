"""The page of a chart: candles and volume of one series, in the rollup that fits the zoom, beside others."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from datastore import reads, search
from datastore.console import markets
from datastore.console.asked import OneSeries
from datastore.console.guard import PREFIX
from datastore.console.pages.chart import data
from datastore.console.pages.chart.steps import steps
from datastore.console.rendering import HEADERS, Entry, page
from datastore.service.models import LARGEST_ID, Instant
from datastore.service.security import Reader
from datastore.service.state import Here

ENTRY: Final = Entry("/chart", "Chart")

router = APIRouter()
router.include_router(data.router)

FITTING: Final = 1_500
"""Bars of the window that is shown at first, and up to which a finer timeframe is taken."""


@router.get("")
def freshest(here: Here, token: Reader) -> Response:
    """Go to the chart of the series that was written last."""
    found = search.search_series(here.dsn, tenant=token.tenant, kind="bars", order="fresh", limit=1)
    where = f"chart/{found.items[0].id}" if found.items else "series"
    return RedirectResponse(f"{PREFIX}/{where}", 303, HEADERS)


@router.get("/{id:id}")
def chart(
    request: Request,
    here: Here,
    token: Reader,
    series: OneSeries,
    timeframe: Annotated[str, Query(max_length=16)] = "auto",
    start: Annotated[Instant | None, Query()] = None,
    end: Annotated[Instant | None, Query()] = None,
    compare: Annotated[list[Annotated[int, Query(ge=1, le=LARGEST_ID)]], Query(max_length=data.COMPARED)] = [],  # noqa: B006
) -> Response:
    """The page, of the newest bars or of a window that a link names."""
    if series.kind != "bars":
        return RedirectResponse(f"{PREFIX}/rows/{series.id}", 303, HEADERS)
    there = steps(series)
    first, last = reads.extent(here.dsn, series.id)
    shown = timeframe if timeframe in there else "auto"
    window = None if first is None or last is None else _window(there, shown, first, last, start, end)
    others = reads.some_series(here.dsn, compare, tenant=token.tenant) if compare else []
    return page(
        request,
        "pages/chart/page.html",
        series=series,
        name=f"{series.symbol} · {series.vendor} · {series.timeframe}",
        steps=there,
        timeframe=shown,
        first=first,
        last=last,
        window=window,
        fitting=FITTING,
        market=markets.of(here.dsn, [series]).get((series.tenant, series.vendor, series.symbol)),
        others=[
            [str(each.id), f"{each.symbol} {each.vendor} {each.timeframe}"] for each in others if each.kind == "bars"
        ],
        compared=data.COMPARED,
    )


def _window(
    there: dict[str, int], shown: str, first: datetime, last: datetime, start: datetime | None, end: datetime | None
) -> tuple[datetime, datetime]:
    """Return the window to show: that of the link, or the newest few hundred bars."""
    end = end or last + timedelta(seconds=1)
    if start is None:
        step = there.get(shown) or list(there.values())[min(1, len(there) - 1)]
        # Markets are closed for most of the day, and a day's bar is there for five of seven days.
        start = end - timedelta(seconds=step) * (300 if step >= 86_400 else 900)
    return max(start, first) if start < end else first, end
