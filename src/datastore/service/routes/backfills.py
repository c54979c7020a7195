"""`/backfills` and a tenant's `/gaps`: find missing bars, and fill them."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, model_validator

from datastore import backfill, gaps, idempotency, worker
from datastore.backfill import BackfillRecord, BackfillSpec, Plan
from datastore.gaps import Check
from datastore.service.models import (
    LARGEST_ID,
    After,
    IdempotencyKey,
    Instant,
    Limit,
    Name,
    model_of,
    page_of,
    page_with,
)
from datastore.service.openapi import problem
from datastore.service.security import (
    TENANT_EXAMPLE,
    AskedTenant,
    Operator,
    Reader,
    ReadTenant,
    StoreOperator,
    known_tenant,
)
from datastore.service.state import Here
from mds_client.models import Timeframe

router = APIRouter(tags=["backfills"])

LISTED = 100
"""The number of chunks of a plan, and of repeats of a gap check, that are listed."""


class BackfillBody(BackfillSpec):
    """The series and times to fill, and the source; the tenant by its uuid or name."""

    tenant: Annotated[Name, Field(examples=[TENANT_EXAMPLE])]
    start: Instant = Field(examples=["2024-01-01T00:00:00Z"])
    end: Instant = Field(examples=["2024-02-01T00:00:00Z"])
    source: dict[str, Any] = Field(examples=[{"type": "files", "path": "{vendor}/{symbol}/{start_date}.csv"}])

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, value: Any) -> Any:
        # Accept only integers, as described: pydantic takes text and booleans for numbers, too.
        for name, field in cls.model_fields.items():
            if field.annotation is int and isinstance(value, dict) and type(value.get(name, 0)) is not int:
                raise ValueError(f"{name} is a whole number")
        return value


@dataclass(frozen=True, slots=True)
class Planned(Plan):
    """The plan of a backfill: how many series lack how many bars in how many gaps, how many jobs that is, and the
    first chunks of it, one for each job."""

    jobs: int


@dataclass(frozen=True, slots=True)
class Found(Check):
    """The result of a gap check: a page of the gaps by symbol and time, how complete each day is, and by which
    calendars. `next` is what to pass as `after` for the gaps that follow; null at the end. Counts are of the series
    that were looked at for this page and for none before it: those of all pages add up. `repeated` counts the days,
    weeks or months of a series that have several bars; `repeats` are the first hundred of them."""

    next: str | None


@dataclass(frozen=True, slots=True)
class Started(BackfillRecord):
    """A backfill whose jobs are enqueued. `warning` says why no running worker can read its source, and what to do;
    null if one can."""

    warning: str | None


BackfillId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="the backfill")]


@router.get("/tenants/{tenant}/gaps", response_model=model_of(Found))
def find_gaps(
    here: Here,
    tenant: ReadTenant,
    vendor: Annotated[Name, Query(examples=["acme"])],
    start: Annotated[Instant, Query(examples=["2024-01-02"])],
    end: Annotated[Instant | None, Query(description="now, where it is left out", examples=["2024-01-03"])] = None,
    timeframe: Annotated[Timeframe, Query()] = "1m",
    symbol: Annotated[list[Name] | None, Query(max_length=1000, description="only these")] = None,
    calendar: Annotated[Name | None, Query(description="in place of those that are set", examples=["XNYS"])] = None,
    at_least: Annotated[int, Query(ge=1, le=2**31, description="list only gaps of at least this number of bars")] = 1,
    after: Annotated[str | None, Query(max_length=4000, description="`next` of the page before")] = None,
    limit: Limit = 100,
) -> Any:
    """Find the bars that the trading calendar expects and that are missing.

    For days and longer it also finds those with several bars. A page checks as many series as it needs.
    """
    now = datetime.now(UTC)
    found, following = gaps.check_page(
        here.dsn,
        tenant=tenant.id,
        vendor=vendor,
        timeframe=timeframe,
        start=start,
        end=end or now,
        limit=limit,
        after=after,
        symbols=symbol,
        calendar=calendar,
        at_least=at_least,
        now=now,
    )
    return _with(found, repeats=found.repeats[:LISTED], next=following)


@router.post("/backfills/plan", response_model=model_of(Planned), responses={404: problem(404), 409: problem(409)})
def plan(here: Here, _: StoreOperator, body: BackfillBody) -> Any:
    """Plan a backfill: what is missing, cut into jobs. Nothing is stored.

    Only tokens of the whole store may do this, as for starting one, because a source may hold another tenant's data.
    """
    found = backfill.plan(here.dsn, _of_tenant(here, body))
    return _with(found, chunks=found.chunks[:LISTED], jobs=len(found.chunks))


@router.post(
    "/backfills",
    status_code=202,
    response_model=model_of(Started),
    response_description="Its jobs are enqueued: follow it until it is no longer queued or running",
    responses={
        202: {"headers": {"Location": {"description": "the backfill", "schema": {"type": "string"}}}},
        404: problem(404),
        409: problem(409),
    },
)
def start(here: Here, _: StoreOperator, body: BackfillBody, response: Response, key: IdempotencyKey = None) -> Any:
    """Find missing bars, and enqueue jobs that fill them."""
    made = backfill.start(here.dsn, _of_tenant(here, body), idempotency_key=idempotency.key(key))
    response.headers["Location"] = f"/backfills/{made.id}"
    return _with(made, warning=None if made.finished else worker.unserved(here.dsn, made.source))


@router.get("/backfills", response_model=page_of(BackfillRecord))
def list_backfills(here: Here, tenant: AskedTenant, after: After = None, limit: Limit = 100) -> Any:
    """List backfills, newest first. A page is shorter than its limit if they are large."""
    found = backfill.list_backfills(here.dsn, tenant=tenant, after=after, limit=limit)
    return page_with(found.items, found.more, lambda each: each.id)


@router.get("/backfills/{id:id}", response_model=model_of(BackfillRecord))
def get_backfill(here: Here, token: Reader, id: BackfillId) -> Any:  # noqa: A002
    """Show one backfill: its progress, its expected end, and when it has ended what is still missing."""
    return backfill.get_backfill(here.dsn, id, tenant=token.tenant)


@router.post("/backfills/{id:id}/cancel", response_model=model_of(BackfillRecord))
def cancel(here: Here, token: Operator, id: BackfillId) -> Any:  # noqa: A002
    """Cancel the unfinished jobs of a backfill; written rows stay."""
    return backfill.cancel_backfill(here.dsn, id, tenant=token.tenant)


@router.post("/backfills/{id:id}/resume", response_model=model_of(BackfillRecord))
def resume(here: Here, token: Operator, id: BackfillId) -> Any:  # noqa: A002
    """Requeue the failed and cancelled jobs of a backfill; jobs that succeeded do not run again."""
    return backfill.resume_backfill(here.dsn, id, tenant=token.tenant)


def _of_tenant(here: Here, body: BackfillBody) -> BackfillSpec:
    """Replace the tenant's name by its uuid, which no other tenant can have as a name."""
    return body.model_copy(update={"tenant": str(known_tenant(here.dsn, None, body.tenant).id)})


def _with(found: Any, **more: Any) -> dict[str, Any]:
    """Return a dataclass's fields as a dict, with some values replaced or added."""
    return {field.name: getattr(found, field.name) for field in fields(found)} | more
