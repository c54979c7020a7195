"""`/calendars` and a tenant's `/calendars`: which there are, and which its series have."""

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
    """A calendar, and the series that have it: those of a vendor, a symbol, of both; where both are null, all that
    nothing else is said of."""

    calendar: Annotated[Wanted, Field(description="an exchange's MIC, or 24/7, or FX", examples=["XNYS"])]
    vendor: Annotated[Name | None, Field(examples=["acme"])] = None
    symbol: Annotated[Symbol | None, Field(examples=["AAPL"])] = None


class Unset(BaseModel):
    """Whether something was said that is taken back."""

    unset: bool


@router.get(
    "/calendars",
    response_model=list[str],
    responses={200: {"content": {"application/json": {"example": ["24/7", "FX", "XNYS"]}}}},
)
def list_calendars(_: Reader) -> Any:
    """The names of the calendars that there are, aliases too."""
    return calendars.names()


@router.get("/tenants/{tenant}/calendars", response_model=list_of(Assignment))
def show_calendars(here: Here, tenant: ReadTenant) -> Any:
    """List the calendars that are assigned to the tenant's series. Gap checks and backfills use them.

    What says more goes before what says less: vendor and symbol, then symbol, then vendor, then the tenant alone.
    """
    return calendars.assignments(here.dsn, tenant.id)


@router.put("/tenants/{tenant}/calendars", response_model=model_of(Assignment))
def set_calendar(here: Here, tenant: OperateTenant, body: CalendarBody) -> Any:
    """Say which calendar series of the tenant have; what was said of the same ones before is replaced."""
    return calendars.assign(here.dsn, tenant.id, body.calendar, vendor=body.vendor, symbol=body.symbol)


@router.delete("/tenants/{tenant}/calendars")
def unset_calendar(
    here: Here,
    tenant: OperateTenant,
    vendor: Annotated[Name | None, Query(description="null: of any vendor", examples=["acme"])] = None,
    symbol: Annotated[Symbol | None, Query(description="null: of any symbol", examples=["AAPL"])] = None,
) -> Unset:
    """Take back what was said of exactly this vendor and symbol. Again is harmless."""
    return Unset(unset=calendars.unassign(here.dsn, tenant.id, vendor=vendor, symbol=symbol))
