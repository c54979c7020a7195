"""The page of completeness: a calendar of days and symbols, and from a hole to the backfill that fills it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import browsing, gaps, search
from datastore.console import formats, markets
from datastore.console.asked import ChosenTenant
from datastore.console.guard import PREFIX
from datastore.console.markets import Market
from datastore.console.pages.completeness import filling
from datastore.console.rendering import Entry, page
from datastore.errors import ControlError
from datastore.gaps import DayOfSeries
from datastore.service.models import Instant, Name
from datastore.service.security import Reader
from datastore.service.state import Here, Service
from datastore.tenants import Tenant

ENTRY: Final = Entry("/completeness", "Completeness")

router = APIRouter()
router.include_router(filling.router)

SYMBOLS: Final = 40
"""Symbols of a page."""

SPANS: Final = (14, 30, 60, 120)
"""Days that can be looked at."""


@dataclass(frozen=True, slots=True)
class Group:
    """The vendor and timeframe of a map, with the time of their newest row, and the vendor's other timeframes."""

    vendor: str
    timeframe: str
    newest: datetime | None
    timeframes: list[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """A day of a symbol: how dark it is, what it says, what it shows on hover, and where a click leads.

    Darkness is from 0, all there, to 4, all missing; `none` is no session.
    """

    heat: str
    said: str
    hint: str
    link: str | None = None


@router.get("")
def completeness(
    request: Request,
    here: Here,
    token: Reader,
    choice: ChosenTenant,
    vendor: Annotated[Name | None, Query()] = None,
    timeframe: Annotated[Name | None, Query()] = None,
    end: Annotated[Instant | None, Query()] = None,
    days: Annotated[int, Query(ge=1, le=370)] = 30,
    q: Annotated[str, Query(max_length=200)] = "",
    calendar: Annotated[Name | None, Query()] = None,
    after: Annotated[str, Query(max_length=255)] = "",
) -> Response:
    """A heat map of what is missing, by symbol and day."""
    tenant = choice.chosen
    vendors = [] if tenant is None else browsing.vendors(here.dsn, "bars", tenant=tenant.id)
    group = None if tenant is None else _chosen(here, tenant, vendors, vendor, timeframe)
    context: dict[str, Any] = {"days": [], "symbols": {}, "found": None, "problem": None, "following": None}
    if tenant is not None and group is not None:
        until = _midnight(end or group.newest or datetime.now(UTC))
        start = until - timedelta(days=days)
        context |= {"start": start, "until": until}
        base = urlencode(
            {"tenant": tenant.id, "vendor": group.vendor, "timeframe": group.timeframe, "calendar": calendar or ""}
        )
        fill = f"{PREFIX}/completeness/fill?{base}" if filling.may(token) else None
        context |= _looked(here, tenant, group, q.strip().replace("\0", ""), after, start, until, calendar, fill)
        query = {"tenant": tenant.id, "vendor": group.vendor, "timeframe": group.timeframe, "days": days}
        more = {name: value for name, value in {"q": q, "calendar": calendar, "end": end}.items() if value}
        if context["last"] is not None:
            context["following"] = urlencode({**query, **more, "after": context["last"]})
        earlier = {**query, **more, "end": start.isoformat()}
        later = {**query, **more, "end": (until + timedelta(days=days)).isoformat()}
        context |= {"earlier": urlencode(earlier), "later": urlencode(later)}
    return page(
        request,
        "pages/completeness/page.html",
        choice=choice,
        vendors=vendors,
        group=group,
        q=q,
        calendar=calendar,
        span=days,
        spans=sorted({*SPANS, days}),
        can_fill=filling.may(token),
        **context,
    )


def _chosen(
    here: Service, tenant: Tenant, vendors: Sequence[str], vendor: str | None, timeframe: str | None
) -> Group | None:
    """The vendor and timeframe that are asked for, else the first; None without bars.

    Only the timeframes of this one vendor are looked up: to find those of all vendors reads every series.
    """
    if not vendors:
        return None
    chosen = vendor if vendor is not None and vendor in vendors else vendors[0]
    known = browsing.timeframes(here.dsn, tenant=tenant.id, vendor=chosen)
    if not known:
        # Its last series was deleted after the vendors were looked up.
        return None
    asked = timeframe if timeframe is not None and timeframe in known else next(iter(known))
    return Group(chosen, asked, known[asked], list(known))


def _midnight(time: datetime) -> datetime:
    """The next midnight after a time, which is no session's."""
    return datetime(time.year, time.month, time.day, tzinfo=UTC) + timedelta(days=time.time() != datetime.min.time())


def _looked(
    here: Service,
    tenant: Tenant,
    group: Group,
    q: str,
    after: str,
    start: datetime,
    until: datetime,
    calendar: str | None,
    fill: str | None,
) -> dict[str, Any]:
    """The check of a page of symbols, or why there is none. Holes lead to `fill`, with their symbol and times."""
    some = search.symbols(here.dsn, tenant.id, group.vendor, group.timeframe, q, after=after, limit=SYMBOLS + 1)
    looked: dict[str, Any] = {"last": some[SYMBOLS - 1] if len(some) > SYMBOLS else None}
    if not some:
        return looked
    now = datetime.now(UTC)
    try:
        found = gaps.check(
            here.dsn,
            tenant=tenant.id,
            vendor=group.vendor,
            timeframe=group.timeframe,
            start=start,
            end=until,
            symbols=some[:SYMBOLS],
            calendar=calendar,
            now=now,
        )
    except ControlError as error:
        return {**looked, "problem": str(error)}
    by_symbol = gaps.by_day(found, group.timeframe, start, until, now)
    every = sorted({day for of_it in by_symbol.values() for day in of_it})
    return {
        **looked,
        "found": found,
        "days": every,
        "symbols": {
            symbol: _cells(symbol, of_it, every, markets.of_calendar(found.calendars[symbol]), fill)
            for symbol, of_it in by_symbol.items()
        },
    }


def _cells(
    symbol: str, of_it: dict[date, DayOfSeries], days: Sequence[date], market: Market | None, fill: str | None
) -> list[Cell]:
    """The days of a symbol."""
    link = None if fill is None else f"{fill}&{urlencode({'symbol': symbol})}"
    cells = []
    for day in days:
        found = of_it.get(day)
        if found is None:
            cells.append(Cell("none", "", f"{symbol}, {day}: no session"))
            continue
        there = (
            f"{formats.count(found.missing)} of {formats.count(found.expected)} missing"
            if found.missing
            else f"all {formats.count(found.expected)} there"
        )
        said = f"{symbol}, {day}: {there}"
        hint = f"{said}; {market.span(found.start, found.end)}" if market else said
        to = None
        if link is not None and found.missing:
            # Times for machines have nothing that an address would have to escape.
            to = f"{link}&start={formats.iso(found.start)}&end={formats.iso(found.end)}"
        cells.append(Cell(_heat(found), said, hint, to))
    return cells


def _heat(found: DayOfSeries) -> str:
    if not found.missing:
        return "0"
    share = found.missing / found.expected
    return "4" if share >= 1 else "3" if share > 0.5 else "2" if share > 0.1 else "1"
