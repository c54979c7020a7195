"""The page of series: search as you type, the stalest first."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import search
from datastore.console.rendering import Entry, is_fragment, page
from datastore.search import Order
from datastore.service.models import LARGEST_ID, Kind, Name
from datastore.service.security import AskedTenant, Reader
from datastore.service.state import Here
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
        following=following,
        first=urlencode(query) if after is not None else None,
    )
