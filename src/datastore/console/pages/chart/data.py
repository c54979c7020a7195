"""The data of an open chart: bars, new bars as they arrive, gaps, news, series to compare, and files."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from datastore import gaps, reads, search
from datastore.console.asked import OneSeries
from datastore.console.live import Part, follow
from datastore.console.pages.chart.steps import steps
from datastore.console.rendering import HEADERS
from datastore.errors import ControlError
from datastore.reads import SeriesRecord
from datastore.service import bars
from datastore.service.answers import Answer
from datastore.service.bars import Asked
from datastore.service.formats import FORMATS
from datastore.service.models import LARGEST_ID, Instant
from datastore.service.problems import Refusal
from datastore.service.security import Reader
from datastore.service.state import Here, Service
from mds_client import KINDS, Bar
from mds_client.reading.rollups import stored_columns

router = APIRouter()

MOST_BARS: Final = 20_000
"""Bars of one answer. The page asks for a few thousand at a time."""

MOST_NEWS: Final = 200
"""News of a window that are shown."""

COMPARED: Final = 4
"""Series that a chart shows beside its own."""

Step = Annotated[str, Query(alias="timeframe", max_length=16)]
Start = Annotated[Instant, Query()]
End = Annotated[Instant, Query()]


@router.get("/{id:id}/bars")
def read_bars(here: Here, series: OneSeries, timeframe: Step, start: Start, end: End) -> Response:
    """Bars of a window for the chart: seconds since 1970, open, high, low, close, volume."""
    found = _found(here, series, timeframe, start, end)
    return JSONResponse({"timeframe": timeframe, "bars": [_point(bar) for bar in found]}, headers=HEADERS)


@router.get("/{id:id}/events")
def follow_bars(request: Request, here: Here, series: OneSeries, timeframe: Step, start: Start) -> Response:
    """The bars from a time on as they come and change, as `read_bars` has them. Each event has the newest ones only."""
    since = start

    def read() -> Part:
        nonlocal since
        (now,) = reads.some_series(here.dsn, [series.id]) or [series]
        until = max(since, now.last_ts or since) + timedelta(seconds=1)
        found = _found(here, series, timeframe, since, until)
        if found:
            # This one may still change.
            since = found[-1].ts
        return Part(json.dumps({"timeframe": timeframe, "bars": [_point(bar) for bar in found]}))

    return follow(request, read)


@router.get("/{id:id}/gaps")
def read_gaps(here: Here, series: OneSeries, start: Start, end: End) -> Response:
    """Return the gaps of the window by the series' trading calendar; none without a calendar."""
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


@router.get("/{id:id}/news")
def read_news(here: Here, series: OneSeries, start: Start, end: End) -> Response:
    """The news of the window about the symbol, of any vendor: seconds since 1970, title, vendor."""
    found: list[Any] = []
    if start < end:
        client = here.client(series.tenant)
        symbols = [str(series.symbol)]
        found = list(reads.window(client, "news", start=start, end=end, symbols=symbols, limit=MOST_NEWS + 1))
    # They come by vendor and then by time.
    shown = sorted(found[:MOST_NEWS], key=lambda each: each.published_at)
    told = [[_seconds(each.published_at), each.title, each.vendor] for each in shown]
    return JSONResponse({"news": told, "more": len(found) > MOST_NEWS}, headers=HEADERS)


@router.get("/{id:id}/others")
def find_others(here: Here, series: OneSeries, q: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Series of the same tenant to compare with: id, name, and the timeframes that there are of it."""
    words = q.replace("\0", "")
    found = search.search_series(here.dsn, words, tenant=series.tenant, kind="bars", order="symbol", limit=20)
    others = [[str(each.id), _name(each)] for each in found.items if each.id != series.id]
    return JSONResponse({"others": others}, headers=HEADERS)


@router.get("/{id:id}/bars.{format_}")
def download(
    here: Here,
    token: Reader,
    series: OneSeries,
    format_: Literal["csv", "parquet"],
    timeframe: Step,
    start: Start,
    end: End,
    compare: Annotated[list[Annotated[int, Query(ge=1, le=LARGEST_ID)]], Query(max_length=COMPARED)] = [],  # noqa: B006
) -> Response:
    """The bars of a window as a file: of the series, and of those that it is compared with."""
    others = [each for each in reads.some_series(here.dsn, compare, tenant=token.tenant) if each.kind == "bars"]
    if len(others) < len(set(compare)):
        raise Refusal("not-found", "there is no such series to compare with")
    found: list[Bar] = []
    for each in (series, *others):
        # Of another one there may be no such timeframe: then the chart does not show it either.
        if timeframe in steps(each):
            found += _found(here, each, timeframe, start, end)
    body = b"".join(_rows(found).parts(FORMATS[format_]))
    name = f"{series.vendor}-{series.symbol}-{timeframe}.{format_}"
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    headers = {**HEADERS, "Content-Disposition": disposition}
    return Response(body, media_type=FORMATS[format_].media_type, headers=headers)


def _rows(found: Sequence[Bar]) -> Answer:
    kind = KINDS["bars"]
    columns = (*kind.series, *stored_columns(kind))
    read: Callable[[], Any] = lambda: (found,)  # noqa: E731

    def frames() -> tuple[Any, Any]:
        import pyarrow as pa

        from mds_client.columns import arrow  # needs packages that the library itself does without

        whole = arrow.schema_of(kind)
        schema = pa.schema([whole.field(name) for name in columns])
        table = pa.Table.from_pylist([each.__dict__ for each in found], schema=schema)
        return table.schema, table.to_batches()

    return Answer(columns, read, frames)


def _name(series: search.FoundSeries | SeriesRecord) -> str:
    return f"{series.symbol} {series.vendor} {series.timeframe}"


def _found(here: Service, series: SeriesRecord, timeframe: str, start: datetime, end: datetime) -> list[Bar]:
    """The bars of a window. Refuses one that has too many, of which nothing is left out without a word."""
    found = bars.page(here.client(series.tenant), _asked(series, timeframe, start, end), MOST_BARS + 1)
    if len(found) > MOST_BARS:
        raise Refusal("invalid", f"the window has more than {MOST_BARS:,} bars of {timeframe}: take a longer timeframe")
    return found


def _asked(series: SeriesRecord, timeframe: str, start: datetime, end: datetime) -> Asked:
    if timeframe not in steps(series):
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
