"""`/health`, `/ready`, `/metrics`: whether the process lives, whether it can serve, and its metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from datastore.service.models import model_of
from datastore.service.openapi import problem
from datastore.service.problems import RETRY_AFTER_S, Refusal
from datastore.service.security import StoreReader
from datastore.service.state import Here, Readiness
from mds_client import __version__

router = APIRouter(tags=["health"])


class ServiceHealth(BaseModel):
    """The answer of a live process."""

    status: str
    version: str


@router.get("/health")
async def health() -> ServiceHealth:
    """Show that the process lives. It asks no database: one that is away is no reason to restart the service."""
    return ServiceHealth(status="ok", version=__version__)


@router.get("/ready", response_model=model_of(Readiness), responses={503: problem(503)})
async def ready(here: Here) -> Any:
    """Check whether the service can serve: the database answers with its schema at head. Cached for up to a second."""
    found = await here.readiness()
    if found.reason is not None:
        raise Refusal("unavailable", found.reason, headers={"Retry-After": str(RETRY_AFTER_S)})
    return found


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Metrics of the service and the store",
            "content": {
                sort: {"schema": {"type": "string"}} for sort in ("text/plain", "application/openmetrics-text")
            },
        }
    },
)
def metrics(here: Here, _: StoreReader, request: Request) -> Response:
    """Return metrics for Prometheus. Reads no rows, and queries the database only every few seconds."""
    text, sort = here.metrics.exposition(request.headers.get("accept"))
    return Response(text, media_type=sort)
