"""The page of news: headlines, the newest first, by vendor, symbol, words and range."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import articles, browsing
from datastore.articles import Article
from datastore.console import markets
from datastore.console.asked import ChosenTenant, SoughtRows
from datastore.console.formats import iso
from datastore.console.rendering import Entry, page
from datastore.service.security import Reader
from datastore.service.state import Here

ENTRY: Final = Entry("/news", "News")

router = APIRouter()

SHOWN: Final = 100

SYMBOLS: Final = 12
"""Symbols of an article that are in view. The others unfold."""

SPAN: Final = timedelta(days=30)
"""The default window: the end of the stored news."""

SKIPPED: Final = 100_000
"""Articles that a page can leave out: those of the time at its end that the pages before it have."""


@router.get("")
def news(
    request: Request,
    here: Here,
    _: Reader,
    choice: ChosenTenant,
    sought: SoughtRows,
    q: Annotated[str, Query(max_length=200)] = "",
    skip: Annotated[int, Query(ge=0, le=SKIPPED)] = 0,
) -> Response:
    """The newest headlines of a window of time."""
    tenant = choice.chosen
    words = q.replace("\0", "").strip()
    vendors = [] if tenant is None else browsing.vendors(here.dsn, "news", tenant=tenant.id)
    found: list[Article] = []
    more = False
    newest = None
    if tenant is not None and sought.end is None:
        newest = browsing.newest(here.dsn, "news", tenant=tenant.id, vendor=sought.vendor)
    until = sought.end or (newest or datetime.now(UTC)).replace(microsecond=0) + timedelta(seconds=1)
    since = sought.start or until - SPAN
    if tenant is not None and vendors:
        found, more = articles.newest(
            here.client(tenant.id),
            start=since,
            end=until,
            vendor=sought.vendor,
            symbol=sought.symbol,
            text=words or None,
            skip=skip,
            limit=SHOWN,
        )
    # An article about several symbols has the time of the market of the first.
    names = [(each.vendor, next(iter(each.symbols), None)) for each in found]
    clocks = [] if tenant is None else markets.of_rows(here.dsn, tenant.id, names)
    return page(
        request,
        "pages/news/page.html",
        choice=choice,
        vendors=vendors,
        sought=sought,
        q=q,
        articles=list(zip(found, clocks, strict=True)),
        symbols=SYMBOLS,
        scored=any(each.sentiment_score is not None for each in found),
        older=_older(found, until, skip) if more else None,
        span=SPAN,
        start=since,
        until=until,
    )


def _older(found: Sequence[Article], until: datetime, skip: int) -> dict[str, str | int]:
    """The end of the following page, and how many articles it leaves out: others can have the time of the last one."""
    last = found[-1].published_at
    end = last + datetime.resolution
    there = sum(each.published_at == last for each in found)
    return {"end": iso(end), "skip": there + (skip if end == until else 0)}
