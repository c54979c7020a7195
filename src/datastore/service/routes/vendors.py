"""`/vendors`: which vendors' symbols are case-sensitive."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from datastore import vendors
from datastore.service.models import Body, list_of, model_of
from datastore.service.security import StoreAdmin, StoreReader
from datastore.service.state import Here
from datastore.vendors import CaseSensitive
from mds_client.models import Name

router = APIRouter(prefix="/vendors", tags=["vendors"])


class VendorBody(Body):
    """A vendor whose symbols are case-sensitive."""

    vendor: Annotated[Name, Field(examples=["acme"])]
    case_sensitive: Literal[True]


class Unset(BaseModel):
    """Whether a declaration was taken back."""

    unset: bool


@router.get("", response_model=list_of(CaseSensitive))
def show(here: Here, _: StoreReader) -> Any:
    """List the vendors whose symbols are case-sensitive. Symbols of all other vendors are in upper case."""
    return vendors.declared(here.dsn)


@router.put("", response_model=model_of(CaseSensitive))
def set_vendor(here: Here, _: StoreAdmin, body: VendorBody) -> Any:
    """Declare a vendor's symbols case-sensitive, for all tenants. Series that exist stay as they are."""
    return vendors.declare(here.dsn, body.vendor)


@router.delete("")
def unset_vendor(here: Here, _: StoreAdmin, vendor: Annotated[Name, Query(examples=["acme"])]) -> Unset:
    """Take a declaration back. It is refused while the vendor has symbols that are not in upper case."""
    return Unset(unset=vendors.withdraw(here.dsn, vendor))
