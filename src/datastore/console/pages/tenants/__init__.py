"""The page of tenants and tokens: who is there, making and disabling tenants, what a deletion would delete, tokens."""

from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from datastore import tenants
from datastore.console.guard import PREFIX
from datastore.console.rendering import Entry, go, page
from datastore.service import tokens
from datastore.service.models import LARGEST_ID, Name
from datastore.service.problems import Refusal
from datastore.service.security import AdminTenant, StoreAdmin, StoreReader, known_tenant
from datastore.service.state import Here
from datastore.service.tokens import MadeToken, Scope, Tokens
from datastore.tenants import BoundTenant, Tenant

ENTRY: Final = Entry("/tenants", "Tenants", store_wide=True)

router = APIRouter()

SHOWN: Final = 100


@router.get("")
def list_tenants(
    request: Request, here: Here, _: StoreReader, after: Annotated[int, Query(ge=0, le=LARGEST_ID)] = 0
) -> Response:
    """Tenants in the order of their making, and the tokens that the service knows."""
    return _page(request, here.dsn, after=after)


@router.post("")
def create_tenant(request: Request, here: Here, _: StoreAdmin, name: Annotated[Name, Form()]) -> Response:
    """Make a tenant."""
    made = tenants.create_tenant(here.dsn, name)
    return go(request, f"{PREFIX}/tenants/{made.id}")


@router.post("/tokens")
def create_token(
    request: Request,
    here: Here,
    _: StoreAdmin,
    name: Annotated[str, Form(max_length=100)],
    scope: Annotated[str, Form(max_length=20)],
    tenant: Annotated[str, Form(max_length=255)] = "",
    days: Annotated[int | None, Form(ge=1, le=36_500)] = None,
) -> Response:
    """Make a token, and show it once: the service keeps no token, and its configuration is the operator's to change."""
    if scope not in Scope.__members__:
        raise Refusal("invalid", f"a scope is {', '.join(Scope.__members__)}, not {scope!r}")
    owner: UUID | None = known_tenant(here.dsn, None, tenant).id if tenant.strip() else None
    lasts = None if days is None else timedelta(days=days)
    made = tokens.create(name, Scope[scope], expires_in=lasts, tenant=owner)
    return _page(request, here.dsn, made=made)


def _page(request: Request, dsn: str, *, after: int = 0, made: MadeToken | None = None) -> Response:
    found = tenants.list_tenants(dsn, after=after, limit=SHOWN + 1)
    known: Tokens = request.app.state.tokens
    return page(
        request,
        "pages/tenants/page.html",
        tenants=found[:SHOWN],
        following=found[SHOWN - 1].no if len(found) > SHOWN else None,
        tokens=known.all(),
        bad=known.bad,
        names={tenant.id: tenant.name for tenant in found},
        scopes=list(Scope),
        made=made,
    )


@router.get("/{tenant}")
def get_tenant(request: Request, _: StoreAdmin, tenant: AdminTenant) -> Response:
    """Show a tenant: its logins, and the actions on it."""
    return _tenant(request, tenant)


@router.post("/{tenant}/roles")
def bind_role(
    request: Request,
    here: Here,
    tenant: AdminTenant,
    role: Annotated[Name, Form()],
    connections: Annotated[int | None, Form(ge=1, le=2**31 - 1)] = None,
) -> Response:
    """Bind a login role to the tenant, as `datastore tenants bind-role` does, and show what is left to run."""
    bound = tenants.bind_role(here.dsn, str(tenant.id), role, connections=connections)
    return _tenant(request, tenants.get_tenant(here.dsn, tenant.id), bound, role)


@router.post("/{tenant}/roles/unbind")
def unbind_role(request: Request, here: Here, tenant: AdminTenant, role: Annotated[Name, Form()]) -> Response:
    """Take back a binding, and with it the login's right to the views."""
    tenants.unbind_role(here.dsn, str(tenant.id), role)
    return go(request, f"{PREFIX}/tenants/{tenant.id}")


def _tenant(request: Request, tenant: Tenant, bound: BoundTenant | None = None, role: str | None = None) -> Response:
    return page(request, "pages/tenants/tenant.html", tenant=tenant, bound=bound, role=role)


@router.post("/{tenant}/disable")
def disable(request: Request, here: Here, tenant: AdminTenant) -> Response:
    """Disable a tenant."""
    tenants.disable_tenant(here.dsn, tenant.id)
    return go(request, f"{PREFIX}/tenants/{tenant.id}")


@router.post("/{tenant}/enable")
def enable(request: Request, here: Here, tenant: AdminTenant) -> Response:
    """Take back a disabling."""
    tenants.enable_tenant(here.dsn, tenant.id)
    return go(request, f"{PREFIX}/tenants/{tenant.id}")


@router.get("/{tenant}/deletion")
def plan_deletion(request: Request, here: Here, tenant: AdminTenant) -> Response:
    """Count what a deletion would remove now: a dry run that counts every row of the tenant."""
    return page(request, "pages/tenants/deletion.html", tenant=tenant, plan=tenants.plan_deletion(here.dsn, tenant.id))
