"""`/calendars` and a tenant's `/calendars`: list calendars, and assign them to its series."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from datastore.gaps import Assignment, calendars
from datastore.service.models import Body, list_of, model_of
from datastore.service.models import Name as Wanted
from datastore.service.security import OperateTenant, Reader, ReadTenant
from datastore.service.state import Here
from mds_client.models import Name, Symbol

router = APIRouter(tags=["calendars"])


class CalendarBody(Body):
    """A calendar, and its series: those of a vendor, a symbol, or both; with both null, all series without a more
    specific assignment."""

    calendar: Annotated[Wanted, Field(description="an exchange's MIC, or 24/7, or FX", examples=["XNYS"])]
    vendor: Annotated[Name | None, Field(examples=["acme"])] = None
    symbol: Annotated[Symbol | None, Field(examples=["AAPL"])] = None


class Unset(BaseModel):
    """Whether an assignment was removed."""

    unset: bool


@router.get(
    "/calendars",
    response_model=list[str],
    responses={200: {"content": {"application/json": {"example": ["24/7", "FX", "XNYS"]}}}},
)
def list_calendars(_: Reader) -> Any:
    """List the names of all calendars, including aliases."""
    return calendars.names()


@router.get("/tenants/{tenant}/calendars", response_model=list_of(Assignment))
def show_calendars(here: Here, tenant: ReadTenant) -> Any:
    """List the calendars that are assigned to the tenant's series. Gap checks and backfills use them.

    The most specific assignment wins: vendor and symbol, then symbol, then vendor, then the tenant alone.
    """
    return calendars.assignments(here.dsn, tenant.id)


@router.put("/tenants/{tenant}/calendars", response_model=model_of(Assignment))
def set_calendar(here: Here, tenant: OperateTenant, body: CalendarBody) -> Any:
    """Assign a calendar to series of the tenant. It replaces an earlier assignment to the same series."""
    return calendars.assign(here.dsn, tenant.id, body.calendar, vendor=body.vendor, symbol=body.symbol)


@router.delete("/tenants/{tenant}/calendars")
def unset_calendar(
    here: Here,
    tenant: OperateTenant,
    vendor: Annotated[Name | None, Query(description="null: of any vendor", examples=["acme"])] = None,
    symbol: Annotated[Symbol | None, Query(description="null: of any symbol", examples=["AAPL"])] = None,
) -> Unset:
    """Remove the assignment of exactly this vendor and symbol. You can repeat it."""
    return Unset(unset=calendars.unassign(here.dsn, tenant.id, vendor=vendor, symbol=symbol))
