"""The page of a chart: candles and volume of one series, in the rollup that fits the zoom."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from datastore import gaps, reads, search
from datastore.console.asked import OneSeries
from datastore.console.guard import PREFIX
from datastore.console.rendering import HEADERS, Entry, page
from datastore.errors import ControlError
from datastore.gaps import GapError
from datastore.reads import SeriesRecord
from datastore.service import bars
from datastore.service.bars import Asked
from datastore.service.models import Instant
from datastore.service.problems import Refusal
from datastore.service.security import Reader
from datastore.service.state import Here
from mds_client import KINDS, Bar
from mds_client.rollups import stored_columns
from mds_client.sheets import csv_parts, records

ENTRY: Final = Entry("/chart", "Chart")

router = APIRouter()

MOST_BARS: Final = 20_000
"""Bars of one answer. The page asks for a few thousand at a time."""

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
    series: OneSeries,
    timeframe: Annotated[str, Query(max_length=16)] = "auto",
    start: Annotated[Instant | None, Query()] = None,
    end: Annotated[Instant | None, Query()] = None,
) -> Response:
    """The page, of the newest bars or of a window that a link names."""
    if series.kind != "bars":
        return RedirectResponse(f"{PREFIX}/rows/{series.id}", 303, HEADERS)
    steps = _steps(series)
    first, last = reads.extent(here.dsn, series.id)
    shown = timeframe if timeframe in steps else "auto"
    window = None if first is None or last is None else _window(steps, shown, first, last, start, end)
    return page(
        request,
        "pages/chart/page.html",
        series=series,
        name=f"{series.symbol} · {series.vendor} · {series.timeframe}",
        steps=steps,
        timeframe=shown,
        first=first,
        last=last,
        window=window,
        fitting=FITTING,
    )


@router.get("/{id:id}/bars")
def read_bars(
    here: Here,
    series: OneSeries,
    timeframe: Annotated[str, Query(max_length=16)],
    start: Annotated[Instant, Query()],
    end: Annotated[Instant, Query()],
) -> Response:
    """Bars of a window for the chart: seconds since 1970, open, high, low, close, volume."""
    found = _found(here, series, timeframe, start, end)
    return JSONResponse({"timeframe": timeframe, "bars": [_point(bar) for bar in found]}, headers=HEADERS)


@router.get("/{id:id}/gaps")
def read_gaps(
    here: Here, series: OneSeries, start: Annotated[Instant, Query()], end: Annotated[Instant, Query()]
) -> Response:
    """What the window lacks by the trading calendar of the series; none where it has no calendar."""
    found: list[list[Any]] = []
    why = None
    try:
        checked = gaps.check(
            here.dsn,
            tenant=series.tenant,
            vendor=series.vendor,
            timeframe=str(series.timeframe),
            start=start,
            end=end,
            symbols=[str(series.symbol)],
        )
        found = [[_seconds(gap.start), _seconds(gap.end), gap.missing] for gap in checked.gaps[:1000]]
    except ControlError as error:
        why = str(error)
    return JSONResponse({"gaps": found, "why": why}, headers=HEADERS)


@router.get("/{id:id}/bars.csv")
def download(
    here: Here,
    series: OneSeries,
    timeframe: Annotated[str, Query(max_length=16)],
    start: Annotated[Instant, Query()],
    end: Annotated[Instant, Query()],
) -> Response:
    """The bars of a window as CSV."""
    found = _found(here, series, timeframe, start, end)
    name = f"{series.vendor}-{series.symbol}-{timeframe}.csv"
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return StreamingResponse(
        _lines(found), media_type="text/csv", headers={**HEADERS, "Content-Disposition": disposition}
    )


def _lines(found: list[Bar]) -> Iterator[bytes]:
    batches = (found[at : at + 1000] for at in range(0, len(found), 1000))
    return csv_parts(stored_columns(KINDS["bars"]), records(batches))


def _steps(series: SeriesRecord) -> dict[str, int]:
    """The timeframes that there are of a series, finest first, each with its seconds."""
    kind = KINDS["bars"]
    own = str(series.timeframe)
    try:
        parsed = gaps.parse_timeframe(own)
    except GapError:
        return {own: 86_400}
    width = parsed.step.total_seconds() if parsed.step else _CALENDAR[parsed.unit] * parsed.count
    found = {own: round(width)}
    if own == kind.base:
        found |= {rollup.timeframe: round(rollup.width.total_seconds()) for rollup in kind.rollups}
    return found


_CALENDAR: Final = {"d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400, "q": 91 * 86_400, "y": 365 * 86_400}


def _window(
    steps: dict[str, int], shown: str, first: datetime, last: datetime, start: datetime | None, end: datetime | None
) -> tuple[datetime, datetime]:
    """What is shown: what a link says, or the newest part that a few hundred bars fill."""
    end = end or last + timedelta(seconds=1)
    if start is None:
        step = steps.get(shown) or list(steps.values())[min(1, len(steps) - 1)]
        # Markets are closed for most of the day, and a day's bar is there for five of seven days.
        start = end - timedelta(seconds=step) * (300 if step >= 86_400 else 900)
    return max(start, first) if start < end else first, end


def _found(here: Here, series: SeriesRecord, timeframe: str, start: datetime, end: datetime) -> list[Bar]:
    """The bars of a window. Refuses one that has too many, of which nothing is left out without a word."""
    found = bars.page(here.client(series.tenant), _asked(series, timeframe, start, end), MOST_BARS + 1)
    if len(found) > MOST_BARS:
        raise Refusal("invalid", f"the window has more than {MOST_BARS:,} bars of {timeframe}: take a longer timeframe")
    return found


def _asked(series: SeriesRecord, timeframe: str, start: datetime, end: datetime) -> Asked:
    if timeframe not in _steps(series):
        raise Refusal("invalid", f"the series has no bars of {timeframe}")
    if start > end:
        raise Refusal("invalid", "start is not after end")
    own = str(series.timeframe)
    return Asked(series.vendor, [str(series.symbol)], timeframe, start, end, rollup=timeframe != own)


def _point(bar: Bar) -> list[Any]:
    close = bar.close_price
    values = (bar.open_price, bar.high_price, bar.low_price)
    return [_seconds(bar.ts), *(close if value is None else value for value in values), close, bar.volume]


def _seconds(time: datetime) -> float:
    return time.astimezone(UTC).timestamp()
