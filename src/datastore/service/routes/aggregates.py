"""`/aggregates`: list rollups and refresh them."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from datastore import aggregates
from datastore.aggregates import Aggregate
from datastore.jobs import JobRecord
from datastore.maintenance import RefreshOrder, on_demand
from datastore.service.jobs import accepted, accepts
from datastore.service.models import IdempotencyKey, Instant, list_of
from datastore.service.security import StoreOperator, StoreReader
from datastore.service.state import Here

router = APIRouter(prefix="/aggregates", tags=["aggregates"])


class RefreshBody(RefreshOrder):
    """A range of time, from `start` until before `end`, and the rollups. Null means no limit."""

    start: Instant | None = Field(None, examples=["2024-01-01T00:00:00Z"])
    end: Instant | None = Field(None, examples=["2024-02-01T00:00:00Z"])
    rollups: list[str] | None = Field(None, min_length=1, examples=[["bars_1h", "bars_1d"]])


@router.get("", response_model=list_of(Aggregate))
def list_aggregates(here: Here, _: StoreReader) -> Any:
    """List all rollups with their sources, and whether each is stored or computed when it is read."""
    return aggregates.list_aggregates(here.dsn)


@router.post("/refresh", **accepts())
def refresh(
    here: Here, token: StoreOperator, response: Response, body: RefreshBody, key: IdempotencyKey = None
) -> JobRecord:
    """Bring stored rollups up to the rows of a range, for example after an upload of old rows; runs as a job.

    If rollups are computed when they are read, the job has nothing to do and its result is empty.
    """
    return accepted(response, token, on_demand.start_refresh(here.dsn, body.start, body.end, body.rollups, key))
