"""The page of policies: what is declared, what is in force, and the room that relations take."""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from datastore import aggregates, sizes, timescale_policies
from datastore.console.rendering import Entry, page
from datastore.service.security import StoreAdmin, StoreReader
from datastore.service.state import Here

ENTRY: Final = Entry("/policies", "Policies", store_wide=True)

router = APIRouter()


@router.get("")
def policies(request: Request, here: Here, _: StoreReader) -> Response:
    """Policies, rollups and sizes."""
    return page(
        request,
        "pages/policies/page.html",
        policies=timescale_policies.policies(here.dsn),
        rollups=aggregates.list_aggregates(here.dsn),
        stored=sizes.store_sizes(here.dsn),
    )


@router.get("/expiry")
def expiry(request: Request, here: Here, _: StoreAdmin) -> Response:
    """What retention would remove now. Counts the rows."""
    return page(request, "pages/policies/expiry.html", found=timescale_policies.expire(here.dsn, dry_run=True))
