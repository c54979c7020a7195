"""`/tenants`: create, list, disable, export and delete tenants, and bind roles."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from datastore import idempotency, tenants
from datastore.jobs import JobRecord
from datastore.service.jobs import accepted, accepts
from datastore.service.models import After, Body, IdempotencyKey, Kind, Limit, Name, model_of, page, page_of
from datastore.service.openapi import problem
from datastore.service.problems import Refusal
from datastore.service.security import (
    TENANT_EXAMPLE,
    AdminTenant,
    OperateTenant,
    Operator,
    ReadTenant,
    StoreAdmin,
    StoreReader,
)
from datastore.service.state import Here
from datastore.tenants import BoundTenant, Deletion, Format, Tenant

router = APIRouter(prefix="/tenants", tags=["tenants"])


class TenantBody(Body):
    """A new tenant: its name and, optionally, its id."""

    name: Annotated[Name, Field(pattern=r"\S", examples=["desk-1"])]
    id: UUID | None = Field(None, examples=[TENANT_EXAMPLE])


class RoleBody(Body):
    """A login role of the database."""

    role: Annotated[Name, Field(examples=["desk_1_login"])]
    connections: int | None = Field(
        None, ge=1, le=2**31 - 1, description="how many connections it may have; null: 20, if it has no limit yet"
    )


class ExportBody(Body):
    """The format of the files, and the kinds; null is every kind."""

    format: Format = "ndjson"
    kinds: list[Kind] | None = Field(None, min_length=1, examples=[["bars"]])


@router.get("", response_model=page_of(Tenant))
def list_tenants(here: Here, _: StoreReader, after: After = None, limit: Limit = 100) -> Any:
    """List all tenants in the order of their creation."""
    found = tenants.list_tenants(here.dsn, after=after or 0, limit=limit + 1)
    return page(found, limit, lambda tenant: tenant.no)


@router.post("", status_code=201, response_model=model_of(Tenant), responses={409: problem(409)})
def create_tenant(here: Here, _: StoreAdmin, body: TenantBody, response: Response, key: IdempotencyKey = None) -> Any:
    """Create a tenant. With the same `Idempotency-Key` and name, the existing tenant is returned.

    An `id` makes the request repeatable by itself, because a second one is a conflict. Give a key or an id, not both.
    """
    if body.id is not None and key is not None:
        raise Refusal("invalid", "pass an id or an Idempotency-Key, not both")
    id_ = body.id or idempotency.new_id(key, "create-tenant")
    made = tenants.create_tenant(here.dsn, body.name, id=id_, if_absent=key is not None)
    response.headers["Location"] = f"/tenants/{made.id}"
    return made


@router.get("/{tenant}", response_model=model_of(Tenant))
def get_tenant(tenant: ReadTenant) -> Any:
    """Show one tenant."""
    return tenant


@router.post("/{tenant}/disable", response_model=model_of(Tenant))
def disable(here: Here, tenant: AdminTenant) -> Any:
    """Disable the tenant: nobody can read or write as this tenant. Its data stays. You can repeat it."""
    return tenants.disable_tenant(here.dsn, tenant.id)


@router.post("/{tenant}/enable", response_model=model_of(Tenant), responses={409: problem(409)})
def enable(here: Here, tenant: AdminTenant) -> Any:
    """Enable a disabled tenant, unless it is being deleted."""
    return tenants.enable_tenant(here.dsn, tenant.id)


@router.post("/{tenant}/roles", response_model=model_of(BoundTenant), responses={409: problem(409)})
def bind_role(here: Here, tenant: AdminTenant, body: RoleBody) -> Any:
    """Bind a login role to the tenant: every session of that role is this tenant, whatever it sets.

    The role gets limits, too. `to_run` lists the statements for those limits that only a superuser can set.
    """
    return tenants.bind_role(here.dsn, str(tenant.id), body.role, connections=body.connections)


@router.delete("/{tenant}/roles/{role}", response_model=model_of(Tenant), responses={409: problem(409)})
def unbind_role(here: Here, tenant: AdminTenant, role: Annotated[Name, Path(examples=["desk_1_login"])]) -> Any:
    """Unbind a login role and revoke its right to the views. Its sessions must end first."""
    return tenants.unbind_role(here.dsn, str(tenant.id), role)


@router.post("/{tenant}/export", **accepts())
def export(
    here: Here,
    token: Operator,
    tenant: OperateTenant,
    body: ExportBody,
    response: Response,
    key: IdempotencyKey = None,
) -> JobRecord:
    """Enqueue an export: a worker writes all rows of the tenant, from one snapshot, into files of its folder."""
    job_key = idempotency.job_key(key, tenants.EXPORT)
    return accepted(
        response,
        token,
        tenants.export_tenant(here.dsn, tenant.id, idempotency_key=job_key, format=body.format, kinds=body.kinds),
    )


@router.get("/{tenant}/deletion", response_model=model_of(Deletion))
def plan_deletion(here: Here, tenant: AdminTenant) -> Any:
    """Count what a deletion would remove now (a dry run). Counts every row of the tenant."""
    return tenants.plan_deletion(here.dsn, tenant.id)


@router.delete("/{tenant}", **accepts())
def delete(
    here: Here,
    token: StoreAdmin,
    tenant: AdminTenant,
    name: Annotated[Name, Query(description="the tenant's name, so that none is deleted by mistake")],
    response: Response,
) -> JobRecord:
    """Disable a tenant now, and remove it with all its data in steps, as a job. Repeating it returns the same job."""
    return accepted(response, token, tenants.delete_tenant(here.dsn, tenant.id, name=name))
