"""The page of completeness: a calendar of days and symbols, and from a hole to the backfill that fills it."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import gaps, reads, search
from datastore.console import markets
from datastore.console.asked import ChosenTenant
from datastore.console.pages.completeness import filling
from datastore.console.rendering import Entry, page
from datastore.errors import ControlError
from datastore.gaps import DayOfSeries
from datastore.reads import Freshness
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
    groups = [] if tenant is None else _groups(here, tenant)
    group = _chosen(groups, vendor, timeframe)
    context: dict[str, Any] = {"days": [], "symbols": {}, "found": None, "problem": None, "following": None}
    if tenant is not None and group is not None:
        until = _midnight(end or group.newest or datetime.now(UTC))
        start = until - timedelta(days=days)
        context |= {"start": start, "until": until}
        context |= _looked(here, tenant, group, q.strip().replace("\0", ""), after, start, until, calendar)
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
        groups=groups,
        group=group,
        q=q,
        calendar=calendar,
        span=days,
        spans=sorted({*SPANS, days}),
        can_fill=filling.may(token),
        **context,
    )


def _groups(here: Service, tenant: Tenant) -> list[Freshness]:
    """The vendors and timeframes that have bars."""
    return [each for each in reads.freshness(here.dsn, tenant=tenant.id) if each.kind == "bars"]


def _chosen(groups: list[Freshness], vendor: str | None, timeframe: str | None) -> Freshness | None:
    fitting = [each for each in groups if vendor in (None, each.vendor) and timeframe in (None, each.timeframe)]
    return next(iter(fitting or [each for each in groups if vendor in (None, each.vendor)] or groups), None)


def _midnight(time: datetime) -> datetime:
    """The next midnight after a time, which is no session's."""
    return datetime(time.year, time.month, time.day, tzinfo=UTC) + timedelta(days=time.time() != datetime.min.time())


def _looked(
    here: Service,
    tenant: Tenant,
    group: Freshness,
    q: str,
    after: str,
    start: datetime,
    until: datetime,
    calendar: str | None,
) -> dict[str, Any]:
    """The check of a page of symbols, or why there is none."""
    some = search.symbols(here.dsn, tenant.id, group.vendor, str(group.timeframe), q, after=after, limit=SYMBOLS + 1)
    looked: dict[str, Any] = {"last": some[SYMBOLS - 1] if len(some) > SYMBOLS else None}
    if not some:
        return looked
    now = datetime.now(UTC)
    try:
        found = gaps.check(
            here.dsn,
            tenant=tenant.id,
            vendor=group.vendor,
            timeframe=str(group.timeframe),
            start=start,
            end=until,
            symbols=some[:SYMBOLS],
            calendar=calendar,
            now=now,
        )
    except ControlError as error:
        return {**looked, "problem": str(error)}
    by_symbol = gaps.by_day(found, str(group.timeframe), start, until, now)
    every = sorted({day for of_it in by_symbol.values() for day in of_it})
    return {
        **looked,
        "found": found,
        "days": every,
        "markets": {symbol: markets.of_calendar(calendar) for symbol, calendar in found.calendars.items()},
        "symbols": {symbol: [_cell(of_it, day) for day in every] for symbol, of_it in by_symbol.items()},
    }


def _cell(of_it: dict[date, DayOfSeries], day: date) -> tuple[DayOfSeries | None, str]:
    """A day of a symbol, and how dark it is: from 0, all there, to 4, all missing."""
    found = of_it.get(day)
    if found is None:
        return None, "none"
    if not found.missing:
        return found, "0"
    share = found.missing / found.expected
    return found, "4" if share >= 1 else "3" if share > 0.5 else "2" if share > 0.1 else "1"
