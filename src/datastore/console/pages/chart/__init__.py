"""The page of a chart: candles and volume of one series, in the rollup that fits the zoom, beside others."""

import logging
from contextlib import closing
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from datastore import cold, reads, search
from datastore.console import markets
from datastore.console.asked import OneSeries
from datastore.console.guard import PREFIX
from datastore.console.pages.chart import data
from datastore.console.pages.chart.steps import steps
from datastore.console.rendering import HEADERS, Entry, page
from datastore.reads import SeriesRecord
from datastore.service.models import LARGEST_ID, Instant
from datastore.service.security import Reader
from datastore.service.state import Here, Service
from mds_client import Bar, ConfigurationError
from mds_client.cold.places import FileMissing, PlaceUnavailable

logger = logging.getLogger("datastore.service")

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
    first, last, unread = _extent(here, series)
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
        unread=unread,
        fitting=FITTING,
        most=data.MOST_BARS,
        market=markets.of(here.dsn, [series]).get((series.tenant, series.vendor, series.symbol)),
        others=[
            [str(each.id), f"{each.symbol} {each.vendor} {each.timeframe}"] for each in others if each.kind == "bars"
        ],
        compared=data.COMPARED,
    )


def _extent(here: Service, series: SeriesRecord) -> tuple[datetime | None, datetime | None, str | None]:
    """Return the times of the first and the last bar, and why old ones in files cannot be read, if so."""
    first, last = reads.extent(here.dsn, series.id)
    begin = cold.totals(here.dsn, series.tenant, "bars").begin
    if begin is None or series.last_ts is None:
        return first, last, None
    until = (first or series.last_ts) + timedelta(microseconds=1)
    coming: Any = here.client(series.tenant).iter_bars_window(
        str(series.symbol), str(series.timeframe), begin, max(begin, until), series.vendor, batch_rows=1,
        missing="ignore",
    )  # fmt: skip
    try:
        # Files are read one after the other, and no further than to the first bar.
        with closing(coming):
            oldest: list[Bar] = next(coming, [])
    except ConfigurationError as error:
        return first, last, str(error)
    except (FileMissing, PlaceUnavailable) as error:
        logger.warning("old bars of series %s cannot be read: %s", series.id, error)
        return first, last, "The files with old bars cannot be read at the moment. The service's log says why."
    return oldest[0].ts if oldest else first, last or series.last_ts, None


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
