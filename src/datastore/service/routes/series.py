"""`/series`, `/freshness`, and a tenant's rows: list, rename series, show their age, upload and delete rows."""

import io
from functools import partial
from typing import Annotated, Any, BinaryIO, Final, cast
from uuid import UUID

import anyio
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from datastore import reads, writes
from datastore.reads import Freshness, SeriesRecord
from datastore.service.lines import NDJSON, Body
from datastore.service.models import (
    LARGEST_ID,
    After,
    Instant,
    Kind,
    Limit,
    Name,
    list_of,
    model_of,
    page,
    page_of,
)
from datastore.service.openapi import problem
from datastore.service.problems import FieldError, Refusal
from datastore.service.security import AskedTenant, OperateTenant, Reader
from datastore.service.state import Here, Service
from datastore.writes import Upload
from mds_client import KINDS
from mds_client.mapping import Extra
from mds_client.models import Timeframe
from mds_client.schema import OnConflict
from mds_client.writing.deletes import Deleted
from mds_client.writing.renames import Renamed

router = APIRouter(tags=["series"])

LINES: Final = frozenset({NDJSON, "application/ndjson", "application/jsonl"})
"""The content types that an upload can have."""


@router.get("/series", response_model=page_of(SeriesRecord))
def list_series(
    here: Here,
    tenant: AskedTenant,
    kind: Kind | None = None,
    vendor: Name | None = None,
    after: After = None,
    limit: Limit = 100,
) -> Any:
    """List series, by tenant and then by when each was first seen.

    `/tenants/{tenant}/series` has all of a tenant's in one answer, in other formats, too.
    """
    found = reads.list_series(here.dsn, tenant=tenant, kind=kind, vendor=vendor, after=after, limit=limit + 1)
    return page(found, limit, lambda series: series.id)


@router.get("/series/{id:id}", response_model=model_of(SeriesRecord))
def get_series(
    here: Here,
    token: Reader,
    id: Annotated[int, Path(ge=1, le=LARGEST_ID, description="the series")],  # noqa: A002
) -> Any:
    """Show one series."""
    found = reads.list_series(here.dsn, tenant=token.tenant, after=id - 1, limit=1)
    if not found or found[0].id != id:
        raise Refusal("not-found", f"there is no series {id}")
    return found[0]


@router.get("/freshness", response_model=list_of(Freshness))
def freshness(here: Here, tenant: AskedTenant, vendor: Name | None = None) -> Any:
    """Show how old the data is, by kind, vendor and timeframe."""
    return reads.freshness(here.dsn, tenant=tenant, vendor=vendor)


@router.post(
    "/tenants/{tenant}/rows/{kind}",
    response_model=model_of(Upload),
    responses={408: problem(408), 409: problem(409)},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                NDJSON: {
                    "schema": {"type": "string"},
                    "example": '{"vendor": "acme", "symbol": "AAPL", "timeframe": "1m", '
                    '"ts": "2024-01-02T14:30:00Z", "open_price": 187.15, "close_price": 187.2, "volume": 1200}\n',
                }
            },
        }
    },
)
async def upload_rows(
    request: Request,
    here: Here,
    tenant: OperateTenant,
    kind: Annotated[str, Path(description="the kind of all rows", json_schema_extra={"enum": list(KINDS)})],
    on_conflict: Annotated[OnConflict, Query(description="what happens to a row that is there already")] = "replace",
    extra: Annotated[Extra, Query(description="what to do with fields that the kind does not have")] = "error",
) -> Any:
    """Write rows from NDJSON, a line each; the same again changes nothing.

    An invalid line is rejected with its number and does not stop the others. If every line is invalid, the answer is a
    problem. Rows are committed in batches while they arrive: after a failure, repeat the same upload. A tenant can
    have a few uploads at a time. Further ones wait, and are then refused.
    """
    if kind not in KINDS:
        raise Refusal("not-found", KINDS.unknown(kind))
    sort = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sort not in LINES or request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal("unsupported-media-type", f"send rows as {NDJSON}, uncompressed")
    stream = cast("BinaryIO", io.BufferedReader(Body(request.stream()), 1 << 16))
    async with here.uploads.taken(tenant.id):
        # Use a thread outside the pool that serves everything else; the place limits their number.
        done = await anyio.to_thread.run_sync(
            partial(_write, here, tenant.id, kind, stream, on_conflict, extra), limiter=anyio.CapacityLimiter(1)
        )
    if done.rejected and not done.written:
        errors = [FieldError(where=f"body.line {each.line}", message=each.reason) for each in done.rejects]
        raise Refusal("invalid", f"none of the {done.lines} lines is a valid row of {kind}", errors=errors)
    return done


def _write(here: Service, tenant: UUID, kind: str, stream: BinaryIO, on_conflict: OnConflict, extra: Extra) -> Upload:
    return writes.write_ndjson(here.client(tenant), kind, stream, on_conflict=on_conflict, extra=extra)


class Deletion(BaseModel):
    """The rows to delete: those that meet all conditions."""

    model_config = ConfigDict(extra="forbid")

    vendor: Name
    symbols: list[Name] | None = Field(None, min_length=1, max_length=1000)
    timeframe: Timeframe | None = None
    start: Instant | None = None
    end: Instant | None = None
    dry_run: bool = Field(True, description="delete nothing, and say what would be deleted")


@router.post("/tenants/{tenant}/rows/{kind}/delete", response_model=model_of(Deleted), responses={409: problem(409)})
async def delete_rows(
    here: Here,
    tenant: OperateTenant,
    kind: Annotated[str, Path(description="the kind of the rows", json_schema_extra={"enum": list(KINDS)})],
    asked: Deletion,
) -> Any:
    """Delete rows for good, in steps; with `dry_run`, the default, only report what would be deleted.

    After a failure the finished steps stay done, and the same request continues. Where rollups are stored, a job
    refreshes them. The request takes one of the tenant's places for uploads.
    """
    if kind not in KINDS:
        raise Refusal("not-found", KINDS.unknown(kind))
    async with here.uploads.taken(tenant.id):
        return await anyio.to_thread.run_sync(
            partial(_delete, here, tenant.id, kind, asked), limiter=anyio.CapacityLimiter(1)
        )


def _delete(here: Service, tenant: UUID, kind: str, asked: Deletion) -> Deleted:
    return here.client(tenant).delete(
        kind,
        vendor=asked.vendor,
        symbol=asked.symbols,
        timeframe=asked.timeframe,
        start=asked.start,
        end=asked.end,
        dry_run=asked.dry_run,
    )


class Renaming(BaseModel):
    """The series to rename, which meet all conditions, and their new name."""

    model_config = ConfigDict(extra="forbid")

    vendor: Name
    symbols: list[Name] | None = Field(None, min_length=1, max_length=1000)
    timeframe: Timeframe | None = None
    kind: Kind | None = Field(None, description="only series of this kind; without it, of every kind that fits")
    to_vendor: Name | None = None
    to_symbol: Name | None = None
    to_timeframe: Timeframe | None = None
    dry_run: bool = Field(True, description="rename nothing, and say what would be renamed")


@router.post("/tenants/{tenant}/series/rename", response_model=model_of(Renamed), responses={409: problem(409)})
async def rename_series(here: Here, tenant: OperateTenant, asked: Renaming) -> Any:
    """Give series another name, all or none; with `dry_run`, the default, only report what would be renamed.

    No row is changed. A program that writes under the old name begins a new series of that name. A name that exists
    already is a conflict. The request takes one of the tenant's places for uploads.
    """
    async with here.uploads.taken(tenant.id):
        return await anyio.to_thread.run_sync(
            partial(_rename, here, tenant.id, asked), limiter=anyio.CapacityLimiter(1)
        )


def _rename(here: Service, tenant: UUID, asked: Renaming) -> Renamed:
    given = asked.model_dump()
    return here.client(tenant).rename(symbol=given.pop("symbols"), **given)
