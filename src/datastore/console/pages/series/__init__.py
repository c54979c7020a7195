"""The page of series: search as you type, the stalest first."""

import json
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from datastore import reads, search
from datastore.console import formats, markets
from datastore.console.live import Part, follow
from datastore.console.rendering import HEADERS, Entry, is_fragment, page
from datastore.search import Order
from datastore.service.models import LARGEST_ID, Kind, Name
from datastore.service.security import AskedTenant, Reader
from datastore.service.state import Here, Service
from datastore.service.tokens import Token
from mds_client import KINDS

ENTRY: Final = Entry("/series", "Series")

router = APIRouter()

SHOWN: Final = 50


@router.get("")
def series(
    request: Request,
    here: Here,
    _: Reader,
    asked: AskedTenant,
    q: Annotated[str, Query(max_length=200)] = "",
    kind: Annotated[Kind | None, Query()] = None,
    tenant: Annotated[Name | None, Query()] = None,
    order: Annotated[Order, Query()] = "stale",
    after: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
) -> Response:
    """Series by parts of their names; a part of the page where it asks for that."""
    found = search.search_series(
        here.dsn, q.replace("\0", ""), tenant=asked, kind=kind, order=order, after=after, limit=SHOWN
    )
    asked_for = {"q": q, "kind": kind, "tenant": tenant, "order": None if order == "stale" else order}
    query = {name: value for name, value in asked_for.items() if value}
    following = urlencode({**query, "after": found.items[-1].id}) if found.more else None
    return page(
        request,
        "pages/series/table.html" if is_fragment(request) else "pages/series/page.html",
        found=found,
        counted=search.COUNTED,
        q=q,
        kind=kind,
        tenant=tenant,
        order=order,
        orders=search.ORDERS,
        kinds=list(KINDS),
        markets=markets.of(here.dsn, found.items),
        following=following,
        first=urlencode(query) if after is not None else None,
    )


Ids = Annotated[list[Annotated[int, Query(ge=1, le=LARGEST_ID)]], Query(alias="id", max_length=SHOWN)]


@router.get("/prices")
def prices(here: Here, token: Reader, ids: Ids) -> Response:
    """The newest time and price of the series that a page shows."""
    return JSONResponse(_prices(here, token, ids), headers=HEADERS)


@router.get("/prices/events")
def follow_prices(request: Request, here: Here, token: Reader, ids: Ids) -> Response:
    """Stream the newest prices as they change."""
    return follow(request, lambda: Part(json.dumps(_prices(here, token, ids))))


def _prices(here: Service, token: Token, ids: list[int]) -> list[dict[str, Any]]:
    found = reads.some_series(here.dsn, ids, tenant=token.tenant)
    known = markets.of(here.dsn, found)
    return [
        {
            # A number of JavaScript is not exact for so large a one.
            "id": str(each.id),
            "price": formats.price(each.last_price),
            "time": formats.time(each.last_ts),
            "iso": formats.iso(each.last_ts),
            "market": market.time(each.last_ts) if market else "",
        }
        for each in found
        if each.last_ts is not None
        for market in [known.get((each.tenant, each.vendor, each.symbol))]
    ]
